"""What the sources with drawn defects share: random streams, smooth random fields, soft shapes, masks.

All in float64 with NumPy generators. Shapes have compact support: outside them nothing changes, exactly.
"""

from itertools import product
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.morphology import disk

SEVERITIES = (1, 2, 3)


def generator(settings: dict, *name: str | int) -> np.random.Generator:
    """A random stream for every purpose or image, so that changing one count or defect leaves the others alone."""
    return np.random.default_rng([settings["seed"], *("/".join(map(str, name)).encode())])


def planned(settings: dict) -> list[tuple[str, int, int]]:
    """(defect, severity, number) of every defective image."""
    return list(product(sorted(settings["defects"]), SEVERITIES, range(settings["test_per_defect"])))


def strength(settings: dict, defect: str, severity: int) -> dict[str, Any]:
    """How strong a defect of severity 1, 2 or 3 is: the arguments of its function."""
    return {name: values[severity - 1] for name, values in settings["defects"][defect].items()}


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Gaussian random field of `shape`, mean 0, standard deviation 1, correlation length about `sigma` px."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="reflect", truncate=3.0)
    return (field - field.mean()) / field.std()


def ramp(distance: np.ndarray, width: float) -> np.ndarray:
    """1 where `distance` <= -width, 0 where >= 0, a smooth (cosine) passage between. Distance in px."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(-distance / width, 0.0, 1.0))


def blob(y: np.ndarray, x: np.ndarray, radii: tuple[float, float], angle: float, edge: float,
         wobble: np.ndarray) -> np.ndarray:
    """A soft-edged irregular ellipse around (0, 0): 1 inside, 0 outside, [H, W].

    y, x: px from the centre, [H, W]. radii: px along and across `angle` (radians). edge: width of the passage from 1
    to 0, px. wobble: relative change of the radius, [H, W], about -0.3..0.3.
    """
    along = (x * np.cos(angle) + y * np.sin(angle)) / radii[0]
    across = (-x * np.sin(angle) + y * np.cos(angle)) / radii[1]
    return ramp((np.hypot(along, across) - 1.0 - wobble) * min(radii), edge)


def polyline_distance(y: np.ndarray, x: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance in px of every place (y, x), [H, W], from the polyline through `points` [N, 2] of (y, x)."""
    nearest = np.full(y.shape, np.inf)
    for (y0, x0), (y1, x1) in zip(points[:-1], points[1:], strict=True):
        dy, dx = y1 - y0, x1 - x0
        t = np.clip(((y - y0) * dy + (x - x0) * dx) / max(dy * dy + dx * dx, 1e-12), 0.0, 1.0)
        nearest = np.minimum(nearest, (y - y0 - t * dy) ** 2 + (x - x0 - t * dx) ** 2)
    return np.sqrt(nearest)


def changed(before: np.ndarray, after: np.ndarray, level: float, footprint: np.ndarray) -> np.ndarray:
    """Mask [H, W] of the pixels within `footprint` whose grey value (0..255) differs by at least `level`.

    footprint: bool [H, W], where the defect is. Gaps of a few pixels within it are closed and holes filled: some
    pixels of a defect happen to keep their value.
    """
    differs = (np.abs(after - before) >= level) & footprint
    mask = np.pad(differs, 6)  # so that closing does not erode at the border
    mask = ndimage.binary_fill_holes(ndimage.binary_closing(mask, disk(3, strict_radius=False)))
    return mask[6:-6, 6:-6] & footprint


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Round and clip grey values to 0..255."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
