"""Pictures of a run: pages of photographs with every method's anomaly map, and thumbnails of the worst mistakes."""

import base64
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageOps

from radar.images.map_archive import read_maps
from radar.images.overlay import COLOURS, colour, edge, relative_to
from radar.images.photos import read_image, read_mask
from radar.report.drawing import WIDTH, Style, entitle, name_columns, style_of
from radar.report.load import AGAIN, InputError, Pair, Run, of, read_csv

OUTLINE = (0, 230, 230)
DOTS, GAP = 300, 4  # px of pictures per inch, and between them
WORDS = {0: "normal", 1: "image\nlabel", -1: "no label"}  # where there is no mask
RULE = "the first normal test image, and of each defect the first of its middle severity, whatever methods say of it"
RANGE = (0.01, 0.995)  # quantiles that the colours of a map reach from and to
PIXELS = 20_000  # of a map, evenly spread, that those of all maps are taken from


def chosen_images(manifest: pd.DataFrame, most: int = 9) -> pd.DataFrame:
    """Test images to show, by a rule that knows no method: see RULE; at most `most`, in the manifest's order.

    The lower of two middle severities counts as the middle. Without labels they are spread over all test images.
    """
    test = manifest[manifest["split"] == "test"]
    if (test["label"] == -1).any():
        return test.iloc[np.unique(np.linspace(0, len(test) - 1, min(most, len(test))).round().astype(int))]
    rows = [test[test["label"] == 0].head(1)]
    for _, images in test[test["label"] == 1].fillna({"severity": 0}).groupby("defect", sort=False):
        middle = images["severity"].drop_duplicates().quantile(0.5, interpolation="lower")
        rows.append(images[images["severity"] == middle].head(1))
    return pd.concat(rows[:most])


