"""The DAG, run for real on a tiny configuration in a copy of the checkout."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from radar import code
from radar.diffusion.training import exclusive
from tests.checkout import ROOT, copy_checkout, environment, place, snakemake, table
from tests.conftest import TRAINING

DATASETS, SEEDS = ("texture/gravel", "elpv/mono"), (0, 1)
METHODS = ("radar", "radar_features", "ddpm", "pca")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run: (folder, what it printed)."""
    folder = copy_checkout(tmp_path_factory.mktemp("run"))
    result = snakemake(folder)
    assert result.returncode == 0, result.stdout[-5000:]
    return folder, result.stdout


def test_tables_cover_every_method_and_dataset(run):
    folder, _ = run
    main = table(folder, "main")
    assert list(main) == ["dataset", "category", "method", "metric", "mean", "ci_low", "ci_high", "n_seeds"]
    assert set(zip(main["dataset"] + "/" + main["category"], main["method"], strict=True)) == {
        (dataset, method) for dataset in DATASETS for method in METHODS}
    pixels = main[main["metric"].str.startswith("pixel_")]
    assert pixels.loc[pixels["dataset"] == "elpv", "mean"].isna().all()  # image labels only: not applicable
    assert pixels.loc[pixels["dataset"] == "texture", "mean"].between(0, 1).all()
    given = main.dropna(subset="mean")
    assert (given["n_seeds"] == 2).all() and (given["ci_low"] <= given["ci_high"]).all()
    timing = table(folder, "timing")
    assert (timing["cold_start_s"] > 0).all() and (timing["ratio_to"] == "radar").all()
    parts = timing[["tiling_ms", "features_ms", "noise_predictor_ms", "other_network_ms", "rest_ms"]]
    assert (parts.fillna(0) >= 0).all(axis=None) and timing.set_index("method")["evaluation_ms"]["pca"].isna().all()
    assert timing.set_index("method")["training_images"].loc[["radar", "radar_features"]].eq(240).all()
    assert timing.set_index(["dataset", "method"])["nfe"].loc["elpv"].to_dict() == {
        "radar": 1, "radar_features": 1, "ddpm": 10, "pca": 0}
    flops = timing.set_index(["dataset", "method"])["gflops"].loc["elpv"]
    assert flops["ddpm"] / flops["radar"] == pytest.approx(10, rel=0.05)


def test_one_tidy_frame_holds_every_number(run):
    folder, _ = run
    results, main, timing = (table(folder, name) for name in ("results", "main", "timing"))
    assert list(results) == ["dataset", "category", "method", "seed", "metric", "value"]
    assert not results.duplicated(["dataset", "category", "method", "seed", "metric"]).any()
    mean = results.groupby(["dataset", "method", "metric"])["value"].mean()
    shown = main.dropna(subset="mean").set_index(["dataset", "method", "metric"])["mean"]
    assert (mean[shown.index] - shown).abs().max() < 1e-12
    measured = timing.set_index(["dataset", "method"])["latency_ms_median"]
    assert (mean.xs("latency_ms_median", level="metric") - measured).abs().max() < 1e-9


def test_claims_are_judged_and_statistics_say_what_they_cannot(run):
    folder, _ = run
    claims = table(folder, "claims").set_index("id")
    assert claims.loc["radar_f1_tile", "verdict"] == "not run" and claims.loc["radar_f1_tile", "published"] == 7
    timing = table(folder, "timing")
    radar = timing[timing["method"] == "radar"]["latency_ms_median"]
    time = claims.loc["radar_real_time"]
    assert time["unit"] == "ms" and radar.min() / 2 < time["measured"] < 2 * radar.max()  # the mean over datasets
    assert "too few to test" in (folder / "results/runs/tiny/tables/statistics.md").read_text()


def test_the_report_holds_the_tables_numbers_and_needs_no_network(run):
    folder, printed = run
    html = (folder / "results/runs/tiny/report.html").read_text()
    assert "results/runs/tiny/report.html" in printed and len(html) < 10 * 2**20
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", html)
    main = table(folder, "main")
    for row in main[main["metric"] == "image_auroc"].itertuples():
        assert f"{row.mean:.3f}".removeprefix("0") in html
    for text in ("elpv/mono", "CC BY-NC-SA 4.0", "arXiv:2508.04818", "NFE"):
        assert text in html


