"""What jobs that train or score have in common: their command line, their images, and their training."""

import argparse
import json
import warnings
from pathlib import Path

import torch

from radar.code import digest
from radar.data import manifest
from radar.devices import choose_device
from radar.diffusion.training import Training
from radar.files import sha256
from radar.images.image_set import ImageSet, image_set


def read_job(description: str, *paths: str) -> argparse.Namespace:
    """The settings that `job` in workflow/rules/common.smk puts together, and beside them on the command line what may
    differ between machines: threads, and the paths manifest, out and those named.
    """
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("settings", type=json.loads, help="of the job, as one JSON object")
    parser.add_argument("--threads", type=int, required=True)
    for name in ("manifest", "out", *paths):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = vars(parser.parse_args())
    settings = given.pop("settings")
    return argparse.Namespace(**settings | given | {"data": Path(settings["data"])})


def images_of(job: argparse.Namespace) -> dict[str, ImageSet]:
    """The images of every split, without labels."""
    table = manifest.hold_out_calibration(manifest.read(job.manifest), job.calibration_fraction, job.seed)
    table = table.drop(columns=["label", "defect", "severity", "mask"])  # a detector sees none of these
    return {split: image_set(table, job.data, split, job.longest_side)
            for split in ("train", "calibration", "test")}


def training_of(job: argparse.Namespace, name: str, budget: dict, *code: str, **trained: dict) -> Training:
    """A training, and what its result depends on. code: where it starts, see radar.code; trained: what is trained."""
    dataset, category, _, run = job.out.parts[-4:]
    identity = {"torch": torch.__version__, "device": choose_device(job.device).partition(":")[0],
                "manifest": sha256(job.manifest), "calibration_fraction": job.calibration_fraction,
                "longest_side": job.longest_side, "code": digest(*code)} | trained
    return Training(budget, job.seed, job.out, identity, f"train {dataset}/{category} {name} {run}")
