"""How sure a result is: intervals over seeds and of rates, shares of variance, tests across datasets.

What speaks of new test images is in radar.evaluation.bootstrap. Here: what another training would change, how exactly a
false-positive rate is known, and whether methods differ over several datasets (Demsar, "Statistical Comparisons of
Classifiers over Multiple Data Sets", JMLR 7, 2006).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

FEWEST_FRIEDMAN = 5  # blocks; below, the chi-square distribution of the statistic is far off


def t_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean of independent values [N], one per seed; (NaN, NaN) for a single one.

    It speaks of new seeds on the same test images.
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    half = stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n)
    return float(values.mean() - half), float(values.mean() + half)


def deviation_factors(n: int, level: float = 0.95) -> tuple[float, float]:
    """By what the standard deviation of n normal values is to be multiplied for its interval (chi-square)."""
    if n < 2:
        return math.nan, math.nan
    low, high = stats.chi2.ppf([(1 + level) / 2, (1 - level) / 2], n - 1)
    return math.sqrt((n - 1) / low), math.sqrt((n - 1) / high)


def clopper_pearson(events: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval of a rate: `events` of `n` (Clopper & Pearson, Biometrika 26, 1934).

    events: 0 ... n; a mean over seeds need not be whole, and lies between the intervals of its neighbours.
    Raises ValueError if it is out of range.
    """
    if n < 1 or not 0 <= events <= n:
        raise ValueError(f"a rate needs 0 to n events, not {events} of {n}")
    tail = (1 - level) / 2
    low = 0.0 if events == 0 else float(stats.beta.ppf(tail, events, n - events + 1))
    high = 1.0 if events == n else float(stats.beta.ppf(1 - tail, events + 1, n - events))
    return low, high


class Variance(NamedTuple):
    """Variances of one result, a metric of one training on one test set.

    test: by the finite test set. seed: by all that the seed decides (training, calibration split, noise at test time),
    an unbiased estimate, which can be negative: then no effect of the seed is seen. NaN where it cannot be told.
    """

    test: float
    seed: float

    def seed_share(self) -> float:
        """The seed's share of the sum, in 0..1; NaN where the sum is 0 or unknown."""
        seed = float(np.maximum(self.seed, 0))  # which NaN stays
        return seed / (self.test + seed) if self.test + seed > 0 else math.nan


def variance(values: ArrayLike, draws: ArrayLike) -> Variance:
    """From values [S], one per seed on the same test images, and their paired bootstrap draws [S, D].

    With m(s, T) = a(s) + b(T) + c(s, T) for seed s and test set T: the draws of one seed vary by b and c, which is
    `test`. The values vary over seeds by a and c, on this test set; the draws, averaged, by a and twice c, so that the
    difference is c, and the rest a, which is `seed`.
    """
    values, draws = np.asarray(values, np.float64), np.asarray(draws, np.float64)
    test = float(np.nanvar(draws, axis=1, ddof=1).mean())
    if len(values) < 2:
        return Variance(test, math.nan)
    between = float(values.var(ddof=1))
    interaction = float(np.nanmean(draws.var(axis=0, ddof=1))) - between
    return Variance(test, between - interaction)


# Across datasets


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks [N, K] of K methods in each of N blocks (datasets or categories), 1 = best = largest; ties share."""
    return stats.rankdata(-np.asarray(values, np.float64), axis=1)


def friedman(values: ArrayLike) -> tuple[float, float]:
    """Friedman's statistic, corrected for ties, and its p-value: do K methods differ over N blocks?

    values: [N, K]. (NaN, NaN) for fewer than three methods or FEWEST_FRIEDMAN blocks, or if all are tied.
    """
    values = np.asarray(values, np.float64)
    n, k = values.shape
    if k < 3 or n < FEWEST_FRIEDMAN or (values == values[:, :1]).all():
        return math.nan, math.nan
    statistic, p = stats.friedmanchisquare(*values.T)
    return float(statistic), float(p)


def critical_difference(methods: int, blocks: int, alpha: float = 0.05) -> float:
    """Nemenyi's: mean ranks of K methods over N blocks differ if they lie further apart (Demsar, eq. in section 3.2.2).

    CD = q sqrt(K (K + 1) / (6 N)), q the studentized range statistic for K groups, divided by sqrt(2).
    """
    q = stats.studentized_range.ppf(1 - alpha, methods, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(methods * (methods + 1) / (6 * blocks)))


def wilcoxon(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test over blocks; NaN where none could be below 0.05.

    first, second: [N]. The smallest p of N blocks is 2^(1 - N), so that it takes six.
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    if 2.0 ** (1 - len(difference)) >= 0.05:
        return math.nan
    return 1.0 if not difference.any() else float(stats.wilcoxon(difference).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, Scandinavian J. of Statistics 6, 1979); NaN stays NaN."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")  # NaN last
    left = np.count_nonzero(~np.isnan(values)) - np.arange(len(values))
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(left * values[order]))
    return corrected.tolist()
