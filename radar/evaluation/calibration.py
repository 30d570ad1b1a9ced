"""The threshold: split-conformal quantile of the scores of held-out normal images.

Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005; Angelopoulos & Bates, "Conformal Prediction: A
Gentle Introduction", 2023, section 1. If a new normal image is exchangeable with the n calibration images, then
P(score > threshold) <= alpha, for any method and any distribution of scores.
"""

import math
import warnings
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike


def conformal_threshold(calibration_scores: ArrayLike, false_positive_rate: float) -> float:
    """The k-th smallest of n calibration scores, k = ceil((n + 1) (1 - alpha)). Decision: score > threshold.

    calibration_scores: [n] scores of normal images that the method was not fitted on.
    false_positive_rate: alpha, strictly between 0 and 1.

    With too few images for alpha (k > n) only an infinite threshold would keep the promise; the largest score is
    returned, which promises 1 / (n + 1), and a warning names n and the number that alpha needs.
    Raises ValueError without scores, on a score that is not finite, or if alpha is out of range.
    """
    scores = np.sort(np.asarray(calibration_scores, np.float64))
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError("calibration needs at least one score of a normal image")
    if not np.isfinite(scores).all():
        raise ValueError("calibration scores hold NaN or infinity")
    n, alpha = len(scores), _exact(false_positive_rate)
    if too_few(n, false_positive_rate):
        warnings.warn(f"{n} calibration images cannot promise a false-positive rate of {false_positive_rate:g}: "
                      f"{math.ceil(1 / alpha) - 1} are needed; the threshold is their largest score. Add normal "
                      "images, or raise protocol.calibration_fraction or protocol.false_positive_rate", stacklevel=2)
        return float(scores[-1])
    return float(scores[math.ceil((n + 1) * (1 - alpha)) - 1])


def too_few(n: int, alpha: float) -> bool:
    """True if n calibration images cannot promise a false-positive rate of alpha: n < 1 / alpha - 1."""
    return (n + 1) * _exact(alpha) < 1


def _exact(alpha: float) -> Fraction:
    # In floating point (n + 1) * (1 - alpha) can land just above a whole number, and ceil would be off by one.
    if not 0 < alpha < 1:
        raise ValueError(f"false_positive_rate must lie strictly between 0 and 1, got {alpha}")
    return Fraction(str(float(alpha)))
