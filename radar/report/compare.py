"""What the numbers of a run say, as tables: means with intervals, paired differences, winners, ranks, and the answer.

Draw i of a dataset resamples the same test images for every method and seed. An interval is therefore the percentile
interval of the mean over seeds, and two methods are compared by the interval of their paired difference. No interval
holds what another training would change, none is corrected for the number of comparisons. Nothing is formatted here.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pandas as pd

from radar.evaluation import statistics
from radar.report.load import KEY, Estimate, Pair, Results, Seeds

METRICS = (
    "image_auroc", "image_ap", "image_f1_max_oracle",
    "accuracy", "precision", "recall", "f1", "false_positive_rate_measured",
    "own_accuracy", "own_precision", "own_recall", "own_f1", "own_false_positive_rate",
    "pixel_auroc", "pixel_ap", "pixel_f1_max_oracle", "pixel_aupro",
)
FALSE_POSITIVE_RATES = ("false_positive_rate_measured", "own_false_positive_rate")  # a promise, not a contest
RANKED = ("image_auroc", "f1", "pixel_aupro")
ANSWERED = "image_auroc"
# how the records of categories become that of their mean
SUMMED = {"n_calibration": "min", "calibration_too_small": "max", "false_positive_rate": "max", "threshold": "mean",
          **dict.fromkeys(("n_test_normal", "n_test_anomalous", "n_test_unlabelled"), "sum"),
          **dict.fromkeys(("commit", "dirty", "scores_sha256"), "first")}
FROM_CD = 5  # methods from which on ranks are compared by the critical difference; below, pair by pair


def over_seeds(samples: Iterable[Estimate]) -> Estimate:
    """The mean over seeds, draw by draw: they are paired. NaN without any."""
    samples = list(samples)
    draws = [one.draws for one in samples if one.draws is not None]
    return Estimate(float(np.mean([one.value for one in samples])) if samples else math.nan,
                    np.mean(draws, axis=0) if samples and len(draws) == len(samples) else None)


def contrast(ours: Seeds, theirs: Seeds) -> tuple[Estimate, int] | None:
    """ours - theirs over the seeds that both have, and how many these are; None without any."""
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    first, second = (over_seeds(side[seed] for seed in seeds) for side in (ours, theirs))
    draws = None if first.draws is None or second.draws is None else first.draws - second.draws
    return Estimate(first.value - second.value, draws), len(seeds)


def average(parts: Sequence[Estimate]) -> Estimate:
    """The mean of numbers of different images, or of different moments.

    Their draws are independent; they come from one seed, and are shuffled by the part's place, so that equal numbers of
    images do not make them move together.
    """
    value = float(np.mean([part.value for part in parts]))
    draws = [part.draws for part in parts if part.draws is not None]
    if len(draws) < len(parts) or len(parts) == 1:
        return Estimate(value, draws[0] if draws and len(parts) == 1 else None)
    size = min(map(len, draws))
    return Estimate(value, np.mean([np.random.default_rng(place).permutation(one[:size])
                                    for place, one in enumerate(draws)], axis=0))


def by_dataset(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """The categories of each dataset: {"printed/all": [...], "visa, mean of 12": [...]}."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair[0], []).append(pair)
    return {"/".join(group[0]) if len(group) == 1 else f"{dataset}, mean of {len(group)}": group
            for dataset, group in groups.items()}


def category_means(results: Results) -> Results:
    """Every dataset of several categories as one, "mean of N": each metric's mean over them; the others are left out.

    Only of methods and seeds that have all the categories.
    """
    samples: dict[Pair, dict[str, dict[str, Seeds]]] = {}
    records = [results.records[:0]]
    for pairs in by_dataset(results.samples).values():
        if len(pairs) < 2:
            continue
        mean, parts = (pairs[0][0], f"mean of {len(pairs)}"), [results.samples[pair] for pair in pairs]
        samples[mean] = {metric: {method: {
            seed: average([one[metric][method][seed] for one in parts]) for seed in seeds
            if all(seed in one.get(metric, {}).get(method, {}) for one in parts)}
            for method, seeds in methods.items()} for metric, methods in parts[0].items()}
        ours = results.records[results.records["dataset"] == mean[0]]
        records.append(ours.groupby(["dataset", "method", "seed"], sort=False).agg(SUMMED).reset_index().assign(
            category=mean[1]))
    return replace(results, samples=samples, records=pd.concat(records)[results.records.columns])


# Accuracy


