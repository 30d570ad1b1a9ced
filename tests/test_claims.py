"""The papers' claims: what is measured, its interval, and each verdict, on hand-made draws, rounds and studies."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from radar.config import ConfigurationError
from radar.report import claim_config, claims, tables
from radar.report.ablation import Ablation, Entry, Study
from radar.report.claim_config import Claim
from radar.report.claims import Estimate, Results

ROOT = Path(__file__).resolve().parent.parent
NOISE = np.random.default_rng(0).normal(size=400)
PRINTED, GRAVEL, CELLS = ("printed", "all"), ("texture", "gravel"), ("elpv", "mono")


def claim(kind: str, options: dict, datasets: tuple[str, ...] | None = None, published: float | None = None,
          speakers: tuple[str, ...] = ("radar",)) -> Claim:
    row = None if published is None else {"value": published, "unit": "percent", "setting": "", "device": "RTX 0"}
    return Claim("name", "Paper", "arXiv:0", speakers, "It is so", datasets, kind, options, row, "abstract", "paper",
                 "Other images.")


def runs(method: str, metrics: dict[str, float | None], spread: float = 0.01, pair: tuple = PRINTED,
         seeds: tuple[int, ...] = (0, 1)) -> list[tables.Run]:
    """Every metric with draws of its value and `spread` deviations of a noise that the method's name decides."""
    noise = np.random.default_rng([*method.encode()]).permutation(NOISE)
    return [tables.Run({"dataset": pair[0], "category": pair[1], "method": method, "seed": seed, "metrics": metrics,
                        "n_test_normal": 10, "n_test_anomalous": 20},
                       {name: value + spread * noise for name, value in metrics.items() if value is not None})
            for seed in seeds]


def timing(median: float, rounds: int = 12, nfe: int = 1, device: str = "cpu", wobble: float = 0.01) -> dict:
    """A timing.json with three samples a round; the machine slows down by half on the way."""
    drift = np.linspace(1, 1.5, max(rounds, 1))
    values = median * drift * (1 + wobble * np.sin(median + np.arange(max(rounds, 1))))
    return {"device": device, "device_name": "CPU X", "threads": 2, "image_shape": [1, 48, 48], "nfe": nfe,
            "latency_ms_median": float(np.median(values)), "latency_ms_p90": float(np.quantile(values, 0.9)),
            "images_per_s": 1000 / median, "parameters": 45_000, "training_images": 240,
            **({"latency_ms": [one * factor for one in values for factor in (0.9, 1, 1.2)],
                "latency_round": [index for index in range(rounds) for _ in range(3)]} if rounds else {})}


def accuracy(*methods: list[tables.Run]) -> Results:
    grouped = tables.grouped([run for one in methods for run in one])
    return Results(tuple(grouped), grouped, {})


def timed(**records: dict) -> Results:
    return Results((PRINTED,), {}, {PRINTED: records})


def ablation(values: dict[float, float], spread: float = 0.01, metric: str = "image_auroc") -> Results:
    entries = tuple(Entry("nfe", "InvAD", x, f"v{x}", None, {}, ("printed/all",)) for x in values)
    study = Study("nfe", "Evaluations", "evaluations", True, (metric,), "curve", entries)
    found = {(*PRINTED, f"v{x}"): runs(f"v{x}", {metric: value}, spread, seeds=(0,)) for x, value in values.items()}
    return Results((CELLS,), {}, {}, Ablation((PRINTED,), (0,), "v", {"nfe": study}, found, {}, {}, {}))


# Statistics


def test_the_smallest_of_several_numbers_and_its_interval_by_hand():
    draws = np.linspace(0, 1, 1001)  # the q-quantile is q
    parts = [Estimate(0.5, draws), Estimate(0.6, draws + 0.1), Estimate(1.4, draws + 0.9)]
    found = claims.smallest(parts)
    assert found.value == 0.5
    assert found.low == pytest.approx(0.025)  # the lowest lower end, at 2.5 %
    assert found.high == pytest.approx(1 - 0.025 / 3)  # the lowest upper end, at a third of 2.5 % from above
    assert claims.smallest(parts[:1]).high == pytest.approx(0.975)
    assert math.isnan(claims.smallest([*parts, Estimate(2.0, None)]).low)


