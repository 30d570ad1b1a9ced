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

    calibration_scores: [n] finite scores of normal images that the method was not fitted on, at least one.
    false_positive_rate: alpha, strictly between 0 and 1.

    With too few images for alpha (k > n) only an infinite threshold would keep the promise; the largest score is
    returned, which promises 1 / (n + 1), and a warning names n and the number that alpha needs.
    """
    scores = np.sort(np.asarray(calibration_scores, np.float64))
    n = len(scores)
    if too_few(n, false_positive_rate):
        needed = math.ceil(1 / Fraction(str(false_positive_rate))) - 1
        warnings.warn(f"{n} calibration images cannot promise a false-positive rate of {false_positive_rate:g}: "
                      f"{needed} are needed; the threshold is their largest score. Add normal images, or raise "
                      "protocol.calibration_fraction or protocol.false_positive_rate", stacklevel=2)
    return float(scores[min(_rank(n, false_positive_rate), n) - 1])


def too_few(n: int, alpha: float) -> bool:
    """True if n calibration images cannot promise a false-positive rate of alpha: n < 1 / alpha - 1."""
    return _rank(n, alpha) > n


def _rank(n: int, alpha: float) -> int:
    # in floating point (n + 1) * (1 - alpha) can land just above a whole number, and ceil would be off by one
    return math.ceil((n + 1) * (1 - Fraction(str(alpha))))
