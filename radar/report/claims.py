"""The papers' claims, tested on what a run left: for each a measured value, its interval and a verdict.

Every test is brought to one form. A comparison is a number that the claim says lies above a boundary: the lead over a
rival in a metric, the logarithm of how many times faster. Accuracy is compared draw by draw on the same resampled test
images, latency round by round on the same moments. Comparisons are averaged over the categories of a dataset and then
over datasets, all with the same weight; a claim about the best of several rivals or about several metrics rests on the
smallest of its comparisons.

The verdict is *reproduced* if the 95 % interval lies above the boundary and no single dataset's interval below it,
*contradicted* the other way round, *inconclusive* otherwise, and *not run* if data, a method, a study or the device
that the claim needs is missing. It is a function of config/claims.yaml, config/published.csv and the run's files alone.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader

from radar.evaluation.bootstrap import interval as percentiles
from radar.evaluation.rounds import round_medians
from radar.report.ablation import read_ablation
from radar.report.claim_config import Claim
from radar.report.compare import Estimate, contrast, over_seeds
from radar.report.format import DASH, count, interval, plain, points, rounded, share, span, tenths
from radar.report.load import Pair, Results, Seeds
from radar.report.table import Table, frame_of
from radar.report.tables import BUSY, NAMES, device_texts

VERDICTS = ("reproduced", "contradicted", "inconclusive", "not run")
COLUMNS = ["id", "paper", "method", "statement", "verdict", "why", "measured", "low", "high", "unit", "of", "published",
           "published_unit", "source", "evidence", "conditions", "detail"]
WHY = {
    "covers": "the 95 % interval {interval} covers the boundary {boundary}",
    "beyond": "the 95 % interval {interval} lies {side} the boundary {boundary}",
    "opposed": "one dataset says the opposite: {dataset}",
    "absent": "missing, without which nothing is the best: {names}",
    "draws": "no interval: there are no bootstrap draws",
    "rounds": "no interval: fewer than 6 timed rounds",
    "device": "the device is {device}; a contradiction needs {needed}",
    "chain": "{rival} makes {nfe} evaluations; a contradiction needs {needed}",
    "busy": "other processes used {cores} cores during the timing; a contradiction needs an idle machine",
    # missing, so that nothing can be measured
    "method": "missing: the method {names}",
    "dataset": "missing: the dataset {name}",
    "categories": "missing: {absent} of the {all} categories of {name}",
    "labels": "missing: test images with what {metrics} needs (labels, masks)",
    "metric": "missing: {metrics} of {method} on {name}",
    "timing": "missing: the timing of {method}",
    "study": "missing: the ablation study (make ablation)",
    "series": "missing: in the ablation study {study} a series {series} that goes on from {at}",
    "points": "missing: in the ablation study {study} results of {series} at {at} and {last}",
}
UNITS = {"points": ("points", points), "times": ("times", rounded), "ms": ("ms", rounded), "percent": ("%", tenths)}
DRAWS, ROUNDS = 1000, 6  # of the rounds of the timing; fewer rounds than 6 give a median no 95 % interval
DETAIL = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), trim_blocks=True,
                     lstrip_blocks=True).get_template("claim.txt")
OTHERS = "For comparison: nothing is tested on them, since the suite lacks the method, the dataset or the device."

Key = tuple[str, str]  # metric, rival
Comparisons = dict[Pair, dict[Key, Estimate]]


class NotRun(Exception):
    """Why a claim cannot be tested: a sentence of WHY."""

    def __init__(self, why: str, **values: object):
        super().__init__(WHY[why].format(**values))


@dataclass(frozen=True)
class Bounds:
    """A number with its 95 % interval; NaN ends = unknown."""

    value: float
    low: float
    high: float

    def side(self, boundary: float) -> int:
        """1 if the interval lies above the boundary, -1 below, 0 if it covers it or is unknown."""
        return int(self.low > boundary) - int(self.high < boundary)


@dataclass(frozen=True)
class Evidence:
    """What speaks to a claim.

    comparisons: the claim says that they lie above `boundary`. unit: of what `show`, monotonous, makes of them. of:
    what the number is of. absent: rivals that could not be compared. lacking: what a contradiction would need, empty if
    nothing. facts: for the template of the detail.
    """

    method: str
    comparisons: Comparisons
    boundary: float
    unit: str
    show: Callable[[float], float]
    of: str
    absent: list[str] = field(default_factory=list)
    lacking: str = ""
    facts: dict = field(default_factory=dict)


# Statistics


def average(parts: Sequence[Estimate]) -> Estimate:
    """The mean of independent numbers.

    Their draws come from one seed, so they are shuffled by place, as in compare.category_means.
    """
    value = float(np.mean([part.value for part in parts]))
    draws = [part.draws for part in parts if part.draws is not None]
    if len(draws) < len(parts):
        return Estimate(value, None)
    if len(parts) == 1:
        return Estimate(value, draws[0])
    size = min(map(len, draws))
    return Estimate(value, np.mean([np.random.default_rng(place).permutation(one[:size])
                                    for place, one in enumerate(draws)], axis=0))


def smallest(parts: Sequence[Estimate], level: float = 0.95) -> Bounds:
    """The smallest of several numbers, with an interval that holds that nobody knew which it would be.

    The smallest true number exceeds the lowest of the lower ends, whichever it is: these need no correction. It is
    below the lowest of the upper ends only if all hold together: these are corrected for their number (Bonferroni).
    To pick the smallest in every draw instead would count the luck of the luckiest rival twice, once in the sample and
    once in the draws: equal methods would contradict a claim far too often.
    """
    value, tail = min(part.value for part in parts), (1 - level) / 2
    draws = [part.draws for part in parts if part.draws is not None]
    if len(draws) < len(parts):
        return Bounds(value, math.nan, math.nan)
    lows = [percentiles(one, level)[0] for one in draws]
    highs = [percentiles(one, 1 - 2 * tail / len(parts))[1] for one in draws]
    return Bounds(value, min(lows), min(highs))


def by_dataset(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """The categories of each dataset: "printed/all", or "visa, mean of 12"."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair[0], []).append(pair)
    return {"/".join(group[0]) if len(group) == 1 else f"{dataset}, mean of {len(group)}": group
            for dataset, group in groups.items()}


