"""Synthetic anomalies: the masks, the sources, and what is pasted where."""

import numpy as np
import pytest
import skimage.data
import torch

from radar.images import synthetic
from radar.images.synthetic import paste, perlin_masks, perlin_noise, recolour, self_source, texture_source

SIZES = [(8, 8), (17, 40), (32, 32), (64, 48)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def neighbours(fields: np.ndarray) -> float:
    """Correlation of a pixel with the next one."""
    return np.corrcoef(fields[:, :, 1:].ravel(), fields[:, :, :-1].ravel())[0, 1]


@pytest.fixture
def plain(monkeypatch):
    """Sources without recolouring."""
    monkeypatch.setattr(synthetic, "recolour", lambda image, rng: image)


@pytest.mark.parametrize("height, width", SIZES)
def test_every_mask_has_pixels_and_they_hang_together(height, width):
    masks = perlin_masks(300, height, width, rng())
    assert masks.shape == (300, height, width) and masks.dtype == bool
    assert masks.any(axis=(1, 2)).all()
    assert 0.02 < masks.mean() < 0.15
    white = rng().random(masks.shape) < masks.mean()
    assert neighbours(masks) > 0.4 > 0.1 > abs(neighbours(white))


def test_masks_are_fixed_by_the_generator():
    assert np.array_equal(perlin_masks(20, 32, 32, rng(1)), perlin_masks(20, 32, 32, rng(1)))
    assert not np.array_equal(perlin_masks(20, 32, 32, rng(1)), perlin_masks(20, 32, 32, rng(2)))


def test_empty_masks_are_drawn_fifty_times_and_then_left(monkeypatch):
    drawn = []

    def nothing(height, width, scales, rng):
        drawn.append(len(scales))
        return np.zeros((len(scales), height, width))

    monkeypatch.setattr(synthetic, "perlin_noise", nothing)
    assert not perlin_masks(3, 16, 16, rng()).any()
    assert drawn == [3] * 50


@pytest.mark.parametrize("length, most", [(8, 2), (32, 8), (100, 16), (128, 32), (1000, 32)])
def test_scales_are_powers_of_two_with_cells_of_four_px_at_least(monkeypatch, length, most):
    seen = []
    monkeypatch.setattr(synthetic, "perlin_noise", lambda height, width, scales, rng: seen.append(scales) or np.ones(
        (len(scales), 1, 1)))
    perlin_masks(500, length, 8, rng())
    assert set(seen[0][:, 0]) == {2**k for k in range(6) if 2**k <= most} and set(seen[0][:, 1]) == {1, 2}


def test_perlin_noise_against_a_loop_over_pixels():
    height, width, scales = 12, 20, np.array([[2, 4], [1, 1], [3, 2]])
    noise = perlin_noise(height, width, scales, rng(5))
    again = rng(5)
    angle, turn = again.uniform(0, 2 * np.pi, (3, 25)), again.uniform(-np.pi / 2, np.pi / 2, (3, 1, 1)).ravel()
    gradient = np.stack([np.sin(angle), np.cos(angle)], axis=2).reshape(3, 5, 5, 2)  # corners of 4 cells at most

    for i, (rows, columns) in enumerate(scales):
        for y in range(height):
            for x in range(width):
                centred = np.array([y + 0.5 - height / 2, x + 0.5 - width / 2])
                turned = np.array([[np.cos(turn[i]), -np.sin(turn[i])], [np.sin(turn[i]), np.cos(turn[i])]]) @ centred
                place = (turned / [height, width] + 0.5) * [rows, columns]
                expected = 0.0
                if (place >= 0).all() and (place < [rows, columns]).all():
                    cell = np.floor(place).astype(int)
                    for corner in np.ndindex(2, 2):
                        way = place - cell - corner
                        weight = 1 - np.abs(way)
                        weight = 6 * weight**5 - 15 * weight**4 + 10 * weight**3  # fade(1 - t) = 1 - fade(t)
                        expected += np.sqrt(2) * weight.prod() * gradient[i][tuple(cell + corner)] @ way
                assert noise[i, y, x] == pytest.approx(expected, abs=1e-5)
    assert np.abs(perlin_noise(64, 64, np.full((50, 2), 8), rng())).max() <= 1


@pytest.mark.parametrize("height, width", SIZES)
def test_self_source_shuffles_rows_and_columns_of_the_grid(plain, height, width):
    image = rng().random((3, height, width)).astype(np.float32)
    source = self_source(image, rng(1))
    assert source.shape == image.shape and not np.array_equal(source, image)
    assert np.array_equal(np.sort(source, axis=None), np.sort(image, axis=None))
    if height == 32:  # 8 x 8 cells of 4 px, each of them whole
        def cells(one):
            return {one[:, y:y + 4, x:x + 4].tobytes() for y in range(0, 32, 4) for x in range(0, 32, 4)}
        assert cells(source) == cells(image)


@pytest.mark.parametrize("channels, height, width", [(1, 8, 8), (3, 10, 6)])
def test_texture_source_is_a_crop_of_a_named_photograph(plain, channels, height, width):
    def holds(name, crop):
        photograph = getattr(skimage.data, name)().astype(np.float32) / 127.5 - 1
        windows = np.lib.stride_tricks.sliding_window_view(photograph, crop.shape)
        return np.isclose(windows, crop, atol=1e-6).all(axis=(2, 3)).any()

    generator = rng()
    for _ in range(3):
        source = texture_source(channels, height, width, generator, ["brick"])
        assert source.shape == (channels, height, width) and (source == source[:1]).all()
        assert holds("brick", source[0]) and not holds("gravel", source[0])


def test_a_texture_is_continued_for_images_larger_than_the_photograph():
    source = texture_source(1, 600, 300, rng(), ["grass"])
    assert source.shape == (1, 600, 300) and np.isfinite(source).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_recolouring_stays_in_range(channels):
    generator = rng()
    for image in (generator.uniform(-1, 1, (channels, 8, 8)), -np.ones((channels, 8, 8)), np.ones((channels, 8, 8))):
        for _ in range(50):
            recoloured = recolour(image.astype(np.float32), generator)
            assert recoloured.shape == image.shape and recoloured.dtype == np.float32
            assert np.isfinite(recoloured).all() and np.abs(recoloured).max() <= 1


def test_paste_blends_the_source_into_the_mask_only(monkeypatch):
    source = np.full((2, 24, 40), 0.5, dtype=np.float32)
    monkeypatch.setattr(synthetic, "self_source", lambda patch, rng: source)
    monkeypatch.setattr(synthetic, "BETA", (0.25, 0.25))
    patches = torch.rand(5, 2, 24, 40) - 0.9
    x, mask = paste(patches, rng(), probability=1.0)
    inside = mask.expand_as(x)
    assert mask.shape == (5, 1, 24, 40) and mask.dtype == torch.bool and mask.flatten(1).any(1).all()
    assert torch.equal(x[~inside], patches[~inside])
    torch.testing.assert_close(x[inside], (0.25 * patches + 0.75 * 0.5)[inside])


@pytest.mark.parametrize("textures", [(), ("brick", "grass")])
@pytest.mark.parametrize("shape", [(40, 1, 8, 8), (40, 3, 32, 32), (6, 1, 70, 33)])
def test_pasted_anomalies_change_the_mask_and_nothing_else(shape, textures):
    patches = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = patches.clone()
    x, mask = paste(patches, rng(), probability=1.0, textures=textures)
    inside = mask.expand_as(x)
    assert x.shape == patches.shape and x.dtype == patches.dtype and x.abs().max() <= 1
    assert torch.equal(patches, before) and torch.equal(x[~inside], patches[~inside])
    assert (x != patches)[inside].float().mean() > 0.95
    again, same = paste(patches, rng(), probability=1.0, textures=textures)
    assert torch.equal(again, x) and torch.equal(same, mask)


def test_probability_of_an_anomaly():
    patches = torch.rand(400, 1, 8, 8)
    for probability, low, high in ((0.0, 0, 0), (0.5, 160, 240), (1.0, 400, 400)):
        x, mask = paste(patches, rng(), probability=probability)
        anomalous = mask.flatten(1).any(1)
        assert low <= anomalous.sum() <= high
        assert torch.equal(x[~anomalous], patches[~anomalous])


def test_both_sources_are_drawn_where_there_are_textures(monkeypatch):
    drawn = []
    monkeypatch.setattr(synthetic, "self_source", lambda patch, rng: drawn.append("self") or patch)
    monkeypatch.setattr(synthetic, "texture_source", lambda c, h, w, rng, names: drawn.append("texture") or np.zeros(
        (c, h, w), np.float32))
    paste(torch.rand(400, 1, 8, 8), rng(), probability=1.0, textures=["grass"])
    assert 160 < drawn.count("self") < 240 and len(drawn) == 400
    drawn.clear()
    paste(torch.rand(20, 1, 8, 8), rng(), probability=1.0)
    assert drawn == ["self"] * 20
