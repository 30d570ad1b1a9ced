"""What a run will take before it is started: its jobs, its arithmetic, and from these device-hours and disk.

Jobs are counted by Snakemake's dry run. Arithmetic is counted, not estimated: PyTorch's FLOP counter goes once through
every network that is trained, forward and backward, and through every prediction's networks. Hours are that arithmetic
over a sustained rate, which is given, or measured by some training steps on the device at hand. Reading images,
statistics and the evaluation on the CPU are not in the hours. (A multiplication with its addition counts as two.)
"""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from radar import config as configuration
from radar.diffusion.predictor import NoisePredictor
from radar.images.tiling import tiling
from radar.method.detector import build

SIDE = 256  # px; images of datasets that are not there are taken as squares of the longest side, or of this


def counts(name: str, data_root: str) -> tuple[int, int]:
    """(training images with calibration, test images) of <dataset>/<category>: of its manifest, else as published.

    The published numbers are of whole datasets; a category has its share. Generated datasets say it in their settings.
    """
    manifest = Path("results") / name / "manifest.csv"
    if manifest.is_file():
        import pandas as pd

        split = pd.read_csv(manifest)["split"].value_counts()
        return int(split.get("train", 0) + split.get("calibration", 0)), int(split.get("test", 0))
    about = configuration.read_dataset(name.partition("/")[0])
    if about.images:
        share = len(about.categories)
        return round(about.images["train"] / share), round(about.images["test"] / share)
    settings = about.settings
    normal = sum(settings.get(key, 0) for key in ("train_normal", "calibration_normal"))
    test = settings.get("test_normal", 0) + settings.get("test_defective", 0) + 18 * settings.get("test_per_defect", 0)
    return normal, test


def flops(call) -> float:
    """Floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def of_predictor(settings: dict) -> dict:
    """FLOPs of one training image, of one evaluation of a square and of an image's features; parameters; predictor."""
    predictor = NoisePredictor(settings, 3, "meta")  # shapes without numbers: nothing is computed
    square = torch.zeros(1, predictor.network_channels, settings["patch"], settings["patch"], device="meta")
    predictor.network.requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    training = flops(lambda: predictor.loss(square, generator).backward())
    evaluation, features = flops(lambda: predictor.eps(square, 10)), 0.0
    if predictor.features is not None:
        features = flops(lambda: predictor.features(torch.zeros(1, 3, SIDE, SIDE, device="meta")))
    return {"training": training + features, "evaluation": evaluation, "features": features, "predictor": predictor,
            "parameters": sum(parameter.numel() for parameter in predictor.network.parameters())}


def of_own_networks(detector) -> dict:
    """The same of DiffusionAD, which trains networks of its own: a training step is three of its predictions."""
    detector._build(3)
    square = torch.zeros(1, 3, detector.patch, detector.patch, device="meta")
    prediction = flops(lambda: detector._predict_tiles(square, *[square] * detector.nfe))
    return {"training": 3 * prediction, "evaluation": prediction / detector.nfe, "features": 0.0,
            "parameters": detector.parameters()}


def sustained(settings: dict, training_flops: float, device: str, steps: int = 3, batch: int = 2) -> float:
    """FLOP/s of some training steps of a noise predictor on a device."""
    predictor = NoisePredictor(settings, 3, device)
    network = predictor.network.requires_grad_(True).train()
    x = torch.zeros(batch, predictor.network_channels, settings["patch"], settings["patch"])
    generator = torch.Generator().manual_seed(0)

    def step() -> float:
        with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=device != "cpu"):
            value = predictor.loss(x, generator)
        value.backward()
        network.zero_grad()
        return value.item()  # waits for the device

    step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * batch * training_flops / (time.perf_counter() - started)


