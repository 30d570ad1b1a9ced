"""What several tests share: a small dataset and a predictor trained on it."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from radar.diffusion.predictor import Memory, NoisePredictor
from radar.diffusion.training import Training
from radar.images.image_set import ImageSet
from radar.report.drawing import COLUMN, WIDTH


def pytest_collection_modifyitems(items: list) -> None:
    """Modules that run the workflow come first: of two workers, none is left with a long one at the end."""
    items.sort(key=lambda item: item.path.stem not in ("test_workflow", "test_runs"))  # stable


def closed_form(predict: Callable[[Tensor, int], Tensor], patch: int, stride: int,
                noise: str = "gaussian") -> NoisePredictor:
    """A NoisePredictor whose network is a known function eps(x_t, t): for proofs on data whose noise has a formula."""
    predictor = NoisePredictor.__new__(NoisePredictor)
    predictor.settings = {"space": "pixels", "noise": noise, "patch": patch, "stride": stride, "tile_batch": 1024}
    predictor.groups, predictor.memory, predictor.features = [1], Memory(), None
    predictor.eps = predict
    return predictor


def ancestral_step(A: np.ndarray, t: int, after: int, s: float) -> tuple[float, float]:
    """On data of variance s^2 with the best linear predictor an ancestral step is x_after = factor x_t + noise.

    Returns the factor and the variance of the noise; after = 0 is the image itself. A: alpha_bar of every timestep.
    """
    guess = A[t] ** 0.5 * s**2 / (A[t] * s**2 + 1 - A[t])  # E[x_0 | x_t] = guess * x_t
    if after == 0:
        return guess, 0.0
    alpha = A[t] / A[after]
    factor = (A[after] ** 0.5 * (1 - alpha) * guess + alpha**0.5 * (1 - A[after])) / (1 - A[t])
    return factor, (1 - alpha) * (1 - A[after]) / (1 - A[t])


class Tensors(ImageSet):
    """Images from memory, uint8 [N, C, H, W]."""

    def __init__(self, images: torch.Tensor):
        super().__init__(".", [str(i) for i in range(len(images))], images.shape[1])
        self._kept.values.update(enumerate(images))


PREDICTOR = {"space": "pixels", "noise": "gaussian", "patch": 16, "stride": 8, "network": "unet", "channels": [16, 32],
             "layers_per_block": 1, "attention": [8], "norm_groups": 8, "predicts": "noise", "tile_batch": 64}
TRAINING = {"images": 120 * 16, "batch_size": 16, "learning_rate": 0.002, "warm_up": 0.1, "ema_decay": 0.98,
            "clip": 1.0, "checkpoint_seconds": 0, "precision": "float32"}


FEATURES = {"space": "features", "noise": "gaussian", "backbone": "efficientnet_lite0", "standardise": "whiten",
            "patch": 14, "stride": 14, "network": "unet", "channels": [8, 8], "layers_per_block": 1, "attention": [],
            "norm_groups": 4, "predicts": "velocity", "tile_batch": 64}


def check_figure(stem: Path, command: str) -> None:
    """TrueType fonts, all embedded; as wide as a column or a page; with the command that makes it."""
    pdf = b" ".join(stem.with_name(stem.name + ".pdf").read_bytes().split())
    kinds = re.findall(rb"/Type /Font /Subtype /(\w+)", pdf)
    assert kinds and set(kinds) <= {b"Type0", b"CIDFontType2", b"TrueType"}
    assert pdf.count(b"/FontFile2") == pdf.count(b"/Type /FontDescriptor") >= 1
    [width] = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", pdf)
    assert float(width) / 72 in (COLUMN, WIDTH)
    assert f"/Subject (Made by {command})".encode() in pdf
    with Image.open(stem.with_name(stem.name + ".png")) as picture:
        assert picture.text["Description"] == f"Made by {command}"


GRAIN = 15  # standard deviation of the grain, in grey levels


def grain(generator: np.random.Generator, defect: bool = False, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """A grainy surface, uint8 [size, size], and its mask; in a defect, a square, the grain is four times as strong.

    Stronger grain means larger noise, larger latents and larger reconstruction errors: an anomaly to every method.
    """
    image, mask = GRAIN * generator.standard_normal((size, size)), np.zeros((size, size), bool)
    if defect:
        top, left = generator.integers(2, size - 18, 2)
        mask[top:top + 16, left:left + 16] = True
    return (128 + np.where(mask, 4, 1) * image).clip(0, 255).round().astype(np.uint8), mask


@pytest.fixture(scope="session")
def trivial_set(tmp_path_factory):
    """(training ImageSet, normal uint8 [N, C, H, W], anomalous [N, C, H, W], their masks [N, H, W])."""
    folder, generator = tmp_path_factory.mktemp("trivial"), np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(grain(generator)[0]).save(folder / f"{i:02}.png")
    normal = np.stack([grain(generator)[0] for _ in range(12)])
    anomalous, masks = map(np.stack, zip(*(grain(generator, defect=True) for _ in range(12)), strict=True))
    return (ImageSet(folder, [f"{i:02}.png" for i in range(40)], channels=1), torch.from_numpy(normal)[:, None],
            torch.from_numpy(anomalous)[:, None], torch.from_numpy(masks))


class Trained(dict):
    """The noise predictors that config/config.yaml names, much smaller, each trained for seconds when asked for."""

    KINDS = {"pixels": (PREDICTOR, 960), "simplex": (PREDICTOR | {"noise": "simplex"}, 320),
             "features": (FEATURES, 16)}

    def __init__(self, images: ImageSet, folder: Path):
        super().__init__()
        self.images, self.folder = images, folder

    def __missing__(self, name: str) -> NoisePredictor:
        settings, count = self.KINDS[name]
        torch.manual_seed(0)
        self[name] = NoisePredictor(settings, 1)
        Training(TRAINING | {"images": count}, 0, self.folder / name)(
            self[name].network, self[name].loss, self[name].training_batches(self.images, 16))
        return self[name]


@pytest.fixture(scope="session")
def trained_predictors(trivial_set, tmp_path_factory):
    """name -> NoisePredictor, trained on the trivial set: see Trained."""
    return Trained(trivial_set[0], tmp_path_factory.mktemp("predictors"))
