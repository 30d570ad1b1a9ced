"""Scoring a folder of new photographs with a trained detector: a CSV file and overlay pictures."""

import csv
import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from radar.data.images import to_unit
from radar.data.photos import SUFFIXES, read_image
from radar.detector import SeamError, load
from radar.files import atomic
from radar.training import progress

COLOURS = matplotlib.colormaps["inferno"]


def score_folder(detector_folder: Path, images: Path, out: Path, device: str) -> list[Path]:
    """Score every image below `images`; returns the files that could not be read.

    Writes out/scores.csv (file, score, threshold, decision: 1 = anomalous) and out/overlays/<file>.png: the image
    with the regions marked that exceed the pixel threshold, and the anomaly map beside it. An unreadable file
    is named on stderr and left out; the rest is scored. Images are scored one by one, at the size the detector was
    trained with. Raises SeamError if there is no detector, or no image.
    """
    detector, description = load(detector_folder, device)
    if not images.is_dir():
        raise SeamError(f"{images} is not a folder; give the folder that holds the photographs")
    files = sorted(path for path in images.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES
                   and not path.resolve().is_relative_to(out.resolve()))
    if not files:
        raise SeamError(f"{images} holds no image ({', '.join(sorted(SUFFIXES))})")
    rows, unreadable = [], []
    with progress(len(files), f"score with {description['name']}", "image") as bar:
        for path in files:
            bar.update()
            try:
                image = read_image(path, description["channels"], description["longest_side"])
            except OSError as error:
                print(f"skipped: {error}", file=sys.stderr)
                unreadable.append(path)
                continue
            with torch.inference_mode():
                batch = to_unit(torch.from_numpy(image.copy())[None].to(detector.device))
                prediction = detector.predict(batch).check(batch, description["name"])
            score = prediction.score.item()
            relative = path.relative_to(images)
            rows.append((relative.as_posix(), repr(score), repr(description["threshold"]),
                         int(score > description["threshold"])))
            picture = overlay(image, prediction.anomaly_map[0].cpu().numpy(), description["map_threshold"])
            with atomic(out / "overlays" / relative.with_name(relative.name + ".png")) as temporary:
                picture.save(temporary)
    with atomic(out / "scores.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "score", "threshold", "decision"))
        writer.writerows(rows)
    found = sum(row[-1] for row in rows)
    level = sum(float(row[1]) == description["threshold"] for row in rows)
    if level:
        print(f"{level} have exactly the threshold's score: this detector's score has a ceiling, which a calibration "
              "image had reached, so that it may call nothing anomalous; compare with another method", file=sys.stderr)
    print(f"{len(rows)} scored, {found} called anomalous, {len(unreadable)} unreadable: {out / 'scores.csv'}, "
          f"{out / 'overlays'}")
    return unreadable


def overlay(image: np.ndarray, anomaly_map: np.ndarray, threshold: float) -> Image.Image:
    """Left: the image [C, H, W] uint8, regions of the map [H, W] above the pixel threshold tinted and outlined.
    Right: the whole map, black at 0 to the brightest colour at the pixel threshold and above.

    Each half is at least 256 px wide, so that small images can be looked at.
    """
    base = np.repeat(image.transpose(1, 2, 0), 3 // image.shape[0], axis=2).astype(float)
    relative = anomaly_map / threshold if threshold > 0 else (anomaly_map > threshold).astype(float)
    excess, above = np.clip(relative - 1, 0, 1), anomaly_map > threshold
    weight = np.where(above, 0.35 + 0.4 * excess, 0)[..., None]
    left = (1 - weight) * base + weight * 255 * COLOURS(0.35 + 0.6 * excess)[..., :3]
    left[above & ~ndimage.binary_erosion(above)] = (0, 255, 255)
    both = np.concatenate([left, 255 * COLOURS(np.clip(relative, 0, 1))[..., :3]], axis=1)
    picture = Image.fromarray(both.round().astype(np.uint8))
    factor = -(-256 // image.shape[2])
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
