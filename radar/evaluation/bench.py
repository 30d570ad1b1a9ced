"""What evaluating many anomaly maps costs: time and memory over their number, and the exact AUPRO against a plain loop.

`python -m radar bench-metrics` prints it as JSON. Every size runs in a process of its own, so that its peak memory is
its own; ratios are of one run on one machine.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from radar.evaluation.bootstrap import pixel_samples, resample_weights
from radar.evaluation.metrics import EIGHT_CONNECTED, PixelHistograms, pixel_metrics


def maps_and_masks(count: int, side: int) -> Iterator[tuple[NDArray[np.float16], NDArray[np.bool_] | None]]:
    """`count` smooth random maps [side, side], the first half normal, the others with one to three defects."""
    rng = np.random.default_rng(0)
    fields = [ndimage.gaussian_filter(rng.standard_normal((side, side)), side / 64).astype(np.float32) * side / 16
              for _ in range(16)]
    y, x = np.mgrid[:side, :side]
    for i in range(count):
        anomaly_map = np.roll(fields[i % 16], rng.integers(side, size=2), (0, 1)) + 0.1 * rng.standard_normal()
        mask = None
        if i >= count // 2:
            mask = np.zeros((side, side), bool)
            for _ in range(rng.integers(1, 4)):
                top, left, radius = *rng.integers(side, size=2), rng.integers(2, side // 8)
                mask |= (y - top) ** 2 + (x - left) ** 2 < radius**2
            anomaly_map = anomaly_map + rng.uniform(0, 2) * mask
        yield anomaly_map.astype(np.float16), mask


def streamed(count: int, side: int, draws: int) -> dict:
    """Every pixel metric of `count` maps and of `draws` resamples of them: seconds, and peak memory in MiB."""
    started = time.perf_counter()
    histograms, making = PixelHistograms(), 0.0
    source = maps_and_masks(count, side)
    while True:
        before = time.perf_counter()
        one = next(source, None)
        making += time.perf_counter() - before
        if one is None:
            break
        histograms.add(*one)
    metrics = pixel_metrics(histograms)
    counted = time.perf_counter() - started - making
    if draws:
        pixel_samples(histograms, resample_weights(np.arange(count) >= count // 2, draws, 0))
    return {"maps": count, "side": side, "draws": draws, "metrics_s": round(counted, 3),
            "bootstrap_s": round(time.perf_counter() - started - making - counted, 3), "coarse": histograms.coarse,
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "aupro": metrics["pixel_aupro"]}


def loop_aupro(maps: list[NDArray], masks: list[NDArray | None], limit: float = 0.3) -> float:
    """AUPRO by its definition: at every threshold, the false-positive rate and the mean overlap over the regions."""
    regions = []
    for i, mask in enumerate(masks):
        if mask is not None:
            labels, number = ndimage.label(mask, EIGHT_CONNECTED)
            regions += [(i, labels == k) for k in range(1, number + 1)]
    normal = [np.ones(one.shape, bool) if mask is None else ~mask for one, mask in zip(maps, masks, strict=True)]
    total = sum(int(one.sum()) for one in normal)
    fpr, pro = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([one.ravel() for one in maps]))[::-1]:
        detected = [one >= threshold for one in maps]
        fpr.append(sum(int((one & good).sum()) for one, good in zip(detected, normal, strict=True)) / total)
        pro.append(float(np.mean([detected[i][region].mean() for i, region in regions])))
        if fpr[-1] > limit:
            break
    fpr, pro = np.array(fpr), np.array(pro)
    at = np.interp(limit, fpr, pro)
    inside = fpr <= limit
    return float(np.trapezoid(np.r_[pro[inside], at], np.r_[fpr[inside], limit]) / limit)


def against_the_loop(count: int = 12, side: int = 96) -> dict:
    """The exact AUPRO and the plain loop on the same small set of maps: values, seconds, ratio."""
    pairs = list(maps_and_masks(count, side))
    started = time.perf_counter()
    histograms = PixelHistograms()
    for one in pairs:
        histograms.add(*one)
    exact = pixel_metrics(histograms)["pixel_aupro"]
    middle = time.perf_counter()
    loop = loop_aupro([one for one, _ in pairs], [mask for _, mask in pairs])
    ended = time.perf_counter()
    return {"maps": count, "side": side, "exact": exact, "loop": loop, "difference": abs(exact - loop),
            "exact_s": round(middle - started, 4), "loop_s": round(ended - middle, 4),
            "times_faster": round((ended - middle) / (middle - started), 1)}


def report(count: int, side: int, draws: int) -> dict:
    """The whole benchmark: `count` maps and a tenth of them, each in its own process, and the loop."""
    def run(number: int) -> dict:
        command = [sys.executable, "-m", "radar.evaluation.bench", str(number), str(side), str(draws)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    small, large = run(count // 10), run(count)
    seconds = [one["metrics_s"] + one["bootstrap_s"] for one in (small, large)]
    ratio = round(seconds[1] / seconds[0], 2)
    return {"tenth": small, "whole": large, "time_ratio": ratio, "aupro": against_the_loop()}


if __name__ == "__main__":
    print(json.dumps(streamed(*map(int, sys.argv[1:4]))))
