"""The ablation study, read from the files that its runs left, and its statistics.

A study varies one thing (the reading of RADAR, the timestep, the training budget ...). It is a list of variants, a
curve of variants over a number x, or the same variant scored with other noise ("redraw"). Nothing is measured here, as
in radar.report.tables: means over seeds, 95 % percentile intervals over the bootstrap draws of test images, and
differences draw by draw on the same resamples. No interval is corrected for the number of comparisons.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from radar.evaluation.bootstrap import paired_difference
from radar.report.tables import (
    LOWER_IS_BETTER,
    InputError,
    Run,
    applicable,
    common,
    read_csv,
    read_json,
    read_runs,
    run_files,
    seed_mean,
    summarise,
    why,
)

KINDS = ("list", "curve", "redraw")
TABLE = ["study", "dataset", "category", "series", "x", "variant", "metric", "mean", "ci_low", "ci_high", "difference",
         "difference_low", "difference_high", "n_seeds", "nfe", "training_images", "training_s", "chosen"]
DIFFERENCES = ["what", "study", "dataset", "category", "metric", "series", "x", "variant", "other_series", "other_x",
               "other_variant", "difference", "difference_low", "difference_high", "n_seeds"]
# What a redraw study tells of a series, beside the metrics of each redraw.
REDRAW = ("redraws", "redraw_deviation", "redraw_relative_deviation", "redraw_auroc_lowest", "redraw_auroc_highest")
Pair = tuple[str, str]  # dataset, category


# Reading


@dataclass(frozen=True)
class Entry:
    """A variant's place in a study; datasets: "dataset/category" on which it is run."""

    study: str
    series: str
    x: float | None
    variant: str
    nfe: int | None
    method: dict
    datasets: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """What is varied, and how it is shown; x: label of the axis, None in a list; compare: pairs of series of a list."""

    name: str
    title: str
    x: str | None
    log: bool
    metrics: tuple[str, ...]
    kind: str
    entries: tuple[Entry, ...]
    compare: tuple[tuple[str, str], ...] = ()

    def series(self) -> list[str]:
        return list(dict.fromkeys(entry.series for entry in self.entries))

    def on(self, pair: Pair) -> "Study":
        """What of the study is run on a dataset."""
        return replace(self, entries=tuple(entry for entry in self.entries if "/".join(pair) in entry.datasets))


@dataclass(frozen=True)
class Ablation:
    """All studies with what their variants left: per (dataset, category, variant) one item per seed that is there."""

    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...]
    literal: str
    studies: dict[str, Study]
    runs: dict[tuple[str, str, str], list[Run]]
    detectors: dict[tuple[str, str, str], list[dict]]
    folders: dict[tuple[str, str, str], list[Path]]
    missing: dict[tuple[str, str, str], str]  # why some seed is not there

    def of(self, pair: Pair, variant: str) -> list[Run]:
        return self.runs.get((*pair, variant), [])


def read_variants(path: Path) -> dict:
    """variants.json: what was to be run, and how it is shown. Raises InputError."""
    variants = read_json(path, ("datasets", "seeds", "literal", "studies", "variants"))
    for problem in _problems(variants):
        raise InputError(f"{path}: {problem}: delete it and run snakemake --cores all")
    return variants


def _problems(variants: dict) -> Iterable[str]:
    yield from (f"{name!r} is no dataset/category" for name in variants["datasets"] if "/" not in name)
    for name, study in variants["studies"].items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            yield f"{name!r} cannot be the name of a file"
        if absent := [key for key in ("title", "x", "log", "metrics", "kind") if key not in study]:
            yield f"study {name} has no {', '.join(absent)}"
        elif not study["metrics"]:
            yield f"study {name} has no metrics"
        elif study["kind"] not in KINDS:
            yield f"study {name} is of kind {study['kind']!r}, not {', '.join(KINDS)}"
    for index, entry in enumerate(variants["variants"]):
        if absent := [key for key in ("study", "series", "variant") if key not in entry]:
            yield f"variant {index} has no {', '.join(absent)}"
        elif entry["study"] not in variants["studies"]:
            yield f"variant {index} is of the unknown study {entry['study']!r}"
        elif not isinstance(entry.get("x"), int | float | None):
            yield f"variant {index} has x {entry['x']!r}, no number"


