"""Reading every image of a dataset once, before anything learns from it, and telling all that is wrong with it
together; and the manifest of a dataset that passes.

Each file is read by one of several processes: its bytes are hashed, it is decoded to its end, and a small thumbnail is
kept by which near-duplicates are found. Nothing else of the pixels stays in memory.
"""

import hashlib
import importlib
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from radar.data import DEFECTIVE, NORMAL, UNKNOWN
from radar.data.listing import Listing, Problem
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


class Facts(NamedTuple):
    """What reading one file gave.

    pixels: digest of the decoded picture. mode: Pillow's. highest, values: its highest grey value, and how many
    different ones it has. thumbnail: its fine detail, float16 [THUMBNAIL ** 2].
    """

    sha256: str
    pixels: str
    width: int
    height: int
    mode: str
    highest: int
    values: int
    thumbnail: np.ndarray


def listing_of(folder: Path, source: str, category: str, settings: dict) -> Listing:
    """What the source, a module of radar.data, says of the dataset in `folder`. Raises DatasetError without one."""
    if not folder.is_dir():
        raise DatasetError([f"{folder}: no such folder; make it with dvc repro or dvc pull, or correct the path"])
    return importlib.import_module(f"radar.data.{source}").listing(folder, category, settings)


def build(listing: Listing, workers: int = 1, description: str = "") -> pd.DataFrame:
    """The manifest of a dataset (radar.data.manifest), sorted by path, once it is checked.

    Raises DatasetError with every error that was found; the warnings are left in the listing.
    """
    check(listing, workers, description)
    if errors := listing.of("error"):
        raise DatasetError([problem.line for problem in errors])
    rows = sorted(listing.rows, key=itemgetter("path", "split"))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def check(listing: Listing, workers: int = 1, description: str = "") -> None:
    """Read all the images and masks of a listing, in `workers` processes, and add everything that is wrong to it.

    Its rows become those whose image can be used, with the rest of the manifest's COLUMNS.
    """
    images = list(dict.fromkeys(row["path"] for row in listing.rows))
    files = list(dict.fromkeys([*images, *(row["mask"] for row in listing.rows if row["mask"])]))
    found = dict(zip(files, _read([listing.folder / name for name in files], workers, description), strict=True))
    facts = {name: one for name, one in found.items() if isinstance(one, Facts)}
    listing.problems += [one for one in found.values() if isinstance(one, Problem)]
    _check_masks(listing, facts)
    _check_splits(listing)
    listing.rows = [row | {"sha256": facts[row["path"]].sha256,
                           "mask_sha256": facts[row["mask"]].sha256 if row["mask"] in facts else "",
                           "width": facts[row["path"]].width, "height": facts[row["path"]].height,
                           "mask_from": listing.mask_from}
                    for row in listing.rows if row["path"] in facts]
    _check_modes(listing, {name: facts[name].mode for name in images if name in facts})
    _check_names(listing, images)
    _check_duplicates(listing, facts)


def _read(files: Sequence[Path], workers: int, description: str) -> list[Facts | Problem]:
    found = []
    with (progress(len(files), f"read {description}".strip(), "file") as bar,
          ProcessPoolExecutor(workers) if workers > 1 else nullcontext() as pool):
        for one in pool.map(facts_of, files, chunksize=32) if pool else map(facts_of, files):
            found.append(one)
            bar.update()
    return found


def facts_of(path: Path) -> Facts | Problem:
    """Read one file, once, or tell what is wrong with it."""
    try:
        data = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes and of metadata; both are judged here
            with Image.open(path) as image:
                if unfit := _unfit(image):
                    kind, text = unfit
                    return Problem("error", kind, f"{path}: {text}")
                array = np.asarray(image.convert("RGBA") if image.mode == "P" else image)
                grey = image.convert("L")
    except FileNotFoundError:
        return Problem("error", "missing", f"{path}: listed, but missing; restore it, or remove its line")
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as wrong:
        reason = " ".join(str(wrong).split()) or type(wrong).__name__
        text = f"cannot be read as an image ({reason}); replace or remove it"
        if isinstance(wrong, OSError) and wrong.errno:  # of the system, not of the decoder
            text = f"cannot be read ({wrong.strerror}); mend its permissions or the disk"
        return Problem("error", "unreadable", f"{path}: {text}")
    pixels = hashlib.blake2b(array.tobytes() + str((array.shape, array.dtype)).encode(), digest_size=16)
    small = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), np.float32)
    values = np.flatnonzero(grey.histogram())
    return Facts(hashlib.sha256(data).hexdigest(), pixels.hexdigest(), *image.size, image.mode, int(values[-1]),
                 len(values), (small - ndimage.gaussian_filter(small, SIGMA)).ravel().astype(np.float16))


def _unfit(image: Image.Image) -> tuple[str, str] | None:
    """(kind, text) of why a picture cannot be used; it is decoded unless its size or its frames forbid that."""
    width, height = image.size
    if width * height > LARGEST:
        return "enormous", (f"has {width} x {height} px, {width * height / 1e6:.0f} megapixels; at most "
                            f"{LARGEST / 1e6:.0f} are read: cut it or shrink it")
    if (frames := getattr(image, "n_frames", 1)) > 1:
        return "animated", f"holds {frames} pictures; save each as a file of its own"
    image.load()
    if image.mode == "F":
        return "range", "holds floating-point numbers, whose range nobody knows; save it with 8 or 16 bits"
    if image.mode == "I":
        low, high = np.asarray(image).min(), np.asarray(image).max()
        if low < 0 or high > 65535:
            return "range", f"holds values from {low} to {high}, beyond 16 bits; save it with 8 or 16 bits"
    return None


