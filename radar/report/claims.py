"""The papers' claims, judged by what a run left: for each a measured value, its interval and a verdict.

The verdict is *reproduced* if the 95 % interval lies above the boundary and no single dataset's interval below it,
*contradicted* the other way round, *inconclusive* otherwise, and *not run* if data, a method, a study or the device
that the claim needs is missing. A claim about the best of several rivals or about several metrics rests on the smallest
of its comparisons. It is a function of config/claims.yaml, config/published.csv and the run's files alone.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader

from radar.report.claim_config import Claim
from radar.report.claim_tests import KINDS, WHY, Evidence, NotRun, means, overall
from radar.report.format import DASH, interval, plain, points, rounded, tenths
from radar.report.load import Estimate, Results
from radar.report.table import Table, frame_of

VERDICTS = ("reproduced", "contradicted", "inconclusive", "not run")
COLUMNS = ["id", "paper", "method", "statement", "verdict", "why", "measured", "low", "high", "unit", "of", "published",
           "published_unit", "source", "evidence", "conditions", "detail"]
UNITS = {"points": ("points", points), "times": ("times", rounded), "ms": ("ms", rounded), "percent": ("%", tenths)}
DETAIL = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), trim_blocks=True,
                     lstrip_blocks=True).get_template("claim.txt")
OTHERS = "For comparison: nothing is tested on them, since the suite lacks the method, the dataset or the device."


class Bounds(NamedTuple):
    """A number with its 95 % interval; NaN ends = unknown."""

    measured: float
    low: float
    high: float

    def side(self, boundary: float) -> int:
        """1 if the interval lies above the boundary, -1 below, 0 if it covers it or is unknown."""
        return int(self.low > boundary) - int(self.high < boundary)


def smallest(parts: Iterable[Estimate], level: float = 0.95) -> Bounds:
    """The smallest of several numbers, with an interval that holds that nobody knew which it would be.

    The smallest true number exceeds the lowest of the lower ends, whichever it is: these need no correction. It is
    below the lowest of the upper ends only if all hold together: these are corrected for their number (Bonferroni).
    To pick the smallest in every draw instead would count the luck of the luckiest rival twice, once in the sample and
    once in the draws: equal methods would contradict a claim far too often.
    """
    parts = list(parts)
    value, tail = min(part.value for part in parts), (1 - level) / 2
    return Bounds(value, float(np.min([part.ends(level)[0] for part in parts])),  # NaN if one of them is
                  float(np.min([part.ends(1 - 2 * tail / len(parts))[1] for part in parts])))


def assess(claim: Claim, results: Results) -> dict:
    """A row of claims.csv: the verdict on a claim, with what was measured."""
    says, published, labels = claim.says, claim.published, results.run.labels
    method = next((name for name in claim.methods if name in labels), claim.methods[0])
    terms = ", ".join(published[key] for key in ("setting", "device")
                      if published.get(key) not in (None, "", "relative"))
    row = {"id": claim.name, "paper": claim.paper, "method": method, "statement": says.statement, "verdict": "not run",
           "published": published.get("value", math.nan), "published_unit": published.get("unit", ""),
           "source": published.get("source", says.source), "evidence": published.get("evidence", says.evidence),
           "conditions": f"{says.conditions}{f' Published for: {terms}.' * bool(terms)}"}
    try:
        evidence = KINDS[says.kind](claim, getattr(says.test, says.kind), method, results)
    except NotRun as missing:
        return row | {"why": str(missing)}
    total = smallest(overall(lead) for lead in evidence.leads.values())
    each = [means(lead) for lead in evidence.leads.values()]
    parts = {name: smallest(lead[name] for lead in each) for name in each[0]}

    def shown(bounds: Bounds) -> Bounds:
        low, high = sorted((evidence.show(bounds.low), evidence.show(bounds.high)))
        return Bounds(evidence.show(bounds.measured), low, high)

    def write(bounds: Bounds) -> str:
        return written(shown(bounds), evidence.unit)

    below, above = ("below", "above") if evidence.show(1) > evidence.show(0) else ("above", "below")
    boundary = f"{plain(evidence.show(evidence.boundary))} {unit_name(evidence.unit)}"
    verdict, why = judge(evidence, total, parts, write, boundary, below)
    detail = DETAIL.render(
        evidence.facts, ours=labels.get(method, method), side=above, boundary=boundary,
        parts=[f"{name} {write(one)}" for name, one in parts.items()],
        lacking=evidence.doubts.get("contradicted") if total.measured < evidence.boundary else "")
    return row | shown(total)._asdict() | {"verdict": verdict, "why": why, "unit": evidence.unit, "of": evidence.of,
                                           "detail": " ".join(detail.split())}


def judge(evidence: Evidence, total: Bounds, parts: Mapping[str, Bounds], write: Callable[[Bounds], str],
          boundary: str, against: str) -> tuple[str, str]:
    """The verdict, and in one line why it is not reproduced."""
    side = total.side(evidence.boundary)
    if math.isnan(total.low):
        return "inconclusive", WHY["rounds" if evidence.unit in ("times", "ms") else "draws"]
    if side == 0:
        return "inconclusive", WHY["covers"].format(interval=write(total), boundary=boundary)
    if opposed := [f"{name} {write(one)}" for name, one in parts.items() if one.side(evidence.boundary) == -side]:
        return "inconclusive", WHY["opposed"].format(dataset="; ".join(opposed))
    verdict = "reproduced" if side > 0 else "contradicted"
    if verdict in evidence.doubts:
        return "inconclusive" if side > 0 else "not run", evidence.doubts[verdict]
    return verdict, "" if side > 0 else WHY["beyond"].format(interval=write(total), boundary=boundary, side=against)


def written(bounds: Bounds, unit: str) -> str:
    """A number with its interval and unit."""
    write = UNITS.get(unit, (unit, plain))[1]
    return f"{interval(bounds.measured, bounds.low, bounds.high, write)} {unit_name(unit)}"


def unit_name(unit: str) -> str:
    return UNITS.get(unit, (unit,))[0]


# The tables


def counts(verdicts: Iterable[str]) -> str:
    """How many of each verdict: "2 reproduced, 1 not run"."""
    verdicts = list(verdicts)
    return ", ".join(f"{verdicts.count(name)} {name}" for name in VERDICTS if name in verdicts)


def tables(frame: pd.DataFrame) -> list[Table]:
    """Of claims.csv a table per paper, a row per claim with a note of its own."""
    columns = [("this run", "verdict"), ("this run", "why"), ("this run", "measured [95 % interval]"),
               ("paper", "published")]
    made = []
    for paper, group in frame.fillna({"why": "", "of": "", "detail": ""}).groupby("paper", sort=False):
        rows, notes = {}, {}
        for one in group.itertuples():
            measured = DASH if math.isnan(one.measured) else written(one, one.unit)
            published = DASH if math.isnan(one.published) else f"{plain(one.published)} {unit_name(one.published_unit)}"
            rows[one.statement] = [one.verdict, one.why, measured, published]
            notes[one.statement] = (f"{f'Measured: {one.of}. ' * bool(one.of)}{one.detail} {one.conditions} "
                                    f"Source: {one.source} ({one.evidence}).")
        made.append(Table(paper, frame_of(rows, columns, "claim"), [f"{counts(group['verdict'])}."], notes=notes))
    return made


def others(published: Sequence[dict], claims: Sequence[Claim]) -> Table:
    """The rows of published.csv that no claim stands on; too wide for a page of LaTeX."""
    used = [claim.published for claim in claims]
    rows = {f"{row['method']}, {row['paper']}: {row['dataset']}, {row['category']}, {row['metric']}": [
        row["setting"], f"{plain(row['value'])} {unit_name(row['unit'])}", row["device"] or DASH,
        f"{row['source']} ({row['evidence']})"] for row in published if row not in used}
    columns = [("", name) for name in ("setting", "value", "device", "source")]
    return Table("Other published values", frame_of(rows, columns), [OTHERS])