def read_ablation(variants: dict, results: Path) -> Ablation:
    """What read_variants gave, with the files of results/<dataset>/<category>/<variant>/seed<k>/ that are there.

    A run without metrics.json, made from other scores than those beside it, or with a failure.json is missing.
    Raises InputError if a file cannot be read, or the draws of a dataset are not paired.
    """
    entries = [Entry(one["study"], one["series"], one.get("x"), one["variant"], one.get("nfe"),
                     one.get("method") or {}, tuple(one.get("datasets") or variants["datasets"]))
               for one in variants["variants"]]
    studies = {name: Study(name, study["title"], study["x"], bool(study["log"]), tuple(study["metrics"]),
                           study["kind"], tuple(entry for entry in entries if entry.study == name),
                           tuple(map(tuple, study.get("compare") or ())))
               for name, study in variants["studies"].items()}
    found, missing = [], []
    for name in variants["datasets"]:
        planned = dict.fromkeys(entry.variant for entry in entries if name in entry.datasets)
        there, absent = run_files(results, [name], [*planned, *({variants["literal"]} - planned.keys())],
                                  variants["seeds"], "metrics.json", partial=True)
        found += there
        missing += [one for one in absent if one[2] in planned]
    files = []
    for path in found:
        if path.with_name("failure.json").is_file():
            missing.append((*path.parts[-5:-2], f"{path.parts[-2].replace('seed', 'seed ')}: failed{why(path)}"))
        else:
            files.append(path)
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for *key, reason in missing:
        reasons.setdefault(tuple(key), []).append(" ".join(reason.split()))

    runs, detectors, folders = {}, {}, {}
    bootstraps = [path.with_name("bootstrap.npz") for path in files]
    for path, run in zip(files, read_runs(files, [one for one in bootstraps if one.is_file()]), strict=True):
        key = tuple(path.parts[-5:-2])
        if key != tuple(run.record[name] for name in ("dataset", "category", "method")):
            raise InputError(f"{path} is of {run.record['method']}: delete it and run snakemake --cores all")
        detector = path.with_name("detector.json")
        runs.setdefault(key, []).append(run)
        detectors.setdefault(key, []).append(read_json(detector) if detector.is_file() else {})
        folders.setdefault(key, []).append(path.parent)
    return Ablation(tuple(tuple(name.split("/", 1)) for name in variants["datasets"]), tuple(variants["seeds"]),
                    variants["literal"], studies, runs, detectors, folders,
                    {key: "; ".join(lines) for key, lines in reasons.items()})


# Statistics


def difference(ours: Sequence[Run], theirs: Sequence[Run], metric: str) -> tuple[float, float, float, int]:
    """ours - theirs over the seeds that both have: (difference, low, high, number of seeds); NaN if there is none.

    low, high: 95 % percentiles of the paired bootstrap draws.
    """
    ours, theirs = common(applicable(ours, metric), applicable(theirs, metric))
    if not ours:
        return math.nan, math.nan, math.nan, 0
    first, second = (np.mean([run.value(metric) for run in side]) for side in (ours, theirs))
    draws = seed_mean(ours, metric), seed_mean(theirs, metric)
    ends = (math.nan, math.nan) if draws[0] is None or draws[1] is None else paired_difference(*draws)
    return float(first - second), *ends, len(ours)


def mean(runs: Sequence[Run], metric: str) -> float:
    """The metric's mean over seeds; NaN if it is not applicable."""
    values = [run.value(metric) for run in applicable(runs, metric)]
    return float(np.mean(values)) if values else math.nan


def redraw_statistics(ablation: Ablation, study: Study, pair: Pair, series: str) -> dict[str, float] | None:
    """How much the scores of a series depend on which noise was drawn; None with fewer than two redraws.

    redraw_deviation: standard deviation of an image's score over the redraws, mean over test images;
    redraw_relative_deviation: the same over the standard deviation, over test images, of the mean score;
    redraw_auroc_lowest, redraw_auroc_highest: of the image AUROC over the redraws; redraws: how many.
    Everything is averaged over the seeds that all redraws have, first of all the AUROC of a redraw. Raises InputError.
    """
    variants = list(dict.fromkeys(entry.variant for entry in study.entries if entry.series == series))
    variants = [variant for variant in variants if ablation.of(pair, variant)]
    if len(variants) < 2:
        return None
    by_seed = [{run.record["seed"]: (run, folder) for run, folder in
                zip(ablation.of(pair, variant), ablation.folders[(*pair, variant)], strict=True)}
               for variant in variants]
    seeds = sorted(set.intersection(*(set(one) for one in by_seed)))
    if not seeds:
        return None
    deviations = []
    for seed in seeds:
        columns = []
        for one in by_seed:
            path = one[seed][1] / "scores.csv"
            scores = read_csv(path, ("path", "split", "score")).query("split == 'test'").set_index("path")["score"]
            if columns and not scores.index.sort_values().equals(columns[0].index.sort_values()):
                raise InputError(f"{path} scores other test images than the redraws beside it: delete it and run "
                                 "snakemake --cores all")
            columns.append(scores)
        scores = pd.concat(columns, axis=1).to_numpy(float)  # [images, redraws], rows matched by path
        deviation = scores.std(axis=1, ddof=1).mean()
        spread = scores.mean(axis=1).std(ddof=1) if len(scores) > 1 else 0.0
        deviations.append((deviation, deviation / spread if spread > 0 else math.nan))
    aurocs = [mean([one[seed][0] for seed in seeds], "image_auroc") for one in by_seed]
    values = (len(variants), *np.mean(deviations, axis=0).tolist(), min(aurocs), max(aurocs))
    return dict(zip(REDRAW, values, strict=True)) | {"n_seeds": len(seeds)}


