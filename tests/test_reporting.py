"""The reporting layer on a small made-up results tree: numbers, marks, dashes, figures, and what the scripts write."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radar.report import figures, tables
from tests.conftest import check_figure

ROOT = Path(__file__).resolve().parent.parent
METHODS = ["radar", "ddim_inversion", "pca"]
DATASETS = ["printed/all", "elpv/mono"]
SEEDS = [0, 1]
PIXEL = [name for name in tables.METRICS if name.startswith("pixel_")]
OWN = [name for name in tables.METRICS if name.startswith("own_")]
SIDE = 24


def write_dataset(root: Path, pair: str, masks: bool) -> pd.DataFrame:
    """Images, masks and manifest of a dataset: 6 normal and 12 anomalous test images of 2 defects."""
    rng = np.random.default_rng(len(pair))
    defects = {"crack": [0.2, 0.5, 1.0], "oil_spill": [0.2, 0.5, 1.0]} if masks else {"defective": [None]}
    rows = [(f"train/good/{i}.png", "calibration", 0, "good", None, None) for i in range(5)]
    rows += [(f"test/good/{i}.png", "test", 0, "good", None, None) for i in range(6)]
    for defect, severities in defects.items():
        for i in range(12 // len(defects)):
            mask = f"ground_truth/{defect}/{i}_mask.png" if masks else None
            rows.append((f"test/{defect}/{i}.png", "test", 1, defect, severities[i % len(severities)], mask))
    manifest = pd.DataFrame(rows, columns=["path", "split", "label", "defect", "severity", "mask"])
    for row in manifest.itertuples():
        pixels = {row.path: rng.integers(0, 255, (SIDE, SIDE)).astype(np.uint8)}
        if isinstance(row.mask, str):
            pixels[row.mask] = np.pad(np.full((8, 8), 255, np.uint8), 8)
        for name, array in pixels.items():
            path = root / "data" / pair / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    folder = root / "results" / pair
    folder.mkdir(parents=True, exist_ok=True)
    manifest.to_csv(folder / "manifest.csv", index=False)
    return manifest


def write_run(root: Path, pair: str, method: str, seed: int, manifest: pd.DataFrame, masks: bool) -> None:
    rng = np.random.default_rng([len(pair), METHODS.index(method), seed])
    dataset, category = pair.split("/")
    folder = root / "results" / pair / method / f"seed{seed}"
    folder.mkdir(parents=True)
    metrics = {name: float(rng.uniform(0.5, 0.9)) for name in tables.METRICS}
    metrics |= dict.fromkeys(PIXEL if not masks else [], None) | dict.fromkeys(OWN if method != "radar" else [], None)
    test = manifest[manifest["split"] == "test"]
    anomalous = test[test["label"] == 1]
    groups = anomalous.groupby(["defect", "severity"], dropna=False).size()
    record = {
        "dataset": dataset, "category": category, "method": method, "seed": seed, "threshold": 0.5,
        "false_positive_rate": 0.05, "n_calibration": 5, "calibration_too_small": not masks, "n_test_normal": 6,
        "n_test_anomalous": len(anomalous), "metrics": metrics,
        "provenance": {"commit": "0123456789abcdef", "commit_dirty": seed > 0},
        "by_defect": [{"defect": defect, "severity": None if pd.isna(level) else level, "n": int(n), "detected": 1}
                      for (defect, level), n in groups.items()],
    }
    scores = manifest[["path", "split"]].assign(score=rng.normal(size=len(manifest)), own_decision="")
    scores.to_csv(folder / "scores.csv", index=False)  # evaluation comes after it
    (folder / "metrics.json").write_text(json.dumps(record))
    np.savez(folder / "bootstrap.npz", **{name: value + rng.normal(0, 0.03, 200)
                                          for name, value in metrics.items() if value is not None})
    np.savez(folder / "maps.npz", paths=test["path"].to_numpy(str), shapes=np.full((len(test), 2), SIDE, np.int32),
             maps=rng.uniform(size=len(test) * SIDE**2).astype(np.float16), scale=np.float32(10.0**seed))
    if seed == SEEDS[0]:
        (folder / "detector.json").write_text("{}")
        (folder / "timing.json").write_text(json.dumps({
            "dataset": dataset, "category": category, "method": method, "device": "cpu", "device_name": "CPU_X 100%",
            "threads": 2, "batch_size": 8, "latency_ms_median": 10.0, "latency_ms_p90": 12.5, "latency_ms_p99": None,
            "latency_ms_max": 13.0, "latency_samples": 20, "ratio_to": METHODS[0], "ratio": 1.5, "ratio_low": 1.4,
            "ratio_high": 1.7, "images_per_s": 123.4, "images_per_s_by_batch": {"1": 100.0, "8": 123.4},
            "tiling_ms": 0.5, "features_ms": None, "noise_predictor_ms": 8.0, "other_network_ms": None, "rest_ms": 1.0,
            "evaluation_ms": 8.1, "predicted_ms": 8.1, "measured_to_predicted": 1.23, "cold_start_s": 0.321,
            "measured_to_predicted_low": 1.2, "measured_to_predicted_high": 1.3,
            "nfe": 1, "parameters": None if method == "pca" else 1_500_000, "gflops": 0.0, "peak_memory_mb": 300.0,
            "image_shape": [1, SIDE, SIDE], "training_images": None if method == "pca" else 9600, "training_s": 51.5}))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for pair in DATASETS:
        masks = pair != "elpv/mono"
        manifest = write_dataset(tmp_path, pair, masks)
        for method in METHODS:
            for seed in SEEDS:
                write_run(tmp_path, pair, method, seed, manifest, masks)
        for seed in SEEDS:
            folder = tmp_path / "results" / pair / "noise_predictor-pixels" / f"seed{seed}"
            folder.mkdir(parents=True)
            step = np.arange(1, 60)
            pd.DataFrame({"step": step, "images": 8 * step, "seconds": step, "loss": 1 / step}).to_csv(
                folder / "loss.csv", index=False)
    return tmp_path


def metric_files(tree: Path) -> tuple[list[Path], list[Path]]:
    found = tables.run_files(tree / "results", DATASETS, METHODS, SEEDS, "metrics.json")[0]
    return found, [path.with_name("bootstrap.npz") for path in found]


def run(script: str, tree: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "workflow" / "scripts" / f"{script}.py", "--datasets", *DATASETS, "--methods",
               *METHODS, "--seeds", *map(str, SEEDS), *options]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True)


def made_up(method: str, seed: int, value: float | None, draws: np.ndarray | None, metric: str = "f1") -> tables.Run:
    record = {"dataset": "d", "category": "c", "method": method, "seed": seed, "metrics": {metric: value}}
    return tables.Run(record, {} if draws is None else {metric: draws})


# Numbers


def test_means_and_intervals_are_those_of_the_mean_over_seeds(tree):
    table = tables.main_table(*metric_files(tree))
    assert list(table) == ["dataset", "category", "method", "metric", "mean", "ci_low", "ci_high", "n_seeds"]
    for method in METHODS:
        folders = [tree / "results/printed/all" / method / f"seed{seed}" for seed in SEEDS]
        values = [json.loads((folder / "metrics.json").read_text())["metrics"]["f1"] for folder in folders]
        draws = np.stack([np.load(folder / "bootstrap.npz")["f1"] for folder in folders])
        row = table.query("dataset == 'printed' and method == @method and metric == 'f1'").iloc[0]
        assert row["mean"] == pytest.approx(sum(values) / 2)
        middle = np.sort((draws[0] + draws[1]) / 2)
        place = 0.025 * (len(middle) - 1)  # linear interpolation between order statistics
        low = middle[int(place)] + (place % 1) * (middle[int(place) + 1] - middle[int(place)])
        assert row["ci_low"] == pytest.approx(low)
        assert row["ci_low"] < row["mean"] < row["ci_high"]
        assert row["n_seeds"] == 2


def test_not_applicable_is_kept_without_a_number(tree):
    table = tables.main_table(*metric_files(tree))
    rows = table[(table["dataset"] == "elpv") & table["metric"].isin(PIXEL)]
    assert len(rows) == len(METHODS) * len(PIXEL)
    assert rows["mean"].isna().all() and rows["ci_low"].isna().all() and (rows["n_seeds"] == 0).all()
    nested = tables.metrics_json(table)
    assert not set(PIXEL) & set(nested["elpv/mono"]["radar"])
    assert nested["printed/all"]["radar"]["pixel_aupro"] > 0
    assert not np.isnan(list(nested["elpv/mono"]["pca"].values())).any()


def test_a_metric_of_one_seed_alone_is_its_value():
    table = tables.summarise([made_up("a", 0, 0.8, np.array([0.7, 0.9])), made_up("a", 1, None, None)])
    assert table["mean"].tolist() == [0.8] and table["n_seeds"].tolist() == [1]


# Winners


def test_a_paired_difference_wins_where_the_intervals_overlap():
    noise = np.random.default_rng(0).normal(0, 0.1, 400)  # the images that both methods share
    runs = [made_up("a", 0, 0.80, 0.80 + noise), made_up("b", 0, 0.78, 0.78 + noise)]
    assert tables.best_significant(runs).to_dict("records") == [
        {"dataset": "d", "category": "c", "metric": "f1", "method": "a"}]


def test_differences_are_paired_and_over_common_seeds():
    base = np.random.default_rng(0).normal(0.5, 0.2, 500)
    runs = [made_up("a", 0, 0.6, base + 0.1), made_up("a", 1, 0.9, base), made_up("b", 0, 0.5, base),
            made_up("c", 0, None, None)]
    table = tables.differences(runs)
    assert table[["method", "other", "n_seeds"]].values.tolist() == [["a", "b", 1]]
    # the draws differ by 0.1 always, however much they scatter
    assert table[["difference", "ci_low", "ci_high"]].values.tolist() == [pytest.approx([0.1, 0.1, 0.1])]


def test_a_tie_an_unclear_difference_and_a_single_method_have_no_winner():
    rng = np.random.default_rng(0)
    shared, other = rng.normal(0.8, 0.1, 400), rng.normal(0.79, 0.1, 400)
    tie = [made_up("a", 0, 0.8, shared), made_up("b", 0, 0.8, shared)]
    unclear = [made_up("a", 0, 0.8, shared), made_up("b", 0, 0.79, other)]
    # c is beaten clearly, b is not: then a is not better than every other method.
    three = [*unclear, made_up("c", 0, 0.2, shared - 0.6)]
    alone = [made_up("a", 0, 0.8, shared), made_up("b", 0, None, None)]
    for runs in (tie, unclear, three, alone):
        assert tables.best_significant(runs).empty


def test_a_low_false_positive_rate_does_not_win():
    draws = np.full(50, 0.1)
    for metric in tables.LOWER_IS_BETTER:
        runs = [made_up("a", 0, 0.1, draws, metric), made_up("b", 0, 0.3, draws + 0.2, metric)]
        assert tables.best_significant(runs).empty


def test_methods_without_a_common_seed_are_not_compared():
    runs = [made_up("a", 0, 0.9, np.full(50, 0.9)), made_up("b", 1, 0.1, np.full(50, 0.1))]
    assert tables.best_significant(runs).empty


def test_bold_stands_where_the_difference_is_significant_only():
    noise = np.random.default_rng(0).normal(0, 0.02, 200)
    runs = [made_up("a", 0, 0.9, 0.9 + noise), made_up("b", 0, 0.5, 0.5 + noise)]
    text, latex = tables.main_markdown(tables.main_blocks(runs)), tables.main_latex(tables.main_blocks(runs))
    assert re.search(r"\| a .*\*\*\.900 ± \.0\d\d\*\*", text) and r"\textbf{.900}" in latex
    assert "**" not in re.search(r"\| b .*", text)[0]
    tie = tables.main_blocks([made_up("a", 0, 0.9, 0.9 + noise), made_up("b", 0, 0.9, 0.9 + noise)])
    assert "**" not in tables.main_markdown(tie) and "textbf" not in tables.main_latex(tie)


def test_no_winner_is_named_over_a_method_that_failed():
    runs = [made_up("a", 0, 0.9, np.full(50, 0.9)), made_up("b", 0, 0.5, np.full(50, 0.5))]
    text = tables.main_markdown(tables.main_blocks(runs, missing=[("d", "c", "ddpm", "out of memory")]))
    assert ".900" in text and "**." not in text and "no winner is named" in text


# Layout


def test_markdown_has_one_row_per_method_in_the_order_asked_for(tree):
    order = ["pca", "radar", "ddim_inversion"]
    text = tables.main_markdown(tables.main_blocks(tables.read_runs(*metric_files(tree)), order, {"radar": "RADAR"}))
    for block in text.split("\n## ")[1:]:
        rows = [line.split("|")[1].strip() for line in block.splitlines() if line.startswith("| ")]
        assert rows == ["method", "pca", "RADAR", "ddim_inversion"]
    assert "snakemake --cores all results/tables/main.md" in text
    assert "FPR (promised 5 %)" in text and "6 normal and 12 anomalous" in text


def test_the_commit_is_named(tree):
    blocks = tables.main_blocks(tables.read_runs(*metric_files(tree)))
    assert "Commit 0123456789, 0123456789 with local changes." in tables.main_markdown(blocks)


def test_not_applicable_is_a_dash_and_small_calibration_sets_are_warned_of(tree):
    text = tables.main_markdown(tables.main_blocks(tables.read_runs(*metric_files(tree)), METHODS))
    printed, elpv = text.split("\n## ")[1:]
    cells = [cell.strip() for cell in next(line for line in elpv.splitlines() if "| pca" in line).split("|")[1:-1]]
    assert cells[-4:] == ["–"] * 4 and "–" not in cells[1:9]
    assert not re.search(r"\| *\.?0+ *\|", text)
    assert "too small" in elpv and "too small" not in printed


def test_latex_is_escaped_and_balanced(tree):
    runs = tables.read_runs(*metric_files(tree))
    missing = [("printed", "all", "ddpm_x", r"50% of {disk} & C:\tmp is #1 <full> ~ ^")]
    timing = tables.read_timings(tables.run_files(tree / "results", DATASETS, METHODS, [0], "timing.json")[0])
    for latex in (tables.main_latex(tables.main_blocks(runs, METHODS, {"pca": "P&A_100%"}, missing)),
                  tables.timing_latex(tables.timing_blocks(timing, METHODS, {"pca": "P&A_100%"}, missing))):
        body = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
        assert r"P\&A\_100\%" in body and r"\{disk\}" in body and "±" not in body and "–" not in body
        bare = body.replace("\\\\", "").replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}")
        assert not re.search(r"(?<!\\)[%#_]", re.sub(r"\\label\{.*?\}", "", body))
        assert body.replace(r"\$", "").count("$") % 2 == 0
        for kind in ("begin", "end"):
            assert len(re.findall(rf"\\{kind}\{{(?:sideways)?table\*\}}", body)) == len(DATASETS)
        tabulars = re.findall(r"\\begin\{tabular\}\{(lr*)\}(.*?)\\end\{tabular\}", body, re.S)
        assert len(tabulars) == len(DATASETS)
        for columns, content in tabulars:
            rows = [line for line in content.splitlines() if line.endswith(r" \\")]
            assert len(rows) >= 3 + len(METHODS)
            for row in rows:
                spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
                assert len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans) == len(columns)


def test_timing_table_has_exactly_its_columns(tree):
    files = tables.run_files(tree / "results", DATASETS, METHODS, [0], "timing.json")[0]
    table = tables.timing_table(files)
    assert list(table) == tables.TIMING_TABLE
    assert json.loads(table["images_per_s_by_batch"][0]) == {"1": 100.0, "8": 123.4}
    assert table["parameters"].isna().sum() == 2 and table["parameters"].dropna().tolist() == [1_500_000] * 4
    text = tables.timing_markdown(tables.timing_blocks(tables.read_timings(files), METHODS))
    assert "CPU_X 100%" in text and "2 threads" in text
    row = "10.0 12.5 – 1.50±0.150 123 8 1 0 – 300 –"
    [shown, *_] = [line for line in text.splitlines() if line.startswith("| pca")]
    assert " ".join(cell.replace(" ", "") for cell in shown.split("|")[2:13]) == row
    assert f"ratio to {METHODS[0]}" in text
    costs = tables.timing_markdown(tables.cost_blocks(tables.read_timings(files), METHODS))
    assert "images/s at batch 8" in costs
    [shown, *_] = [line for line in costs.splitlines() if line.startswith("| pca")]
    row = "0.500 – 8.00 – 1.00 8.10 8.10 1.23±0.0500 0.321 100 123"
    assert " ".join(cell.replace(" ", "") for cell in shown.split("|")[2:-1]) == row


def test_a_method_that_evaluates_more_often_than_it_says_is_named(tree):
    files = tables.run_files(tree / "results", DATASETS, METHODS, [0], "timing.json")[0]
    counted = {"radar": 1.0, "ddim_inversion": 3.0, "pca": 0.0}  # 0: its network was not seen
    records = [one | {"evaluations": counted[one["method"]]} for one in tables.read_timings(files)]
    for block in tables.cost_blocks(records):
        assert block.warnings == ["Warning: ddim_inversion says NFE 1, 3 evaluations were counted."]


def test_the_timing_figure_shows_all_of_a_prediction_and_its_prediction(tree):
    table = tables.timing_table(tables.run_files(tree / "results", DATASETS, METHODS, [0], "timing.json")[0])
    table.loc[table["method"] == "pca", ["evaluation_ms", "predicted_ms", "measured_to_predicted"]] = np.nan
    drawn = figures.timing(table, figures.looks(METHODS))
    for shares, latencies in zip(drawn.axes[::2], drawn.axes[1::2], strict=True):
        widths = np.array([bar.get_width() for bar in shares.patches]).reshape(-1, len(METHODS))
        assert widths.sum(axis=0) == pytest.approx(100) and widths[2, 0] == pytest.approx(100 * 8 / 9.5)
        assert [text.get_text() for text in latencies.texts] == ["1.23", "1.23", "–"]
        predicted = [line.get_xdata()[0] for line in latencies.lines if line.get_marker() == "D"]
        assert predicted == [8.1, 8.1] and latencies.get_xscale() == "log"
    assert len(drawn.axes) == 2 * len(DATASETS)


def test_times_taken_beside_other_work_are_called_so(tree):
    files = tables.run_files(tree / "results", DATASETS, METHODS, [0], "timing.json")[0]
    records = tables.read_timings(files)
    assert not any("other processes" in line for block in tables.timing_blocks(records, METHODS)
                   for line in block.warnings)
    [block, *_] = tables.timing_blocks([one | {"cores_of_others": 1.3} for one in records], METHODS)
    assert "other processes used 1.3 cores" in block.warnings[-1]


@pytest.mark.parametrize("value, text", [(0.01234, "0.0123"), (9.999, "10.0"), (12345.6, "12300"), (0, "0"),
                                         (None, "–"), (float("nan"), "–")])
def test_rounded(value, text):
    assert tables.rounded(value) == text


def test_summary_fits_the_terminal(tree):
    labels = {"radar": "a very long name of a method that nobody should use"}
    missing = [("printed", "all", "ddpm", "word " * 60 + "x" * 200)]
    accuracy = tables.main_blocks(tables.read_runs(*metric_files(tree)), METHODS, labels, missing)
    summary = tables.terminal_summary(accuracy, [])
    assert max(map(len, summary.splitlines())) <= 110
    assert all(method in summary for method in ("ddim_inversion", "ddpm [1]", "pca"))


def test_unpaired_draws_and_repeated_runs_are_refused(tree):
    evaluated, drawn = metric_files(tree)
    with pytest.raises(tables.InputError, match="repeats the run"):
        tables.read_runs([*evaluated, evaluated[0]], drawn)
    np.savez(drawn[-1], f1=np.zeros(7))
    with pytest.raises(tables.InputError, match=re.escape(str(drawn[-1]))):
        tables.read_runs(evaluated, drawn)


# Scripts


def test_tables_script_writes_everything(tree):
    done = run("tables", tree)
    assert done.returncode == 0, done.stderr
    out = tree / "results" / "tables"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["main.csv", "main.md", "main.tex", "differences.csv", "timing.csv", "timing.md", "timing.tex", "summary.txt",
         "metrics.json"])
    table = pd.read_csv(out / "main.csv")
    assert len(table) == len(DATASETS) * len(METHODS) * len(tables.METRICS)
    assert json.loads((out / "metrics.json").read_text())["printed/all"]["pca"]["f1"] == pytest.approx(
        table.query("dataset == 'printed' and method == 'pca' and metric == 'f1'")["mean"].item(), abs=1e-6)
    for name in ("main.md", "main.tex", "timing.md", "timing.tex"):
        assert f"snakemake --cores all results/tables/{name.partition('.')[0]}.md" in (out / name).read_text()


def test_partial_names_what_is_missing_and_why(tree):
    for name in ("metrics.json", "bootstrap.npz", "timing.json"):
        for seed in SEEDS:
            (tree / "results/printed/all/pca" / f"seed{seed}" / name).unlink(missing_ok=True)
    (tree / "results/printed/all/pca/seed0/detect.log").write_text("fit 10 %\rfit 20 %\nMemoryError: no room\n\n")
    strict = run("tables", tree)
    assert strict.returncode == 1 and len(strict.stderr.splitlines()) == 1
    assert "results/printed/all/pca/seed0/metrics.json" in strict.stderr
    partial = run("tables", tree, "--partial")
    assert partial.returncode == 0, partial.stderr
    text = (tree / "results/tables/main.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| pca [1]"))
    assert {cell.strip() for cell in row.split("|")[2:-1]} == {"–"}
    assert ("[1] pca is missing: seed 0: no metrics.json; detect.log ends: MemoryError: no room; "
            "seed 1: no metrics.json, not started") in text
    assert "pca is missing" in (tree / "results/tables/timing.md").read_text()


def test_partial_leaves_out_what_was_made_from_other_scores(tree):
    """A method that was changed and then failed: its job's outputs are gone, or not those of the old metrics."""
    (tree / "results/printed/all/pca/seed0/scores.csv").unlink()
    changed = tree / "results/printed/all/ddim_inversion/seed1/metrics.json"
    record = json.loads(changed.read_text())
    changed.write_text(json.dumps(record | {"provenance": {"inputs_sha256": {"scores": "0" * 64}}}))
    found, missing = tables.run_files(tree / "results", ["printed/all"], METHODS, SEEDS, "metrics.json", partial=True)
    assert [(method, reason.partition(":")[0]) for _, _, method, reason in missing] == [
        ("ddim_inversion", "seed 1"), ("pca", "seed 0")]
    assert len(found) == len(METHODS) * len(SEEDS) - 2


