"""Reading every image of a dataset once, before anything learns from it, and telling all that is wrong with it
together; and the manifest of a dataset that passes.

Each file is read by one of several processes: its bytes are hashed, it is decoded to its end, and a small thumbnail is
kept by which near-duplicates are found. Nothing else of the pixels stays in memory.

Errors: files that cannot be read to their end, animated or enormous ones, values that 8 bits cannot hold, masks of
another size than their image, no normal training image, no defective or no normal test image, the same picture in
training and test of a dataset of one's own (in a published one it is a warning). Warnings: masks that are empty or have
grey values, an alpha channel or other colours than grey and RGB, grey and colour mixed, near-duplicates between
training and test, names that differ only in case, links that leave the folder.
"""

import hashlib
import importlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from radar.data import DEFECTIVE, NORMAL, UNKNOWN
from radar.data.listing import Listing, Problem, error, warning
from radar.data.manifest import COLUMNS, DatasetError
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
    """What reading one file gave. trouble: why it cannot be used, (kind, text); then the rest is empty.

    pixels: digest of the decoded picture. mode: Pillow's. values: of a mask, its distinct grey values. thumbnail:
    float16 [THUMBNAIL ** 2], of an image.
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
    """rows: those of the listing whose image can be used, with the rest of the manifest's COLUMNS."""

    rows: list[dict]
    problems: list[Problem]

    def of(self, level: str) -> list[Problem]:
        return [problem for problem in self.problems if problem.level == level]


