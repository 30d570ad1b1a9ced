"""Photographs as tensors: read lazily, uint8 [C, H, W], grey or colour, each at its own size."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from radar.images.photos import channels_of, read_image


def to_unit(images: Tensor) -> Tensor:
    """uint8 in 0..255 to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


class Kept(Sequence[Tensor]):
    """Item i is make(i), kept until `room` bytes are used, then made anew each time: memory does not grow."""

    def __init__(self, make: Callable[[int], Tensor], length: int, room: int):
        self.make, self.room, self.places, self.values = make, room, range(length), dict[int, Tensor]()

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index):
        index = self.places[index]
        value = self.values[index] if index in self.values else self.make(index)
        if index not in self.values and value.nbytes <= self.room:
            self.room -= value.nbytes
            self.values[index] = value
        return value


class ImageSet(Sequence):
    """Photographs read on demand; item i is a float32 tensor [C, H, W] in [-1, 1], sizes may differ.

    room: bytes of decoded images that are kept.
    """

    def __init__(self, root: Path, paths: Sequence[str], channels: int, longest_side: int | None = None,
                 room: int = 256 * 2**20):
        self.root, self.paths, self.channels, self.longest_side = Path(root), list(paths), channels, longest_side
        self._kept = Kept(self._read, len(paths), room)

    def __len__(self) -> int:
        return len(self.paths)

    def uint8(self, index: int) -> Tensor:
        """Image `index` as uint8 [C, H, W]."""
        return self._kept[index]

    def _read(self, index: int) -> Tensor:
        return torch.from_numpy(read_image(self.root / self.paths[index], self.channels, self.longest_side).copy())

    def __getitem__(self, index):
        return to_unit(self.uint8(index))

    def batches(self, size: int, which: Iterable[int] | None = None) -> Iterator[Tensor]:
        """Consecutive images as uint8 [N, C, H, W], N <= size; a batch ends where the image size changes.

        which: the indices of some; None = all.
        """
        chosen = range(len(self)) if which is None else which
        for _, alike in groupby(map(self.uint8, chosen), lambda image: image.shape):
            while batch := list(islice(alike, size)):
                yield torch.stack(batch)

    def random_patches(self, count: int, size: int, generator: torch.Generator) -> Tensor:
        """`count` square patches at random places of random images, float32 [count, C, size, size] in [-1, 1].

        Places are drawn from half a patch beyond the image's border, and moved back inside: patches at the border, as
        a tiling lays them at test time, come about as often as in a tiling. Without this a pixel at the border would
        be seen a thirtieth as often as one inside, and a network that hardly knows borders finds them anomalous.
        An image smaller than the patch is continued by reflection.
        """
        def start(draw: float, room: int) -> int:
            return min(max(round(draw * (room + size) - size / 2), 0), room)

        draws = torch.rand(count, 3, generator=generator).tolist()
        patches = torch.empty(count, self.channels, size, size, dtype=torch.uint8)
        for patch, (which, down, right) in zip(patches, draws, strict=True):
            image = reflect_to(self.uint8(int(which * len(self))), size)
            top, left = start(down, image.shape[1] - size), start(right, image.shape[2] - size)
            patch.copy_(image[:, top:top + size, left:left + size])
        return to_unit(patches)


def image_set(manifest, root: Path, split: str, longest_side: int | None) -> ImageSet:
    """The images of one split of a manifest (DataFrame), in its order; grey only if the training images are."""
    first = manifest.loc[manifest["split"] == "train", "path"].iloc[0]
    paths = manifest.loc[manifest["split"] == split, "path"].tolist()
    return ImageSet(root, paths, channels_of(Path(root) / first), longest_side)


def reflect_to(image: Tensor, size: int) -> Tensor:
    """Continue [..., H, W] by reflection to at least `size` in both directions, below and to the right."""
    for dim in (-2, -1):
        if (missing := size - image.shape[dim]) > 0:
            index = torch.from_numpy(np.pad(np.arange(image.shape[dim]), (0, missing), mode="reflect"))
            image = image.index_select(dim, index.to(image.device))
    return image
