"""The papers' claims: what is measured, its interval, and each verdict, on hand-made draws, rounds and studies."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radar.report import claim_config, claims
from radar.report.claim_config import Claim, Statement
from radar.report.claim_tests import log_ratio, means, overall
from radar.report.compare import METRICS, Estimate, average
from radar.report.format import share
from radar.report.load import KEY, RECORD, Results, Run
from tests.report_tree import timing, write_run

ROOT = Path(__file__).resolve().parent.parent
NOISE = np.random.default_rng(0).normal(size=400)
PRINTED, GRAVEL, CELLS = "printed/all", "texture/gravel", "elpv/mono"


def claim(kind: str, options: dict, datasets: tuple[str, ...] | None = None, published: float | None = None,
          speakers: tuple[str, ...] = ("radar",)) -> Claim:
    says = Statement(statement="It is so", test={kind: options}, source="abstract", evidence="paper",
                     conditions="Other images.").model_copy(update={"datasets": datasets})
    row = {} if published is None else {"value": published, "unit": "percent", "setting": "", "device": "RTX 0"}
    return Claim("name", "Paper, arXiv:0", list(speakers), says, row)


def asked_of(asked: Claim, *datasets: str) -> Claim:
    """The claim, of other datasets; of none: of all that there are."""
    return replace(asked, says=asked.says.model_copy(update={"datasets": datasets or None}))


def drawn(method: str, value: float, spread: float = 0.01) -> Estimate:
    """Draws of a value, and `spread` deviations of a noise that the method's name decides."""
    return Estimate(value, value + spread * np.random.default_rng([*method.encode()]).permutation(NOISE))


def left(values: dict[str, dict[str, dict[str, float | None]]], timed: dict[str, dict] | None = None,
         seeds: dict[str, tuple[int, ...]] | None = None) -> Results:
    """values: dataset -> method -> metric -> value; timed: method -> its timing on printed/all."""
    methods = dict.fromkeys(name for one in [*values.values(), timed or {}] for name in one)
    samples: dict = {tuple(name.split("/")): {} for name in values or [PRINTED]}
    records = []
    for name, by_method in values.items():
        pair = tuple(name.split("/"))
        for method, metrics in by_method.items():
            ours = (seeds or {}).get(method, (0, 1))
            records += [(*pair, method, seed, 0.5, 0.05, 25, False, 10, 20, 0) for seed in ours]
            for metric, value in metrics.items():
                samples[pair].setdefault(metric, {})[method] = {
                    seed: drawn(method, value) for seed in ours if value is not None}
    run = Run(Path("/none"), "default", {}, {}, dict.fromkeys(values, {}), {name: {} for name in methods}, {}, [0, 1],
              Path("/none"))
    rows = [{"device": "cpu", "device_name": "CPU X", "threads": 2, "cores_of_others": 0.0, "dataset": "printed",
             "category": "all", "method": method, **one} for method, one in (timed or {}).items()]
    return Results(run, samples, pd.DataFrame(records, columns=[*KEY, "seed", *RECORD]), pd.DataFrame(),
                   pd.DataFrame(rows, columns=None if rows else KEY))


def accuracy(metric: str = "f1", **values: float | None) -> Results:
    return left({PRINTED: {method: {metric: value} for method, value in values.items()}})


def timed(**records: dict) -> Results:
    return left({}, records)


