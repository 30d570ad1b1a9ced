"""A whole prediction against the bare network passes over the same tiles: what the reading of the noise costs."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from radar.devices import choose_device, prepare_torch
from radar.evaluation.cost import synchronise
from radar.evaluation.rounds import in_turns, within_rounds
from radar.evaluation.timing import predict_uint8
from radar.images.image_set import to_unit
from radar.method.detector import Detector, MethodError, load


def main(detector: Path, size: int, batch: int, repeats: int, threads: int, device: str) -> int:
    device = choose_device(device)
    prepare_torch(threads)
    loaded, description = load(detector, device)
    shape = batch, description["channels"], size, size
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    print(json.dumps({"detector": description["name"], "device": device, "threads": threads}
                     | overhead(loaded, images, repeats)))
    return 0


@torch.inference_mode()
def overhead(detector: Detector, images: Tensor, repeats: int) -> dict:
    """A whole prediction of uint8 images [N, C, H, W] against the bare network passes over the tiles of their x_0, in
    turns: median ratio and both medians. Raises MethodError unless the detector evaluates a shared noise predictor once
    per tile (NFE 1)."""
    predictor = detector.noise_predictor
    if predictor is None or detector.nfe != 1:
        raise MethodError(f"bench compares a prediction with one pass of its noise predictor, and "
                          f"{type(detector).__name__} has NFE {detector.nfe}: give a detector of NFE 1, e.g. "
                          ".../radar/seed0")
    x_0 = predictor.encode(to_unit(images.to(detector.device)))
    tiles = predictor.tiling(x_0).split(x_0)

    def bare() -> None:
        predictor.eps(tiles, 1)
        synchronise(detector.device)

    calls: dict[str, Callable[[], object]] = {"whole": lambda: predict_uint8(detector, images), "network": bare}
    for call in calls.values():
        call()
    taken = in_turns(calls, dict.fromkeys(calls, (1, 1)), repeats)
    return {"ratio": within_rounds(taken["whole"], taken["network"])[0],
            **{f"{name}_ms": 1000 * samples.median() for name, samples in taken.items()},
            "tiles": len(tiles), "repeats": repeats}
