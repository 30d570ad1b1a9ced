"""The manifest: one row per image of a dataset, written once the dataset has passed its check (radar.data.check).

Everything after the data depends on this table, not on the folder: the sha256 of each file tells whether an image
changed.
"""

from pathlib import Path

import numpy as np
import pandas as pd

# path: relative to the dataset's folder, with /. label: 0 normal, 1 defective, -1 unknown. severity: 1..3 or NaN.
# mask: relative path. sha256, mask_sha256: of the files. width, height: px. mask_from: the lowest value of a mask's
# pixel that means defect. Text that does not apply is empty.
COLUMNS = {"path": str, "split": str, "label": np.int64, "defect": str, "severity": np.float64, "mask": str,
           "group": str, "sha256": str, "mask_sha256": str, "width": np.int64, "height": np.int64,
           "mask_from": np.int64}


class DatasetError(Exception):
    """A dataset cannot be used. `problems`: one line each, naming the file and what to do."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


def read(path: Path) -> pd.DataFrame:
    """A manifest that was written with `to_csv(path, index=False)`: COLUMNS, with their types."""
    return pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values={"severity": [""]})


def hold_out_calibration(manifest: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """Move about `fraction` of the training images, drawn by `seed`, to the split `calibration`.

    Images of one group stay together. A manifest that has calibration images already is returned unchanged. At least
    one image is moved and at least one stays; raises DatasetError if that is impossible.
    """
    if (manifest["split"] == "calibration").any():
        return manifest
    train = manifest[manifest["split"] == "train"]
    # an image without a group is a group of its own
    unit = train["group"].where(train["group"] != "", "\0" + train["path"])
    sizes = unit.value_counts().sort_index()
    if len(sizes) < 2:
        raise DatasetError([f"calibration: {len(train)} training image(s) in {len(sizes)} group(s) cannot be divided "
                            "into training and calibration; add normal images (of another group) to train/good"])
    wanted, count = max(1, round(fraction * len(train))), 0
    held: list[str] = []
    for name in sizes.index[np.random.default_rng(seed).permutation(len(sizes))][:-1]:
        # a group that overshoots by more than it helps is passed over, unless nothing has been taken yet
        if count < wanted and (not held or count + sizes[name] - wanted <= wanted - count):
            held.append(name)
            count += int(sizes[name])
    result = manifest.copy()
    result.loc[unit.index[unit.isin(held)], "split"] = "calibration"
    return result
