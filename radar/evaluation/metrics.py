"""Accuracy at image and pixel level: exact, over all thresholds, and for many bootstrap resamples at once.

AUROC counts ties half (the Mann-Whitney statistic); average precision is the step-wise sum of scikit-learn, without
interpolation; F1-max picks its threshold with the labels in hand, hence "oracle"; the area under PRO against FPR
follows Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021, and the evaluation code published with it.

Every metric takes optional `weights` [draws, N]: how often each of the N images occurs in each resample. Without them
it is a float; with them, an array [draws] from the same code. Undefined metrics (nothing positive, or nothing negative)
are NaN.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.sparse import csr_array, vstack

Array = NDArray[np.float64]

PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max_oracle", "pixel_aupro")
# Regions of a mask are 8-connected: pixels that touch at a corner belong together.
EIGHT_CONNECTED = np.ones((3, 3), int)
# One [draws, K] array of a chunk holds this many numbers at most (8 MB); about ten are alive at a time.
CHUNK = 2**20
RANKS = 2**16  # values of float16


def image_metrics(score: ArrayLike, label: ArrayLike, weights: NDArray | None = None) -> dict:
    """image_auroc, image_ap and image_f1_max_oracle of scores [N] (higher = more anomalous) and labels [N] (1 = so)."""
    score, label = np.asarray(score, np.float64), np.asarray(label, bool)
    values, column = np.unique(-score, return_inverse=True)
    shape = len(score), len(values)
    negatives, positives = (csr_array((kind.astype(float), (np.arange(len(score)), column)), shape)
                            for kind in (~label, label))
    return _drawn(lambda w: rank_metrics(w @ negatives, w @ positives), shape, "image_", weights)


def decision_metrics(decision: ArrayLike, label: ArrayLike, weights: NDArray | None = None) -> dict:
    """accuracy, precision, recall, f1 and false_positive_rate of decisions [N] (True = anomalous).

    By convention precision is 0 when nothing is decided anomalous. Precision, recall and F1 are NaN without an
    anomalous image, the false-positive rate without a normal one.
    """
    decision, label = np.asarray(decision, bool), np.asarray(label, bool)

    def of(w: Array) -> dict[str, Array]:
        tp, fp, fn, tn = (w @ kind.astype(float)
                          for kind in (decision & label, decision & ~label, ~decision & label, ~decision & ~label))
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(tp + fn > 0, tp / np.maximum(tp + fp, 1), np.nan)
            return {"accuracy": (tp + tn) / (tp + fp + fn + tn), "precision": precision, "recall": tp / (tp + fn),
                    "f1": np.where(tp + fn > 0, 2 * tp / (2 * tp + fp + fn), np.nan),
                    "false_positive_rate": fp / (fp + tn)}

    return _drawn(of, (len(label), 1), "", weights)


def pixel_metrics(histograms: "PixelHistograms | None", aupro_limit: float = 0.3,
                  weights: NDArray | None = None) -> dict:
    """pixel_auroc, pixel_ap, pixel_f1_max_oracle and pixel_aupro (FPR <= aupro_limit), over all thresholds.

    FPR counts the normal pixels of all images together, PRO is the mean over the regions of all images. `weights` are
    in the order in which images were added. Without histograms (image labels only) the metrics do not apply: None.
    """
    if histograms is None:
        return dict.fromkeys(PIXEL_METRICS)

    def of(normal: Array, anomalous: Array, overlap: Array, n_regions: Array) -> dict[str, Array]:
        return rank_metrics(normal, anomalous) | {"aupro": pro_area(normal, overlap, n_regions, aupro_limit)}

    exact = {"pixel_" + name: float(value[0]) for name, value in of(*histograms.totals()).items()}
    if weights is None:
        return exact
    counts = histograms.matrices()

    def draws(weights: NDArray) -> dict:
        return _drawn(lambda w: of(*(w @ one for one in counts)), counts[0].shape, "pixel_", weights)

    samples = draws(weights)
    if histograms.bins is None:
        return samples
    binned = draws(np.ones((1, weights.shape[1])))
    return {name: np.clip(values + (exact[name] - binned[name][0]), 0, 1) for name, values in samples.items()}


def _drawn(of: Callable[[Array], dict[str, Array]], shape: tuple[int, int], prefix: str,
           weights: NDArray | None) -> dict:
    """The metrics `of` weights [draws, N], names prefixed; a chunk at a time, for `of` makes arrays [draws, K].

    shape: N, K.
    """
    every, step = np.ones((1, shape[0])) if weights is None else weights, max(1, CHUNK // shape[1])
    chunks = [of(every[start:start + step].astype(np.float64)) for start in range(0, len(every), step)]
    joined = {prefix + name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return joined if weights is not None else {name: float(value[0]) for name, value in joined.items()}


# Areas under curves, each given by counts at K distinct score values in DEscending order, so that the decision
# "anomalous" at the k-th threshold takes in everything up to and including entry k. Leading dimensions are free: one
# row per resample. An entry may be zero (a value that a resample does not contain) without changing any result.


def rank_metrics(negatives: Array, positives: Array) -> dict[str, Array]:
    """AUROC, AP and oracle F1-max of counts [..., K] at descending score values.

    Returns {"auroc", "ap", "f1_max_oracle"}, each [...] in 0..1, NaN where a row has no negative or no positive.
    """
    false_positives, true_positives = np.cumsum(negatives, -1), np.cumsum(positives, -1)
    n, p = false_positives[..., -1], true_positives[..., -1]
    decided = false_positives + true_positives
    with np.errstate(invalid="ignore", divide="ignore"):
        # A negative at entry k loses against all positives above it and ties with those of its own entry.
        auroc = (np.einsum("...k,...k", negatives, true_positives)
                 - np.einsum("...k,...k", negatives, positives) / 2) / (n * p)
        precision = true_positives / np.maximum(decided, np.finfo(np.float64).tiny)  # 0 before the first entry
        ap = np.einsum("...k,...k", positives, precision) / p
        decided += p[..., None]
        f1_max = (2 * true_positives / decided).max(-1)  # 2 TP / (2 TP + FP + FN)
    defined = (n > 0) & (p > 0)
    return {name: np.where(defined, value, np.nan)
            for name, value in (("auroc", auroc), ("ap", ap), ("f1_max_oracle", f1_max))}


def pro_area(negatives: Array, overlaps: Array, n_regions: ArrayLike, limit: float) -> Array:
    """Area under PRO against FPR from 0 to `limit`, divided by `limit`: [...] in 0..1.

    negatives: [..., K] normal pixels per score value, descending.
    overlaps: [..., K] anomalous pixels per score value, each counted 1 / (size of its region).
    n_regions: [...] number of regions; PRO is the mean over regions of the share that is detected.
    limit: largest false-positive rate, above 0, at most 1.

    The curve starts at (0, 0), joins its points by straight lines and is interpolated at the limit. NaN where a row
    has no normal pixel or no region.
    """
    n_regions = np.asarray(n_regions, np.float64)
    false_positives = np.cumsum(negatives, -1)
    n = false_positives[..., -1]
    reach = limit * n  # in pixels, as the counts are
    pro = np.cumsum(overlaps, -1)
    # Twice the area of each trapezoid: width times the sum of both heights, where pro[k - 1] = pro[k] - overlaps[k].
    heights = 2 * pro - overlaps
    last = np.minimum((false_positives <= reach[..., None]).sum(-1), negatives.shape[-1] - 1)[..., None]

    def at(array: Array) -> Array:  # the entry of each row whose line crosses the limit
        return np.take_along_axis(array, last, -1)[..., 0]

    inside = np.where(np.arange(negatives.shape[-1]) < last, negatives, 0)
    area = np.einsum("...k,...k", inside, heights)
    with np.errstate(invalid="ignore", divide="ignore"):
        width = reach - (at(false_positives) - at(negatives))
        # At limit 1 the whole curve is inside, and the last entry may have no width of its own to share out.
        share = np.where(at(negatives) > 0, np.minimum(width / at(negatives), 1), 0)
        before = at(pro) - at(overlaps)
        area += width * (2 * before + share * at(overlaps))
        return np.where((n > 0) & (n_regions > 0), area / (2 * reach * n_regions), np.nan)


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
        self.bins: csr_array | None = None  # [RANKS, BINS], 1 where a rank belongs to a bin; None while exact
        self._images: list[csr_array] = []  # [3, RANKS or BINS], rows as in _total
        self._entries = 0
        # normal pixels; anomalous ones; these each counted 1 / (size of its region)
        self._total = np.zeros((3, RANKS))
        self._regions: list[int] = []

    def add(self, anomaly_map: NDArray[np.float16], mask: NDArray[np.bool_] | None) -> None:
        """Count one image: finite map [H, W] float16, mask [H, W] bool (None = normal throughout)."""
        mask = np.zeros(anomaly_map.shape, bool) if mask is None else mask
        ranks = descending_rank(anomaly_map)
        regions, n_regions = ndimage.label(mask, EIGHT_CONNECTED)
        inside = regions[mask]
        counts = np.stack([np.bincount(ranks[~mask], minlength=RANKS), np.bincount(ranks[mask], minlength=RANKS),
                           np.bincount(ranks[mask], 1 / np.bincount(inside)[inside], minlength=RANKS)])
        self._total += counts
        self._regions.append(n_regions)
        self._entries += int(counts[:2].any(0).sum())
        image = csr_array(counts)
        self._images.append(image if self.bins is None else image @ self.bins)
        if self.bins is None and self._entries > self.exact:
            self.bins = _bins(self._total, self.BINS)
            self._images = [one @ self.bins for one in self._images]

    def totals(self) -> tuple[Array, ...]:
        """Normal and anomalous pixels, overlap (each [1, RANKS]) and regions ([1]) of all images together."""
        return *self._total[:, None], np.array([sum(self._regions)], float)

    def matrices(self) -> tuple[csr_array, csr_array, csr_array, Array]:
        """The same of each image, sparse [N, K] and regions [N], rows in the order of `add`.

        Between two values that anomalous pixels take, the normal ones are counted together: in all the curves such a
        stretch is a straight line without a maximum of F1, and average precision has no term there.
        """
        total = self._total if self.bins is None else self._total @ self.bins
        used = np.flatnonzero(total.any(0))
        is_anomalous = total[1, used] > 0
        group = np.cumsum(is_anomalous | np.r_[True, is_anomalous[:-1]]) - 1
        together = csr_array((np.ones(len(used)), (used, group)), (total.shape[1], group[-1] + 1))
        stacked = vstack([image @ together for image in self._images], format="csr")
        return stacked[0::3], stacked[1::3], stacked[2::3], np.array(self._regions, float)


def _bins(total: Array, count: int) -> csr_array:
    """[RANKS, count], 1 where a rank belongs to a bin.

    Half of the bins go to equal mass in normal pixels, anomalous ones and overlap together, half to equal steps of the
    float16 values, some thirty to a doubling of the score: later images may have values that none has had yet.
    """
    share = (total / np.maximum(total.sum(1, keepdims=True), 1)).sum(0)
    place = (np.cumsum(share) / share.sum() + np.arange(1, RANKS + 1) / RANKS) / 2
    bin_of = np.minimum(place * count, count - 1).astype(int)
    return csr_array((np.ones(RANKS), (np.arange(RANKS), bin_of)), (RANKS, count))


def descending_rank(values: NDArray[np.float16]) -> NDArray[np.int64]:
    """The place of float16 values among all float16 values from the largest to the smallest, 0..65535; -0 equals 0."""
    bits = (values + np.float16(0)).view(np.uint16).astype(np.int64)  # adding 0 turns -0 into 0
    return np.where(bits < 2**15, 2**15 - 1 - bits, bits)
