"""Synthetic anomalies on normal images: what DiffusionAD trains on, and a yardstick where there are no labels.

Zhang, Wang, Zeng, Wu, Jiang, "DiffusionAD", TPAMI 2025 (arXiv 2303.08730), after Zavrtanik, Kristan, Skocaj, "DRAEM",
ICCV 2021. Where a mask m of thresholded Perlin noise is set, the normal image x_0 is blended with a source A of another
appearance:

    x = (1 - m) x_0 + m (beta x_0 + (1 - beta) A),   beta ~ U(0.2, 0.8).

beta weighs the image, as in the code of both papers: the anomaly shows with 1 - beta. A is the image itself, cut into
an 8 x 8 grid and shuffled, or a photograph of a texture; either is recoloured first.

All is the papers' code's, but for what is marked as ours, the textures (theirs: the Describable Textures Dataset)
and one rule for all images (their code gives textured classes textures only, and keeps the anomalies of objects on the
object, for which it has masks; here the whole image is foreground).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import skimage.data
import torch
from torch import Tensor

TEXTURES = ("brick", "grass", "gravel")  # what scikit-image ships
LARGEST_SCALE = 5     # 2^5 cells of noise along an axis, of 8 px at the papers' 256 px
SMALLEST_CELL = 4     # px, so that small patches get spots and not single pixels [ours]; no limit from 128 px on
THRESHOLD = 0.5       # of the noise, which lies in -1 ... 1
TRIES = 50            # draws of a mask that comes out empty
GRID = 8
BETA = (0.2, 0.8)     # range of the image's weight under the anomaly
RECOLOURINGS = ("gamma", "brightness", "solarise", "posterise", "invert", "stretch")


def perlin_masks(count: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Masks bool [count, height, width] of Perlin noise above 0.5; about 5 % of the pixels are set.

    Scales 2^0 ... 2^5 (cells along an axis) are drawn per axis. An empty mask is drawn again with its scales, 50 times
    in all; after that, which is all but impossible, it stays empty.
    """
    largest = [min(LARGEST_SCALE, max(int(np.log2(side / SMALLEST_CELL)), 0)) for side in (height, width)]
    scales = 2 ** rng.integers(0, np.array(largest) + 1, (count, 2))
    masks = perlin_noise(height, width, scales, rng) > THRESHOLD
    for _ in range(TRIES - 1):
        empty = np.flatnonzero(~masks.any(axis=(1, 2)))
        if not len(empty):
            break
        masks[empty] = perlin_noise(height, width, scales[empty], rng) > THRESHOLD
    return masks