def listing_of(folder: Path, source: str = "folder", category: str = "", settings: dict | None = None) -> Listing:
    """What the source, a module of radar.data, says of the dataset in `folder`. Raises DatasetError without one."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError([f"{folder}: no such folder; make it with dvc repro or dvc pull, or correct the path"])
    module = importlib.import_module(f"radar.data.{source}")
    return module.listing(folder, category, {"test_fraction": 0.3, "seed": 0} if settings is None else settings)


def build(folder: Path, listing: Listing | None = None, workers: int = 1,
          description: str = "") -> tuple[pd.DataFrame, Report]:
    """The manifest of the dataset in `folder` (radar.data.manifest), sorted by path, and the report of its check.

    listing: by default what radar.data.folder says. Raises DatasetError with every error that was found.
    """
    report = check(Path(folder), listing_of(folder) if listing is None else listing, workers, description)
    if errors := report.of("error"):
        raise DatasetError([problem.line for problem in errors])
    rows = sorted(report.rows, key=lambda row: (row["path"], row["split"]))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS), report


def check(folder: Path, listing: Listing, workers: int = 1, description: str = "") -> Report:
    """Read all the images and masks of a listing, in `workers` processes, and report everything that is wrong."""
    paths = list(dict.fromkeys(row["path"] for row in listing.rows))
    masks = list(dict.fromkeys(row["mask"] for row in listing.rows if row["mask"]))
    facts = _read([folder / path for path in [*paths, *masks]], len(paths), workers, description)
    of_images, of_masks = dict(zip(paths, facts, strict=False)), dict(zip(masks, facts[len(paths):], strict=True))
    report = Report([], list(listing.problems))
    for path, one in zip([*paths, *masks], facts, strict=True):
        if one.trouble:
            report.problems.append(error(one.trouble[0], f"{folder / path}: {one.trouble[1]}"))
    for row in listing.rows:
        image, mask = of_images[row["path"]], of_masks.get(row["mask"])
        if image.trouble:
            continue
        report.rows.append(row | {"sha256": image.sha256, "mask_sha256": mask.sha256 if mask else "",
                                  "width": image.width, "height": image.height, "mask_from": listing.mask_from})
        if mask and not mask.trouble:
            report.problems += _of_mask(folder, row, image, mask, listing.mask_from)
    usable = {path: one for path, one in of_images.items() if not one.trouble}
    report.problems += [*_of_splits(folder, listing), *_of_modes(folder, usable), *_of_names(folder, paths),
                        *_duplicates(folder, listing, usable)]
    return report


def _read(files: Sequence[Path], images: int, workers: int, description: str) -> list[Facts]:
    """The facts of every file; the first `images` are images, the others masks."""
    are_masks, found = [index >= images for index in range(len(files))], []
    with (progress(len(files), f"read {description}".strip(), "file") as bar,
          ProcessPoolExecutor(workers) if workers > 1 else nullcontext() as pool):
        for one in pool.map(facts_of, files, are_masks, chunksize=32) if pool else map(facts_of, files, are_masks):
            found.append(one)
            bar.update()
    return found


def facts_of(path: Path, is_mask: bool = False) -> Facts:
    """Read one file, once; what is wrong with it is in the result."""
    try:
        data = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes and of metadata; both are judged here
            with Image.open(path) as image:
                width, height = image.size
                if width * height > LARGEST:
                    megapixels = f"{width * height / 1e6:.0f} megapixels; at most {LARGEST / 1e6:.0f} are read"
                    return Facts(trouble=("enormous", f"has {width} x {height} px, {megapixels}: cut it or shrink it"))
                if (frames := getattr(image, "n_frames", 1)) > 1:
                    return Facts(trouble=("animated", f"holds {frames} pictures; save each as a file of its own"))
                image.load()
                array = np.asarray(image.convert("RGBA") if image.mode == "P" else image)
                if trouble := _range(image.mode, array):
                    return Facts(trouble=("range", f"{trouble}; save it with 8 or 16 bits"))
                grey = image if image.mode == "L" else image.convert("L")
    except FileNotFoundError:
        return Facts(trouble=("missing", "listed, but missing; restore it, or remove its line"))
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as wrong:
        if isinstance(wrong, OSError) and wrong.errno:  # of the system, not of the decoder
            return Facts(trouble=("unreadable", f"cannot be read ({wrong.strerror}); mend its permissions or the disk"))
        reason = " ".join(str(wrong).split()) or type(wrong).__name__
        return Facts(trouble=("unreadable", f"cannot be read as an image ({reason}); replace or remove it"))
    digest = hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16)
    digest.update(str((array.shape, array.dtype)).encode())
    facts = Facts(hashlib.sha256(data).hexdigest(), digest.hexdigest(), width, height, image.mode)
    if is_mask:
        return replace(facts, values=tuple(np.flatnonzero(np.bincount(np.asarray(grey).ravel())).tolist()))
    return replace(facts, thumbnail=thumbnail(grey))


def _range(mode: str, array: np.ndarray) -> str:
    """What is wrong with the values of a picture, if anything is."""
    if mode == "F":
        return "holds floating-point numbers, whose range nobody knows"
    if mode.startswith("I") and array.size and (array.min() < 0 or array.max() > 65535):
        return f"holds values from {array.min()} to {array.max()}, beyond 16 bits"
    return ""


def thumbnail(grey: Image.Image) -> np.ndarray:
    """The fine detail of a grey picture at THUMBNAIL x THUMBNAIL, float16 [THUMBNAIL ** 2]."""
    small = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), np.float32)
    return (small - ndimage.gaussian_filter(small, SIGMA)).ravel().astype(np.float16)


def _of_mask(folder: Path, row: dict, image: Facts, mask: Facts, mask_from: int) -> Iterator[Problem]:
    path, largest = folder / row["mask"], max(mask.values)
    if (mask.width, mask.height) != (image.width, image.height):
        yield error("mask of another size",
                    f"{path}: the mask has {mask.width} x {mask.height} px, its image {row['path']} {image.width} x "
                    f"{image.height}; save the mask at the size of its image")
    if largest < mask_from:
        what = "is empty" if largest == 0 else f"has no value above {largest}, defect begins at {mask_from}"
        yield warning("empty mask", f"{path}: {what}, so that all pixels of {row['path']}, which is called "
                                    f"{row['defect']}, count as normal; draw the defect with 255")
    elif mask_from > 1 and len(mask.values) > 2:
        yield warning("mask with grey values", f"{path}: has {len(mask.values)} different values; {mask_from} and "
                                               "above is taken as defect")


def _of_splits(folder: Path, listing: Listing) -> Iterator[Problem]:
    there = {(row["split"], row["label"]) for row in listing.rows}
    if ("train", NORMAL) not in there:
        yield error("no normal image", f"{folder / 'train' / 'good'}: no normal training image; put photographs of "
                                       f"good parts there ({', '.join(sorted(SUFFIXES))})")
    defects = {row["defect"] for row in listing.rows if row["label"] == DEFECTIVE}
    masked = {row["defect"] for row in listing.rows if row["label"] == DEFECTIVE and row["mask"]}
    if masked and defects > masked:
        yield warning("masks of some defects only", f"{folder}: {', '.join(sorted(defects - masked))} has no masks, "
                                                    "others have; pixel metrics need all: add them, or expect none")
    for label, place, what in ((NORMAL, "test/good", "normal"), (DEFECTIVE, "test/<defect>", "defective")):
        if not there & {("test", label), ("test", UNKNOWN)}:
            yield error(f"no {what} test image", f"{folder / place}: no {what} test image; the metrics need normal and "
                                                 "defective ones (images without labels: test/ itself)")


def _of_modes(folder: Path, facts: dict[str, Facts]) -> Iterator[Problem]:
    kinds: dict[str, list[str]] = {"grey": [], "in colour": []}
    for path, mode in ((path, one.mode) for path, one in facts.items()):
        grey = mode in ("1", "L", "LA") or mode.startswith("I")
        kinds["grey" if grey else "in colour"].append(path)
        if mode in ("LA", "RGBA", "PA", "La", "RGBa"):
            yield warning("alpha channel", f"{folder / path}: has an alpha channel, which is not looked at; save it "
                                           "without")
        elif not grey and mode not in ("P", "RGB"):
            yield warning("colours", f"{folder / path}: its colours are {mode} and are turned into RGB; save it so")
    what, few = min(kinds.items(), key=lambda kind: len(kind[1]))
    if few:
        yield warning("grey and colour", f"{folder / few[0]}: is {what}, as are {len(few)} of {len(facts)} images; all "
                                         "are read as the first training image is: save them alike")


def _of_names(folder: Path, paths: Sequence[str]) -> Iterator[Problem]:
    alike: dict[str, list[str]] = {}
    for path in paths:
        alike.setdefault(path.casefold(), []).append(path)
    for first, *others in (names for names in alike.values() if names[1:]):
        yield warning("names that differ only in case", f"{folder / first}: differs from {others[0]} only in case; on "
                                                        "Windows and macOS one replaces the other: rename it")


def _duplicates(folder: Path, listing: Listing, facts: dict[str, Facts]) -> Iterator[Problem]:
    """The same picture, or nearly the same, in training (with calibration) and test."""
    known = [row for row in listing.rows if row["path"] in facts]
    train = [row["path"] for row in known if row["split"] != "test"]
    test = [row["path"] for row in known if row["split"] == "test" and row["label"] != UNKNOWN]
    level = warning if listing.published else error
    by_pixels = {facts[path].pixels: path for path in reversed(train)}
    twins = {path: by_pixels[facts[path].pixels] for path in test if facts[path].pixels in by_pixels}
    for path, twin in twins.items():
        yield level("the same in training and test",
                    f"{folder / path}: the same picture as {twin}, which is learnt from; remove one of them")
    thumbnails = {path: one.thumbnail for path, one in facts.items() if one.thumbnail is not None}
    for path, twin, likeness in near_duplicates([path for path in test if path not in twins], train, thumbnails):
        yield warning("nearly the same in training and test",
                      f"{folder / path}: nearly the same picture as {twin}, which is learnt from (correlation "
                      f"{likeness:.3f}); look at both")


def near_duplicates(test: Sequence[str], train: Sequence[str],
                    thumbnails: dict[str, np.ndarray]) -> list[tuple[str, str, float]]:
    """(test image, training image most like it, correlation) of those that correlate at least NEAR.

    What the pictures have in common, the mean thumbnail of the training images, is taken away first: photographs of
    parts that lie at the same place correlate by it alone.
    """
    if len(train) < 3:
        return []
    common = sum((thumbnails[path].astype(np.float64) for path in train), np.zeros(THUMBNAIL**2)) / len(train)

    def details(paths: Sequence[str]) -> np.ndarray:
        """[N, THUMBNAIL ** 2] of mean 0 and norm 1; without any detail (below a tenth of a grey level) it stays 0."""
        rows = (np.stack([thumbnails[path] for path in paths]) - common).astype(np.float32)
        rows -= rows.mean(1, keepdims=True)
        norm = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.where(norm > 0.1 * THUMBNAIL, rows / np.maximum(norm, 1e-12), 0)

    best = {path: (0.0, "") for path in test}  # the most like one so far: memory does not grow with the images
    for i in range(0, len(test), BLOCK):
        new = details(part := test[i:i + BLOCK])
        for j in range(0, len(train), BLOCK):
            likeness = new @ details(train[j:j + BLOCK]).T
            for path, one, which in zip(part, likeness, likeness.argmax(1), strict=True):
                best[path] = max(best[path], (float(one[which]), train[j + which]), key=lambda pair: pair[0])
    return [(path, twin, value) for path, (value, twin) in best.items() if value >= NEAR]


# Telling it


def lines(problems: Sequence[Problem], of_a_kind: int = 10) -> list[str]:
    """Every problem as a line, errors first; of a kind that occurs often the first ones, and how many there are."""
    total = Counter((problem.level, problem.kind) for problem in problems)
    told, count = [], Counter[tuple[str, str]]()
    for problem in sorted(problems, key=lambda problem: problem.level):  # "error" < "warning"
        kind = problem.level, problem.kind
        count[kind] += 1
        if count[kind] <= of_a_kind:
            told.append(f"{problem.level}: {problem.line}")
        elif count[kind] == of_a_kind + 1:
            told.append(f"{problem.level}: ... and {total[kind] - of_a_kind} more of this kind ({problem.kind})")
    return told


def summary(problems: Sequence[Problem]) -> str:
    """How many of each kind, as one line; "no problem" without any."""
    kinds = Counter((problem.level, problem.kind) for problem in problems)
    return "; ".join(f"{count} x {kind} ({level})" for (level, kind), count in sorted(kinds.items())) or "no problem"
