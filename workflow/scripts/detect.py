"""Fit one method on normal training images and score the calibration and test images. Labels are not read."""

import argparse
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from radar.configuration import class_file, read_yaml
from radar.data import manifest
from radar.detector import SeamError, build
from radar.diffusion import NoisePredictor
from radar.evaluation.calibration import conformal_threshold
from radar.files import atomic, provenance
from radar.scoring import choose_device, image_set, pack_maps, prepare_torch, score_images


def main(arguments: argparse.Namespace) -> None:
    prepare_torch(arguments.threads)
    device = choose_device(arguments.device)
    method = read_yaml(arguments.method)
    name = arguments.method.stem
    table = manifest.hold_out_calibration(
        manifest.read(arguments.manifest), arguments.calibration_fraction, arguments.seed)
    table = table.drop(columns=["label", "defect", "severity", "mask"])  # a detector sees none of these
    longest_side = arguments.longest_side or None
    train, calibration, test = (
        image_set(table, arguments.data, split, longest_side) for split in ("train", "calibration", "test"))

    predictor = None
    predictor_folder = arguments.out.parent.parent / "noise_predictor" / arguments.out.name
    if "noise_predictor" in method.get("needs", []):
        predictor = NoisePredictor.load(predictor_folder, device)
    detector = build(method, seed=arguments.seed, device=device, noise_predictor=predictor)
    detector.fit(train)

    dataset, category, _, run = arguments.out.parts[-4:]
    what = f"{name} {dataset}/{category} {run}"
    calibrated = score_images(detector, calibration, method=name, description=f"{what} calibration")
    scored = score_images(detector, test, method=name, description=f"{what} test")

    # The pixel threshold of the overlays: at most the promised share of normal images has a pixel above it.
    rate = arguments.false_positive_rate
    peaks = np.array([one.max() for one in calibrated.maps], dtype=np.float64)
    detector.save(arguments.out, {
        "method": method, "name": name, "seed": arguments.seed, "channels": train.channels,
        "longest_side": longest_side, "false_positive_rate": rate, "n_calibration": len(calibration),
        "threshold": conformal_threshold(calibrated.score, rate), "map_threshold": conformal_threshold(peaks, rate),
        "noise_predictor": None if predictor is None else {
            "path": os.path.relpath(predictor_folder, arguments.out), "sha256": predictor.sha256},
        "provenance": provenance(vars(arguments), manifest=arguments.manifest, method=arguments.method,
                                 code=class_file(method["class"], name)),
    })
    with atomic(arguments.out / "maps.npz") as temporary:
        np.savez(temporary, **pack_maps(scored.maps, test.paths))
    with atomic(arguments.out / "scores.csv") as temporary:
        parts = (("calibration", calibration, calibrated), ("test", test, scored))
        pd.concat([
            pd.DataFrame({"path": images.paths, "split": split, "score": scores.score,
                          "decision": np.nan if scores.decision is None else scores.decision.astype(int)})
            for split, images, scores in parts
        ]).to_csv(temporary, index=False)


if __name__ == "__main__":
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", type=Path, required=True, help="config/methods/<name>.yaml")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--calibration-fraction", type=float, required=True)
    parser.add_argument("--false-positive-rate", type=float, required=True)
    parser.add_argument("--longest-side", type=int, required=True, help="0 = images keep their size")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    try:
        main(parser.parse_args())
    except (manifest.DatasetError, SeamError, OSError, RuntimeError) as error:
        sys.exit(str(error))
