"""The tables of a run: accuracy with bootstrap intervals, timing, their Markdown and LaTeX, and a terminal summary.

Everything is computed from the files that evaluation and timing wrote; nothing is measured here. The bootstrap draws
of a dataset are paired: draw i resamples the same test images for every method and seed. An interval is therefore the
percentile interval of the mean over seeds, and two methods are compared by the interval of their paired difference.
"""

import json
import math
import re
import textwrap
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from radar.evaluation.bootstrap import interval, paired_difference
from radar.evaluation.statistics import clopper_pearson
from radar.files import last_line, sha256
from radar.report.blocks import DASH, NOTHING, Block, Cell
from radar.report.latex import to_latex

REBUILD = "snakemake --cores all results/tables/main.md"

METRICS = (
    "image_auroc", "image_ap", "image_f1_max_oracle",
    "accuracy", "precision", "recall", "f1", "false_positive_rate_measured",
    "own_accuracy", "own_precision", "own_recall", "own_f1", "own_false_positive_rate",
    "pixel_auroc", "pixel_ap", "pixel_f1_max_oracle", "pixel_aupro",
)
# What the terminal and the tables by category show.
SUMMARY = ("image_auroc", "f1", "false_positive_rate_measured", "pixel_auroc", "pixel_aupro")
LOWER_IS_BETTER = frozenset({"false_positive_rate_measured", "own_false_positive_rate"})

# metric, group, label within the group, full label. {promised} becomes the promised false-positive rate.
MAIN_COLUMNS = (
    ("image_auroc", "image", "AUROC", "image AUROC"),
    ("image_ap", "image", "AP", "image AP"),
    ("image_f1_max_oracle", "image", "F1-max (oracle)", "image F1-max (oracle)"),
    ("accuracy", "calibrated", "accuracy", "accuracy"),
    ("precision", "calibrated", "precision", "precision"),
    ("recall", "calibrated", "recall", "recall"),
    ("f1", "calibrated", "F1", "F1"),
    ("false_positive_rate_measured", "calibrated", "FPR (promised {promised})", "FPR (promised {promised})"),
    ("own_f1", "own decision", "F1 (forest)", "own decision F1 (forest)"),
    ("pixel_auroc", "pixel", "AUROC", "pixel AUROC"),
    ("pixel_ap", "pixel", "AP", "pixel AP"),
    ("pixel_f1_max_oracle", "pixel", "F1-max (oracle)", "pixel F1-max (oracle)"),
    ("pixel_aupro", "pixel", "AUPRO", "AUPRO"),
)
TIMING_COLUMNS = (
    ("latency, batch 1", "median [ms]", "latency median [ms]"),
    ("latency, batch 1", "p90 [ms]", "latency p90 [ms]"),
    ("latency, batch 1", "p99 [ms]", "latency p99 [ms]"),
    ("latency, batch 1", "ratio to {first}", "ratio to {first}"),
    ("throughput", "images/s", "images/s"),
    ("throughput", "at batch", "at batch"),
    ("cost of one image", "NFE", "NFE"),
    ("cost of one image", "GFLOPs", "GFLOPs"),
    ("memory", "parameters [M]", "parameters [M]"),
    ("memory", "peak [MB]", "peak memory [MB]"),
    ("training", "images", "training images"),
    ("training", "seconds", "training [s]"),
)
COST_COLUMNS = (
    ("parts of one image [ms]", "tiling", "tiling [ms]"),
    ("parts of one image [ms]", "features", "frozen features [ms]"),
    ("parts of one image [ms]", "noise predictor", "noise predictor [ms]"),
    ("parts of one image [ms]", "other network", "other network [ms]"),
    ("parts of one image [ms]", "rest", "scoring and the rest [ms]"),
    ("prediction", "1 evaluation [ms]", "one evaluation [ms]"),
    ("prediction", "NFE × it [ms]", "predicted: NFE × it, and other networks [ms]"),
    ("prediction", "measured/predicted", "measured/predicted"),
    ("once", "cold start [s]", "cold start [s]"),
)
MAIN_LEGEND = (
    "± is half the width of the 95 % bootstrap interval over test images, stratified by label; its two ends are in "
    "main.csv. In brackets, of a false-positive rate: the exact binomial 95 % interval for so many normal test images "
    "(seeds judge the same images, and do not make them more).",
    "Bold: best, and the 95 % interval of the paired difference to every other method with a value excludes 0; where "
    "nothing is bold there is no such winner. False-positive rates (FPR) are never bold.",
    "Accuracy, precision, recall, F1 and FPR are at the threshold calibrated on normal images. Only the columns called "
    "oracle choose their threshold on test labels.",
    f"{DASH} is not applicable: pixel metrics need masks, and only some methods decide by themselves.",
)
TIMING_LEGEND = (
    "Inside the timed region: from the uint8 image in memory to its score and map at input size, back in memory, with "
    "the copies to and from the device, which is synchronised. Outside: reading and shrinking the file, imports, "
    "warm-up. Latency is at batch 1, throughput at the best batch size. NFE: evaluations of the noise predictor per "
    "image; methods on features add a pass of the frozen network, DiffusionAD one of its segmentation network.",
    "The methods take turns in rounds; the ratio is the median over rounds of a method's latency over that of the "
    "first method in the same round, ± half its 95 % interval (sign test). A 99th percentile is given from 100 samples "
    "on. "
    "All samples and their rounds are in timing.json beside each detector.",
    "Training: patches, or maps of features, that went through the trained network, and the seconds that this took on "
    "one thread; methods that share a noise predictor have the same.",
    f"{DASH} is not measured or not applicable.",
)
COST_LEGEND = (
    "Parts: one prediction of one image, instrumented in passes of their own, so that no instrument touches the "
    "latency; nested parts count once. Predicted: NFE times one evaluation of the noise predictor on the image's "
    "tiles, and the frozen features and other networks once, each timed alone in the same rounds; measured/predicted "
    "is the median over rounds, ± half its 95 % interval.",
    "Cold start: from the first byte of the detector's files to its first prediction, in a process of its own, imports "
    "left out.",
)
KEY = ["dataset", "category", "method"]
MAIN_TABLE = [*KEY, "metric", "mean", "ci_low", "ci_high", "n_seeds"]
# Parts of a prediction, and what predicts its latency; a method may lack each.
COSTS = ["tiling_ms", "features_ms", "noise_predictor_ms", "other_network_ms", "rest_ms", "evaluation_ms",
         "predicted_ms", "measured_to_predicted", "measured_to_predicted_low", "measured_to_predicted_high",
         "cold_start_s"]