def over_datasets(values: Mapping[Pair, float]) -> float:
    """The mean over datasets of the means over their categories."""
    return float(np.mean([np.mean([values[pair] for pair in pairs]) for pairs in by_dataset(values).values()]))


def combined(comparisons: Comparisons) -> tuple[dict[Key, Estimate], dict[str, Bounds]]:
    """The comparisons averaged over datasets, and the smallest of each dataset's: {"printed/all": ...}.

    The categories of a dataset are averaged first. Only of keys that every category has.
    """
    keys = [key for key in next(iter(comparisons.values())) if all(key in one for one in comparisons.values())]
    means = {name: {key: average([comparisons[pair][key] for pair in pairs]) for key in keys}
             for name, pairs in by_dataset(comparisons).items()}
    overall = {key: average([one[key] for one in means.values()]) for key in keys}
    return overall, {name: smallest(list(one.values())) for name, one in means.items()}


def judge(total: Bounds, parts: Iterable[Bounds], boundary: float) -> str:
    """reproduced, contradicted or inconclusive: see the head of this module."""
    side, sides = total.side(boundary), {part.side(boundary) for part in parts}
    if side == 0 or -side in sides:
        return "inconclusive"
    return "reproduced" if side > 0 else "contradicted"


def log_ratio(theirs: Mapping, ours: Mapping) -> Estimate:
    """Logarithm of the latency of one timing over that of another: the median over their common rounds."""
    first, second = _rounds(theirs), _rounds(ours)
    together = [math.log(first[index] / second[index]) for index in sorted(first.keys() & second.keys())]
    return _median(together, math.log(theirs["latency_ms_median"] / ours["latency_ms_median"]))


def _rounds(record: Mapping) -> dict[int, float]:
    """round -> median latency [ms] of its samples; empty if the timing kept none."""
    samples = [record.get(name) for name in ("latency_round", "latency_ms")]
    return round_medians(zip(*(one if isinstance(one, list) else [] for one in samples), strict=True))


