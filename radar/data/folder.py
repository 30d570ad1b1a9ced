"""Your own photographs: a folder in the layout of MVTec AD, one with good/ and bad/, or one without any labels.

The layout of MVTec AD (Bergmann et al., CVPR 2019) stands in radar.data.layout. A file images.csv, as the suite's own
datasets have it, is believed where there is one. Of good/ and bad/, a seeded share of good/ is kept for the test. In a
folder of neither kind no image has a label: all are learnt from and all are scored, on the assumption that most are
normal; there is a threshold and there are maps, and no metric.
"""

import csv
from collections import Counter
from pathlib import Path

from radar.data.layout import COLUMNS
from radar.data.listing import SPLITS, UNKNOWN, Listing, Problem, error, held_out, images, layout, row


def kind(folder: Path) -> str:
    """"listed" (images.csv), "layout" (train/, test/ or ground_truth/), "good_bad", or "unlabelled".

    One folder of a layout is enough: where train/ or good/ was forgotten, defects must not be learnt from.
    """
    if (folder / "images.csv").is_file():
        return "listed"
    for name, folders in (("layout", ("train", "test", "ground_truth")), ("good_bad", ("good", "bad"))):
        if any((folder / one).is_dir() for one in folders):
            return name
    return "unlabelled"


def has_labels(folder: Path) -> bool:
    """Whether the test images have labels: not in a folder without any, nor where they lie in test/ itself."""
    if kind(folder) == "layout" and (folder / "test").is_dir():
        return any(path.is_dir() for path in (folder / "test").iterdir() if not path.name.startswith("."))
    return kind(folder) != "unlabelled"


def listing(folder: Path, category: str, settings: dict) -> Listing:
    """settings: test_fraction (share of good/ kept for the test), seed."""
    result = Listing()
    which = kind(folder)
    if which == "listed":
        result.rows = listed(folder, result.problems)
    elif which == "layout":
        result.rows = layout(folder, "", result.problems)
        unlabelled = [one["path"] for one in result.rows if one["label"] == UNKNOWN]
        if unlabelled and len(unlabelled) < sum(one["split"] == "test" for one in result.rows):
            result.problems.append(error("no label", f"{folder / unlabelled[0]}: lies in test/ itself, so that it has "
                                                     f"no label, while others have one ({len(unlabelled)} such images)"
                                                     "; move them to test/good or test/<defect>"))
    elif which == "good_bad":
        result.rows = good_and_bad(folder, result.problems, settings["test_fraction"], settings["seed"])
    else:
        names = [path.relative_to(folder).as_posix() for path in images(folder, result.problems)]
        result.rows = [row(name, "train") for name in names] + [row(name, "test", label=UNKNOWN) for name in names]
    return result


def good_and_bad(folder: Path, problems: list[Problem], test_fraction: float, seed: int) -> list[dict]:
    """good/ divided by seed into training and test; bad/ is the rest of the test, its sub-folders name the defects."""
    good = [path.relative_to(folder).as_posix() for path in images(folder / "good", problems)]
    test = held_out(good, test_fraction, seed)
    rows = [row(name, "test" if name in test else "train") for name in good]
    for path in images(folder / "bad", problems):
        below = path.relative_to(folder / "bad").parts[:-1]
        rows.append(row(path.relative_to(folder).as_posix(), "test", defect="/".join(below) or "bad"))
    return rows


def listed(folder: Path, problems: list[Problem]) -> list[dict]:
    """The rows of images.csv; every image file must have one."""
    table = folder / "images.csv"
    with open(table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
        if missing:
            problems.append(error("images.csv", f"{table}: no column {', '.join(missing)}; add it, or delete images.csv"
                                                " to have the folder scanned"))
            return []
        rows = []
        for line in reader:
            try:
                rows.append(_parse(line))
            except ValueError as wrong:
                problems.append(error("images.csv", f"{table}: line {reader.line_num}: {wrong}; correct the line"))
    count = Counter(one["path"] for one in rows)
    problems.extend(error("images.csv", f"{table}: {path} is listed {times} times; leave one line")
                    for path, times in count.items() if times > 1)
    splits: dict[str, set[str]] = {}
    for one in rows:
        splits.setdefault(one["group"], set()).add(one["split"])
    problems.extend(error("group in two splits", f"{table}: the group '{group}' is in {' and '.join(sorted(names))}; "
                                                 "give all its images one split")
                    for group, names in splits.items() if group and len(names) > 1)
    for place in ("train", "test"):
        for path in images(folder / place, problems):
            if path.relative_to(folder).as_posix() not in count:
                problems.append(error("images.csv", f"{path}: not listed in images.csv; add a line for it, or remove "
                                                    "the file"))
    return rows


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