def maps_of(file: Path, paths: Sequence[str], lines: int) -> list[NDArray]:
    """Of every one of `paths` its map out of maps.npz in colours [H, W, 3] uint8: with 1 line on a scale of all maps in
    the file, with 2 on the map's own, too. Raises InputError."""
    shown, pixels = {}, []
    try:
        for path, one in read_maps(file):
            pixels.append(one.ravel()[:: one.size // PIXELS + 1].copy())
            if path in paths:
                shown[path] = one
    except ValueError as error:
        raise InputError(f"{error}: {AGAIN}") from None
    common = np.quantile(np.concatenate(pixels), RANGE)
    return [in_colours(shown[path], *ends) for path in paths
            for ends in (common, np.quantile(shown[path], RANGE))[:lines]]


def in_colours(one: NDArray, low: float, high: float) -> NDArray:
    """A map [H, W] in colours [H, W, 3] uint8."""
    return (255 * COLOURS(((one - low) / (high - low or 1)).clip(0, 1))[..., :3]).astype(np.uint8)


def kind_of(row: Mapping) -> str:
    """What a row of a manifest is called."""
    if row["label"] == 0:
        return "normal"
    if row["label"] == -1:
        return Path(row["path"]).name
    return row["defect"].replace("_", " ") + f" {row['severity']:g}" * (row["severity"] > 0)


def mask_of(row: Mapping, data: Path, shape: tuple[int, int]) -> NDArray | None:
    """The mask of a row of a manifest, bool [H, W] of `shape`; None without one."""
    if not isinstance(row["mask"], str) or not row["mask"]:
        return None
    return read_mask(data / row["mask"], shape, row.get("mask_from", 128))


def truth(photo: NDArray, region: NDArray | None) -> NDArray:
    """The photograph [H, W, 3] with its mask [H, W] tinted and outlined; grey without a mask."""
    if region is None:
        return np.full_like(photo, 235)
    out = photo.copy()
    out[region] = (0.6 * photo[region] + 0.4 * np.array(OUTLINE)).astype(np.uint8)
    out[edge(region)] = OUTLINE
    return out


def maps(run: Run, pair: Pair) -> Figure:
    """Every method's maps of the chosen images, above on a scale of all its maps, below on their own. Raises
    InputError, OSError."""
    return _page(run, pair, list(run.methods), lines=2, most=9, tallest=8.6)


def strip(run: Run, answers: pd.DataFrame) -> Figure:
    """Three images of the first dataset and their maps, on a scale of all maps, of methods that `answers` compares."""
    ours = of(answers, run.pairs[0])
    compared = {*ours["ours"], *ours["theirs"]} or set(run.methods)
    names = [name for name in run.methods if name in compared][:5]
    return _page(run, run.pairs[0], names, lines=1, most=3, tallest=4.6)


def _page(run: Run, pair: Pair, names: list[str], lines: int, most: int, tallest: float) -> Figure:
    """A row per image, a column per method, in further blocks where that makes the pictures larger."""
    data, seed = Path(run.datasets["/".join(pair)]["data"]), run.seeds[0]
    manifest = read_csv(run.results.joinpath(*pair, "manifest.csv"),
                        ("path", "split", "label", "defect", "severity", "mask"))
    rows = chosen_images(manifest, most).to_dict("records")
    photos = [colour(read_image(data / row["path"], 3)) for row in rows]
    truths = [truth(photo, mask_of(row, data, photo.shape[:2])) for photo, row in zip(photos, rows, strict=True)]
    first = ({"image": photos, "truth": truths} if lines == 1 else
             {"image, truth": [one for both in zip(photos, truths, strict=True) for one in both]})
    columns = {one: maps_of(run.place(pair, name, seed) / "maps.npz", [row["path"] for row in rows], lines)
               for name, one in style_of(run).items() if name in names}
    ratio = float(np.clip(photos[0].shape[0] / photos[0].shape[1], 0.5, 2))
    side, blocks = max((min((WIDTH - 0.5) / (len(first) + math.ceil(len(names) / blocks)),
                            tallest / (blocks * lines * len(rows) * ratio)), blocks) for blocks in (1, 2, 3))  # inches
    deep = math.ceil(len(names) / blocks)
    figure = Figure(figsize=(WIDTH, blocks * (side * ratio * lines * len(rows) + 0.7)), layout="constrained")
    for block, ax in enumerate(figure.subplots(blocks, 1, squeeze=False).flat):
        _draw(ax, first | dict(list(columns.items())[block * deep: (block + 1) * deep]), rows, lines, side, ratio)
        for place, row in enumerate(rows):
            if not isinstance(row["mask"], str):
                ax.text(len(first) - 0.5, place + 1 - 0.5 / lines, WORDS[row["label"]], fontsize=7, ha="center",
                        va="center")
    chosen = RULE if all(row["label"] >= 0 for row in rows) else "images from all over the test set"
    whose = "all test maps of the method" + " (upper), of the map alone (lower)" * (lines - 1)
    return entitle(figure, [f"{'/'.join(pair)}, seed {seed}: {chosen}.",
                            f"Colours of a map: from the 1st to the 99.5th percentile of {whose}."])


def _draw(ax: Axes, columns: Mapping[Style | str, list[NDArray]], rows: list[dict], lines: int, side: float,
          ratio: float) -> None:
    """Columns of pictures beside each other, each within a cell `side` inches wide, `ratio` times as high; a name above
    a column, and left of every `lines` lines what their row of the manifest is called."""
    width, height = round(DOTS * side), round(DOTS * side * ratio)
    across, down = width + GAP, lines * (height + GAP) + 3 * GAP  # from a column, and from a row, to the next
    sheet = Image.new("RGB", (len(columns) * across, len(rows) * down), "white")
    for x, pictures in enumerate(columns.values()):
        for y, picture in enumerate(pictures):
            cell = ImageOps.pad(Image.fromarray(picture), (width, height), color="white")
            sheet.paste(cell, (x * across, y // lines * down + y % lines * (height + GAP)))
    ax.imshow(sheet, extent=(0, len(columns), len(rows), 0), aspect=down / across)
    name_columns(ax, list(columns), side)
    ax.set_yticks(np.arange(len(rows)) + 0.5, [
        textwrap.fill(kind_of(row), int(lines * side * ratio / 0.052), break_long_words=False) for row in rows],
                  rotation=90, va="center")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.grid(False)


# For the page


def worst(test: pd.DataFrame, most: int) -> dict[str, pd.DataFrame]:
    """Of test images with label and score the `most` normal ones with the highest scores, the anomalous ones with the
    lowest, and twice as many unlabelled ones with the highest, whether they lie beyond the threshold or not."""
    ranked = test.sort_values("score", ascending=False, kind="stable")
    normal, anomalous, unlabelled = (ranked[ranked["label"] == label] for label in (0, 1, -1))
    return {"normal": normal.head(most), "anomalous": anomalous.iloc[::-1].head(most),
            "unlabelled": unlabelled.head(2 * most)}


def thumbnail(image: NDArray, anomaly_map: NDArray, threshold: float, mask: NDArray | None,
              side: int) -> tuple[str, tuple[int, int]]:
    """Left the image [C, H, W] uint8; right the same, grey, under its map [H, W], and the truth outlined.

    The map is brightest from the pixel threshold on. mask: bool [H, W], or None. side: px of the longer side of each
    half. Returns a data URI and (width, height).
    """
    photo = ImageOps.contain(Image.fromarray(colour(image)), (side, side))
    left, found = np.asarray(photo), Image.fromarray(relative_to(anomaly_map, threshold).clip(0, 1).astype(np.float32))
    relative = np.asarray(found.resize(photo.size, Image.Resampling.BILINEAR)).clip(0, 1)
    weight = 0.85 * relative[..., None] ** 1.5  # low values leave the photograph as it is
    grey = left.mean(2, keepdims=True)  # so that no colour is the photograph's
    right = ((1 - weight) * grey + weight * 255 * COLOURS(0.25 + 0.7 * relative)[..., :3]).round().astype(np.uint8)
    if mask is not None:
        right[edge(np.asarray(Image.fromarray(mask).resize(photo.size, Image.Resampling.NEAREST)))] = OUTLINE
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
