"""Train one noise predictor of a dataset and seed on its normal training images."""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd
import torch

from radar.code import digest
from radar.data import manifest
from radar.devices import choose_device, prepare_torch
from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.training import Training, exclusive, fingerprint, forget_checkpoint
from radar.files import atomic, provenance, sha256
from radar.images.features import FeatureError
from radar.images.image_set import image_set


def finished(folder: Path, mark: str) -> bool:
    """Whether the result in `folder` is complete and is the one that this training would give."""
    description = folder / "noise_predictor.json"  # written last
    return description.exists() and json.loads(description.read_text())["provenance"].get("fingerprint") == mark


def main(arguments: argparse.Namespace) -> None:
    prepare_torch(arguments.threads)
    torch.manual_seed(arguments.seed)  # the initial weights
    device = choose_device(arguments.device)
    table = manifest.hold_out_calibration(
        manifest.read(arguments.manifest), arguments.calibration_fraction, arguments.seed)
    images = image_set(table, arguments.data, "train", arguments.longest_side or None)
    settings = dict(arguments.settings)
    budget = settings.pop("training")
    predictor = NoisePredictor(settings, images.channels, device)
    dataset, category, name, run = arguments.out.parts[-4:]
    identity = {"torch": torch.__version__, "device": device.partition(":")[0], "predictor": settings,
                "manifest": sha256(arguments.manifest),
                "calibration_fraction": arguments.calibration_fraction, "longest_side": arguments.longest_side,
                "code": digest("workflow/scripts/train.py")}
    mark = fingerprint(budget, arguments.seed, identity)
    description = f"train {dataset}/{category} {name.removeprefix('noise_predictor-')} {run}"
    if finished(arguments.out, mark):
        print(f"{description}: finished by another process meanwhile", file=sys.stderr)
        return
    training = Training(budget, arguments.seed, arguments.out, identity, description)
    curve = training(predictor.network, predictor.loss, predictor.training_batches(images, budget["batch_size"]))
    with atomic(arguments.out / "loss.csv") as temporary:
        pd.DataFrame(curve).to_csv(temporary, index=False)
    predictor.save(arguments.out, provenance(vars(arguments), manifest=arguments.manifest)
                   | {"training": curve[-1], "normal_images": len(images), "fingerprint": mark})
    forget_checkpoint(arguments.out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, required=True,
                        help="one of the noise_predictors of the config, complete, as JSON")
    parser.add_argument("--calibration-fraction", type=float, required=True)
    parser.add_argument("--longest-side", type=int, required=True, help="0 = images keep their size")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        with exclusive(options.out, str(options.out)):
            main(options)
    except (manifest.DatasetError, FeatureError, OSError, RuntimeError, ValueError, FloatingPointError) as error:
        sys.exit(str(error))