def _median(values: Sequence[float], otherwise: float) -> Estimate:
    """The median of a number per round, and its draws over resampled rounds; `otherwise` if there is no round."""
    if len(values) < ROUNDS:
        return Estimate(float(np.median(values)) if values else otherwise, None)
    drawn = np.random.default_rng(0).choice(values, (DRAWS, len(values)))
    return Estimate(float(np.median(values)), np.median(drawn, axis=1))


# What a run left


class Left:
    """The results of a run, and its timings {pair: {method: record}}."""

    def __init__(self, results: Results):
        self.results, self.pairs = results, list(results.samples)
        self.timings: dict[Pair, dict[str, dict]] = {}
        for record in results.timing.to_dict("records"):
            self.timings.setdefault((record["dataset"], record["category"]), {})[record["method"]] = record

    def seeds(self, pair: Pair, method: str, metric: str) -> Seeds:
        return self.results.samples[pair].get(metric, {}).get(method, {})

    def label(self, method: str) -> str:
        return self.results.run.labels.get(method, method)

    def speaker(self, claim: Claim) -> str:
        """The first of the claim's methods that is in the run. Raises NotRun."""
        there = {name for metrics in self.results.samples.values() for methods in metrics.values() for name in methods}
        there |= {name for timed in self.timings.values() for name in timed}
        if found := [name for name in claim.speakers if name in there]:
            return found[0]
        raise NotRun("method", names=" or ".join(claim.speakers))

    def tested_on(self, claim: Claim) -> list[Pair]:
        """The datasets that the claim is tested on. Raises NotRun if one that it names is not in the run."""
        if claim.datasets is None:
            return self.pairs
        wanted = [(dataset, category) for dataset, _, category in (name.partition("/") for name in claim.datasets)]
        for name, group in by_dataset(wanted).items():
            absent = [pair for pair in group if pair not in self.pairs]
            if absent == group:
                raise NotRun("dataset", name=group[0][0] if len(group) > 1 else name)
            if absent:
                raise NotRun("categories", absent=len(absent), all=len(group), name=group[0][0])
        return wanted

    def timed(self, claim: Claim, method: str) -> dict[Pair, dict]:
        """The timings of the method. Raises NotRun if there are none."""
        found = {pair: self.timings[pair][method] for pair in self.tested_on(claim)
                 if method in self.timings.get(pair, {})}
        if not found:
            raise NotRun("timing", method=self.label(method))
        return found

    def networks(self, pairs: Iterable[Pair], method: str) -> dict:
        """How large the networks of a method are, and on what they were trained, as far as its timing tells."""
        records = [self.timings[pair][method] for pair in pairs if method in self.timings.get(pair, {})]
        if not records or not all(record["training_images"] > 0 for record in records):
            return {}
        return {"parameters": span([record["parameters"] / 1e6 for record in records], rounded),
                "images": span([record["training_images"] for record in records]),
                "nfe": span([record["nfe"] for record in records])}


def read_series(run: Path, study: str, series: str) -> tuple[Results, dict[float, str], str]:
    """What a series of the ablation study left, its variants by x, and what x is. Raises NotRun and InputError."""
    if not (run / "tables/ablation.csv").is_file():
        raise NotRun("study")
    made = read_ablation(run)
    rows = made.places[(made.places["study"] == study) & (made.places["series"] == series)].dropna(subset="x")
    parts = made.results
    results = replace(next(iter(parts.values())), records=pd.concat([one.records for one in parts.values()]),
                      samples={pair: one.samples[pair] for pair, one in parts.items()})
    return results, dict(zip(rows["x"], rows["variant"], strict=True)), made.studies.get(study, {}).get("x", "x")


# Kinds of test


