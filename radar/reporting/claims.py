"""The papers' claims, tested on the results of a run: reproduced, contradicted, inconclusive or not run.

A claim of config/claims.yaml becomes one number or several (a gain over the next best method, a ratio of latencies ...)
with a 95 % interval each, and a boundary:

    reproduced    every interval lies on the claim's side of the boundary
    contradicted  some interval lies on the other side
    inconclusive  otherwise: an interval reaches over the boundary, or there is none
    not run       the data, a method or a study that the claim needs is not among the results

Nothing but the results decides. Intervals of metrics are those of the paired bootstrap over test images; the next best
method is picked draw by draw, so that the picking is inside the interval, and by the largest of several noisy numbers
the gain comes out rather too small than too large. Intervals of times are of the median, by the sign test over rounds
in which the methods took turns (radar.evaluation.rounds). A claim on several datasets shows the number that speaks
least for it; the others are in its detail.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from radar.configuration import ConfigurationError, check, read_yaml
from radar.evaluation.bootstrap import interval
from radar.evaluation.rounds import median_interval, within_rounds
from radar.reporting.ablation import Ablation, difference
from radar.reporting.tables import (
    DASH,
    InputError,
    Run,
    applicable,
    escape_latex,
    grouped,
    read_csv,
    rounded,
    seed_mean,
)

REBUILD = "snakemake --cores all results/tables/claims.md"
PUBLISHED = ("method", "paper", "dataset", "category", "setting", "metric", "value", "unit", "device", "source",
             "evidence")
TABLE = ["id", "paper", "method", "statement", "verdict", "measured", "low", "high", "unit", "published",
         "published_unit", "source", "evidence", "conditions", "detail"]
VERDICTS = ("reproduced", "contradicted", "inconclusive", "not run")


class NotRun(Exception):
    """What a claim needs is not among the results: which, as part of a sentence."""


@dataclass(frozen=True)
class Measured:
    """One number with its 95 % interval (NaN = none), and where: the claim says it lies on `side` of the boundary.

    side: 1 = above, -1 = below.
    """

    where: str
    value: float
    low: float
    high: float
    unit: str
    boundary: float
    side: int = 1

    @property
    def margin(self) -> float:
        """How far the number speaks for the claim."""
        return self.side * (self.value - self.boundary)

    def verdict(self) -> str:
        if math.isnan(self.low) or math.isnan(self.high):
            return "inconclusive"
        ends = sorted(self.side * (end - self.boundary) for end in (self.low, self.high))
        return "reproduced" if ends[0] > 0 else "contradicted" if ends[1] < 0 else "inconclusive"

    def text(self) -> str:
        span = "" if math.isnan(self.low) else f" [{rounded_signed(self.low)}, {rounded_signed(self.high)}]"
        return f"{self.where}: {rounded_signed(self.value)}{span} {self.unit}"


@dataclass(frozen=True)
class Evidence:
    """What a run has to say: evaluated runs (means over categories among them), timing.json records, the classes of
    the methods, and the ablation study where it was made."""

    runs: Sequence[Run]
    timings: Sequence[dict] = ()
    classes: dict[str, str] = field(default_factory=dict)
    ablation: Ablation | None = None


def read_claims(path: Path) -> list[dict]:
    """The claims of a YAML file. Raises ConfigurationError, in one line that names the claim and the key."""
    value = read_yaml(path)
    check(value, "claims", str(path))
    claims = value["claims"]
    seen: set[str] = set()
    for claim in claims:
        needed = KINDS[claim["kind"]][1]
        if absent := [key for key in needed if key not in claim]:
            raise ConfigurationError(f"{path}: {claim['id']}: a claim of kind {claim['kind']} needs "
                                     f"{', '.join(absent)}")
        if claim["id"] in seen:
            raise ConfigurationError(f"{path}: {claim['id']}: the id occurs twice; rename one")
        seen.add(claim["id"])
    return claims


def published_row(claim: dict, published: pd.DataFrame) -> dict:
    """value, unit, source and evidence of the published number that a claim names; empty ones if it names none.

    Raises InputError if not exactly one row fits.
    """
    if "published" not in claim:
        return dict.fromkeys(("value", "unit", "source", "evidence"), "")
    rows = published
    for key, value in claim["published"].items():
        rows = rows[rows[key] == value]
    if len(rows) != 1:
        wanted = ", ".join(f"{key} {value}" for key, value in claim["published"].items())
        raise InputError(f"config/published.csv: {len(rows)} rows have {wanted}, which claim {claim['id']} names; "
                         "one must")
    return rows.iloc[0][["value", "unit", "source", "evidence"]].to_dict()


def judge(claims: Sequence[dict], published: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    """One row per claim with the columns TABLE. Raises InputError if a published number is not to be found."""
    rows = []
    for claim in claims:
        known = published_row(claim, published)
        names = claim["method"] if isinstance(claim["method"], list) else [claim["method"]]
        method, shown = names[0], None
        try:
            method = _present(names, evidence)
            measured = KINDS[claim["kind"]][0](claim, method, evidence, known)
            verdict = _together([one.verdict() for one in measured])
            shown = min(measured, key=lambda one: one.margin)
            detail = "; ".join(one.text() for one in measured)
        except NotRun as reason:
            verdict, detail = "not run", str(reason)
        numbers = [math.nan, math.nan, math.nan, ""] if shown is None else [shown.value, shown.low, shown.high,
                                                                           shown.unit]
        rows.append([claim["id"], claim["paper"], method, claim["statement"], verdict, *numbers, known["value"],
                     known["unit"], known["source"], known["evidence"], " ".join(claim["conditions"].split()), detail])
    return pd.DataFrame(rows, columns=TABLE)


def _together(verdicts: Sequence[str]) -> str:
    """All reproduced: reproduced; any contradicted: contradicted; else inconclusive."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "reproduced" if set(verdicts) == {"reproduced"} else "inconclusive"


