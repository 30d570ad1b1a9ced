"""maps.npz: the anomaly maps of a run in two bytes a pixel, written and read one map at a time.

paths [N], shapes int32 [N, 2], maps float16 (one after the other) and scale, which they are to be multiplied with: a
power of two that puts the largest value just below float16's limit, so that its bits serve values over nine decades.
"""

import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radar.files import atomic

CHUNK = 2**20  # values that are converted at once


class MapWriter:
    """with MapWriter(Path("maps.npz"), paths) as out: out.add(maps)

    Collects the maps in a nameless temporary file, until the largest value is known, and writes maps.npz at the end, or
    nothing if the block raises. Raises ValueError if there are more or fewer maps than paths.
    """

    def __init__(self, path: Path, names: Sequence[str]):
        self.path, self.names, self._largest = Path(path), list(names), 0.0
        self._shapes: list[tuple[int, int]] = []

    def __enter__(self) -> "MapWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._spool = tempfile.TemporaryFile(dir=self.path.parent)
        return self

    def add(self, maps: NDArray[np.float32]) -> None:
        """Maps [N, H, W] of the next N images."""
        for one in maps:
            self._shapes.append(one.shape)
            self._largest = max(self._largest, float(np.abs(one).max()))
            self._spool.write(np.ascontiguousarray(one, np.float32).data)

    def __exit__(self, kind, error, trace) -> None:
        with self._spool:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        if len(self._shapes) != len(self.names):
            raise ValueError(f"{self.path}: {len(self._shapes)} maps for {len(self.names)} images")
        scale = 2.0 ** (np.ceil(np.log2(self._largest)) - 15) if self._largest > 0 else 1.0
        shapes = np.array(self._shapes, np.int32).reshape(-1, 2)
        pixels = self._spool.tell() // 4
        with atomic(self.path) as temporary:
            np.savez(temporary, paths=np.array(self.names, str), shapes=shapes, scale=np.float64(scale))
            with zipfile.ZipFile(temporary, "a") as archive, archive.open("maps.npy", "w", force_zip64=True) as file:
                header = {"descr": "<f2", "fortran_order": False, "shape": (pixels,)}
                np.lib.format.write_array_header_1_0(file, header)
                self._spool.seek(0)
                while data := self._spool.read(4 * CHUNK):
                    file.write((np.frombuffer(data, np.float32) / scale).astype("<f2").data)


def read_maps(path: Path, scaled: bool = True) -> Iterator[tuple[str, NDArray]]:
    """(image path, anomaly map float32 [H, W]) of each image in maps.npz, one in memory at a time.

    scaled: False = the values as they are stored, float16, whose order is the same.
    Raises ValueError naming the file if it is damaged or its parts contradict each other.
    """
    try:
        with np.load(path) as arrays:
            paths, shapes, scale = arrays["paths"], arrays["shapes"], float(arrays["scale"])
        if shapes.shape != (len(paths), 2):
            raise ValueError(f"{len(paths)} paths but shapes {list(shapes.shape)}")
        with zipfile.ZipFile(path) as archive, archive.open("maps.npy") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            pixels = int(shapes.astype(np.int64).prod(1).sum())
            if dtype != np.float16 or shape != (pixels,):
                raise ValueError(f"maps are {dtype} {list(shape)}, the shapes ask for float16 [{pixels}]")
            for name, (height, width) in zip(paths.tolist(), shapes.tolist(), strict=True):
                values = np.frombuffer(file.read(2 * height * width), np.float16).reshape(height, width)
                yield name, values.astype(np.float32) * scale if scaled else values
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: {error}") from error
