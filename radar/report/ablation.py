"""The ablation study: what its variants left, and how they differ from one another.

A study varies one thing: it is a list of variants, or curves of variants over a number x. What was to be run stands in
results/runs/<run>/ablation/variants.json, which the workflow writes; a variant lies in results/ablation as a trained
method does in results: <dataset>/<category>/<variant>/seed<k>/. Statistics are those of radar.report.compare, and
nothing is corrected for the number of comparisons. Nothing is formatted here.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from radar.report.compare import FALSE_POSITIVE_RATES, difference, main_table
from radar.report.load import Pair, Results, Run, load, read_json

PLACE = ["study", "dataset", "category", "series", "x", "variant"]
TABLE = [*PLACE, "metric", "mean", "ci_low", "ci_high", "difference", "difference_low", "difference_high", "n_seeds",
         "nfe", "training_images", "training_s", "chosen"]
DIFFERENCES = ["what", "study", "dataset", "category", "metric", "series", "x", "variant", "other_series", "other_x",
               "other_variant", "difference", "difference_low", "difference_high", "n_seeds"]
CURVE = ["study", "dataset", "category", "metric", "series"]
COUNTS = [*CURVE, "better", "within", "worse", "best_x", "difference", "difference_low", "difference_high"]


@dataclass(frozen=True)
class Ablation:
    """What the variants left.

    studies: name -> title, x (label of the axis), log, metrics, kind ("list" or "curve"), compare (pairs of series).
    places: a row per study, dataset and variant, with the columns PLACE; x is NaN in a list and where the variant
    chooses its own. results: (dataset, category) -> what its variants left, as methods. literal: the variant that is
    RADAR as its paper has it.
    """

    studies: dict[str, dict]
    places: pd.DataFrame
    results: dict[Pair, Results]
    literal: str


def read_ablation(run: Path) -> Ablation:
    """What the variants of a run left; run: its folder. Of what is missing the reason is kept. Raises InputError."""
    folder = run.parent.parent / "ablation"
    plan = read_json(run / "ablation/variants.json", ("datasets", "seeds", "literal", "studies", "variants"))
    places = pd.DataFrame(plan["variants"], columns=["study", "series", "x", "variant", "datasets"]).explode("datasets")
    places[["dataset", "category"]] = places["datasets"].str.split("/", n=1, expand=True)
    for column, order in (("study", list(plan["studies"])), ("datasets", plan["datasets"])):
        places[column] = pd.Categorical(places[column], order)
    places = places.sort_values(["study", "datasets"], kind="stable").astype({"study": str, "x": float})
    results = {}
    for name in plan["datasets"]:
        variants = dict.fromkeys(places.loc[places["datasets"] == name, "variant"])
        part = Run(run, "ablation", config={}, changed={}, datasets={name: {}}, networks={}, seeds=plan["seeds"],
                   methods={variant: {"folder": variant} for variant in variants}, results=folder, partial=True)
        results[part.pairs[0]] = load(part, timed=False)
    return Ablation(plan["studies"], places[PLACE].reset_index(drop=True), results, plan["literal"])


def table(ablation: Ablation) -> pd.DataFrame:
    """A row per study, dataset, variant and metric, with the columns TABLE.

    mean, ci_low, ci_high, n_seeds: of compare.main_table. difference: to the literal reading, with the paired 95 %
    interval; empty for the literal reading itself. nfe: network evaluations per image; training_images, training_s:
    what its network was trained on, and for how long, means over seeds. chosen: what each seed chose without labels, a
    JSON list. A variant that is missing keeps a row without a number for every metric that its study shows.
    """
    values = pd.concat([_against_literal(ablation, pair).merge(_costs(results), on="variant")
                        for pair, results in ablation.results.items()])
    rows = ablation.places.merge(values, how="left", on=["dataset", "category", "variant"])
    asked = rows["study"].map({name: study["metrics"] for name, study in ablation.studies.items()})
    rows["metric"] = rows["metric"].where(rows["metric"].notna(), asked)
    rows = rows.explode("metric", ignore_index=True)[TABLE].fillna({"n_seeds": 0, "chosen": ""})
    return rows.round({"training_images": 0}).astype(dict.fromkeys(("n_seeds", "nfe", "training_images"), "Int64"))


def _against_literal(ablation: Ablation, pair: Pair) -> pd.DataFrame:
    """The main table of a dataset, and every variant's difference to the literal reading."""
    results = ablation.results[pair]
    rows = main_table(results).rename(columns={"method": "variant"})
    differences = []
    for variant, metric in zip(rows["variant"], rows["metric"], strict=True):
        variants = results.samples[pair][metric]
        against = {} if variant == ablation.literal else variants.get(ablation.literal, {})
        differences.append(difference(variants[variant], against)[:3])
    rows[["difference", "difference_low", "difference_high"]] = np.reshape(differences, (len(rows), 3))
    return rows


