"""What an engineer looks at: photographs with what a detector found in them, and its decisions. Imports no torch."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from radar.files import atomic

COLOURS = matplotlib.colormaps["inferno"]


def colour(image: np.ndarray) -> np.ndarray:
    """An image [C, H, W] as [H, W, 3]."""
    return np.repeat(image.transpose(1, 2, 0), 3 // image.shape[0], axis=2)


def relative_to(anomaly_map: np.ndarray, threshold: float) -> np.ndarray:
    """A map in units of its pixel threshold; 0 or 1 where that is not positive."""
    return anomaly_map / threshold if threshold > 0 else (anomaly_map > threshold).astype(float)


def edge(region: np.ndarray) -> np.ndarray:
    """The outermost pixels of a region, bool [H, W]."""
    return region & ~ndimage.binary_erosion(region)


def overlay(image: np.ndarray, anomaly_map: np.ndarray, threshold: float) -> Image.Image:
    """Left: the image [C, H, W] uint8, regions of the map [H, W] above the pixel threshold tinted and outlined.
    Right: the whole map, black at 0 to the brightest colour at the pixel threshold and above.

    Each half is at least 256 px wide, so that small images can be looked at.
    """
    relative = relative_to(anomaly_map, threshold)
    excess, above = np.clip(relative - 1, 0, 1), anomaly_map > threshold
    weight = np.where(above, 0.35 + 0.4 * excess, 0)[..., None]
    left = (1 - weight) * colour(image).astype(float) + weight * 255 * COLOURS(0.35 + 0.6 * excess)[..., :3]
    left[edge(above)] = (0, 255, 255)
    both = np.concatenate([left, 255 * COLOURS(np.clip(relative, 0, 1))[..., :3]], axis=1)
    picture = Image.fromarray(both.round().astype(np.uint8))
    factor = -(-256 // image.shape[2])
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def write_overlay(out: Path, relative: Path, image: np.ndarray, anomaly_map: np.ndarray, threshold: float) -> None:
    """Write out/<relative>.png."""
    with atomic(out / relative.with_name(relative.name + ".png")) as temporary:
        overlay(image, anomaly_map, threshold).save(temporary)


def write_decisions(path: Path, scored: Iterable[tuple[str, float]], threshold: float) -> None:
    """A CSV file with file, score, threshold and decision (1 = anomalous: score above threshold), highest scores
    first."""
    table = pd.DataFrame(scored, columns=["file", "score"]).sort_values("score", ascending=False, kind="stable")
    with atomic(path) as temporary:
        table.assign(threshold=threshold, decision=(table["score"] > threshold).astype(int)).to_csv(
            temporary, index=False)
