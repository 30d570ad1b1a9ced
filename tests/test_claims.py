"""The papers' claims: every kind of claim gets every verdict that its numbers deserve, and nothing else decides."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from radar.configuration import ConfigurationError
from radar.files import ROOT
from radar.reporting import claims
from radar.reporting.ablation import Ablation, Entry, Study
from radar.reporting.tables import InputError, Run

PUBLISHED = claims.read_published(ROOT / "config/published.csv")
CLASSES = {"radar": "radar.radar:RADAR", "radar_best": "radar.radar:RADAR", "ddpm": "baselines.ddpm:DDPM",
           "pca": "baselines.pca:PCA"}
CLAIM = {"id": "one", "paper": "p", "method": "radar", "statement": "s", "conditions": "c"}


def run(method: str, value: float | None, spread: float = 0.01, pair: str = "printed/all", metric: str = "f1",
        seed: int = 0) -> Run:
    """A run whose draws are value + spread times fixed standard normal numbers of the method's own."""
    dataset, category = pair.split("/")
    noise = np.random.default_rng(sum(map(ord, method))).standard_normal(400)
    record = {"dataset": dataset, "category": category, "method": method, "seed": seed, "metrics": {metric: value}}
    return Run(record, {} if value is None else {metric: value + spread * noise})


def timing(method: str, milliseconds: float, pair: str = "printed/all", rounds: int = 8) -> dict:
    dataset, category = pair.split("/")
    drift = 1 + np.arange(rounds) / rounds
    return {"dataset": dataset, "category": category, "method": method, "device": "cpu", "device_name": "X",
            "latency_ms_median": milliseconds, "latency_ms": (milliseconds * drift).tolist(),
            "latency_round": list(range(rounds))}


def verdict(claim: dict, evidence: claims.Evidence) -> pd.Series:
    return claims.judge([CLAIM | claim], PUBLISHED, evidence).iloc[0]


BEST = {"kind": "best", "metrics": ["f1"], "datasets": ["printed/all"]}


@pytest.mark.parametrize("ours, expected", [(0.9, "reproduced"), (0.5, "contradicted"), (0.7, "inconclusive")])
def test_best_compares_with_the_next_best_of_another_class(ours, expected):
    # radar_best is RADAR's own: whatever it reaches is no rival
    runs = [run("radar", ours), run("radar_best", 0.99), run("ddpm", 0.7), run("pca", 0.4)]
    row = verdict(BEST, claims.Evidence(runs, classes=CLASSES))
    assert row["verdict"] == expected and row["measured"] == pytest.approx(100 * (ours - 0.7))
    assert row["low"] < row["measured"] < row["high"] and "of ddpm" in row["detail"]


def test_the_next_best_is_picked_in_every_draw():
    """Of two equal rivals the better one of each draw counts: the interval is that of the gain over their maximum."""
    runs = [run("radar", 0.7), run("ddpm", 0.7), run("pca", 0.7)]
    row = verdict(BEST, claims.Evidence(runs, classes=CLASSES))
    ours, *theirs = (one.draws["f1"] for one in runs)
    expected = 100 * np.quantile(ours - np.maximum(*theirs), [0.025, 0.975])
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    assert expected.mean() < -0.3  # the maximum of two noisy numbers is larger than either


def test_all_metrics_must_be_best_and_the_worst_is_shown():
    def both(method: str, f1: float, recall: float) -> Run:
        one, other = run(method, f1), run(method, recall, metric="recall")
        return Run(one.record | {"metrics": one.record["metrics"] | other.record["metrics"]}, one.draws | other.draws)

    runs = [both("radar", 0.9, 0.5), both("ddpm", 0.6, 0.8)]
    row = verdict(BEST | {"metrics": ["f1", "recall"]}, claims.Evidence(runs, classes=CLASSES))
    assert row["verdict"] == "contradicted" and row["measured"] == pytest.approx(-30)
    assert "f1 0.900" in row["detail"] and "recall 0.500" in row["detail"]


@pytest.mark.parametrize("ours, margin, expected", [
    (0.70, 0.05, "reproduced"), (0.70, 0, "inconclusive"), (0.60, 0.05, "contradicted"), (0.75, 0, "reproduced")])
def test_at_least_allows_for_its_margin(ours, margin, expected):
    runs = [run("radar", ours, 0.005), run("ddpm", 0.7, 0.005)]
    claim = {"kind": "at_least", "metrics": ["f1"], "others": ["ddpm", "absent"], "margin": margin}
    assert verdict(claim, claims.Evidence(runs, classes=CLASSES))["verdict"] == expected


