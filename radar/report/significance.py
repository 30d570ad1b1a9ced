"""What another training would change, what share of a result is luck, and whether methods differ across datasets.

Tables, computed from the files that evaluation wrote: every seed's value; mean, t-interval over seeds and shares of
variance per dataset; mean ranks over datasets and categories, with the tests that so many of them allow.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from radar.evaluation import statistics
from radar.report.ablation import Ablation
from radar.report.latex import to_latex
from radar.report.tables import DASH, NOTHING, Block, Cell, Run, applicable, cell, grouped, to_markdown

REBUILD = "snakemake --cores all results/tables/statistics.md"
METRICS = (("image_auroc", "image AUROC"), ("f1", "F1"), ("pixel_aupro", "AUPRO"))
SEEDS = ["dataset", "category", "method", "metric", "seed", "value"]
STATISTICS = ["dataset", "category", "method", "metric", "mean", "t_low", "t_high", "n_seeds", "sd_test", "sd_seed",
              "sd_noise", "share_test", "share_seed", "share_noise"]
RANKS = ["metric", "method", "mean_rank", "n_blocks", "friedman_statistic", "friedman_p", "critical_difference"]
COMPARISONS = ["metric", "method", "other", "n_blocks", "median_difference", "p", "p_holm"]
FROM_CD = 5  # methods from which on ranks are compared by the critical difference; below, pair by pair
LEGEND = (
    "± is half of Student's 95 % interval over seeds: what another training, calibration split and draw of noise would "
    "change on the same test images. Every seed's value is in seeds.csv.",
    "Shares: of the variance of a single result, what the finite test set gives (bootstrap), what the seed gives "
    "(between seeds, less what is due to the test set), and of the latter what noise drawn at test time alone gives "
    "(redraws of the ablation study, where it was made; else the seed's share holds it).",
)


def seed_values(runs: Sequence[Run]) -> pd.DataFrame:
    """Every point: the columns SEEDS."""
    return pd.DataFrame([(*(run.record[name] for name in SEEDS[:3]), metric, run.record["seed"], value)
                         for run in runs for metric in run.record["metrics"]
                         if (value := run.value(metric)) is not None], columns=SEEDS)


def noise_variance(ablation: Ablation | None, method: dict, runs: Sequence[Run], metric: str) -> float:
    """Variance of a metric over redraws of the noise at test time, of the same trained method; NaN without redraws.

    method: as its YAML is; runs: its seeds on a dataset. One of the redraws must have a run's very scores: else data or
    training have changed since. As with seeds, what the finite test set gives is taken off, so that it can be negative.
    """
    pair = runs[0].record["dataset"], runs[0].record["category"]
    for study in ablation.studies.values() if ablation else ():
        if study.kind != "redraw":
            continue
        ours = [entry.variant for entry in study.on(pair).entries
                if _without_draw(entry.method) == _without_draw(method)]
        redraws = [run for name in dict.fromkeys(ours) for run in applicable(ablation.of(pair, name), metric)[:1]]
        if len(redraws) > 1 and all(metric in run.draws for run in redraws) and {*map(_scores, redraws)} & {
                *map(_scores, runs)} - {None}:
            return statistics.variance([run.value(metric) for run in redraws],
                                       [run.draws[metric] for run in redraws]).seed
    return math.nan


def _scores(run: Run) -> str | None:
    """The hash of the scores that a run was evaluated from."""
    return ((run.record.get("provenance") or {}).get("inputs_sha256") or {}).get("scores")


def _without_draw(method: dict) -> tuple:
    """What tells methods apart but for the noise that they draw and how they are called."""
    settings = {key: value for key, value in (method.get("settings") or {}).items()
                if key not in ("first_draw", "smoothing")}
    return method.get("class"), method.get("noise_predictor"), str(sorted(settings.items()))


def table(runs: Sequence[Run], methods: dict[str, dict], ablation: Ablation | None = None) -> pd.DataFrame:
    """Mean, t-interval and variances per dataset, method and metric: the columns STATISTICS.

    methods: name -> what its YAML says. A deviation whose variance is estimated below 0 is 0; what cannot be told is
    empty.
    """
    rows = []
    for pair, group in grouped(runs).items():
        for method, seeds in group.items():
            for metric in dict.fromkeys(name for run in seeds for name in run.record["metrics"]):
                valid = applicable(seeds, metric)
                if not valid:
                    continue
                values = [run.value(metric) for run in valid]
                parts = [math.nan] * 6
                if all(metric in run.draws for run in valid):
                    found = statistics.variance(values, [run.draws[metric] for run in valid])
                    noise = noise_variance(ablation, methods.get(method, {}), valid, metric)
                    parts = _parts(found, noise)
                rows.append((*pair, method, metric, np.mean(values), *statistics.t_interval(values), len(values),
                             *parts))
    return pd.DataFrame(rows, columns=STATISTICS)


def _parts(found: statistics.Variance, noise: float) -> list[float]:
    """Deviations (test, seed, noise), then their shares; the noise is a part of what the seed gives."""
    seed_share = found.seed_share()
    noise_share = math.nan
    if not math.isnan(noise) and not math.isnan(seed_share):
        noise_share = min(seed_share, max(noise, 0.0) / (found.test + max(found.seed, 0.0)))
    return [*(math.sqrt(max(one, 0.0)) if not math.isnan(one) else math.nan
              for one in (found.test, found.seed, noise)), 1 - seed_share, seed_share, noise_share]


def blocks_of(runs: Sequence[Run], metric: str) -> tuple[list[str], list[str], np.ndarray]:
    """(methods, datasets/categories, values [N, K], means over seeds) of all that have the metric for every method."""
    groups = {f"{dataset}/{category}": {method: valid for method, seeds in group.items()
                                        if (valid := applicable(seeds, metric))}
              for (dataset, category), group in grouped(runs).items()}
    names = list(dict.fromkeys(run.record["method"] for run in runs))
    whole = [name for name, group in groups.items() if group.keys() == set(names)]
    values = [[np.mean([run.value(metric) for run in groups[name][method]]) for method in names] for name in whole]
    return names, whole, np.array(values, float).reshape(len(whole), len(names))


def across(runs: Sequence[Run]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean ranks with Friedman's test (RANKS), and every pair by Wilcoxon's, corrected after Holm (COMPARISONS).

    runs: of datasets and categories themselves, not of means over categories.
    """
    of_ranks, of_pairs = [], []
    for metric, _ in METRICS:
        names, whole, values = blocks_of(runs, metric)
        if not whole or len(names) < 2:
            continue
        mean_ranks = statistics.ranks(values).mean(0)
        statistic, p = statistics.friedman(values)
        distance = (statistics.critical_difference(len(names), len(whole))
                    if len(names) >= FROM_CD and not math.isnan(p) else math.nan)
        of_ranks += [(metric, name, rank, len(whole), statistic, p, distance)
                     for name, rank in zip(names, mean_ranks, strict=True)]
        pairs = list(combinations(range(len(names)), 2))
        found = [statistics.wilcoxon(values[:, i], values[:, j]) for i, j in pairs]
        of_pairs += [(metric, names[i], names[j], len(whole), float(np.median(values[:, i] - values[:, j])), one, holm)
                     for (i, j), one, holm in zip(pairs, found, statistics.holm(found), strict=True)]
    return pd.DataFrame(of_ranks, columns=RANKS), pd.DataFrame(of_pairs, columns=COMPARISONS)


