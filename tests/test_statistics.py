"""Intervals cover what they promise, variances are told apart, and p-values are uniform where nothing differs."""

import math

import numpy as np
import pytest
from scipy import stats

from radar.evaluation import statistics
from radar.evaluation.bootstrap import interval, resample_weights
from radar.evaluation.metrics import image_metrics
from radar.evaluation.statistics import Variance


def within_binomial(count: int, n: int, rate: float) -> bool:
    """Whether `count` of `n` is what a rate gives, up to a chance of 1 in 10,000."""
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], n, rate)
    return low <= count <= high


def test_t_interval_by_hand_and_its_coverage():
    # mean 2, deviation 1, n = 3: 2 +- 4.302653 / sqrt(3)
    assert statistics.t_interval([1, 2, 3]) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    assert all(math.isnan(end) for end in statistics.t_interval([0.5]))
    rng = np.random.default_rng(0)
    ends = [statistics.t_interval(rng.normal(0.7, 0.1, 3)) for _ in range(2000)]
    assert within_binomial(sum(low <= 0.7 <= high for low, high in ends), 2000, 0.95)


def test_two_values_know_a_deviation_to_a_factor_of_thirty():
    low, high = statistics.deviation_factors(2)
    assert low == pytest.approx(0.446, abs=1e-3) and high == pytest.approx(31.9, abs=0.1)
    rng = np.random.default_rng(0)
    deviations = rng.normal(size=(4000, 4)).std(axis=1, ddof=1)
    low, high = statistics.deviation_factors(4)
    assert within_binomial(int(((low * deviations <= 1) & (1 <= high * deviations)).sum()), 4000, 0.95)


@pytest.mark.parametrize("events, n", [(0, 20), (1, 20), (7, 50), (20, 20)])
def test_clopper_pearson_is_the_exact_interval(events, n):
    expected = stats.binomtest(events, n).proportion_ci(method="exact")
    assert statistics.clopper_pearson(events, n) == pytest.approx((expected.low, expected.high))


def test_clopper_pearson_covers_at_least_what_it_promises_and_takes_means_over_seeds():
    ends = [statistics.clopper_pearson(k, 40) for k in range(41)]
    for rate in (0.01, 0.05, 0.3):
        covered = sum(stats.binom.pmf(k, 40, rate) for k, (low, high) in enumerate(ends) if low <= rate <= high)
        assert covered >= 0.95
    between = statistics.clopper_pearson(1.5, 40)
    assert ends[1][0] < between[0] < ends[2][0] and ends[1][1] < between[1] < ends[2][1]
    with pytest.raises(ValueError, match="0 to n events, not 3 of 2"):
        statistics.clopper_pearson(3, 2)


# Shares of variance


@pytest.mark.parametrize("seed_deviation, test_deviation, interaction", [(0.03, 0.04, 0.02), (0.0, 0.04, 0.03),
                                                                       (0.05, 0.01, 0.0)])