def test_a_failed_noise_predictor_is_named_as_the_reason(tree):
    (tree / "results/elpv/mono/noise_predictor-pixels/seed1/train.log").write_text("step 1\nloss is not finite\n")
    missing = tables.run_files(tree / "results", ["elpv/mono"], ["ddpm"], [1], "metrics.json", partial=True)[1]
    assert missing == [("elpv", "mono", "ddpm", "seed 1: no metrics.json; train.log ends: loss is not finite")]


def test_a_broken_file_is_named_in_one_line(tree):
    path = tree / "results/printed/all/radar/seed1/metrics.json"
    path.write_text('{"dataset": ')
    done = run("tables", tree, "--partial")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert str(path.relative_to(tree)) in done.stderr and "delete it" in done.stderr


def test_figures_are_written_the_same_each_time(tree):
    for figure in ("accuracy_latency", "timing", "roc", "recall", "maps", "loss"):
        done = run("figures", tree, "--figure", figure, "--networks", "noise_predictor-pixels")
        assert done.returncode == 0, done.stderr
    out = tree / "results" / "figures"
    stems = {"accuracy_latency", "timing", "roc", "recall", "maps_printed_all", "maps_elpv_mono", "loss"}
    assert {path.name for path in out.iterdir()} == {f"{stem}.{end}" for stem in stems for end in ("png", "pdf")}
    for stem in stems:
        pixels = np.asarray(Image.open(out / f"{stem}.png").convert("L"))
        assert min(pixels.shape) > 200 and len(np.unique(pixels)) > 20
        check_figure(out / stem)
    assert run("figures", tree, "--figure", "maps", "--out", "again").returncode == 0
    for path in (tree / "again").iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()