def _present(names: Sequence[str], evidence: Evidence) -> str:
    there = {run.record["method"] for run in evidence.runs}
    for name in names:
        if name in there:
            return name
    raise NotRun(f"no result of {' or '.join(names)} in this run")


# Where and against whom


def _groups(claim: dict, method: str, evidence: Evidence, metric: str) -> dict[str, dict[str, list[Run]]]:
    """dataset/category -> method -> runs with the metric, where the claim is tested. Raises NotRun."""
    groups = {"/".join(pair): {name: kept for name, runs in methods.items() if (kept := applicable(runs, metric))}
              for pair, methods in grouped(evidence.runs).items()}
    wanted = claim.get("datasets") or [name for name in groups if "/mean of " not in name]
    if absent := [name for name in wanted if name not in groups]:
        raise NotRun(f"no result on {', '.join(absent)} in this run")
    found = {name: groups[name] for name in wanted if method in groups[name]}
    if not found:
        raise NotRun(f"no {metric} of {method} on {', '.join(wanted) or 'any dataset'}")
    return found


def _others(claim: dict, method: str, evidence: Evidence, there: Sequence[str]) -> list[str]:
    """The methods that a claim compares with, of those that are there. Raises NotRun if there is none."""
    if named := claim.get("others"):
        others = [name for name in named if name in there and name != method]
    else:
        ours = evidence.classes.get(method)
        others = [name for name in there if name != method and evidence.classes.get(name, name) != ours]
    if not others:
        raise NotRun(f"no result of {' or '.join(named) if named else 'another method'} to compare with")
    return others


# Kinds of claims; each gives the numbers that decide


def _gain(claim: dict, method: str, evidence: Evidence, _: dict) -> list[Measured]:
    """method minus the best of the others, in percentage points, per dataset and metric; above -margin."""
    measured = []
    for metric in claim["metrics"]:
        for name, group in _groups(claim, method, evidence, metric).items():
            others = _others(claim, method, evidence, list(group))
            values = {one: float(np.mean([run.value(metric) for run in group[one]])) for one in [method, *others]}
            best = max(others, key=values.get)
            draws = {one: seed_mean(group[one], metric) for one in [method, *others]}
            low = high = math.nan
            if all(one is not None for one in draws.values()):
                low, high = interval(draws[method] - np.max([draws[one] for one in others], axis=0))
            where = f"{name}, {metric} {values[method]:.3f} against {values[best]:.3f} of {best}"
            measured.append(Measured(where, *(100 * x for x in (values[method] - values[best], low, high)), "points",
                                     -100 * claim.get("margin", 0)))
    return measured