TIMING_TABLE = [*KEY, "device", "batch_size", "latency_ms_median", "latency_ms_p90", "latency_ms_p99", "latency_ms_max",
                "latency_samples", "ratio_to", "ratio", "ratio_low", "ratio_high", "images_per_s",
                "images_per_s_by_batch", "nfe", "parameters", "gflops", "peak_memory_mb", "training_images",
                "training_s", *COSTS]

BUSY = 0.25  # cores that others may use while methods are timed

Missing = tuple[str, str, str, str]  # dataset, category, method, reason


class InputError(Exception):
    """A file that cannot be used. One line that names it and says what to do."""


# Reading


@dataclass(frozen=True)
class Run:
    """One evaluated seed of a method on a dataset: the record of metrics.json, and draws [D] per metric."""

    record: dict
    draws: dict[str, np.ndarray]

    def value(self, metric: str) -> float | None:
        """The metric; None if it is not applicable or undefined."""
        value = self.record["metrics"].get(metric)
        return None if value is None or np.isnan(value) else float(value)


def read_json(path: Path, keys: Iterable[str] = ()) -> dict:
    """A JSON object that has all of `keys`. Raises InputError."""
    try:
        record = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise InputError(f"{path} is missing: make it with snakemake --cores all") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON ({error}): delete it and run snakemake --cores all") from None
    absent = [key for key in keys if key not in record] if isinstance(record, dict) else list(keys)
    if absent or not isinstance(record, dict):
        raise InputError(f"{path} has no {', '.join(absent)}: delete it and run snakemake --cores all")
    return record


def read_csv(path: Path, columns: Sequence[str], **options) -> pd.DataFrame:
    """A CSV file that has all of `columns`. Raises InputError."""
    try:
        table = pd.read_csv(path, **options)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: make it with snakemake --cores all") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable CSV ({error}): delete it and run snakemake --cores all") from None
    if absent := [column for column in columns if column not in table]:
        raise InputError(f"{path} has no column {', '.join(absent)}: delete it and run snakemake --cores all")
    return table


def read_npz(path: Path, names: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, which has all of `names`. Raises InputError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise InputError(f"{path} is missing: make it with snakemake --cores all") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path} is not a readable .npz file: delete it and run snakemake --cores all") from None
    if absent := [name for name in names if name not in arrays]:
        raise InputError(f"{path} has no array {', '.join(absent)}: delete it and run snakemake --cores all")
    return arrays


def read_runs(metric_files: Sequence[Path], bootstrap_files: Sequence[Path]) -> list[Run]:
    """Each metrics.json with the bootstrap.npz of its folder. A metric without draws has no interval.

    Raises InputError if a file cannot be read, a run is there twice, or the draws of a dataset are not paired.
    """
    bootstraps = {Path(path).parent: Path(path) for path in bootstrap_files}
    runs: list[Run] = []
    seen: dict[tuple, Path] = {}
    lengths: dict[tuple, int] = {}
    for path in map(Path, metric_files):
        record = read_json(path, (*KEY, "seed", "metrics"))
        key = (*(record[name] for name in KEY), record["seed"])
        if key in seen:
            raise InputError(f"{path} repeats the run of {seen[key]}: delete one of them")
        seen[key] = path
        draws = {}
        if bootstrap := bootstraps.get(path.parent):
            draws = {name: np.atleast_1d(array).astype(float) for name, array in read_npz(bootstrap).items()}
            for name, array in draws.items():
                if lengths.setdefault(key[:2], array.size) != array.size or array.ndim != 1:
                    raise InputError(f"{bootstrap} holds {array.shape} draws of {name}, other methods "
                                     f"{lengths[key[:2]]}: delete it and run snakemake --cores all")
        runs.append(Run(record, draws))
    return runs