def test_the_table_cites_the_methods(run):
    folder, _ = run
    references = (folder / "results/runs/tiny/tables/main.md").read_text().partition("## References")[2]
    assert "- RADAR: Moradi, Grasso, Colosimo, Paynabar: RADAR. arXiv:2508.04818, 2025" in references
    assert references.count("\n- ") == len(METHODS)


def test_figures_are_there_in_both_formats(run):
    folder, _ = run
    names = ["accuracy_latency", "timing", "roc", "recall", "seeds", "ranks", "loss", "maps_texture_gravel",
             "maps_elpv_mono"]
    for name in names:
        with Image.open(folder / f"results/runs/tiny/figures/{name}.png") as picture:
            assert picture.width > 500 and len(picture.convert("L").getcolors(256)) > 10
        assert (folder / f"results/runs/tiny/figures/{name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_run_ends_with_the_table_and_says_where_things_are(run):
    folder, printed = run
    assert (folder / "results/runs/tiny/tables/summary.txt").read_text() in printed
    assert "results/runs/tiny/tables/main.md" in printed and "results/runs/tiny/figures/" in printed


def test_metrics_follow_from_scores_and_labels(run):
    folder, _ = run
    for dataset in DATASETS:
        label = pd.read_csv(folder / f"results/{dataset}/manifest.csv").set_index("path")["label"]
        for method in METHODS:
            for seed in SEEDS:
                where = place(folder, dataset, method, seed)
                scores = pd.read_csv(where / "scores.csv")
                assert not {"label", "mask", "defect"} & set(scores)
                test, calibration = (scores[scores["split"] == split] for split in ("test", "calibration"))
                record = json.loads((where / "metrics.json").read_text())
                auroc = roc_auc_score(label[test["path"]], test["score"])
                assert record["metrics"]["image_auroc"] == pytest.approx(auroc)
                # the detector's own threshold is the evaluator's, and comes from normal calibration images
                detector = json.loads((where / "detector.json").read_text())
                assert detector["threshold"] == record["threshold"] in set(calibration["score"])
                assert not label[calibration["path"]].any()
                assert detector["provenance"]["commit"] and detector["provenance"]["versions"]["torch"]


def test_methods_share_one_noise_predictor_per_dataset_and_seed(run):
    folder, _ = run
    hashes = {}
    for path in folder.glob("results/*/*/*/seed*/detector.json"):
        description = json.loads(path.read_text())
        if description["noise_predictor"]:
            kind = description["method"]["noise_predictor"]
            key = (path.parts[-5], path.parts[-2], kind)
            hashes.setdefault(key, set()).add(description["noise_predictor"]["sha256"])
    assert len(hashes) == 8 and all(len(one) == 1 for one in hashes.values())
    assert len(set.union(*hashes.values())) == 8


def test_git_is_as_before_and_dvc_reads_what_a_run_had(run):
    folder, _ = run
    status = subprocess.run(["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True)
    assert status.stdout == ""  # dvc.lock too: the recipe gives the committed hashes
    for name in ("metrics", "params"):
        shutil.copy(folder / f"results/runs/tiny/{name}.json", folder / f"results/reference/{name}.json")

    def dvc(*arguments: str) -> dict:
        return json.loads(subprocess.run([sys.executable, "-m", "dvc", *arguments, "--json"], cwd=folder, check=True,
                                         capture_output=True, text=True, env=environment(folder)).stdout)

    metrics, params = dvc("metrics", "diff"), dvc("params", "diff")
    main = table(folder, "main").set_index(["dataset", "method", "metric"])["mean"]
    new = metrics["results/reference/metrics.json"]["elpv/mono.pca.image_auroc"]["new"]
    assert new == pytest.approx(main["elpv", "pca", "image_auroc"], abs=1e-6)
    assert params["results/reference/params.json"]["longest_side"]["new"] == 48
    subprocess.run(["git", "checkout", "-q", "results/reference"], cwd=folder, check=True)


def test_a_second_run_has_nothing_to_do(run):
    folder, _ = run
    assert "Nothing to be done" in snakemake(folder).stdout


# Rule -> what its code starts from, in the tiny run; and the rules whose results stand on its own.
CLASSES = ["radar/method/radar.py", "radar/method/readings.py", "baselines/ddpm.py", "baselines/pca.py"]
STARTS = {"prepare": ["manifest.py", "radar/data/texture.py", "radar/data/elpv.py", "radar/data/folder.py"],
          "train_noise_predictor": ["train.py"], "fit_and_score": ["detect.py", *CLASSES], "evaluate": ["evaluate.py"],
          "time_methods": ["time_methods.py", *CLASSES], "compare": ["compare.py"], "claims": ["claims.py"],
          "tables": ["tables.py"], "figures": ["figures.py"], "page": ["page.py"]}
SHOWS = {"claims", "tables", "figures", "page"}
STANDS = {"prepare": {*STARTS}, "train_noise_predictor": {*STARTS} - {"prepare"},
          "fit_and_score": {*STARTS} - {"prepare", "train_noise_predictor"}, "evaluate": {"compare", *SHOWS},
          "time_methods": {"compare", *SHOWS}, "compare": SHOWS, "claims": {"page"}, "tables": set(),
          "figures": {"page"}, "page": set()}
MODULES = sorted(str(path.relative_to(ROOT)) for part in ("radar", "baselines", "workflow/scripts")
                 for path in (ROOT / part).rglob("*.py") if path.stat().st_size)
SOME = ["radar/images/filters.py", "radar/method/moments.py", "radar/evaluation/calibration.py",
        "radar/report/tables.py", "baselines/gaussian.py"]  # gaussian is not in the tiny run


def rules_after(folder: Path, *changed: str, text: str = "\ntouched = 1\n") -> set[str]:
    """The rules that would run after these files got a line more."""
    before = {name: (folder / name).read_text() for name in changed}
    try:
        for name in changed:
            (folder / name).write_text(before[name] + text)
        stats = snakemake(folder, "-n", "--quiet", "rules").stdout.partition("Job stats")[2]
    finally:
        for name in changed:
            (folder / name).write_text(before[name])
    return set(re.findall(r"^(\w+) +\d+$", stats, re.M)) - {"all", "total"}


def expected_after(name: str) -> set[str]:
    """The rules whose own code imports a module, and those that stand on their results."""
    holding = {rule for rule, starts in STARTS.items() if ROOT / name in code.closure(
        *(start if "/" in start else f"workflow/scripts/{start}" for start in starts))}
    return holding.union(*(STANDS[rule] for rule in holding))


@pytest.mark.parametrize("name", [*SOME, *(pytest.param(name, marks=pytest.mark.full)
                                           for name in MODULES if name not in SOME)])
def test_a_change_runs_the_rules_that_import_it_and_those_that_stand_on_them(run, name):
    assert rules_after(run[0], name) == expected_after(name)


def test_comments_rerun_nothing_nor_does_a_clone_that_moved(run, tmp_path):
    folder, _ = run
    assert rules_after(folder, *MODULES, text="\n# a comment\n") == set()
    assert rules_after(folder, "config/claims.yaml", text="\n# a comment\n") == {"claims", "page"}
    shutil.copytree(folder, tmp_path / "moved", symlinks=True)
    assert "Nothing to be done" in snakemake(tmp_path / "moved").stdout


def test_a_figure_can_be_asked_for_alone(run):
    folder, _ = run
    figure = "results/runs/tiny/figures/accuracy_latency.pdf"
    (folder / figure).unlink()
    result = snakemake(folder, figure)
    assert result.returncode == 0 and "1 of 1 steps" in result.stdout


def test_the_report_is_one_file_that_needs_no_network(run):
    folder, _ = run
    result = snakemake(folder, "--report", "report.html")
    assert result.returncode == 0, result.stdout[-3000:]
    html = (folder / "report.html").read_text()
    assert not re.search(r"<(script|img|link)[^>]+(src|href)=[\"']https?:", html)
    assert "accuracy_latency" in html and "logarithmic" in html


def test_a_trained_detector_scores_a_folder(run, tmp_path):
    folder, _ = run
    command = [sys.executable, "-m", "radar", "score", "--detector", place(folder, "elpv/mono", "radar"),
               "--images", "data/elpv/mono/test/good", "--out", str(tmp_path / "out")]
    subprocess.run(command, cwd=folder, env=environment(folder), check=True)
    with open(tmp_path / "out/scores.csv", newline="") as file:
        scored = {f"test/good/{row['file']}": float(row["score"]) for row in csv.DictReader(file)}
    before = pd.read_csv(place(folder, "elpv/mono", "radar") / "scores.csv").set_index("path")["score"]
    assert len(scored) == 50
    for path, score in scored.items():  # one by one here, in batches there
        assert score == pytest.approx(before[path], abs=0.02)


@pytest.mark.full
def test_slurm_gets_every_kind_of_job_with_its_resources(run, tmp_path):
    """The real plugin with an sbatch that writes down what it is asked for, and refuses."""
    folder = tmp_path / "copy"
    shutil.copytree(run[0], folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    asked = tmp_path / "asked"
    for name, script in (("sbatch", f'printf "%s\\n" "$*" >> {asked}; echo refused >&2; exit 1'), ("sacct", "exit 0"),
                         ("squeue", "exit 0"), ("scontrol", "exit 0"), ("sacctmgr", "exit 0"), ("sinfo", "exit 0")):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    # from the end: what a refused job should have written is gone for the rules after it
    wanted = {"time_methods": ["-p gpu", "--exclusive", "--cpus-per-task=8", "--gpus=1"],
              "evaluate": ["-p cpu", "--mem 1500", "-t 60", "--cpus-per-task=1"],
              "train_noise_predictor": ["-p gpu", "--mem 16000", "-t 720", "--cpus-per-task=4", "--gpus=1"]}
    for rule, expected in wanted.items():
        asked.unlink(missing_ok=True)
        command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm", "--configfile",
                   "tests/tiny.yaml", "--rerun-triggers", "mtime",  # device=cuda is another setting
                   "--slurm-init-seconds-before-status-checks", "1", "--forcerun", rule]
        done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=environment(folder) | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
        assert done.returncode == 1 and asked.exists(), done.stdout[-3000:]
        lines = [line for line in asked.read_text().splitlines() if f"rule_{rule}" in line]
        assert lines and all(part in line for line in lines for part in expected), lines[:2]


def test_the_ablation_runs_once_reports_all_kinds_of_studies_and_names_what_failed(run):
    folder, _ = run
    arguments = ("ablation", "--config", "ablation=tests/tiny_ablation.yaml")
    result = snakemake(folder, *arguments)
    assert result.returncode == 0, result.stdout[-5000:]
    found = table(folder, "ablation")
    assert set(found["study"]) == {"readings", "t", "redraw", "budget"}
    for name in ("readings", "t", "redraw", "budget"):
        with Image.open(folder / f"results/runs/tiny/figures/ablation_{name}.png") as picture:
            assert picture.width > 400
    # the same variant is the same run in every study, and that of the default run
    literal = found[(found["series"] == "literal") & (found["metric"] == "image_auroc")].set_index("dataset")["mean"]
    again = found[(found["study"] == "t") & (found["series"] == "noised") & (found["x"] == 1)
                  & (found["metric"] == "image_auroc")].set_index("dataset")["mean"]
    assert again.to_dict() == {"texture": literal["texture"]}
    for dataset in DATASETS:
        record = json.loads((place(folder, dataset, "radar") / "metrics.json").read_text())
        assert literal[dataset.partition("/")[0]] == pytest.approx(record["metrics"]["image_auroc"])
    text = (folder / "results/runs/tiny/tables/ablation.md").read_text()
    assert "draws no noise" in text  # the reading that does not exist, in a footnote
    pairs = table(folder, "ablation_differences").query("what == 'pair'")
    assert set(zip(pairs["series"], pairs["other_series"], strict=True)) == {("scaled", "literal")}
    chosen = found[(found["study"] == "t") & found["chosen"].fillna("").str.contains('"t"')]
    assert set(chosen["series"]) == {"noised", "scaled"}
    assert "Nothing to be done" in snakemake(folder, *arguments).stdout
    # a finished variant is not computed again when another one is added
    variant = next(path for path in folder.glob("results/ablation/texture/gravel/RADAR-*/seed0/metrics.json"))
    before = variant.stat().st_mtime_ns
    again = snakemake(folder, "--forcerun", "ablate", "--until", "ablate", *arguments)
    assert again.returncode == 0 and variant.stat().st_mtime_ns == before


@pytest.mark.full
def test_a_training_that_outlives_its_workflow_is_waited_for_and_not_done_twice(run):
    """kill -9 on the workflow alone leaves its training at work; here the test holds that training's lock."""
    folder, _ = run
    networks = json.loads((folder / "results/runs/tiny/run.json").read_text())["networks"]
    trained = folder / "results/texture/gravel" / next(name for name, label in networks.items() if label == "pixels")
    settings = json.loads((trained / "seed0/noise_predictor.json").read_text())["settings"] | {"training": TRAINING}
    out = trained / "seed8"
    job = {"data": "data/texture/gravel", "seed": 8, "device": "cpu", "longest_side": 48, "calibration_fraction": 0.25}
    command = [sys.executable, "workflow/scripts/train.py", json.dumps(job | {"predictor": settings}), "--threads", "1",
               "--manifest", "results/texture/gravel/manifest.csv", "--out", str(out)]
    subprocess.run(command, cwd=folder, env=environment(folder), check=True)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    with exclusive(out, "the training that goes on"):
        other = subprocess.Popen(command, cwd=folder, env=environment(folder), text=True, stderr=subprocess.PIPE)
        assert "another process is training here; waiting for it" in other.stderr.readline()
        assert other.poll() is None
    printed = other.communicate()[1]
    assert other.returncode == 0 and "finished by another process meanwhile" in printed
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert {**before, ".lock": 0} == {**after, ".lock": 0}
    # other settings are another training
    command[2] = json.dumps(job | {"predictor": settings | {"training": TRAINING | {"images": 320}}})
    subprocess.run(command, cwd=folder, env=environment(folder), check=True)
    assert (out / "noise_predictor.json").stat().st_mtime_ns != before["noise_predictor.json"]


def test_runs_lie_side_by_side_share_what_is_the_same_and_can_be_compared(run):
    folder, _ = run
    before = {path: path.read_bytes() for path in (folder / "results/runs/tiny").rglob("*") if path.is_file()}
    arguments = ("--config", "run=other", "datasets=[texture/gravel]", "methods=[pca,radar]", "seeds=[0]")
    shared = snakemake(folder, *arguments)
    assert shared.returncode == 0 and "fit and score" not in shared.stdout, shared.stdout[-3000:]
    changed = snakemake(folder, *arguments, "training={images: 160, batch_size: 8, checkpoint_seconds: 0}")
    assert changed.returncode == 0 and "train noise_predictor-pixels-" in changed.stdout  # beside the first one
    assert before == {path: path.read_bytes() for path in (folder / "results/runs/tiny").rglob("*") if path.is_file()}
    assert place(folder, "texture/gravel", "pca") == place(folder, "texture/gravel", "pca", run="other")
    assert place(folder, "texture/gravel", "radar") != place(folder, "texture/gravel", "radar", run="other")

    def compare(*runs: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-m", "radar", "compare", *runs, "--out", "compared.csv"], cwd=folder,
                              env=environment(folder), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    done = compare("tiny", str(folder / "results/runs/other"))
    assert done.returncode == 0 and "training.images = 160" in done.stdout, done.stdout
    rows = pd.read_csv(folder / "compared.csv").set_index(["method", "metric"])
    assert (rows.loc["pca"].drop("latency_ms_median")["difference"] == 0).all()
    assert rows.loc[("radar", "image_auroc"), "difference"] == pytest.approx(
        rows.loc[("radar", "image_auroc"), "second"] - rows.loc[("radar", "image_auroc"), "first"])
    path = folder / "results/runs/other/run.json"
    text = path.read_text()
    for old, new, words in (('"aupro_limit": 0.3', '"aupro_limit": 0.2', "protocol.aupro_limit is 0.3 and 0.2"),
                            ('"texture/gravel": {', '"texture/brick": {', "no dataset in common")):
        path.write_text(text.replace(old, new))
        refused = compare("tiny", "other")
        path.write_text(text)
        assert refused.returncode == 2 and words in refused.stdout and "Traceback" not in refused.stdout