@pytest.fixture
def ablation(tmp_path):
    """What a run with an ablation study left; called with x -> value of a series, and the metric."""
    def make(values: dict[float, float], metric: str = "image_auroc") -> Results:
        run = tmp_path / "results/runs/default"
        (run / "tables").mkdir(parents=True)
        (run / "ablation").mkdir()
        (run / "tables/ablation.csv").touch()
        (run / "ablation/variants.json").write_text(json.dumps({
            "seeds": [0], "literal": "v3", "studies": {"nfe": {"x": "evaluations"}},
            "variants": [{"study": "nfe", "dataset": PRINTED, "series": "InvAD", "x": x, "variant": f"v{x}"}
                         for x in values]}))
        for x, value in values.items():
            folder = tmp_path / f"results/ablation/{PRINTED}/v{x}/seed0"
            folder.mkdir(parents=True)
            (folder / "scores.csv").touch()
            (folder / "metrics.json").write_text(json.dumps({
                **dict.fromkeys(RECORD, 0), "metrics": {metric: value}, "by_defect": [], "n_test_normal": 10,
                "n_test_anomalous": 20}))
            np.savez(folder / "bootstrap.npz", **{metric: drawn(f"v{x}", value).draws})
        found = left({CELLS: {}})
        return replace(found, run=replace(found.run, folder=run))
    return make


# Statistics


def test_the_smallest_of_several_numbers_and_its_interval_by_hand():
    draws = np.linspace(0, 1, 1001)  # the q-quantile is q
    parts = [Estimate(0.5, draws), Estimate(0.6, draws + 0.1), Estimate(1.4, draws + 0.9)]
    found = claims.smallest(parts)
    assert found.measured == 0.5
    assert found.low == pytest.approx(0.025)  # the lowest lower end, at 2.5 %
    assert found.high == pytest.approx(1 - 0.025 / 3)  # the lowest upper end, at a third of 2.5 % from above
    assert claims.smallest(parts[:1]).high == pytest.approx(0.975)
    assert math.isnan(claims.smallest([*parts, Estimate(2.0)]).low)


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
    mean = average(parts)
    assert mean.value == 3 and mean.draws.mean() == pytest.approx(3 + NOISE.mean())
    assert mean.draws.std() == pytest.approx(NOISE.std() / 3**0.5, rel=0.1)
    assert np.isnan(average([parts[0], Estimate(1.0)]).draws).all()


def test_categories_count_once_as_their_dataset():
    lead = {("a", "1"): Estimate(0.2), ("b", "1"): Estimate(0.2), ("b", "2"): Estimate(0.4)}
    assert overall(lead).value == pytest.approx((0.2 + 0.3) / 2)
    assert {name: one.value for name, one in means(lead).items()} == {"a/1": 0.2, "b, mean of 2": pytest.approx(0.3)}


def test_a_drift_of_the_machine_cancels_within_rounds():
    """The rival runs in every second round only, the early ones among them; both slow down alike."""
    ours, theirs = ({"latency_round": list(range(0, 12, step)), "latency_ms_median": median * 6,
                     "latency_ms": [median * (1 + index) for index in range(0, 12, step)]}
                    for step, median in ((1, 10.0), (2, 30.0)))
    ratio = log_ratio(theirs, ours)
    assert math.exp(ratio.value) == pytest.approx(3) and np.exp(ratio.draws) == pytest.approx(3)


# Verdicts


BEST = claim("better", {"metrics": ["f1"], "by": 0, "than": ["pca", ["invad", "ddpm"]]})
OVER_PCA = claim("better", {"metrics": ["f1"], "by": 0, "than": ["pca"]})
MARGIN = claim("better", {"metrics": ["f1"], "by": -5, "than": ["pca"]})
FAST = claim("faster", {"times": 2, "than": ["ddpm", "pca"]})
QUICK = claim("latency", {"below_ms": 30, "device": "cuda"})
WORSE = claim("trend", {"study": "nfe", "series": "InvAD", "at": 3, "metrics": ["image_auroc"]}, speakers=("invad",))
EQUAL = claim("reaches", {"metric": "image_auroc", "margin": 1}, published=90)
CUDA = {"device": "cuda"}


def even(median: float, wobble: float = 1, **changed) -> dict:
    """wobble: every second of twelve rounds is slower by this factor, the others faster."""
    values = [median * wobble ** (-1) ** index for index in range(12)]
    rounds = {} if wobble == 1 else {"latency_round": list(range(12)), "latency_ms": values}
    return timing(median, median) | rounds | changed