def grouped(runs: Sequence[Run]) -> dict[tuple[str, str], dict[str, list[Run]]]:
    """(dataset, category) -> method -> its seeds, in the order given."""
    groups: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for run in runs:
        dataset, category, method = (run.record[name] for name in KEY)
        groups.setdefault((dataset, category), {}).setdefault(method, []).append(run)
    return groups


# Statistics


def mean_over_categories(runs: Sequence[Run]) -> list[Run]:
    """A run per method and seed of every dataset with several categories: each metric's mean over them.

    Only of methods and seeds that have all the categories, and of metrics that apply in all. Categories have other
    images, so their draws are independent; they come from one seed, and are shuffled, by the category's place and alike
    for all methods, so that equal numbers of images do not make them move together.
    """
    datasets: dict[str, dict[str, dict[tuple[str, int], Run]]] = {}
    for run in runs:
        dataset, category, method = (run.record[name] for name in KEY)
        datasets.setdefault(dataset, {}).setdefault(category, {})[method, run.record["seed"]] = run
    means = []
    for dataset, categories in datasets.items():
        if len(categories) < 2:
            continue
        everywhere = [key for key in next(iter(categories.values())) if all(key in one for one in categories.values())]
        for key in everywhere:
            parts = [one[key] for one in categories.values()]
            metrics, draws = {}, {}
            for name in parts[0].record["metrics"]:
                values = [part.value(name) for part in parts]
                metrics[name] = None if None in values else float(np.mean(values))
                if None not in values and all(name in part.draws for part in parts):
                    draws[name] = np.mean([part.draws[name][np.random.default_rng(place).permutation(
                        len(part.draws[name]))] for place, part in enumerate(parts)], axis=0)
            record = {"dataset": dataset, "category": f"mean of {len(categories)}", "method": key[0], "seed": key[1],
                      "metrics": metrics, "provenance": parts[0].record.get("provenance"),
                      "false_positive_rate": parts[0].record.get("false_positive_rate"),
                      "calibration_too_small": any(part.record.get("calibration_too_small") for part in parts)}
            record |= {name: sum(part.record.get(name) or 0 for part in parts)
                       for name in ("n_test_normal", "n_test_anomalous")}
            record["n_calibration"] = min(part.record.get("n_calibration") or 0 for part in parts)
            means.append(Run(record, draws))
    return means


def seed_mean(runs: Sequence[Run], metric: str) -> np.ndarray | None:
    """Draws of the mean over seeds [D]: draw by draw, since they are paired. None if a run has no draws."""
    arrays = [run.draws[metric] for run in runs if metric in run.draws]
    return np.mean(arrays, axis=0) if arrays and len(arrays) == len(runs) else None


def applicable(runs: Sequence[Run], metric: str) -> list[Run]:
    return [run for run in runs if run.value(metric) is not None]


def main_table(metric_files: Sequence[Path], bootstrap_files: Sequence[Path]) -> pd.DataFrame:
    """The long table of these files: see summarise."""
    return summarise(read_runs(metric_files, bootstrap_files))


def summarise(runs: Sequence[Run]) -> pd.DataFrame:
    """Long table: dataset, category, method, metric, mean, ci_low, ci_high, n_seeds.

    mean: over seeds. ci_low, ci_high: 95 % percentiles of the bootstrap draws, averaged over seeds draw by draw; of a
    false-positive rate the exact binomial interval, see rate_interval.
    A metric that is null for every seed keeps its row with an empty mean and n_seeds 0: it is not applicable.
    """
    rows = []
    for (dataset, category), methods in grouped(runs).items():
        for method, seeds in methods.items():
            present = dict.fromkeys(name for run in seeds for name in run.record["metrics"])
            names = [*(name for name in METRICS if name in present), *(name for name in present if name not in METRICS)]
            for metric in names:
                valid = applicable(seeds, metric)
                mean = float(np.mean([run.value(metric) for run in valid])) if valid else float("nan")
                draws = seed_mean(valid, metric)
                low, high = interval(draws) if draws is not None else (float("nan"), float("nan"))
                if metric in LOWER_IS_BETTER and valid:
                    low, high = rate_interval(valid, metric)
                rows.append((dataset, category, method, metric, mean, low, high, len(valid)))
    return pd.DataFrame(rows, columns=MAIN_TABLE).astype({"mean": float, "ci_low": float, "ci_high": float})


def rate_interval(runs: Sequence[Run], metric: str) -> tuple[float, float]:
    """The exact binomial interval of a rate of normal test images, mean over seeds; (NaN, NaN) if they are not counted.

    Seeds judge the same images, so that they are no further ones: the mean number of false alarms is taken as that of
    one test of so many images. A bootstrap would call a rate of 0 certain.
    """
    n = min(run.record.get("n_test_normal") or 0 for run in runs)
    rate = float(np.mean([run.value(metric) for run in runs]))
    return clopper_pearson(rate * n, n) if n else (float("nan"), float("nan"))