def main_table(results: Results) -> pd.DataFrame:
    """dataset, category, method, metric, mean, ci_low, ci_high, n_seeds; means over categories first.

    mean: over seeds. ci_low, ci_high: 95 % percentiles of the draws of that mean; of a false-positive rate the exact
    binomial interval, see `rate_interval`. What applies to no seed keeps its row, with an empty mean and n_seeds 0.
    """
    rows = []
    for part in (category_means(results), results):
        normal = part.records.set_index([*KEY, "seed"])["n_test_normal"]
        for pair, metrics in part.samples.items():
            methods = dict.fromkeys(name for methods in metrics.values() for name in methods)
            order = [*(name for name in METRICS if name in metrics), *(name for name in metrics if name not in METRICS)]
            for method, metric in product(methods, order):
                if (seeds := metrics[metric].get(method)) is None:
                    continue
                found = over_seeds(seeds.values())
                ends = found.ends()
                if metric in FALSE_POSITIVE_RATES and seeds:
                    ends = rate_interval(found.value, min(int(normal[(*pair, method, seed)]) for seed in seeds))
                rows.append((*pair, method, metric, found.value, *ends, len(seeds)))
    return pd.DataFrame(rows, columns=[*KEY, "metric", "mean", "ci_low", "ci_high", "n_seeds"]).astype(
        dict.fromkeys(("mean", "ci_low", "ci_high"), float))


def rate_interval(rate: float, n: int) -> tuple[float, float]:
    """The exact binomial interval of a rate of n normal test images, mean over seeds; (NaN, NaN) without any.

    Seeds judge the same images, so that they are no further ones: the mean number of false alarms is taken as that of
    one test of so many images. A bootstrap would call a rate of 0 certain.
    """
    return statistics.clopper_pearson(rate * n, n) if n else (math.nan, math.nan)


def differences(results: Results) -> pd.DataFrame:
    """Every pair of methods: dataset, category, metric, method, other, difference, ci_low, ci_high, n_seeds.

    difference: mean of method minus mean of other over the seeds that both have, with its paired 95 % interval. It is
    significant where 0 lies outside; nothing is corrected for the number of pairs.
    """
    rows = []
    for part in (category_means(results), results):
        for pair, metrics in part.samples.items():
            for metric, methods in metrics.items():
                for method, other in combinations([name for name, seeds in methods.items() if seeds], 2):
                    if found := contrast(methods[method], methods[other]):
                        rows.append((*pair, metric, method, other, found[0].value, *found[0].ends(), found[1]))
    return pd.DataFrame(rows, columns=["dataset", "category", "metric", "method", "other", "difference", "ci_low",
                                       "ci_high", "n_seeds"])


def winners(main: pd.DataFrame, pairs: pd.DataFrame) -> set[tuple[str, str, str, str]]:
    """(dataset, category, metric, method) of the best whose difference to every other method with a value is above 0
    beyond chance; none of false-positive rates, nor of a method alone. main, pairs: of main_table and differences."""
    found = set()
    both = pd.concat([pairs, pairs.rename(columns={"method": "other", "other": "method"}).assign(
        ci_low=-pairs["ci_high"])])
    lowest = both.groupby(["dataset", "category", "metric", "method"])["ci_low"].agg(["min", "count", "size"])
    known = main[~main["metric"].isin(FALSE_POSITIVE_RATES)].dropna(subset="mean")
    for (dataset, category, metric), group in known.groupby(["dataset", "category", "metric"], sort=False):
        best = (dataset, category, metric, group.loc[group["mean"].idxmax(), "method"])
        if len(group) > 1 and best in lowest.index:
            row = lowest.loc[best]
            if row["count"] == row["size"] == len(group) - 1 and row["min"] > 0:
                found.add(best)
    return found


# Seeds and datasets


def by_seed(results: Results) -> pd.DataFrame:
    """What another seed would change: dataset, category, method, metric, mean, t_low, t_high, n_seeds, sd_test,
    sd_seed, share_test, share_seed.

    t_low, t_high: Student's 95 % interval over seeds, on the same test images. sd_*: deviations of a single result that
    are due to the finite test set, and to all that the seed decides; share_*: of their summed variances.
    """
    rows = []
    for pair, metrics in results.samples.items():
        for metric, methods in metrics.items():
            for method, seeds in methods.items():
                values = [one.value for one in seeds.values()]
                draws = [one.draws for one in seeds.values() if one.draws is not None]
                if not values:
                    continue
                found = (statistics.variance(values, draws) if len(draws) == len(values)
                         else statistics.Variance(math.nan, math.nan))
                deviations = np.sqrt(np.maximum([found.test, found.seed], 0))
                rows.append((*pair, method, metric, float(np.mean(values)), *statistics.t_interval(values), len(values),
                             *deviations, 1 - found.seed_share(), found.seed_share()))
    return pd.DataFrame(rows, columns=[*KEY, "metric", "mean", "t_low", "t_high", "n_seeds", "sd_test", "sd_seed",
                                       "share_test", "share_seed"])


