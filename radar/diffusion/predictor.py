"""The noise predictor that RADAR, DDIM inversion and DDPM reconstruction share: a network, a schedule, an objective.

Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020: linear schedule beta = 1e-4 ... 0.02 over
T = 1000 steps, alpha_bar_t = prod(1 - beta), x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) e (eq. 4), and the
simplified objective E || e - eps(x_t, t) ||^2 with t uniform (eq. 14). Timesteps count from 0 to T - 1, as in the
papers' code. Training on patches with an attention U-Net is RADAR's (arXiv 2508.04818); the sizes are ours. x_0 is the
image itself, or a map of frozen features (InvAD, arXiv 2504.05662).
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from radar.diffusion import networks
from radar.files import atomic, write_json
from radar.images.features import FeatureMaps, FrozenFeatures
from radar.images.filters import resized
from radar.images.image_set import ImageSet
from radar.images.tiling import Tiling, tiling

T = 1000


def alpha_bar() -> Tensor:
    """alpha_bar_t for t = 0 ... T - 1, float64 [T]; from 0.9999 down to 4e-5."""
    return torch.cumprod(1 - torch.linspace(1e-4, 0.02, T, dtype=torch.float64), dim=0)


_SCHEDULE = alpha_bar()
ALPHA_BAR: list[float] = _SCHEDULE.tolist()  # as python floats: reading one costs no transfer from a device


def diffuse(x_0: Tensor, t: int, e: Tensor | float) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) e, one forward-diffusion step from 0 to t (eq. 4)."""
    a = ALPHA_BAR[t]
    return a**0.5 * x_0 + (1 - a) ** 0.5 * e


def draw_noise(shape: tuple[int, ...] | torch.Size, generator: torch.Generator, kind: str = "gaussian") -> Tensor:
    """e of `shape` [N, C, H, W], mean 0 and variance 1, on the CPU. kind: "gaussian" = N(0, I), or "simplex"."""
    if kind == "gaussian":
        return torch.randn(shape, generator=generator)
    from radar.diffusion.simplex import simplex_noise  # with a compiler, which few jobs need

    return simplex_noise(*shape, generator)


