"""Areas under ROC, precision-recall and PRO curves from weighted counts: the core that every ranking metric stands on.

A curve is given by counts at K distinct score values in DEscending order, so that the decision "anomalous" at the k-th
threshold takes in everything up to and including entry k. Leading dimensions are free: one row per bootstrap resample.
An entry may be zero (a value that a resample does not contain) without changing any result.

AUROC counts ties half (the Mann-Whitney statistic); average precision is the step-wise sum of scikit-learn, without
interpolation; the area under PRO against FPR follows Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021,
and the evaluation code published with MVTec AD. A metric that is undefined (nothing positive or nothing negative) is
NaN; callers turn that into "not applicable".
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rank_metrics(negatives: Array, positives: Array) -> dict[str, Array]:
    """AUROC, AP and oracle F1-max of counts [..., K] at descending score values.

    Returns {"auroc", "ap", "f1_max_oracle"}, each [...] in 0..1, NaN where a row has no negative or no positive.
    F1-max picks its threshold with the labels in hand, hence "oracle": no deployed system reaches it by rule.
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


def pro_area(negatives: Array, overlaps: Array, n_regions: Array, limit: float) -> Array:
    """Area under PRO against FPR from 0 to `limit`, divided by `limit`: [...] in 0..1.

    negatives: [..., K] normal pixels per score value, descending.
    overlaps: [..., K] anomalous pixels per score value, each counted 1 / (size of its region).
    n_regions: [...] number of regions; PRO is the mean over regions of the share that is detected.
    limit: largest false-positive rate, above 0, at most 1.

    The curve starts at (0, 0), joins its points by straight lines and is interpolated at the limit. NaN where a row
    has no normal pixel or no region. Raises ValueError if the limit is out of range.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"aupro_limit must be above 0 and at most 1, got {limit}")
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
