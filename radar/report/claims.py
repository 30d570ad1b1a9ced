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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import pandas as pd

from radar.evaluation.bootstrap import interval
from radar.evaluation.rounds import round_medians
from radar.report import tables
from radar.report.ablation import Ablation
from radar.report.claim_config import Claim
from radar.report.latex import to_latex
from radar.report.tables import DASH, MAIN_COLUMNS, Block, Cell, Run, applicable, common, rounded, seed_mean, short

REBUILD = "snakemake --cores all results/tables/claims.md"
VERDICTS = ("reproduced", "contradicted", "inconclusive", "not run")
TABLE = ["id", "paper", "method", "statement", "verdict", "measured", "low", "high", "unit", "published",
         "published_unit", "source", "evidence", "conditions", "detail"]
LEGEND = (
    "Reproduced: the 95 % interval of what was measured lies on the claim's side of the boundary, and no single "
    "dataset's interval on the other. Contradicted: the other way round. Inconclusive: neither. Not run: the note says "
    "what is missing. Where a claim names no dataset, measured is the mean over the datasets of the run, of speeds the "
    "geometric one.",
    "Intervals are of accuracy over resampled test images, paired between methods, and of speed over rounds in which "
    "the methods take turns. Against the best of several rivals the upper end is corrected for their number; the lower "
    "end needs no correction. No interval holds what another training or another dataset would change, and none is "
    "corrected for the number of claims.",
    "Points are hundredths: 1 point of image AUROC is .010.",
)
OTHERS = "For comparison: nothing is tested on them, since the suite lacks the method, the dataset or the device."
DRAWS, ROUNDS = 1000, 6  # of the rounds of the timing; fewer rounds than 6 give a median no 95 % interval
METRIC_NAMES = {metric: full for metric, *_, full in MAIN_COLUMNS}

Pair = tuple[str, str]  # dataset, category
Key = tuple[str, str]  # metric, rival


class NotRun(Exception):
    """Why a claim cannot be tested: what is missing."""


@dataclass(frozen=True)
class Results:
    """What a run left. pairs: its datasets; ablation: None if the study was not made; labels: what to call methods."""

    pairs: tuple[Pair, ...]
    runs: dict[Pair, dict[str, list[Run]]]
    timings: dict[Pair, dict[str, dict]]
    ablation: Ablation | None = None
    labels: dict[str, str] = field(default_factory=dict)

    def label(self, method: str) -> str:
        return self.labels.get(method, method)


