"""Bootstrap over test images, stratified by label: intervals, and paired comparison of methods.

Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 (percentile interval) and 8. Images are drawn,
not pixels: the pixels of an image are not independent. A resample keeps the numbers of normal and anomalous images. It
depends on the labels and the seed alone, so that all methods and training seeds of a dataset meet the same resamples,
and a difference between two methods is taken draw by draw.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def resample_weights(label: ArrayLike, draws: int, seed: int) -> NDArray[np.int32]:
    """How often each image occurs in each resample: int [draws, N]. label: [N], 0 = normal, 1 = anomalous."""
    label = np.asarray(label, bool)
    generator = np.random.default_rng(seed)
    weights = np.zeros((draws, len(label)), np.int32)
    for stratum in (~label, label):
        if n := int(stratum.sum()):
            weights[:, stratum] = generator.multinomial(n, np.full(n, 1 / n), size=draws)
    return weights


def interval(samples: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval (low, high) of samples [draws]. NaN draws are left out; (NaN, NaN) if none remains."""
    values = np.asarray(samples, np.float64)
    values = values[~np.isnan(values)]
    if values.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