def _check_masks(listing: Listing, facts: dict[str, Facts]) -> None:
    for row in listing.rows:
        image, mask, path = facts.get(row["path"]), facts.get(row["mask"]), listing.folder / row["mask"]
        if not image or not mask:
            continue
        if (mask.width, mask.height) != (image.width, image.height):
            listing.error("mask of another size", f"{path}: the mask has {mask.width} x {mask.height} px, its image "
                                                  f"{row['path']} {image.width} x {image.height}; save it at that size")
        if mask.highest < listing.mask_from:
            what = f"has no value above {mask.highest}, defect begins at {listing.mask_from}" * (mask.highest > 0)
            listing.warning("empty mask", f"{path}: {what or 'is empty'}, so that all pixels of {row['path']}, called "
                                          f"{row['defect']}, count as normal; draw the defect with 255")
        elif listing.mask_from > 1 and mask.values > 2:
            listing.warning("mask with grey values", f"{path}: has {mask.values} different values; {listing.mask_from} "
                                                     "and above is taken as defect")


def _check_splits(listing: Listing) -> None:
    defects = {row["defect"] for row in listing.rows if row["label"] == DEFECTIVE}
    masked = {row["defect"] for row in listing.rows if row["label"] == DEFECTIVE and row["mask"]}
    if masked and defects > masked:
        bare = ", ".join(sorted(defects - masked))
        listing.warning("masks of some defects only", f"{listing.folder}: {bare} has no masks, others have; pixel "
                                                      "metrics need all: add them, or expect none")
    there = {(row["split"], row["label"]) for row in listing.rows}
    for split, label, place, what in (("train", NORMAL, "good", "normal training"),
                                      ("test", NORMAL, "good", "normal test"),
                                      ("test", DEFECTIVE, "<defect>", "defective test")):
        if not there & {(split, label), (split, UNKNOWN)}:
            listing.error(f"no {what} image", f"{listing.folder / split / place}: no {what} image "
                                              f"({', '.join(sorted(SUFFIXES))}); normal ones are learnt from, the "
                                              "metrics need normal and defective ones (without labels: test/ itself)")


def _check_modes(listing: Listing, modes: dict[str, str]) -> None:
    kinds: dict[str, list[str]] = {"grey": [], "in colour": []}
    for name, mode in modes.items():
        grey = mode in ("1", "L", "LA") or mode.startswith("I")
        kinds["grey" if grey else "in colour"].append(name)
        path = listing.folder / name
        if mode in ("LA", "RGBA", "PA", "La", "RGBa"):
            listing.warning("alpha channel", f"{path}: has an alpha channel, which is not looked at; save it without")
        elif not grey and mode not in ("P", "RGB"):
            listing.warning("colours", f"{path}: its colours are {mode} and are turned into RGB; save it so")
    what, few = min(kinds.items(), key=lambda kind: len(kind[1]))
    if few:
        first = next((row["path"] for row in listing.rows if row["split"] == "train"), "")
        read = "grey" if first in kinds["grey"] else "in colour"
        listing.warning("grey and colour", f"{listing.folder / few[0]}: is {what}, as are {len(few)} of {len(modes)} "
                                           f"images; all are read {read}, as the first training image: save them alike")


def _check_names(listing: Listing, names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            listing.warning("names that differ only in case", f"{listing.folder / other}: differs from {name} only in "
                            "case; on Windows and macOS one replaces the other: rename it")


def _check_duplicates(listing: Listing, facts: dict[str, Facts]) -> None:
    """The same picture, or nearly the same, in training (with calibration) and test."""
    train = [row["path"] for row in listing.rows if row["split"] != "test"]
    test = [row["path"] for row in listing.rows if row["split"] == "test" and row["label"] != UNKNOWN]
    by_pixels = {facts[name].pixels: name for name in reversed(train)}
    twins = {name: by_pixels[facts[name].pixels] for name in test if facts[name].pixels in by_pixels}
    for name, twin in twins.items():
        tell = listing.warning if listing.published else listing.error
        tell("the same in training and test",
             f"{listing.folder / name}: the same picture as {twin}, which is learnt from; remove one of them")
    thumbnails = {name: one.thumbnail for name, one in facts.items()}
    for name, twin, likeness in near_duplicates([name for name in test if name not in twins], train, thumbnails):
        listing.warning("nearly the same in training and test",
                        f"{listing.folder / name}: nearly the same picture as {twin}, which is learnt from "
                        f"(correlation {likeness:.3f}); look at both")


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


def told(listing: Listing, name: str, of_a_kind: int = 10) -> str:
    """Every problem on a line, errors first; of a kind that occurs often the first ones, and how many there are. The
    last line counts images and problems."""
    lines = []
    for (level, kind), group in groupby(sorted(listing.problems, key=itemgetter(0, 1)), itemgetter(0, 1)):
        of_kind = [f"{level}: {problem.line}" for problem in group]
        lines += of_kind[:of_a_kind]
        if more := len(of_kind[of_a_kind:]):
            lines.append(f"{level}: ... and {more} more of this kind ({kind})")
    labels = {NORMAL: "normal", DEFECTIVE: "defective", UNKNOWN: "without label"}
    counts = Counter((row["split"], labels[row["label"]]) for row in listing.rows)
    images = ", ".join(f"{count} {split} {label}" for (split, label), count in sorted(counts.items())) or "no image"
    return "\n".join([*lines, f"{name}: {images}; {summary(listing.problems)}"])


def summary(problems: Iterable[Problem]) -> str:
    """How many of each kind, as one line; "no problem" without any."""
    kinds = Counter((problem.level, problem.kind) for problem in problems)
    return "; ".join(f"{count} x {kind} ({level})" for (level, kind), count in sorted(kinds.items())) or "no problem"