def test_figures_of_an_incomplete_run(tree):
    (tree / "results/printed/all/pca/seed0/maps.npz").unlink()
    strict = run("figures", tree, "--figure", "maps")
    assert strict.returncode == 1 and "pca/seed0/maps.npz is missing" in strict.stderr
    partial = run("figures", tree, "--figure", "maps", "--partial")
    assert partial.returncode == 0 and "missing: printed/all pca, seed 0: no maps.npz" in partial.stderr
    assert (tree / "results/figures/maps_printed_all.pdf").is_file()


# Figures


def test_colours_and_markers_tell_twenty_methods_apart():
    look = figures.looks([f"m{i}" for i in range(20)])
    assert len({(one.colour, one.marker) for one in look.values()}) == 20
    assert len({(one.colour, one.line) for one in look.values()}) == 20


def test_chosen_images_are_the_middle_severity_of_each_defect(tree):
    manifest = pd.read_csv(tree / "results/printed/all/manifest.csv")
    rows = figures.chosen_images(manifest)
    assert rows["path"].tolist() == ["test/good/0.png", "test/crack/1.png", "test/oil_spill/1.png"]
    assert rows["severity"].tolist()[1:] == [0.5, 0.5]


def test_maps_of_a_method_share_one_colour_range(tree):
    manifest = pd.read_csv(tree / "results/printed/all/manifest.csv")
    rows = figures.chosen_images(manifest)
    maps = {}
    for method in METHODS:
        file = tree / "results/printed/all" / method / "seed1" / "maps.npz"
        arrays = tables.read_npz(file)
        maps[method] = figures.maps_of(file, rows["path"].tolist())
        everything = arrays["maps"].astype(float) * float(arrays["scale"])
        assert maps[method].low == pytest.approx(np.percentile(everything, 1), rel=1e-3)
        assert maps[method].high == pytest.approx(np.percentile(everything, 99.5), rel=1e-3)
    second = list(arrays["paths"]).index("test/crack/1.png")
    np.testing.assert_allclose(maps["pca"].shown["test/crack/1.png"].ravel(),
                               10 * arrays["maps"][second * SIDE**2: (second + 1) * SIDE**2].astype(np.float32))
    figure = figures.picture_grid("t", rows, tree / "data/printed/all", maps, figures.looks(METHODS))
    ranges = [image.get_clim() for ax in figure.axes for image in ax.images if image.get_cmap().name == "magma"]
    assert len(ranges) == len(rows) * len(METHODS)
    for column, method in enumerate(METHODS):
        assert set(ranges[column:: len(METHODS)]) == {(maps[method].low, maps[method].high)}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_figure_is_as_wide_as_a_column_or_a_page(count):
    losses = pd.DataFrame([(f"d{i}", "c", "n", 0, images, 1 / images) for i in range(count) for images in (8, 16)],
                          columns=["dataset", "category", "network", "seed", "images", "loss"])
    width, _ = figures.training_loss(losses).get_size_inches()
    assert width == (figures.COLUMN if count == 1 else figures.WIDTH)


