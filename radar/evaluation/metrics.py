"""Accuracy at image and pixel level: exact, over all thresholds, and for many bootstrap resamples at once.

Every function takes optional `weights` [draws, N]: how often each of the N images occurs in each resample. Without
them the metrics are floats; with them, arrays [draws] from the same code. Undefined metrics are NaN.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.sparse import csr_array

from radar.evaluation.curves import Array, pro_area, rank_metrics

PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max_oracle", "pixel_aupro")
# Regions of a mask are 8-connected: pixels that touch at a corner belong together.
EIGHT_CONNECTED = np.ones((3, 3), int)
# One [draws, K] array of a chunk holds this many numbers at most (8 MB); about ten are alive at a time.
CHUNK = 2**20


def image_metrics(score: ArrayLike, label: ArrayLike, weights: NDArray | None = None) -> dict:
    """image_auroc, image_ap and image_f1_max_oracle of scores [N] (higher = more anomalous) and labels [N] (1 = so)."""
    score, label = np.asarray(score, np.float64), np.asarray(label, bool)
    values, column = np.unique(-score, return_inverse=True)
    shape = (len(score), len(values))
    rows = np.arange(len(score))
    negatives, positives = (csr_array((kind.astype(float), (rows, column)), shape) for kind in (~label, label))
    chunks = [rank_metrics(w @ negatives, w @ positives) for w in _chunks(weights, shape)]
    return _join(chunks, "image_", weights)


def decision_metrics(decision: ArrayLike, label: ArrayLike, prefix: str = "",
                     weights: NDArray | None = None) -> dict:
    """accuracy, precision, recall, f1 and false_positive_rate of decisions [N] (True = anomalous), names prefixed.

    By convention precision is 0 when nothing is decided anomalous. Precision, recall and F1 are NaN without an
    anomalous image, the false-positive rate without a normal one.
    """
    decision, label = np.asarray(decision, bool), np.asarray(label, bool)
    w = np.ones((1, len(label))) if weights is None else weights
    tp, fp, fn, tn = (w @ kind.astype(float)
                      for kind in (decision & label, decision & ~label, ~decision & label, ~decision & ~label))
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(tp + fn > 0, tp / np.maximum(tp + fp, 1), np.nan)
        values = {"accuracy": (tp + tn) / (tp + fp + fn + tn), "precision": precision, "recall": tp / (tp + fn),
                  "f1": np.where(tp + fn > 0, 2 * tp / (2 * tp + fp + fn), np.nan),
                  "false_positive_rate": fp / (fp + tn)}
    return _join([values], prefix, weights)


class Histograms(NamedTuple):
    """What all pixel metrics of N images need; K score values, descending."""

    normal: csr_array  # [N, K] normal pixels
    anomalous: csr_array  # [N, K] anomalous pixels
    overlap: csr_array  # [N, K] anomalous pixels, each counted 1 / (size of its region)
    n_regions: Array  # [N]


class _Counts(NamedTuple):
    """One image: its values (ranks, or bins once they are coarse), how many pixels have each, and which are
    anomalous."""

    used: NDArray[np.uint16]
    normal: NDArray[np.uint32]
    hit: NDArray[np.uint16]  # values that anomalous pixels have
    anomalous: NDArray[np.uint32]
    overlap: Array
    n_regions: int


class PixelHistograms:
    """Counts over the distinct float16 values of the anomaly maps, image by image.

    Maps are stored as float16, so there are at most 65,536 score values, and counting them loses nothing: memory grows
    with the values an image has, not with its pixels. The metrics come from the counts of all images together and are
    exact. Images are also kept apart, because the bootstrap draws images: exactly, up to `exact` values in all; beyond
    that their values are put into at most BINS bins of about equal mass, so that memory grows by some kilobytes per
    image, and the draws are corrected by what the binning does to the metric itself.
    """

    BINS = 4096

    def __init__(self, exact: int = 8_000_000) -> None:
        self.exact = exact
        self._images: list[_Counts] = []
        self._entries = 0
        self._bin_of: NDArray[np.uint16] | None = None  # rank -> bin, once coarse
        self._total = np.zeros((3, 2**16))  # normal, anomalous, overlap

    def __len__(self) -> int:
        return len(self._images)

    @property
    def coarse(self) -> bool:
        """Whether the images' own counts are of bins."""
        return self._bin_of is not None

    def add(self, anomaly_map: NDArray[np.float16], mask: NDArray[np.bool_] | None) -> None:
        """Count one image: map [H, W] float16, mask [H, W] bool (None = normal throughout).

        Raises ValueError on another dtype or shape, or on NaN or infinity.
        """
        if anomaly_map.dtype != np.float16 or anomaly_map.ndim != 2:
            raise ValueError(f"an anomaly map must be float16 [H, W], got {anomaly_map.dtype} {anomaly_map.shape}")
        if mask is not None and mask.shape != anomaly_map.shape:
            raise ValueError(f"the mask is {mask.shape}, its anomaly map {anomaly_map.shape}")
        if not np.isfinite(anomaly_map).all():
            raise ValueError("the anomaly map holds NaN or infinity")
        ranks = descending_rank(anomaly_map).ravel()
        everything = np.bincount(ranks, minlength=2**16)
        anomalous: NDArray = np.zeros(2**16, np.int64)
        overlap: NDArray = np.zeros(2**16)
        n_regions = 0
        if mask is not None and mask.any():
            regions, n_regions = ndimage.label(mask, EIGHT_CONNECTED)
            inside = regions[mask]
            anomalous = np.bincount(ranks[mask.ravel()], minlength=2**16)
            overlap = np.bincount(ranks[mask.ravel()], 1 / np.bincount(inside)[inside], minlength=2**16)
        normal = everything - anomalous
        self._total += np.stack([normal, anomalous, overlap])
        used, hit = np.flatnonzero(everything), np.flatnonzero(anomalous)
        image = _Counts(used.astype(np.uint16), normal[used].astype(np.uint32), hit.astype(np.uint16),
                        anomalous[hit].astype(np.uint32), overlap[hit], n_regions)
        self._images.append(image if self._bin_of is None else _binned(image, self._bin_of))
        self._entries += len(used)
        if self._bin_of is None and self._entries > self.exact:
            self._bin_of = _bins(self._total, self.BINS)
            self._images = [_binned(one, self._bin_of) for one in self._images]
        self.__dict__.pop("matrices", None)

    def totals(self) -> tuple[Array, Array, Array, Array]:
        """Normal and anomalous pixels, overlap (each [1, 65536]) and regions ([1]) of all images together."""
        normal, anomalous, overlap = self._total[:, None]
        return normal, anomalous, overlap, np.array([sum(image.n_regions for image in self._images)], float)

    @cached_property
    def matrices(self) -> Histograms:
        """The counts as sparse matrices [N, K], rows in the order of `add`."""
        start = np.cumsum([0, *(len(image.used) for image in self._images)])
        column = np.concatenate([image.used for image in self._images])
        hit_start = np.cumsum([0, *(len(image.hit) for image in self._images)])
        hit = np.concatenate([image.hit for image in self._images])
        # Between two values that anomalous pixels take, the normal ones can be counted together: in all the curves such
        # a stretch is a straight line without a maximum of F1, and average precision has no term there.
        is_anomalous, is_used = np.zeros(2**16, bool), np.zeros(2**16, bool)
        is_anomalous[hit], is_used[column] = True, True
        used = np.flatnonzero(is_used)
        group = np.zeros(2**16, np.int32)
        group[used] = np.cumsum(is_anomalous[used] | np.r_[True, is_anomalous[used][:-1]]) - 1
        shape = (len(self._images), group[used].max() + 1)

        def matrix(name: str, columns: NDArray, start: NDArray, kind: type) -> csr_array:
            values: NDArray = np.concatenate([getattr(image, name) for image in self._images]).astype(kind)
            result = csr_array((values, group[columns], start.astype(np.int32)), shape)  # it is worked on in place
            result.sum_duplicates()
            result.eliminate_zeros()
            return result

        # float32 holds the pixels that an image has of one value exactly
        return Histograms(matrix("normal", column, start, np.float32), matrix("anomalous", hit, hit_start, np.float32),
                          matrix("overlap", hit, hit_start, np.float64),
                          np.array([image.n_regions for image in self._images], float))