@pytest.mark.parametrize("truth", [[0.0] * 10, [0.3] + [0.0] * 9, [0.0] + [-3.0] * 8 + [0.5]])
def test_the_interval_of_a_lead_over_the_best_of_nine_holds_the_truth(truth):
    """Equal rivals neither reproduce nor contradict more often than promised; to pick the best in each draw would."""
    generator, times = np.random.default_rng(1), 400
    truth, lead = np.array(truth), truth[0] - max(truth[1:])
    below = above = naive = 0
    for _ in range(times):
        values = truth + generator.normal(size=10)
        draws = values + generator.normal(size=(500, 10))
        bounds = claims.smallest([Estimate(values[0] - values[j], draws[:, 0] - draws[:, j]) for j in range(1, 10)])
        below, above = below + (bounds.high < lead), above + (bounds.low > lead)
        naive += np.quantile(draws[:, 0] - draws[:, 1:].max(axis=1), 0.975) < lead
    assert max(below, above) <= 0.045 * times  # 2.5 % and three standard errors
    assert truth.any() or naive > 0.1 * times


def test_a_mean_over_datasets_does_not_move_together_with_its_parts():
    parts = [Estimate(1.0, 1 + NOISE), Estimate(3.0, 3 + NOISE), Estimate(5.0, 5 + NOISE)]
    mean = claims.average(parts)
    assert mean.value == 3 and mean.draws.mean() == pytest.approx(3 + NOISE.mean())
    assert mean.draws.std() == pytest.approx(NOISE.std() / 3**0.5, rel=0.1)
    assert claims.average([parts[0], Estimate(1.0, None)]).draws is None


def test_categories_count_once_as_their_dataset():
    one = {("f1", "pca"): Estimate(0.2, None)}
    four = {("f1", "pca"): Estimate(0.4, None)}
    overall, parts = claims.combined({("a", "1"): one, ("b", "1"): one, ("b", "2"): four})
    assert overall["f1", "pca"].value == pytest.approx((0.2 + 0.3) / 2)
    assert {name: bounds.value for name, bounds in parts.items()} == {"a/1": 0.2, "b, mean of 2": pytest.approx(0.3)}


def test_a_drift_of_the_machine_cancels_within_rounds():
    """The rival runs in every second round only, the early ones among them; both slow down alike."""
    ours = {"latency_round": list(range(12)), "latency_ms": [10.0 * (1 + index) for index in range(12)],
            "latency_ms_median": 65.0}
    theirs = {"latency_round": list(range(0, 12, 2)), "latency_ms": [30.0 * (1 + index) for index in range(0, 12, 2)],
              "latency_ms_median": 180.0}
    ratio = claims.log_ratio(theirs, ours)
    assert math.exp(ratio.value) == pytest.approx(3) and np.exp(ratio.draws) == pytest.approx(3)


# Verdicts


BEST = claim("better", {"metrics": ["f1"], "by": 0, "than": ["pca", ["invad", "ddpm"]]})
FAST = claim("faster", {"times": 2, "than": ["ddpm", "pca"]})
QUICK = claim("latency", {"below_ms": 30, "device": "cuda"})
WORSE = claim("trend", {"study": "nfe", "series": "InvAD", "at": 3, "metrics": ["image_auroc"]}, speakers=("invad",))
EQUAL = claim("reaches", {"metric": "image_auroc", "margin": 1}, published=90, speakers=("radar",))


def rivals(ours: float, pca: float, invad: float) -> Results:
    return accuracy(runs("radar", {"f1": ours}), runs("pca", {"f1": pca}), runs("invad", {"f1": invad}))