@pytest.mark.parametrize("asked, found, verdict, measured, why", [
    (BEST, accuracy(radar=0.9, pca=0.7, invad=0.8), "reproduced", 10, ""),
    (BEST, accuracy(radar=0.7, pca=0.8, invad=0.6), "contradicted", -10, "lies below the boundary 0 points"),
    (BEST, accuracy(radar=0.8, pca=0.8, invad=0.7), "inconclusive", 0, "covers the boundary 0 points"),
    (MARGIN, accuracy(radar=0.78, pca=0.8), "reproduced", -2, ""),
    (BEST, accuracy(pca=0.5), "not run", None, "missing: the method radar"),
    (BEST, accuracy(radar=0.5), "not run", None, "missing: the method pca, invad or ddpm"),
    (BEST, accuracy(radar=None, pca=0.5), "not run", None, "missing: test images with what F1 needs"),
    (FAST, timed(radar=even(10), ddpm=even(90), pca=even(40)), "reproduced", 4, ""),
    (FAST, timed(radar=even(10), ddpm=even(90), pca=even(15)), "contradicted", 1.5, "lies below the boundary 2 times"),
    (FAST, timed(radar=even(10, 1.2), ddpm=even(90), pca=even(20, 1 / 1.2)), "inconclusive", 2, "covers the boundary"),
    (FAST, timed(ddpm=even(90)), "not run", None, "missing: the method radar"),
    (FAST, timed(radar=even(10), ddpm=even(90), pca=even(15, cores_of_others=1.5)), "not run", 1.5,
     "other processes used 1.50 cores"),
    (QUICK, timed(radar=even(10)), "reproduced", 12.5, ""),
    (QUICK, timed(radar=even(100, **CUDA)), "contradicted", 125, "lies above the boundary 30 ms"),
    (QUICK, timed(radar=even(24)), "inconclusive", 30, "covers the boundary 30 ms"),
    (QUICK, timed(radar=even(100)), "not run", 125, "the device is cpu; a contradiction needs cuda"),
    (QUICK, timed(radar=even(100, cores_of_others=2.0, **CUDA)), "not run", 125, "other processes used 2.00 cores"),
    (QUICK, accuracy(radar=0.5), "not run", None, "missing: the timing of radar"),
    (WORSE, accuracy(radar=0.9), "not run", None, "missing: the ablation study (make ablation)"),
    (EQUAL, accuracy("image_auroc", radar=0.93), "reproduced", 93, ""),
    (EQUAL, accuracy("image_auroc", radar=0.85), "contradicted", 85, "lies below the boundary 89 %"),
    (EQUAL, accuracy("image_auroc", radar=0.891), "inconclusive", 89.1, "covers the boundary 89 %"),
    (EQUAL, accuracy("image_auroc", radar=None), "not run", None, "missing: image AUROC of radar on printed/all"),
])
def test_verdicts(asked, found, verdict, measured, why):
    row = claims.assess(asked, found)
    assert (row["verdict"], bool(row["why"])) == (verdict, bool(why)) and why in row["why"], row["why"]
    if measured is None:
        assert "measured" not in row
    else:
        assert row["measured"] == pytest.approx(measured, rel=0.05, abs=1e-9) and row["low"] <= row["high"]
        assert "printed/all" in row["of"] and row["of"].count(";") >= 2  # datasets; seeds or rounds; images or device


@pytest.mark.parametrize("values, verdict, measured, why", [
    ({1: 0.2, 3: 0.9, 10: 0.95, 25: 0.8}, "reproduced", 10, ""),
    ({3: 0.8, 25: 0.9}, "contradicted", -10, "lies below the boundary 0 points"),
    ({3: 0.8, 25: 0.8}, "inconclusive", 0, "covers the boundary 0 points"),
    ({1: 0.5, 3: 0.6}, "not run", None, "a series InvAD that goes on from 3"),
])
def test_verdicts_on_the_course_of_an_ablation_study(ablation, values, verdict, measured, why):
    row = claims.assess(WORSE, ablation(values))
    assert (row["verdict"], bool(row["why"])) == (verdict, bool(why)) and why in row["why"], row["why"]
    if measured is not None:
        assert row["measured"] == pytest.approx(measured, abs=1e-9)
        assert row["of"] == ("image AUROC of InvAD at evaluations 3 minus 25, ablation study; printed/all; 1 seed; "
                             "30 test images")
        assert f"evaluations: {', '.join(f'{x}: {share(one)}' for x, one in values.items())}." in row["detail"]