@dataclass(frozen=True)
class Estimate:
    """A number, and draws [D] of it; None = no interval is known."""

    value: float
    draws: np.ndarray | None


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

    comparisons: the claim says that they lie above `boundary`. unit: of what `show`, monotonous, makes of them.
    absent: rivals that could not be compared. easier: what is missing for a contradiction; empty if nothing is.
    detail, conditions: sentences.
    """

    method: str
    comparisons: dict[Pair, dict[Key, Estimate]]
    boundary: float
    unit: str
    show: Callable[[float], float]
    absent: list[str] = field(default_factory=list)
    easier: str = ""
    detail: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Assessment:
    """A claim with its verdict; measured, low, high in unit, NaN = none. detail, conditions: text."""

    claim: Claim
    verdict: str
    method: str = ""
    measured: float = math.nan
    low: float = math.nan
    high: float = math.nan
    unit: str = ""
    detail: str = ""
    conditions: str = ""


# Statistics


def average(parts: Sequence[Estimate]) -> Estimate:
    """The mean of independent numbers.

    Their draws come from one seed, so they are shuffled by place, as in tables.mean_over_categories.
    """
    value = float(np.mean([part.value for part in parts]))
    if any(part.draws is None for part in parts):
        return Estimate(value, None)
    if len(parts) == 1:
        return Estimate(value, parts[0].draws)
    size = min(len(part.draws) for part in parts)
    return Estimate(value, np.mean([np.random.default_rng(place).permutation(part.draws[:size])
                                    for place, part in enumerate(parts)], axis=0))


def smallest(parts: Sequence[Estimate], level: float = 0.95) -> Bounds:
    """The smallest of several numbers, with an interval that holds that nobody knew which it would be.

    The smallest true number exceeds the lowest of the lower ends, whichever it is: these need no correction. It is
    below the lowest of the upper ends only if all hold together: these are corrected for their number (Bonferroni).
    To pick the smallest in every draw instead would count the luck of the luckiest rival twice, once in the sample and
    once in the draws: equal methods would contradict a claim far too often.
    """
    value, tail = min(part.value for part in parts), (1 - level) / 2
    if any(part.draws is None for part in parts):
        return Bounds(value, math.nan, math.nan)
    lows = [interval(part.draws, level)[0] for part in parts]
    highs = [interval(part.draws, 1 - 2 * tail / len(parts))[1] for part in parts]
    return Bounds(value, min(lows), min(highs))


def combined(comparisons: dict[Pair, dict[Key, Estimate]]) -> tuple[dict[Key, Estimate], dict[str, Bounds]]:
    """The comparisons averaged over datasets, and the smallest of each dataset's: {"printed/all": ...}.

    The categories of a dataset are averaged first. Only of keys that every category has.
    """
    keys = [key for key in next(iter(comparisons.values())) if all(key in one for one in comparisons.values())]
    datasets: dict[str, list[Pair]] = {}
    for pair in comparisons:
        datasets.setdefault(pair[0], []).append(pair)
    means = {}
    for dataset, pairs in datasets.items():
        name = "/".join(pairs[0]) if len(pairs) == 1 else f"{dataset}, mean of {len(pairs)}"
        means[name] = {key: average([comparisons[pair][key] for pair in pairs]) for key in keys}
    overall = {key: average([one[key] for one in means.values()]) for key in keys}
    return overall, {name: smallest(list(one.values())) for name, one in means.items()}


def judge(total: Bounds, parts: Iterable[Bounds], boundary: float) -> str:
    """reproduced, contradicted or inconclusive: see the head of this module."""
    side, sides = total.side(boundary), {part.side(boundary) for part in parts}
    if side == 0 or -side in sides:
        return "inconclusive"
    return "reproduced" if side > 0 else "contradicted"


def difference(ours: Sequence[Run], theirs: Sequence[Run], metric: str) -> Estimate | None:
    """ours - theirs over the seeds that both have, draw by draw; None if the metric applies to no common seed."""
    ours, theirs = common(applicable(ours, metric), applicable(theirs, metric))
    if not ours:
        return None
    first, second = seed_mean(ours, metric), seed_mean(theirs, metric)
    return Estimate(_mean(ours, metric) - _mean(theirs, metric),
                    None if first is None or second is None else first - second)


def log_ratio(theirs: dict, ours: dict) -> Estimate:
    """Logarithm of the latency of one timing.json over that of another: the median over their common rounds."""
    first, second = _rounds(theirs), _rounds(ours)
    together = [math.log(first[index] / second[index]) for index in sorted(first.keys() & second.keys())]
    return _median(together, math.log(theirs["latency_ms_median"] / ours["latency_ms_median"]))


def _rounds(record: dict) -> dict[int, float]:
    """round -> median latency [ms] of its samples; empty if the timing kept none."""
    return round_medians(zip(record.get("latency_round") or (), record.get("latency_ms") or (), strict=True))


def _median(values: Sequence[float], otherwise: float) -> Estimate:
    """The median of a number per round, and its draws over resampled rounds; `otherwise` if there is no round."""
    if len(values) < ROUNDS:
        return Estimate(float(np.median(values)) if values else otherwise, None)
    drawn = np.random.default_rng(0).choice(values, (DRAWS, len(values)))
    return Estimate(float(np.median(values)), np.median(drawn, axis=1))


def _mean(runs: Sequence[Run], metric: str) -> float:
    """The metric's mean over the seeds to which it applies."""
    return float(np.mean([run.value(metric) for run in applicable(runs, metric)]))


# Kinds of test


def better(claim: Claim, results: Results) -> Evidence:
    """Each of the metrics minus that of the best rival."""
    method, metrics = _speaker(claim, results), claim.options["metrics"]
    pairs = [pair for pair in _pairs(claim, results)
             if all(applicable(results.runs.get(pair, {}).get(method, []), metric) for metric in metrics)]
    if not pairs:
        raise NotRun(f"test images with what {_names(metrics)} needs (labels, masks)")

    def compare(pair: Pair, rival: str) -> dict[Key, Estimate]:
        runs = results.runs[pair]
        found = {(metric, rival): difference(runs[method], runs.get(rival, []), metric) for metric in metrics}
        return {} if None in found.values() else found

    comparisons, absent = _against(claim, results, pairs, compare)
    overall, _ = combined(comparisons)
    detail = [_lead(overall, method, metric, results, pairs) for metric in metrics]
    return Evidence(method, comparisons, claim.options["by"] / 100, "points", lambda lead: 100 * lead, absent,
                    detail=detail, conditions=[_tested(results, method, pairs)])