@pytest.mark.parametrize("asked, results, verdict, measured", [
    (BEST, rivals(0.9, 0.7, 0.8), "reproduced", 10),
    (BEST, rivals(0.7, 0.8, 0.6), "contradicted", -10),
    (BEST, rivals(0.8, 0.8, 0.7), "inconclusive", 0),
    (BEST, accuracy(runs("pca", {"f1": 0.5})), "not run", None),
    (FAST, timed(radar=timing(10), ddpm=timing(90), pca=timing(40)), "reproduced", 4),
    (FAST, timed(radar=timing(10), ddpm=timing(90), pca=timing(15)), "contradicted", 1.5),
    (FAST, timed(radar=timing(10, wobble=0.2), ddpm=timing(90), pca=timing(20, wobble=0.2)), "inconclusive", 2),
    (FAST, timed(ddpm=timing(90)), "not run", None),
    (QUICK, timed(radar=timing(10)), "reproduced", 12.5),
    (QUICK, timed(radar=timing(100, device="cuda")), "contradicted", 125),
    (QUICK, timed(radar=timing(24)), "inconclusive", 30),
    (QUICK, timed(radar=timing(100)), "not run", 125),  # a CPU is too slow to contradict
    (WORSE, ablation({1: 0.2, 3: 0.9, 10: 0.95, 25: 0.8}), "reproduced", 10),
    (WORSE, ablation({3: 0.8, 25: 0.9}), "contradicted", -10),
    (WORSE, ablation({3: 0.8, 25: 0.79}), "inconclusive", 1),
    (WORSE, rivals(0.9, 0.8, 0.7), "not run", None),
    (EQUAL, accuracy(runs("radar", {"image_auroc": 0.93})), "reproduced", 93),
    (EQUAL, accuracy(runs("radar", {"image_auroc": 0.85})), "contradicted", 85),
    (EQUAL, accuracy(runs("radar", {"image_auroc": 0.895})), "inconclusive", 89.5),
    (EQUAL, accuracy(runs("radar", {"image_auroc": None})), "not run", None),
])
def test_verdicts(asked, results, verdict, measured):
    found = claims.assess(asked, results)
    assert found.verdict == verdict
    if measured is None:
        assert math.isnan(found.measured) and found.detail.startswith("Missing: ")
    else:
        assert found.measured == pytest.approx(measured, rel=0.05, abs=1e-9) and found.low <= found.high


def test_the_lead_is_that_over_the_best_rival_in_points_with_a_paired_interval():
    found = claims.assess(BEST, rivals(0.6, 0.8, 0.5))
    draws = 100 * (runs("radar", {"f1": 0.6})[0].draws["f1"] - runs("pca", {"f1": 0.8})[0].draws["f1"])
    assert found.high == pytest.approx(np.quantile(draws, 1 - 0.0125)) and found.unit == "points"
    assert found.low == pytest.approx(np.quantile(draws, 0.025))
    assert "F1: radar .600, best rival pca .800 (relative to it -25 %); of 2 rivals 1 better and 1 worse beyond " \
        "chance." in found.detail


def test_all_of_several_metrics_rest_on_the_smallest_lead():
    asked = claim("better", {"metrics": ["precision", "recall"], "by": 0, "than": ["pca", "ddpm"]})
    ours = runs("radar", {"precision": 0.9, "recall": 0.7})
    others = [runs("pca", {"precision": 0.8, "recall": 0.2}), runs("ddpm", {"precision": 0.1, "recall": 0.76})]
    found = claims.assess(asked, accuracy(ours, *others))
    assert found.measured == pytest.approx(-6) and found.verdict == "contradicted"
    assert "precision: radar .900, best rival pca .800" in found.detail
    assert "recall: radar .700, best rival ddpm .760" in found.detail


def test_a_margin_moves_the_boundary_and_is_told():
    asked = claim("better", {"metrics": ["f1"], "by": -5, "than": ["pca"]})
    found = claims.assess(asked, accuracy(runs("radar", {"f1": 0.78}), runs("pca", {"f1": 0.8})))
    assert found.verdict == "reproduced" and found.measured == pytest.approx(-2)
    assert "holds above -5 points" in found.detail


def test_our_own_readings_are_no_rivals():
    results = accuracy(runs("radar", {"f1": 0.7}), runs("pca", {"f1": 0.5}), runs("ddpm", {"f1": 0.5}),
                       runs("radar_features", {"f1": 0.99}))
    assert claims.assess(BEST, results).verdict == "reproduced"


