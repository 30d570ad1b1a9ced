"""From the files of a run to its tables: numbers by hand, what is refused or left out and why, how it is written."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from snakemake.cli import parse_config

from radar import config as configuration
from radar.commands.compare import compare_runs
from radar.evaluation.statistics import clopper_pearson
from radar.report import compare, format, table, tables
from radar.report.load import Estimate, InputError, Results, Run, load, read_csv, read_run
from tests.report_tree import write_run

ROOT = Path(__file__).resolve().parent.parent
NOISE, OTHER = np.random.default_rng(0).normal(0, 0.1, (2, 400))  # of the images that methods share, and of others
PRINTED, HOSTILE = "printed/all", r"50% of {disk} & C:\tmp is #1 <full> ~ ^ | *a* $5"


def script(name: str, run: Path, *options: str) -> subprocess.CompletedProcess:
    root = run.parents[2]
    command = [sys.executable, ROOT / f"workflow/scripts/{name}.py", "--run", run.relative_to(root), *options]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def change(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def results(values: dict[str, dict[int, Estimate]], metric: str = "f1", pair=("d", "c"), normal: int = 20) -> Results:
    """Results of one metric by hand: method -> seed -> Estimate."""
    run = Run(Path(), "default", {}, {}, {"/".join(pair): {}}, {name: {} for name in values}, {}, [0], Path())
    records = pd.DataFrame([(*pair, name, seed, normal) for name, seeds in values.items() for seed in seeds],
                           columns=["dataset", "category", "method", "seed", "n_test_normal"])
    records = records.assign(**dict.fromkeys(compare.SUMMED.keys() - {"n_test_normal"}, 0))
    return Results(run, {pair: {metric: values}}, records, pd.DataFrame(), pd.DataFrame())


@pytest.fixture
def run(tmp_path) -> Path:
    return write_run(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A run with a hostile label, a changed setting, a warning of the data; compared and shown."""
    run = write_run(tmp_path_factory.mktemp("made"), ("printed/all", "elpv/mono", "visa/a", "visa/b"))
    methods = json.loads((run / "run.json").read_text())["methods"]
    change(run / "run.json", changed={"training.images": 800}, run="mine",
           methods=methods | {"pca": methods["pca"] | {"label": HOSTILE}})
    change(run.parent.parent / "elpv/mono/check.json", warnings=["x"], summary="2 near-duplicates")
    for path in run.parent.parent.glob("elpv/mono/*/seed*/metrics.json"):
        change(path, calibration_too_small=True, n_calibration=7)
    for name in ("compare", "tables"):
        done = script(name, run)
        assert done.returncode == 0 and not done.stderr, done.stderr
    return run


# Numbers


def test_means_and_intervals_are_those_of_the_mean_over_seeds(run):
    rows = compare.main_table(load(read_run(run))).set_index(["dataset", "category", "method", "metric"])
    folders = [run.parent.parent / f"printed/all/ddpm/seed{seed}" for seed in (0, 1)]
    values = [json.loads((folder / "metrics.json").read_text())["metrics"]["f1"] for folder in folders]
    draws = np.sort(sum(np.load(folder / "bootstrap.npz")["f1"] for folder in folders) / 2)
    place = 0.025 * (len(draws) - 1)  # linear interpolation between order statistics
    row = rows.loc["printed", "all", "ddpm", "f1"]
    assert row["mean"] == pytest.approx(sum(values) / 2) and row["n_seeds"] == 2
    assert row["ci_low"] == pytest.approx(draws[int(place)] + place % 1 * (draws[int(place) + 1] - draws[int(place)]))
    none = rows.loc["elpv", "mono", "pca", "pixel_aupro"]  # it does not apply, and keeps its row
    assert np.isnan(none[["mean", "ci_low", "ci_high"]].astype(float)).all() and none["n_seeds"] == 0


def test_differences_are_paired_and_over_common_seeds():
    base = 0.5 + NOISE
    found = compare.differences(results({
        "a": {0: Estimate(0.6, base + 0.1), 1: Estimate(0.9, base)}, "b": {0: Estimate(0.5, base)}, "c": {}}))
    assert found[["method", "other", "n_seeds"]].values.tolist() == [["a", "b", 1]]
    # the draws differ by 0.1 always, however much they scatter
    assert found[["difference", "ci_low", "ci_high"]].values.tolist() == [pytest.approx([0.1, 0.1, 0.1])]


