"""Timing on the same terms: from a uint8 image in memory to its score and its map at input size, back in memory.

Inside the timed region: the copy to the device, the conversion to [-1, 1], tiling, networks, scoring, smoothing, the
copy of score and map back. Outside: reading and shrinking the file, imports, loading the detector (its cold start is
measured apart), warm-up. The methods take turns in rounds (see radar.evaluation.rounds), at every batch size, and with
them each of their networks alone: NFE times one evaluation predicts the latency. Where the time goes is measured in
passes of their own (see radar.evaluation.cost), so that no instrument touches the latency.

The fields of a result, all at batch 1 where nothing else is said:
latency_ms, latency_round: every sample and its round; latency_ms_median, latency_ms_p90, latency_ms_p99 (None below
    TAIL samples).
ratio_to: the first detector; ratio, ratio_low, ratio_high: see within_rounds.
batch_size and images_per_s at the best batch, images_per_s_by_batch.
tiling_ms, features_ms, noise_predictor_ms, other_network_ms, rest_ms: see Cost; None = the detector has no such.
evaluations: of the noise predictor, as counted; nfe: as the detector states it.
evaluation_ms: one evaluation of the noise predictor on the tiles of the image, alone. predicted_ms: NFE of them,
    and once the frozen features and other networks alone; None without networks. measured_to_predicted, ..._low,
    ..._high: ratio of latency to prediction, see within_rounds.
parameters, gflops (per image, two per multiply-add; convolutions, matrix products and attention), peak_memory_mb
(of the process on the CPU, allocated on CUDA; at the best batch).
"""

import json
import multiprocessing
import platform
import resource
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from radar.devices import choose_device, prepare_torch
from radar.evaluation.cost import cost_of
from radar.evaluation.rounds import in_turns, latency, turns, within_rounds
from radar.images.image_set import to_unit
from radar.method.detector import Detector, find_class, load

ROUNDS = 12  # half of them are the fewest from which a median has a 95 % interval, see median_interval
LATE_IMPORTS = ("diffusers.models.unets.unet_2d", "radar.diffusion.simplex")  # by the suite, where it first needs them
PROCESS = psutil.Process()


def predict_uint8(detector: Detector, images: Tensor) -> tuple[Tensor, Tensor]:
    """The timed region: uint8 [N, C, H, W] in host memory -> score [N] and map [N, H, W] in host memory."""
    prediction = detector.predict(to_unit(images.to(detector.device)))
    return prediction.score.cpu(), prediction.anomaly_map.cpu()  # copying to the host waits for the device


@torch.inference_mode()
def time_detectors(detectors: dict[str, Detector], images: Tensor, *, batch_sizes: list[int], repeats: int,
                   seconds: float) -> dict[str, dict]:
    """Time detectors on uint8 images [N, C, H, W] of one size (a batch larger than N repeats them).

    repeats: predictions per detector and batch size, at most. seconds: about how long those of a detector may take at
    batch 1, half as long at each larger one; what is slow is called in half of the rounds, whatever it takes. A batch
    size is left out for a detector that would need more than `seconds` for a single batch of it.

    Returns the fields above per detector.
    """
    calls: dict[tuple, Callable[[], object]] = {}  # (detector, batch size) or (detector, part that is a network alone)
    plan: dict[tuple, tuple[int, int]] = {}
    costs, operations, memory = {}, {}, {}
    rounds = min(ROUNDS, repeats)
    for name, detector in detectors.items():
        single = partial(predict_uint8, detector, images[:1])
        operations[name] = flops(single)  # which is the warm-up too
        costs[name] = cost_of(detector, single, seconds / 10)
        taken = costs[name].whole  # by an image
        for size in sorted({1, *batch_sizes}):
            if size > 1 and size * taken >= seconds:
                continue
            batch = images[torch.arange(size) % len(images)].contiguous()
            calls[name, size] = partial(predict_uint8, detector, batch)
            start = time.perf_counter()
            memory[name, size] = peak_memory(calls[name, size], detector.device)
            taken = min(taken, (time.perf_counter() - start) / size)
            plan[name, size] = turns(size * taken, rounds, repeats, seconds if size == 1 else seconds / 2)
        # the networks alone come once in every second round, of which no method is left out
        for part, call in costs[name].alone().items():
            calls[name, part], plan[name, part] = call, (1, 2)
    samples = in_turns(calls, plan, rounds)

    first = next(iter(detectors))
    results = {}
    for name, detector in detectors.items():
        ours = {what: taken for (whose, what), taken in samples.items() if whose == name}
        throughput = {size: size / ours[size].median() for size in ours if isinstance(size, int)}
        best = max(throughput, key=throughput.__getitem__)
        networks = {part: ours[part] for part in ours if isinstance(part, str)}
        results[name] = {
            **latency(ours[1]), "ratio_to": first,
            **dict(zip(("ratio", "ratio_low", "ratio_high"), within_rounds(ours[1], samples[first, 1]), strict=True)),
            "batch_size": best, "images_per_s": throughput[best], "images_per_s_by_batch": throughput,
            "nfe": detector.nfe, **costs[name].milliseconds(), **_predicted(detector.nfe, networks, ours[1]),
            "parameters": detector.parameters(), "gflops": operations[name] / 1e9,
            "peak_memory_mb": memory[name, best] / 2**20,
        }
    return results