def _bins(total: Array, count: int) -> NDArray[np.uint16]:
    """rank -> bin, at most `count` of them.

    Half of them go to equal mass in normal pixels, anomalous ones and overlap together, half to equal steps of the
    float16 values, some thirty to a doubling of the score: later images may have values that none has had yet.
    """
    share = (total / np.maximum(total.sum(1, keepdims=True), 1)).sum(0)
    place = (np.cumsum(share) / share.sum() + np.arange(1, 2**16 + 1) / 2**16) / 2
    return np.minimum(place * count, count - 1).astype(np.uint16)


def _binned(image: _Counts, bin_of: NDArray[np.uint16]) -> _Counts:
    """The same counts, of bins of values."""
    used, at = np.unique(bin_of[image.used], return_inverse=True)
    hit, hit_at = np.unique(bin_of[image.hit], return_inverse=True)
    return _Counts(used, np.bincount(at, image.normal, len(used)).astype(np.uint32), hit,
                   np.bincount(hit_at, image.anomalous, len(hit)).astype(np.uint32),
                   np.bincount(hit_at, image.overlap, len(hit)).astype(np.float64), image.n_regions)


def descending_rank(values: NDArray[np.float16]) -> NDArray[np.int64]:
    """The place of float16 values among all float16 values from the largest to the smallest, 0..65535; -0 equals 0."""
    bits = (values + np.float16(0)).view(np.uint16).astype(np.int64)  # adding 0 turns -0 into 0
    return np.where(bits < 2**15, 2**15 - 1 - bits, bits)