@pytest.mark.parametrize("values, metric, won", [
    ({"a": Estimate(0.80, 0.80 + NOISE), "b": Estimate(0.78, 0.78 + NOISE)}, "f1", {"a"}),  # though intervals overlap
    ({"a": Estimate(0.8, 0.8 + NOISE), "b": Estimate(0.8, 0.8 + NOISE)}, "f1", set()),  # a tie
    ({"a": Estimate(0.8, 0.8 + NOISE), "b": Estimate(0.79, 0.79 + OTHER), "c": Estimate(0.2, NOISE)}, "f1", set()),
    ({"a": Estimate(0.8, 0.8 + NOISE)}, "f1", set()),  # alone
    ({"a": Estimate(0.8), "b": Estimate(0.1)}, "f1", set()),  # without intervals
    ({"a": Estimate(0.9, 0.9 + NOISE), "b": Estimate(0.1, NOISE)}, "false_positive_rate_measured", set()),
])
def test_a_winner_is_better_than_every_other_beyond_chance(values, metric, won):
    for seed, expected in ((0, won), (1, set())):  # without a common seed there is no winner
        found = results({name: {seed * place: one} for place, (name, one) in enumerate(values.items())}, metric)
        main, pairs = compare.main_table(found), compare.differences(found)
        assert {name for *_, name in compare.winners(main, pairs)} == expected


def test_a_mean_over_categories_takes_what_has_all_of_them_and_independent_draws():
    one, other = (results({"x": {0: Estimate(value, value + NOISE), 1: Estimate(0.1)}, "y": {0: Estimate(0.5)}},
                          pair=("d", name)) for name, value in (("a", 0.2), ("b", 0.4)))
    del other.samples["d", "b"]["f1"]["x"][1], other.samples["d", "b"]["f1"]["y"]
    means = compare.with_means(replace(
        one, samples=one.samples | other.samples, records=pd.concat([one.records, other.records])))
    assert list(means.samples) == [("d", "mean of 2"), ("d", "a"), ("d", "b")]
    found = means.samples["d", "mean of 2"]["f1"]
    assert list(found["x"]) == [0] and not found["y"] and found["x"][0].value == pytest.approx(0.3)
    assert found["x"][0].draws.std() == pytest.approx(NOISE.std() / 2**0.5, rel=0.1)
    assert means.records.query("category == 'mean of 2' and method == 'x' and seed == 0")["n_test_normal"].item() == 40


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_a_rate_has_the_exact_interval_of_its_number_of_images(rate):
    found = results({"a": {seed: Estimate(rate, np.full(9, rate)) for seed in (0, 1)}}, "own_false_positive_rate")
    row = compare.main_table(found).iloc[0]
    assert (row["ci_low"], row["ci_high"]) == clopper_pearson(rate * 20, 20)  # two seeds are no 40 images


# What compare writes


def test_the_bytes_of_the_main_table(tmp_path):
    run = write_run(tmp_path, ["elpv/mono"], ["pca"], [0], lambda *_: {"f1": 0.5, "image_auroc": 0.25, "x": None})
    for path in tmp_path.glob("results/elpv/mono/pca/seed0/bootstrap.npz"):
        np.savez(path, f1=np.full(101, 0.5), image_auroc=np.linspace(0.2, 0.3, 101))
    assert script("compare", run).returncode == 0
    assert (run / "tables/main.csv").read_bytes() == (
        b"dataset,category,method,metric,mean,ci_low,ci_high,n_seeds\n"
        b"elpv,mono,pca,image_auroc,0.25,0.2025,0.2975,1\nelpv,mono,pca,f1,0.5,0.5,0.5,1\nelpv,mono,pca,x,,,,0\n")
    assert json.loads((run / "metrics.json").read_text()) == {"elpv/mono": {"pca": {"image_auroc": 0.25, "f1": 0.5}}}


def test_the_tidy_frame_holds_every_number_once(made):
    frame = read_csv(made / "tables/results.csv")
    assert not frame.duplicated(["dataset", "category", "method", "seed", "metric"]).any()
    one = frame.query("dataset == 'printed' and method == 'ddpm' and seed == 1").set_index("metric")["value"]
    record = json.loads((made.parent.parent / "printed/all/ddpm/seed1/metrics.json").read_text())
    assert one["f1"] == record["metrics"]["f1"] and one["n_calibration"] == 25 and "own_f1" not in one
    assert frame.query("metric == 'latency_ms_median'")["seed"].unique().tolist() == [0]


