"""Reading every image of a dataset once, before anything learns from it, and telling all that is wrong with it
together.

Each file is read by one of several processes: its bytes are hashed, it is decoded to its end, and a small thumbnail is
kept by which near-duplicates are found. Nothing else of the pixels stays in memory.

Errors: files that cannot be read to their end, animated or enormous ones, values that 8 bits cannot hold, masks of
another size than their image, no normal training image, no defective or no normal test image, the same picture in
training and test of a dataset of one's own (in a published one it is a warning). Warnings: masks that are empty or have
grey values, an alpha channel or other colours than grey and RGB, grey and colour mixed, near-duplicates between
training and test, names that differ only in case, links that leave the folder.
"""

import hashlib
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from radar.data.listing import DEFECTIVE, NORMAL, UNKNOWN, Listing, Problem, error, warning
from radar.images.photos import SUFFIXES
from radar.progress import progress

# A picture with more pixels than this is refused before it is decoded: a small file can hold a picture that fills the
# memory ("decompression bomb"). Pillow's own default.
LARGEST = 89_478_485
THUMBNAIL, SIGMA = 48, 3.0
# Two pictures are near-duplicates if their thumbnails' details, without what the dataset's pictures have in common,
# correlate at least so much: copies saved anew as JPEG or at another size do, photographs of two parts do not.
NEAR = 0.9
BLOCK = 1024  # pictures that are compared with as many others at once


@dataclass(frozen=True)
class Facts:
    """What reading one file gave. trouble: why it cannot be used (then the rest is empty).

    pixels: digest of the decoded picture. mode: Pillow's. values: of a mask, its distinct values, few or the first
    ones. thumbnail: float16 [THUMBNAIL ** 2], of an image.
    """

    sha256: str = ""
    pixels: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    trouble: tuple[str, str] | None = None
    values: tuple[int, ...] = ()
    thumbnail: np.ndarray | None = None


@dataclass
class Report:
    """rows: those of the listing whose image can be used, with sha256, mask_sha256, width, height. problems: in
    order."""

    rows: list[dict] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def of(self, level: str) -> list[Problem]:
        return [problem for problem in self.problems if problem.level == level]


def check(folder: Path, listing: Listing, workers: int = 1, description: str = "") -> Report:
    """Read all the images and masks of a listing, in `workers` processes, and report everything that is wrong."""
    report = Report(problems=list(listing.problems))
    of_images = _read(folder, dict.fromkeys(row["path"] for row in listing.rows), False, workers, description)
    masks = dict.fromkeys(row["mask"] for row in listing.rows if row["mask"])
    of_masks = _read(folder, masks, True, workers, f"{description} masks")
    for path, facts in [*of_images.items(), *of_masks.items()]:
        if facts.trouble:
            report.problems.append(error(facts.trouble[0], f"{folder / path}: {facts.trouble[1]}"))
    for row in listing.rows:
        image, mask = of_images[row["path"]], of_masks.get(row["mask"])
        if image.trouble:
            continue
        report.rows.append(row | {"sha256": image.sha256, "mask_sha256": mask.sha256 if mask else "",
                                  "width": image.width, "height": image.height})
        if mask and not mask.trouble:
            report.problems += _of_mask(folder, row, image, mask, listing.mask_from)
    report.problems += _of_splits(folder, listing)
    report.problems += _of_modes(folder, of_images)
    report.problems += _of_names(folder, of_images)
    report.problems += _duplicates(folder, listing, of_images)
    return report


def _read(folder: Path, paths: Iterable[str], are_masks: bool, workers: int, description: str) -> dict[str, Facts]:
    paths = list(paths)
    chunks = [paths[i:i + 32] for i in range(0, len(paths), 32)]
    found: dict[str, Facts] = {}
    with progress(len(paths), f"read {description}".strip(), "file") as bar:
        if workers > 1 and len(chunks) > 1:
            with ProcessPoolExecutor(workers) as pool:
                results = pool.map(_facts_of, [folder] * len(chunks), chunks, [are_masks] * len(chunks))
                for chunk, facts in zip(chunks, results, strict=True):
                    found |= zip(chunk, facts, strict=True)
                    bar.update(len(chunk))
        else:
            for chunk in chunks:
                found |= zip(chunk, _facts_of(folder, chunk, are_masks), strict=True)
                bar.update(len(chunk))
    return found


def _facts_of(folder: Path, paths: Sequence[str], are_masks: bool) -> list[Facts]:
    return [facts_of(folder / path, are_masks) for path in paths]


