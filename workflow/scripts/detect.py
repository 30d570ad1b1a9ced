"""Fit one method on normal training images and score the calibration and test images. Labels are not read."""

import argparse
import json
import os
import sys
import traceback
from pathlib import Path

import pandas as pd
from job import images_of, read_job, training_of

from radar.code import module_file
from radar.data.manifest import DatasetError
from radar.devices import choose_device, prepare_torch
from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.training import exclusive, forget_checkpoint
from radar.evaluation.calibration import conformal_threshold
from radar.files import atomic, provenance, write_json
from radar.images.features import FeatureError
from radar.images.image_set import ImageSet
from radar.images.map_archive import MapWriter
from radar.method.detector import MethodError, build, load
from radar.method.scoring import check_seam, score_images

# What a user can mend, and what says so in one line; anything else shows where it was raised, too.
OURS = (DatasetError, MethodError, FeatureError)  # their text says all
EXPECTED = (*OURS, OSError, RuntimeError, FloatingPointError)


def predictor_path(job: argparse.Namespace) -> Path:
    """The folder of the shared noise predictor."""
    return job.manifest.parent / job.predictor / f"seed{job.seed}"


def predictor_of(job: argparse.Namespace, method: dict) -> NoisePredictor | None:
    """The noise predictor that a method stands on, if it does on one."""
    return NoisePredictor.load(predictor_path(job), choose_device(job.device)) if "noise_predictor" in method else None


def fit_and_score(job: argparse.Namespace, images: dict[str, ImageSet], predictor: NoisePredictor | None) -> None:
    """Fit job.method, score the held-out images, and write detector, maps and scores into job.out."""
    method, name, out, device = job.method, job.name, job.out, choose_device(job.device)
    training = None
    if "training" in method:
        training = training_of(job, name, job.training | method["training"], "radar/diffusion/training.py",
                               method["class"], method=method)
    detector = build(method, seed=job.seed, device=device, noise_predictor=predictor, training=training)
    detector.fit(images["train"])

    dataset, category, _, run = out.parts[-4:]
    what = f"{name} {dataset}/{category} {run}"
    calibrated = score_images(detector, images["calibration"], method=name, description=f"{what} calibration")
    with MapWriter(out / "maps.npz", images["test"].paths) as writer:
        scored = score_images(detector, images["test"], method=name, description=f"{what} test", writer=writer)

    trained = None
    if training and training.curve:
        trained = training.curve[-1]
        with atomic(out / "loss.csv") as temporary:
            pd.DataFrame(training.curve).to_csv(temporary, index=False)
    if predictor:
        trained = json.loads((predictor_path(job) / "noise_predictor.json").read_text())["provenance"]["training"]
    # The pixel threshold of the overlays: at most the promised share of normal images has a pixel above it.
    rate = job.false_positive_rate
    detector.save(out, {
        "method": method, "name": name, "seed": job.seed, "channels": images["train"].channels,
        "longest_side": job.longest_side, "false_positive_rate": rate,
        "n_calibration": len(images["calibration"]), "nfe": detector.nfe, "parameters": detector.parameters(),
        "threshold": conformal_threshold(calibrated.score, rate),
        "map_threshold": conformal_threshold(calibrated.peak, rate),
        "chosen": detector.chosen(), "training": trained,
        "noise_predictor": predictor and {
            "path": os.path.relpath(predictor_path(job), out), "sha256": predictor.sha256},
        "provenance": provenance(vars(job), manifest=job.manifest, code=module_file(method["class"])),
    })
    check_seam(detector, load(out, device)[0], images["calibration"], name)
    with atomic(out / "scores.csv") as temporary:
        pd.concat([calibrated.assign(split="calibration"), scored.assign(split="test")]).to_csv(
            temporary, columns=["path", "split", "score", "own_decision"], index=False)
    forget_checkpoint(out)


def record_failure(out: Path, name: str, error: Exception, log: Path) -> str:
    """Leave out/failure.json: what failed, why, and where the log is. Returns the reason."""
    if not isinstance(error, EXPECTED):
        traceback.print_exc()
    dataset, category, _, run = out.parts[-4:]
    text = " ".join(str(error).split())
    reason = text if isinstance(error, OURS) else f"{type(error).__name__}: {text}"
    write_json(out / "failure.json", {
        "dataset": dataset, "category": category, "method": name, "seed": int(run.removeprefix("seed")),
        "reason": reason[:500], "log": str(log)})
    return reason


if __name__ == "__main__":
    job = read_job(__doc__)
    (job.out / "failure.json").unlink(missing_ok=True)
    try:
        prepare_torch(job.threads)
        with exclusive(job.out, str(job.out)):
            fit_and_score(job, images_of(job), predictor_of(job, job.method))
    except Exception as error:
        sys.exit(record_failure(job.out, job.name, error, job.out / "detect.log"))
