"""Scoring a folder of new photographs with a trained detector: a CSV file and overlay pictures."""

import os
import sys
from pathlib import Path

import torch

from radar.devices import choose_device, prepare_torch
from radar.images.image_set import to_unit
from radar.images.overlay import write_decisions, write_overlay
from radar.images.photos import SUFFIXES, read_image
from radar.method.detector import MethodError, load
from radar.progress import progress


def main(detector: Path, images: Path, out: Path, device: str) -> int:
    """Score every image below `images`, one by one, at the size the detector was trained with.

    Writes out/scores.csv (file, score, threshold, decision: 1 = anomalous) and out/overlays/<file>.png: the image
    with the regions marked that exceed the pixel threshold, and the anomaly map beside it. An unreadable file
    is named on stderr and left out; the rest is scored, and 1 is returned. Raises MethodError if there is no detector,
    or no image.
    """
    device = choose_device(device)
    prepare_torch(os.cpu_count() or 1)
    trained, description = load(detector, device)
    if not images.is_dir():
        raise MethodError(f"{images} is not a folder; give the folder that holds the photographs")
    files = sorted(path for path in images.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES
                   and not path.resolve().is_relative_to(out.resolve()))
    if not files:
        raise MethodError(f"{images} holds no image ({', '.join(sorted(SUFFIXES))})")
    scores: dict[str, float] = {}
    with progress(len(files), f"score with {description['name']}", "image") as bar:
        for path in files:
            bar.update()
            try:
                image = read_image(path, description["channels"], description["longest_side"])
            except OSError as error:
                print(f"skipped: {error}", file=sys.stderr)
                continue
            with torch.inference_mode():
                batch = to_unit(torch.from_numpy(image.copy())[None].to(device))
                prediction = trained.predict(batch).check(batch, description["name"])
            relative = path.relative_to(images)
            scores[relative.as_posix()] = prediction.score.item()
            write_overlay(out / "overlays", relative, image, prediction.anomaly_map[0].cpu().numpy(),
                          description["map_threshold"])
    threshold, unreadable = description["threshold"], len(files) - len(scores)
    write_decisions(out / "scores.csv", scores.items(), threshold)
    if level := list(scores.values()).count(threshold):
        print(f"{level} have exactly the threshold's score: this detector's score has a ceiling, which a calibration "
              "image had reached, so that it may call nothing anomalous; compare with another method", file=sys.stderr)
    print(f"{len(scores)} scored, {sum(score > threshold for score in scores.values())} called anomalous, "
          f"{unreadable} unreadable: {out / 'scores.csv'}, {out / 'overlays'}")
    return int(unreadable > 0)