def _lead(overall: dict[Key, Estimate], method: str, metric: str, results: Results, pairs: Sequence[Pair]) -> str:
    """A metric of the method and of its best rival, and how many rivals are on either side, as a sentence."""
    leads = {rival: one for (name, rival), one in overall.items() if name == metric}
    best = min(leads, key=lambda rival: leads[rival].value)
    ours, theirs = (_over_datasets({pair: _mean(results.runs[pair][name], metric) for pair in pairs})
                    for name in (method, best))
    text = f"{_names([metric])}: {results.label(method)} {short(ours)}, "
    if len(leads) == 1:
        return f"{text}{results.label(best)} {short(theirs)}."
    sides = [smallest([lead]).side(0) for lead in leads.values()]
    relative = f" (relative to it {100 * (ours / theirs - 1):+.0f} %)" if theirs > 0 else ""
    return (f"{text}best rival {results.label(best)} {short(theirs)}{relative}; of {len(sides)} rivals "
            f"{sides.count(-1)} better and {sides.count(1)} worse beyond chance.")


def faster(claim: Claim, results: Results) -> Evidence:
    """The latency of the fastest rival over ours."""
    method = _speaker(claim, results)
    timings = {pair: results.timings[pair] for pair in _pairs(claim, results)
               if method in results.timings.get(pair, {})}
    if not timings:
        raise NotRun(f"the timing of {results.label(method)}")

    def compare(pair: Pair, rival: str) -> dict[Key, Estimate]:
        timed = timings[pair]
        return {("latency", rival): log_ratio(timed[rival], timed[method])} if rival in timed else {}

    comparisons, absent = _against(claim, results, list(timings), compare)
    overall, _ = combined(comparisons)
    lead, fastest = min((one.value, rival) for (_, rival), one in overall.items())
    ours, theirs = ([timed[name] for timed in timings.values()] for name in (method, fastest))
    batches = math.exp(_over_datasets({pair: math.log(timed[method]["images_per_s"] / timed[fastest]["images_per_s"])
                                       for pair, timed in timings.items()}))
    detail = [f"{results.label(method)} {_milliseconds(ours)}, {'fastest rival ' * (len(overall) > 1)}"
              f"{results.label(fastest)} {_milliseconds(theirs)} an image; at the best batch sizes {rounded(batches)} "
              "times as many images per second."]
    needed, evaluations = claim.options.get("chain", 0), max(record["nfe"] for record in theirs)
    easier = "" if evaluations >= needed else (
        f"a rival of at least {needed} evaluations, which a contradiction needs; {results.label(fastest)} makes "
        f"{evaluations:g}, and {needed} would let one expect {rounded(math.exp(lead) * needed / evaluations)} times, "
        "which is predicted, not measured")
    easier = easier or _busy([*ours, *theirs])
    return Evidence(method, comparisons, math.log(claim.options["times"]), "times", math.exp, absent, easier, detail,
                    [_timed(ours)])


def _busy(records: Sequence[dict]) -> str:
    """What a timing beside other work lacks; empty if it had the machine to itself."""
    busy = any((record.get("cores_of_others") or 0.0) > tables.BUSY for record in records)
    return "a timing on a machine without other work, which a contradiction needs" if busy else ""


def latency(claim: Claim, results: Results) -> Evidence:
    """The latency at batch 1 against a limit."""
    method, limit, needed = _speaker(claim, results), claim.options["below_ms"], claim.options["device"]
    timed = {pair: results.timings[pair][method] for pair in _pairs(claim, results)
             if method in results.timings.get(pair, {})}
    if not timed:
        raise NotRun(f"the timing of {results.label(method)}")
    comparisons = {}
    for pair, record in timed.items():
        below = [math.log(limit / taken) for taken in _rounds(record).values()]
        comparisons[pair] = {("latency", ""): _median(below, math.log(limit / record["latency_ms_median"]))}
    records = list(timed.values())
    right = {record["device"] for record in records} == {needed}
    easier = _busy(records) if right else f"a timing on a device of kind {needed}, which a contradiction needs"
    return Evidence(method, comparisons, 0.0, "ms", lambda below: limit / math.exp(below), easier=easier,
                    detail=[f"90th percentile {_milliseconds(records, 'latency_ms_p90')}."],
                    conditions=[_timed(records)])


