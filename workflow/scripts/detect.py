"""Fit one method on normal training images and score the calibration and test images. Labels are not read."""

import argparse
import json
import os
import sys
import traceback
import warnings
from pathlib import Path

import pandas as pd
import torch

from radar.code import digest, module_file
from radar.data import manifest
from radar.devices import choose_device, prepare_torch
from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.training import Training, exclusive, forget_checkpoint
from radar.evaluation.calibration import conformal_threshold
from radar.files import atomic, provenance, sha256, write_json
from radar.images.features import FeatureError
from radar.images.image_set import ImageSet, image_set
from radar.images.map_archive import MapWriter
from radar.method.detector import MethodError, build, load
from radar.method.scoring import check_seam, score_images

# What a user can mend, and what says so in one line; anything else shows where it was raised, too.
OURS = (manifest.DatasetError, MethodError, FeatureError)  # their text says all
EXPECTED = (*OURS, OSError, RuntimeError, FloatingPointError)


def images_of(arguments: argparse.Namespace) -> dict[str, ImageSet]:
    """The images of every split, without labels."""
    table = manifest.hold_out_calibration(
        manifest.read(arguments.manifest), arguments.calibration_fraction, arguments.seed)
    table = table.drop(columns=["label", "defect", "severity", "mask"])  # a detector sees none of these
    return {split: image_set(table, arguments.data, split, arguments.longest_side or None)
            for split in ("train", "calibration", "test")}


def predictor_of(arguments: argparse.Namespace, method: dict, place: Path) -> tuple[NoisePredictor | None, Path | None]:
    """The noise predictor that a method stands on, and its folder; place: results/<dataset>/<category>."""
    if "noise_predictor" not in method:
        return None, None
    path = place / arguments.predictor / f"seed{arguments.seed}"
    return NoisePredictor.load(path, choose_device(arguments.device)), path


def training_of(method: dict, name: str, arguments: argparse.Namespace, out: Path, device: str) -> Training | None:
    """The budget of a method that trains in `fit`, and what its training depends on."""
    if "training" not in method:
        return None
    identity = {"torch": torch.__version__, "device": device.partition(":")[0], "method": method,
                "manifest": sha256(arguments.manifest),
                "calibration_fraction": arguments.calibration_fraction, "longest_side": arguments.longest_side,
                "code": digest("radar/diffusion/training.py", method["class"])}
    dataset, category, _, run = out.parts[-4:]
    return Training(arguments.training | method["training"], arguments.seed, out, identity,
                    f"train {dataset}/{category} {name} {run}")


def fit_and_score(method: dict, name: str, images: dict[str, ImageSet], predictor: NoisePredictor | None,
                  predictor_path: Path | None, arguments: argparse.Namespace, out: Path) -> None:
    """Fit a method, score the held-out images, and write detector, maps and scores into `out`.

    predictor_path: the folder of its noise predictor.
    """
    device = choose_device(arguments.device)
    training = training_of(method, name, arguments, out, device)
    detector = build(method, seed=arguments.seed, device=device, noise_predictor=predictor, training=training)
    detector.fit(images["train"])

    dataset, category, _, run = out.parts[-4:]
    what = f"{name} {dataset}/{category} {run}"
    calibrated = score_images(detector, images["calibration"], method=name, description=f"{what} calibration")
    with MapWriter(out / "maps.npz", images["test"].paths) as writer:
        scored = score_images(detector, images["test"], method=name, description=f"{what} test", writer=writer)

    curve = training.curve if training else []
    if training and curve:
        with atomic(out / "loss.csv") as temporary:
            pd.DataFrame(curve).to_csv(temporary, index=False)
    trained = curve[-1] if curve else None
    if predictor_path:
        trained = json.loads((predictor_path / "noise_predictor.json").read_text())["provenance"]["training"]
    # The pixel threshold of the overlays: at most the promised share of normal images has a pixel above it.
    rate = arguments.false_positive_rate
    detector.save(out, {
        "method": method, "name": name, "seed": arguments.seed, "channels": images["train"].channels,
        "longest_side": images["train"].longest_side, "false_positive_rate": rate,
        "n_calibration": len(images["calibration"]), "nfe": detector.nfe, "parameters": detector.parameters(),
        "threshold": conformal_threshold(calibrated.score, rate),
        "map_threshold": conformal_threshold(calibrated.peak, rate),
        "chosen": detector.chosen(), "training": trained,
        "noise_predictor": None if predictor is None else {
            "path": os.path.relpath(predictor_path, out), "sha256": predictor.sha256},
        "provenance": provenance(vars(arguments), manifest=arguments.manifest, code=module_file(method["class"])),
    })
    check_seam(detector, load(out, device)[0], images["calibration"], name)
    with atomic(out / "scores.csv") as temporary:
        pd.concat([calibrated.assign(split="calibration"), scored.assign(split="test")]).to_csv(
            temporary, columns=["path", "split", "score", "own_decision"], index=False)
    forget_checkpoint(out)


def record_failure(out: Path, name: str, error: BaseException, log: Path) -> None:
    """Leave out/failure.json: what failed, why, and where the log is."""
    dataset, category, _, run = out.parts[-4:]
    reason = "" if isinstance(error, OURS) else f"{type(error).__name__}: "
    write_json(out / "failure.json", {
        "dataset": dataset, "category": category, "method": name, "seed": int(run.removeprefix("seed")),
        "reason": f"{reason}{' '.join(str(error).split())}"[:500], "log": str(log)})


def main(arguments: argparse.Namespace) -> None:
    prepare_torch(arguments.threads)
    predictor, path = predictor_of(arguments, arguments.method, arguments.out.parent.parent)
    fit_and_score(arguments.method, arguments.name, images_of(arguments), predictor, path, arguments, arguments.out)


def common_arguments(parser: argparse.ArgumentParser) -> None:
    """What a script that fits and scores needs to know."""
    parser.add_argument("--predictor", required=True, help="what the folder of its noise predictor is called")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--calibration-fraction", type=float, required=True)
    parser.add_argument("--false-positive-rate", type=float, required=True)
    parser.add_argument("--longest-side", type=int, required=True, help="0 = images keep their size")
    parser.add_argument("--training", type=json.loads, required=True, help="the training of the config, as JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)


if __name__ == "__main__":
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", type=json.loads, required=True, help="config/methods/<name>.yaml, as JSON")
    parser.add_argument("--name", required=True, help="what the method is called")
    common_arguments(parser)
    options = parser.parse_args()
    (options.out / "failure.json").unlink(missing_ok=True)
    try:
        with exclusive(options.out, str(options.out)):
            main(options)
    except Exception as error:
        record_failure(options.out, options.name, error, options.out / "detect.log")
        if not isinstance(error, EXPECTED):
            traceback.print_exc()
            sys.exit(f"{options.name} failed: {type(error).__name__}: {error}")
        sys.exit(str(error))