def test_the_best_is_not_named_while_a_rival_is_missing():
    without = accuracy(runs("radar", {"f1": 0.9}), runs("pca", {"f1": 0.7}))
    found = claims.assess(BEST, without)
    assert found.verdict == "inconclusive" and "Not compared: invad or ddpm" in found.detail
    beaten = accuracy(runs("radar", {"f1": 0.6}), runs("pca", {"f1": 0.7}))
    assert claims.assess(BEST, beaten).verdict == "contradicted"
    other_name = accuracy(*without.runs[PRINTED].values(), runs("ddpm", {"f1": 0.1}))
    assert claims.assess(BEST, other_name).verdict == "reproduced"
    other_seeds = accuracy(*without.runs[PRINTED].values(), runs("ddpm", {"f1": 0.1}, seeds=(7,)))
    assert claims.assess(BEST, other_seeds).verdict == "inconclusive"


def test_a_mean_over_datasets_that_one_of_them_opposes_is_inconclusive():
    def both(gravel: float) -> Results:
        return accuracy(*(runs(method, {"f1": value}, pair=pair) for pair, values in (
            (PRINTED, (0.9, 0.3, 0.3)), (GRAVEL, (gravel, 0.5, 0.5))) for method, value in zip(
                ("radar", "pca", "invad"), values, strict=True)))

    agreed = claims.assess(BEST, both(0.5))
    assert agreed.verdict == "reproduced" and agreed.measured == pytest.approx(30)
    assert "printed/all +60.0" in agreed.detail and "texture/gravel +0.0" in agreed.detail
    opposed = claims.assess(BEST, both(0.3))
    assert opposed.verdict == "inconclusive" and "A single dataset says the opposite" in opposed.detail


def test_datasets_without_the_metric_are_left_out():
    metric = claim("better", {"metrics": ["pixel_aupro"], "by": 0, "than": ["pca"]})
    results = accuracy(*(runs(method, {"pixel_aupro": value if pair != CELLS else None}, pair=pair)
                         for pair in (PRINTED, CELLS) for method, value in (("radar", 0.6), ("pca", 0.4))))
    found = claims.assess(metric, results)
    assert found.verdict == "reproduced" and "elpv" not in found.conditions + found.detail


def test_a_short_chain_can_reproduce_but_not_contradict():
    asked = claim("faster", {"times": 100, "chain": 250, "than": ["ddpm"]})
    short = claims.assess(asked, timed(radar=timing(10), ddpm=timing(100, nfe=10)))
    assert short.verdict == "not run" and short.measured == pytest.approx(10, rel=0.02)
    assert "ddpm makes 10, and 250 would let one expect" in short.detail and "predicted, not measured" in short.detail
    expected = float(short.detail.split("let one expect ")[1].split()[0])
    assert expected == pytest.approx(250, rel=0.02)
    assert claims.assess(asked, timed(radar=timing(10), ddpm=timing(100, nfe=250))).verdict == "contradicted"
    enough = claims.assess(asked, timed(radar=timing(1), ddpm=timing(200, nfe=10)))
    assert enough.verdict == "reproduced" and "Missing" not in enough.detail


@pytest.mark.parametrize("rounds", [0, 5])
def test_a_timing_without_enough_rounds_has_no_interval_and_no_verdict(rounds):
    found = claims.assess(FAST, timed(radar=timing(1, rounds), ddpm=timing(90, rounds), pca=timing(90, rounds)))
    assert found.verdict == "inconclusive" and found.measured == pytest.approx(90, rel=0.05)
    assert math.isnan(found.low) and "No interval: fewer than 6 timed rounds" in found.detail


def test_runs_without_draws_have_no_verdict():
    bare = [tables.Run(run.record, {}) for run in runs("pca", {"f1": 0.1})]
    found = claims.assess(claim("better", {"metrics": ["f1"], "by": 0, "than": ["pca"]}),
                          accuracy(runs("radar", {"f1": 0.9}), bare))
    assert found.verdict == "inconclusive" and "no bootstrap draws" in found.detail


