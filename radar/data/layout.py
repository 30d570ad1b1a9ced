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
from pathlib import Path

import numpy as np
from PIL import Image

from radar.data.listing import SPLITS

COLUMNS = ("path", "split", "label", "defect", "severity", "mask", "group")


class LayoutWriter:
    """Collects images into a hidden folder beside `folder`, which takes its place when the `with` block ends well.

    with LayoutWriter(Path("data/printed/all")) as out:
        out.add(image, "train")
        out.add(image, "test", defect="stringing", mask=mask, severity=2)

    An earlier `folder` is replaced as a whole; if the block raises, it stays as it was and nothing else remains.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._temporary = self.folder.with_name(f".{self.folder.name}.partial")
        self._rows: list[dict] = []
        self._count: Counter[str] = Counter()

    def __enter__(self) -> "LayoutWriter":
        shutil.rmtree(self._temporary, ignore_errors=True)  # left by a run that was killed
        self._temporary.mkdir(parents=True)
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def add(self, image: np.ndarray, split: str, defect: str | None = None, mask: np.ndarray | None = None,
            severity: float | None = None, group: str | None = None) -> str:
        """Write one image, and its mask if there is one; return the image's path relative to the dataset's folder.

        image: uint8 [H, W] or [H, W, 3]. split: train, calibration or test. defect: None for a normal image.
        mask: bool [H, W], True where the defect is. severity: 1 (barely visible) to 3 (obvious).
        group: images of one group (one part, one day) must not be divided between splits.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
        if defect is None and (mask is not None or severity is not None):
            raise ValueError("a normal image has neither mask nor severity")
        if defect is not None and (split != "test" or defect == "good"):
            raise ValueError("a defective image belongs to the test split, and its defect is not called 'good'")
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
            raise ValueError(f"image must be uint8 [H, W] or [H, W, 3], not {image.dtype} {list(image.shape)}")
        if mask is not None and mask.shape != image.shape[:2]:
            raise ValueError(f"mask {list(mask.shape)} does not fit image {list(image.shape)}")
        if severity is not None and not 1 <= severity <= 3:
            raise ValueError(f"severity must be in 1..3, not {severity}")
        place = f"{'test' if split == 'test' else 'train'}/{defect or 'good'}"
        number = f"{self._count[place]:03d}"
        self._count[place] += 1
        path, mask_path = f"{place}/{number}.png", ""
        self._write(path, image)
        if mask is not None:
            mask_path = f"ground_truth/{defect}/{number}_mask.png"
            self._write(mask_path, np.where(mask, 255, 0).astype(np.uint8))
        self._rows.append({
            "path": path, "split": split, "label": int(defect is not None), "defect": defect or "",
            "severity": "" if severity is None else f"{severity:g}", "mask": mask_path, "group": group or "",
        })
        return path

    def _write(self, path: str, image: np.ndarray) -> None:
        target = self._temporary / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # stored, not compressed: what a compressor writes depends on its build and on the CPU, and dvc.lock must
        # hold the same hashes on every machine
        Image.fromarray(image).save(target, compress_level=0)

    def _finish(self) -> None:
        with open(self._temporary / "images.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(self._rows, key=lambda row: row["path"]))
        shutil.rmtree(self.folder, ignore_errors=True)
        os.replace(self._temporary, self.folder)
