"""Train one noise predictor of a dataset and seed on its normal training images."""

import argparse
import json
import sys

import pandas as pd
import torch
from job import identity, images_of, read_job

from radar.code import digest
from radar.data.manifest import DatasetError
from radar.devices import choose_device, prepare_torch
from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.training import Training, exclusive, fingerprint, forget_checkpoint
from radar.files import atomic, provenance
from radar.images.features import FeatureError


def main(job: argparse.Namespace) -> None:
    prepare_torch(job.threads)
    torch.manual_seed(job.seed)  # the initial weights
    device = choose_device(job.device)
    images = images_of(job)["train"]
    settings = dict(job.predictor)
    budget = settings.pop("training")
    predictor = NoisePredictor(settings, images.channels, device)
    depends = identity(job, device, digest("workflow/scripts/train.py"), predictor=settings)
    mark = fingerprint(budget, job.seed, depends)
    dataset, category, folder, run = job.out.parts[-4:]
    description = f"train {dataset}/{category} {folder.removeprefix('noise_predictor-')} {run}"
    written = job.out / "noise_predictor.json"  # the last file of a training
    if written.exists() and json.loads(written.read_text())["provenance"].get("fingerprint") == mark:
        print(f"{description}: finished by another process meanwhile", file=sys.stderr)
        return
    training = Training(budget, job.seed, job.out, depends, description)
    curve = training(predictor.network, predictor.loss, predictor.training_batches(images, budget["batch_size"]))
    with atomic(job.out / "loss.csv") as temporary:
        pd.DataFrame(curve).to_csv(temporary, index=False)
    predictor.save(job.out, provenance(vars(job), manifest=job.manifest)
                   | {"training": curve[-1], "normal_images": len(images), "fingerprint": mark})
    forget_checkpoint(job.out)


if __name__ == "__main__":
    job = read_job(__doc__)
    try:
        with exclusive(job.out, str(job.out)):
            main(job)
    except (DatasetError, FeatureError, OSError, RuntimeError, ValueError, FloatingPointError) as error:
        sys.exit(str(error))
