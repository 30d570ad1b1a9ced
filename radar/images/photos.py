"""Reading one photograph with Pillow: grey or colour, 8 or 16 bit, as uint8. Imports no torch."""

from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


def channels_of(path: Path) -> int:
    """1 for a grey image (8 or 16 bit), 3 for any other. Reads the header only."""
    with Image.open(path) as image:
        return 1 if image.mode in ("1", "L", "LA") or image.mode.startswith("I") else 3


def read_image(path: Path, channels: int, longest_side: int | None = None) -> np.ndarray:
    """One photograph as uint8 [C, H, W]; shrunk in proportion, never enlarged, if a side exceeds `longest_side`.

    16-bit images are scaled to 8 bit over their full range. Raises OSError or Image.DecompressionBombError, with the
    path in the message, if the file cannot be read.
    """
    try:
        with Image.open(path) as file:
            deep = file.mode.startswith("I")
            image = Image.fromarray((np.asarray(file).astype(np.uint32) // 257).astype(np.uint8)) if deep else file
            image = image.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(f"{path}: cannot be read as an image ({error})") from error
    if longest_side and max(image.size) > longest_side:
        scale = longest_side / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BOX)
    array = np.asarray(image)
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def read_mask(path: Path, shape: tuple[int, int], mask_from: int) -> np.ndarray:
    """Foreground (>= mask_from) of a mask as bool [H, W] of `shape`, by nearest neighbour where the image is smaller.

    Raises OSError, with the path in the message, if the file cannot be read.
    """
    try:
        with Image.open(path) as image:
            mask = image.convert("L").resize(shape[::-1], Image.Resampling.NEAREST)
    except (OSError, SyntaxError) as error:
        raise OSError(f"{path}: cannot be read as a mask ({error})") from error
    return np.asarray(mask) >= mask_from