def _reaches(claim: dict, method: str, evidence: Evidence, known: dict) -> list[Measured]:
    """The metric in percent; not below the published value."""
    measured = []
    for metric in claim["metrics"]:
        for name, group in _groups(claim, method, evidence, metric).items():
            draws = seed_mean(group[method], metric)
            ends = (math.nan, math.nan) if draws is None else interval(draws)
            value = float(np.mean([run.value(metric) for run in group[method]]))
            measured.append(Measured(f"{name}, {metric}", *(100 * x for x in (value, *ends)), "percent",
                                     float(known["value"])))
    return measured


def _timed(claim: dict, method: str, evidence: Evidence) -> dict[str, dict[str, dict]]:
    """dataset/category -> method -> timing.json, where the method was timed. Raises NotRun."""
    groups: dict[str, dict[str, dict]] = {}
    for record in evidence.timings:
        groups.setdefault(f"{record['dataset']}/{record['category']}", {})[record["method"]] = record
    found = {name: group for name, group in groups.items()
             if method in group and name in claim.get("datasets", groups)}
    if not found:
        raise NotRun(f"{method} was not timed in this run")
    return found


def _samples(record: dict) -> list[tuple[int, float]]:
    return list(zip(record["latency_round"], record["latency_ms"], strict=True))


def _speedup(claim: dict, method: str, evidence: Evidence, _: dict) -> list[Measured]:
    """Latency of the fastest of the others, `times` over, per latency of the method; above `factor`."""
    measured = []
    for name, group in _timed(claim, method, evidence).items():
        others = _others(claim, method, evidence, list(group))
        fastest = min(others, key=lambda one: group[one]["latency_ms_median"])
        times = claim.get("times", 1)
        ratio, low, high, _ = within_rounds(_samples(group[fastest]), _samples(group[method]))
        ends = (math.nan, math.nan) if low is None else (times * low, times * high)
        where = f"{name} against {fastest}" + (f" x {times}" if times != 1 else "")
        measured.append(Measured(where, times * ratio, *ends, "times", claim["factor"]))
    return measured


def _within(claim: dict, method: str, evidence: Evidence, _: dict) -> list[Measured]:
    """Median latency at batch 1, with the interval of the median; below `limit_ms`."""
    measured = []
    for name, group in _timed(claim, method, evidence).items():
        record = group[method]
        low, high = median_interval(record["latency_ms"])
        ends = (math.nan, math.nan) if low is None else (low, high)
        where = f"{name} on {record.get('device_name') or record['device']}"
        measured.append(Measured(where, record["latency_ms_median"], *ends, "ms", claim["limit_ms"], -1))
    return measured


def _falls(claim: dict, method: str, evidence: Evidence, _: dict) -> list[Measured]:
    """Metric at x = `to` minus that at x = `from` in a series of the ablation study, in points; below 0."""
    ablation = evidence.ablation
    if ablation is None:
        raise NotRun("the ablation study was not made (snakemake --cores all ablation)")
    study = ablation.studies.get(claim["study"])
    if study is None:
        raise NotRun(f"the ablation has no study {claim['study']}")
    measured = []
    for pair in ablation.pairs:
        at = {entry.x: entry.variant for entry in study.on(pair).entries if entry.series == claim["series"]}
        if not {claim["from"], claim["to"]} <= at.keys():
            continue
        for metric in claim["metrics"]:
            value, low, high, n = difference(ablation.of(pair, at[claim["to"]]), ablation.of(pair, at[claim["from"]]),
                                             metric)
            if n:
                measured.append(Measured(f"{'/'.join(pair)}, {metric} from {claim['from']:g} to {claim['to']:g}",
                                         100 * value, 100 * low, 100 * high, "points", 0, -1))
    if not measured:
        raise NotRun(f"the ablation has no results of {claim['series']} at {claim['from']:g} and {claim['to']:g}")
    return measured