def test_variances_of_seed_and_test_set_are_told_apart(seed_deviation, test_deviation, interaction):
    """m(s, T) = a(s) + b(T) + c(s, T); the bootstrap draws new b and c around those of the test set at hand."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        values = (rng.normal(0, seed_deviation, 6) + rng.normal(0, test_deviation)
                  + rng.normal(0, interaction, 6))
        draws = values[:, None] + rng.normal(0, test_deviation, 200) + rng.normal(0, interaction, (6, 200))
        found.append(statistics.variance(values, draws))
    seed, test = np.mean([one.seed for one in found]), np.mean([one.test for one in found])
    assert test == pytest.approx(test_deviation**2 + interaction**2, rel=0.05)
    assert seed == pytest.approx(seed_deviation**2, rel=0.1, abs=1e-4)


def test_shares_add_up_and_one_seed_tells_nothing():
    assert Variance(test=3.0, seed=1.0).seed_share() == 0.25 and Variance(test=3.0, seed=-1.0).seed_share() == 0
    alone = statistics.variance([0.7], np.random.default_rng(0).normal(0.7, 0.1, (1, 500)))
    assert alone.test == pytest.approx(0.01, rel=0.2) and math.isnan(alone.seed) and math.isnan(alone.seed_share())


# Bootstrap


def test_the_paired_bootstrap_of_equal_methods_finds_a_difference_once_in_twenty():
    """Two scores of the same quality on the same images; the interval of the difference in AUROC excludes 0 at 5 %."""
    rng, runs = np.random.default_rng(0), 250
    label = np.arange(120) >= 60
    weights = resample_weights(label, 250, 0)
    excluded = []
    for _ in range(runs):
        common = rng.normal(size=120) + label
        first, second = (image_metrics(common + rng.normal(size=120), label, weights)["image_auroc"] for _ in range(2))
        low, high = interval(first - second)
        excluded.append(not low <= 0 <= high)
    assert within_binomial(sum(excluded), runs, 0.06)  # the percentile interval of so many images is a little short


# Across datasets


def test_ranks_share_ties_and_one_is_best():
    assert statistics.ranks([[0.9, 0.5, 0.7, 0.7]]).tolist() == [[1, 4, 2.5, 2.5]]


def test_friedman_by_hand():
    # every block ranks alike: the statistic is N (K - 1), Demsar's equation with mean ranks 1, 2, 3
    values = np.tile([0.9, 0.8, 0.7], (6, 1)) + np.arange(6)[:, None] / 100
    statistic, p = statistics.friedman(values)
    assert statistic == pytest.approx(12) and p == pytest.approx(stats.chi2.sf(12, 2))
    assert all(map(math.isnan, statistics.friedman(values[:4])))  # too few blocks
    assert all(map(math.isnan, statistics.friedman(values[:, :2])))
    assert all(map(math.isnan, statistics.friedman(np.ones((6, 3)))))


@pytest.mark.parametrize("methods, q", [(5, 2.728), (10, 3.164), (2, 1.960)])
def test_critical_difference_is_that_of_demsars_table(methods, q):
    expected = q * math.sqrt(methods * (methods + 1) / (6 * 14))
    assert statistics.critical_difference(methods, 14) == pytest.approx(expected, rel=1e-3)


def test_wilcoxon_by_hand_and_refused_where_nothing_could_be_significant():
    # all six differences positive: p = 2 / 2^6
    assert statistics.wilcoxon([2, 3, 4, 5, 6, 7], [1, 1, 1, 1, 1, 1]) == pytest.approx(2 / 64)
    assert math.isnan(statistics.wilcoxon([2, 3, 4, 5, 6], [1, 1, 1, 1, 1]))
    assert statistics.wilcoxon([1] * 6, [1] * 6) == 1


@pytest.mark.parametrize("test", ["friedman", "wilcoxon"])
def test_p_values_are_uniform_where_nothing_differs(test):
    rng, n = np.random.default_rng(1), 600
    if test == "friedman":
        p = np.array([statistics.friedman(rng.normal(size=(30, 5)))[1] for _ in range(n)])
    else:
        p = np.array([statistics.wilcoxon(*rng.normal(size=(2, 30))) for _ in range(n)])
    for level in (0.05, 0.25, 0.5):
        assert within_binomial(int((p <= level).sum()), n, level)


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx([0.03, 0.06, 0.06, math.nan], nan_ok=True)
    assert statistics.holm([0.6, 0.9]) == [1, 1]


def test_holm_keeps_the_error_of_the_whole_family():
    rng = np.random.default_rng(0)
    wrong = sum(min(statistics.holm(rng.uniform(size=10))) <= 0.05 for _ in range(2000))
    assert within_binomial(wrong, 2000, 1 - 0.995**10)


def test_the_interval_of_the_bootstrap_is_of_the_mean_over_seeds():
    rng = np.random.default_rng(0)
    draws = rng.normal(0.7, [[0.02], [0.04]], (2, 4000))
    low, high = interval(draws.mean(0))
    assert (high - low) / 2 == pytest.approx(1.96 * math.hypot(0.02, 0.04) / 2, rel=0.05)
