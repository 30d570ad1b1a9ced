"""The noise predictor that RADAR, DDIM inversion and DDPM reconstruction share: a network and its objective.

Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020: eps(x_t, t) is trained to predict the noise
e in x_t by the simplified objective E || e - eps(x_t, t) ||^2 with t uniform (eq. 14). The schedule is in
radar.diffusion.schedule. Training on patches with an attention U-Net is RADAR's (arXiv 2508.04818); the sizes are ours.
x_0 is the image itself, or a map of frozen features (InvAD, arXiv 2504.05662), standardised [ours].
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from radar.diffusion import networks
from radar.diffusion.schedule import ALPHA_BAR, T, at, diffuse, draw_noise, image_noise
from radar.diffusion.training import Batches
from radar.files import atomic, write_json
from radar.images.features import FrozenFeatures, feature_maps
from radar.images.image_set import ImageSet, Kept
from radar.images.tiling import Tiling, tiling


class NoisePredictor:
    """eps(x_t, t): predicts the noise in squares of `patch`, cut from x_0, which `encode` makes of an image.

    settings: a complete one of config/config.yaml's noise_predictors, where the keys are explained. If it predicts
        "noise", the network gives eps itself [Ho et al.]; if "velocity", v = sqrt(a) e - sqrt(1 - a) x_0, and eps =
        sqrt(1 - a) x_t + sqrt(a) v (Salimans & Ho, "Progressive Distillation", ICLR 2022): while v is 0, eps is the
        optimal predictor for data of unit covariance, and the network only learns what is beyond it.
    image_channels: 1 for grey, 3 for colour.
    features: the frozen network whose features x_0 are, or None; groups: how many channels of x_0 belong together.
    memory: while it is on, `eps` and `encode` do not compute again what they have computed.
    sha256: of the weights, once saved or loaded.
    Raises ValueError if `patch` is not the side of the feature map.
    """

    def __init__(self, settings: dict, image_channels: int, device: torch.device | str = "cpu"):
        self.settings, self.image_channels, self.device = settings, image_channels, torch.device(device)
        self.features, self.groups = None, [image_channels]
        if settings["space"] == "features":
            self.features = FrozenFeatures(self.device, settings["backbone"])
            self.groups = self.features.groups
            if settings["patch"] != self.features.grid:
                raise ValueError(f"noise predictor on features: patch is {settings['patch']}, the feature map's side "
                                 f"is {self.features.grid}")
        self.standardisation: dict[str, Tensor] = {}  # of features, learned of the training images
        self.network = networks.build(sum(self.groups), settings).to(self.device).eval().requires_grad_(False)
        self.memory = Memory()
        self.sha256: str | None = None

    def loss(self, x_0: Tensor, generator: torch.Generator) -> Tensor:
        """E || e - eps(x_t, t) ||^2 over squares x_0 [N, C', patch, patch], t uniform (eq. 14)."""
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        e = draw_noise(x_0.shape, generator, self.settings["noise"]).to(self.device)
        x_t = diffuse(x_0.to(self.device), t, e)
        return (e - self._eps(x_t, t.to(self.device), at(t, self.device))).square().mean()

    @torch.inference_mode()
    def eps(self, x_t: Tensor, t: int) -> Tensor:
        """Predicted noise of squares [N, C', patch, patch] at timestep t in 0 ... T - 1; same shape."""
        return self.memory(t, x_t, lambda x_t: torch.cat(
            [self._eps(part, t, ALPHA_BAR[t]) for part in x_t.split(self.settings["tile_batch"])]))

    def _eps(self, x_t: Tensor, t: Tensor | int, a: Tensor | float) -> Tensor:
        x_t = x_t.contiguous(memory_format=torch.channels_last)
        out = self.network(x_t, t, return_dict=False)[0]
        return out if self.settings["predicts"] == "noise" else (1 - a) ** 0.5 * x_t + a**0.5 * out

    def encode(self, images: Tensor) -> Tensor:
        """x_0 [N, C', H', W'] of images [N, C, H, W] in [-1, 1]: the images themselves, or their features."""
        if (features := self.features) is None:
            return images
        return self.memory("encode", images, lambda images: self._standardised(features(images)))

    def training_batches(self, images: ImageSet, count: int) -> Batches:
        """batches(generator) -> `count` squares x_0 [count, C', patch, patch] of these normal images: random patches,
        or feature maps of random ones, whose standardisation is taken from all."""
        if self.features is None:
            return lambda generator: images.random_patches(count, self.settings["patch"], generator)
        maps = feature_maps(self.features, images)
        self.standardisation = standardisation(maps, self.settings["standardise"])

        def batches(generator: torch.Generator) -> Tensor:
            chosen = torch.randint(len(maps), (count,), generator=generator).tolist()
            return self._standardised(torch.stack([maps[i] for i in chosen]))

        return batches

    def _standardised(self, maps: Tensor) -> Tensor:
        centred = maps - self.standardisation["mean"]
        return torch.einsum("dc,nchw->ndhw", self.standardisation["matrix"], centred).contiguous()

    def tiling(self, x_0: Tensor) -> Tiling:
        """The squares of x_0 [N, C', H', W'], at the size that the network was trained on."""
        return tiling(*x_0.shape[2:], self.settings["patch"], self.settings["stride"], x_0.device)

    def noise(self, x_0: Tensor, seed: int, draw: int) -> Tensor:
        """e [1, C', H', W'] for x_0, of the kind that the predictor was trained with: see image_noise."""
        return image_noise(*x_0.shape[1:], seed, draw, x_0.device, self.settings["noise"])

    def parameters(self) -> int:
        """Number of parameters, the frozen features' included."""
        own = sum(parameter.numel() for parameter in self.network.parameters())
        return own + (self.features.parameters() if self.features else 0)

    def save(self, folder: Path, provenance: dict) -> None:
        """Write noise_predictor.safetensors and noise_predictor.json into `folder`."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"encoding.{name}": tensor for name, tensor in self.standardisation.items()}
        data = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        self.sha256 = hashlib.sha256(data).hexdigest()
        with atomic(folder / "noise_predictor.safetensors") as temporary:
            temporary.write_bytes(data)
        write_json(folder / "noise_predictor.json", {
            "settings": self.settings, "image_channels": self.image_channels, "weights_sha256": self.sha256,
            "parameters": self.parameters(), "provenance": provenance,
        })

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> "NoisePredictor":
        """The predictor that `save` wrote. Raises OSError naming the folder if there is none."""
        try:
            description = json.loads((folder / "noise_predictor.json").read_text())
            data = (folder / "noise_predictor.safetensors").read_bytes()
        except OSError as error:
            raise OSError(f"{folder} holds no trained noise predictor; run snakemake to train it") from error
        predictor = cls(description["settings"], description["image_channels"], device)
        tensors = load(data)
        if predictor.features is not None:
            predictor.standardisation = {name: tensors.pop(f"encoding.{name}").to(device)
                                         for name in ("mean", "matrix")}
        predictor.network.load_state_dict({name.removeprefix("network."): one for name, one in tensors.items()})
        predictor.sha256 = hashlib.sha256(data).hexdigest()
        return predictor


class Memory:
    """memory(name, x, evaluate) is evaluate(x), or, while it is `on`, what it was for the same bytes of x before: for
    studies that read the same predictions in many ways."""

    def __init__(self) -> None:
        self._kept: dict[tuple, Tensor] = {}  # the latest at the end
        self._room = 0

    @contextmanager
    def on(self, room: int = 250_000_000) -> Iterator[None]:
        """Within this context the latest results are kept, up to `room` numbers. Never while something is timed."""
        outer = self._room
        self._room = outer or room
        try:
            yield
        finally:
            self._room = outer
            if not outer:
                self._kept.clear()

    def __call__(self, name: object, x: Tensor, evaluate: Callable[[Tensor], Tensor]) -> Tensor:
        if not self._room:
            return evaluate(x)
        key = name, x.shape, hashlib.blake2b(x.contiguous().cpu().numpy().data, digest_size=16).digest()
        value = self._kept.pop(key) if key in self._kept else evaluate(x)
        self._kept[key] = value
        while sum(one.numel() for one in self._kept.values()) > self._room:
            del self._kept[next(iter(self._kept))]
        return value


def standardisation(maps: Kept, kind: str) -> dict[str, Tensor]:
    """What standardises feature maps [C, h, w], matrix [C, C] (maps - mean), from those of normal training images.

    kind: "channel", zero mean and unit variance of every channel, mean [C, 1, 1]; or "whiten", zero mean at every
    position, mean [C, h, w], and unit covariance of the channels, pooled over positions (Ledoit-Wolf): the symmetric
    inverse square root, so that whitened channel c is still mostly channel c. InvAD leaves features as they are.
    """
    from sklearn.covariance import ledoit_wolf  # a second to import, and needed in trainings only

    n, (c, h, w) = len(maps), maps[0].shape
    mean = torch.zeros(c, h, w, dtype=torch.float64, device=maps[0].device)
    for one in maps:
        mean += one.double() / n
    if kind == "channel":
        mean = mean.mean((1, 2), keepdim=True)
    # A few images are enough for the covariance: each has h x w positions.
    some = [maps[i] for i in range(0, n, max(1, n // 100))]
    vectors = torch.cat([(one.double() - mean).flatten(1).T for one in some])
    if kind == "channel":
        matrix = torch.diag(1 / vectors.square().mean(0).sqrt().clamp(min=1e-6))
    else:
        covariance, _ = ledoit_wolf(vectors.cpu().numpy(), assume_centered=True)
        values, basis = torch.linalg.eigh(torch.from_numpy(covariance))
        matrix = basis @ torch.diag(values.clamp(min=1e-12) ** -0.5) @ basis.T
    return {"mean": mean.float(), "matrix": matrix.float().to(mean.device)}
