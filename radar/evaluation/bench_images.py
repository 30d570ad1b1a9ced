"""What many images cost: checking, training and scoring a tree of small files, in time and memory over their number.

`python -m radar bench-images` prints it as JSON. Every size and step runs in a process of its own, so that its peak
memory is its own; a step that needs no more for ten times the images has memory that does not grow with them.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 48  # px of a picture
STEPS = ("check", "train", "score")
PREDICTOR = {"space": "pixels", "noise": "gaussian", "patch": 16, "stride": 16, "network": "unet", "channels": [8, 16],
             "layers_per_block": 1, "attention": [8], "norm_groups": 8, "predicts": "noise", "tile_batch": 256}
TRAINING = {"images": 800, "batch_size": 8, "learning_rate": 0.002, "warm_up": 0.1, "ema_decay": 0.9, "clip": 1.0,
            "checkpoint_seconds": 1000, "precision": "float32"}


def write_tree(folder: Path, count: int) -> None:
    """`count` different grey pictures in MVTec AD's layout: half train/good, a quarter each test/good and test/spot."""
    rng = np.random.default_rng(0)
    for place, share in (("train/good", count // 2), ("test/good", count // 4), ("test/spot", count // 4)):
        (folder / place).mkdir(parents=True)
        for i in range(share):
            picture = 128 + 30 * rng.standard_normal((SIDE, SIDE))
            if place == "test/spot":
                picture[16:32, 16:32] += 80
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / place / f"{i:06d}.png")


def step(name: str, folder: Path) -> dict:
    """One step on the tree in folder/data; what later steps need is left in folder. Seconds, and peak memory in MiB."""
    started = time.perf_counter()
    if name == "check":
        from radar.data import check, manifest

        table, _ = manifest.build(folder / "data", None, check.processes(), "tree")
        table.to_csv(folder / "manifest.csv", index=False)
        done = len(table)
    else:
        done = _train(folder) if name == "train" else _score(folder)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"images": done, "seconds": round(time.perf_counter() - started, 2), "peak_mib": round(peak / 1024)}


def _train(folder: Path) -> int:
    import torch

    from radar.diffusion.predictor import NoisePredictor
    from radar.diffusion.training import Training

    images = _images(folder, "train")
    torch.manual_seed(0)
    predictor = NoisePredictor(PREDICTOR, images.channels)
    Training(TRAINING, 0, folder)(
        predictor.network, predictor.loss, predictor.training_batches(images, TRAINING["batch_size"]))
    predictor.save(folder, {})
    return len(images)


def _score(folder: Path) -> int:
    """Fit RADAR on the training images, score the test images, and stream their maps to disk."""
    from radar.diffusion.predictor import NoisePredictor
    from radar.images.map_archive import MapWriter
    from radar.method.radar import RADAR
    from radar.method.scoring import score_images

    detector = RADAR(noise_predictor=NoisePredictor.load(folder))
    detector.fit(_images(folder, "train"))
    test = _images(folder, "test")
    with MapWriter(folder / "maps.npz", test.paths) as writer:
        score_images(detector, test, method="radar", description="score", writer=writer)
    return len(test)


def _images(folder: Path, split: str):
    from radar.data import manifest
    from radar.devices import prepare_torch
    from radar.images.image_set import image_set

    prepare_torch(1)
    return image_set(manifest.read(folder / "manifest.csv"), folder / "data", split, None)


def report(count: int) -> dict:
    """The whole benchmark: `count` images and a tenth of them, and how time and memory of each step grow."""
    def run(number: int) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            write_tree(Path(folder, "data"), number)
            return {name: json.loads(subprocess.run(
                [sys.executable, "-m", "radar.evaluation.bench_images", name, folder], stdout=subprocess.PIPE,
                text=True, check=True).stdout) for name in STEPS}

    tenth, whole = run(count // 10), run(count)
    return {"side": SIDE, "tenth": tenth, "whole": whole,
            "memory_ratio": {name: round(whole[name]["peak_mib"] / tenth[name]["peak_mib"], 2) for name in STEPS}}


if __name__ == "__main__":
    print(json.dumps(step(sys.argv[1], Path(sys.argv[2]))))