def _predicted(nfe: int, alone: dict[str, pd.Series], ours: pd.Series) -> dict[str, float | None]:
    """evaluation_ms, predicted_ms and how the measured latency relates to it, see the module.

    alone: samples of each part that is a network, one a round. ours: of the whole prediction.
    """
    fields = ("evaluation_ms", "predicted_ms", "measured_to_predicted", "measured_to_predicted_low",
              "measured_to_predicted_high")
    if not alone or nfe and "noise_predictor" not in alone:  # no network, or one that was not seen
        return dict.fromkeys(fields)
    evaluation = 1000 * alone["noise_predictor"].median() if "noise_predictor" in alone else None
    predicted = sum((nfe if part == "noise_predictor" else 1) * taken for part, taken in alone.items())
    return dict(zip(fields, (evaluation, 1000 * predicted.median(), *within_rounds(ours, predicted)), strict=True))


def flops(call: Callable[[], object]) -> int:
    """Floating-point operations of a call, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def peak_memory(call: Callable[[], object], device: torch.device) -> int:
    """Bytes at the peak of a call: allocated on the device, or resident in the process on the CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
    call()
    unit = 1 if platform.system() == "Darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# The cold start: from the first byte of a detector's files to its first prediction.


def cold_starts(folders: Iterable[Path], device: str, threads: int, image: np.ndarray) -> list[float]:
    """Seconds until the first prediction of the detector in each folder, of a uint8 image [1, C, H, W].

    Each in a process of its own that shares no more with this one than what is imported: nothing is compiled, cached
    or set up, the device not either; the files may be in the system's cache. It is a fork, so torch must not have
    computed anything with more than one thread, nor on a GPU, in this process yet.
    """
    for name in LATE_IMPORTS:
        import_module(name)
    taken = []
    for folder in folders:
        find_class(json.loads((folder / "detector.json").read_text())["method"]["class"])  # which imports it
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            taken.append(pool.submit(_start, folder, device, threads, image).result())
    return taken


@torch.inference_mode()
def _start(folder: Path, device: str, threads: int, image: np.ndarray) -> float:
    prepare_torch(threads)
    start = time.perf_counter()
    predict_uint8(load(folder, choose_device(device))[0], torch.from_numpy(image))
    return time.perf_counter() - start


# The machine


def cores_of_others() -> float:
    """How many cores other processes used on average since this was called the last time."""
    return max(0.0, psutil.cpu_count() * psutil.cpu_percent() - PROCESS.cpu_percent()) / 100


def device_name(device: str) -> str:
    """The accelerator's or the processor's name."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    with suppress(OSError, IndexError):
        return Path("/proc/cpuinfo").read_text().split("model name\t: ")[1].partition("\n")[0]
    return platform.processor() or platform.machine()