def test_a_claim_on_several_datasets_fails_where_it_fails_once():
    pairs = ("printed/all", "elpv/mono", "mvtec_ad/mean of 15")
    claim = {"kind": "at_least", "metrics": ["f1"], "others": ["ddpm"], "margin": 0}
    good = [run(name, value, pair=pair) for pair in pairs for name, value in (("radar", 0.9), ("ddpm", 0.5))]
    row = verdict(claim, claims.Evidence(good, classes=CLASSES))
    assert row["verdict"] == "reproduced" and "mean of" not in row["detail"]  # a mean is no dataset beside its parts
    bad = [run("radar", 0.2, pair=pair) if one.record["method"] == "radar" and pair == "elpv/mono" else one
           for one in good for pair in ["/".join((one.record["dataset"], one.record["category"]))]]
    row = verdict(claim, claims.Evidence(bad, classes=CLASSES))
    assert row["verdict"] == "contradicted" and row["measured"] == pytest.approx(-30)
    assert "printed/all" in row["detail"] and "elpv/mono" in row["detail"]


@pytest.mark.parametrize("value, expected", [(0.995, "reproduced"), (0.90, "contradicted"), (0.99, "inconclusive")])
def test_reaches_holds_the_metric_against_the_published_value_and_carries_its_source(value, expected):
    claim = {"kind": "reaches", "metrics": ["image_auroc"], "datasets": ["mvtec_ad/mean of 15"],
             "published": {"method": "InvAD", "dataset": "MVTec AD", "metric": "image AUROC"}}
    runs = [run("radar", value, 0.001, "mvtec_ad/mean of 15", "image_auroc")]
    row = verdict(claim, claims.Evidence(runs))
    assert row["verdict"] == expected and row["published"] == "99.0" and row["published_unit"] == "percent"
    assert row["source"] == "authors' project page" and row["evidence"] == "authors"


@pytest.mark.parametrize("ours, times, expected", [
    (10, 1, "reproduced"), (40, 1, "contradicted"), (40, 25, "reproduced")])
def test_faster_compares_within_rounds_with_the_fastest_rival(ours, times, expected):
    """The machine slows down to half its speed during the rounds; ratios do not see it."""
    runs = [run(name, 0.5) for name in ("radar", "ddpm", "pca")]
    evidence = claims.Evidence(runs, [timing("radar", ours), timing("ddpm", 50), timing("pca", 30)], CLASSES)
    row = verdict({"kind": "faster", "others": ["ddpm", "pca"], "factor": 2, "times": times}, evidence)
    assert row["verdict"] == expected
    assert (row["measured"], row["low"], row["high"]) == pytest.approx((times * 30 / ours,) * 3)


@pytest.mark.parametrize("limit, expected", [(25, "reproduced"), (9, "contradicted"), (15, "inconclusive")])
def test_within_needs_the_interval_of_the_median_below_the_limit(limit, expected):
    evidence = claims.Evidence([run("radar", 0.5)], [timing("radar", 10)])  # samples from 10 to 18.75 ms
    assert verdict({"kind": "within", "limit_ms": limit}, evidence)["verdict"] == expected


def test_five_rounds_are_too_few_to_tell():
    evidence = claims.Evidence([run("radar", 0.5)], [timing("radar", 10, rounds=5)])
    row = verdict({"kind": "within", "limit_ms": 1000}, evidence)
    assert row["verdict"] == "inconclusive" and np.isnan(row["low"])


TREND = {"kind": "trend", "study": "nfe", "series": "S", "metrics": ["image_auroc"], "from": 3, "to": 25}


def study(late: float) -> Ablation:
    pair = ("elpv", "mono")
    entries = tuple(Entry("nfe", "S", float(x), f"v{x}", x, {}, ("elpv/mono",)) for x in (1, 3, 25))
    runs = {(*pair, f"v{x}"): [run(f"v{x}", value, pair="elpv/mono", metric="image_auroc")]
            for x, value in ((1, 0.1), (3, 0.7), (25, late))}
    return Ablation((pair,), (0,), "v1", {"nfe": Study("nfe", "t", "x", True, ("image_auroc",), "curve", entries)},
                    runs, {}, {}, {})


