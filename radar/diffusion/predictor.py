"""The noise predictor that RADAR, DDIM inversion and DDPM reconstruction share: a network and its objective.

Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020: eps(x_t, t) is trained to predict the noise
e in x_t by the simplified objective E || e - eps(x_t, t) ||^2 with t uniform (eq. 14). The schedule is in
radar.diffusion.schedule, what x_0 is in radar.diffusion.encoding. Training on patches with an attention U-Net is
RADAR's (arXiv 2508.04818); the sizes are ours.
"""

import hashlib
import json
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from radar.diffusion import networks
from radar.diffusion.encoding import Features, Pixels
from radar.diffusion.memory import Memory
from radar.diffusion.schedule import ALPHA_BAR, T, at, diffuse, draw_noise, image_noise
from radar.diffusion.training import Batches
from radar.files import atomic, write_json
from radar.images.image_set import ImageSet
from radar.images.tiling import Tiling, tiling


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
    For features also backbone (see radar.images.features) and standardise (see radar.diffusion.encoding).

    image_channels: 1 for grey, 3 for colour.
    """

    def __init__(self, settings: dict, image_channels: int, device: torch.device | str = "cpu"):
        self.settings, self.image_channels, self.device = settings, image_channels, torch.device(device)
        on_features = settings["space"] == "features"
        self.encoding = Features(settings, self.device) if on_features else Pixels(settings, image_channels)
        self.features = self.encoding.frozen  # the network whose features x_0 are; None on pixels
        self.network = networks.build(self.encoding.channels, settings).to(self.device).eval().requires_grad_(False)
        self.memory = Memory()
        self.sha256: str | None = None  # of the weights, once saved or loaded

    def remembering(self) -> AbstractContextManager[None]:
        """Within this context `eps` and `encode` do not compute again what they have computed: see Memory."""
        return self.memory.on()

    # The objective

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

    # Between images and what the network sees

    def encode(self, images: Tensor) -> Tensor:
        """x_0 [N, C', H', W'] of images [N, C, H, W] in [-1, 1]: the images themselves, or their features."""
        return images if self.features is None else self.memory("encode", images, self.encoding)

    def tiling(self, x_0: Tensor) -> Tiling:
        """The squares of x_0 [N, C', H', W'], at the size that the network was trained on."""
        return tiling(*x_0.shape[2:], self.settings["patch"], self.settings["stride"], x_0.device)

    def noise(self, x_0: Tensor, seed: int, draw: int) -> Tensor:
        """e [1, C', H', W'] for x_0, of the kind that the predictor was trained with: see image_noise."""
        return image_noise(*x_0.shape[1:], seed, draw, x_0.device, self.settings["noise"])

    def training_batches(self, images: ImageSet, count: int) -> Batches:
        """What makes squares x_0 [count, C', patch, patch] of these normal images, which standardise features, too."""
        return self.encoding.training_batches(images, count)

    def parameters(self) -> int:
        """Number of parameters, the frozen features' included."""
        own = sum(parameter.numel() for parameter in self.network.parameters())
        return own if self.features is None else own + self.features.parameters()

    # Files

    def save(self, folder: Path, provenance: dict) -> None:
        """Write noise_predictor.safetensors and noise_predictor.json into `folder`."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"encoding.{name}": tensor for name, tensor in self.encoding.state.items()}
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
        predictor.encoding.state = parts["encoding"]
        predictor.sha256 = hashlib.sha256(data).hexdigest()
        return predictor