@pytest.mark.parametrize("file, content, words", [
    ("printed/all/pca/seed1/metrics.json", '{"dataset": ', "is not readable JSON"),
    ("printed/all/pca/seed1/metrics.json", "[]", "has no metrics: delete it"),
    ("printed/all/pca/seed1/metrics.json", '{"metrics": {}}', "has no by_defect, threshold"),
    ("printed/all/pca/seed1/bootstrap.npz", "no zip", "is not readable NumPy"),
    ("runs/default/timing/elpv/mono.json", "{", "is not readable JSON"),
    ("runs/default/run.json", "{}", "has no run, config"),
    ("runs/default/run.json", None, "is missing: make it with snakemake"),
])
def test_a_file_that_is_broken_or_missing_is_named_in_one_line_with_what_to_do(run, file, content, words):
    path = run.parent.parent / file
    path.unlink() if content is None else path.write_text(content)
    done = script("compare", run, "--partial")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert f"results/{file}" in done.stderr and words in done.stderr and "snakemake and the settings" in done.stderr


@pytest.mark.parametrize("file, words", [
    ("printed/all/pca/seed1/metrics.json", "printed/all pca, seed 1: not evaluated, not started: make it with"),
    ("runs/default/timing/elpv/mono.json", "elpv/mono radar, no timing, not started: make it with"),
])
def test_without_a_failure_nothing_may_be_missing(run, file, words):
    (run.parent.parent / file).unlink()
    done = script("compare", run)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and words in done.stderr


def test_a_broken_table_and_unpaired_draws_are_one_line(run):
    (run / "tables").mkdir()
    (run / "tables/main.csv").write_text("a,b\n1,2,3\n4,5,6,7\n")
    done = script("tables", run)
    assert done.returncode == 1 and "main.csv is not readable CSV" in done.stderr and done.stderr.count("\n") == 1
    np.savez(run.parent.parent / "elpv/mono/pca/seed1/bootstrap.npz", **dict.fromkeys(compare.METRICS, np.zeros(7)))
    with pytest.raises(InputError, match=r"seed1/bootstrap.npz holds \(7,\) draws of image_auroc, other methods 200"):
        load(read_run(run))


# After a failure


def test_what_is_missing_is_named_with_its_reason(run):
    place = run.parent.parent / "printed/all"
    for method, seed in (("pca", 0), ("pca", 1), ("ddpm", 0), ("radar", 0)):
        (place / method / f"seed{seed}/metrics.json").unlink()
    (place / "pca/seed0/detect.log").write_text("fit 10 %\rfit 20 %\nMemoryError: no room\n\n")
    (place / "ddpm/seed0/failure.json").write_text('{"reason": "the loss is not finite", "log": "pixels.log"}')
    change(place / "ddpm/seed1/metrics.json", provenance={"inputs_sha256": {"scores": "0" * 64}})
    (place / "noise_predictor-pixels/seed0/train.log").write_text("step 1\nno room on disk\n")
    (run / "timing/printed/all.json").unlink()
    assert script("compare", run, "--partial").returncode == 0 and not (run / "tables").exists()
    missing = read_csv(run / "partial/tables/missing.csv").query("dataset == 'printed' and category == 'all'")
    assert [*zip(missing["method"], missing["reason"], strict=True)] == [
        ("radar", "seed 0: not evaluated; train.log ends: no room on disk"),
        ("ddpm", "seed 0: not evaluated; the loss is not finite (log: pixels.log)"),
        ("ddpm", "seed 1: not evaluated; it is of other scores than those beside it"),
        ("pca", "seed 0: not evaluated; detect.log ends: MemoryError: no room"),
        ("pca", "seed 1: not evaluated, not started"),
        *((name, "no timing, not started") for name in ("radar", "ddpm", "pca"))]
    assert script("tables", run, "--partial").returncode == 0
    text = (run / "partial/tables/main.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| pca [3]"))
    assert {cell.strip() for cell in row.split("|")[2:-1]} == {"–"} and text.startswith("**After a run that failed")
    assert "[3] missing: seed 0: not evaluated; detect.log ends: MemoryError: no room; seed 1: not evaluated" in text
    assert "[1] incomplete: seed 0" in text and "a method is missing, so that no winner is named" in text
    assert "**." not in text.partition("## printed/all")[2].partition("\n## ")[0]
    assert "missing: no timing" in (run / "partial/tables/timing.md").read_text()


