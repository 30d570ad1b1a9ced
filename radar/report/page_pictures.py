"""Pictures inside the page: figures of the run, and each method's worst mistakes, as data URIs within a budget."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

COLOURS = matplotlib.colormaps["inferno"]
WIDTHS = (1400, 1000, 700, 500)  # px of a figure: the first that keeps its share of the page
OUTLINE = (0, 230, 230)
# Bytes that the pictures of a page may take, so that it stays under ten megabytes whatever is selected.
BUDGET = {"overviews": 1_500_000, "maps": 2_500_000, "ablation": 2_000_000}


@dataclass(frozen=True)
class Picture:
    """An image on the page: data URI, (width, height) in px, what it shows in words, its caption, and the command that
    makes it.
    """

    uri: str
    size: tuple[int, int]
    alt: str
    caption: str = ""
    command: str = ""


@dataclass(frozen=True)
class Decision:
    """An image that was scored. verdict: "false alarm", "missed", or what else came of it; wrong: whether it is one."""

    picture: Picture
    verdict: str
    wrong: bool


@dataclass(frozen=True)
class Mistakes:
    """A method's worst false alarms and misses on a dataset; without labels, the highest scores alone."""

    method: str
    normal: list[Decision]
    anomalous: list[Decision]
    unlabelled: list[Decision]


def data_uri(image: Image.Image, kind: str = "PNG", **options) -> str:
    """An image as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def figure(path: Path, alt: str, caption: str, command: str, most: int) -> Picture:
    """A figure of the run, as wide as `most` bytes allow, in 128 colours or lossy, whichever is smaller."""
    with Image.open(path) as image:
        full = image.convert("RGB")
    for width in (one for one in WIDTHS if one <= full.width or one == WIDTHS[-1]):
        width = min(width, full.width)
        image = full.resize((width, round(full.height * width / full.width)), Image.Resampling.LANCZOS)
        uri = min((data_uri(image.quantize(128, method=Image.Quantize.MEDIANCUT), optimize=True),
                   data_uri(image, "WEBP", quality=80)), key=len)
        if len(uri) <= most:
            break
    return Picture(uri, image.size, alt, caption, command)


def plan(groups: int) -> tuple[int, int]:
    """(images of each kind of mistake, px of their longer side) for so many methods times datasets."""
    return (3, 128) if groups <= 60 else (2, 112) if groups <= 150 else (1, 96)


VERDICTS = {(0, True): "false alarm", (0, False): "passed", (1, True): "found", (1, False): "missed",
            (-1, True): "called anomalous", (-1, False): "called normal"}


def decision(picture: Picture, label: int, score: float, threshold: float) -> Decision:
    """What became of an image with this label (0, 1, or -1 = nobody knows): anomalous if its score exceeds it."""
    verdict = VERDICTS[label, score > threshold]
    return Decision(picture, verdict, verdict in ("false alarm", "missed"))


def worst(scores: pd.DataFrame, manifest: pd.DataFrame, most: int) -> dict[str, pd.DataFrame]:
    """The normal and the unlabelled test images with the highest scores, the anomalous ones with the lowest.

    scores: path, split, score; manifest: path, split, label and more. The rule knows nothing else, whether they lie
    beyond the threshold or not. Rows of the manifest with their score, at most `most` of each kind, the worst first.
    """
    test = scores[scores["split"] == "test"][["path", "score"]]
    known = manifest[manifest["split"] == "test"].merge(test, on="path")
    rising = {name: known[known["label"] == label].sort_values("score", kind="stable")
              for name, label in (("normal", 0), ("anomalous", 1), ("unlabelled", -1))}
    return {name: (rows if name == "anomalous" else rows.iloc[::-1]).head(most) for name, rows in rising.items()}


def thumbnail(image: np.ndarray, anomaly_map: np.ndarray, threshold: float, mask: np.ndarray | None,
              side: int) -> tuple[str, tuple[int, int]]:
    """Left the image [C, H, W] uint8; right the same under its map [H, W], brightest from the pixel threshold on, the
    truth outlined.

    mask: bool [H, W], or None. side: px of the longer side of each half. Returns a data URI and (width, height).
    """
    base = np.repeat(image.transpose(1, 2, 0), 3 // image.shape[0], axis=2)
    scale = side / max(base.shape[:2])
    size = max(1, round(base.shape[1] * scale)), max(1, round(base.shape[0] * scale))
    left = np.asarray(Image.fromarray(base).resize(size, Image.Resampling.BICUBIC))
    relative = np.clip(anomaly_map / threshold, 0, 1) if threshold > 0 else (anomaly_map > threshold).astype(float)
    relative = np.clip(np.asarray(Image.fromarray(relative.astype(np.float32)).resize(
        size, Image.Resampling.BILINEAR)), 0, 1)
    weight = 0.85 * relative[..., None] ** 1.5  # low values leave the photograph as it is
    grey = np.repeat(left.mean(2, keepdims=True), 3, axis=2)  # so that no colour is the photograph's
    right = ((1 - weight) * grey + weight * 255 * COLOURS(0.25 + 0.7 * relative)[..., :3]).round().astype(np.uint8)
    if mask is not None:
        large = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        right[large & ~ndimage.binary_erosion(large)] = OUTLINE
    both = Image.fromarray(np.concatenate([left, right], axis=1))
    return data_uri(both, "WEBP", quality=76), both.size