def table(ablation: Ablation) -> pd.DataFrame:
    """Long table with the columns TABLE: one row per study, dataset, variant and metric.

    mean, ci_low, ci_high, n_seeds: as in tables.summarise. difference: to the literal reading, with the paired 95 %
    interval; empty for the literal itself. nfe: network evaluations per image; training_images, training_s: what its
    network was trained on, and for how long. chosen: as JSON what was chosen without labels, a list where seeds differ.
    A variant that is missing keeps a row without a number per metric that its study shows. A redraw study has rows
    without a variant, too: the metrics REDRAW of each series.
    """
    everything = [run for runs in ablation.runs.values() for run in runs]
    values = {}
    for row in summarise(everything).itertuples(index=False, name=None):
        values.setdefault(row[:3], {})[row[3]] = row[4:]
    differences = {}
    for key, metrics in values.items():
        literal = ablation.runs.get((*key[:2], ablation.literal), [])
        if key[2] != ablation.literal:
            differences[key] = {metric: difference(ablation.runs[key], literal, metric)[:3] for metric in metrics}
    nothing = (math.nan,) * 3
    rows = []
    for study in ablation.studies.values():
        for pair in ablation.pairs:
            ours = study.on(pair)
            for entry in ours.entries:
                key = (*pair, entry.variant)
                metrics = values.get(key, dict.fromkeys(study.metrics, (*nothing, 0)))
                cost = _cost(entry, ablation.detectors.get(key, []))
                for metric, (*estimate, n) in metrics.items():
                    rows.append((study.name, *pair, entry.series, entry.x, entry.variant, metric, *estimate,
                                 *differences.get(key, {}).get(metric, nothing), n, *cost))
            for series in ours.series() if study.kind == "redraw" else []:
                if statistics := redraw_statistics(ablation, ours, pair, series):
                    rows += [(study.name, *pair, series, None, "", metric, statistics[metric], *nothing[:2], *nothing,
                              statistics["n_seeds"], None, None, math.nan, "") for metric in REDRAW]
    whole = dict.fromkeys(("n_seeds", "nfe", "training_images"), "Int64")
    real = dict.fromkeys(("x", "mean", "ci_low", "ci_high", *(name for name in TABLE if name.startswith("difference")),
                          "training_s"), float)
    return pd.DataFrame(rows, columns=TABLE).astype(whole | real)


def _cost(entry: Entry, detectors: Sequence[dict]) -> tuple[int | None, int | None, float, str]:
    """nfe, training_images, training_s (mean over seeds), chosen of a variant."""
    nfe = next((one["nfe"] for one in detectors if one.get("nfe") is not None), entry.nfe)
    trained = [one["training"] for one in detectors if one.get("training")]
    images = [one["images"] for one in trained if one.get("images") is not None]
    seconds = [one["seconds"] for one in trained if one.get("seconds") is not None]
    chosen = [json.dumps(one.get("chosen") or {}, sort_keys=True) for one in detectors]
    text = "" if set(chosen) <= {"{}"} else chosen[0] if len(set(chosen)) == 1 else f"[{', '.join(chosen)}]"
    return nfe, round(np.mean(images)) if images else None, float(np.mean(seconds)) if seconds else math.nan, text


