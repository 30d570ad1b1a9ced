"""The five kinds of test of config/claims.yaml: each gives Evidence, or raises NotRun.

Accuracy is compared draw by draw on the same resampled test images, latency round by round on the same moments.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from radar.evaluation.rounds import round_medians
from radar.report.ablation import read_ablation
from radar.report.claim_config import Claim
from radar.report.claim_evidence import WHY, Comparisons, Evidence, Key, Left, NotRun, over_datasets, overall
from radar.report.compare import Estimate, by_dataset, contrast, over_seeds
from radar.report.format import DASH, plain, points, rounded, share, span
from radar.report.load import Pair
from radar.report.tables import BUSY, NAMES, device_texts

DRAWS, ROUNDS = 1000, 6  # of the rounds of the timing; fewer rounds than 6 give a median no 95 % interval


def better(claim: Claim, left: Left) -> Evidence:
    """Each of the metrics minus that of the best rival."""
    method, metrics = left.speaker(claim), claim.options["metrics"]
    pairs = [pair for pair in left.tested_on(claim) if all(left.seeds(pair, method, metric) for metric in metrics)]
    if not pairs:
        raise NotRun("labels", metrics=_names(metrics))

    def compare(pair: Pair, rival: str) -> dict[Key, Estimate]:
        found = {(metric, rival): contrast(left.seeds(pair, method, metric), left.seeds(pair, rival, metric))
                 for metric in metrics}
        return {key: one[0] for key, one in found.items() if one} if all(found.values()) else {}

    def facts(metric: str) -> dict:
        """The best rival, and how many rivals are on either side."""
        leads = {rival: one for (name, rival), one in total.items() if name == metric}
        best = min(leads, key=lambda rival: leads[rival].value)
        ours, theirs = (left.mean(pairs, name, metric) for name in (method, best))
        ends = [one.ends() for one in leads.values()]
        return {"name": _names([metric]), "ours": share(ours), "rival": left.label(best), "theirs": share(theirs),
                "n": len(leads), "better": sum(high < 0 for _, high in ends), "worse": sum(low > 0 for low, _ in ends),
                "relative": f"{points(100 * (ours / theirs - 1))} %" if theirs > 0 else DASH}

    comparisons, absent = _against(claim, pairs, compare)
    total = overall(comparisons)
    shown = [facts(metric) for metric in metrics]
    rivals = f"the best of {shown[0]['n']} rivals" if shown[0]["n"] > 1 else shown[0]["rival"]
    of = (f"{'the smallest lead in ' * (len(metrics) > 1)}{_names(metrics)}, {left.label(method)} minus {rivals}; "
          + left.images(pairs, method))
    return Evidence(method, comparisons, claim.options["by"] / 100, of, absent=absent,
                    facts={"metrics": shown, "networks": left.networks(pairs, method)})


def faster(claim: Claim, left: Left) -> Evidence:
    """The latency of the fastest rival over ours."""
    method, needed = left.speaker(claim), claim.options.get("chain", 0)
    ours = left.timed(claim, method)

    def compare(pair: Pair, rival: str) -> dict[Key, Estimate]:
        timed = left.timings[pair]
        return {("latency", rival): log_ratio(timed[rival], ours[pair])} if rival in timed else {}

    comparisons, absent = _against(claim, list(ours), compare)
    leads = {rival: one.value for (_, rival), one in overall(comparisons).items()}
    fastest = min(leads, key=leads.__getitem__)
    theirs = {pair: left.timings[pair][fastest] for pair in ours}
    evaluations = max(record["nfe"] for record in theirs.values())
    batches = over_datasets({pair: math.log(one["images_per_s"] / theirs[pair]["images_per_s"])
                             for pair, one in ours.items()})
    lacking = _busy([*ours.values(), *theirs.values()])
    facts = {"ours_ms": _milliseconds(ours), "theirs_ms": _milliseconds(theirs), "rival": left.label(fastest),
             "rivals": len(leads), "batches": rounded(math.exp(batches)), "needed": needed}
    if evaluations < needed:
        lacking = WHY["chain"].format(rival=left.label(fastest), nfe=plain(evaluations), needed=needed)
        facts["predicted"] = rounded(math.exp(leads[fastest]) * needed / evaluations)
    rival = f"the fastest of {len(leads)} rivals" if len(leads) > 1 else left.label(fastest)
    return Evidence(method, comparisons, math.log(claim.options["times"]),
                    f"latency at batch 1, {rival} over {left.label(method)}; {_where(ours)}", "times", math.exp, absent,
                    lacking, facts)


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
    return Evidence(method, comparisons, 0.0, f"latency at batch 1 of {left.label(method)}; {_where(timed)}", "ms",
                    lambda below: limit / math.exp(below), lacking=lacking,
                    facts={"p90": _milliseconds(timed, "latency_ms_p90")})


def trend(claim: Claim, left: Left) -> Evidence:
    """Of a series of the ablation study: the metrics at one point minus those at its last."""
    study, series, at, metrics = (claim.options[name] for name in ("study", "series", "at", "metrics"))
    found, variants, axis = _series(left.results.run.folder, study, series)
    if at not in variants or at == max(variants):
        raise NotRun("series", study=study, series=series, at=plain(at))
    here, last, end = variants[at], variants[max(variants)], plain(max(variants))
    comparisons: Comparisons = {}
    for pair in found.pairs:
        leads = {metric: contrast(*(found.seeds(pair, one, metric) for one in (here, last))) for metric in metrics}
        if all(leads.values()):
            comparisons[pair] = {(metric, end): one[0] for metric, one in leads.items() if one}
    if not comparisons:
        raise NotRun("points", study=study, series=series, at=plain(at), last=end)
    courses = [(_names([metric]), ", ".join(
        f"{plain(x)}: {share(found.mean(comparisons, one, metric))}" for x, one in sorted(variants.items())
        if all(found.seeds(pair, one, metric) for pair in comparisons))) for metric in metrics]
    return Evidence(claim.speakers[0], comparisons, 0.0,
                    f"{_names(metrics)} of {series} at {axis} {plain(at)} minus {end}, ablation study; "
                    + found.images(comparisons, here), facts={"courses": courses, "axis": axis})


def _series(run: Path, study: str, series: str) -> tuple[Left, dict[float, str], str]:
    """What a series of the ablation study left, its variants by x, and what x is. Raises NotRun and InputError."""
    if not (run / "tables/ablation.csv").is_file():
        raise NotRun("study")
    made = read_ablation(run)
    rows = made.places[(made.places["study"] == study) & (made.places["series"] == series)].dropna(subset="x")
    parts = made.results
    results = replace(next(iter(parts.values())), records=pd.concat([one.records for one in parts.values()]),
                      samples={pair: one.samples[pair] for pair, one in parts.items()})
    return Left(results), dict(zip(rows["x"], rows["variant"], strict=True)), made.studies.get(study, {}).get("x", "x")


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
    return Evidence(method, comparisons, -claim.options["margin"] / 100,
                    f"{_names([metric])} of {left.label(method)}; {left.images(pairs, method)}", "percent",
                    lambda lead: 100 * lead + published, facts={"networks": left.networks(pairs, method)})


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


def log_ratio(theirs: Mapping, ours: Mapping) -> Estimate:
    """Logarithm of the latency of one timing over that of another: the median over their common rounds."""
    first, second = _rounds(theirs), _rounds(ours)
    together = [math.log(first[index] / second[index]) for index in sorted(first.keys() & second.keys())]
    return _median(together, math.log(theirs["latency_ms_median"] / ours["latency_ms_median"]))


def _rounds(record: Mapping) -> dict[int, float]:
    """round -> median latency [ms] of its samples; empty if the timing kept none."""
    samples = [record.get(name) for name in ("latency_round", "latency_ms")]
    rounds, taken = (one if isinstance(one, list) else [] for one in samples)
    return round_medians(pd.Series(taken, rounds, float)).to_dict()


def _median(values: Sequence[float], otherwise: float) -> Estimate:
    """The median of a number per round, and its draws over resampled rounds; `otherwise` if there is no round."""
    if len(values) < ROUNDS:
        return Estimate(float(np.median(values)) if values else otherwise, None)
    drawn = np.random.default_rng(0).choice(values, (DRAWS, len(values)))
    return Estimate(float(np.median(values)), np.median(drawn, axis=1))


def _names(metrics: Sequence[str]) -> str:
    return ", ".join(NAMES.get(metric, metric) for metric in metrics)


def _where(timed: Mapping[Pair, Mapping]) -> str:
    """Datasets, rounds and devices that a latency is of."""
    rounds = span([len(_rounds(record)) for record in timed.values()])
    return f"{', '.join(by_dataset(timed))}; {rounds} rounds; {'; '.join(device_texts(pd.DataFrame(timed.values())))}"


def _milliseconds(timed: Mapping[Pair, Mapping], key: str = "latency_ms_median") -> str:
    return span([record[key] for record in timed.values()], rounded)


def _busy(records: Iterable[Mapping]) -> str:
    """What a timing beside other work lacks; empty if it had the machine to itself."""
    others = max(record.get("cores_of_others") or 0.0 for record in records)
    return WHY["busy"].format(cores=rounded(others)) if others > BUSY else ""