def best_significant(runs: Sequence[Run]) -> pd.DataFrame:
    """The significant winners: dataset, category, metric, method; at most one row per dataset, category and metric.

    A method wins if its mean is the best and the 95 % interval of its paired difference to every other method
    excludes 0; the difference is taken over the seeds that both have. A method alone does not win, nor does any by a
    low false-positive rate: the promise is a rate, not the lowest one.
    """
    rows = []
    for (dataset, category), methods in grouped(runs).items():
        named = dict.fromkeys(name for seeds in methods.values() for run in seeds for name in run.record["metrics"])
        for metric in [name for name in named if name not in LOWER_IS_BETTER]:
            valid = {method: kept for method, seeds in methods.items() if (kept := applicable(seeds, metric))}
            if len(valid) < 2:
                continue
            best = max(valid, key=lambda method: np.mean([run.value(metric) for run in valid[method]]))
            if all(_exceeds(valid[best], valid[other], metric) for other in valid if other != best):
                rows.append((dataset, category, metric, best))
    return pd.DataFrame(rows, columns=["dataset", "category", "metric", "method"])


def differences(runs: Sequence[Run]) -> pd.DataFrame:
    """Every pair of methods: dataset, category, metric, method, other, difference, ci_low, ci_high, n_seeds.

    difference: mean of method minus mean of other over the seeds that both have; ci_low, ci_high: 95 % percentiles of
    the paired bootstrap draws of it. The difference is significant where 0 lies outside; nothing is corrected for the
    number of pairs.
    """
    rows = []
    for (dataset, category), methods in grouped(runs).items():
        named = dict.fromkeys(name for seeds in methods.values() for run in seeds for name in run.record["metrics"])
        for metric in named:
            valid = {method: kept for method, seeds in methods.items() if (kept := applicable(seeds, metric))}
            for method, other in combinations(valid, 2):
                ours, theirs = common(valid[method], valid[other])
                if not ours:
                    continue
                means = [np.mean([run.value(metric) for run in side]) for side in (ours, theirs)]
                first, second = seed_mean(ours, metric), seed_mean(theirs, metric)
                ends = (np.nan, np.nan) if first is None or second is None else paired_difference(first, second)
                rows.append((dataset, category, metric, method, other, means[0] - means[1], *ends, len(ours)))
    return pd.DataFrame(rows, columns=["dataset", "category", "metric", "method", "other", "difference", "ci_low",
                                       "ci_high", "n_seeds"])


def common(ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The runs of both methods with the seeds that both have, in the order of the seeds."""
    seeds = sorted({run.record["seed"] for run in ours} & {run.record["seed"] for run in theirs})
    return tuple([next(run for run in runs if run.record["seed"] == seed) for seed in seeds] for runs in (ours, theirs))


def _exceeds(ours: Sequence[Run], theirs: Sequence[Run], metric: str) -> bool:
    """Whether the 95 % interval of the paired difference ours - theirs lies above 0, over their common seeds."""
    first, second = (seed_mean(runs, metric) for runs in common(ours, theirs))
    return first is not None and second is not None and paired_difference(first, second)[0] > 0


def read_timings(timing_files: Sequence[Path]) -> list[dict]:
    """The records of timing.json files. Raises InputError."""
    return [read_json(path, TIMING_TABLE) for path in timing_files]


def timing_table(timing_files: Sequence[Path]) -> pd.DataFrame:
    """One row per timed method with the columns TIMING_TABLE; a value that was not measured is empty.

    images_per_s_by_batch: a JSON object, batch size -> images per second.
    """
    rows = [[record[name] for name in TIMING_TABLE] for record in read_timings(timing_files)]
    whole = dict.fromkeys(("batch_size", "latency_samples", "parameters", "training_images"), "Int64")
    text = (*KEY, "device", "ratio_to", "images_per_s_by_batch", "nfe")
    measured = dict.fromkeys((name for name in TIMING_TABLE if name not in (*whole, *text)), float)
    table = pd.DataFrame(rows, columns=TIMING_TABLE).astype(whole | measured)
    table["images_per_s_by_batch"] = table["images_per_s_by_batch"].map(json.dumps)
    return table


def metrics_json(table: pd.DataFrame) -> dict:
    """main_table as {"dataset/category": {method: {metric: mean}}} for `dvc metrics`, rounded to 6 digits.

    What is not applicable is left out: it has no number.
    """
    nested: dict = {}
    for row in table.dropna(subset="mean").itertuples():
        methods = nested.setdefault(f"{row.dataset}/{row.category}", {})
        methods.setdefault(row.method, {})[row.metric] = round(row.mean, 6)
    return nested


# Layout: blocks, one per dataset, that Markdown, LaTeX and the terminal render alike


def short(value: float) -> str:
    """Three decimals without the leading zero: .873, 1.000."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.3f}")


def rounded(value: float | None) -> str:
    """Three significant digits, never in exponential notation: 0.0123, 41.2, 12300; a dash for None."""
    if value is None or pd.isna(value):
        return DASH
    value = float(f"{value:.2e}")
    return "0" if value == 0 else f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def signed(value: float) -> str:
    """Three decimals with a sign, without the leading zero: +.031, -.120; 0 itself has no sign."""
    return ".000" if value == 0 else re.sub(r"^([+-])0\.", r"\1.", f"{value:+.3f}")


