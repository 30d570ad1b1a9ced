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


def score_folder(detector_folder: Path, images: Path, out: Path, device: str) -> list[Path]:
    """Score every image below `images`; returns the files that could not be read.

    Writes out/scores.csv (file, score, threshold, decision: 1 = anomalous) and out/overlays/<file>.png: the image, its
    anomaly map in colour where it exceeds the pixel threshold, and the outline of these regions. An unreadable file
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
        writer = csv.writer(file)
        writer.writerow(("file", "score", "threshold", "decision"))
        writer.writerows(rows)
    found = sum(row[-1] for row in rows)
    print(f"{len(rows)} scored, {found} called anomalous, {len(unreadable)} unreadable: {out / 'scores.csv'}, "
          f"{out / 'overlays'}")
    return unreadable


def overlay(image: np.ndarray, anomaly_map: np.ndarray, threshold: float) -> Image.Image:
    """The image [C, H, W] uint8, tinted by the map [H, W] from the pixel threshold (transparent) to twice it.

    Regions above the threshold are outlined. At least 256 px wide, so that small images can be looked at.
    """
    grey = image.mean(0) if image.shape[0] == 1 else image.transpose(1, 2, 0)
    base = np.repeat(grey[..., None], 3, axis=2) if grey.ndim == 2 else grey.astype(float)
    excess = np.clip(anomaly_map / threshold - 1, 0, 1) if threshold > 0 else (anomaly_map > threshold).astype(float)
    colour = 255 * matplotlib.colormaps["inferno"](0.35 + 0.6 * excess)[..., :3]
    above = anomaly_map > threshold
    weight = np.where(above, 0.35 + 0.4 * excess, 0)[..., None]
    mixed = (1 - weight) * base + weight * colour
    mixed[above & ~ndimage.binary_erosion(above)] = (0, 255, 255)
    picture = Image.fromarray(mixed.round().astype(np.uint8))
    factor = -(-256 // picture.width)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