@pytest.mark.parametrize("datasets, words", [
    (("mvtec_ad/tile",), "the dataset mvtec_ad/tile."), (("visa/a", "visa/b"), "the dataset visa."),
    (("printed/all", "printed/other"), "1 of the 2 categories of printed."),
])
def test_a_dataset_that_was_not_run_is_named(datasets, words):
    asked = claim("better", {"metrics": ["f1"], "by": 0, "than": ["pca"]}, datasets)
    found = claims.assess(asked, rivals(0.9, 0.8, 0.7))
    assert found.verdict == "not run" and words in found.detail


def test_a_published_mean_needs_every_category():
    asked = claim("reaches", {"metric": "image_auroc", "margin": 1}, ("d/a", "d/b"), published=90)
    two = [runs("radar", {"image_auroc": value}, pair=("d", name)) for name, value in (("a", 0.99), ("b", 0.85))]
    whole = claims.assess(asked, accuracy(*two))
    assert whole.verdict == "reproduced" and whole.measured == pytest.approx(92)
    assert whole.conditions.endswith("Published for: RTX 0.")
    assert claims.assess(asked, accuracy(two[0])).verdict == "not run"


def test_the_study_of_the_claim_must_go_beyond_its_point():
    assert "a series InvAD of nfe" in claims.assess(WORSE, ablation({1: 0.5, 3: 0.6})).detail
    results = ablation({3: 0.9, 25: 0.8})
    results.ablation.runs.pop((*PRINTED, "v25"))
    assert "results of InvAD at 3 and 25" in claims.assess(WORSE, results).detail
    course = claims.assess(WORSE, ablation({1: 0.2, 3: 0.9, 25: 0.8})).detail
    assert "over evaluations: 1: .200, 3: .900, 25: .800; measured is that at 3 minus that at 25" in course


# The shipped claims


def test_every_published_number_is_carried_with_its_source_or_listed():
    published = claim_config.read_published()
    asked = claim_config.read_claims(published=published)
    assert len({(row["method"], row["dataset"], row["category"], row["setting"], row["metric"]) for row in published}
               ) == len(published)
    table = claims.table([claims.assess(one, Results((), {}, {})) for one in asked]).set_index("id")
    assert list(table.reset_index()) == claims.TABLE and set(table["verdict"]) == {"not run"}
    expected = {"radar_f1_printed": (13, "percent", "abstract", "paper"),
                "radar_f1_tile": (7, "percent", "abstract", "paper"),
                "invad_speed": (2, "times", "abstract", "paper"),
                "invad_mvtec_ad_image_auroc": (99.0, "percent", "authors' project page", "authors"),
                "diffusionad_speed": (100, "times or more", "abstract", "paper")}
    for name, values in expected.items():
        assert tuple(table.loc[name, ["published", "published_unit", "source", "evidence"]]) == values
    assert table["source"].all() and table["conditions"].str.endswith(".").all()
    carried, listed = [one.published for one in asked if one.published], claims.others(published, asked).rows
    assert len(listed) + len(carried) == len(published)
    assert ("DiAD, AAAI 2024", "MVTec AD, tile", "96.8 %", "published table (paper)") in [
        (label, cells[0].text, cells[3].text, cells[5].text) for label, _, cells in listed]


def test_the_shipped_claims_ask_for_metrics_and_studies_that_there_are():
    studies = yaml.safe_load((ROOT / "config/ablation.yaml").read_text())["studies"]
    for one in claim_config.read_claims():
        assert set(one.options.get("metrics", [])) <= set(tables.METRICS)
        assert one.options.get("metric", "image_auroc") in tables.METRICS
        if one.kind == "trend":
            study = studies[one.options["study"]]
            assert one.options["at"] in study["at"][:-1] and one.options["series"] in study["series"]


def test_photographs_without_labels_leave_only_the_speed():
    pair, methods = ("folder", "mine"), ("radar", "invad", "diffusionad", "ddpm", "anoddpm")
    found = {method: runs(method, dict.fromkeys(tables.METRICS), pair=pair) for method in methods}
    times = {method: timing(5 + index, device="cuda") for index, method in enumerate(methods)}
    results = Results((pair,), {pair: found}, {pair: times})
    verdicts = {one.name: claims.assess(one, results) for one in claim_config.read_claims()}
    assert {name for name, one in verdicts.items() if one.verdict != "not run"} == {"radar_real_time", "invad_speed"}
    assert "labels" in verdicts["anoddpm_image_auroc"].detail