def with_interval(value: float, low: float, high: float) -> str:
    """A signed number with its interval in brackets, where that is known."""
    return signed(value) + ("" if math.isnan(low) else f" [{signed(low)}, {signed(high)}]")


def percent(rate: float) -> str:
    return f"{100 * rate:g} %"


def main_blocks(runs: Sequence[Run], methods: Sequence[str] = (), labels: dict[str, str] | None = None,
                missing: Sequence[Missing] = ()) -> list[Block]:
    """The main table as one block per dataset and category, one row per method in the order of `methods`.

    missing: (dataset, category, method, reason); a method without results gets a row of dashes and a note.
    """
    values = {row[:4]: row[4:7] for row in summarise(runs).itertuples(index=False, name=None)}
    winners = set(best_significant(runs).itertuples(index=False, name=None))
    groups = grouped(runs)
    blocks = []
    for dataset, category in _pairs(groups, missing):
        group = groups.get((dataset, category), {})
        everything = [run for seeds in group.values() for run in seeds]
        promised = " or ".join(map(percent, _unique(everything, "false_positive_rate"))) or "unknown"
        columns = [(kind, label.format(promised=promised), full.format(promised=promised))
                   for _, kind, label, full in MAIN_COLUMNS]
        reasons = _reasons(missing, dataset, category)
        # Nobody has beaten a method that is not there.
        complete = reasons.keys() <= group.keys()
        cells = {name: [cell(values.get((dataset, category, name, metric)),
                              complete and (dataset, category, metric, name) in winners, metric)
                         for metric, *_ in MAIN_COLUMNS]
                 for name in group}
        block = Block(f"{dataset}/{category}", main_caption(everything), main_warnings(everything), columns)
        if not complete and group:
            block.warnings.append("Warning: a method is missing, so that no winner is named.")
        blocks.append(_fill(block, methods, cells, reasons, labels or {}))
    return blocks


def category_blocks(runs: Sequence[Run], means: Sequence[Run], methods: Sequence[str] = (),
                    labels: dict[str, str] | None = None) -> list[Block]:
    """For every dataset with several categories and every metric of the summary: a row per category and one of the
    mean.

    means: what mean_over_categories gave. Columns are the methods.
    """
    values = {row[:4]: row[4:7] for row in summarise([*runs, *means]).itertuples(index=False, name=None)}
    blocks = []
    for dataset in dict.fromkeys(run.record["dataset"] for run in means):
        ours = [run for run in [*runs, *means] if run.record["dataset"] == dataset]
        shown = list(dict.fromkeys(run.record["method"] for run in ours))
        shown = [*(name for name in methods if name in shown), *(name for name in shown if name not in methods)]
        names = [(labels or {}).get(name, name) for name in shown]
        for metric, _, _, full in MAIN_COLUMNS:
            if metric not in SUMMARY or all(run.value(metric) is None for run in ours):
                continue
            promised = " or ".join(map(percent, _unique(ours, "false_positive_rate")))
            block = Block(f"{dataset}: {full.format(promised=promised)} by category", [], [],
                          [("methods", name, name) for name in names], head="category")
            for category in dict.fromkeys(run.record["category"] for run in ours):
                block.rows.append((category, [], [cell(values.get((dataset, category, name, metric)), False, metric)
                                                  for name in shown]))
            blocks.append(block)
    return blocks


def timing_blocks(records: Sequence[dict], methods: Sequence[str] = (), labels: dict[str, str] | None = None,
                  missing: Sequence[Missing] = ()) -> list[Block]:
    """The timing table as one block per dataset and category, one row per method in the order of `methods`."""
    blocks = []
    for dataset, category in _pairs(((record["dataset"], record["category"]) for record in records), missing):
        group = [record for record in records if (record["dataset"], record["category"]) == (dataset, category)]
        cells = {record["method"]: _timing_cells(record) for record in group}
        first = " or ".join(dict.fromkeys((labels or {}).get(one["ratio_to"], one["ratio_to"]) for one in group))
        columns = [(kind, short_name.format(first=first), full.format(first=first))
                   for kind, short_name, full in TIMING_COLUMNS]
        block = Block(f"{dataset}/{category}", *_timing_caption(group), columns)
        blocks.append(_fill(block, methods, cells, _reasons(missing, dataset, category), labels or {}))
    return blocks


def cost_blocks(records: Sequence[dict], methods: Sequence[str] = (),
                labels: dict[str, str] | None = None) -> list[Block]:
    """Where the time goes and the throughput at every batch size: a block per dataset, one row per method."""
    blocks = []
    for dataset, category in _pairs(((record["dataset"], record["category"]) for record in records), []):
        group = [record for record in records if (record["dataset"], record["category"]) == (dataset, category)]
        sizes = sorted({int(size) for record in group for size in record["images_per_s_by_batch"]})
        columns = [*COST_COLUMNS, *(("images/s at batch", str(size), f"images/s at batch {size}") for size in sizes)]
        block = Block(f"{dataset}/{category}: where the time goes", [], _nfe_warnings(group), columns)
        cells = {record["method"]: _cost_cells(record, sizes) for record in group}
        blocks.append(_fill(block, methods, cells, {}, labels or {}))
    return blocks


