"""Timing in rounds: what takes turns within a round meets the same moment of the machine. Imports no torch.

Samples are a Series of seconds, its index the rounds. A drift of the machine's speed is in the samples, and cancels in
the ratio of two things within a round.
"""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import pandas as pd
from scipy import stats

TAIL = 100  # samples from which on a 99th percentile is given: with fewer it would be the maximum or made up

Key = TypeVar("Key", bound=Hashable)


def turns(expected: float, rounds: int, repeats: int, seconds: float) -> tuple[int, int]:
    """(calls in a row per round, takes part in every so-manieth round) of what takes `expected` seconds a call.

    All rounds together shall take about `seconds` and be at most `repeats` calls; what would take twice as long with
    one call a round comes in every second round only.
    """
    calls = min(round(seconds / rounds / expected), repeats // rounds)
    return max(1, calls), 2 if rounds * expected > 2 * seconds else 1


def in_turns(calls: Mapping[Key, Callable[[], object]], plan: Mapping[Key, tuple[int, int]],
             rounds: int) -> dict[Key, pd.Series]:
    """The samples of each call, made in rounds as `plan` says (see turns); each round starts with another one."""
    taken: dict[Key, list[tuple[int, float]]] = {name: [] for name in calls}
    order = list(calls)
    for index in range(rounds):
        first = index % max(1, len(order))
        for name in order[first:] + order[:first]:
            count, every = plan[name]
            for _ in range(count if index % every == 0 else 0):
                start = time.perf_counter()
                calls[name]()
                taken[name].append((index, time.perf_counter() - start))
    return {name: pd.Series([second for _, second in pairs], [index for index, _ in pairs], float)
            for name, pairs in taken.items()}


def latency(samples: pd.Series) -> dict:
    """The samples in milliseconds with their rounds, and median, p90 and p99 (None below TAIL samples)."""
    milliseconds = 1000 * samples
    return {
        "latency_ms_median": milliseconds.median(), "latency_ms_p90": milliseconds.quantile(0.9),
        "latency_ms_p99": milliseconds.quantile(0.99) if len(samples) >= TAIL else None,
        "latency_ms": milliseconds.round(4).tolist(), "latency_round": samples.index.tolist(),
    }


def round_medians(samples: pd.Series) -> pd.Series:
    """The median of each round."""
    return samples.groupby(level=0).median()


def within_rounds(ours: pd.Series, theirs: pd.Series) -> tuple[float, float | None, float | None]:
    """Median over the common rounds of ours / theirs, each the median of its round, and its 95 % interval.

    Both are from the same moments, so that a drift of the machine's speed cancels.
    """
    ratios = (round_medians(ours) / round_medians(theirs)).dropna()
    return ratios.median(), *median_interval(ratios)


def median_interval(values: pd.Series, level: float = 0.95) -> tuple[float, float] | tuple[None, None]:
    """The interval of the median by the sign test, from order statistics; (None, None) for fewer than 6 values.

    The k-th smallest and the k-th largest of n values, k the largest with 2 P(B < k) <= 1 - level, B binomial (n, 1/2):
    exact for independent values of any distribution (Thompson, Annals of Mathematical Statistics 7, 1936).
    """
    k = int(stats.binom.ppf((1 - level) / 2, len(values), 0.5))
    return (values.nsmallest(k).max(), values.nlargest(k).min()) if k else (None, None)
