"""The manifest: one row per image of a dataset, after the checks that a dataset must pass before anything learns from
it.

Everything after the data depends on this table, not on the folder: the sha256 of each file tells whether an image
changed.
"""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd

from radar.data import check as checking
from radar.data.layout import COLUMNS as CSV_COLUMNS
from radar.data.listing import Listing

COLUMNS = (*CSV_COLUMNS, "sha256", "mask_sha256", "width", "height", "mask_from")


class DatasetError(Exception):
    """A dataset cannot be used. `problems`: one line each, naming the file and what to do."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


def listing(folder: Path, source: str = "folder", category: str = "", settings: dict | None = None) -> Listing:
    """What the source (a module of radar.data) says of the dataset in `folder`. Raises DatasetError without a
    folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError([f"{folder}: no such folder; make it with dvc repro or dvc pull, or correct the path"])
    module = importlib.import_module(f"radar.data.{source}")
    return module.listing(folder, category, {"test_fraction": 0.3, "seed": 0} if settings is None else settings)


def build(folder: Path, found: Listing | None = None, workers: int = 1,
          description: str = "") -> tuple[pd.DataFrame, checking.Report]:
    """The manifest of the dataset in `folder`, sorted by path, and what the check of its files reported.

    found: what the dataset's source lists; by default as radar.data.folder does.
    Columns: path (relative to `folder`, with /), split (train, calibration, test), label (0 normal, 1 defective, -1
    unknown), defect, severity (1..3 or NaN), mask (relative path), group, sha256 and mask_sha256 (of the files), width
    and height (px), mask_from (lowest value of a mask's pixel that means defect). What does not apply is an empty
    string.

    Raises DatasetError with every error that was found.
    """
    found = listing(folder) if found is None else found
    report = checking.check(Path(folder), found, workers, description)
    if report.of("error"):
        raise DatasetError([problem.line for problem in report.of("error")])
    rows = sorted(report.rows, key=lambda row: (row["path"], row["split"]))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return _typed(table.assign(mask_from=found.mask_from)), report


def read(path: Path) -> pd.DataFrame:
    """A manifest that was written with `to_csv(path, index=False)`, with the types that `build` gives."""
    text = dict.fromkeys(("path", "split", "defect", "mask", "group", "sha256", "mask_sha256"), str)
    return _typed(pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"severity": [""]}))


def hold_out_calibration(manifest: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """Move about `fraction` of the training images, drawn by `seed`, to the split `calibration`.

    Images of one group stay together. A manifest that has calibration images already is returned unchanged. At least
    one image is moved and at least one stays; raises DatasetError if that is impossible.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the calibration fraction must lie between 0 and 1, not {fraction}")
    if (manifest["split"] == "calibration").any():
        return manifest
    train = manifest[manifest["split"] == "train"]
    # an image without a group is a group of its own
    unit = train["group"].where(train["group"] != "", "\0" + train["path"])
    sizes = unit.value_counts().sort_index()
    if len(sizes) < 2:
        raise DatasetError([f"calibration: {len(train)} training image(s) in {len(sizes)} group(s) cannot be divided "
                            "into training and calibration; add normal images (of another group) to train/good"])
    wanted = max(1, round(fraction * len(train)))
    order = sizes.index[np.random.default_rng(seed).permutation(len(sizes))]
    held: list[str] = []
    count = 0
    for name in order[:-1]:
        if count >= wanted:
            break
        # a group that overshoots by more than it helps is passed over, unless nothing has been taken yet
        if not held or count + sizes[name] - wanted <= wanted - count:
            held.append(name)
            count += int(sizes[name])
    result = manifest.copy()
    result.loc[unit.index[unit.isin(held)], "split"] = "calibration"
    return result


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype({"label": np.int64, "severity": np.float64, "width": np.int64, "height": np.int64,
                         "mask_from": np.int64})
