"""The five kinds of test of config/claims.yaml: what a run left that speaks to a claim of a paper.

A lead is a number that the claim says lies above a boundary: that over a rival in a metric, the logarithm of how many
times faster. Leads are averaged over the categories of a dataset and then over datasets, all with the same weight.
Accuracy is compared draw by draw on the same resampled test images, latency round by round on the same moments.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from radar.checked_yaml import UNSET
from radar.evaluation.rounds import round_medians
from radar.report.ablation import read_ablation
from radar.report.claim_config import Claim
from radar.report.compare import average, by_dataset, contrast, over_seeds
from radar.report.format import DASH, count, plain, points, rounded, share, span
from radar.report.load import Estimate, Pair, Results, Seeds
from radar.report.tables import BUSY, NAMES, TEXT, device_texts

DRAWS, ROUNDS = 1000, 6  # of the rounds of the timing; fewer rounds than 6 give a median no 95 % interval
WHY = TEXT["why"]
Leads = dict[tuple[str, str], dict[Pair, Estimate]]  # (metric, rival) -> a lead on every dataset


class NotRun(Exception):
    """Why a claim cannot be tested: a sentence of WHY."""

    def __init__(self, why: str, **values: object):
        super().__init__(WHY[why].format(**values))


@dataclass(frozen=True)
class Evidence:
    """What speaks to a claim.

    leads: the claim says that they lie above `boundary`. of: what the number is of. unit: of what `show`, monotonous,
    makes of them. doubts: why the verdict "reproduced" or "contradicted" cannot be given. facts: for the template of
    the detail.
    """

    leads: Leads
    boundary: float
    of: str
    unit: str = "points"
    show: Callable[[float], float] = lambda lead: 100 * lead
    doubts: dict[str, str] = field(default_factory=dict)
    facts: dict = field(default_factory=dict)


def means(lead: Mapping[Pair, Estimate]) -> dict[str, Estimate]:
    """Of each dataset the mean over its categories: {"printed/all": ...}."""
    return {name: average([lead[pair] for pair in pairs]) for name, pairs in by_dataset(lead).items()}


def overall(lead: Mapping[Pair, Estimate]) -> Estimate:
    """The mean over datasets."""
    return average(list(means(lead).values()))


# The kinds of test, each of (claim, its options, the method that speaks for it, what the run left). They raise NotRun.


def better(claim: Claim, test: Any, method: str, results: Results) -> Evidence:
    """Each of the metrics minus that of the best rival."""
    labels, metrics = results.run.labels, test.metrics
    pairs = [pair for pair in _tested_on(claim, method, results)
             if all(_seeds(results, pair, method, metric) for metric in metrics)]
    if not pairs:
        raise NotRun("labels", metrics=_names(metrics))
    leads, doubts = _against(test.than, pairs, lambda rival: _leads(results, pairs, metrics, method, rival))

    def facts(metric: str) -> dict:
        """The best rival, and how many rivals are on either side."""
        over = {rival: overall(lead) for (name, rival), lead in leads.items() if name == metric}
        best = min(over, key=lambda rival: over[rival].value)
        ours, theirs = (_mean(results, pairs, name, metric) for name in (method, best))
        ends = [one.ends() for one in over.values()]
        return {"name": _names([metric]), "ours": share(ours), "rival": labels[best], "theirs": share(theirs),
                "n": len(over), "better": sum(high < 0 for _, high in ends), "worse": sum(low > 0 for low, _ in ends),
                "relative": f"{points(100 * (ours / theirs - 1))} %" if theirs > 0 else DASH}

    shown = [facts(metric) for metric in metrics]
    rivals = f"the best of {shown[0]['n']} rivals" if shown[0]["n"] > 1 else shown[0]["rival"]
    of = (f"{'the smallest lead in ' * (len(metrics) > 1)}{_names(metrics)}, {labels[method]} minus {rivals}; "
          + _images(results, pairs, method))
    return Evidence(leads, test.by / 100, of, doubts=doubts,
                    facts={"metrics": shown, "networks": _networks(results, pairs, method)})


def faster(claim: Claim, test: Any, method: str, results: Results) -> Evidence:
    """The latency of the fastest rival over ours."""
    labels, ours = results.run.labels, _timed(claim, method, results)
    leads, doubts = _against(test.than, ours, lambda rival: {("latency", rival): {
        pair: log_ratio(record, ours[pair]) for pair, record in _timings(results, ours, rival).items()}})
    ahead = {rival: overall(lead).value for (_, rival), lead in leads.items()}
    fastest = min(ahead, key=ahead.__getitem__)
    theirs = _timings(results, ours, fastest)
    evaluations = max(record["nfe"] for record in theirs.values())
    batches = overall({pair: Estimate(math.log(one["images_per_s"] / theirs[pair]["images_per_s"]))
                       for pair, one in ours.items()}).value
    doubts |= _busy([*ours.values(), *theirs.values()])
    facts = {"ours_ms": _milliseconds(ours), "theirs_ms": _milliseconds(theirs), "rival": labels[fastest],
             "rivals": len(ahead), "batches": rounded(math.exp(batches)), "needed": test.chain}
    if evaluations < test.chain:
        doubts["contradicted"] = WHY["chain"].format(rival=labels[fastest], nfe=plain(evaluations), needed=test.chain)
        facts["predicted"] = rounded(math.exp(ahead[fastest]) * test.chain / evaluations)
    rival = f"the fastest of {len(ahead)} rivals" if len(ahead) > 1 else labels[fastest]
    return Evidence(leads, math.log(test.times), f"latency at batch 1, {rival} over {labels[method]}; {_where(ours)}",
                    "times", math.exp, doubts, facts)


def latency(claim: Claim, test: Any, method: str, results: Results) -> Evidence:
    """The latency at batch 1 against a limit."""
    timed, limit = _timed(claim, method, results), test.below_ms
    lead = {pair: _median((limit / _rounds(record)).map(math.log)) for pair, record in timed.items()}
    devices = list(dict.fromkeys(record["device"] for record in timed.values()))
    doubts = _busy(timed.values()) if devices == [test.device] else {
        "contradicted": WHY["device"].format(device=" and ".join(devices), needed=test.device)}
    of = f"latency at batch 1 of {results.run.labels[method]}; {_where(timed)}"
    return Evidence({("latency", ""): lead}, 0.0, of, "ms", lambda below: limit / math.exp(below), doubts,
                    {"p90": _milliseconds(timed, "latency_ms_p90")})


def trend(claim: Claim, test: Any, method: str, results: Results) -> Evidence:
    """Of a series of the ablation study: the metrics at one point minus those at its last."""
    if not (results.run.folder / "tables/ablation.csv").is_file():
        raise NotRun("study")
    made, asked = read_ablation(results.run.folder), {"study": test.study, "series": test.series, "at": plain(test.at)}
    rows = made.places[(made.places["study"] == test.study) & (made.places["series"] == test.series)]
    variants = dict(rows.dropna(subset="x").sort_values("x")[["x", "variant"]].itertuples(index=False))
    last = max(variants, default=None)
    if test.at not in variants or test.at == last:
        raise NotRun("series", **asked)
    leads = _leads(made.results, made.results.samples, test.metrics, variants[test.at], variants[last])
    pairs = list(next(iter(leads.values())))
    if not pairs:
        raise NotRun("points", last=plain(last), **asked)
    courses = [(_names([metric]), ", ".join(
        f"{plain(x)}: {share(_mean(made.results, pairs, one, metric))}" for x, one in variants.items()
        if all(_seeds(made.results, pair, one, metric) for pair in pairs))) for metric in test.metrics]
    axis = made.studies[test.study]["x"]
    of = f"{_names(test.metrics)} of {test.series} at {axis} {plain(test.at)} minus {plain(last)}, ablation study; "
    return Evidence(leads, 0.0, of + _images(made.results, pairs, variants[test.at]),
                    facts={"courses": courses, "axis": axis})


def reaches(claim: Claim, test: Any, method: str, results: Results) -> Evidence:
    """A metric against the published value."""
    pairs, label = _tested_on(claim, method, results), results.run.labels[method]
    found = {pair: _seeds(results, pair, method, test.metric) for pair in pairs}
    if gone := [pair for pair in pairs if not found[pair]]:
        raise NotRun("metric", metrics=_names([test.metric]), method=label, name="/".join(gone[0]))
    return Evidence({(test.metric, ""): {pair: over_seeds(seeds.values()) for pair, seeds in found.items()}},
                    (claim.published["value"] - test.margin) / 100,
                    f"{_names([test.metric])} of {label}; {_images(results, pairs, method)}", "percent",
                    facts={"networks": _networks(results, pairs, method)})


KINDS = {"better": better, "faster": faster, "latency": latency, "trend": trend, "reaches": reaches}


def _tested_on(claim: Claim, method: str, results: Results) -> list[Pair]:
    """The datasets that the claim is tested on. Raises NotRun if one of them, or the method, is not in the run."""
    if method not in results.run.methods:
        raise NotRun("method", names=" or ".join(claim.methods))
    if claim.says.datasets is UNSET:
        return list(results.samples)
    wanted = [(dataset, category) for dataset, _, category in (name.partition("/") for name in claim.says.datasets)]
    for name, group in by_dataset(wanted).items():
        absent = [pair for pair in group if pair not in results.samples]
        if absent == group:
            raise NotRun("dataset", name=group[0][0] if len(group) > 1 else name)
        if absent:
            raise NotRun("categories", absent=len(absent), all=len(group), name=group[0][0])
    return wanted


def _against(than: Sequence[Sequence[str]], pairs: Collection[Pair],
             compare: Callable[[str], Leads]) -> tuple[Leads, dict[str, str]]:
    """What `compare` gives for every rival that has all of `pairs`, and the doubt that is left by those that do not.

    Raises NotRun if there is no rival.
    """
    leads: Leads = {}
    absent = []
    for names in than:
        for found in map(compare, names):
            if all(len(lead) == len(pairs) for lead in found.values()):
                leads |= found
                break
        else:
            absent.append(" or ".join(names))
    if not leads:
        raise NotRun("method", names=", ".join(absent))
    return leads, {"reproduced": WHY["absent"].format(names=", ".join(absent))} if absent else {}


# Accuracy


def _seeds(results: Results, pair: Pair, method: str, metric: str) -> Seeds:
    return results.samples[pair].get(metric, {}).get(method, {})


def _mean(results: Results, pairs: Iterable[Pair], method: str, metric: str) -> float:
    """A metric over seeds and datasets."""
    return overall({pair: over_seeds(_seeds(results, pair, method, metric).values()) for pair in pairs}).value


def _leads(results: Results, pairs: Iterable[Pair], metrics: Sequence[str], ours: str, theirs: str) -> Leads:
    """The lead of one method over another, on those of `pairs` where they can be compared in all metrics."""
    found: dict[Pair, list[Any]] = {
        pair: [contrast(*(_seeds(results, pair, name, metric) for name in (ours, theirs))) for metric in metrics]
        for pair in pairs}
    return {(metric, theirs): {pair: one[place] for pair, one in found.items() if all(one)}
            for place, metric in enumerate(metrics)}


def _names(metrics: Sequence[str]) -> str:
    return ", ".join(NAMES.get(metric, metric) for metric in metrics)


def _images(results: Results, pairs: Sequence[Pair], method: str) -> str:
    """Datasets, seeds and test images that a number is of."""
    records = results.records[results.records["method"] == method].set_index(["dataset", "category"])
    each = records.loc[pairs].groupby(level=[0, 1])
    images = int(each[["n_test_normal", "n_test_anomalous"]].first().to_numpy().sum())
    return f"{', '.join(by_dataset(pairs))}; {count(int(each.size().max()), 'seed')}; {count(images, 'test image')}"


# Timing


def _timings(results: Results, pairs: Iterable[Pair], method: str) -> dict[Pair, dict]:
    """What was timed of a method, on those of `pairs` where it was."""
    rows = results.timing[results.timing["method"] == method].to_dict("records")
    timed = {(row["dataset"], row["category"]): row for row in rows}
    return {pair: timed[pair] for pair in pairs if pair in timed}


def _timed(claim: Claim, method: str, results: Results) -> dict[Pair, dict]:
    """The timings that the claim is tested on. Raises NotRun if there are none."""
    if found := _timings(results, _tested_on(claim, method, results), method):
        return found
    raise NotRun("timing", method=results.run.labels[method])


def log_ratio(theirs: Mapping, ours: Mapping) -> Estimate:
    """Logarithm of the latency of one timing over that of another: the median over their common rounds."""
    return _median((_rounds(theirs) / _rounds(ours)).dropna().map(math.log))


def _rounds(record: Mapping) -> pd.Series:
    """The median latency [ms] of each round."""
    return round_medians(pd.Series(record["latency_ms"], record["latency_round"], float))


def _median(values: pd.Series) -> Estimate:
    """The median of a number per round, and its draws over resampled rounds."""
    if len(values) < ROUNDS:
        return Estimate(float(values.median()))
    drawn = np.random.default_rng(0).choice(values, (DRAWS, len(values)))
    return Estimate(float(values.median()), np.median(drawn, axis=1))


def _where(timed: Mapping[Pair, Mapping]) -> str:
    """Datasets, rounds and devices that a latency is of."""
    rounds = span([len(_rounds(record)) for record in timed.values()])
    return f"{', '.join(by_dataset(timed))}; {rounds} rounds; {'; '.join(device_texts(pd.DataFrame(timed.values())))}"


def _milliseconds(timed: Mapping[Pair, Mapping], key: str = "latency_ms_median") -> str:
    return span([record[key] for record in timed.values()], rounded)


def _busy(records: Iterable[Mapping]) -> dict[str, str]:
    """The doubt about a timing beside other work; none if it had the machine to itself."""
    others = max(record.get("cores_of_others") or 0.0 for record in records)
    return {"contradicted": WHY["busy"].format(cores=rounded(others))} if others > BUSY else {}


def _networks(results: Results, pairs: Iterable[Pair], method: str) -> dict:
    """How large the networks of a method are, and on what they were trained, as far as its timing tells."""
    records = _timings(results, pairs, method).values()
    if not records or not all(record["training_images"] > 0 for record in records):
        return {}
    return {"parameters": span([record["parameters"] / 1e6 for record in records], rounded),
            "images": span([record["training_images"] for record in records]),
            "nfe": span([record["nfe"] for record in records])}
