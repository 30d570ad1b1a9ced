"""Your own photographs: a folder in the layout of MVTec AD, one with good/ and bad/, or one without any labels.

The layout of MVTec AD (Bergmann et al., CVPR 2019) stands in radar.data.layout. A file images.csv, as the suite's own
datasets have it, is believed where there is one. Of good/ and bad/, a seeded share of good/ is kept for the test. In a
folder of neither kind no image has a label: all are learnt from and all are scored, on the assumption that most are
normal; there is a threshold and there are maps, and no metric.
"""

import csv
from collections import Counter
from pathlib import Path

from radar.data import SPLITS, UNKNOWN
from radar.data.layout import COLUMNS
from radar.data.listing import Listing, held_out
from radar.data.mvtec_ad import add_layout


def kind(folder: Path) -> str:
    """"listed" (images.csv), "layout" (train/, test/ or ground_truth/), "good_bad", or "unlabelled".

    One folder of a layout is enough: where train/ or good/ was forgotten, defects must not be learnt from.
    """
    for name, places in (("listed", ["images.csv"]), ("layout", ["train", "test", "ground_truth"]),
                         ("good_bad", ["good", "bad"])):
        if any((folder / place).exists() for place in places):
            return name
    return "unlabelled"


def has_labels(folder: Path) -> bool:
    """Whether the test images have labels: not in a folder without any, nor where they lie in test/ itself."""
    if kind(folder) == "layout" and (folder / "test").is_dir():
        return any(path.is_dir() for path in (folder / "test").iterdir() if not path.name.startswith("."))
    return kind(folder) != "unlabelled"


def listing(folder: Path, category: str, settings: dict) -> Listing:
    """settings: test_fraction (share of good/ kept for the test), seed."""
    result = Listing(folder)
    which = kind(folder)
    if which == "listed":
        _add_listed(result, folder / "images.csv")
    elif which == "layout":
        add_layout(result, folder)
        test = [row for row in result.rows if row["split"] == "test"]
        unlabelled = [row["path"] for row in test if row["label"] == UNKNOWN]
        if unlabelled and len(unlabelled) < len(test):
            result.error("no label", f"{folder / unlabelled[0]}: lies in test/ itself, so that it has no label, while "
                                     f"others have one ({len(unlabelled)} such images); move them to test/good or "
                                     "test/<defect>")
    elif which == "good_bad":
        _add_good_and_bad(result, settings["test_fraction"], settings["seed"])
    else:
        for path in result.images(folder):
            result.add(path, "train")
            result.add(path, "test", label=UNKNOWN)
    return result


def _add_good_and_bad(listing: Listing, test_fraction: float, seed: int) -> None:
    """good/ divided by seed into training and test; bad/ is the rest of the test, its sub-folders name the defects."""
    good, bad = listing.folder / "good", listing.folder / "bad"
    paths = list(listing.images(good))
    test = held_out(map(str, paths), test_fraction, seed)
    for path in paths:
        listing.add(path, "test" if str(path) in test else "train")
    for path in listing.images(bad):
        listing.add(path, "test", "/".join(path.relative_to(bad).parts[:-1]) or "bad")


def _add_listed(listing: Listing, table: Path) -> None:
    """The rows of images.csv; every image file must have one."""
    with open(table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
            listing.error("images.csv", f"{table}: no column {', '.join(missing)}; add it, or delete images.csv to "
                                        "have the folder scanned")
            return
        for line in reader:
            try:
                listing.rows.append(_parse(line))
            except ValueError as wrong:
                listing.error("images.csv", f"{table}: line {reader.line_num}: {wrong}; correct the line")
    count = Counter(row["path"] for row in listing.rows)
    for name, times in count.items():
        if times > 1:
            listing.error("images.csv", f"{table}: {name} is listed {times} times; leave one line")
    splits: dict[str, set[str]] = {}
    for row in listing.rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    for group, names in splits.items():
        if group and len(names) > 1:
            listing.error("group in two splits", f"{table}: the group '{group}' is in {' and '.join(sorted(names))}; "
                                                 "give all its images one split")
    for place in ("train", "test"):
        for path in listing.images(listing.folder / place):
            if path.relative_to(listing.folder).as_posix() not in count:
                listing.error("images.csv", f"{path}: not listed in images.csv; add a line for it, or remove the file")


def _parse(line: dict) -> dict:
    line = {name: (line[name] or "").strip() for name in COLUMNS}
    if line["split"] not in SPLITS:
        raise ValueError(f"split is '{line['split']}', not one of {', '.join(SPLITS)}")
    if line["label"] not in ("0", "1"):
        raise ValueError(f"label is '{line['label']}', neither 0 nor 1")
    if (line["label"] == "1") != bool(line["defect"]):
        raise ValueError(f"label is {line['label']}, but defect is '{line['defect']}'; only defective images name one")
    if line["label"] == "1" and line["split"] != "test":
        raise ValueError(f"a defective image is in the split {line['split']}, where only normal ones belong")
    return line | {"label": int(line["label"]), "severity": float(line["severity"] or "nan")}
