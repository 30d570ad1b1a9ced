"""Fitting a detector on a dataset and scoring its held-out images: what happens between a manifest and a score."""

import ctypes
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from radar.devices import claim
from radar.images.image_set import ImageSet, to_unit
from radar.images.map_archive import MapWriter
from radar.images.photos import channels_of
from radar.method.detector import Detector, MethodError, Prediction
from radar.progress import progress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


@dataclass(frozen=True)
class Scores:
    """score: [N] float64. decision: [N] bool, or None. peak: [N] float64, the largest value of every map."""

    score: np.ndarray
    decision: np.ndarray | None
    peak: np.ndarray


def choose_device(name: str) -> str:
    """"auto" -> "cuda" if torch sees one, else "cpu"; of several GPUs one that no other job has, as "cuda:1".

    Raises RuntimeError for a cuda that is not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("device is cuda, but torch sees none; install a CUDA build of torch or set device: cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and (count := torch.cuda.device_count()) > 1:
        name = f"cuda:{_claimed(count)}"
        torch.cuda.set_device(name)  # what says "cuda" from here on means this one
    return name


@lru_cache
def _claimed(count: int) -> int:
    return claim(count)  # once per process


def prepare_torch(threads: int) -> None:
    """How every job runs: a stated number of threads, the same bits each time, no slow path for denormal numbers.

    Denormals (below 1e-38) appear in softmax and cost a tenth of the time of a small network on the CPU. Memory that
    glibc gives back to the system after every layer, to ask for it again at the next one, costs as much again.
    """
    with suppress(AttributeError, OSError):  # another C library has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # larger pieces still go back at once: large networks need the room
        mallopt(M_TRIM_THRESHOLD, 256 * 2**20)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.backends.cudnn.deterministic = True


def image_set(manifest, root: Path, split: str, longest_side: int | None) -> ImageSet:
    """The images of one split of a manifest (DataFrame), in its order; grey only if the training images are."""
    first = manifest.loc[manifest["split"] == "train", "path"].iloc[0]
    paths = manifest.loc[manifest["split"] == split, "path"].tolist()
    return ImageSet(root, paths, channels_of(Path(root) / first), longest_side)


@torch.inference_mode()
def score_images(detector: Detector, images: ImageSet, *, method: str, description: str, batch_size: int = 16,
                 writer: MapWriter | None = None) -> Scores:
    """Score every image, in batches of one size; the maps go to `writer`. Raises MethodError if the seam is broken."""
    score, decision, peak = [], [], []
    with progress(len(images), description, "image") as bar:
        for batch in images.batches(batch_size):
            batch = to_unit(batch.to(detector.device))
            prediction = detector.predict(batch)
            if not isinstance(prediction, Prediction):
                raise MethodError(f"{method}: predict returned a {type(prediction).__name__}, promised is a Prediction")
            prediction.check(batch, method)
            score.append(prediction.score.double().cpu().numpy())
            decision.append(None if prediction.decision is None else prediction.decision.cpu().numpy())
            peak.append(prediction.anomaly_map.flatten(1).amax(1).double().cpu().numpy())
            if writer is not None:
                writer.add(prediction.anomaly_map.float().cpu().numpy())
            bar.update(len(batch))
    return Scores(np.concatenate(score), None if decision[0] is None else np.concatenate(decision),
                  np.concatenate(peak))


def check_seam(detector: Detector, again: Detector, images: ImageSet, method: str) -> None:
    """Refuse a detector whose predictions depend on the batch, or that is another one after saving and loading.

    again: the detector as `load` gives it back. images: of which a few are scored. Raises MethodError naming the promise.
    """
    shape = images.uint8(0).shape
    same = [i for i in range(min(len(images), 16)) if images.uint8(i).shape == shape][:3]
    batch = to_unit(torch.stack([images.uint8(i) for i in same]).to(detector.device))
    with torch.inference_mode():
        together = detector.predict(batch).check(batch, method)
        alone = [detector.predict(one[None]).check(one[None], method) for one in batch]
        restored = again.predict(batch[:1]).check(batch[:1], method)

    def differ(one: Prediction, other: Prediction) -> bool:
        # rounding may turn a comparison of a tree, not more
        return not (torch.allclose(one.score.double(), other.score.double(), rtol=0.02, atol=1e-3)
                    and (one.anomaly_map - other.anomaly_map).abs().max()
                    <= 0.02 * other.anomaly_map.abs().max() + 1e-6)

    for i, one in enumerate(alone):
        if differ(one, Prediction(together.score[i:i + 1], together.anomaly_map[i:i + 1])):
            raise MethodError(f"{method}: the prediction of an image depends on the other images of its batch; "
                            "predict must treat every image by itself")
    if differ(restored, alone[0]):
        raise MethodError(f"{method}: predicts otherwise after state() and restore(): state() must hold all that fit "
                        "learned")
