"""What the numbers of a run say, as tables: means with intervals, paired differences, winners, ranks, and the answer.

Draw i of a dataset resamples the same test images for every method and seed. An interval is therefore the percentile
interval of the mean over seeds, and two methods are compared by the interval of their paired difference. No interval
holds what another training would change, none is corrected for the number of comparisons. Nothing is formatted here.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pandas as pd

from radar.evaluation import statistics
from radar.report.load import KEY, Estimate, Pair, Results, Seeds, once

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
BLOCK = ["dataset", "category", "metric"]


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """The tables of a run by name."""
    every, (of_ranks, comparisons) = with_means(results), ranks(results)
    return {
        "results": results.frame(), "main": main_table(every), "differences": differences(every),
        # the single samples are in the files of the timing
        "timing": results.timing.drop(columns=["latency_ms", "latency_round"], errors="ignore"),
        "defects": results.defects, "records": every.records, "missing": results.missing,
        "statistics": by_seed(results), "ranks": of_ranks, "comparisons": comparisons, "answers": answers(every),
    }


def over_seeds(samples: Iterable[Estimate]) -> Estimate:
    """The mean over seeds, draw by draw: they are paired. NaN without any."""
    samples = list(samples) or [Estimate(math.nan)]
    return Estimate(float(np.mean([one.value for one in samples])),
                    np.mean(np.broadcast_arrays(*(one.draws for one in samples)), axis=0))


def contrast(ours: Seeds, theirs: Seeds) -> Estimate | None:
    """ours - theirs over the seeds that both have; None without any."""
    seeds = sorted(ours.keys() & theirs.keys())
    first, second = (over_seeds(side[seed] for seed in seeds) for side in (ours, theirs))
    return Estimate(first.value - second.value, first.draws - second.draws) if seeds else None


def difference(ours: Seeds, theirs: Seeds) -> tuple[float, float, float, int]:
    """ours - theirs, both ends of its 95 % interval, and over how many seeds; NaN where they share none."""
    found = contrast(ours, theirs) or Estimate(math.nan)
    return found.value, *found.ends(), len(ours.keys() & theirs.keys())


def average(parts: Sequence[Estimate]) -> Estimate:
    """The mean of numbers of different images, or of different moments.

    Their draws are independent; they come from one seed, and are shuffled by the part's place, so that equal numbers of
    images do not make them move together.
    """
    if len(parts) == 1:
        return parts[0]
    size = min(part.draws.size for part in parts)
    draws = [np.random.default_rng(place).permutation(part.draws[:size]) for place, part in enumerate(parts)]
    return Estimate(float(np.mean([part.value for part in parts])), np.mean(draws, axis=0))


def by_dataset(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """The categories of each dataset: {"printed/all": [...], "visa, mean of 12": [...]}."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair[0], []).append(pair)
    return {"/".join(group[0]) if len(group) == 1 else f"{dataset}, mean of {len(group)}": group
            for dataset, group in groups.items()}


def with_means(results: Results) -> Results:
    """The results, and before them every dataset of several categories as one, "mean of N": each metric's mean.

    Only of methods and seeds that have all the categories.
    """
    samples, records = {}, []
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
    return replace(results, samples=samples | results.samples,
                   records=pd.concat([*records, results.records])[results.records.columns])


# Accuracy


def main_table(results: Results) -> pd.DataFrame:
    """The mean over seeds of every metric, with the 95 % percentiles of its draws.

    Of a false-positive rate, which a bootstrap would call certain at 0, the exact binomial interval: the mean number of
    false alarms as that of one test of the normal images, since seeds that judge the same images are no further ones.
    What applies to no seed keeps its row, with an empty mean and n_seeds 0.
    """
    rows, normal = [], results.records.set_index([*KEY, "seed"])["n_test_normal"]
    for pair, metrics in results.samples.items():
        names = dict.fromkeys(name for methods in metrics.values() for name in methods)
        for method, metric in product(names, dict.fromkeys([*METRICS, *metrics])):
            if (seeds := metrics.get(metric, {}).get(method)) is None:
                continue
            found = over_seeds(seeds.values())
            ends = found.ends()
            if metric in FALSE_POSITIVE_RATES and seeds:
                n = min(normal[(*pair, method, seed)] for seed in seeds)
                ends = statistics.clopper_pearson(found.value * n, n)
            rows.append((*pair, method, metric, found.value, *ends, len(seeds)))
    return pd.DataFrame(rows, columns=[*KEY, "metric", "mean", "ci_low", "ci_high", "n_seeds"])


def differences(results: Results) -> pd.DataFrame:
    """Of every pair of methods the mean of one minus that of the other, over the seeds that both have, with its paired
    95 % interval. It is significant where 0 lies outside; nothing is corrected for the number of pairs."""
    rows = [(*pair, metric, method, other, *difference(methods[method], methods[other]))
            for pair, metrics in results.samples.items() for metric, methods in metrics.items()
            for method, other in combinations(methods, 2) if methods[method].keys() & methods[other].keys()]
    return pd.DataFrame(rows, columns=[*BLOCK, "method", "other", "difference", "ci_low", "ci_high", "n_seeds"])