def pixel_metrics(histograms: PixelHistograms | None, aupro_limit: float = 0.3,
                  weights: NDArray | None = None) -> dict:
    """pixel_auroc, pixel_ap, pixel_f1_max_oracle and pixel_aupro (FPR <= aupro_limit), over all thresholds.

    FPR counts the normal pixels of all images together, PRO is the mean over the regions of all images. `weights` are
    [draws, N] in the order in which images were added. Without histograms (no maps, or image labels only) the metrics
    are not applicable: None.
    """
    if histograms is None:
        return dict.fromkeys(PIXEL_METRICS)
    if weights is None:
        return _join([_of_pixels(*histograms.totals(), aupro_limit)], "pixel_", None)
    normal, anomalous, overlap, n_regions = histograms.matrices

    def of(weights: NDArray) -> dict:
        return _join([_of_pixels(w @ normal, w @ anomalous, w @ overlap, w @ n_regions, aupro_limit)
                      for w in _chunks(weights, normal.shape)], "pixel_", weights)

    samples = of(weights)
    if not histograms.coarse:
        return samples
    exact, binned = pixel_metrics(histograms, aupro_limit), of(np.ones((1, len(histograms))))
    return {name: np.clip(draws + (exact[name] - binned[name][0]), 0, 1) for name, draws in samples.items()}


def _of_pixels(normal: Array, anomalous: Array, overlap: Array, n_regions: Array, limit: float) -> dict[str, Array]:
    """The pixel metrics of counts [draws, K] at descending score values."""
    return rank_metrics(normal, anomalous) | {"aupro": pro_area(normal, overlap, n_regions, limit)}


def _chunks(weights: NDArray | None, shape: tuple[int, int]) -> Iterator[Array]:
    n, k = shape
    weights = np.ones((1, n)) if weights is None else weights
    if weights.ndim != 2 or weights.shape[1] != n:
        raise ValueError(f"weights must be [draws, {n}], got {list(weights.shape)}")
    step = max(1, CHUNK // k)
    for start in range(0, len(weights), step):
        yield weights[start:start + step].astype(np.float64)


def _join(chunks: list[dict[str, Array]], prefix: str, weights: NDArray | None) -> dict:
    joined = {prefix + name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return joined if weights is not None else {name: float(value[0]) for name, value in joined.items()}
