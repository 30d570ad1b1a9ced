"""Writing a dataset in the folder layout of MVTec AD (Bergmann et al., CVPR 2019), so that other tools read it too.

    train/good/000.png                    normal; calibration images lie here too, `images.csv` tells them apart
    test/good/000.png                     normal
    test/<defect>/000.png                 defective
    ground_truth/<defect>/000_mask.png    0 or 255, where the defect is
    images.csv                            one row per image, what the folders cannot say: COLUMNS
"""

import csv
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

COLUMNS = ("path", "split", "label", "defect", "severity", "mask", "group")


class Picture(NamedTuple):
    """An image, uint8 [H, W] or [H, W, 3], and what is known of it.

    split: train, calibration or test. defect: empty for a normal image. mask: bool [H, W], True where the defect is.
    severity: 1 (barely visible) to 3 (obvious).
    """

    image: np.ndarray
    split: str
    defect: str = ""
    mask: np.ndarray | None = None
    severity: int | None = None


def write(folder: Path, pictures: Iterable[Picture]) -> None:
    """Collect the pictures in a hidden folder beside `folder`, which takes its place in the end.

    An earlier `folder` is replaced as a whole; if anything is raised, it stays as it was and nothing else remains.
    """
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a run that was killed
    temporary.mkdir(parents=True)
    try:
        rows, count = [], Counter[str]()
        for image, split, defect, mask, severity in pictures:
            place = f"{'test' if split == 'test' else 'train'}/{defect or 'good'}"
            path, mask_path = f"{place}/{count[place]:03d}.png", ""
            _save(temporary / path, image)
            if mask is not None:
                mask_path = f"ground_truth/{defect}/{count[place]:03d}_mask.png"
                _save(temporary / mask_path, np.where(mask, 255, 0).astype(np.uint8))
            rows.append((path, split, int(bool(defect)), defect, severity, mask_path, ""))
            count[place] += 1
        with open(temporary / "images.csv", "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *sorted(rows)])
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # stored, not compressed: what a compressor writes depends on its build and on the CPU, and dvc.lock must hold the
    # same hashes on every machine
    Image.fromarray(image).save(path, compress_level=0)