@pytest.mark.parametrize("late, expected", [(0.6, "reproduced"), (0.8, "contradicted"), (0.7, "inconclusive")])
def test_trend_takes_two_points_of_a_study(late, expected):
    row = verdict(TREND, claims.Evidence([run("radar", 0.5)], ablation=study(late)))
    assert row["verdict"] == expected and row["measured"] == pytest.approx(100 * (late - 0.7))


@pytest.mark.parametrize("claim, evidence, words", [
    (BEST | {"datasets": ["mvtec_ad/tile"]}, claims.Evidence([run("radar", 0.5)]), "no result on mvtec_ad/tile"),
    (BEST, claims.Evidence([run("ddpm", 0.5)]), "no result of radar in this run"),
    (BEST, claims.Evidence([run("radar", 0.5), run("radar_best", 0.5)], classes=CLASSES), "of another method"),
    (BEST, claims.Evidence([run("radar", None), run("ddpm", 0.5)]), "no f1 of radar"),
    (TREND, claims.Evidence([run("radar", 0.5)]), "the ablation study was not made"),
    (TREND | {"to": 50}, claims.Evidence([run("radar", 0.5)], ablation=study(0.5)), "no results of S at 3 and 50"),
    ({"kind": "within", "limit_ms": 1}, claims.Evidence([run("radar", 0.5)]), "was not timed"),
])
def test_what_is_missing_is_named(claim, evidence, words):
    row = verdict(claim, evidence)
    assert row["verdict"] == "not run" and words in row["detail"] and np.isnan(row["measured"])


def test_of_several_names_the_first_that_the_run_has_makes_the_claim():
    runs = [run("radar_best", 0.9), run("ddpm", 0.5)]
    assert verdict(BEST | {"method": ["radar", "radar_best"]},
                   claims.Evidence(runs, classes=CLASSES))["method"] == "radar_best"


def test_a_verdict_changes_only_with_the_results():
    evidence = claims.Evidence([run("radar", 0.9), run("ddpm", 0.5)], classes=CLASSES)
    tables = [claims.judge([CLAIM | BEST], PUBLISHED, evidence) for _ in range(2)]
    pd.testing.assert_frame_equal(*tables)
    shuffled = replace(evidence, runs=evidence.runs[::-1])
    pd.testing.assert_frame_equal(tables[0], claims.judge([CLAIM | BEST], PUBLISHED, shuffled))


# The file


def test_every_claim_of_the_suite_is_whole_and_its_published_number_exists():
    found = claims.read_claims(ROOT / "config/claims.yaml")
    assert {claim["kind"] for claim in found} == set(claims.KINDS)
    for claim in found:
        row = claims.published_row(claim, PUBLISHED)
        assert ("published" in claim) == bool(row["value"]) and float(row["value"] or 0) >= 0
    table = claims.judge(found, PUBLISHED, claims.Evidence([run("radar", 0.5)]))
    assert set(table["verdict"]) == {"not run"} and (table["conditions"] != "").all()


@pytest.mark.parametrize("change, words", [
    ({"kind": "better"}, "claims.0.kind: 'better' is not one of"),
    ({"metrics": None}, "one: a claim of kind best needs metrics"),
    ({"verdict": "reproduced"}, "unknown key 'verdict'"),
])
def test_a_mistake_in_the_file_is_one_line(tmp_path, change, words):
    claim = {key: value for key, value in (CLAIM | BEST | change).items() if value is not None}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [claim]}))
    with pytest.raises(ConfigurationError) as error:
        claims.read_claims(path)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_published_number_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="0 rows have method InvAD, dataset nowhere, metric image AUROC, which claim"):
        claims.published_row(CLAIM | {"published": {"method": "InvAD", "dataset": "nowhere", "metric": "image AUROC"}},
                             PUBLISHED)


def test_the_readable_forms_hold_every_claim():
    found = claims.read_claims(ROOT / "config/claims.yaml")
    runs = [run(name, value) for name, value in (("radar", 0.9), ("ddpm", 0.5))]
    table = claims.judge(found, PUBLISHED, claims.Evidence(runs, [timing("radar", 10)], CLASSES))
    markdown, latex = claims.to_markdown(table), claims.to_latex(table)
    assert markdown.count("\n| ") == 1 + len(found) and latex.count(r" \\") == 1 + len(found)
    for row in table.itertuples():
        assert f"## {row.statement}" in markdown and row.conditions in markdown and row.detail in markdown
    assert "Of 12 claims: 2 reproduced, 0 contradicted, 0 inconclusive, 10 not run." in markdown
    assert "13 percent (abstract, paper)" in markdown