def _pairs(keys: Iterable[tuple[str, str]], missing: Sequence[Missing]) -> list[tuple[str, str]]:
    """Datasets in the order of the results, then those of which everything is missing."""
    return list(dict.fromkeys([*keys, *((dataset, category) for dataset, category, *_ in missing)]))


def _reasons(missing: Sequence[Missing], dataset: str, category: str) -> dict[str, str]:
    """method -> why something of it is missing."""
    reasons: dict[str, list[str]] = {}
    for where_dataset, where_category, method, reason in missing:
        if (where_dataset, where_category) == (dataset, category):
            reasons.setdefault(method, []).append(" ".join(str(reason).split()))
    return {method: "; ".join(dict.fromkeys(lines)) for method, lines in reasons.items()}


def _fill(block: Block, methods: Sequence[str], cells: dict[str, list[Cell]], reasons: dict[str, str],
          labels: dict[str, str]) -> Block:
    """Add a row per method, in the order asked for; one without cells gets dashes, one with a reason a note."""
    present = dict.fromkeys([*cells, *reasons])
    for name in [*(name for name in methods if name in present), *(name for name in present if name not in methods)]:
        numbers = []
        if name in reasons:
            what = "incomplete" if name in cells else "missing"
            block.notes.append(f"{labels.get(name, name)} is {what}: {reasons[name]}")
            numbers.append(len(block.notes))
        block.rows.append((labels.get(name, name), numbers, cells.get(name, [NOTHING] * len(block.columns))))
    return block


def cell(values: tuple[float, float, float] | None, bold: bool, metric: str = "") -> Cell:
    """The mean and half the width of its interval; of a rate, whose interval is lopsided, both ends."""
    if values is None or math.isnan(values[0]):
        return NOTHING
    mean, low, high = values
    if metric in LOWER_IS_BETTER and not math.isnan(low):
        return Cell(f"{short(mean)} [{short(low)}, {short(high)}]")
    return Cell(short(mean), "" if math.isnan(low) else short((high - low) / 2), bold)


def _unique(runs: Iterable[Run], key: str) -> list:
    return sorted({run.record[key] for run in runs if run.record.get(key) is not None})


def _span(values: Sequence) -> str:
    """One number, or the range of several."""
    return DASH if not values else str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def main_caption(runs: Sequence[Run]) -> list[str]:
    if not runs:
        return ["No method was evaluated."]
    seeds = _unique(runs, "seed")
    without = [count for count in _unique(runs, "n_test_unlabelled") if count]
    tested = (f"{_span(without)} test images without labels, so that there are scores, maps and decisions, and no "
              "metrics" if without else f"{_span(_unique(runs, 'n_test_normal'))} normal and "
              f"{_span(_unique(runs, 'n_test_anomalous'))} anomalous test images")
    return [f"Mean over {len(seeds)} seed{'s' * (len(seeds) != 1)} ({', '.join(map(str, seeds))}); {tested}; threshold "
            f"calibrated on {_span(_unique(runs, 'n_calibration'))} normal images." + _commits(runs)]


def _commits(runs: Sequence[Run]) -> str:
    """At which commit the runs were evaluated, as a sentence; nothing if they do not say."""
    provenances = [run.record.get("provenance") or {} for run in runs]
    commits = sorted({one["commit"][:10] + " with local changes" * bool(one.get("commit_dirty"))
                      for one in provenances if one.get("commit")})
    return f" Commit {', '.join(commits)}." if commits else ""


def main_warnings(runs: Sequence[Run]) -> list[str]:
    """A line, if the calibration split is too small to keep the promised false-positive rate."""
    small = [run for run in runs if run.record.get("calibration_too_small")]
    if not small:
        return []
    promised = " or ".join(map(percent, _unique(small, "false_positive_rate"))) or "the stated rate"
    return [f"Warning: the calibration set ({_span(_unique(small, 'n_calibration'))} images) is too small to promise a "
            f"false-positive rate of {promised}."]


def _timing_cells(record: dict) -> list[Cell]:
    def whole(name: str) -> str:
        return DASH if record[name] is None else f"{record[name]:g}"

    millions = None if record["parameters"] is None else record["parameters"] / 1e6
    return [Cell(text) for text in (
        rounded(record["latency_ms_median"]), rounded(record["latency_ms_p90"]), rounded(record["latency_ms_p99"]))] + [
        _ratio_cell(record, "ratio")] + [Cell(text) for text in (
            rounded(record["images_per_s"]), whole("batch_size"), whole("nfe"), rounded(record["gflops"]),
            rounded(millions), rounded(record["peak_memory_mb"]), whole("training_images"),
            rounded(record["training_s"]))]


def _cost_cells(record: dict, sizes: Sequence[int]) -> list[Cell]:
    throughput = {int(size): value for size, value in record["images_per_s_by_batch"].items()}
    names = [name for name in COSTS if not name.startswith("measured_to_predicted")]
    cells = {name: Cell(rounded(record[name])) for name in names}
    return [*(cells[name] for name in names[:7]), _ratio_cell(record, "measured_to_predicted"),
            *(cells[name] for name in names[7:]), *(Cell(rounded(throughput.get(size))) for size in sizes)]


