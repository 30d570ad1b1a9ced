"""Train one noise predictor of a dataset and seed on its normal training images."""

import argparse
import json
import sys

import pandas as pd
import torch
from job import images_of, read_job, training_of

from radar.data.manifest import DatasetError
from radar.devices import choose_device, prepare_torch
from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.training import exclusive, fingerprint, forget_checkpoint
from radar.files import atomic, provenance
from radar.images.features import FeatureError


def main(job: argparse.Namespace) -> None:
    prepare_torch(job.threads)
    torch.manual_seed(job.seed)  # the initial weights
    images = images_of(job)["train"]
    settings = dict(job.predictor)
    budget, name = settings.pop("training"), job.out.parts[-2].removeprefix("noise_predictor-")
    predictor = NoisePredictor(settings, images.channels, choose_device(job.device))
    training = training_of(job, name, budget, "workflow/scripts/train.py", predictor=settings)
    mark = fingerprint(budget, job.seed, training.identity)
    written = job.out / "noise_predictor.json"  # the last file of a training
    if written.exists() and json.loads(written.read_text())["provenance"].get("fingerprint") == mark:
        print(f"{training.description}: finished by another process meanwhile", file=sys.stderr)
        return
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