def jobs(configfile: Path | None) -> Counter:
    """How many jobs of every rule, by Snakemake's dry run. Raises RuntimeError with what it says if it fails."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", "1"]
    if configfile:
        command += ["--configfile", str(configfile)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"snakemake --dry-run failed: {done.stderr.strip().splitlines()[-1]}")
    table = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, flags=re.MULTILINE))
    return Counter({name: int(count) for name, count in table.items() if name not in ("total", "all")})


def plan(config: dict, configfile: Path | None, tflops: float | None, device: str) -> str:
    """The plan as text. tflops: the sustained rate in TFLOP/s; None = measured on `device`."""
    datasets = configuration.expand_datasets(config["datasets"])
    predictors = configuration.expand_predictors(config)
    methods = {name: configuration.read_method(name, predictors) for name in config["methods"]}
    seeds, side = len(config["seeds"]), config["longest_side"] or SIDE
    images = {name: counts(name, config["data_root"]) for name in datasets}
    train, test = (sum(pair[i] for pair in images.values()) for i in (0, 1))

    known = {name: of_predictor(predictors[name])
             for name in dict.fromkeys(method["noise_predictor"] for method in methods.values()
                                       if "noise_predictor" in method)}
    rows, total, weights = [], 0.0, 0
    for name, one in known.items():
        budget = predictors[name]["training"]["images"]
        work = one["training"] * budget * len(datasets) * seeds
        total += work
        weights += one["parameters"] * 4 * len(datasets) * seeds
        rows.append((f"train {name}", one["parameters"] / 1e6, work))
    for name, method in methods.items():
        own = known.get(method.get("noise_predictor"))
        detector = build(method, seed=0, device="meta", noise_predictor=own["predictor"] if own else None)
        if "training" in method:
            own = of_own_networks(detector)
            work = own["training"] * (config["training"] | method["training"])["images"] * len(datasets) * seeds
            total += work
            weights += own["parameters"] * 4 * len(datasets) * seeds
            rows.append((f"train {name}", own["parameters"] / 1e6, work))
        if own is None:
            continue
        settings = predictors[method["noise_predictor"]] if "noise_predictor" in method else method["settings"]
        squares = 1 if settings.get("space") == "features" else tiling(
            side, side, settings["patch"], settings["stride"], "cpu").count
        work = (own["features"] + detector.nfe * squares * own["evaluation"]) * (train + test) * seeds
        total += work
        rows.append((f"fit and score {name}", 0.0, work))
    rate, source = tflops, "as given"
    if rate is None:
        name = max(known, key=lambda name: known[name]["training"])
        rate = sustained(predictors[name], known[name]["training"], device) / 1e12
        source = f"measured here on {device} with {name}"
    maps = 2 * side**2 * test * len(methods) * seeds
    counted = jobs(configfile)
    by_rule = ", ".join(f"{count} x {rule}" for rule, count in counted.most_common())
    lines = [f"{len(datasets)} datasets, {len(methods)} methods, {seeds} seeds: {train} training, {test} test images",
             f"{sum(counted.values())} jobs still to run: {by_rule}", "",
             f"{'':34}{'parameters [M]':>16}{'PFLOP':>12}{'hours':>10}"]
    for name, parameters, work in rows:
        size = f"{parameters:.1f}" if parameters else ""
        lines.append(f"{name:34}{size:>16}{work / 1e15:>12.1f}{work / rate / 1e12 / 3600:>10.2f}")
    lines += ["", f"together {total / 1e15:.0f} PFLOP: {total / rate / 1e12 / 3600:.1f} device-hours at {rate:.3g} "
                  f"TFLOP/s sustained ({source})",
              f"disk: {maps / 2**30:.1f} GiB of maps, {weights / 2**30:.1f} GiB of weights; images are read where they "
              "lie"]
    return "\n".join(lines)


def read_config(configfile: Path | None) -> dict:
    """config/config.yaml with `configfile` over it, as Snakemake merges them."""
    def over(base: dict, top: dict) -> dict:
        merged = dict(base)
        for key, value in top.items():
            both = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = over(merged[key], value) if both else value
        return merged

    config = configuration.read_yaml(configuration.CONFIG / "config.yaml")
    config = over(config, configuration.read_yaml(configfile)) if configfile else config
    configuration.check_config(config)
    return json.loads(json.dumps(config))
