"""What a dataset says of its images before one of them is read: splits, labels, masks.

A source of originals is a module here with a function

    listing(folder: Path, category: str, settings: dict) -> Listing

folder: where the unpacked original lies, as its authors publish it; it is read there and never copied.
category: one of the categories of config/datasets/<name>.yaml, whose `settings` are handed on.

A source that makes its images has a function pictures(category, settings) of radar.data.layout.Picture instead.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from radar.data import DEFECTIVE, NORMAL
from radar.images.photos import SUFFIXES


class Problem(NamedTuple):
    """One thing that is wrong: a line that names the file and what to do. An error stops the run, a warning does not.

    kind: what sort of thing, for counting.
    """

    level: str
    kind: str
    line: str


@dataclass
class Listing:
    """The images of a dataset, and what is wrong with them.

    published: the split is the authors', so that images that occur twice in it are warned of, not refused.
    mask_from: the lowest value of a mask's pixel that means defect. rows: a dict per image and split, see `add`.
    """

    folder: Path
    published: bool = False
    mask_from: int = 128
    rows: list[dict] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: Path, split: str, defect: str = "", mask: Path | None = None, group: str = "",
            label: int | None = None) -> None:
        """One image. label: by default whether it has a defect."""
        name, mask_name = (one.relative_to(self.folder).as_posix() if one else "" for one in (path, mask))
        label = (DEFECTIVE if defect else NORMAL) if label is None else label
        self.rows.append({"path": name, "split": split, "label": label, "defect": defect, "severity": np.nan,
                          "mask": mask_name, "group": group})

    def error(self, kind: str, line: str) -> None:
        self.problems.append(Problem("error", kind, line))

    def warning(self, kind: str, line: str) -> None:
        self.problems.append(Problem("warning", kind, line))

    def of(self, level: str) -> list[Problem]:
        return [problem for problem in self.problems if problem.level == level]

    def images(self, top: Path) -> Iterator[Path]:
        """Image files below a folder, in a fixed order, links followed; hidden ones are not looked at.

        Links that lead nowhere, in a circle, or out of the folder are told.
        """
        if not top.is_dir():
            return
        for here, folders, files in os.walk(top, followlinks=True, onerror=self._unreadable):
            folders[:] = sorted(name for name in folders if self._to_follow(Path(here, name), top))
            for path in (Path(here, name) for name in sorted(files)):
                lost = not path.suffix and not path.exists()  # may have led to a folder of images
                if (path.suffix.lower() in SUFFIXES or lost) and self._to_follow(path, top):
                    yield path

    def _unreadable(self, wrong: OSError) -> None:
        self.error("unreadable", f"{wrong.filename}: cannot be read ({wrong.strerror}); mend its permissions")

    def _to_follow(self, path: Path, top: Path) -> bool:
        if path.name.startswith(".") or not path.is_symlink():
            return not path.name.startswith(".")
        if not path.exists():
            self.error("dangling link", f"{path}: a link that leads nowhere ({os.readlink(path)}); restore what it "
                                        "points to, or remove it")
            return False
        target = path.resolve()
        if path.is_dir() and target in {above.resolve() for above in path.parents}:
            self.error("circular link", f"{path}: a link to a folder that it lies in; remove it")
            return False
        if not target.is_relative_to(top.resolve()):
            self.warning("link that leaves the folder", f"{path}: a link out of the dataset's folder, to {target}; "
                                                        "what changes there changes the dataset")
        return True


def held_out(names: Iterable[str], fraction: float, seed: int) -> set[str]:
    """A seeded choice of about this share of the names, at least one of them and at least one not; order is no
    matter."""
    names = sorted(set(names))
    count = min(max(1, round(fraction * len(names))), max(len(names) - 1, 0))
    return {names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count]}