def _costs(results: Results) -> pd.DataFrame:
    """variant, nfe, training_images, training_s, chosen, from what the detectors of the variants tell."""
    rows = []
    for variant, seeds in results.records.groupby("method", sort=False):
        detectors = [read_json(results.run.place(results.run.pairs[0], variant, seed) / "detector.json",
                               ("nfe", "chosen", "training")) for seed in seeds["seed"]]
        trained = pd.DataFrame([one["training"] or {} for one in detectors], columns=["images", "seconds"])
        chosen = [one["chosen"] for one in detectors]
        rows.append((variant, detectors[0]["nfe"], *trained.astype(float).mean(),
                     json.dumps(chosen) if any(chosen) else ""))
    return pd.DataFrame(rows, columns=["variant", "nfe", "training_images", "training_s", "chosen"])


def choices(chosen: str) -> list[float]:
    """The x that each seed chose, from the column `chosen` of a table: the one number in its choice."""
    found = [[value for value in one.values() if isinstance(value, int | float)] for one in json.loads(chosen or "[]")]
    return [float(numbers[0]) for numbers in found if len(numbers) == 1]


def contested(rows: pd.DataFrame, studies: dict[str, dict]) -> pd.DataFrame:
    """The rows that have a number of what their study shows, without false-positive rates: a promise, not a contest."""
    shown = {(name, metric) for name, study in studies.items() for metric in study["metrics"]}
    shown = {key for key in shown if key[1] not in FALSE_POSITIVE_RATES}
    return rows[[key in shown for key in zip(rows["study"], rows["metric"], strict=True)]].dropna(subset="mean")


def comparisons(ablation: Ablation, rows: pd.DataFrame) -> pd.DataFrame:
    """Paired differences other than those to the literal reading, variant - other, with the columns DIFFERENCES.

    what: "pair", two series that a study compares; of a curve "best", a point or the label-free choice (x empty) minus
    the best point, which is picked with the test labels. rows: of `table`.
    """
    found = []
    keys = ["study", "dataset", "category", "metric"]
    for key, group in contested(rows, ablation.studies).groupby(keys, sort=False):
        study, dataset, category, metric = key
        samples = ablation.results[dataset, category].samples[dataset, category][metric]
        for what, ours, theirs in _compared(ablation.studies[study], group):
            found.append((what, *key, ours.series, ours.x, ours.variant, theirs.series, theirs.x, theirs.variant,
                          *difference(samples[ours.variant], samples[theirs.variant])))
    return pd.DataFrame(found, columns=DIFFERENCES).astype({"x": float, "other_x": float})


def _compared(study: dict, rows: pd.DataFrame) -> Iterator[tuple]:
    """(what, row, row to subtract) of a study on a dataset, in a metric."""
    by = {row.series: row for row in rows.itertuples()}
    named = [pair for pair in study["compare"] or () if by.keys() >= set(pair)]
    yield from (("pair", by[ours], by[theirs]) for ours, theirs in named)
    for _, series in rows.groupby("series", sort=False) if study["kind"] == "curve" else ():
        if series["x"].notna().any():
            best = max(series.dropna(subset="x").itertuples(), key=lambda row: row.mean)
            yield from (("best", row, best) for row in series.sort_values("x").itertuples()
                        if row.x == row.x or choices(row.chosen))


def counts(ablation: Ablation, rows: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """What the study found, a row per study, dataset and metric, in curves per series too: columns COUNTS.

    better, within, worse: of how many variants the interval of the difference to the literal reading lies above 0,
    holds it, lies below it. Of a curve: best_x, and the difference of the choice made without labels to that point.
    rows: of `table`; differences: of `comparisons`.
    """
    rows = contested(rows, ablation.studies)
    curve = rows["study"].map(lambda name: ablation.studies[name]["kind"]) == "curve"
    rows = rows.assign(series=rows["series"].where(curve, ""), better=rows["difference_low"] > 0,
                       worse=rows["difference_high"] < 0)
    rows["within"] = rows["difference_low"].notna() & ~rows["better"] & ~rows["worse"]
    found = rows.groupby(CURVE, sort=False)[["better", "within", "worse"]].sum().reset_index()
    best = differences[differences["what"] == "best"]
    points = best.drop_duplicates(CURVE)[[*CURVE, "other_x"]].rename(columns={"other_x": "best_x"})
    chosen = best[best["x"].isna()].drop_duplicates(CURVE)[[*CURVE, *COUNTS[-3:]]]
    return found.merge(points, how="left", on=CURVE).merge(chosen, how="left", on=CURVE)[COUNTS]


def missing(ablation: Ablation) -> dict[tuple[str, str, str], str]:
    """(dataset, category, variant) -> why some seed of it is not there."""
    every = pd.concat([results.missing for results in ablation.results.values()])
    return every.groupby(["dataset", "category", "method"], sort=False)["reason"].agg("; ".join).to_dict()
