"""The papers' claims, judged by what a run left: for each a measured value, its interval and a verdict.

The verdict is *reproduced* if the 95 % interval lies above the boundary and no single dataset's interval below it,
*contradicted* the other way round, *inconclusive* otherwise, and *not run* if data, a method, a study or the device
that the claim needs is missing. A claim about the best of several rivals or about several metrics rests on the smallest
of its comparisons. It is a function of config/claims.yaml, config/published.csv and the run's files alone.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader

from radar.report.claim_config import Claim
from radar.report.claim_evidence import WHY, Evidence, Left, NotRun, means, overall
from radar.report.claim_tests import KINDS
from radar.report.compare import Estimate
from radar.report.format import DASH, interval, plain, points, rounded, tenths
from radar.report.table import Table, frame_of

VERDICTS = ("reproduced", "contradicted", "inconclusive", "not run")
COLUMNS = ["id", "paper", "method", "statement", "verdict", "why", "measured", "low", "high", "unit", "of", "published",
           "published_unit", "source", "evidence", "conditions", "detail"]
UNITS = {"points": ("points", points), "times": ("times", rounded), "ms": ("ms", rounded), "percent": ("%", tenths)}
DETAIL = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), trim_blocks=True,
                     lstrip_blocks=True).get_template("claim.txt")
OTHERS = "For comparison: nothing is tested on them, since the suite lacks the method, the dataset or the device."


@dataclass(frozen=True)
class Bounds:
    """A number with its 95 % interval; NaN ends = unknown."""

    value: float
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


def judge(total: Bounds, parts: Iterable[Bounds], boundary: float) -> str:
    """reproduced, contradicted or inconclusive: see the head of this module."""
    side, sides = total.side(boundary), {part.side(boundary) for part in parts}
    if side == 0 or -side in sides:
        return "inconclusive"
    return "reproduced" if side > 0 else "contradicted"


def assess(claim: Claim, left: Left) -> dict:
    """A row of claims.csv: the verdict on a claim, with what was measured."""
    published = claim.published or {}
    terms = ", ".join(published[key] for key in ("setting", "device")
                      if published.get(key) not in (None, "", "relative"))
    row = {"id": claim.name, "paper": f"{claim.paper}, {claim.reference}", "method": claim.speakers[0],
           "statement": claim.statement, "verdict": "not run", "published": published.get("value", math.nan),
           "published_unit": published.get("unit", ""), "source": claim.source, "evidence": claim.evidence,
           "conditions": f"{claim.conditions}{f' Published for: {terms}.' * bool(terms)}"}
    try:
        evidence = KINDS[claim.kind](claim, left)
    except NotRun as missing:
        return row | {"why": str(missing)}
    total = smallest(overall(evidence.comparisons).values())
    parts = {name: smallest(one.values()) for name, one in means(evidence.comparisons).items()}

    def shown(bounds: Bounds) -> tuple[float, float, float]:
        low, high = sorted((evidence.show(bounds.low), evidence.show(bounds.high)))
        return evidence.show(bounds.value), low, high

    def write(bounds: Bounds) -> str:
        return written(*shown(bounds), evidence.unit)

    above, below = ("above", "below") if evidence.show(1) > evidence.show(0) else ("below", "above")
    boundary = f"{plain(evidence.show(evidence.boundary))} {UNITS[evidence.unit][0]}"
    verdict, why = _verdict(evidence, total, parts, write, boundary, below)
    measured, low, high = shown(total)
    detail = DETAIL.render(
        evidence.facts, ours=left.label(evidence.method), side=above, boundary=boundary,
        parts=[f"{name} {write(one)}" for name, one in parts.items()],
        lacking=evidence.lacking if total.value < evidence.boundary else "")
    return row | {"method": evidence.method, "verdict": verdict, "why": why, "measured": measured, "low": low,
                  "high": high, "unit": evidence.unit, "of": evidence.of, "detail": " ".join(detail.split())}


def _verdict(evidence: Evidence, total: Bounds, parts: Mapping[str, Bounds], write: Callable[[Bounds], str],
             boundary: str, against: str) -> tuple[str, str]:
    """The verdict, and in one line why it is not reproduced."""
    verdict, side = judge(total, parts.values(), evidence.boundary), total.side(evidence.boundary)
    if math.isnan(total.low):
        return verdict, WHY["rounds" if evidence.unit in ("times", "ms") else "draws"]
    if verdict == "inconclusive" and side:
        opposed = [f"{name} {write(one)}" for name, one in parts.items() if one.side(evidence.boundary) == -side]
        return verdict, WHY["opposed"].format(dataset="; ".join(opposed))
    if verdict == "inconclusive":
        return verdict, WHY["covers"].format(interval=write(total), boundary=boundary)
    if verdict == "reproduced" and evidence.absent:
        return "inconclusive", WHY["absent"].format(names=", ".join(evidence.absent))
    if verdict == "reproduced":
        return verdict, ""
    if evidence.lacking:
        return "not run", evidence.lacking
    return verdict, WHY["beyond"].format(interval=write(total), side=against, boundary=boundary)


def written(value: float, low: float, high: float, unit: str) -> str:
    """A number with its interval and unit."""
    name, write = UNITS.get(unit, (unit, plain))
    return f"{interval(value, low, high, write)} {name}"


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
            measured = DASH if math.isnan(one.measured) else written(one.measured, one.low, one.high, one.unit)
            published = DASH if math.isnan(one.published) else f"{plain(one.published)} {_unit(one.published_unit)}"
            rows[one.statement] = [one.verdict, one.why, measured, published]
            notes[one.statement] = (f"{f'Measured: {one.of}. ' * bool(one.of)}{one.detail} {one.conditions} "
                                    f"Source: {one.source} ({one.evidence}).")
        made.append(Table(paper, frame_of(rows, columns, "claim"), [f"{counts(group['verdict'])}."], notes=notes))
    return made


def others(published: Sequence[dict], claims: Sequence[Claim]) -> Table:
    """The rows of published.csv that no claim stands on; too wide for a page of LaTeX."""
    used = [claim.published for claim in claims]
    rows = {f"{row['method']}, {row['paper']}: {row['dataset']}, {row['category']}, {row['metric']}": [
        row["setting"], f"{plain(row['value'])} {_unit(row['unit'])}", row["device"] or DASH,
        f"{row['source']} ({row['evidence']})"] for row in published if row not in used}
    columns = [("", name) for name in ("setting", "value", "device", "source")]
    return Table("Other published values", frame_of(rows, columns), [OTHERS])


def _unit(unit: str) -> str:
    return UNITS.get(unit, (unit,))[0]