def winners(main: pd.DataFrame, pairs: pd.DataFrame) -> set[tuple[str, str, str, str]]:
    """(dataset, category, metric, method) of what is better than every other method with a value beyond chance.

    None of false-positive rates, nor of a method alone. main, pairs: of main_table and differences.
    """
    others = main[~main["metric"].isin(FALSE_POSITIVE_RATES)].dropna(subset="mean").groupby(BLOCK).size() - 1
    mirrored = pairs.assign(method=pairs["other"], ci_low=-pairs["ci_high"])
    beaten = pd.concat([pairs, mirrored]).query("ci_low > 0").groupby([*BLOCK, "method"]).size()
    return {key for key, count in beaten.items() if count == others.get(key[:3])}


# Seeds and datasets


def by_seed(results: Results) -> pd.DataFrame:
    """What another seed would change.

    t_low, t_high: Student's 95 % interval over seeds, on the same test images. sd_*: deviations of a single result that
    are due to the finite test set, and to all that the seed decides; share_*: of their summed variances.
    """
    rows = []
    for pair, metrics in results.samples.items():
        for metric, method in ((metric, method) for metric, methods in metrics.items() for method in methods):
            seeds = metrics[metric][method].values()
            if not seeds:
                continue
            values = [one.value for one in seeds]
            found = statistics.variance(values, [one.draws for one in seeds])
            rows.append((*pair, method, metric, float(np.mean(values)), *statistics.t_interval(values), len(values),
                         *np.sqrt(np.maximum([found.test, found.seed], 0)), 1 - found.seed_share(), found.seed_share()))
    return pd.DataFrame(rows, columns=[*KEY, "metric", "mean", "t_low", "t_high", "n_seeds", "sd_test", "sd_seed",
                                       "share_test", "share_seed"])


def ranks(results: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean ranks over datasets and categories with Friedman's test, and every pair by Wilcoxon's, Holm's correction.

    Only of datasets on which every method has the metric.
    """
    of_ranks, of_pairs = [], []
    names = list(results.run.methods)
    for metric in RANKED:
        blocks = [methods for metrics in results.samples.values()
                  if all((methods := metrics.get(metric, {})).get(name) for name in names)]
        values = np.array([[over_seeds(one[name].values()).value for name in names] for one in blocks])
        if not blocks or len(names) < 2:
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


# The answer


def latency(timing: pd.DataFrame, pair: Pair, method: str) -> float:
    """Median latency [ms] on a dataset, the geometric mean over its categories for "mean of N"; NaN if not timed."""
    rows = timing[(timing["dataset"] == pair[0]) & (timing["method"] == method)]
    if pair[1] != f"mean of {len(rows)}":
        rows = rows[rows["category"] == pair[1]]
    return math.exp(np.log(rows["latency_ms_median"].astype(float)).mean())


QUESTIONS = {  # ours against theirs: families of methods, or the literal reading against all others
    "skipping - reconstructing": ("skipping", "reconstructing"),
    "skipping - statistical": ("skipping", "statistical"),
    "radar - best other": ("radar", None),
}


def answers(results: Results) -> pd.DataFrame:
    """What skipping the reconstruction buys.

    Of each family the method with the best image AUROC of the dataset, both picked on its test images; RADAR as its
    paper has it against the best of all others. latency_ratio: ours over theirs, NaN where one was not timed. Of a
    dataset with a mean over its categories, see with_means, only of that.
    """
    families, records = {name: method.get("family") for name, method in results.run.methods.items()}, results.records
    images = (records["n_test_normal"] + records["n_test_anomalous"]).groupby([
        records["dataset"], records["category"]]).max()
    rows = []
    for pair in once(results.samples):
        methods = {name: seeds for name, seeds in results.samples[pair].get(ANSWERED, {}).items() if seeds}
        best = sorted(methods, key=lambda name: over_seeds(methods[name].values()).value, reverse=True)
        for question, (first, second) in QUESTIONS.items():
            ours = next((name for name in best if first in (families[name], name)), None)
            theirs = next((name for name in best if (families[name] == second if second else name != first)), None)
            if ours and theirs and methods[ours].keys() & methods[theirs].keys():
                *found, n_seeds = difference(methods[ours], methods[theirs])
                ratio = latency(results.timing, pair, ours) / latency(results.timing, pair, theirs)
                rows.append((question, *pair, ours, theirs, *found, ratio, int(images[pair]), n_seeds))
    return pd.DataFrame(rows, columns=["question", "dataset", "category", "ours", "theirs", "difference", "ci_low",
                                       "ci_high", "latency_ratio", "n_test", "n_seeds"])


def nested_means(main: pd.DataFrame) -> dict:
    """main_table as {"dataset/category": {method: {metric: mean}}} for `dvc metrics`, rounded to 6 digits."""
    nested: dict = {}
    for row in main.dropna(subset="mean").itertuples():
        methods = nested.setdefault(f"{row.dataset}/{row.category}", {})
        methods.setdefault(row.method, {})[row.metric] = round(row.mean, 6)
    return nested