def trend(claim: Claim, results: Results) -> Evidence:
    """Of a series of the ablation study: the metrics at one point minus those at its last."""
    study, series, at, metrics = (claim.options[name] for name in ("study", "series", "at", "metrics"))
    if results.ablation is None:
        raise NotRun("the ablation study (make ablation)")
    of, studies = results.ablation.of, results.ablation.studies
    entries = studies[study].entries if study in studies else ()
    points = {entry.x: entry for entry in entries if entry.series == series and entry.x is not None}
    if at not in points or at == max(points):
        raise NotRun(f"in the ablation study a series {series} of {study} that goes on from {at:g}")
    here, last = points[at], points[max(points)]
    comparisons: dict[Pair, dict[Key, Estimate]] = {}
    for pair in results.ablation.pairs:
        found = {(metric, f"{last.x:g}"): difference(of(pair, here.variant), of(pair, last.variant), metric)
                 for metric in metrics}
        if "/".join(pair) in here.datasets and None not in found.values():
            comparisons[pair] = found
    if not comparisons:
        raise NotRun(f"in the ablation study results of {series} at {at:g} and {last.x:g}")
    detail = []
    for metric in metrics:
        course = []
        for x, entry in sorted(points.items()):
            runs = {pair: applicable(of(pair, entry.variant), metric) for pair in comparisons}
            if all(runs.values()):
                mean = _over_datasets({pair: _mean(found, metric) for pair, found in runs.items()})
                course.append(f"{x:g}: {short(mean)}")
        detail.append(f"{_names([metric])} over {studies[study].x}: {', '.join(course)}; measured is that at {at:g} "
                      f"minus that at {last.x:g}.")
    seeds = len(results.ablation.seeds)
    return Evidence(claim.speakers[0], comparisons, 0.0, "points", lambda lead: 100 * lead, detail=detail,
                    conditions=[f"Here: {_listed(comparisons)}, {_seeds(seeds)}, of the ablation study."])


def reaches(claim: Claim, results: Results) -> Evidence:
    """A metric against the published value."""
    method, metric, published = _speaker(claim, results), claim.options["metric"], claim.published["value"]
    pairs, comparisons = _pairs(claim, results), {}
    for pair in pairs:
        runs = applicable(results.runs.get(pair, {}).get(method, []), metric)
        if not runs:
            raise NotRun(f"{_names([metric])} of {results.label(method)} on {'/'.join(pair)}")
        draws = seed_mean(runs, metric)
        comparisons[pair] = {(metric, ""): Estimate(_mean(runs, metric) - published / 100,
                                                    None if draws is None else draws - published / 100)}
    return Evidence(method, comparisons, -claim.options["margin"] / 100, "percent", lambda lead: 100 * lead + published,
                    conditions=[_tested(results, method, pairs)])


KINDS = {"better": better, "faster": faster, "latency": latency, "trend": trend, "reaches": reaches}


def _speaker(claim: Claim, results: Results) -> str:
    """The first of the claim's methods that is in the run. Raises NotRun."""
    for method in claim.speakers:
        if any(method in found for found in [*results.runs.values(), *results.timings.values()]):
            return method
    raise NotRun(f"the method {' or '.join(claim.speakers)}")


def _pairs(claim: Claim, results: Results) -> list[Pair]:
    """The datasets that the claim is tested on. Raises NotRun if one that it names is not in the run."""
    if claim.datasets is None:
        return list(results.pairs)
    wanted = [tuple(name.split("/", 1)) for name in claim.datasets]
    for dataset, group in groupby(wanted, key=lambda pair: pair[0]):
        group = list(group)
        if absent := [pair for pair in group if pair not in results.pairs]:
            whole = f"the dataset {dataset}" if len(group) > 1 else f"the dataset {'/'.join(group[0])}"
            raise NotRun(whole if absent == group else f"{len(absent)} of the {len(group)} categories of {dataset}")
    return wanted


def _against(claim: Claim, results: Results, pairs: Sequence[Pair],
             compare: Callable[[Pair, str], dict[Key, Estimate]]) -> tuple[dict[Pair, dict[Key, Estimate]], list[str]]:
    """What `compare` gives on each of `pairs` for all rivals, and what those are called for which it gives nothing.

    Raises NotRun if there is no rival.
    """
    comparisons: dict[Pair, dict[Key, Estimate]] = {pair: {} for pair in pairs}
    absent = []
    for entry in claim.options["than"]:
        for name in [entry] if isinstance(entry, str) else entry:
            found = {pair: compare(pair, name) for pair in pairs}
            if all(found.values()):
                for pair in pairs:
                    comparisons[pair] |= found[pair]
                break
        else:
            absent.append(entry if isinstance(entry, str) else " or ".join(entry))
    if not all(comparisons.values()):
        raise NotRun(f"the method {', '.join(absent)}")
    return comparisons, absent