def perlin_noise(height: int, width: int, scales: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gradient noise (Perlin, SIGGRAPH 1985 and 2002), float32 [N, height, width] in -1 ... 1.

    scales: int [N, 2], cells along the height and the width. Each noise is turned about the centre of the image by an
    angle in U(-90, 90) degrees; what comes from beyond its border is 0. It is evaluated at the turned places, not
    resampled [ours].
    """
    n, side = len(scales), scales.max(initial=1) + 1
    angle = rng.uniform(0, 2 * np.pi, (n, side * side)).astype(np.float32)
    down, right = np.sin(angle), np.cos(angle)  # the gradients, unit vectors, at the corners of the cells
    turn = rng.uniform(-np.pi / 2, np.pi / 2, (n, 1, 1)).astype(np.float32)
    y = np.arange(height, dtype=np.float32)[:, None] + 0.5 - height / 2
    x = np.arange(width, dtype=np.float32) + 0.5 - width / 2
    rows, columns = scales.astype(np.float32).T[:, :, None, None]
    v = ((np.cos(turn) * y - np.sin(turn) * x) / height + 0.5) * rows  # place in cells, [N, height, width]
    u = ((np.sin(turn) * y + np.cos(turn) * x) / width + 0.5) * columns
    inside = (v >= 0) & (v < rows) & (u >= 0) & (u < columns)
    row, column = np.floor(v * inside), np.floor(u * inside)
    v, u = v - row, u - column
    corner = (row * side + column).astype(np.intp).reshape(n, height * width)

    def ramp(below: int, beside: int) -> np.ndarray:  # the gradient of one corner times the way from there
        place = corner + below * side + beside
        return (np.take_along_axis(down, place, axis=1).reshape(v.shape) * (v - below)
                + np.take_along_axis(right, place, axis=1).reshape(v.shape) * (u - beside))

    fade = _fade(v)
    left = (1 - fade) * ramp(0, 0) + fade * ramp(1, 0)
    beside = (1 - fade) * ramp(0, 1) + fade * ramp(1, 1)
    return np.sqrt(np.float32(2)) * (left + _fade(u) * (beside - left)) * inside


def _fade(t: np.ndarray) -> np.ndarray:
    return t * t * t * (t * (6 * t - 15) + 10)  # Perlin's 6 t^5 - 15 t^4 + 10 t^3


def self_source(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The patch [C, H, W] itself, recoloured, with rows and columns of its 8 x 8 grid shuffled (in DiffusionAD's code
    the even ones stay ahead of the odd ones)."""
    patch = recolour(patch, rng)
    for axis in (1, 2):
        bands = np.array_split(patch, min(GRID, patch.shape[axis]), axis=axis)
        patch = np.concatenate([bands[i] for i in rng.permutation(len(bands))], axis=axis)
    return patch


def texture_source(channels: int, height: int, width: int, rng: np.random.Generator,
                   textures: Sequence[str]) -> np.ndarray:
    """A recoloured crop [channels, height, width] in [-1, 1] of one of the photographs named in `textures`.

    Leave out the texture that is to be tested (texture/brick, ...), or a method trains on what it is tested on.
    """
    photograph = _photograph(textures[int(rng.integers(len(textures)))])
    photograph = np.pad(photograph, [(0, max(height, width, side) - side) for side in photograph.shape], mode="reflect")
    top, left = (rng.integers(room - side + 1) for room, side in zip(photograph.shape, (height, width), strict=True))
    crop = photograph[top:top + height, left:left + width]
    return recolour(np.repeat(crop[None], channels, axis=0), rng)


@lru_cache
def _photograph(name: str) -> np.ndarray:
    """A grey photograph of scikit-image as float32 [512, 512] in [-1, 1]."""
    return getattr(skimage.data, name)().astype(np.float32) / np.float32(127.5) - 1


def recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Three different changes of grey values or colours, drawn from six; [C, H, W] in [-1, 1] stays there.

    With the ranges of the papers' code, which draws three of ten: these are the ones that need no image library.
    """
    value = (image + 1) / 2
    for change in rng.choice(RECOLOURINGS, 3, replace=False):
        value = _recoloured(value, change, rng).clip(0, 1)
    return (2 * value - 1).astype(np.float32)


def _recoloured(value: np.ndarray, change: str, rng: np.random.Generator) -> np.ndarray:
    match change:
        case "gamma":
            return value ** rng.uniform(0.5, 2.0, (len(value), 1, 1))  # per channel: tints a grey photograph
        case "brightness":
            return value * rng.uniform(0.8, 1.2) + rng.uniform(-30, 30) / 255
        case "solarise":
            threshold = rng.uniform(32, 128) / 255
            return np.where((value >= threshold) & (rng.random() < 0.5), 1 - value, value)
        case "posterise":
            levels = 2 ** rng.integers(1, 9)
            return np.floor(value * levels).clip(max=levels - 1) / (levels - 1)
        case "invert":
            return 1 - value
        case _:
            low, high = value.min(), value.max()
            return (value - low) / max(high - low, 1 / 255)


def paste(patches: Tensor, rng: np.random.Generator, probability: float,
          textures: Sequence[str] = ()) -> tuple[Tensor, Tensor]:
    """Normal patches or images [N, C, H, W] in [-1, 1], some with an anomaly: (x like patches, mask bool [N, 1, H, W]).

    probability: of an anomaly, for every image by itself; the others come back as they are, with an empty mask.
    textures: see texture_source; if there are none, every source is the image itself, else every second one.
    """
    n, c, height, width = patches.shape
    chosen = np.flatnonzero(rng.random(n) < probability)
    masks = np.zeros((n, 1, height, width), dtype=bool)
    masks[chosen, 0] = perlin_masks(len(chosen), height, width, rng)
    x = patches.detach().cpu().numpy().copy()
    for i in chosen:
        textured = len(textures) > 0 and rng.random() < 0.5
        source = texture_source(c, height, width, rng, textures) if textured else self_source(x[i], rng)
        beta = np.float32(rng.uniform(*BETA))
        x[i] = np.where(masks[i], beta * x[i] + (1 - beta) * source, x[i])
    return torch.from_numpy(x).to(patches), torch.from_numpy(masks).to(patches.device)