# How it is written


def test_captions_tell_of_run_settings_tests_and_warnings(made):
    blocks = dict(part.split("\n", 1) for part in (made / "tables/main.md").read_text().split("\n## ")[1:])
    assert ("Run mine, changed: training.images 800. Commit 0123456789. Mean over 2 seeds (0, 1); 6 normal and 12 "
            "anomalous test images; threshold calibrated on 25 normal images, promised FPR 5 %.") in blocks[PRINTED]
    assert "Data: 2 near-duplicates, see results/elpv/mono/check.json." in blocks["elpv/mono"]
    assert "Warning: the calibration set (7 images) is too small to promise" in blocks["elpv/mono"]
    assert "too small" not in blocks[PRINTED] and "visa/mean of 2" in blocks
    rows = [line.split(" | ")[0] for line in blocks[PRINTED].splitlines() if line.startswith("| ")]
    assert rows[:3] == ["| method", "| RADAR", "| ddpm"]  # in the order of the run
    cells = [line for line in blocks["elpv/mono"].splitlines() if line.startswith("| ddpm")][0].split(" | ")
    assert cells[-4:-1] == ["–"] * 3 and "–" not in cells[1:9]
    assert "visa: image AUROC by category" in blocks and "- RADAR: radar, 2025" in blocks["References"]


def test_bold_is_where_the_difference_is_significant_only(tmp_path):
    run = write_run(tmp_path, ["elpv/mono"], ["radar", "pca"], [0], lambda pair, method, seed: {
        "f1": 0.9 if method == "radar" else 0.3, "image_auroc": 0.5, "false_positive_rate_measured": 0.5})
    for name in ("compare", "tables"):
        assert script(name, run).returncode == 0
    for suffix, bold in (("md", r"\*\*\.900"), ("tex", r"\\textbf\{\.900|\\bfseries \.900")):
        text = (run / f"tables/main.{suffix}").read_text()
        assert len(re.findall(bold, text)) == 1 and len(re.findall(bold.replace("900", "[0-8]"), text)) == 0
    assert (run / "tables/summary.txt").read_text().partition("*")[2].startswith(".900 ± ")


@pytest.mark.parametrize("name", ["main", "compact", "timing", "statistics"])
def test_tables_name_the_command_that_makes_them_and_latex_is_whole(made, name):
    texts = {suffix: (made / f"tables/{name}.{suffix}").read_text() for suffix in ("md", "tex")}
    for text in texts.values():
        assert re.findall(r"snakemake --cores all (\S+) --config", text) == [f"results/runs/default/tables/{name}.md"]
    body = "\n".join(line for line in texts["tex"].splitlines() if not line.startswith("%"))
    assert r"50\% of \{disk\} \& C:\textbackslash{}tmp is \#1 \textless{}full\textgreater{}" in body
    assert r"50% of {disk} & C:\tmp is #1 &lt;full> ~ ^ \| \*a\* $5" in texts["md"] and not set("±–−×") & set(body)
    bare = body.replace("\\\\", "").replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}") and body.replace(r"\$", "").count("$") % 2 == 0
    assert not re.search(r"(?<!\\)[#_]", re.sub(r"\\label\{.*?\}", "", body))
    assert body.count(table.FULL + "\n\\begin{tabular}") == body.count(r"\begin{tabular}") > 0  # no wider than the page
    for columns, content in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", body, re.S):
        for row in [line for line in content.splitlines() if line.endswith(r"\\")]:
            spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            assert len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans) == len(columns)


def test_the_command_of_a_run_has_all_that_it_changed(run):
    changed = {"datasets": ["printed/all"], "longest_side": None, "training.images": 80, "training.clip": 1.0,
               "noise_predictors.pixels.channels": [8, 16], "data_root": "a folder/b"}
    assert read_run(run).command("all") == "snakemake --cores all all"
    words = shlex.split(replace(read_run(run), name="mine", changed=changed).command("page.html"))
    assert words[:5] == ["snakemake", "--cores", "all", "page.html", "--config"]
    assert configuration.typed(parse_config(words[5:])) == {
        "run": "mine", "datasets": ["printed/all"], "longest_side": None, "data_root": "a folder/b",
        "training": {"images": 80, "clip": 1.0}, "noise_predictors": {"pixels": {"channels": [8, 16]}}}