# Words


def _over_datasets(values: dict[Pair, float]) -> float:
    """The mean over datasets of the means over their categories."""
    datasets: dict[str, list[float]] = {}
    for (dataset, _), value in values.items():
        datasets.setdefault(dataset, []).append(value)
    return float(np.mean([np.mean(one) for one in datasets.values()]))


def _names(metrics: Sequence[str]) -> str:
    return ", ".join(METRIC_NAMES.get(metric, metric) for metric in metrics)


def _listed(pairs: Iterable[Pair], most: int = 4) -> str:
    names = ["/".join(pair) for pair in pairs]
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def _seeds(count: int) -> str:
    return f"{count} seed{'s' * (count != 1)}"


def _span(values: Sequence[float]) -> str:
    """A number, or the range of several, to three digits."""
    return " to ".join(dict.fromkeys(map(rounded, (min(values), max(values)))))


def _milliseconds(records: Sequence[dict], key: str = "latency_ms_median") -> str:
    return f"{_span([record[key] for record in records])} ms"


def _tested(results: Results, method: str, pairs: Sequence[Pair]) -> str:
    """On what a method was tested, and how it was trained as far as its timing tells, as a sentence."""
    runs = {pair: results.runs[pair][method] for pair in pairs}
    counted = ("n_test_normal", "n_test_anomalous")
    images = sum(one[0].record.get(name) or 0 for one in runs.values() for name in counted)
    text = f"Here: {_listed(pairs)}, {images:,} test images, {_seeds(max(map(len, runs.values())))}"
    timed = [results.timings[pair][method] for pair in pairs if method in results.timings.get(pair, {})]
    if timed and all(record["training_images"] for record in timed):
        text += (f", networks of {_span([record['parameters'] / 1e6 for record in timed])} M parameters trained on "
                 f"{max(record['training_images'] for record in timed):,} patches or feature maps, NFE "
                 f"{' or '.join(dict.fromkeys(format(record['nfe'], 'g') for record in timed))}")
    return f"{text}."


def _timed(records: Sequence[dict]) -> str:
    """Where methods were timed, as a sentence."""
    devices = dict.fromkeys(one["device"] + (f" ({one['device_name']})" if one.get("device_name") else "")
                            + (f", {one['threads']} thread{'s' * (one['threads'] != 1)}" if one.get("threads") else "")
                            for one in records)
    shapes = dict.fromkeys("×".join(map(str, one["image_shape"])) for one in records if one.get("image_shape"))
    images = f", images of {' and '.join(shapes)} (channels × height × width)" if shapes else ""
    return f"Here: {' and '.join(devices)}{images}."


def _number(value: float, unit: str) -> str:
    return f"{value:+.1f}" if unit == "points" else f"{value:.1f}" if unit == "percent" else rounded(value)


def _unit(unit: str) -> str:
    return "%" if unit == "percent" else unit


def _with_interval(value: float, low: float, high: float, unit: str) -> str:
    ends = "" if math.isnan(low) else f" [{_number(low, unit)}, {_number(high, unit)}]"
    return f"{_number(value, unit)}{ends} {_unit(unit)}"


def _sentences(*texts: str) -> str:
    return " ".join(text for text in texts if text)


# Assessment