def ranks(results: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean ranks over datasets and categories with Friedman's test, and every pair by Wilcoxon's, Holm's correction.

    (metric, method, mean_rank, n_blocks, friedman_statistic, friedman_p, critical_difference) and (metric, method,
    other, n_blocks, median_difference, p, p_holm). Only of datasets on which every method has the metric.
    """
    of_ranks, of_pairs = [], []
    names = list(results.run.methods)
    for metric in RANKED:
        blocks = [methods for metrics in results.samples.values()
                  if all((methods := metrics.get(metric, {})).get(name) for name in names)]
        values = np.array([[over_seeds(one[name].values()).value for name in names] for one in blocks], float)
        if not len(values) or len(names) < 2:
            continue
        statistic, p = statistics.friedman(values)
        distance = (statistics.critical_difference(len(names), len(values))
                    if len(names) >= FROM_CD and not math.isnan(p) else math.nan)
        of_ranks += [(metric, name, rank, len(values), statistic, p, distance)
                     for name, rank in zip(names, statistics.ranks(values).mean(0), strict=True)]
        pairs = list(combinations(range(len(names)), 2))
        found = [statistics.wilcoxon(values[:, i], values[:, j]) for i, j in pairs]
        of_pairs += [(metric, names[i], names[j], len(values), float(np.median(values[:, i] - values[:, j])), one, holm)
                     for (i, j), one, holm in zip(pairs, found, statistics.holm(found), strict=True)]
    return (pd.DataFrame(of_ranks, columns=["metric", "method", "mean_rank", "n_blocks", "friedman_statistic",
                                            "friedman_p", "critical_difference"]),
            pd.DataFrame(of_pairs, columns=["metric", "method", "other", "n_blocks", "median_difference", "p",
                                            "p_holm"]))


# Timing


def timing_table(timing: pd.DataFrame) -> pd.DataFrame:
    """A row per timed method, as timing.json has it, without the single samples; images_per_s_by_batch as JSON."""
    table = timing.drop(columns=[name for name in ("latency_ms", "latency_round") if name in timing])
    for name in [one for one in ("images_per_s_by_batch", "image_shape") if one in table]:
        table[name] = table[name].map(json.dumps)
    first = [*KEY, "device", "device_name", "threads"]
    return table[[*(name for name in first if name in table), *(name for name in table if name not in first)]]


def latency(timing: pd.DataFrame, pair: Pair, method: str) -> float:
    """Median latency [ms] on a dataset, the geometric mean over its categories for "mean of N"; NaN if not timed."""
    rows = timing[(timing["dataset"] == pair[0]) & (timing["method"] == method)]
    if not pair[1].startswith("mean of "):
        rows = rows[rows["category"] == pair[1]]
    elif f"mean of {len(rows)}" != pair[1]:
        return math.nan
    return math.exp(np.log(rows["latency_ms_median"].astype(float)).mean()) if len(rows) else math.nan


# The answer


QUESTIONS = {  # ours against theirs: families of methods, or the literal reading against all others
    "skipping - reconstructing": ("skipping", "reconstructing"),
    "skipping - statistical": ("skipping", "statistical"),
    "radar - best other": ("radar", None),
}


def units(results: Results) -> Results:
    """Every dataset once: by the mean over its categories where it has several of them."""
    means = category_means(results)
    averaged = {pair[0] for pair in means.samples}
    return replace(results, records=pd.concat([means.records, results.records]), samples=means.samples | {
        pair: metrics for pair, metrics in results.samples.items() if pair[0] not in averaged})


def answers(results: Results) -> pd.DataFrame:
    """What skipping the reconstruction buys: question, dataset, category, ours, theirs, difference, ci_low, ci_high,
    latency_ratio, n_test, n_seeds.

    Of each family the method with the best image AUROC of the dataset, both picked on its test images; RADAR as its
    paper has it against the best of all others. latency_ratio: ours over theirs, NaN where one was not timed.
    """
    def best(methods: Mapping[str, Seeds]) -> str | None:
        return max(methods, key=lambda name: over_seeds(methods[name].values()).value, default=None)

    families, once = {name: method.get("family") for name, method in results.run.methods.items()}, units(results)
    images = once.records[["n_test_normal", "n_test_anomalous"]].sum(axis=1)
    tested = images.groupby([once.records["dataset"], once.records["category"]]).max()
    rows = []
    for pair, metrics in once.samples.items():
        methods = {name: seeds for name, seeds in metrics.get(ANSWERED, {}).items() if seeds}
        for question, (first, second) in QUESTIONS.items():
            ours = best({name: one for name, one in methods.items() if first in (families[name], name)})
            theirs = best({name: one for name, one in methods.items()
                           if (families[name] == second if second else name != first)})
            if ours and theirs and (found := contrast(methods[ours], methods[theirs])):
                ratio = latency(results.timing, pair, ours) / latency(results.timing, pair, theirs)
                rows.append((question, *pair, ours, theirs, found[0].value, *found[0].ends(), ratio, int(tested[pair]),
                             found[1]))
    return pd.DataFrame(rows, columns=["question", "dataset", "category", "ours", "theirs", "difference", "ci_low",
                                       "ci_high", "latency_ratio", "n_test", "n_seeds"])


def nested_means(main: pd.DataFrame) -> dict:
    """main_table as {"dataset/category": {method: {metric: mean}}} for `dvc metrics`, rounded to 6 digits."""
    nested: dict = {}
    for row in main.dropna(subset="mean").itertuples():
        methods = nested.setdefault(f"{row.dataset}/{row.category}", {})
        methods.setdefault(row.method, {})[row.metric] = round(row.mean, 6)
    return nested
