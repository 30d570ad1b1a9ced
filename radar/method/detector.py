"""The seam between a method and the suite: what every detector promises, and how one is built, saved and loaded.

A detector learns from normal images only and scores images it has never seen. It sees no label, no mask and no test
image while it learns, and the score of an image never depends on the other images of its batch.
"""

import importlib
import json
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.training import Training
from radar.files import atomic, write_json
from radar.images.filters import resized, smooth
from radar.images.image_set import ImageSet


class MethodError(Exception):
    """A method broke a promise of the seam, or its configuration cannot be used. One line that names both."""


@dataclass(frozen=True)
class Prediction:
    """What a detector says about a batch of N images of one size; higher = more anomalous.

    score: [N], any real number. anomaly_map: [N, H, W] at the size of the input.
    decision: [N] bool, only if the method itself decides (RADAR's Isolation Forest does); else None.
    """

    score: Tensor
    anomaly_map: Tensor
    decision: Tensor | None = None

    def check(self, images: Tensor, method: str) -> "Prediction":
        """The prediction itself. Raises MethodError naming the promise that its shape or values break."""
        n, _, height, width = images.shape
        for name, value, shape in (("score", self.score, (n,)), ("anomaly_map", self.anomaly_map, (n, height, width))):
            if tuple(value.shape) != shape:
                raise MethodError(f"{method}: {name} has shape {tuple(value.shape)}, promised is {shape}")
            if not torch.isfinite(value).all():
                raise MethodError(f"{method}: {name} holds NaN or infinity, promised are finite numbers")
        if self.decision is not None and (tuple(self.decision.shape) != (n,) or self.decision.dtype != torch.bool):
            raise MethodError(f"{method}: decision must be bool of shape {(n,)}, or None")
        return self


class Detector(ABC):
    """A method. Its settings are the keyword arguments of its constructor, with the paper's values as defaults.

    smoothing: a setting of every method, sigma in px of the anomaly map, 0 = none; the same for all of a run.
    seed: drives every random choice of the method, in `fit` and in `predict`.
    device: where tensors live; the same code runs on "cpu" and "cuda".
    noise_predictor: the trained predictor of this dataset and seed that the method's YAML names, if it names one.
    training: the run's training budget and loop, for a method that trains in `fit`, if its YAML has the key training.
    nfe: network evaluations per image (per tile, where the image is tiled); each method says its own.
    """

    nfe: int

    def __init__(self, *, smoothing: float = 0.0, seed: int = 0, device: str = "cpu",
                 noise_predictor: NoisePredictor | None = None, training: Training | None = None):
        self.smoothing, self.seed, self.device = smoothing, seed, torch.device(device)
        self.noise_predictor, self.training = noise_predictor, training

    def require(self, condition: bool, otherwise: str) -> None:
        """Raise MethodError naming the class unless `condition` holds; otherwise: what is wrong and what is allowed."""
        if not condition:
            raise MethodError(f"{type(self).__name__}: {otherwise}")

    @abstractmethod
    def fit(self, normal: ImageSet) -> None:
        """Learn from normal images, read lazily as [C, H, W] in [-1, 1]; their sizes may differ."""

    @abstractmethod
    def predict(self, images: Tensor) -> Prediction:
        """Score images [N, C, H, W] of one size, in [-1, 1], on the detector's device."""

    def full_map(self, grid: Tensor, images: Tensor) -> Tensor:
        """The anomaly map that a grid [N, H', W'] is of images [N, C, H, W]: at their size, smoothed, [N, H, W]."""
        return smooth(resized(grid, images.shape[2:]), self.smoothing)

    def state(self) -> dict[str, Tensor]:
        """All that `fit` learned, as named tensors: the attributes whose names end with _, tensors or dicts of them."""
        state: dict[str, Tensor] = {}
        for name, value in vars(self).items():
            if name.endswith("_") and isinstance(value, dict):
                state |= {f"{name}.{key}": tensor for key, tensor in value.items()}
            elif name.endswith("_") and isinstance(value, Tensor):
                state[name] = value
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for name, tensor in state.items():
            attribute, _, key = name.partition(".")
            owner = vars(self).setdefault(attribute, {}) if key else vars(self)
            owner[key or attribute] = tensor

    def parameters(self) -> int:
        """Number of parameters that a prediction uses."""
        return self.noise_predictor.parameters() if self.noise_predictor else 0

    def chosen(self) -> dict:
        """Settings that `fit` itself decided, from normal images alone: plain values for detector.json."""
        return {}

    def save(self, folder: Path, description: dict) -> None:
        """Write detector.safetensors (never a pickle), and `description` as detector.json."""
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state().items()}
        with atomic(folder / "detector.safetensors") as temporary:
            save_file(state, temporary)
        write_json(folder / "detector.json", description)


def build(method: dict, *, seed: int, device: str, noise_predictor: NoisePredictor | None = None,
          training: Training | None = None) -> Detector:
    """The detector of a method's YAML: class "package.module:ClassName", noise_predictor, training, settings.

    Raises MethodError naming the class, and the setting that is unknown or unusable.
    """
    name, settings = method["class"], method.get("settings") or {}
    if noise_predictor is None and (wanted := method.get("noise_predictor")):
        raise MethodError(f"{name} needs the noise predictor '{wanted}' and was given none")
    try:
        detector = find_class(name)(seed=seed, device=device, noise_predictor=noise_predictor, training=training,
                                    **settings)
    except (TypeError, ValueError, AttributeError) as error:  # a value of the wrong type, say a word for a number
        given = ", ".join(f"{key}: {value!r}" for key, value in settings.items())
        raise MethodError(f"{name} cannot be made of these settings ({error}): {given}") from error
    detector.require(hasattr(detector, "nfe"), "has no nfe; say how many network evaluations an image takes, 0 if none")
    return detector


def find_class(reference: str) -> type[Detector]:
    """The Detector class that `package.module:ClassName` names. Raises MethodError with the reason if there is none."""
    module, _, name = reference.partition(":")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise MethodError(f"cannot load the method class '{reference}' (package.module:ClassName): {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Detector)):
        raise MethodError(f"'{reference}' is not a subclass of radar.method.detector.Detector")
    return cls


def load(folder: Path, device: str = "cpu") -> tuple[Detector, dict]:
    """The trained detector in `folder` and its description (detector.json), which says where its noise predictor lies.

    Raises MethodError if the folder holds no detector, or the predictor's weights are not of the recorded sha256.
    """
    try:
        description = json.loads((folder / "detector.json").read_text())
    except OSError as error:
        raise MethodError(f"{folder} holds no trained detector (no readable detector.json); give a folder like "
                        "results/<dataset>/<category>/<method>/seed0") from error
    predictor = None
    if reference := description.get("noise_predictor"):
        predictor = NoisePredictor.load(Path(os.path.normpath(folder / reference["path"])), device)
        if predictor.sha256 != reference["sha256"]:
            raise MethodError(f"{folder}: its noise predictor in {reference['path']} is not the one it was fitted "
                              "with; run snakemake again, or restore the folder")
    detector = build(description["method"], seed=description["seed"], device=device, noise_predictor=predictor)
    detector.restore({name: tensor.to(device) for name, tensor in load_file(folder / "detector.safetensors").items()})
    return detector, description