@lru_cache(maxsize=64)
def image_noise(channels: int, height: int, width: int, seed: int, draw: int, device: torch.device | str,
                kind: str = "gaussian") -> Tensor:
    """Noise [1, C, H, W] of mean 0 and variance 1, the same for every image of this size; kind as in draw_noise.

    One field per (seed, draw) serves all images, so that a score depends neither on the batch nor on the order; it is
    drawn on the CPU, so that every device sees the same numbers.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + draw)
    return draw_noise((1, channels, height, width), generator, kind).to(device)


class NoisePredictor:
    """eps(x_t, t): predicts the noise in squares of `patch`, cut from x_0, which `encode` makes of an image.

    settings:
    space: "pixels", x_0 is the image; or "features", x_0 is a map of frozen features, standardised, and patch its side.
    noise: "gaussian", or "simplex" (AnoDDPM; pixels only).
    patch, stride: side of the squares, and the step between them at test time.
    network: "unet" (channels, layers_per_block, attention, norm_groups), "mlp" (width, depth) or "dit" (width, depth,
        heads): see radar.diffusion.networks.
    predicts: "noise", the network gives eps itself [Ho et al.]; or "velocity", it gives v = sqrt(a) e - sqrt(1 - a) x_0
        and eps = sqrt(1 - a) x_t + sqrt(a) v (Salimans & Ho, "Progressive Distillation", ICLR 2022): while v is 0, eps
        is the optimal predictor for data of unit covariance, and the network only learns what is beyond it.
    tile_batch: how many squares go through the network at once; a matter of memory and speed only.
    For features also: backbone (see radar.images.features), and standardise: "channel" = zero mean and unit variance of every
        channel, or "whiten" = zero mean at every position and unit covariance of the channels (Ledoit-Wolf, pooled over
        positions), both of the normal training images [ours; the paper leaves features as they are].

    image_channels: 1 for grey, 3 for colour.
    """

    def __init__(self, settings: dict, image_channels: int, device: torch.device | str = "cpu"):
        self.settings, self.image_channels, self.device = settings, image_channels, torch.device(device)
        self.features: FrozenFeatures | None = None
        self.encoding: dict[str, Tensor] = {}  # of features: mean [C, 1 or h, 1 or w] and matrix [C, C]
        channels = image_channels
        if settings["space"] == "features":
            self.features = FrozenFeatures(self.device, settings["backbone"])
            if settings["patch"] != self.features.grid:
                raise ValueError(f"noise predictor on features: patch is {settings['patch']}, the feature map's side "
                                 f"is {self.features.grid}")
            channels = self.features.channels
        self.network_channels = channels  # of x_0
        self.network = networks.build(channels, settings).to(self.device).eval().requires_grad_(False)
        self.sha256: str | None = None  # of the weights, once saved or loaded
        self._memory: OrderedDict | None = None

    # Between images and what the network sees

    @property
    def groups(self) -> list[int]:
        """How many channels of x_0 belong together: one group for pixels, one per stride for features."""
        return [self.image_channels] if self.features is None else self.features.groups

    def encode(self, images: Tensor) -> Tensor:
        """x_0 [N, C', H', W'] of images [N, C, H, W] in [-1, 1]: the images themselves, or their features."""
        if self.features is None:
            return images
        return self._remembered(("encode",), images, lambda: self._standardised(self.features(images)))

    def to_image(self, anomaly_map: Tensor, images: Tensor) -> Tensor:
        """A map [N, H', W'] over x_0 as a map [N, H, W] over the images, by bilinear interpolation."""
        return resized(anomaly_map, images.shape[2:])

    def tiling(self, x_0: Tensor) -> Tiling:
        """The squares of x_0 [N, C', H', W'], at the size that the network was trained on."""
        return tiling(*x_0.shape[2:], self.settings["patch"], self.settings["stride"], x_0.device)

    def noise(self, x_0: Tensor, seed: int, draw: int) -> Tensor:
        """e [1, C', H', W'] for x_0, of the kind that the predictor was trained with: see image_noise."""
        return image_noise(*x_0.shape[1:], seed, draw, x_0.device, self.settings["noise"])

    def training_batches(self, images: ImageSet, count: int):
        """batches(generator) -> x_0 [count, C', patch, patch] of random normal images, for radar.diffusion.training.

        On features this first takes the standardisation from these images.
        """
        if self.features is None:
            return lambda generator: images.random_patches(count, self.settings["patch"], generator)
        maps = FeatureMaps(self.features, images, self.device)
        self.encoding = standardisation(maps, self.settings["standardise"])

        def batches(generator: torch.Generator) -> Tensor:
            chosen = torch.randint(len(maps), (count,), generator=generator).tolist()
            return self._standardised(torch.stack([maps[i] for i in chosen]))

        return batches

    def _standardised(self, maps: Tensor) -> Tensor:
        return torch.einsum("dc,nchw->ndhw", self.encoding["matrix"], maps - self.encoding["mean"]).contiguous()

    # The network

    @torch.inference_mode()
    def eps(self, x_t: Tensor, t: int) -> Tensor:
        """Predicted noise of squares [N, C', patch, patch] at timestep t in 0 ... T - 1; same shape."""
        return self._remembered((t,), x_t, lambda: self._evaluate(x_t, t))

    def _remembered(self, key: tuple, x: Tensor, evaluate: Callable[[], Tensor]) -> Tensor:
        """What `evaluate` gives for x, or gave for the same bytes before: see `remembering`."""
        if self._memory is None:
            return evaluate()
        key = (*key, x.shape, hashlib.blake2b(x.contiguous().cpu().numpy(), digest_size=16).digest())
        if key not in self._memory:
            self._memory[key] = evaluate()
            while sum(value.numel() for value in self._memory.values()) > self._room:
                self._memory.popitem(last=False)
        self._memory.move_to_end(key)
        return self._memory[key]

    def _evaluate(self, x_t: Tensor, t: int) -> Tensor:
        return torch.cat([
            self._predict(part.contiguous(memory_format=torch.channels_last), t, ALPHA_BAR[t])
            for part in x_t.split(self.settings["tile_batch"])
        ])

    def _predict(self, x_t: Tensor, t: Tensor | int, a: Tensor | float) -> Tensor:
        out = self.network(x_t, t, return_dict=False)[0]
        return out if self.settings["predicts"] == "noise" else (1 - a) ** 0.5 * x_t + a**0.5 * out

    @contextmanager
    def remembering(self, numbers: int = 250_000_000) -> Iterator[None]:
        """Within this context `eps` and `encode` keep their latest results, up to so many numbers, for the same input.

        For studies that read the same predictions in many ways; never while something is timed.
        """
        if self._memory is not None:  # it does already
            yield
            return
        self._memory, self._room = OrderedDict(), numbers
        try:
            yield
        finally:
            self._memory = None

    def loss(self, x_0: Tensor, generator: torch.Generator) -> Tensor:
        """E || e - eps(x_t, t) ||^2 over squares x_0 [N, C', patch, patch], t uniform (eq. 14)."""
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        e = draw_noise(x_0.shape, generator, self.settings["noise"]).to(self.device)
        a = _SCHEDULE[t].float().view(-1, 1, 1, 1).to(self.device)
        x_t = a.sqrt() * x_0.to(self.device) + (1 - a).sqrt() * e
        x_t = x_t.contiguous(memory_format=torch.channels_last)
        return (e - self._predict(x_t, t.to(self.device), a)).square().mean()

    def parameters(self) -> int:
        """Number of parameters, the frozen features' included."""
        own = sum(parameter.numel() for parameter in self.network.parameters())
        return own if self.features is None else own + self.features.parameters()

    # Files

    def save(self, folder: Path, provenance: dict) -> None:
        """Write noise_predictor.safetensors and noise_predictor.json into `folder`."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"encoding.{name}": tensor for name, tensor in self.encoding.items()}
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
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "encoding": {}}
        for name, tensor in load(data).items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor.to(device)
        predictor.network.load_state_dict(parts["network"])
        predictor.encoding = parts["encoding"]
        predictor.sha256 = hashlib.sha256(data).hexdigest()
        return predictor


def standardisation(maps: FeatureMaps, kind: str) -> dict[str, Tensor]:
    """mean and matrix that standardise feature maps [C, h, w], from those of normal training images.

    kind: "channel", mean [C, 1, 1] and the inverse deviations on the diagonal; or "whiten", mean [C, h, w] and the
    symmetric inverse square root of the channels' covariance (so that whitened channel c is still mostly channel c).
    """
    from sklearn.covariance import ledoit_wolf  # a second to import, and needed in trainings only

    n, (c, h, w) = len(maps), maps[0].shape
    mean = torch.zeros(c, h, w, dtype=torch.float64, device=maps.device)
    for one in maps:
        mean += one.double() / n
    if kind == "channel":
        mean = mean.mean((1, 2), keepdim=True)
    elif kind != "whiten":
        raise ValueError(f"standardise is {kind!r}; allowed: channel, whiten")
    # A few images are enough for the covariance: each has h x w positions.
    some = [maps[i] for i in range(0, n, max(1, n // 100))]
    vectors = torch.cat([(one.double() - mean).flatten(1).T for one in some])
    if kind == "channel":
        matrix = torch.diag(1 / vectors.square().mean(0).sqrt().clamp(min=1e-6))
    else:
        covariance, _ = ledoit_wolf(vectors.cpu().numpy(), assume_centered=True)
        values, basis = torch.linalg.eigh(torch.from_numpy(covariance))
        matrix = basis @ torch.diag(values.clamp(min=1e-12) ** -0.5) @ basis.T
    return {"mean": mean.float(), "matrix": matrix.float().to(maps.device)}
