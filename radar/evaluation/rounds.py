"""Timing in rounds: what takes turns within a round meets the same moment of the machine. Imports no torch.

A sample is (round, seconds). A drift of the machine's speed is in the samples, and cancels in the ratio of two things
within a round.
"""

import math
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from statistics import median
from typing import TypeVar

import numpy as np

TAIL = 100  # samples from which on a 99th percentile is given: with fewer it would be the maximum or made up

Sample = tuple[int, float]  # round, seconds
Key = TypeVar("Key", bound=Hashable)


def turns(expected: float, rounds: int, repeats: int, seconds: float) -> tuple[int, int]:
    """(calls in a row per round, takes part in every so-manieth round) of what takes `expected` seconds a call.

    All rounds together shall take about `seconds` and be at most `repeats` calls; what would take twice as long with
    one call a round comes in every second round only.
    """
    calls = min(round(seconds / rounds / expected), repeats // rounds)
    return max(1, calls), 2 if rounds * expected > 2 * seconds else 1


def in_turns(calls: dict[Key, Callable[[], object]], plan: dict[Key, tuple[int, int]],
             rounds: int) -> dict[Key, list[Sample]]:
    """(round, seconds) of each call, made in rounds as `plan` says (see turns); each round starts with another one."""
    taken: dict[Key, list[Sample]] = {name: [] for name in calls}
    order = list(calls)
    for index in range(rounds):
        first = index % len(order) if order else 0
        for name in order[first:] + order[:first]:
            count, every = plan[name]
            for _ in range(count if index % every == 0 else 0):
                start = time.perf_counter()
                calls[name]()
                taken[name].append((index, time.perf_counter() - start))
    return taken


def latency(samples: Sequence[Sample]) -> dict:
    """The samples in milliseconds with their rounds, and median, p90, p99 (None below TAIL samples) and maximum."""
    milliseconds = 1000 * np.array([taken for _, taken in samples])
    return {
        "latency_ms_median": float(np.median(milliseconds)), "latency_ms_p90": float(np.quantile(milliseconds, 0.9)),
        "latency_ms_p99": float(np.quantile(milliseconds, 0.99)) if len(samples) >= TAIL else None,
        "latency_ms_max": float(milliseconds.max()), "latency_samples": len(samples),
        "latency_ms": [round(one, 4) for one in milliseconds.tolist()],
        "latency_round": [index for index, _ in samples],
    }


def round_medians(samples: Iterable[Sample]) -> dict[int, float]:
    """round -> the median of its samples."""
    rounds: dict[int, list[float]] = {}
    for index, taken in samples:
        rounds.setdefault(index, []).append(taken)
    return {index: median(values) for index, values in rounds.items()}


def within_rounds(ours: Iterable[Sample], theirs: Iterable[Sample]) -> tuple[float, float | None, float | None, int]:
    """Median over the common rounds of ours / theirs, each the median of its round; its 95 % interval; the rounds.

    Both are from the same moments, so that a drift of the machine's speed cancels.
    """
    first, second = round_medians(ours), round_medians(theirs)
    values = [first[index] / second[index] for index in sorted(first.keys() & second.keys())]
    return median(values), *median_interval(values), len(values)


def median_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | tuple[None, None]:
    """The interval of the median by the sign test, from order statistics; (None, None) for fewer than 6 values.

    The k-th smallest and the k-th largest of n values, k the largest with 2 P(B < k) <= 1 - level, B binomial (n, 1/2):
    exact for independent values of any distribution (Thompson, Annals of Mathematical Statistics 7, 1936).
    """
    n, k, below = len(values), 0, 0
    while 2 * (below + math.comb(n, k)) <= (1 - level) * 2**n:
        below += math.comb(n, k)
        k += 1
    ordered = sorted(values)
    return (ordered[k - 1], ordered[n - k]) if k else (None, None)