# Rendering


def statistics_blocks(table: pd.DataFrame, methods: Sequence[str], labels: dict[str, str]) -> list[Block]:
    """Per dataset a block: for each metric mean and t-interval over seeds, and the shares of variance."""
    blocks = []
    for (dataset, category), ours in table.groupby(["dataset", "category"], sort=False):
        shown = [(metric, label) for metric, label in METRICS if metric in set(ours["metric"])]
        columns = [(label, name, f"{label}: {name}") for _, label in shown
                   for name in ("mean", "test set", "seed", "noise")]
        n = sorted(set(ours.loc[ours["metric"].isin([metric for metric, _ in shown]), "n_seeds"]))
        caption = f"{' or '.join(map(str, n))} seed{'s' * (n != [1])}."
        if n[0] > 1:
            low, high = statistics.deviation_factors(n[0])
            caption += (f" From {n[0]} seeds a deviation is known to a factor of {low:.2f} to {high:.3g}, and the "
                        "shares with it.")
        block = Block(f"{dataset}/{category}", [caption], [], columns)
        for name in [one for one in methods if one in set(ours["method"])]:
            cells = []
            for metric, _ in shown:
                rows = ours[(ours["method"] == name) & (ours["metric"] == metric)]
                cells += _cells(rows.iloc[0]) if len(rows) else [NOTHING] * 4
            block.rows.append((labels.get(name, name), [], cells))
        blocks.append(block)
    return blocks


