"""The manifest: one row per image of a dataset, and the checks that a dataset must pass before anything learns from it.

Everything after the data depends on this table, not on the folder: the sha256 of each file tells whether an image
changed.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from radar.data.layout import COLUMNS as CSV_COLUMNS
from radar.data.layout import SPLITS
from radar.data.photos import SUFFIXES
from radar.files import sha256

COLUMNS = (*CSV_COLUMNS, "sha256", "mask_sha256", "width", "height")


class DatasetError(Exception):
    """A dataset cannot be used. `problems`: one line each, naming the file and what to do."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


def build(folder: Path) -> pd.DataFrame:
    """The manifest of a dataset in MVTec AD layout, sorted by path.

    Columns: path (relative to `folder`, with /), split (train, calibration, test), label (0 normal, 1 defective),
    defect, severity (1..3 or NaN), mask (relative path), group, sha256 and mask_sha256 (of the files), width and
    height (px).
    What does not apply is an empty string. `images.csv` is believed where the folder has one; a folder without it is
    scanned. A defect without a folder in ground_truth has image labels only.

    Raises DatasetError with every problem that was found.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError([f"{folder}: no such folder; make it with dvc repro or dvc pull, or correct the path"])
    problems: list[str] = []
    rows = _listed(folder, problems) if (folder / "images.csv").is_file() else _scanned(folder, problems)
    usable = []
    for row in sorted(rows, key=lambda row: row["path"]):
        size = _size(folder / row["path"], problems)
        if size is None:
            continue
        if row["mask"]:
            mask_size = _size(folder / row["mask"], problems)
            if mask_size not in (None, size):
                problems.append(f"{folder / row['mask']}: the mask has {mask_size[0]} x {mask_size[1]} px, its image "
                                f"{row['path']} {size[0]} x {size[1]}; save the mask at the size of its image")
        mask = folder / row["mask"] if row["mask"] else None
        usable.append(row | {"sha256": sha256(folder / row["path"]),
                             "mask_sha256": sha256(mask) if mask and mask.is_file() else "",
                             "width": size[0], "height": size[1]})
    if not any(row["split"] == "train" for row in rows):
        problems.append(f"{folder / 'train' / 'good'}: no normal training image; put photographs of good parts there "
                        f"({', '.join(sorted(SUFFIXES))})")
    for label, place, what in ((0, "test/good", "normal"), (1, "test/<defect>", "defective")):
        if not any(row["split"] == "test" and row["label"] == label for row in rows):
            problems.append(f"{folder / place}: no {what} test image; the metrics need normal and defective ones")
    if problems:
        raise DatasetError(problems)
    return _typed(pd.DataFrame(usable, columns=list(COLUMNS)))


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
    return table.astype({"label": np.int64, "severity": np.float64, "width": np.int64, "height": np.int64})


def _listed(folder: Path, problems: list[str]) -> list[dict]:
    """The rows of images.csv; every image file must have one."""
    table = folder / "images.csv"
    with open(table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in CSV_COLUMNS if name not in (reader.fieldnames or [])]
        if missing:
            raise DatasetError([f"{table}: no column {', '.join(missing)}; add it, or delete images.csv to have the "
                                "folder scanned"])
        rows = []
        for row in reader:
            try:
                rows.append(_parse(row))
            except ValueError as error:
                problems.append(f"{table}: line {reader.line_num}: {error}; correct the line")
    listed = Counter(row["path"] for row in rows)
    problems.extend(f"{table}: {path} is listed {count} times; leave one line" for path, count in listed.items()
                    if count > 1)
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    problems.extend(f"{table}: the group '{group}' is in {' and '.join(sorted(names))}; give all its images one split"
                    for group, names in splits.items() if group and len(names) > 1)
    for path in _images(folder / "train", folder / "test"):
        name = path.relative_to(folder).as_posix()
        if name not in listed:
            problems.append(f"{path}: not listed in images.csv; add a line for it, or remove the file")
    return rows


def _parse(row: dict) -> dict:
    row = {name: (row[name] or "").strip() for name in CSV_COLUMNS}
    if row["split"] not in SPLITS:
        raise ValueError(f"split is '{row['split']}', not one of {', '.join(SPLITS)}")
    if row["label"] not in ("0", "1"):
        raise ValueError(f"label is '{row['label']}', neither 0 nor 1")
    if (row["label"] == "1") != bool(row["defect"]):
        raise ValueError(f"label is {row['label']}, but defect is '{row['defect']}'; only defective images name one")
    if row["label"] == "1" and row["split"] != "test":
        raise ValueError(f"a defective image is in the split {row['split']}, where only normal ones belong")
    return row | {"label": int(row["label"]), "severity": float(row["severity"] or "nan")}


def _scanned(folder: Path, problems: list[str]) -> list[dict]:
    """The rows of a folder that has no images.csv: splits, labels and defects are what the folders are called."""
    rows, masks_in_use = [], set()
    masks = {(mask.parent.name, mask.stem.removesuffix("_mask")): mask for mask in _images(folder / "ground_truth")}
    for path in _images(folder / "train", folder / "test"):
        parts = path.relative_to(folder).parts
        if len(parts) != 3 or (parts[0] == "train" and parts[1] != "good"):
            problems.append(f"{path}: the layout has no such place; move it to train/good, test/good or test/<defect>")
            continue
        split, kind, _ = parts
        defect = "" if kind == "good" else kind
        mask = ""
        truth = folder / "ground_truth" / kind
        if defect and truth.is_dir():
            found = masks.get((kind, path.stem))
            if found:
                masks_in_use.add(found)
                mask = found.relative_to(folder).as_posix()
            else:
                problems.append(f"{path}: its mask {truth / (path.stem + '_mask.png')} is missing; add it, or remove "
                                f"{truth} to use image labels only")
        rows.append({"path": "/".join(parts), "split": split, "label": int(bool(defect)), "defect": defect,
                     "severity": np.nan, "mask": mask, "group": ""})
    for (defect, stem), path in masks.items():
        if path not in masks_in_use:
            problems.append(f"{path}: a mask without an image; add test/{defect}/{stem}.png, or remove the mask")
    return rows


def _images(*folders: Path) -> Iterator[Path]:
    """Image files below the folders, in a fixed order; hidden files are not looked at."""
    for folder in folders:
        yield from sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
                          and not path.name.startswith("."))


def _size(path: Path, problems: list[str]) -> tuple[int, int] | None:
    """(width, height) in px of an image that decodes to its end; else None, and a line in `problems`."""
    try:
        with Image.open(path) as image:
            image.load()
            return image.size
    except FileNotFoundError:
        problems.append(f"{path}: listed in images.csv, but missing; restore it (dvc checkout) or remove its line")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        problems.append(f"{path}: cannot be read as an image ({error}); replace or remove it")
    return None