def better(claim: Claim, left: Left) -> Evidence:
    """Each of the metrics minus that of the best rival."""
    method, metrics = left.speaker(claim), claim.options["metrics"]
    pairs = [pair for pair in left.tested_on(claim) if all(left.seeds(pair, method, metric) for metric in metrics)]
    if not pairs:
        raise NotRun("labels", metrics=_names(metrics))

    def compare(pair: Pair, rival: str) -> dict[Key, Estimate]:
        found = {(metric, rival): contrast(left.seeds(pair, method, metric), left.seeds(pair, rival, metric))
                 for metric in metrics}
        kept = {key: one[0] for key, one in found.items() if one}
        return kept if len(kept) == len(metrics) else {}

    comparisons, absent = _against(claim, pairs, compare)
    overall, _ = combined(comparisons)
    leads = {metric: {rival: one for (name, rival), one in overall.items() if name == metric} for metric in metrics}
    shown = [_lead(left, method, metric, leads[metric], pairs) for metric in metrics]
    rivals = f"the best of {len(leads[metrics[0]])} rivals" if len(leads[metrics[0]]) > 1 else shown[0]["rival"]
    return Evidence(
        method, comparisons, claim.options["by"] / 100, "points", lambda lead: 100 * lead,
        f"{'the smallest lead in ' * (len(metrics) > 1)}{_names(metrics)}, {left.label(method)} minus {rivals}; "
        + _images(left.results, pairs, method), absent,
        facts={"metrics": shown, "networks": left.networks(pairs, method)})


def _lead(left: Left, method: str, metric: str, leads: dict[str, Estimate], pairs: Sequence[Pair]) -> dict:
    """A metric of the method and of its best rival, and how many rivals are on either side."""
    best = min(leads, key=lambda rival: leads[rival].value)
    ours, theirs = (over_datasets({pair: over_seeds(left.seeds(pair, name, metric).values()).value for pair in pairs})
                    for name in (method, best))
    sides = [smallest([lead]).side(0) for lead in leads.values()]
    return {"name": _names([metric]), "ours": share(ours), "rival": left.label(best), "theirs": share(theirs),
            "n": len(leads), "better": sides.count(-1), "worse": sides.count(1),
            "relative": f"{points(100 * (ours / theirs - 1))} %" if theirs > 0 else DASH}


def faster(claim: Claim, left: Left) -> Evidence:
    """The latency of the fastest rival over ours."""
    method, needed = left.speaker(claim), claim.options.get("chain", 0)
    ours = left.timed(claim, method)

    def compare(pair: Pair, rival: str) -> dict[Key, Estimate]:
        timed = left.timings[pair]
        return {("latency", rival): log_ratio(timed[rival], ours[pair])} if rival in timed else {}

    comparisons, absent = _against(claim, list(ours), compare)
    overall, _ = combined(comparisons)
    lead, fastest = min((one.value, rival) for (_, rival), one in overall.items())
    theirs = {pair: left.timings[pair][fastest] for pair in ours}
    evaluations = max(record["nfe"] for record in theirs.values())
    batches = over_datasets({pair: math.log(one["images_per_s"] / theirs[pair]["images_per_s"])
                             for pair, one in ours.items()})
    lacking = _busy([*ours.values(), *theirs.values()])
    facts = {"ours_ms": _milliseconds(ours), "theirs_ms": _milliseconds(theirs), "rival": left.label(fastest),
             "rivals": len(overall), "batches": rounded(math.exp(batches)), "needed": needed}
    if evaluations < needed:
        lacking = WHY["chain"].format(rival=left.label(fastest), nfe=plain(evaluations), needed=needed)
        facts["predicted"] = rounded(math.exp(lead) * needed / evaluations)
    rival = f"the fastest of {len(overall)} rivals" if len(overall) > 1 else left.label(fastest)
    return Evidence(method, comparisons, math.log(claim.options["times"]), "times", math.exp,
                    f"latency at batch 1, {rival} over {left.label(method)}; {_where(ours)}", absent, lacking, facts)


