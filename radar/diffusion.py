"""The noise predictor that RADAR, DDIM inversion and DDPM reconstruction share: a U-Net, a schedule, an objective.

Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020: linear schedule beta = 1e-4 ... 0.02 over
T = 1000 steps, alpha_bar_t = prod(1 - beta), x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) e (eq. 4), and the
simplified objective E || e - eps(x_t, t) ||^2 with t uniform (eq. 14). Timesteps count from 0 to T - 1, as in the
papers' code. Training on patches with an attention U-Net is RADAR's (arXiv 2508.04818); the sizes are ours.
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from safetensors.torch import load, save
from torch import Tensor

from radar.files import atomic, write_json
from radar.patches import Tiling, tiling

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


@lru_cache(maxsize=16)
def image_noise(channels: int, height: int, width: int, seed: int, draw: int, device: torch.device | str) -> Tensor:
    """Standard normal noise [1, C, H, W], the same for every image of this size.

    One field per (seed, draw) serves all images, so that a score depends neither on the batch nor on the order; it is
    drawn on the CPU, so that every device sees the same numbers.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + draw)
    return torch.randn(1, channels, height, width, generator=generator).to(device)


class NoisePredictor:
    """eps(x_t, t): predicts the noise in patches of `patch` px.

    settings: patch, stride, channels (of the U-Net's levels), layers_per_block, attention (at the lowest level),
    norm_groups, tile_batch (how many tiles go through the network at once; a matter of memory and speed only).
    image_channels: 1 for grey, 3 for colour.
    """

    def __init__(self, settings: dict, image_channels: int, device: torch.device | str = "cpu"):
        self.settings, self.image_channels, self.device = settings, image_channels, torch.device(device)
        widths = tuple(settings["channels"])
        plain = len(widths) - 1
        attends = settings["attention"]
        self.unet = UNet2DModel(
            sample_size=settings["patch"], in_channels=image_channels, out_channels=image_channels,
            block_out_channels=widths, layers_per_block=settings["layers_per_block"],
            norm_num_groups=settings["norm_groups"], add_attention=attends,
            down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D" if attends else "DownBlock2D",),
            up_block_types=("AttnUpBlock2D" if attends else "UpBlock2D",) + ("UpBlock2D",) * plain,
        ).to(self.device, memory_format=torch.channels_last)
        self.unet.eval().requires_grad_(False)
        self.sha256: str | None = None  # of the weights, once saved or loaded

    def tiling(self, images: Tensor) -> Tiling:
        """The tiles of these images [N, C, H, W], at the size that the network was trained on."""
        return tiling(*images.shape[2:], self.settings["patch"], self.settings["stride"], images.device)

    @torch.inference_mode()
    def eps(self, x_t: Tensor, t: int) -> Tensor:
        """Predicted noise of tiles [N, C, patch, patch] at timestep t in 0 ... T - 1; same shape."""
        return torch.cat([
            self.unet(part.contiguous(memory_format=torch.channels_last), t, return_dict=False)[0]
            for part in x_t.split(self.settings["tile_batch"])
        ])

    def loss(self, x_0: Tensor, generator: torch.Generator) -> Tensor:
        """E || e - eps(x_t, t) ||^2 over patches x_0 [N, C, patch, patch], t uniform, e ~ N(0, I) (eq. 14)."""
        t = torch.randint(0, T, (len(x_0),), generator=generator)
        e = torch.randn(x_0.shape, generator=generator).to(self.device)
        a = _SCHEDULE[t].float().view(-1, 1, 1, 1).to(self.device)
        x_t = a.sqrt() * x_0.to(self.device) + (1 - a).sqrt() * e
        x_t = x_t.contiguous(memory_format=torch.channels_last)
        return (e - self.unet(x_t, t.to(self.device), return_dict=False)[0]).square().mean()

    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.unet.parameters())

    def save(self, folder: Path, provenance: dict) -> None:
        """Write noise_predictor.safetensors and noise_predictor.json into `folder`."""
        data = save({name: tensor.cpu().contiguous() for name, tensor in self.unet.state_dict().items()})
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
        predictor.unet.load_state_dict(load(data))
        predictor.sha256 = hashlib.sha256(data).hexdigest()
        return predictor