def _cells(row: pd.Series) -> list[Cell]:
    shares = [DASH if math.isnan(row[f"share_{part}"]) else f"{100 * row[f'share_{part}']:.0f} %"
              for part in ("test", "seed", "noise")]
    return [cell((row["mean"], row["t_low"], row["t_high"]), False), *map(Cell, shares)]


def ranks_block(ranks: pd.DataFrame, comparisons: pd.DataFrame, methods: Sequence[str],
                labels: dict[str, str]) -> Block:
    """Mean ranks per metric, and what the tests say, as one block."""
    shown = [(metric, label) for metric, label in METRICS if metric in set(ranks["metric"])]
    block = Block("Across datasets", [sentence(ranks, comparisons, metric, label) for metric, label in shown], [],
                  [("mean rank", label, f"mean rank, {label}") for _, label in shown])
    values = ranks.set_index(["metric", "method"])["mean_rank"]
    for name in methods:
        cells = [Cell(f"{values[metric, name]:.2f}") if (metric, name) in values.index else NOTHING
                 for metric, _ in shown]
        block.rows.append((labels.get(name, name), [], cells))
    return block


def sentence(ranks: pd.DataFrame, comparisons: pd.DataFrame, metric: str, label: str) -> str:
    """What the tests across datasets say of a metric, or why there is none."""
    ours, pairs = ranks[ranks["metric"] == metric], comparisons[comparisons["metric"] == metric]
    first = ours.iloc[0]
    n, k = int(first["n_blocks"]), len(ours)
    text = f"{label}: {k} methods on {n} dataset{'s' * (n != 1)} or categories"
    if not math.isnan(first["critical_difference"]):
        return (f"{text}; Friedman's statistic {first['friedman_statistic']:.2f}, p = {first['friedman_p']:.2g}; mean "
                f"ranks differ at 5 % where they lie {first['critical_difference']:.2f} apart (Nemenyi).")
    known = pairs.dropna(subset="p_holm")
    if k < FROM_CD and len(known):
        found = [f"{row.method} and {row.other} (p = {row.p_holm:.2g})" for row in known.itertuples()
                 if row.p_holm < 0.05]
        return f"{text}; by Wilcoxon's test, corrected after Holm, differ: {', '.join(found) or 'none'}."
    fewest = statistics.FEWEST_FRIEDMAN if k >= FROM_CD else 6
    return f"{text}: too few to test (it takes {fewest}), the ranks only describe them."


def markdown(blocks: Sequence[Block]) -> str:
    return to_markdown("Statistics", LEGEND, blocks, REBUILD)


def latex(blocks: Sequence[Block]) -> str:
    return to_latex("Statistics", LEGEND, blocks, REBUILD)