def test_a_course_needs_both_of_its_points(ablation):
    found = ablation({3: 0.9, 25: 0.8})
    (found.run.folder.parents[1] / "ablation/printed/all/v25/seed0/metrics.json").unlink()
    assert claims.assess(WORSE, found)["why"] == "missing: in the ablation study nfe results of InvAD at 3 and 25"


def test_the_lead_is_that_over_the_best_rival_in_points_with_a_paired_interval():
    row = claims.assess(BEST, accuracy(radar=0.6, pca=0.8, invad=0.5))
    draws = 100 * (drawn("radar", 0.6).draws - drawn("pca", 0.8).draws)
    assert row["low"] == pytest.approx(np.quantile(draws, 0.025)) and row["unit"] == "points"
    assert row["high"] == pytest.approx(np.quantile(draws, 1 - 0.0125))
    assert ("F1: radar .600, best rival pca .800 (relative to it −25.0 %); of 2 rivals 1 better and 1 worse by a 95 % "
            "interval that excludes 0.") in row["detail"]
    assert row["of"] == "F1, radar minus the best of 2 rivals; printed/all; 2 seeds; 30 test images"


def test_all_of_several_metrics_rest_on_the_smallest_lead():
    asked = claim("better", {"metrics": ["precision", "recall"], "by": 0, "than": ["pca", "ddpm"]})
    row = claims.assess(asked, left({PRINTED: {"radar": {"precision": 0.9, "recall": 0.7}, "pca": {
        "precision": 0.8, "recall": 0.2}, "ddpm": {"precision": 0.1, "recall": 0.76}}}))
    assert row["measured"] == pytest.approx(-6) and row["verdict"] == "contradicted"
    assert "precision: radar .900, best rival pca .800" in row["detail"]
    assert "recall: radar .700, best rival ddpm .760" in row["detail"]
    assert row["of"].startswith("the smallest lead in precision, recall, ")


def test_the_best_is_not_named_while_a_rival_is_missing_and_our_own_readings_are_none():
    row = claims.assess(BEST, accuracy(radar=0.9, pca=0.7, radar_features=0.99))
    assert (row["verdict"], row["why"]) == ("inconclusive", "missing, without which nothing is the best: invad or ddpm")
    assert claims.assess(BEST, accuracy(radar=0.6, pca=0.7))["verdict"] == "contradicted"
    assert claims.assess(BEST, accuracy(radar=0.9, pca=0.7, ddpm=0.1, radar_features=0.99))["verdict"] == "reproduced"
    values = {PRINTED: {name: {"f1": value} for name, value in (("radar", 0.9), ("pca", 0.7), ("ddpm", 0.1))}}
    assert claims.assess(BEST, left(values, seeds={"ddpm": (7,)}))["verdict"] == "inconclusive"


def test_a_mean_over_datasets_that_one_of_them_opposes_is_inconclusive():
    def both(gravel: float) -> dict:
        return claims.assess(OVER_PCA, left({PRINTED: {"radar": {"f1": 0.9}, "pca": {"f1": 0.3}},
                                             GRAVEL: {"radar": {"f1": gravel}, "pca": {"f1": 0.5}}}))

    agreed, opposed = both(0.5), both(0.3)
    assert agreed["verdict"] == "reproduced" and agreed["measured"] == pytest.approx(30)
    assert "By dataset: printed/all +60.0 [" in agreed["detail"] and "texture/gravel +0.0 [" in agreed["detail"]
    assert opposed["verdict"] == "inconclusive"
    assert opposed["why"].startswith("one dataset says the opposite: texture/gravel −20.0 [")


