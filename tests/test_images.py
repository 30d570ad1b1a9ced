"""Reading photographs and drawing training patches."""

import numpy as np
import pytest
import torch
from PIL import Image

from radar.images.image_set import ImageSet, reflect_to, to_unit
from radar.images.photos import channels_of, read_image


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    grey = generator.integers(0, 256, (40, 30), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.tiff")
    Image.fromarray(generator.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(tmp_path / "colour.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "grey.png").read_bytes()[:300])
    return tmp_path


def test_grey_deep_and_colour_images(folder):
    assert [channels_of(folder / name) for name in ("grey.png", "deep.tiff", "colour.png")] == [1, 1, 3]
    np.testing.assert_array_equal(read_image(folder / "grey.png", 1), read_image(folder / "deep.tiff", 1))
    assert read_image(folder / "grey.png", 3).shape == (3, 40, 30)
    assert read_image(folder / "colour.png", 1).shape == (1, 40, 30)


def test_a_truncated_file_is_named(folder):
    with pytest.raises(OSError, match="broken.png: cannot be read as an image"):
        read_image(folder / "broken.png", 1)


def test_large_images_are_shrunk_and_small_ones_are_not_enlarged(folder):
    assert read_image(folder / "grey.png", 1, longest_side=20).shape == (1, 20, 15)
    assert read_image(folder / "grey.png", 1, longest_side=40).shape == (1, 40, 30)
    Image.new("L", (1000, 3)).save(folder / "flat.png")
    assert read_image(folder / "flat.png", 1, longest_side=100).shape == (1, 1, 100)


def test_an_image_set_is_a_sequence_of_unit_tensors(folder):
    images = ImageSet(folder, ["grey.png", "deep.tiff"], channels=1)
    assert len(list(images)) == 2
    torch.testing.assert_close(images[0], to_unit(images.uint8(0)))
    assert images[0].min() >= -1 and images[0].max() <= 1 and images[0].dtype == torch.float32
    assert torch.equal(images[-1], images[1])


def test_without_room_in_the_cache_the_images_are_the_same(folder):
    small, large = (ImageSet(folder, ["grey.png", "deep.tiff"], 1, room=room) for room in (0, 10**6))
    assert torch.equal(small[0], large[0]) and torch.equal(small[0], small[0])


def test_batches_hold_one_size_and_keep_the_order(tmp_path):
    sizes = [(8, 8), (8, 8), (8, 9), (8, 8), (8, 8), (8, 8)]
    for i, (height, width) in enumerate(sizes):
        Image.fromarray(np.full((height, width), i, np.uint8)).save(tmp_path / f"{i}.png")
    batches = list(ImageSet(tmp_path, [f"{i}.png" for i in range(6)], 1).batches(2))
    assert [batch[:, 0, 0, 0].tolist() for batch in batches] == [[0, 1], [2], [3, 4], [5]]


def test_random_patches_are_pieces_of_the_images_and_reach_the_borders_as_a_tiling_does(tmp_path):
    number = np.arange(128 * 128).reshape(128, 128)
    Image.fromarray((number // 128).astype(np.uint8)).save(tmp_path / "row.png")
    images = ImageSet(tmp_path, ["row.png"], 1)
    patches = ((images.random_patches(4000, 32, torch.Generator().manual_seed(0)) + 1) * 127.5).round()
    tops = patches[:, 0, 0, 0]
    assert torch.equal(patches[:, 0, :, 0], tops[:, None] + torch.arange(32))
    # a tiling with half overlap has 7 rows of tiles, the first at 0 and the last at 96
    assert (tops == 0).float().mean().item() == pytest.approx(1 / 8, abs=0.03)
    assert (tops == 96).float().mean().item() == pytest.approx(1 / 8, abs=0.03)
    inside = tops[(tops > 0) & (tops < 96)]
    assert torch.histc(inside, 5, 0.5, 95.5).std() < 0.15 * len(inside) / 5


def test_the_same_generator_gives_the_same_patches(folder):
    images = ImageSet(folder, ["grey.png"], 1)
    first, second = (images.random_patches(9, 8, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("length, size", [(5, 9), (2, 7), (1, 4), (9, 9)])
def test_reflection_is_numpys(length, size):
    image = torch.arange(length * 3.0).view(1, length, 3)
    expected = np.pad(image.numpy(), ((0, 0), (0, max(size - length, 0)), (0, max(size - 3, 0))), mode="reflect")
    assert np.array_equal(reflect_to(image, size), expected)