def _ratio_cell(record: dict, name: str) -> Cell:
    """A ratio, and half of its interval where there is one."""
    value, low, high = (record[name + end] for end in ("", "_low", "_high"))
    if value is None:
        return NOTHING
    return Cell(rounded(value), "" if low is None else rounded((high - low) / 2))


def _nfe_warnings(records: Sequence[dict]) -> list[str]:
    """A line per method that evaluates its noise predictor more or less often than it says."""
    return [f"Warning: {one['method']} says NFE {one['nfe']:g}, {one['evaluations']:g} evaluations were counted."
            for one in records if one.get("evaluations") and one["evaluations"] != one["nfe"]]


def _timing_caption(records: Sequence[dict]) -> tuple[list[str], list[str]]:
    """Caption lines (the device first), and warnings."""
    if not records:
        return ["No method was timed."], []
    devices = list(dict.fromkeys(device_text(record) for record in records))
    shapes = dict.fromkeys("×".join(map(str, record["image_shape"])) for record in records if record.get("image_shape"))
    lines = [f"Timed on {'; '.join(devices)}."]
    if shapes:
        lines.append(f"Image: {' and '.join(shapes)} (channels × height × width).")
    mixed = "Warning: not all methods were timed on the same device and threads; do not compare their times."
    others = max(record.get("cores_of_others") or 0.0 for record in records)
    busy = (f"Warning: other processes used {others:.1f} cores while this was timed, so that the times are too long, "
            "up to a hundredfold; time it again on an idle machine: the same command with --forcerun time_methods")
    return lines, [mixed] * (len(devices) > 1) + [busy] * (others > BUSY)


def device_text(record: dict) -> str:
    """Kind and name of the device of a timing, and its threads."""
    threads, name = record.get("threads"), record.get("device_name")
    text = record["device"] if name in (None, "", record["device"]) else f"{record['device']} ({name})"
    return text if threads is None else f"{text}, {threads} thread{'s' * (threads != 1)}"


# Rendering


def main_markdown(blocks: Sequence[Block]) -> str:
    """What main_blocks gave, as Markdown."""
    return to_markdown("Accuracy", MAIN_LEGEND, blocks)


def references(methods: Sequence[str], labels: dict[str, str], citations: dict[str, str]) -> str:
    """A Markdown list of what the methods are cited as, in their order; empty without citations."""
    lines = [f"- {labels.get(name, name)}: {citations[name]}" for name in methods if name in citations]
    return "\n## References\n\n" + "\n".join(lines) + "\n" if lines else ""


def main_latex(blocks: Sequence[Block]) -> str:
    """What main_blocks gave, as LaTeX."""
    return to_latex("Accuracy", MAIN_LEGEND, blocks, REBUILD)


def timing_markdown(blocks: Sequence[Block]) -> str:
    """What timing_blocks and cost_blocks gave, as Markdown."""
    return to_markdown("Timing", (*TIMING_LEGEND, *COST_LEGEND), blocks, REBUILD.replace("main", "timing"))


def timing_latex(blocks: Sequence[Block]) -> str:
    """What timing_blocks and cost_blocks gave, as LaTeX."""
    return to_latex("Timing", (*TIMING_LEGEND, *COST_LEGEND), blocks, REBUILD.replace("main", "timing"))


def to_markdown(title: str, legend: Sequence[str], blocks: Sequence[Block], rebuild: str = REBUILD) -> str:
    """GitHub-flavoured Markdown: a legend, then a heading, caption, table and notes per block; rebuild: the command."""
    def clean(text: str) -> str:
        return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")

    def row(label: str, numbers: Sequence[int], cells: Sequence[Cell]) -> list[str]:
        return [clean(label) + "".join(f" [{number}]" for number in numbers),
                *(f"**{cell.plain()}**" if cell.bold else cell.plain() for cell in cells)]

    parts = [f"# {title}", f"Rebuild with `{rebuild}` and the `--config` of the run, if it had one.",
             "\n".join(f"- {line}" for line in legend)]
    for block in blocks:
        lines = [" ".join(map(clean, block.caption)), *(f"**{clean(line)}**" for line in block.warnings)]
        parts += [f"## {clean(block.title)}", "\n\n".join(lines)]
        head = [block.head, *(clean(full) for *_, full in block.columns)]
        parts.append(tabulate([row(*entry) for entry in block.rows], head, "github", disable_numparse=True))
        parts += [f"[{number}] {clean(note)}" for number, note in enumerate(block.notes, 1)]
    return "\n\n".join(parts) + "\n"