def test_datasets_without_the_metric_are_left_out():
    row = claims.assess(OVER_PCA, left({PRINTED: {"radar": {"f1": 0.6}, "pca": {"f1": 0.4}},
                                        CELLS: {"radar": {"f1": None}, "pca": {"f1": None}}}))
    assert row["verdict"] == "reproduced" and "elpv" not in row["of"] + row["detail"]


def test_a_short_chain_can_reproduce_but_not_contradict():
    asked = claim("faster", {"times": 100, "chain": 250, "than": ["ddpm"]})
    short = claims.assess(asked, timed(radar=even(10), ddpm=even(100, nfe=10)))
    assert short["verdict"] == "not run" and short["measured"] == pytest.approx(10, rel=0.02)
    assert short["why"] == "ddpm makes 10 evaluations; a contradiction needs 250"
    [expected] = re.findall("250 evaluations would let one expect (.+) times", short["detail"])
    assert float(expected) == pytest.approx(250, rel=0.02)
    assert "predicted, not measured" in short["detail"]
    assert claims.assess(asked, timed(radar=even(10), ddpm=even(100, nfe=250)))["verdict"] == "contradicted"
    enough = claims.assess(asked, timed(radar=even(1), ddpm=even(200, nfe=10)))
    assert enough["verdict"] == "reproduced" and not enough["why"]


@pytest.mark.parametrize("rounds", [1, 5])
def test_a_timing_without_enough_rounds_has_no_interval_and_no_verdict(rounds):
    row = claims.assess(FAST, timed(radar=timing(1, 1, rounds), ddpm=timing(90, 1, rounds), pca=timing(90, 1, rounds)))
    assert row["verdict"] == "inconclusive" and row["measured"] == pytest.approx(90, rel=0.05)
    assert math.isnan(row["low"]) and row["why"] == "no interval: fewer than 6 timed rounds"


def test_numbers_without_draws_have_no_verdict():
    found = accuracy(radar=0.9, pca=0.1)
    found.samples["printed", "all"]["f1"]["pca"] = {seed: Estimate(0.1) for seed in (0, 1)}
    row = claims.assess(OVER_PCA, found)
    assert row["verdict"] == "inconclusive" and row["why"] == "no interval: there are no bootstrap draws"


@pytest.mark.parametrize("datasets, words", [
    (("mvtec_ad/tile",), "the dataset mvtec_ad/tile"), (("visa/a", "visa/b"), "the dataset visa"),
    (("printed/all", "printed/other"), "1 of the 2 categories of printed"),
])
def test_a_dataset_that_was_not_run_is_named(datasets, words):
    row = claims.assess(asked_of(OVER_PCA, *datasets), accuracy(radar=0.9, pca=0.8))
    assert (row["verdict"], row["why"]) == ("not run", f"missing: {words}")


def test_a_published_mean_needs_every_category():
    asked = asked_of(EQUAL, "d/a", "d/b")
    two = {"d/a": {"radar": {"image_auroc": 0.99}}, "d/b": {"radar": {"image_auroc": 0.85}}}
    whole = claims.assess(asked, left(two))
    assert whole["verdict"] == "reproduced" and whole["measured"] == pytest.approx(92)
    assert whole["conditions"].endswith("Published for: RTX 0.")
    assert claims.assess(asked, left({"d/a": two["d/a"]}))["verdict"] == "not run"


# The shipped claims


