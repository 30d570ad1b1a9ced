"""What a run will take before it is started: its jobs, the arithmetic and device-hours of its trainings, and disk.

Jobs are those of Snakemake's dry run. Arithmetic is counted, not estimated: PyTorch's FLOP counter goes once, forward
and backward, through every network that is trained, on the meta device, where nothing is computed; a multiplication
with its addition counts as two. Hours are that arithmetic over the rate that the device sustains. Not counted are the
frozen features and the predictions (of config/paper.yaml 2 % of the arithmetic), and what the CPU does: reading images,
statistics, the evaluation.
"""

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from snakemake.utils import update_config
from torch import Tensor, nn

from radar import config as configuration
from radar.data import manifest
from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.training import Batches, Training
from radar.evaluation.timing import flops
from radar.images.image_set import ImageSet
from radar.method.detector import build

SIDE = 256  # px of an image where no longest side is set


def main(configfile: Path | None, tflops: float) -> int:
    config = read_config(configfile)
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", "1"]
    command += ["--configfile", str(configfile)] if configfile else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError("snakemake --dry-run failed, see above")
    print(done.stdout.rpartition("Job stats:\n")[2].partition("\n\n")[0], plan(config, tflops), sep="\n\n")
    return 0


def read_config(configfile: Path | None) -> dict:
    """config/config.yaml with `configfile` over it, as Snakemake merges them. Raises ConfigurationError."""
    config = configuration.read_yaml(configuration.CONFIG / "config.yaml")
    if configfile:
        update_config(config, configuration.read_yaml(configfile))
    configuration.check_config(config)
    return config


def count_test_images(name: str) -> float:
    """How many test images <dataset>/<category> has: by its manifest, else its share of the published number; datasets
    that are made here are small, and are 0 until they are made."""
    if (path := Path("results") / name / "manifest.csv").is_file():
        return (manifest.read(path)["split"] == "test").sum()
    about = configuration.read_dataset(name.partition("/")[0])
    return about.images["test"] / len(about.categories) if about.images else 0


class Count(Training):
    """Counts a step with one image instead of training. parameters: how many are trained. flops: of the image's way
    through the network, forward and backward.
    """

    parameters = flops = 0

    def __init__(self) -> None:
        super().__init__({"batch_size": 1}, 0, Path())

    def __call__(self, network: nn.Module, loss: Callable[[Tensor, torch.Generator], Tensor],
                 batches: Batches) -> list[dict]:
        generator = torch.Generator().manual_seed(0)
        self.parameters = sum(one.numel() for one in network.requires_grad_(True).parameters())
        with torch.device("cpu"):  # what is drawn has numbers
            self.flops = flops(lambda: loss(batches(generator), generator).backward())
        return []


def of_predictor(settings: dict) -> Count:
    """The training of a noise predictor."""
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # that it takes no weights is what is wanted
        predictor = NoisePredictor(settings, 3, "meta")
    square = torch.zeros(1, sum(predictor.groups), settings["patch"], settings["patch"], device="meta")
    count = Count()
    count(predictor.network, predictor.loss, lambda _: square)
    return count


def of_method(method: dict) -> Count:
    """The training of a method's own networks; 0 FLOPs if it does not train by the Training that it is given."""
    count = Count()
    with tempfile.TemporaryDirectory() as folder:
        Image.new("RGB", (SIDE, SIDE)).save(Path(folder, "blank.png"))
        with torch.device("meta"), suppress(Exception):  # after it there is nothing that `fit` could work on
            build(method, seed=0, device="meta", training=count).fit(ImageSet(Path(folder), ["blank.png"], channels=3))
    return count


def plan(config: dict, tflops: float) -> str:
    """Trainings, device-hours at so many TFLOP/s sustained, and disk, as text."""
    datasets, seeds = configuration.expand_datasets(config["datasets"]), len(config["seeds"])
    predictors = configuration.expand_predictors(config)
    known = configuration.read_methods(predictors)
    methods = {name: known[name] for name in config["methods"]}
    used = dict.fromkeys(one["noise_predictor"] for one in methods.values() if "noise_predictor" in one)
    trainings = [(name, of_predictor(predictors[name]), predictors[name]["training"]) for name in used] + [
        (name, of_method(one), config["training"] | one["training"]) for name, one in methods.items()
        if "training" in one]
    table = pd.DataFrame([
        (f"train {name}", count.parameters / 1e6, count.flops * budget["images"] * len(datasets) * seeds / 1e15)
        for name, count, budget in trainings], columns=["", "parameters [M]", "PFLOP"])
    table["hours"] = table["PFLOP"] / tflops / 3.6
    maps = sum(map(count_test_images, datasets)) * len(methods) * seeds * 2 * (config["longest_side"] or SIDE) ** 2
    weights = 4e6 * table["parameters [M]"].sum() * len(datasets) * seeds
    return "\n".join([
        table.to_string(index=False, float_format="%.2f"),
        *(f"{name}: not counted, it trains in a way of its own" for name in table.loc[table["PFLOP"] == 0, ""]),
        f"{len(datasets)} datasets, {seeds} seeds, {table['PFLOP'].sum():.0f} PFLOP: {table['hours'].sum():.1f} "
        f"device-hours of training at {tflops:g} TFLOP/s sustained",
        f"disk: {maps / 2**30:.1f} GiB of maps, {weights / 2**30:.1f} GiB of weights; images are read where they lie"])
