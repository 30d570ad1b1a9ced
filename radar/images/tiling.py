"""Tiling an image into overlapping square patches, and stitching what a network says about them.

RADAR works on patches (arXiv 2508.04818); how they are laid and blended is our reading: a regular grid with overlap,
blended by a separable raised-cosine window. Stitching is then two matrix products, A_y X A_x^T, whose rows are the
normalised window weights: no loop over tiles, no scatter, the same result in every run on every device.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from radar.images.image_set import reflect_to


class Tiling:
    """A grid of tiles of `size` px over images of height x width, neighbours at most `stride` px apart.

    The tiles are spread evenly so that the last one ends at the image's border. An image smaller than a tile is
    continued by reflection, and the continuation is cut off again by `stitch`.
    """

    def __init__(self, height: int, width: int, size: int, stride: int, device: torch.device | str = "cpu"):
        self.size = size
        self.tops, self.lefts = _starts(max(height, size), size, stride), _starts(max(width, size), size, stride)
        self.count = len(self.tops) * len(self.lefts)  # tiles per image, P
        self._rows, self._columns = _indices(self.tops, size, device), _indices(self.lefts, size, device)
        self._blend_rows = _blend(self.tops, size)[:height].to(device)
        self._blend_columns = _blend(self.lefts, size)[:width].T.contiguous().to(device)

    def split(self, images: Tensor) -> Tensor:
        """[N, C, H, W] -> [N * P, C, size, size], the tiles of an image in reading order."""
        n, c = images.shape[:2]
        images = reflect_to(images, self.size)
        tiles = images.index_select(2, self._rows).index_select(3, self._columns)
        tiles = tiles.view(n, c, len(self.tops), self.size, len(self.lefts), self.size)
        return tiles.permute(0, 2, 4, 1, 3, 5).reshape(-1, c, self.size, self.size)

    def stitch(self, tiles: Tensor) -> Tensor:
        """[N * P, C, size, size] -> [N, C, H, W]: the window-weighted mean of the tiles that cover a pixel."""
        c = tiles.shape[1]
        grid = tiles.view(-1, len(self.tops), len(self.lefts), c, self.size, self.size).permute(0, 3, 1, 4, 2, 5)
        grid = grid.reshape(-1, c, len(self.tops) * self.size, len(self.lefts) * self.size)
        return self._blend_rows @ grid @ self._blend_columns


@lru_cache(maxsize=64)
def tiling(height: int, width: int, size: int, stride: int, device: torch.device | str) -> Tiling:
    """A Tiling from a cache: laying one out costs as much as evaluating a small network on it."""
    return Tiling(height, width, size, stride, device)


def _starts(length: int, size: int, stride: int) -> list[int]:
    count = math.ceil((length - size) / stride) + 1
    return [round(i * (length - size) / max(count - 1, 1)) for i in range(count)]


def _indices(starts: list[int], size: int, device: torch.device | str) -> Tensor:
    return (torch.tensor(starts)[:, None] + torch.arange(size)).flatten().to(device)


def _blend(starts: list[int], size: int) -> Tensor:
    """[length, tiles * size]: row y holds the weights of every tile pixel that lies at y; each row sums to 1."""
    position = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    window = torch.sin(torch.pi * position) ** 2 + 1e-3  # the floor carries the border, where only one tile lies
    weights = torch.zeros(starts[-1] + size, len(starts) * size, dtype=torch.float64)
    weights[_indices(starts, size, "cpu"), torch.arange(len(starts) * size)] = window.repeat(len(starts))
    return (weights / weights.sum(1, keepdim=True)).float()
