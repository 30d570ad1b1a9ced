"""What a dataset says of its images before one of them is read: splits, labels, masks. Every source makes a Listing.

A source of originals is a module here with a function

    listing(folder: Path, category: str, settings: dict) -> Listing

folder: where the unpacked original lies, as its authors publish it; it is read there and never copied.
category: one of the categories of config/datasets/<name>.yaml, whose `settings` are handed on.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from radar.data import DEFECTIVE, NORMAL, UNKNOWN
from radar.data import SPLITS as SPLITS  # layout.py looks for it here, and dvc.lock holds the hash of layout.py
from radar.images.photos import SUFFIXES


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: a line that names the file and what to do. An error stops the run, a warning does not.

    kind: what sort of thing, for counting.
    """

    level: str
    kind: str
    line: str


def error(kind: str, line: str) -> Problem:
    return Problem("error", kind, line)


def warning(kind: str, line: str) -> Problem:
    return Problem("warning", kind, line)


@dataclass
class Listing:
    """The images of a dataset, and what was wrong with their names and places.

    rows: a dict per image and split, made by `row`. mask_from: the lowest value of a mask's pixel that means defect.
    published: the split is the authors', so that images that occur twice in it are warned of, not refused.
    """

    rows: list[dict] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    mask_from: int = 128
    published: bool = False


def row(path: str, split: str, defect: str = "", mask: str = "", group: str = "", label: int | None = None,
        severity: float = float("nan")) -> dict:
    """One image: path and mask relative to the dataset's folder. label: by default whether it has a defect."""
    label = (DEFECTIVE if defect else NORMAL) if label is None else label
    return {"path": path, "split": split, "label": label, "defect": defect, "severity": severity, "mask": mask,
            "group": group}


def images(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    """Image files below a folder, in a fixed order, links to folders followed; hidden ones are not looked at.

    Links that lead nowhere, in a circle, or out of the folder are told in `problems`.
    """
    if not folder.is_dir():
        return
    inside = folder.resolve()
    yield from _walk(folder, inside, {inside}, problems)


def _walk(folder: Path, inside: Path, above: set[Path], problems: list[Problem]) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        is_image = path.suffix.lower() in SUFFIXES
        if entry.is_symlink():
            if not path.exists():
                if is_image or not path.suffix:
                    problems.append(error("dangling link", f"{path}: a link that leads nowhere ({os.readlink(path)}); "
                                                           "restore what it points to, or remove it"))
                continue
            target = path.resolve()
            if path.is_dir() and target in above:
                problems.append(error("circular link", f"{path}: a link to a folder that it lies in; remove it"))
                continue
            if not target.is_relative_to(inside) and (is_image or path.is_dir()):
                problems.append(warning("link that leaves the folder",
                                        f"{path}: a link out of the dataset's folder, to {target}; what changes there "
                                        "changes the dataset"))
        if path.is_dir():
            yield from _walk(path, inside, above | {path.resolve()}, problems)
        elif is_image:
            yield path


def layout(folder: Path, below: str, problems: list[Problem], normal: Iterable[str] = ("good",)) -> list[dict]:
    """The rows of a folder in MVTec AD layout: splits, labels and defects are what the folders are called.

    Images lie in <below>/train/good, <below>/test/good and <below>/test/<defect>, their masks in
    <below>/ground_truth/<defect>, with the name of the image and `_mask` or nothing after it. A defect without a
    folder in ground_truth has image labels only. Images in <below>/train itself are normal, images in <below>/test
    itself have no label.
    normal: what folders of normal images are called.
    """
    top = folder / below
    normal = tuple(normal)
    rows, in_use = [], set()
    masks = {(mask.parent.name, mask.stem.removesuffix("_mask")): mask
             for mask in images(top / "ground_truth", problems) if mask.parent.name not in normal}
    for split in ("train", "test"):
        for path in images(top / split, problems):
            kind = path.relative_to(top / split).parts[:-1]
            name = path.relative_to(folder).as_posix()
            if not kind:
                rows.append(row(name, split, label=NORMAL if split == "train" else UNKNOWN))
                continue
            if len(kind) > 1 or (split == "train" and kind[0] not in normal):
                problems.append(error("misplaced", f"{path}: the layout has no such place; move it to train/{normal[0]}"
                                                   f", test/{normal[0]} or test/<defect>"))
                continue
            defect = "" if kind[0] in normal else kind[0]
            truth, mask = top / "ground_truth" / kind[0], ""
            if defect and truth.is_dir():
                found = masks.get((kind[0], path.stem))
                if found:
                    in_use.add(found)
                    mask = found.relative_to(folder).as_posix()
                else:
                    problems.append(error("image without mask",
                                          f"{path}: its mask {truth / (path.stem + '_mask.png')} is missing; add it, "
                                          f"or remove {truth} to use image labels only"))
            rows.append(row(name, split, defect, mask))
    for (defect, stem), path in masks.items():
        if path not in in_use:
            problems.append(error("mask without image", f"{path}: a mask without an image; add "
                                                        f"test/{defect}/{stem}.png, or remove the mask"))
    return rows


def held_out(names: Iterable[str], fraction: float, seed: int) -> set[str]:
    """A seeded choice of about this share of the names, at least one of them and at least one not; order is no
    matter."""
    names = sorted(set(names))
    count = min(max(1, round(fraction * len(names))), max(len(names) - 1, 0))
    return {names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count]}