def chosen_x(study: Study, detectors: Sequence[dict]) -> list[float]:
    """The x that each seed of a variant chose by itself; empty if it did not choose.

    Of several choices, the one that has the study's name or ends the label of its axis.
    """
    found = []
    for one in detectors:
        numbers = {name: value for name, value in (one.get("chosen") or {}).items()
                   if isinstance(value, int | float) and not isinstance(value, bool)}
        names = [study.name, *(study.x or "").split()[-1:], *(list(numbers) if len(numbers) == 1 else [])]
        found += [float(numbers[name]) for name in names if name in numbers][:1]
    return found


def comparisons(ablation: Ablation) -> pd.DataFrame:
    """The paired differences, other than those to the literal reading, that the text rests on: columns DIFFERENCES.

    difference: variant - other. what: "best", a point of a curve, or the label-free choice (x empty), minus the best
    point of its series; "step", a point minus the one before it; "span", the last minus the first; "space", a method
    on features minus the same on pixels; "pair", what a list compares by itself, the first minus the second. The best
    point is chosen with the test labels.
    """
    rows = []

    def compare(what: str, pair: Pair, metric: str, ours: Entry, theirs: Entry) -> None:
        found = difference(ablation.of(pair, ours.variant), ablation.of(pair, theirs.variant), metric)
        rows.append((what, ours.study, *pair, metric, ours.series, ours.x, ours.variant, theirs.series, theirs.x,
                     theirs.variant, *found))

    for study in ablation.studies.values():
        for pair in ablation.pairs:
            for metric in dict.fromkeys(["image_auroc", *study.metrics]):
                if metric in LOWER_IS_BETTER:
                    continue
                valid = [entry for entry in study.on(pair).entries
                         if not math.isnan(mean(ablation.of(pair, entry.variant), metric))]
                if study.kind == "list":
                    for features, pixels in spaces(valid):
                        compare("space", pair, metric, features, pixels)
                    named = {entry.series: entry for entry in valid}
                    for first, second in study.compare:
                        if first in named and second in named:
                            compare("pair", pair, metric, named[first], named[second])
                for series in study.series() if study.kind == "curve" else []:
                    ours = [entry for entry in valid if entry.series == series]
                    points = sorted((entry for entry in ours if entry.x is not None), key=lambda entry: entry.x)
                    if not points:
                        continue
                    best = max(points, key=lambda entry: mean(ablation.of(pair, entry.variant), metric))
                    choices = [entry for entry in ours if entry.x is None
                               and chosen_x(study, ablation.detectors[(*pair, entry.variant)])]
                    for entry in [*points, *choices]:
                        compare("best", pair, metric, entry, best)
                    for before, after in pairwise(points):
                        compare("step", pair, metric, after, before)
                    if len(points) > 1:
                        compare("span", pair, metric, points[-1], points[0])
    return pd.DataFrame(rows, columns=DIFFERENCES).astype({"x": float, "other_x": float})


def space(method: dict) -> str:
    """Whether a method works on pixels or on features, by its noise predictor or its setting `space`."""
    on = f"{method.get('noise_predictor') or ''} {(method.get('settings') or {}).get('space') or ''}"
    return "features" if "feature" in on else "pixels"


def stem(series: str) -> str:
    """The name of a series without the words that tell its space: "PCA on features" and "PCA (pixels)" give "PCA"."""
    told = r"\b(?:(?:on|in|of)\s+)?(?:frozen\s+)?(?:features?|pixels?)(?:\s+space)?\b"
    rest = re.sub(told, "", series, flags=re.IGNORECASE)
    rest = re.sub(r"\(\s*[,;:]?\s*\)", "", rest)
    return " ".join(re.sub(r"[,;:](?=\s*(?:[,;:)(]|$))", "", rest).split())


def spaces(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Pairs (on features, on pixels) of the same method.

    The same method: the same name but for the words that tell the space; of those left over, the same class and
    settings; of those left over, the same class. Each time it must be there once on either.
    """
    def settings(entry: Entry) -> str:
        own = {name: value for name, value in (entry.method.get("settings") or {}).items()
               if name not in ("space", "backbone")}
        return json.dumps([entry.method.get("class"), own], sort_keys=True)

    pairs: list[tuple[Entry, Entry]] = []
    for key in (lambda entry: stem(entry.series).lower(), settings, lambda entry: entry.method.get("class")):
        groups: dict = {}
        for entry in entries:
            if not any(entry in pair for pair in pairs):
                groups.setdefault(key(entry), {}).setdefault(space(entry.method), []).append(entry)
        pairs += [(group["features"][0], group["pixels"][0]) for group in groups.values()
                  if {name: len(members) for name, members in group.items()} == {"features": 1, "pixels": 1}]
    return sorted(pairs, key=lambda pair: entries.index(pair[0]))
