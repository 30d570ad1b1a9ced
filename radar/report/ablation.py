"""The ablation study: what its variants left, and how they differ from one another.

A study varies one thing: it is a list of variants, or curves of variants over a number x. What was to be run stands in
results/runs/<run>/ablation/variants.json, which the workflow writes; a variant lies in results/ablation as a trained
method does in results: <dataset>/<category>/<variant>/seed<k>/. Statistics are those of radar.report.compare, and
nothing is corrected for the number of comparisons. Nothing is formatted here.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radar.report.compare import FALSE_POSITIVE_RATES, difference, main_table
from radar.report.load import Results, Run, load, read_json

VARIANT = ["dataset", "category", "variant"]
PLACE = ["study", "dataset", "category", "series", "x", "variant"]
DIFFERENCE = ["difference", "difference_low", "difference_high"]
TABLE = [*PLACE, "metric", "mean", "ci_low", "ci_high", *DIFFERENCE, "n_seeds", "nfe", "training_images", "training_s",
         "chosen"]
DIFFERENCES = ["what", "study", "dataset", "category", "metric", "series", "x", "variant", "other_series", "other_x",
               "other_variant", *DIFFERENCE, "n_seeds"]
CURVE = ["study", "dataset", "category", "metric", "series"]
SIDES = ("higher beyond chance", "within chance", "lower beyond chance", "literal reading", "not compared")
COUNTS = [*CURVE, "better", "within", "worse", "best_x", *DIFFERENCE]


@dataclass(frozen=True)
class Ablation:
    """What the variants left.

    studies: name -> title, x (label of the axis), log, metrics, kind ("list" or "curve"), compare (pairs of series).
    places: a row per study, dataset and variant, with the columns PLACE; x is NaN in a list and where the variant
    chooses its own. results: what the variants left, as methods. literal: the variant that is RADAR as its paper has
    it. missing: (dataset, category, variant) -> why some seed of it is not there.
    """

    studies: dict[str, dict]
    places: pd.DataFrame
    results: Results
    literal: str
    missing: dict[tuple[str, str, str], str]


def read_ablation(run: Path) -> Ablation:
    """What the variants of a run left; run: its folder. Of what is missing the reason is kept. Raises InputError."""
    plan = read_json(run / "ablation/variants.json", ("seeds", "literal", "studies", "variants"))
    places = pd.DataFrame(plan["variants"], columns=["study", "dataset", "series", "x", "variant"])
    asked = Run(run, "ablation", config={}, changed={}, datasets={name: {} for name in places["dataset"]}, networks={},
                methods={name: {"folder": name} for name in places["variant"]}, seeds=plan["seeds"],
                results=run.parent.parent / "ablation", partial=True)
    places[["dataset", "category"]] = places["dataset"].str.split("/", n=1, expand=True)
    results = load(asked, timed=False)
    missing = results.missing.rename(columns={"method": "variant"}).merge(places[VARIANT].drop_duplicates())
    return Ablation(plan["studies"], places[PLACE].astype({"x": float}), results, plan["literal"],
                    missing.groupby(VARIANT, sort=False)["reason"].agg("; ".join).to_dict())


def table(ablation: Ablation) -> pd.DataFrame:
    """A row per study, dataset, variant and metric, with the columns TABLE.

    mean, ci_low, ci_high, n_seeds: of compare.main_table. difference: to the literal reading, with the paired 95 %
    interval; empty for the literal reading itself. nfe: network evaluations per image; training_images, training_s:
    what its network was trained on, and for how long, means over seeds. chosen: what each seed chose without labels, a
    JSON list. A variant that is missing keeps a row without a number for every metric that its study shows.
    """
    values = main_table(ablation.results).rename(columns={"method": "variant"})
    rows = ablation.places.merge(values, how="left", on=VARIANT)
    rows = rows.merge(_costs(ablation.results), how="left", on=VARIANT)
    asked = rows["study"].map({name: study["metrics"] for name, study in ablation.studies.items()})
    rows["metric"] = rows["metric"].where(rows["metric"].notna(), asked)
    rows = rows.explode("metric", ignore_index=True)
    rows[DIFFERENCE] = [_difference(ablation, row, ablation.literal)[:3] for row in rows.itertuples()]
    rows.loc[rows["variant"] == ablation.literal, DIFFERENCE] = math.nan
    rows = rows[TABLE].fillna({"n_seeds": 0, "chosen": ""})
    return rows.round({"training_images": 0}).astype(dict.fromkeys(("n_seeds", "nfe", "training_images"), "Int64"))


def _difference(ablation: Ablation, row: Any, other: str) -> tuple[float, float, float, int]:
    """Of the variant of a row of `table` to another, as compare.difference gives it."""
    samples = ablation.results.samples[row.dataset, row.category].get(row.metric, {})
    return difference(samples.get(row.variant, {}), samples.get(other, {}))


def _costs(results: Results) -> pd.DataFrame:
    """VARIANT, nfe, training_images, training_s, chosen, from what the detectors of the variants tell."""
    rows = []
    for key, seeds in results.records.groupby(["dataset", "category", "method"], sort=False):
        detectors = [read_json(results.run.place(key[:2], key[2], seed) / "detector.json",
                               ("nfe", "chosen", "training")) for seed in seeds["seed"]]
        trained = pd.DataFrame([one["training"] or {} for one in detectors], columns=["images", "seconds"])
        chosen = [one["chosen"] for one in detectors]
        rows.append((*key, detectors[0]["nfe"], *trained.astype(float).mean(),
                     json.dumps(chosen) if any(chosen) else ""))
    return pd.DataFrame(rows, columns=[*VARIANT, "nfe", "training_images", "training_s", "chosen"])


def choices(chosen: str) -> list[float]:
    """The x that each seed chose, from the column `chosen` of a table: the one number in its choice."""
    found = [[value for value in one.values() if isinstance(value, int | float)] for one in json.loads(chosen or "[]")]
    return [float(numbers[0]) for numbers in found if len(numbers) == 1]


def contested(rows: pd.DataFrame, studies: dict[str, dict]) -> pd.DataFrame:
    """The rows that have a number of what their study shows, without false-positive rates: a promise, not a contest."""
    return rows[[metric in studies[study]["metrics"] and metric not in FALSE_POSITIVE_RATES
                 for study, metric in zip(rows["study"], rows["metric"], strict=True)]].dropna(subset="mean")


def sides(rows: pd.DataFrame, literal: str) -> np.ndarray:
    """Where every row lies beside the literal reading, by the interval of its difference: one of SIDES."""
    low, high = rows["difference_low"], rows["difference_high"]
    higher, within, lower, itself, unknown = SIDES
    return np.select([rows["variant"] == literal, low > 0, high < 0, low.notna()], [itself, higher, lower, within],
                     unknown)


def comparisons(ablation: Ablation, rows: pd.DataFrame) -> pd.DataFrame:
    """Paired differences other than those to the literal reading, variant - other, with the columns DIFFERENCES.

    what: "pair", two series that a study compares; of a curve "best", a point or the label-free choice (x empty) minus
    the best point, which is picked with the test labels. rows: of `table`.
    """
    found = [(what, *key, ours.series, ours.x, ours.variant, theirs.series, theirs.x, theirs.variant,
              *_difference(ablation, ours, theirs.variant))
             for key, group in contested(rows, ablation.studies).groupby(CURVE[:4], sort=False)
             for what, ours, theirs in _compared(ablation.studies[key[0]], group)]
    return pd.DataFrame(found, columns=DIFFERENCES).astype({"x": float, "other_x": float})


def _compared(study: dict, rows: pd.DataFrame) -> Iterator[tuple]:
    """(what, row, row to subtract) of a study on a dataset, in a metric."""
    by = {row.series: row for row in rows.itertuples()}
    for ours, theirs in study["compare"] or ():
        if ours in by and theirs in by:
            yield "pair", by[ours], by[theirs]
    for _, series in rows.groupby("series", sort=False) if study["kind"] == "curve" else ():
        points = series.dropna(subset="x")
        if len(points):
            best = points.loc[points["mean"].idxmax()]
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
    side = sides(rows, ablation.literal)
    rows = rows.assign(series=rows["series"].where(curve, ""), **{
        name: side == one for name, one in zip(("better", "within", "worse"), SIDES, strict=False)})
    found = rows.groupby(CURVE, sort=False)[["better", "within", "worse"]].sum().reset_index()
    best = differences[differences["what"] == "best"]
    points = best.drop_duplicates(CURVE)[[*CURVE, "other_x"]].rename(columns={"other_x": "best_x"})
    chosen = best[best["x"].isna()].drop_duplicates(CURVE)[[*CURVE, *COUNTS[-3:]]]
    return found.merge(points, how="left", on=CURVE).merge(chosen, how="left", on=CURVE)[COUNTS]
