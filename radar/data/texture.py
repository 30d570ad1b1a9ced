"""Gravel, brick and grass: crops of the photographs that scikit-image ships, with drawn defects.

The defects follow the five of the category "tile" of MVTec AD (Bergmann et al., CVPR 2019): crack, glue strip, grey
stroke, oil, rough. Training, calibration and test crops come from disjoint strips of the photograph, so that no
method sees a test pixel before. Pixels outside a defect's mask are those of the photograph.
"""

from collections.abc import Iterator

import numpy as np
import skimage.data
from scipy import ndimage

from radar.data.defects import blob, generator, planned, polyline_distance, ramp, smooth_noise, strength, to_uint8
from radar.data.layout import Picture

FOOTPRINT = 0.2  # a pixel belongs to a defect where its window (0..1) exceeds this; it is changed there only

Drawn = tuple[np.ndarray, np.ndarray]  # the changed image and the defect's window, [H, W] each


def pictures(category: str, settings: dict) -> Iterator[Picture]:
    """The crops of one photograph; settings as in config/datasets/texture.yaml."""
    photograph = getattr(skimage.data, category)()
    size = settings["crop"]
    cut = {split: [photograph[y:y + size, x:x + size] for y, x in corners]
           for split, corners in crops(category, settings, photograph.shape).items()}
    for split in ("train", "calibration"):
        yield from (Picture(crop, split) for crop in cut[split])
    for crop, plan in zip(cut["test"], test_plan(category, settings, len(cut["test"])), strict=True):
        if plan is None:
            yield Picture(crop, "test")
        else:
            defect, severity, number = plan
            image, mask = draw(crop, category, defect, severity, number, settings)
            yield Picture(image, "test", defect, mask, severity)


def crops(category: str, settings: dict, shape: tuple[int, int]) -> dict[str, list[tuple[int, int]]]:
    """Upper left corners (y, x) of the crops of each split, in a photograph of `shape`."""
    size, step = settings["crop"], settings["test_step"]
    places = {}
    for split in ("train", "calibration"):
        left, right = settings[f"{split}_columns"]
        rng = generator(settings, category, split)
        count = settings[f"{split}_normal"]
        ys, xs = rng.integers(0, shape[0] - size + 1, count), rng.integers(left, right - size + 1, count)
        places[split] = list(zip(ys.tolist(), xs.tolist(), strict=True))
    left, right = settings["test_columns"]
    places["test"] = [(y, x) for y in range(0, shape[0] - size + 1, step) for x in range(left, right - size + 1, step)]
    return places


def test_plan(category: str, settings: dict, count: int) -> list[tuple[str, int, int] | None]:
    """What becomes of each of `count` test crops: (defect, severity, number), or None for a good one, shuffled."""
    plan = planned(settings)
    if len(plan) >= count:
        raise ValueError(f"{len(plan)} defects do not leave a good one of {count} test crops: lower test_per_defect")
    order = generator(settings, category, "plan").permutation(count)
    return [plan[i] if i < len(plan) else None for i in order]


def draw(crop: np.ndarray, category: str, defect: str, severity: int, number: int, settings: dict) -> Drawn:
    """(image uint8 [H, W], mask bool [H, W]): the crop with a defect of severity 1, 2 or 3."""
    # the place and shape are the same for all severities; only size and contrast grow
    rng = generator(settings, category, defect, number)
    image, window = DEFECTS[defect](crop.astype(np.float64), rng, **strength(settings, defect, severity))
    mask = window > FOOTPRINT
    return np.where(mask, to_uint8(image), crop), mask


def _grid(rng: np.random.Generator, size: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (y, x), [size, size] each, in px from a random centre at least `margin` inside."""
    cy, cx = rng.uniform(margin, size - margin, 2)
    return np.meshgrid(np.arange(size) + 0.5 - cy, np.arange(size) + 0.5 - cx, indexing="ij")


def _from_line(rng: np.random.Generator, size: int, length: float, steps: int, turn: float) -> np.ndarray:
    """Distance in px, [size, size], from a random walk that keeps a direction; turn: radians per step."""
    y, x = _grid(rng, size, 22)
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, turn, steps))
    points = np.cumsum(np.stack([np.sin(angles), np.cos(angles)], axis=1), axis=0) * length / steps
    points = np.vstack([[0.0, 0.0], points])
    return polyline_distance(y, x, points - points.mean(axis=0))


def _spot(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, radius: float, edge: float,
          irregular: float) -> np.ndarray:
    """A random soft-edged spot around (0, 0), see `blob`; edge: share of the radius (px)."""
    wobble = irregular * np.clip(smooth_noise(rng, y.shape, 7.0), -2, 2)
    return blob(y, x, (radius * rng.uniform(1.0, 1.4), radius), rng.uniform(0, np.pi), edge * radius, wobble)


def crack(image: np.ndarray, rng: np.random.Generator, contrast: float, width: float, length: float) -> Drawn:
    """A dark, thin, jagged line with soft edges."""
    window = ramp(_from_line(rng, len(image), length, 14, 0.45) - width, width + 0.5)
    return image * (1 - contrast * window), window


def glue_strip(image: np.ndarray, rng: np.random.Generator, opacity: float, width: float, length: float) -> Drawn:
    """A brighter, half transparent, smooth band."""
    window = ramp(_from_line(rng, len(image), length, 8, 0.12) - width / 2, 0.35 * width)
    bright = np.quantile(image, 0.85) + 12 + 5 * smooth_noise(rng, image.shape, 5.0)
    return image + opacity * window * (bright - image), window


def grey_stroke(image: np.ndarray, rng: np.random.Generator, opacity: float, width: float, length: float) -> Drawn:
    """A broad, even grey stroke that takes the contrast away."""
    window = ramp(_from_line(rng, len(image), length, 6, 0.25) - width / 2, 0.3 * width)
    grey = image.mean() + rng.choice([-12.0, 12.0])
    return image + opacity * window * (grey - image), window


def oil(image: np.ndarray, rng: np.random.Generator, contrast: float, radius: float) -> Drawn:
    """A darkened spot with a soft edge and a faint shine."""
    y, x = _grid(rng, len(image), 20)
    window = _spot(rng, y, x, radius, 0.5, 0.15)
    shine = np.exp(-((y + 0.35 * radius) ** 2 + (x + 0.35 * radius) ** 2) / (2 * (0.22 * radius) ** 2))
    return image * (1 - contrast * window) + 90 * contrast * shine * window, window


def rough(image: np.ndarray, rng: np.random.Generator, amount: float, radius: float) -> Drawn:
    """A patch whose grain is coarser: fine detail amplified, and as much grain of its own added."""
    window = _spot(rng, *_grid(rng, len(image), 20), radius, 0.4, 0.12)
    detail = image - ndimage.gaussian_filter(image, 1.5, truncate=3.0)
    grain = smooth_noise(rng, image.shape, 0.7) * detail.std()
    return image + amount * window * (0.5 * detail + 0.7 * grain), window


DEFECTS = {function.__name__: function for function in (crack, glue_strip, grey_stroke, oil, rough)}