def test_every_published_number_is_carried_with_its_source_or_listed():
    published = claim_config.read_published()
    asked = claim_config.read_claims(published=published)
    rows = pd.DataFrame([claims.assess(one, left({})) for one in asked], columns=claims.COLUMNS).set_index("id")
    assert set(rows["verdict"]) == {"not run"} and rows["why"].str.startswith("missing: ").all()
    expected = {"radar_f1_printed": (13, "percent", "abstract", "paper"),
                "radar_f1_tile": (7, "percent", "abstract", "paper"),
                "invad_speed": (2, "times", "abstract", "paper"),
                "invad_mvtec_ad_image_auroc": (99.0, "percent", "authors' project page", "authors"),
                "diffusionad_speed": (100, "times or more", "abstract", "paper")}
    found = rows[["published", "published_unit", "source", "evidence"]]
    assert {name: tuple(found.loc[name]) for name in expected} == expected
    carried, listed = [one.published for one in asked if one.published], claims.others(published, asked).frame
    assert len(listed) + len(carried) == len(published)
    diad = "DiAD, AAAI 2024: MVTec AD, tile, image AUROC"
    assert listed.loc[diad].tolist()[1::2] == ["96.8 %", "published table (paper)"]


def test_photographs_without_labels_leave_only_the_speed():
    methods = ("radar", "invad", "diffusionad", "ddpm", "anoddpm")
    found = left({PRINTED: {name: dict.fromkeys(METRICS) for name in methods}},
                 {name: even(5 + index, **CUDA) for index, name in enumerate(methods)})
    rows = {one.name: claims.assess(asked_of(one), found) for one in claim_config.read_claims()}
    assert {name for name, row in rows.items() if row["verdict"] != "not run"} == {"radar_real_time", "invad_speed"}
    assert "labels" in rows["anoddpm_image_auroc"]["why"]


# The script


def script(run: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "workflow/scripts/claims.py", "--run", run]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_tables_are_a_function_of_the_results(tmp_path):
    f1 = {"radar": 0.8, "ddpm": 0.6, "anoddpm": 0.7}

    def write() -> Path:
        return write_run(tmp_path, ["printed/all"], tuple(f1), latency={"radar": 5, "ddpm": 50, "anoddpm": 60},
                         values=lambda pair, method, seed: dict.fromkeys(METRICS, f1[method]))

    run = write()
    first = script(run)
    assert first.returncode == 0 and first.stdout.startswith("claims: 3 reproduced, "), first.stderr
    texts = {path.name: path.read_text() for path in (run / "tables").iterdir()}
    assert set(texts) == {"claims.csv", "claims.md", "claims.tex"}
    before = pd.read_csv(run / "tables/claims.csv").set_index("id")
    assert list(before.reset_index()) == claims.COLUMNS
    assert before.loc[["radar_real_time", "anoddpm_image_auroc"], "verdict"].eq("reproduced").all()
    assert before.loc["radar_f1_printed", "verdict"] == "inconclusive"
    assert before.loc["radar_f1_printed", "measured"] == pytest.approx(10)
    for one in claim_config.read_claims():
        for words in (one.says.statement, one.says.conditions):
            assert words in texts["claims.md"].replace("\\*", "*")
    assert "13 %" in texts["claims.md"] and "Source: abstract (paper)." in texts["claims.md"]

    assert script(run).returncode == 0  # nothing has changed
    assert texts == {path.name: path.read_text() for path in (run / "tables").iterdir()}
    f1["anoddpm"] = 0.5
    assert script(write()).returncode == 0
    after = pd.read_csv(run / "tables/claims.csv").set_index("id")
    changed = after["verdict"][before["verdict"] != after["verdict"]]
    assert changed.to_dict() == dict.fromkeys(("anoddpm_image_auroc", "anoddpm_aupro"), "contradicted")


def test_the_script_names_a_missing_file_in_one_line(tmp_path):
    run = write_run(tmp_path, ["printed/all"])
    (tmp_path / "results/printed/all/ddpm/seed1/metrics.json").unlink()
    result = script(run)
    assert result.returncode == 1 and "printed/all ddpm, seed 1: not evaluated, not started: make" in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not (run / "tables/claims.md").exists()


def test_reporting_of_claims_imports_neither_torch_nor_sklearn():
    code = "import sys; import radar.report.claims; sys.exit(bool({'torch', 'sklearn'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