def latency(claim: Claim, left: Left) -> Evidence:
    """The latency at batch 1 against a limit."""
    method, limit, needed = left.speaker(claim), claim.options["below_ms"], claim.options["device"]
    timed = left.timed(claim, method)
    comparisons: Comparisons = {}
    for pair, record in timed.items():
        below = [math.log(limit / taken) for taken in _rounds(record).values()]
        comparisons[pair] = {("latency", ""): _median(below, math.log(limit / record["latency_ms_median"]))}
    devices = dict.fromkeys(record["device"] for record in timed.values())
    lacking = (_busy(timed.values()) if list(devices) == [needed]
               else WHY["device"].format(device=" and ".join(devices), needed=needed))
    return Evidence(method, comparisons, 0.0, "ms", lambda below: limit / math.exp(below),
                    f"latency at batch 1 of {left.label(method)}; {_where(timed)}", lacking=lacking,
                    facts={"p90": _milliseconds(timed, "latency_ms_p90")})


def trend(claim: Claim, left: Left) -> Evidence:
    """Of a series of the ablation study: the metrics at one point minus those at its last."""
    study, series, at, metrics = (claim.options[name] for name in ("study", "series", "at", "metrics"))
    results, points_of, axis = read_series(left.results.run.folder, study, series)
    if at not in points_of or at == max(points_of):
        raise NotRun("series", study=study, series=series, at=plain(at))
    found = Left(results)
    here, last = points_of[at], points_of[max(points_of)]
    end = plain(max(points_of))
    comparisons: Comparisons = {}
    for pair in found.pairs:
        pairs = {metric: contrast(*(found.seeds(pair, one, metric) for one in (here, last)))
                 for metric in metrics}
        if all(pairs.values()):
            comparisons[pair] = {(metric, end): one[0] for metric, one in pairs.items() if one}
    if not comparisons:
        raise NotRun("points", study=study, series=series, at=plain(at), last=end)
    courses = [(_names([metric]), ", ".join(
        f"{plain(x)}: {share(over_datasets({pair: over_seeds(seeds.values()).value for pair, seeds in there.items()}))}"
        for x, one in sorted(points_of.items())
        for there in [{pair: found.seeds(pair, one, metric) for pair in comparisons}] if all(there.values())))
        for metric in metrics]
    return Evidence(claim.speakers[0], comparisons, 0.0, "points", lambda lead: 100 * lead,
                    f"{_names(metrics)} of {series} at {axis} {plain(at)} minus {plain(last['x'])}, ablation study; "
                    + _images(results, list(comparisons), here), facts={"courses": courses, "axis": axis})


def reaches(claim: Claim, left: Left) -> Evidence:
    """A metric against the published value."""
    method, metric = left.speaker(claim), claim.options["metric"]
    published, pairs = (claim.published or {})["value"], left.tested_on(claim)
    comparisons: Comparisons = {}
    for pair in pairs:
        seeds = left.seeds(pair, method, metric)
        if not seeds:
            raise NotRun("metric", metrics=_names([metric]), method=left.label(method), name="/".join(pair))
        one = over_seeds(seeds.values())
        comparisons[pair] = {(metric, ""): Estimate(one.value - published / 100,
                                                    None if one.draws is None else one.draws - published / 100)}
    return Evidence(method, comparisons, -claim.options["margin"] / 100, "percent", lambda lead: 100 * lead + published,
                    f"{_names([metric])} of {left.label(method)}; {_images(left.results, pairs, method)}",
                    facts={"networks": left.networks(pairs, method)})


KINDS = {"better": better, "faster": faster, "latency": latency, "trend": trend, "reaches": reaches}


def _against(claim: Claim, pairs: Sequence[Pair],
             compare: Callable[[Pair, str], dict[Key, Estimate]]) -> tuple[Comparisons, list[str]]:
    """What `compare` gives on each of `pairs` for all rivals, and what those are called for which it gives nothing.

    Raises NotRun if there is no rival.
    """
    comparisons: Comparisons = {pair: {} for pair in pairs}
    absent = []
    for entry in claim.options["than"]:
        names = [entry] if isinstance(entry, str) else entry
        for found in ({pair: compare(pair, name) for pair in pairs} for name in names):
            if all(found.values()):
                for pair in pairs:
                    comparisons[pair] |= found[pair]
                break
        else:
            absent.append(" or ".join(names))
    if not all(comparisons.values()):
        raise NotRun("method", names=", ".join(absent))
    return comparisons, absent