def terminal_summary(accuracy: Sequence[Block], timing: Sequence[Block]) -> str:
    """The main numbers of main_blocks and timing_blocks as plain text of at most 110 columns."""
    where = [index for index, (metric, *_) in enumerate(MAIN_COLUMNS) if metric in SUMMARY]
    nfe = [label for _, label, _ in TIMING_COLUMNS].index("NFE")
    times = {(block.title, label): cells for block in timing for label, _, cells in block.rows}
    untimed = {(block.title, label): [block.notes[number - 1] for number in numbers]
               for block in timing for label, numbers, _ in block.rows}
    parts = []
    for block in accuracy:
        fpr = next(full for _, _, full in block.columns if full.startswith("FPR")).replace("promised ", "")
        table = [["method", *(f"{text} " for text in ("image AUROC", "F1", fpr, "pixel AUROC", "AUPRO")), "latency ms",
                  "NFE"]]
        for label, numbers, cells in block.rows:
            time = times.get((block.title, label), [NOTHING] * len(TIMING_COLUMNS))
            table.append([label + "".join(f" [{number}]" for number in numbers),
                          *(cells[index].plain().partition(" [")[0] + (" ", "*")[cells[index].bold] for index in where),
                          time[0].text, time[nfe].text])
        below = [*block.warnings, *(f"[{number}] {note}" for number, note in enumerate(block.notes, 1)),
                 *(f"Latency of {note}" for label, numbers, _ in block.rows if not numbers
                   for note in untimed.get((block.title, label), []))]
        parts.append("\n".join([block.title, *_aligned(table), *map(_wrapped, below)]))
    legend = ("F1 and FPR at the calibrated threshold (in brackets the promised FPR); ± half the 95 % bootstrap "
              "interval over test images; * best, and significantly better than every other; "
              f"{DASH} not applicable; latency: median at batch 1.")
    devices = dict.fromkeys(block.caption[0] for block in timing)
    warnings = dict.fromkeys(line for block in timing for line in block.warnings)
    return "\n\n".join([*parts, "\n".join(map(_wrapped, [legend, *devices, *warnings]))]) + "\n"


TERMINAL = 110


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text, the first one a head; the first column is cut where the row would exceed TERMINAL characters."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    widths[0] = min(widths[0], TERMINAL - sum(widths[1:]) - 2 * len(widths[1:]))
    lines = []
    for first, *rest in table:
        mark = (re.search(r"( \[\d+\])*$", first) or [""])[0]
        name = first if len(first) <= widths[0] else first[: widths[0] - len(mark) - 1] + "…" + mark
        cells = [name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(rest, widths[1:], strict=True))]
        lines.append("  ".join(cells))
    lines.insert(1, "  ".join("-" * width for width in widths))
    return [line.rstrip() for line in lines]


def _wrapped(line: str) -> str:
    return "\n".join(textwrap.wrap(line, TERMINAL, break_on_hyphens=False))


# The results tree


def run_files(results: Path, datasets: Sequence[str], methods: Sequence[str], seeds: Sequence[int], name: str,
              partial: bool = False) -> tuple[list[Path], list[Missing]]:
    """results/<dataset>/<category>/<method>/seed<k>/<name>: the files that exist, and what is missing and why.

    With `partial`, a file that was made from other scores than those beside it, or from none, counts as missing.
    datasets: "dataset/category". Raises InputError if a file is missing, unless `partial`.
    """
    files, missing = [], []
    for pair in datasets:
        dataset, category = pair.split("/", 1)
        for method in methods:
            for seed in seeds:
                path = Path(results, dataset, category, method, f"seed{seed}", name)
                if path.is_file() and not (partial and _outdated(path)):
                    files.append(path)
                elif partial:
                    missing.append((dataset, category, method, f"seed {seed}: no {name}{why(path)}"))
                else:
                    raise InputError(f"{path} is missing: make it with snakemake --cores all, "
                                     "or show what is there with --partial")
    return files, missing


def _outdated(path: Path) -> bool:
    """Whether a result was made from other scores (for timing: another detector) than those beside it, or from none."""
    if path.name == "timing.json":
        record, source, name = path, path.with_name("detector.json"), "detector"
    else:  # the draws of bootstrap.npz come with metrics.json
        record, source, name = path.with_name("metrics.json"), path.with_name("scores.csv"), "scores"
    if not source.is_file() or not record.is_file():
        return True
    recorded = (read_json(record).get("provenance") or {}).get("inputs_sha256", {}).get(name)
    return recorded is not None and recorded != sha256(source)


def why(path: Path) -> str:
    """What the log of the job that should have written `path` says last: a failed job ends with its error.

    A method that failed leaves failure.json. Logs lie beside what a job writes; what stands on a noise predictor that
    failed has none of its own.
    """
    folder = path.parent
    if (folder / "failure.json").is_file():
        failure = read_json(folder / "failure.json", ("reason", "log"))
        return f"; {failure['reason'][:200]} (log: {failure['log']})"
    if path.name == "timing.json" and (folder / "detector.json").is_file():
        logs = [folder.parent.parent / "timing.log"]
    else:
        logs = list(folder.glob("*.log"))
        if not logs:  # its noise predictor may have failed
            trainings = folder.parent.parent.glob(f"noise_predictor-*/{folder.name}")
            logs = [one / "train.log" for one in trainings if not (one / "noise_predictor.json").is_file()]
    logs = [log for log in logs if log.is_file()]
    if not logs:
        return ", not started"
    log = max(logs, key=lambda log: (log.stat().st_mtime_ns, log.name))
    end = last_line(log)
    return f"; {log.name} ends: {end[:200]}" if end else f"; {log.name} is empty"
