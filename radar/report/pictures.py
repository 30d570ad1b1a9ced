"""Pictures of a run: pages of photographs with every method's anomaly map, and thumbnails of the worst mistakes."""

import base64
import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageOps

from radar.images.map_archive import read_maps
from radar.images.overlay import COLOURS, colour, edge, relative_to
from radar.images.photos import read_image, read_mask
from radar.report import format
from radar.report.drawing import WIDTH, entitle, name_columns, style_of, styled
from radar.report.load import InputError, Pair, Run, of, read_csv

OUTLINE = (0, 230, 230)
DOTS, GAP = 300, 4  # px of pictures per inch, and between them
WORDS = {0: "normal", 1: "image\nlabel", -1: "no label"}  # where there is no mask
RULE = "the first normal test image, and of each defect the first of its middle severity, whatever methods say of it"
COMMON, OWN = "all test maps of the method", "the map alone"  # what the range of a map's colours is taken from
RANGE = (0.01, 0.995)  # its quantiles
PIXELS = 20_000  # of a map, evenly spread, that these are taken from


def chosen_images(manifest: pd.DataFrame, most: int = 9) -> pd.DataFrame:
    """Test images to show, by a rule that knows no method: see RULE; at most `most`, in the manifest's order.

    The lower of two middle severities counts as the middle. Without labels they are spread over all test images.
    """
    test = manifest[manifest["split"] == "test"]
    if (test["label"] == -1).any():
        return test.iloc[np.unique(np.linspace(0, len(test) - 1, min(most, len(test))).round().astype(int))]
    rows = [test[test["label"] == 0].head(1)]
    for _, images in test[test["label"] == 1].groupby("defect", sort=False):
        values = np.sort(images["severity"].dropna().unique())
        middle = images[images["severity"] == values[(len(values) - 1) // 2]] if len(values) else images
        rows.append(middle.head(1))
    return pd.concat(rows[:most])


def with_masks(run: Run) -> str:
    """The first dataset whose anomalies have masks, or else the first."""
    for name, dataset in run.datasets.items():
        if dataset["labelled"] and read_csv(run.results / name / "manifest.csv", ("mask",))["mask"].notna().any():
            return name
    return next(iter(run.datasets))


@dataclass(frozen=True)
class Maps:
    """A method's maps of the shown images, and the range of their common scale (from all its test maps)."""

    shown: dict[str, NDArray]  # path -> [H, W]
    low: float
    high: float

    def picture(self, path: str, scale: str) -> NDArray:
        """A map in colours [H, W, 3] uint8, on the scale COMMON or OWN."""
        one = self.shown[path]
        low, high = (self.low, self.high) if scale == COMMON else np.quantile(one, RANGE)
        return (255 * COLOURS(((one - low) / (high - low or 1)).clip(0, 1))[..., :3]).astype(np.uint8)


def maps_of(file: Path, paths: Sequence[str]) -> Maps:
    """The maps of `paths` out of maps.npz, and the quantiles RANGE of all maps in it. Raises InputError."""
    if not file.is_file():
        raise InputError(f"{file} is missing: make it with snakemake --cores all")
    shown, pixels = {}, []
    try:
        for path, one in read_maps(file):
            pixels.append(one.ravel()[:: one.size // PIXELS + 1].copy())
            if path in paths:
                shown[path] = one
    except ValueError as error:
        raise InputError(f"{error}: delete it and run snakemake --cores all") from None
    if missing := set(paths) - shown.keys():
        raise InputError(f"{file} has no map of {min(missing)}: delete it and run snakemake --cores all")
    low, high = np.quantile(np.concatenate(pixels), RANGE)
    return Maps({path: shown[path] for path in paths}, float(low), float(high))


def kind_of(row) -> str:
    """What a row of a manifest is called."""
    if row.label == -1:
        return Path(row.path).name
    return "normal" if row.label == 0 else row.defect + f" {format.plain(row.severity)}" * (not pd.isna(row.severity))


def truth(photo: NDArray, row, data: Path) -> NDArray:
    """The photograph [H, W, 3] with its mask tinted and outlined; grey without a mask."""
    if not isinstance(row.mask, str):
        return np.full_like(photo, 235)
    region, out = read_mask(data / row.mask, photo.shape[:2], getattr(row, "mask_from", 128)), photo.copy()
    out[region] = (0.6 * photo[region] + 0.4 * np.array(OUTLINE)).astype(np.uint8)
    out[edge(region)] = OUTLINE
    return out


def column(pictures: Sequence[NDArray], size: tuple[int, int], lines: int) -> NDArray:
    """Pictures [h, w, 3] below each other, each within `size` (W, H) in proportion; more air after each `lines`."""
    cells = []
    for place, picture in enumerate(pictures, 1):
        image = np.asarray(ImageOps.pad(Image.fromarray(picture), size, color="white"))
        cells.append(np.pad(image, ((0, GAP if place % lines else 4 * GAP), (0, GAP), (0, 0)), constant_values=255))
    return np.concatenate(cells)


@styled
def maps(run: Run, pair: Pair, partial: bool = False) -> Figure:
    """Every method's maps of the chosen images, above on the scale COMMON, below on OWN. Raises InputError, OSError."""
    return _page(run, pair, list(run.methods), (COMMON, OWN), 9, 8.6, partial)


@styled
def strip(run: Run, pair: Pair, answers: pd.DataFrame, partial: bool = False) -> Figure:
    """Three images and their maps, on the scale COMMON, of the methods that `answers` compares on this dataset."""
    ours = of(answers, pair)
    compared = {*ours["ours"], *ours["theirs"]} or set(run.methods)
    return _page(run, pair, [name for name in run.methods if name in compared][:5], (COMMON,), 3, 4.6, partial)


def _page(run: Run, pair: Pair, names: list[str], scales: Sequence[str], most: int, tallest: float,
          partial: bool) -> Figure:
    """A line of pictures per image and scale, a column per method; in further blocks where that makes them larger."""
    styles, data, seed = style_of(run), Path(run.datasets["/".join(pair)]["data"]), run.seeds[0]
    manifest = read_csv(run.results.joinpath(*pair, "manifest.csv"),
                        ("path", "split", "label", "defect", "severity", "mask"))
    rows = chosen_images(manifest, most)
    files = {name: run.place(pair, name, seed) / "maps.npz" for name in names}
    found = {name: maps_of(file, list(rows["path"])) for name, file in files.items() if file.is_file() or not partial}
    photos = [colour(read_image(data / path, 3)) for path in rows["path"]]
    truths = [truth(photo, row, data) for photo, row in zip(photos, rows.itertuples(), strict=True)]
    lines, ratio = len(scales), float(np.clip(photos[0].shape[0] / photos[0].shape[1], 0.5, 2))
    first = ({"image, truth": [one for both in zip(photos, truths, strict=True) for one in both]} if lines == 2
             else {"image": photos, "truth": truths})

    def side_of(blocks: int) -> float:  # inches
        return min((WIDTH - 0.5) / (len(first) + math.ceil(len(found) / blocks)),
                   tallest / (blocks * lines * len(rows) * ratio))

    blocks = max((1, 2, 3) if lines == 2 else (1,), key=side_of)
    side, deep = side_of(blocks), math.ceil(len(found) / blocks)
    size = round(DOTS * side), round(DOTS * side * ratio)
    figure = Figure(figsize=(WIDTH, blocks * (side * ratio * lines * len(rows) + 0.7)), layout="constrained")
    for block, ax in enumerate(figure.subplots(blocks, 1, squeeze=False).flat):
        shown = list(found)[block * deep: (block + 1) * deep]
        columns = [*first.values(), *([found[name].picture(path, scale) for path in rows["path"] for scale in scales]
                                      for name in shown)]
        sheet = np.concatenate([column(pictures, size, lines) for pictures in columns], axis=1)
        ax.imshow(sheet, extent=(0, len(columns), len(rows), 0),
                  aspect=sheet.shape[0] / len(rows) / (sheet.shape[1] / len(columns)))
        name_columns(ax, [*first, *(styles[name] for name in shown)], side)
        ax.set_yticks(np.arange(len(rows)) + 0.5, [
            textwrap.fill(kind_of(row).replace("_", " "), int(lines * side * ratio / 0.052), break_long_words=False)
            for row in rows.itertuples()], rotation=90, va="center")
        for place, row in enumerate(rows.itertuples()):
            if not isinstance(row.mask, str):
                ax.text(len(first) - 0.5, place + 1 - 0.5 / lines, WORDS[row.label], fontsize=7, ha="center",
                        va="center")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.grid(False)
    chosen = RULE if (rows["label"] >= 0).all() else "images from all over the test set"
    whose = COMMON if lines == 1 else f"{COMMON} (upper), of {OWN} (lower)"
    missing = [styles[name].label for name in names if name not in found]
    return entitle(figure, [f"{'/'.join(pair)}, seed {seed}: {chosen}.",
                            f"Colours of a map: from the 1st to the 99.5th percentile of {whose}.",
                            *([f"Not shown, for lack of results: {', '.join(missing)}."] if missing else [])])


# For the page


def worst(scores: pd.DataFrame, manifest: pd.DataFrame, most: int) -> dict[str, pd.DataFrame]:
    """The normal and the unlabelled test images with the highest scores, the anomalous ones with the lowest.

    scores: path, split, score; manifest: path, split, label and more. The rule knows nothing else, whether they lie
    beyond the threshold or not. Rows of the manifest with their score, at most `most` of each kind, the worst first.
    """
    test = scores[scores["split"] == "test"][["path", "score"]]
    known = manifest[manifest["split"] == "test"].merge(test, on="path").sort_values("score", kind="stable")
    labels = {"normal": 0, "anomalous": 1, "unlabelled": -1}
    kinds = {name: known[known["label"] == label] for name, label in labels.items()}
    return {name: (rows if name == "anomalous" else rows.iloc[::-1]).head(most) for name, rows in kinds.items()}


def thumbnail(image: NDArray, anomaly_map: NDArray, threshold: float, mask: NDArray | None,
              side: int) -> tuple[str, tuple[int, int]]:
    """Left the image [C, H, W] uint8; right the same, grey, under its map [H, W], and the truth outlined.

    The map is brightest from the pixel threshold on. mask: bool [H, W], or None. side: px of the longer side of each
    half. Returns a data URI and (width, height).
    """
    photo = Image.fromarray(colour(image))
    size = max(1, round(photo.width * side / max(photo.size))), max(1, round(photo.height * side / max(photo.size)))
    left = np.asarray(photo.resize(size, Image.Resampling.BICUBIC))
    found = Image.fromarray(relative_to(anomaly_map, threshold).clip(0, 1).astype(np.float32))
    relative = np.asarray(found.resize(size, Image.Resampling.BILINEAR)).clip(0, 1)
    weight = 0.85 * relative[..., None] ** 1.5  # low values leave the photograph as it is
    grey = left.mean(2, keepdims=True)  # so that no colour is the photograph's
    right = ((1 - weight) * grey + weight * 255 * COLOURS(0.25 + 0.7 * relative)[..., :3]).round().astype(np.uint8)
    if mask is not None:
        right[edge(np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)))] = OUTLINE
    both = Image.fromarray(np.concatenate([left, right], axis=1))
    return data_uri(both, "WEBP", quality=76), both.size


def figure_uri(path: Path, width: int) -> tuple[str, tuple[int, int]]:
    """A figure as a data URI and its (width, height), at most `width` px wide; in 128 colours or lossy."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    width = min(width, image.width)
    image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    uris = (data_uri(image.quantize(128, method=Image.Quantize.MEDIANCUT), "PNG", optimize=True),
            data_uri(image, "WEBP", quality=80))
    return min(uris, key=len), image.size


def data_uri(image: Image.Image, kind: str, **options) -> str:
    """An image as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