# kind -> (function, keys that it needs)
KINDS: dict[str, tuple[Callable[[dict, str, Evidence, dict], list[Measured]], tuple[str, ...]]] = {
    "best": (_gain, ("metrics",)),
    "at_least": (_gain, ("metrics", "others", "margin")),
    "reaches": (_reaches, ("metrics", "datasets", "published")),
    "faster": (_speedup, ("others", "factor")),
    "within": (_within, ("limit_ms",)),
    "trend": (_falls, ("study", "series", "metrics", "from", "to")),
}


# Rendering


def read_published(path: Path) -> pd.DataFrame:
    """config/published.csv. Raises InputError."""
    return read_csv(path, PUBLISHED, keep_default_na=False, dtype=str)


def rounded_signed(value: float) -> str:
    return f"-{rounded(-value)}" if value < 0 else rounded(value)


def measured_text(row) -> str:
    if math.isnan(row.measured):
        return DASH
    span = "" if math.isnan(row.low) else f" [{rounded_signed(row.low)}, {rounded_signed(row.high)}]"
    return f"{rounded_signed(row.measured)}{span} {row.unit}"


def published_text(row) -> str:
    return f"{row.published} {row.published_unit} ({row.source}, {row.evidence})" if row.published else DASH


LEGEND = (
    "The verdict is computed from this run's results: reproduced, if the whole 95 % interval lies on the claim's "
    "side; contradicted, if it lies on the other; inconclusive, if it reaches over the boundary or there is none; not "
    "run, if the data, a method or the ablation study is missing.",
    "Measured: on several datasets or metrics the number that speaks least for the claim, with its interval; all of "
    "them are below. Points are differences of percentages. The intervals are over test images, or over rounds of the "
    "timing; another training could change more.",
)


def summary(table: pd.DataFrame) -> str:
    """How many claims got which verdict, as a sentence."""
    counts = table["verdict"].value_counts()
    return f"Of {len(table)} claims: " + ", ".join(f"{counts.get(one, 0)} {one}" for one in VERDICTS) + "."


def to_markdown(table: pd.DataFrame) -> str:
    """The claims as Markdown: a table, then per claim what was measured where, and how the conditions differ."""
    def clean(text: str) -> str:
        return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")

    lines = ["# Claims", f"Rebuild with `{REBUILD}`.", summary(table), "\n".join(f"- {line}" for line in LEGEND)]
    head = ["| claim | paper | verdict | measured | published |", "|---|---|---|---|---|"]
    lines.append("\n".join([*head, *(
        f"| {clean(row.statement)} | {clean(row.paper)} | **{row.verdict}** | {measured_text(row)} | "
        f"{clean(published_text(row))} |" for row in table.itertuples())]))
    for row in table.itertuples():
        detail = f"{'Not run: ' if row.verdict == 'not run' else 'Measured: '}{clean(row.detail)}."
        lines += [f"## {clean(row.statement)}", f"{row.verdict}. {detail} Conditions: {clean(row.conditions)}"]
    return "\n\n".join(lines) + "\n"


def to_latex(table: pd.DataFrame) -> str:
    """The claims as a booktabs table."""
    lines = [f"% Claims. Rebuild with: {REBUILD}", r"% Needs \usepackage{booktabs}", r"\begin{table*}",
             r"\centering\scriptsize",
             rf"\caption{{{escape_latex(' '.join(['Claims.', summary(table), *LEGEND]))}}}\label{{tab:claims}}\medskip",
             r"\begin{tabular}{p{0.34\textwidth}lp{0.2\textwidth}p{0.25\textwidth}}", r"\toprule",
             r"claim & verdict & measured & published \\", r"\midrule"]
    for row in table.itertuples():
        cells = (f"{row.statement} ({row.paper})", row.verdict, measured_text(row), published_text(row))
        lines.append(" & ".join(map(escape_latex, cells)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"