@pytest.mark.parametrize("count", [1, 9])
def test_many_methods_with_long_names_fit_a_page(tmp_path, count):
    labels = {"m0": "a name that is too long " * 3, "m19": "AnUnbreakableName" * 4}
    look = figures.looks([f"m{i}" for i in range(20)], labels)
    rows = pd.DataFrame({"path": [f"{i}.png" for i in range(count)], "label": 1, "defect": "unbreakable" * 4,
                         "severity": 0.5, "mask": None})
    for path in rows["path"]:
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / path)
    maps = {name: figures.Maps({path: np.zeros((8, 8)) for path in rows["path"]}, -0.001, 12345.0) for name in look}
    defects = pd.DataFrame([("d", "c", name, 0, row.path + " unbreakable" * 4, 0.5, 999, 998) for name in look
                            for row in rows.itertuples()],
                           columns=["dataset", "category", "method", "seed", "defect", "severity", "n", "detected"])
    for drawn in (figures.picture_grid("title", rows, tmp_path, maps, look), figures.recall(defects, look)):
        width, height = drawn.get_size_inches()
        assert width == figures.WIDTH and height < 9.5
        texts = [*drawn.texts, *(text for ax in drawn.axes[-1:] for text in ax.texts), *drawn.axes[0].get_xticklabels(),
                 *drawn.axes[0].get_yticklabels()]
        boxes = [item.get_window_extent() for item in (*drawn.axes, *(text for text in texts if text.get_text()))]
        assert min(min(box.x0, box.y0) for box in boxes) > -1
        assert max(box.x1 for box in boxes) < drawn.bbox.width + 1
        assert max(box.y1 for box in boxes) < drawn.bbox.height + 1