GOOD = {"Paper": {"paper": "arXiv:0", "methods": ["radar"], "claims": {"a": {
    "statement": "It is so", "test": {"latency": {"below_ms": 1, "device": "cpu"}}, "conditions": "None.",
    "source": "abstract", "evidence": "paper"}}}}


@pytest.mark.parametrize("change, words", [
    ({"tset": {}}, "Paper.claims.a: unknown key 'tset'; allowed: conditions"),
    ({"test": {"bettr": {}}}, "Paper.claims.a.test: unknown key 'bettr'; allowed: better, faster, latency"),
    ({"test": {}}, "Paper.claims.a: test: give one of better, faster"), ({"test": {"better": None}}, "a.test.better"),
    ({"test": {"latency": {"below_ms": 0, "device": "cpu"}}}, "Paper.claims.a.test.latency.below_ms"),
    ({"test": {"latency": {"device": "cpu"}}}, "Paper.claims.a.test.latency.below_ms: Field required"),
    ({"test": {"faster": {"times": 2, "than": ["pac"]}}}, "a.test.faster.than.0.0: unknown method 'pac'; known: ano"),
    ({"test": {"faster": {"times": 2, "than": [["pca", "pac"]]}}}, "unknown method 'pac'"),
    ({"test": {"reaches": {"metric": "f1", "margin": 1}}}, "reaches needs a published value in percent"),
    ({"datasets": ["prnited"]}, "claims.a.datasets: unknown dataset 'prnited'"),
    ({"published": {"metric": "F1"}}, "give published, or else source and evidence"),
    ({"source": None}, "Paper.claims.a.source"),
    ({"evidence": "hearsay"}, "Paper.claims.a.evidence: Input should be 'paper', 'authors', 'third party' or"),
])
def test_a_mistake_in_the_claims_is_one_line(change, words, tmp_path):
    value = json.loads(json.dumps(GOOD))
    value["Paper"]["claims"]["a"] |= change
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(value))
    with pytest.raises(ConfigurationError) as error:
        claim_config.read_claims(tmp_path / "claims.yaml")
    assert words in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'claims.yaml'}: ")


def test_a_published_value_must_be_one_row(tmp_path):
    value = json.loads(json.dumps(GOOD))
    one = value["Paper"]["claims"]["a"]
    del one["source"], one["evidence"]
    for wanted, words in (({"metric": "F2"}, "no rows"), ({"metric": "F1"}, "2 rows")):
        one["published"] = wanted
        (tmp_path / "claims.yaml").write_text(yaml.safe_dump(value))
        with pytest.raises(ConfigurationError, match=words):
            claim_config.read_claims(tmp_path / "claims.yaml", [{"method": "Paper", "metric": "F1", "value": 1.0}] * 2)


@pytest.mark.parametrize("line, words", [
    ("M,p,d,c,s,m,much,u,,here,paper", "line 2: value 'much' is no number"), ("M,p,d", "line 2: must have exactly"),
    ("M,p,d,c,s,m,1,u,,,paper", "line 2: a number needs its source and evidence"),
])
def test_a_mistake_in_the_published_numbers_is_one_line(line, words, tmp_path):
    (tmp_path / "published.csv").write_text(",".join(claim_config.PUBLISHED) + f"\n{line}\n")
    with pytest.raises(ConfigurationError, match=words):
        claim_config.read_published(tmp_path / "published.csv")


# The script


def write(results: Path, method: str, f1: float, latency: float) -> None:
    for run in runs(method, {"f1": f1, "image_auroc": f1, "accuracy": f1, "precision": f1, "recall": f1}):
        folder = results / "printed/all" / method / f"seed{run.record['seed']}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(run.record))
        np.savez(folder / "bootstrap.npz", **run.draws)
        (folder / "timing.json").write_text(json.dumps({
            **dict.fromkeys(tables.TIMING_TABLE), **timing(latency), "dataset": "printed", "category": "all",
            "method": method}))


