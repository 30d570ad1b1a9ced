"""The forward process: how much of the image is left at each timestep, and the noise that is put in its place.

Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020: linear schedule beta = 1e-4 ... 0.02 over
T = 1000 steps, alpha_bar_t = prod(1 - beta). Timesteps count from 0 to T - 1, as in the papers' code.
"""

from functools import lru_cache

import torch
from torch import Tensor

T = 1000
# alpha_bar_t for t = 0 ... T - 1, float64, from 0.9999 down to 4e-5; and as floats, which no device has to give
SCHEDULE = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T, dtype=torch.float64), dim=0)
ALPHA_BAR: list[float] = SCHEDULE.tolist()


def at(t: Tensor, device: torch.device | str) -> Tensor:
    """alpha_bar_t of timesteps [N], float32 [N, 1, 1, 1] to go with a batch of images on `device`."""
    return SCHEDULE[t].float().view(-1, 1, 1, 1).to(device)


def diffuse(x_0: Tensor, t: int | Tensor, e: Tensor | float) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) e, one forward step from 0 to t (eq. 4).

    x_0, e: [N, C, H, W]. t: a timestep, or one for each image, [N] on the CPU.
    """
    a = at(t, x_0.device) if isinstance(t, Tensor) else ALPHA_BAR[t]
    return a**0.5 * x_0 + (1 - a) ** 0.5 * e


def draw_noise(shape: tuple[int, ...] | torch.Size, generator: torch.Generator, kind: str = "gaussian") -> Tensor:
    """e of `shape` [N, C, H, W], mean 0 and variance 1, on the CPU. kind: "gaussian" = N(0, I), or "simplex"."""
    if kind == "gaussian":
        return torch.randn(shape, generator=generator)
    from radar.diffusion.simplex import simplex_noise  # with a compiler, which few jobs need

    n, c, height, width = shape
    return simplex_noise(n, c, height, width, generator)


@lru_cache(maxsize=64)
def image_noise(channels: int, height: int, width: int, seed: int, draw: int, device: torch.device | str,
                kind: str = "gaussian") -> Tensor:
    """Noise [1, C, H, W] as by draw_noise; one field per size, seed and draw serves all images, so that a score depends
    neither on the batch nor on the order. Drawn on the CPU: every device sees the same numbers.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + draw)
    return draw_noise((1, channels, height, width), generator, kind).to(device)