def test_recall_says_how_many_were_shown_and_where_a_method_saw_fewer():
    defects = pd.DataFrame([("d", "c", method, seed, "crack", severity, 3, 2) for method in ("a", "b")
                            for severity in (1.0, 2.0) for seed in ((0, 1) if method == "a" else (0,))],
                           columns=["dataset", "category", "method", "seed", "defect", "severity", "n", "detected"])
    ax = figures.recall(defects, figures.looks(["a", "b"])).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["crack  1 (6)", "  2 (6)"]
    assert [text.get_text() for text in ax.texts] == ["4", "2/3", "4", "2/3"]


def test_recall_is_summed_over_seeds(tree):
    records = [json.loads(path.read_text()) for path in metric_files(tree)[0]]
    defects = pd.DataFrame([{**{key: record[key] for key in ("dataset", "category", "method", "seed")}, **entry}
                            for record in records for entry in record["by_defect"]])
    table = figures.recall_table(defects[defects["dataset"] == "printed"])
    assert [*table.index] == [(defect, text) for defect in ("crack", "oil_spill") for text in ("0.2", "0.5", "1")]
    assert (table["n"] == 4).all(axis=None) and (table["detected"] == 2).all(axis=None)
    assert [*figures.recall_table(defects[defects["dataset"] == "elpv"]).index] == [("defective", "")]


def test_many_severities_become_ranges():
    texts = figures.severity_bins(pd.Series(np.linspace(0, 1, 40)))
    assert texts.nunique() == 5 and texts.iloc[0] == "0–0.2" and (texts != "").all()


def test_roc_points_of_a_hand_computed_case():
    false_positive_rate, true_positive_rate = figures.roc_points(np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.4, 0.8]))
    assert list(zip(false_positive_rate, true_positive_rate, strict=True)) == [(0, 0), (0, 0.5), (0.5, 1), (1, 1)]


def test_reporting_imports_neither_torch_nor_sklearn():
    code = ("import sys; sys.path.insert(0, 'workflow/scripts'); import figures, tables; "
            "assert not {'torch', 'sklearn'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
