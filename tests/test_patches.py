"""Tiling, stitching and the numbers taken from maps, against naive loops and scipy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from radar.images.filters import root_mean_squares, smooth, sobel_magnitude, top_mean
from radar.images.tiling import Tiling

SIZES = [(32, 32), (64, 64), (50, 71), (33, 128), (20, 100), (5, 9), (1, 40)]


@pytest.mark.parametrize("height, width", SIZES)
def test_stitching_the_tiles_of_an_image_gives_the_image(height, width):
    x = torch.randn(3, 2, height, width)
    tiling = Tiling(height, width, 32, 16)
    tiles = tiling.split(x)
    assert tiles.shape == (3 * tiling.count, 2, 32, 32)
    torch.testing.assert_close(tiling.stitch(tiles), x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("height, width", [(50, 71), (64, 32)])
def test_tiles_are_the_image_at_their_places_and_leave_no_gap(height, width):
    x = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    tiling = Tiling(height, width, 32, 16)
    tiles = iter(tiling.split(x))
    for top in tiling.tops:
        for left in tiling.lefts:
            assert torch.equal(next(tiles)[0], x[0, 0, top:top + 32, left:left + 32])
    for starts, length in ((tiling.tops, height), (tiling.lefts, width)):
        assert starts[0] == 0 and starts[-1] == length - 32
        assert all(0 < b - a <= 16 for a, b in zip(starts, starts[1:], strict=False))


def test_stitching_is_the_window_weighted_mean_of_the_tiles():
    tiling = Tiling(50, 40, 32, 16)
    tiles = torch.randn(tiling.count, 1, 32, 32, dtype=torch.float64)
    window = np.sin(np.pi * (np.arange(32) + 0.5) / 32) ** 2 + 1e-3
    total, weight = np.zeros((50, 40)), np.zeros((50, 40))
    places = [(top, left) for top in tiling.tops for left in tiling.lefts]
    for tile, (top, left) in zip(tiles, places, strict=True):
        total[top:top + 32, left:left + 32] += np.outer(window, window) * tile[0].numpy()
        weight[top:top + 32, left:left + 32] += np.outer(window, window)
    np.testing.assert_allclose(tiling.stitch(tiles.float())[0, 0], total / weight, atol=1e-5)


def test_sobel_magnitude_is_scipys():
    n = torch.randn(2, 3, 20, 31)
    expected = [[np.hypot(*(ndimage.sobel(channel, axis=axis, mode="nearest") for axis in (0, 1))) for channel in one]
                for one in n.numpy()]
    np.testing.assert_allclose(sobel_magnitude(n), np.array(expected), rtol=1e-4, atol=1e-4)


def test_smoothing_is_scipys():
    x = torch.randn(2, 40, 33)
    expected = [ndimage.gaussian_filter(one.numpy(), 2.0, mode="nearest", truncate=3) for one in x]
    np.testing.assert_allclose(smooth(x, 2.0), expected, atol=1e-5)
    assert smooth(x, 0) is x


def test_top_mean_by_hand():
    assert top_mean(torch.tensor([[[1.0, 2], [3, 10]]]), 0.5).tolist() == [6.5]
    assert top_mean(torch.tensor([[[1.0, 2], [3, 10]]]), 0.01).tolist() == [10.0]


@pytest.mark.parametrize("height, width", [(64, 64), (50, 71), (20, 100), (10, 10)])
def test_root_mean_squares_are_those_of_the_image_and_of_its_strongest_patch(height, width):
    x = torch.randn(2, height, width)
    h, w = min(32, height), min(32, width)
    tops = sorted({*range(0, height - h + 1, 16), height - h})
    lefts = sorted({*range(0, width - w + 1, 16), width - w})
    for one, (whole, local) in zip(x, root_mean_squares(x, 32, 16), strict=True):
        assert whole.item() == pytest.approx(one.square().mean().sqrt().item(), rel=1e-5)
        strongest = max(one[a:a + h, b:b + w].square().mean().sqrt().item() for a in tops for b in lefts)
        assert local.item() == pytest.approx(strongest, rel=1e-5)