def facts_of(path: Path, is_mask: bool = False) -> Facts:
    """Read one file, once; what is wrong with it is in the result."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Facts(trouble=("missing", "listed, but missing; restore it, or remove its line"))
    except OSError as wrong:
        return Facts(trouble=("unreadable", f"cannot be read ({wrong.strerror}); mend its permissions or the disk"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes and of metadata; both are judged here
            with Image.open(path) as image:
                width, height = image.size
                if width * height > LARGEST:
                    megapixels = f"{width * height / 1e6:.0f} megapixels; at most {LARGEST / 1e6:.0f} are read"
                    return Facts(trouble=("enormous", f"has {width} x {height} px, {megapixels}: cut it or shrink it"))
                if getattr(image, "n_frames", 1) > 1:
                    frames = f"holds {image.n_frames} pictures; save each as a file of its own"
                    return Facts(trouble=("animated", frames))
                image.load()
                array = np.asarray(image.convert("RGBA") if image.mode == "P" else image)
                mode = image.mode
                if trouble := _range(mode, array):
                    return Facts(trouble=("range", trouble))
                grey = image if mode == "L" else image.convert("L")
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as wrong:
        reason = " ".join(str(wrong).split()) or type(wrong).__name__
        return Facts(trouble=("unreadable", f"cannot be read as an image ({reason}); replace or remove it"))
    digest = hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16)
    digest.update(str((array.shape, array.dtype)).encode())
    facts = {"sha256": hashlib.sha256(data).hexdigest(), "pixels": digest.hexdigest(), "width": width,
             "height": height, "mode": mode}
    if is_mask:
        counts = np.bincount(np.asarray(grey).ravel(), minlength=256)
        return Facts(**facts, values=tuple(np.flatnonzero(counts).tolist()))
    return Facts(**facts, thumbnail=thumbnail(grey))


def _range(mode: str, array: np.ndarray) -> str:
    """What is wrong with the values of a picture, if anything is."""
    if mode == "F":
        return "holds floating-point numbers, whose range nobody knows; save it with 8 or 16 bits"
    if mode.startswith("I") and array.size and (array.min() < 0 or array.max() > 65535):
        return f"holds values from {array.min()} to {array.max()}, beyond 16 bits; save it with 8 or 16 bits"
    return ""


def thumbnail(grey: Image.Image) -> np.ndarray:
    """The fine detail of a grey picture at THUMBNAIL x THUMBNAIL, float16 [THUMBNAIL ** 2]."""
    small = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), np.float32)
    return (small - ndimage.gaussian_filter(small, SIGMA)).ravel().astype(np.float16)


def _of_mask(folder: Path, row: dict, image: Facts, mask: Facts, mask_from: int) -> list[Problem]:
    path, found = folder / row["mask"], []
    if (mask.width, mask.height) != (image.width, image.height):
        found.append(error("mask of another size",
                           f"{path}: the mask has {mask.width} x {mask.height} px, its image {row['path']} "
                           f"{image.width} x {image.height}; save the mask at the size of its image"))
    if max(mask.values) < mask_from:
        largest = max(mask.values)
        what = "is empty" if largest == 0 else f"has no value above {largest}, defect begins at {mask_from}"
        found.append(warning("empty mask", f"{path}: {what}, so that all pixels of {row['path']}, which is called "
                                           f"{row['defect']}, count as normal; draw the defect with 255"))
    elif mask_from > 1 and len(mask.values) > 2:
        found.append(warning("mask with grey values", f"{path}: has {len(mask.values)} different values; {mask_from} "
                                                      "and above is taken as defect"))
    return found


def _of_splits(folder: Path, listing: Listing) -> list[Problem]:
    def some(split: str, label: int) -> bool:
        return any(row["split"] == split and row["label"] == label for row in listing.rows)

    found = []
    if not some("train", NORMAL):
        found.append(error("no normal image", f"{folder / 'train' / 'good'}: no normal training image; put photographs "
                                              f"of good parts there ({', '.join(sorted(SUFFIXES))})"))
    defective = [row for row in listing.rows if row["label"] == DEFECTIVE]
    masked = {row["defect"] for row in defective if row["mask"]}
    without = sorted({row["defect"] for row in defective} - masked)
    if without and masked:
        found.append(warning("masks of some defects only",
                             f"{folder}: {', '.join(without)} has no masks, others have; pixel metrics need all: add "
                             "them, or expect none"))
    if not some("test", UNKNOWN):
        for label, place, what in ((NORMAL, "test/good", "normal"), (DEFECTIVE, "test/<defect>", "defective")):
            if not some("test", label):
                found.append(error(f"no {what} test image",
                                   f"{folder / place}: no {what} test image; the metrics need normal and defective "
                                   "ones (images without labels: test/ itself)"))
    return found


def _of_modes(folder: Path, facts: dict[str, Facts]) -> list[Problem]:
    found = []
    modes = {path: one.mode for path, one in facts.items() if not one.trouble}
    for path, mode in modes.items():
        if mode in ("LA", "RGBA", "PA", "La", "RGBa"):
            found.append(warning("alpha channel", f"{folder / path}: has an alpha channel, which is not looked at; "
                                                  "save it without"))
        elif mode not in ("1", "L", "P", "RGB") and not mode.startswith("I"):
            found.append(warning("colours", f"{folder / path}: its colours are {mode}, and are turned into RGB; save "
                                            "it as RGB"))
    grey = [path for path, mode in modes.items() if mode in ("1", "L", "LA") or mode.startswith("I")]
    if grey and len(grey) < len(modes):
        few, what = min((grey, "grey"), ([path for path in modes if path not in set(grey)], "in colour"),
                        key=lambda pair: len(pair[0]))
        found.append(warning("grey and colour", f"{folder / few[0]}: is {what}, as are {len(few)} of {len(modes)} "
                                                "images; all are read as the first training image is: save them alike"))
    return found


def _of_names(folder: Path, facts: dict[str, Facts]) -> list[Problem]:
    names = defaultdict(list)
    for path in facts:
        names[path.casefold()].append(path)
    return [warning("names that differ only in case", f"{folder / paths[0]}: differs from {paths[1]} only in case; on "
                                                      "Windows and macOS one replaces the other: rename it")
            for paths in names.values() if len(paths) > 1]


def _duplicates(folder: Path, listing: Listing, facts: dict[str, Facts]) -> list[Problem]:
    """The same picture, or nearly the same, in training (with calibration) and test."""
    sides: dict[bool, list[str]] = {True: [], False: []}
    for row in listing.rows:
        if row["label"] != UNKNOWN or row["split"] != "test":
            if not facts[row["path"]].trouble:
                sides[row["split"] == "test"].append(row["path"])
    train, test = sides[False], sides[True]
    level = warning if listing.published else error
    by_pixels = {facts[path].pixels: path for path in reversed(train)}
    found, exact = [], set()
    for path in test:
        if twin := by_pixels.get(facts[path].pixels):
            exact.add(path)
            found.append(level("the same in training and test",
                               f"{folder / path}: the same picture as {twin}, which is learnt from; remove one of "
                               "them"))
    rest = [path for path in test if path not in exact]
    for path, twin, likeness in near_duplicates(rest, train, facts):
        found.append(warning("nearly the same in training and test",
                             f"{folder / path}: nearly the same picture as {twin}, which is learnt from (correlation "
                             f"{likeness:.3f}); look at both"))
    return found


def near_duplicates(test: Sequence[str], train: Sequence[str], facts: dict[str, Facts]) -> list[tuple[str, str, float]]:
    """(test image, training image most like it, correlation) of those that correlate at least NEAR.

    What the pictures have in common, the mean thumbnail of the training images, is taken away first: photographs of
    parts that lie at the same place correlate by it alone.
    """
    if not test or len(train) < 3:
        return []
    common = sum(facts[path].thumbnail.astype(np.float64) for path in train) / len(train)

    def blocks(paths: Sequence[str]) -> Iterator[tuple[Sequence[str], np.ndarray]]:
        for start in range(0, len(paths), BLOCK):
            part = paths[start:start + BLOCK]
            yield part, _unit((np.stack([facts[path].thumbnail for path in part]) - common).astype(np.float32))

    found = []
    for part, new in blocks(test):
        best = [(0.0, "")] * len(part)  # the most like one so far, block by block: memory does not grow with the images
        for twins, known in blocks(train):
            likeness = new @ known.T
            which = likeness.argmax(1)
            best = [max(old, (float(one[i]), twins[i]), key=lambda pair: pair[0])
                    for old, one, i in zip(best, likeness, which, strict=True)]
        found += [(path, twin, value) for path, (value, twin) in zip(part, best, strict=True) if value >= NEAR]
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of norm 1; a row without any detail (below a tenth of a grey level) stays 0."""
    rows = rows - rows.mean(1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(norm > 0.1 * THUMBNAIL, rows / np.maximum(norm, 1e-12), 0)


# Telling it


def lines(problems: Sequence[Problem], of_a_kind: int = 10) -> list[str]:
    """Every problem as a line, errors first; of a kind that occurs often the first ones, and how many there are."""
    told = []
    for level in ("error", "warning"):
        count: Counter[str] = Counter()
        chosen = [problem for problem in problems if problem.level == level]
        total = Counter(problem.kind for problem in chosen)
        for problem in chosen:
            count[problem.kind] += 1
            if count[problem.kind] <= of_a_kind:
                told.append(f"{level}: {problem.line}")
            elif count[problem.kind] == of_a_kind + 1:
                told.append(f"{level}: ... and {total[problem.kind] - of_a_kind} more of this kind ({problem.kind})")
    return told


def summary(problems: Sequence[Problem]) -> str:
    """How many of each kind, as one line; "no problem" without any."""
    kinds = Counter((problem.level, problem.kind) for problem in problems)
    return "; ".join(f"{count} x {kind} ({level})" for (level, kind), count in sorted(kinds.items())) or "no problem"


def processes() -> int:
    """As many as this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