# What a number is of


def _names(metrics: Sequence[str]) -> str:
    return ", ".join(NAMES.get(metric, metric) for metric in metrics)


def _images(results: Results, pairs: Sequence[Pair], method: str) -> str:
    """Datasets, seeds and test images."""
    records = results.records
    ours = records[(records["method"] == method) & (records["dataset"] + "/" + records["category"]).isin(
        "/".join(pair) for pair in pairs)]
    images = ours.drop_duplicates(["dataset", "category"])[["n_test_normal", "n_test_anomalous"]].to_numpy().sum()
    seeds = ours.groupby(["dataset", "category"])["seed"].nunique().max()
    return f"{', '.join(by_dataset(pairs))}; {count(int(seeds), 'seed')}; {count(int(images), 'test image')}"


def _where(timed: Mapping[Pair, Mapping]) -> str:
    """Datasets, rounds and devices."""
    rounds = span([len(_rounds(record)) for record in timed.values()])
    return f"{', '.join(by_dataset(timed))}; {rounds} rounds; {'; '.join(device_texts(pd.DataFrame(timed.values())))}"


def _milliseconds(timed: Mapping[Pair, Mapping], key: str = "latency_ms_median") -> str:
    return span([record[key] for record in timed.values()], rounded)


def _busy(records: Iterable[Mapping]) -> str:
    """What a timing beside other work lacks; empty if it had the machine to itself."""
    others = max(record.get("cores_of_others") or 0.0 for record in records)
    return WHY["busy"].format(cores=rounded(others)) if others > BUSY else ""


# Assessment


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
    overall, parts = combined(evidence.comparisons)
    total = smallest(list(overall.values()))

    def shown(bounds: Bounds) -> tuple[float, float, float]:
        return evidence.show(bounds.value), *sorted((evidence.show(bounds.low), evidence.show(bounds.high)))

    verdict, why = _verdict(evidence, total, parts, lambda bounds: written(*shown(bounds), evidence.unit))
    measured, low, high = shown(total)
    detail = DETAIL.render(
        evidence.facts, ours=left.label(evidence.method), side=_side(evidence), boundary=_boundary(evidence),
        parts=[f"{name} {written(*shown(one), evidence.unit)}" for name, one in parts.items()],
        lacking=evidence.lacking if total.value < evidence.boundary else "")
    return row | {"method": evidence.method, "verdict": verdict, "why": why, "measured": measured, "low": low,
                  "high": high, "unit": evidence.unit, "of": evidence.of, "detail": " ".join(detail.split())}


def _side(evidence: Evidence) -> str:
    return "below" if evidence.show(evidence.boundary + 1) < evidence.show(evidence.boundary) else "above"


def _boundary(evidence: Evidence) -> str:
    return f"{plain(evidence.show(evidence.boundary))} {UNITS[evidence.unit][0]}"


def _verdict(evidence: Evidence, total: Bounds, parts: Mapping[str, Bounds],
             write: Callable[[Bounds], str]) -> tuple[str, str]:
    """The verdict, and in one line why it is not reproduced."""
    verdict, side = judge(total, parts.values(), evidence.boundary), total.side(evidence.boundary)
    if math.isnan(total.low):
        return verdict, WHY["rounds" if evidence.unit in ("times", "ms") else "draws"]
    if verdict == "inconclusive" and side:
        opposed = [f"{name} {write(one)}" for name, one in parts.items() if one.side(evidence.boundary) == -side]
        return verdict, WHY["opposed"].format(dataset="; ".join(opposed))
    if verdict == "inconclusive":
        return verdict, WHY["covers"].format(interval=write(total), boundary=_boundary(evidence))
    if verdict == "reproduced" and evidence.absent:
        return "inconclusive", WHY["absent"].format(names=", ".join(evidence.absent))
    if verdict == "reproduced":
        return verdict, ""
    if evidence.lacking:
        return "not run", evidence.lacking
    other = "above" if _side(evidence) == "below" else "below"
    return verdict, WHY["beyond"].format(interval=write(total), side=other, boundary=_boundary(evidence))


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