def test_notes_stand_beside_their_float_since_together_they_may_be_longer_than_a_page():
    one = table.Table("claims", table.frame_of({"A": ["x"]}, [("", "b")]), notes={"A": "50 % of " + 900 * "word "})
    before, after = table.latex("Title", [], [one], "make").split(r"\end{table*}")
    assert "word" not in before and r"Table~\ref{tab:title-claims}, A: 50 \% of word" in after
    assert r"\label{tab:title-claims}" in before


def test_the_timing_table_says_what_is_measured_on_what(made):
    text = (made / "tables/timing.md").read_text()
    [shown, *_] = [line for line in text.splitlines() if line.startswith("| ddpm")]
    assert "| – | 2.00 ± 0.300 | 61.7 | 8 | 1 | 0.500 | 1.50 | 300 | 9600 |" in shown
    assert "ratio to RADAR" in text and "Timed on cpu (CPU_X 100%), 2 threads. Image: 1×24×24" in text
    assert "images/s at batch 8" in text and "1.23 ± 0.0500" in text


def test_the_terminal_is_not_overflown(made):
    text = (made / "tables/summary.txt").read_text()
    assert max(map(len, text.splitlines())) <= tables.TERMINAL == 110
    assert "visa/mean of 2" in text and "promised FPR 5 %" in text and "too small" in text


def test_how_numbers_are_written():
    assert [format.share(value) for value in (0.8731, 1, None)] == [".873", "1.000", "–"]
    assert [format.signed(value) for value in (-0.12, 0.031, 0)] == ["−.120", "+.031", ".000"]
    assert [format.rounded(value) for value in (0.01234, 12345.6, 999.9, 0, float("nan"))] == [
        "0.0123", "12300", "1000", "0", "–"]
    assert (format.percent(0.125), format.plain(153600), format.points(-0.3)) == ("12.5 %", "153600", "−0.3")


def test_every_command_and_every_file_of_dvc_is_an_output_of_the_workflow():
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--summary", "all", "ablation"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = {line.split("\t")[0] for line in done.stdout.splitlines()}
    for name in ("main", "compact", "timing", "statistics", "claims"):
        assert f"results/runs/default/tables/{name}.md" in outputs
    listed = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    assert sorted(listed["plots"]) == sorted(path for path in outputs if path.endswith(".png"))
    for name in listed["metrics"] + listed["params"]:  # make reference copies them from the default run
        assert name.replace("reference", "runs/default") in outputs


# Two runs


def test_two_runs_are_compared_on_the_same_images(tmp_path):
    def values(more: float):
        return lambda pair, method, seed: {"f1": 0.5 + more * (method == "pca"), "image_auroc": 0.7}

    first = write_run(tmp_path / "first", ["elpv/mono"], values=values(0))
    second = write_run(tmp_path / "second", ["elpv/mono", "printed/all"], ("pca", "ddpm"), values=values(0.1))
    found = compare_runs(read_run(first), read_run(second)).set_index(["method", "metric"])
    assert set(found["dataset"]) == {"elpv"} and set(found.index.get_level_values(0)) == {"pca", "ddpm"}
    row = found.loc["pca", "f1"]
    assert row[["difference", "ci_low", "ci_high"]].tolist() == pytest.approx([0.1, 0.1, 0.1])  # the same draws
    assert (row["first"], row["second"], row["n_seeds"]) == (0.5, pytest.approx(0.6), 2)
    assert np.isnan(found.loc["pca", "latency_ms_median"]["ci_low"])


def test_runs_of_other_rules_images_or_datasets_are_refused_with_the_reason(tmp_path):
    first, second = (write_run(tmp_path / name, ["elpv/mono"]) for name in ("first", "second"))
    other = write_run(tmp_path / "third", ["printed/all"])
    with pytest.raises(InputError, match="have no dataset in common: elpv/mono and printed/all"):
        compare_runs(read_run(first), read_run(other))
    manifest = tmp_path / "second/results/elpv/mono/manifest.csv"
    manifest.write_text(manifest.read_text().replace("calibration", "train"))
    with pytest.raises(InputError, match="elpv/mono: the runs had other images or another split"):
        compare_runs(read_run(first), read_run(second))
    change(second / "run.json", config={"seeds": [0, 1], "protocol": {"false_positive_rate": 0.01}})
    with pytest.raises(InputError, match="other rules: protocol.false_positive_rate is 0.05 and 0.01; make one"):
        compare_runs(read_run(first), read_run(second))