def script(results: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "workflow/scripts/claims.py", "--results", results, "--datasets", "printed/all",
               "--methods", "radar", "ddpm", "anoddpm", "--seeds", "0", "1", "--labels", "ddpm=DDPM_1 & 50 %", "--out",
               results / "tables", *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_tables_are_a_function_of_the_results(tmp_path):
    for method, value, latency in (("radar", 0.8, 5), ("ddpm", 0.6, 50), ("anoddpm", 0.7, 60)):
        write(tmp_path, method, value, latency)
    first = script(tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "claims: 2 reproduced, 2 inconclusive, 11 not run\n"
    texts = {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    assert set(texts) == {"claims.csv", "claims.md", "claims.tex"}
    before = pd.read_csv(tmp_path / "tables/claims.csv").set_index("id")
    assert list(before.reset_index()) == claims.TABLE
    assert before["verdict"].to_dict() | {"radar_real_time": "reproduced", "anoddpm_image_auroc": "reproduced",
                                          "radar_f1_printed": "inconclusive"} == before["verdict"].to_dict()
    assert before.loc["radar_f1_printed", "measured"] == pytest.approx(10)

    text, latex = texts["claims.md"].decode(), texts["claims.tex"].decode()
    for one in claim_config.read_claims():
        assert one.statement in text and one.conditions in text.replace("\\*", "*")
    assert "13 %" in text and "Source: abstract (paper)." in text
    assert r"DDPM\_1 \& 50 \%" in latex and re.search(r"\\begin\{tabular\}\{p\{\d+pt\}rrr\}", latex)
    assert latex.count("{") == latex.count("}") and latex.count(r"\begin{") == latex.count(r"\end{")

    assert script(tmp_path).returncode == 0  # nothing has changed
    assert texts == {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    write(tmp_path, "anoddpm", 0.5, 60)
    assert script(tmp_path).returncode == 0
    after = pd.read_csv(tmp_path / "tables/claims.csv").set_index("id")
    changed = {name for name in before.index if before.loc[name, "verdict"] != after.loc[name, "verdict"]}
    assert changed == {"anoddpm_image_auroc"} and after.loc["anoddpm_image_auroc", "verdict"] == "contradicted"


def test_the_script_takes_the_ablation_study_where_it_is(tmp_path):
    for method in ("radar", "ddpm", "anoddpm"):
        write(tmp_path, method, 0.8, 5)
    plan = {"datasets": ["printed/all"], "seeds": [0], "literal": "v0", "variants": [
        {"study": study, "series": "InvAD", "x": x, "variant": f"v{x}"} for study, x in (
            ("nfe", 3), ("nfe", 25), ("other", 7))], "studies": {name: {
                "title": name, "x": "evaluations", "log": True, "kind": "curve", "metrics": ["image_auroc"]}
                for name in ("nfe", "other")}}
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation/variants.json").write_text(json.dumps(plan))
    for x, value in ((3, 0.9), (25, 0.7)):
        run = runs(f"v{x}", {"image_auroc": value}, seeds=(0,))[0]
        folder = tmp_path / f"ablation/printed/all/v{x}/seed0"
        folder.mkdir(parents=True)
        (folder / "scores.csv").touch()
        (folder / "metrics.json").write_text(json.dumps(run.record))
        np.savez(folder / "bootstrap.npz", **run.draws)
    result = script(tmp_path, "--ablation", tmp_path / "ablation")
    assert result.returncode == 0, result.stderr
    row = pd.read_csv(tmp_path / "tables/claims.csv").set_index("id").loc["invad_steps"]
    assert row["verdict"] == "reproduced" and row["measured"] == pytest.approx(20)


def test_the_script_names_a_missing_file_in_one_line(tmp_path):
    for method in ("radar", "ddpm", "anoddpm"):
        write(tmp_path, method, 0.8, 5)
    (tmp_path / "printed/all/ddpm/seed1/metrics.json").unlink()
    result = script(tmp_path)
    assert result.returncode == 1 and "ddpm/seed1/metrics.json is missing" in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "tables").exists()


def test_reporting_of_claims_imports_neither_torch_nor_sklearn():
    code = "import sys; import radar.report.claims; sys.exit(bool({'torch', 'sklearn'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