def assess(claim: Claim, results: Results) -> Assessment:
    """The verdict on a claim, with what was measured."""
    row = claim.published or {}
    terms = ", ".join(row[key] for key in ("setting", "device") if row.get(key) not in (None, "", "relative"))
    published = f"Published for: {terms}." if terms else ""
    try:
        evidence = KINDS[claim.kind](claim, results)
    except NotRun as missing:
        return Assessment(claim, "not run", claim.speakers[0], detail=f"Missing: {missing}.",
                          conditions=_sentences(claim.conditions, published))
    overall, parts = combined(evidence.comparisons)
    total, boundary = smallest(list(overall.values())), evidence.boundary
    verdict = judge(total, parts.values(), boundary)

    def shown(bounds: Bounds) -> tuple[float, float, float]:
        return evidence.show(bounds.value), *sorted((evidence.show(bounds.low), evidence.show(bounds.high)))

    side = "below" if evidence.show(boundary + 1) < evidence.show(boundary) else "above"
    detail = [f"The claim holds {side} {evidence.show(boundary):g} {_unit(evidence.unit)}.",
              *evidence.detail]
    if len(parts) > 1:
        each = "; ".join(f"{name} {_with_interval(*shown(one), evidence.unit)}" for name, one in parts.items())
        detail.append(f"By dataset: {each}.")
    if verdict == "inconclusive" and total.side(boundary):
        detail.append("A single dataset says the opposite.")
    if math.isnan(total.low):
        lacking = f"fewer than {ROUNDS} timed rounds" if evidence.unit in ("times", "ms") else "no bootstrap draws"
        detail.append(f"No interval: {lacking}.")
    if evidence.absent:
        detail.append(f"Not compared: {', '.join(evidence.absent)}, without which nothing is the best.")
        verdict = "inconclusive" if verdict == "reproduced" else verdict
    if evidence.easier and total.value < boundary:
        detail.append(f"Missing: {evidence.easier}.")
        verdict = "not run" if verdict == "contradicted" else verdict
    return Assessment(claim, verdict, evidence.method, *shown(total), evidence.unit, _sentences(*detail),
                      _sentences(claim.conditions, *evidence.conditions, published))


def table(assessments: Sequence[Assessment]) -> pd.DataFrame:
    """One row per claim, with the columns TABLE; what is not known is empty."""
    rows = [(one.claim.name, f"{one.claim.paper}, {one.claim.reference}", one.method, one.claim.statement, one.verdict,
             one.measured, one.low, one.high, one.unit, *_published(one.claim), one.claim.source, one.claim.evidence,
             one.conditions, one.detail) for one in assessments]
    return pd.DataFrame(rows, columns=TABLE)


def _published(claim: Claim) -> tuple[float, str]:
    return (claim.published["value"], claim.published["unit"]) if claim.published else (math.nan, "")


def blocks(assessments: Sequence[Assessment]) -> list[Block]:
    """A block per paper, a row per claim with a note of its own."""
    columns = [("this run", "verdict", "verdict"), ("this run", *["measured [95 % interval]"] * 2),
               ("paper", "published", "published")]
    made: dict[str, Block] = {}
    for one in assessments:
        title = f"{one.claim.paper}, {one.claim.reference}"
        block = made.setdefault(title, Block(title, [], [], columns, head="claim"))
        source = f"Source: {one.claim.source} ({one.claim.evidence})."
        block.notes.append(_sentences(one.detail, one.conditions, source))
        measured = DASH if math.isnan(one.measured) else _with_interval(one.measured, one.low, one.high, one.unit)
        value, unit = _published(one.claim)
        published = DASH if math.isnan(value) else f"{value:g} {_unit(unit)}"
        block.rows.append((one.claim.statement, [len(block.notes)],
                           [Cell(one.verdict), Cell(measured), Cell(published)]))
    for block in made.values():
        block.caption.append(f"{counts(cells[0].text for *_, cells in block.rows)}.")
    return list(made.values())


def counts(verdicts: Iterable[str]) -> str:
    """How many of each verdict: "2 reproduced, 1 not run"."""
    verdicts = list(verdicts)
    return ", ".join(f"{verdicts.count(name)} {name}" for name in VERDICTS if name in verdicts)


def others(published: Sequence[dict], claims: Sequence[Claim]) -> Block:
    """The rows of published.csv that no claim stands on; too wide for a page of LaTeX."""
    columns = [("published", name, name) for name in ("dataset", "setting", "metric", "value", "device", "source")]
    block, used = Block("Other published values", [OTHERS], [], columns), [claim.published for claim in claims]
    for row in published:
        if row not in used:
            texts = (f"{row['dataset']}, {row['category']}", row["setting"], row["metric"],
                     f"{row['value']:g} {_unit(row['unit'])}", row["device"] or DASH,
                     f"{row['source']} ({row['evidence']})")
            block.rows.append((f"{row['method']}, {row['paper']}", [], list(map(Cell, texts))))
    return block


def markdown(made: Sequence[Block]) -> str:
    """What `blocks` gave, as Markdown."""
    return tables.to_markdown("Claims", LEGEND, made, REBUILD)


def latex(made: Sequence[Block]) -> str:
    """What `blocks` gave, as LaTeX."""
    return to_latex("Claims", LEGEND, made, REBUILD)
