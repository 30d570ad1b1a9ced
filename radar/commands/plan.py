"""What a run will take before it is started: its jobs, its arithmetic, and from these device-hours and disk.

Jobs are counted by Snakemake's dry run. Arithmetic is counted, not estimated: PyTorch's FLOP counter goes once through
every network that is trained, forward and backward, and through every prediction's networks. Hours are that arithmetic
over the rate that the device sustains. Reading images, statistics and the evaluation on the CPU are not in the hours.
(A multiplication with its addition counts as two.)
"""

import re
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
from snakemake.utils import update_config

from radar import config as configuration
from radar.data import manifest
from radar.diffusion.predictor import NoisePredictor
from radar.evaluation.timing import flops
from radar.images.tiling import tiling
from radar.method.detector import build

SIDE = 256  # px; images of datasets that are not there are taken as squares of the longest side, or of this


class Work(NamedTuple):
    """FLOPs of a training image, of an evaluation of a square, of an image's frozen features; trained parameters."""

    training: float
    evaluation: float
    features: float
    parameters: int


def main(configfile: Path | None, tflops: float) -> int:
    print(plan(read_config(configfile), jobs(configfile), tflops))
    return 0


def read_config(configfile: Path | None) -> dict:
    """config/config.yaml with `configfile` over it, as Snakemake merges them. Raises ConfigurationError."""
    config = configuration.read_yaml(configuration.CONFIG / "config.yaml")
    if configfile:
        update_config(config, configuration.read_yaml(configfile))
    configuration.check_config(config)
    return config


def jobs(configfile: Path | None) -> Counter[str]:
    """How many jobs of every rule, by Snakemake's dry run. Raises RuntimeError with what it says if it fails."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", "1"]
    done = subprocess.run(command + (["--configfile", str(configfile)] if configfile else []), capture_output=True,
                          text=True)
    if done.returncode:
        raise RuntimeError(f"snakemake --dry-run failed: {done.stderr.strip().splitlines()[-1]}")
    table = re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, flags=re.MULTILINE)
    return Counter({name: int(count) for name, count in table if name not in ("total", "all")})


def counts(name: str) -> tuple[int, int]:
    """(training images with calibration, test images) of <dataset>/<category>: of its manifest, else as published.

    The published numbers are of whole datasets; a category has its share. Generated datasets say it in their settings.
    """
    if (path := Path("results") / name / "manifest.csv").is_file():
        splits = manifest.read(path)["split"].to_list()
        return len(splits) - splits.count("test"), splits.count("test")
    about = configuration.read_dataset(name.partition("/")[0])
    if about.images:
        share = len(about.categories)
        return round(about.images["train"] / share), round(about.images["test"] / share)
    of = Counter(about.settings)
    return (of["train_normal"] + of["calibration_normal"],
            of["test_normal"] + of["test_defective"] + 18 * of["test_per_defect"])


def of_predictor(predictor: NoisePredictor) -> Work:
    """The work of a noise predictor on the meta device, where shapes have no numbers and nothing is computed."""
    patch = predictor.settings["patch"]
    square = torch.zeros(1, sum(predictor.groups), patch, patch, device="meta")
    network = predictor.network.requires_grad_(True)
    training = flops(lambda: predictor.loss(square, torch.Generator().manual_seed(0)).backward())
    evaluation, features = flops(lambda: predictor.eps(square, 10)), 0
    if (frozen := predictor.features) is not None:
        features = flops(lambda: frozen(torch.zeros(1, 3, SIDE, SIDE, device="meta")))
    return Work(training + features, evaluation, features, sum(one.numel() for one in network.parameters()))


def of_own_networks(detector) -> Work:
    """The work of DiffusionAD, which trains networks of its own: a training step is three of its predictions."""
    with torch.device("meta"):
        detector._build(3)
    square = torch.zeros(1, 3, detector.patch, detector.patch, device="meta")
    prediction = flops(lambda: detector._predict_tiles(square, *[square] * detector.nfe))
    return Work(3 * prediction, prediction / detector.nfe, 0, detector.parameters())


def on_meta(settings: dict) -> NoisePredictor:
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # that it takes no weights is what is wanted
        return NoisePredictor(settings, 3, "meta")


def plan(config: dict, counted: Counter[str], tflops: float) -> str:
    """The plan as text. counted: jobs of every rule. tflops: the sustained rate in TFLOP/s."""
    datasets = configuration.expand_datasets(config["datasets"])
    settings = configuration.expand_predictors(config)
    methods = {name: configuration.read_method(name, settings) for name in config["methods"]}
    seeds, side = len(config["seeds"]), config["longest_side"] or SIDE
    runs = len(datasets) * seeds
    train, test = map(sum, zip(*map(counts, datasets), strict=True))
    used = dict.fromkeys(one["noise_predictor"] for one in methods.values() if one.get("noise_predictor"))
    predictors = {name: on_meta(settings[name]) for name in used}
    work = {name: of_predictor(one) for name, one in predictors.items()}
    rows = [(f"train {name}", one.parameters, one.training * settings[name]["training"]["images"] * runs)
            for name, one in work.items()]  # of each: trained parameters, FLOPs
    for name, method in methods.items():
        shared = method.get("noise_predictor") or ""
        detector = build(method, seed=0, device="meta", noise_predictor=predictors.get(shared))
        one, tiles = work.get(shared), settings.get(shared) or method.get("settings", {})
        if "training" in method and not hasattr(detector, "_predict_tiles"):
            rows.append((f"train {name} (not counted)", 0, 0.0))  # a method of the user's that trains as it likes
        elif "training" in method:
            one, images = of_own_networks(detector), (config["training"] | method["training"])["images"]
            rows.append((f"train {name}", one.parameters, one.training * images * runs))
        if one is not None:
            squares = 1 if tiles.get("space") == "features" else tiling(
                side, side, tiles["patch"], tiles["stride"], "cpu").count
            rows.append((f"fit and score {name}", 0, (one.features + detector.nfe * squares * one.evaluation)
                         * (train + test) * seeds))
    total, weights = sum(row[2] for row in rows), 4 * runs * sum(row[1] for row in rows)
    by_rule = ", ".join(f"{count} x {rule}" for rule, count in counted.most_common())
    return "\n".join([
        f"{len(datasets)} datasets, {len(methods)} methods, {seeds} seeds: {train} training, {test} test images",
        f"{sum(counted.values())} jobs still to run: {by_rule}", "",
        f"{'':34}{'parameters [M]':>16}{'PFLOP':>12}{'hours':>10}",
        *(f"{name:34}{f'{parameters / 1e6:.1f}' if parameters else '':>16}{operations / 1e15:>12.1f}"
          f"{operations / tflops / 3.6e15:>10.2f}" for name, parameters, operations in rows), "",
        f"together {total / 1e15:.0f} PFLOP: {total / tflops / 3.6e15:.1f} device-hours at {tflops:.3g} TFLOP/s "
        "sustained",
        f"disk: {2 * side**2 * test * len(methods) * seeds / 2**30:.1f} GiB of maps, {weights / 2**30:.1f} GiB of "
        "weights; images are read where they lie"])
