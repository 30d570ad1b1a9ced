"""The report of the ablation study on made-up results: paired differences, what was found, tables and figures."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from radar.evaluation.bootstrap import interval
from radar.files import write_json
from radar.report import ablation, ablation_figures, ablation_tables, table
from radar.report.load import read_run
from radar.report.tables import TEXT

ROOT = Path(__file__).resolve().parent.parent
LITERAL = "RADAR-1a2b3c4d"
ENDS = ["difference", "difference_low", "difference_high"]
BOTH = ["texture/gravel", "elpv/mono"]
DESCRIPTION = {"run": "a", "config": {}, "changed": {}, "datasets": {}, "methods": {}, "networks": {}, "seeds": []}
FAILED = "seed 0: not evaluated; OutOfMemory: 50 % of C_1 (log: pixels.log)"
RECORD = {"threshold": 1.0, "false_positive_rate": 0.05, "n_calibration": 24, "calibration_too_small": False,
          "n_test_normal": 30, "n_test_anomalous": 20, "n_test_unlabelled": 0, "by_defect": []}
STUDIES = {
    "readings": {"compare": [["good", "bad"], ["good", "impossible"]]},
    "t": {"x": "timestep t", "kind": "curve", "log": True},
    "contamination": {"x": "contamination", "kind": "curve", "metrics": ["own_f1", "own_false_positive_rate"]},
}
# study, series, variant, x, its image AUROC, what its detector tells; t has choices made without labels
VARIANTS = [
    *[("readings", *one) for one in (("literal", LITERAL, None, 0.7), ("good", "good", None, 0.8), (
        "same", "same", None, 0.7005), ("bad", "bad", None, 0.6), ("impossible", "impossible", None, 0.9))],
    ("t", "noised", LITERAL, 1, 0.7), ("t", "noised", "n500", 500, 0.75), ("t", "noised", "n", None, 0.75, {"t": 1}),
    *[("t", "scaled", f"s{x}", x, value) for x, value in ((1, 0.75), (10, 0.85), (100, 0.8505), (500, 0.65))],
    ("t", "scaled", "s", None, 0.65, {"t": 500}),
    *[("contamination", "literal", f"c{x}", x, 0.7) for x in (0.1, 0.2)],
]


class Report:
    """A run's made-up ablation study below root, and all that is made of it but its figures. elpv has no masks."""

    def __init__(self, root: Path, datasets=BOTH, seeds=1, variants=VARIANTS, studies=STUDIES):
        self.run, self.folder, self.seeds = root / "results/runs/a", root / "results/ablation", range(seeds)
        for name, seed, (_, _, variant, _, value, *chosen) in itertools.product(datasets, self.seeds, variants):
            self.train(name, variant, seed, value, *chosen)
        plan = {"seeds": list(self.seeds), "literal": LITERAL}
        plan["studies"] = {name: {"title": f"The {name}", "x": None, "log": None, "kind": "list", "compare": None,
                                  "metrics": ["image_auroc", "pixel_aupro"]} | study for name, study in studies.items()}
        plan["variants"] = [{"study": study, "dataset": name, "series": series, "x": x, "variant": variant}
                            for asked in studies for name in (datasets[:1] if asked == "contamination" else datasets)
                            for study, series, variant, x, *_ in variants if study == asked]
        write_json(self.run / "ablation/variants.json", plan)
        if ("readings", "impossible") in {(study, series) for study, series, *_ in variants}:
            self.fail("texture/gravel", "impossible")
        self.read()

    def train(self, name: str, variant: str, seed: int, value: float, chosen: dict | None = None) -> None:
        """A variant has the test images' luck, which all share, and a little of its own."""
        folder = self.folder / name / variant / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        shared, own = (np.random.default_rng(one) for one in ([7], [seed, *variant.encode()]))
        metrics = {"image_auroc": value + 0.01 * seed, "pixel_aupro": None if "elpv" in name else value / 2,
                   "own_f1": value, "own_false_positive_rate": 0.1}
        np.savez(folder / "bootstrap.npz", **{key: one + shared.normal(0, 0.05, 200) + own.normal(0, 0.005, 200)
                                              for key, one in metrics.items() if one is not None})
        (folder / "metrics.json").write_text(json.dumps(RECORD | {"metrics": metrics}))
        (folder / "detector.json").write_text(json.dumps({
            "nfe": 3, "chosen": chosen or {}, "training": {"images": 800, "seconds": 2.0 + seed}}))
        (folder / "scores.csv").touch()

    def fail(self, name: str, variant: str) -> None:
        """What was there before stays beside the failure, and must not be shown."""
        for seed in self.seeds:
            path = self.folder / name / variant / f"seed{seed}/failure.json"
            path.write_text(json.dumps({"reason": "OutOfMemory: 50 % of C_1", "log": "pixels.log"}))

    def read(self) -> None:
        self.study = ablation.read_ablation(self.run)
        self.table = ablation.table(self.study)
        self.differences = ablation.comparisons(self.study, self.table)
        self.counts = ablation.counts(self.study, self.table, self.differences)
        self.tables = {one.title: one for one in ablation_tables.tables(self.study, self.table)}
        self.readings = self.table[self.table["study"] == "readings"].set_index(["dataset", "variant", "metric"])

    def figure(self, name: str) -> Figure:
        return ablation_figures.figure(self.study, name, self.table)

    def by_hand(self, name: str, ours: str, theirs: str, metric: str, seeds=(0,)) -> list[float]:
        """A difference and its paired interval, of means over seeds."""
        folders = [[self.folder / name / one / f"seed{seed}" for seed in seeds] for one in (ours, theirs)]
        first, second = (np.mean([json.loads((folder / "metrics.json").read_text())["metrics"][metric]
                                  for folder in one]) for one in folders)
        draws = [np.mean([np.load(folder / "bootstrap.npz")[metric] for folder in one], axis=0) for one in folders]
        return pytest.approx([first - second, *interval(draws[0] - draws[1])])


@pytest.fixture(scope="module")  # tests read it only
def report(tmp_path_factory) -> Report:
    return Report(tmp_path_factory.mktemp("ablation"))


def test_differences_to_the_literal_reading_are_paired(report):
    assert list(report.table) == ablation.TABLE and list(report.differences) == ablation.DIFFERENCES
    for metric in ("image_auroc", "pixel_aupro", "own_f1"):
        row = report.readings.loc["texture", "good", metric]
        assert row[ENDS].tolist() == report.by_hand("texture/gravel", "good", LITERAL, metric)
        # the luck of the test images falls out of the difference, not of the value
        assert row["difference_high"] - row["difference_low"] < (row["ci_high"] - row["ci_low"]) / 4
    own = report.table[report.table["variant"] == LITERAL]
    assert set(own["study"]) == {"readings", "t"} and own["difference"].isna().all() and own["mean"].notna().any()


def test_of_several_seeds_those_are_compared_that_both_have_and_costs_and_choices_are_of_all(tmp_path):
    report = Report(tmp_path, seeds=3)
    (report.folder / "elpv/mono/good/seed1/metrics.json").unlink()
    report.train("elpv/mono", "bad", 2, 0.6, {"t": 5, "map": "noise"})
    report.read()
    row, other = (report.readings.loc["elpv", variant, "image_auroc"] for variant in ("good", "bad"))
    expected = report.by_hand("elpv/mono", "good", LITERAL, "image_auroc", seeds=(0, 2))
    assert row["n_seeds"] == 2 and row[ENDS].tolist() == expected
    table = report.tables["The readings: elpv/mono"]
    assert table.notes["good"].startswith("seed 1: not evaluated")
    assert other[["nfe", "training_images", "training_s", "chosen"]].tolist() == [
        3, 800, 3.0, '[{}, {}, {"t": 5, "map": "noise"}]']


def test_a_study_compares_its_pairs_and_the_points_of_its_curves(report):
    ours = report.differences.query("dataset == 'texture' and metric == 'pixel_aupro' and series in ('good', 'scaled')")
    assert list(zip(ours["what"], ours["variant"], ours["other_variant"], strict=True)) == [
        ("pair", "good", "bad"),  # impossible has failed here
        *(("best", variant, "s100") for variant in ("s1", "s10", "s100", "s500", "s"))]
    for _, row in ours.iterrows():
        names = row[["variant", "other_variant"]]
        assert row[ENDS].tolist() == report.by_hand("texture/gravel", *names, "pixel_aupro")
    elpv = report.differences[report.differences["dataset"] == "elpv"]
    assert set(elpv["metric"]) == {"image_auroc"} and "impossible" in set(elpv["other_series"])
    assert "own_false_positive_rate" not in set(report.differences["metric"])  # a promise, not a contest


def test_what_was_found_is_counted(report):
    assert list(report.counts) == ablation.COUNTS
    found = report.counts.set_index(ablation.CURVE)
    readings = found.loc[("readings", "texture", "gravel", "image_auroc", "")]
    assert readings[["better", "within", "worse"]].tolist() == [1, 1, 1] and math.isnan(readings["best_x"])
    assert found.loc[("readings", "elpv", "mono", "image_auroc", ""), "better"] == 2
    curve = found.loc[("t", "texture", "gravel", "image_auroc", "scaled")]
    assert curve[["better", "within", "worse", "best_x"]].tolist() == [3, 0, 2, 100]
    assert curve[ENDS].tolist() == report.by_hand("texture/gravel", "s", "s100", "image_auroc")
    table = ablation_tables.found(report.counts).frame
    assert table.loc["t: texture/gravel, image AUROC, scaled"].tolist()[:4] == ["3", "0", "2", "100"]


@pytest.mark.parametrize("chosen, x", [("", []), ('[{"t": 50, "map": "noise"}, {"t": 5}]', [50, 5]), ("[{}]", []),
                                       ('[{"map": "noise"}]', []), ('[{"t": 50, "draws": 4}]', [])])
def test_the_x_that_was_chosen_is_the_one_number(chosen, x):
    assert ablation.choices(chosen) == x


def test_a_failed_variant_keeps_a_row_and_a_note(report):
    rows = report.table.query("variant == 'impossible' and dataset == 'texture'")
    assert rows[["metric", "n_seeds"]].values.tolist() == [["image_auroc", 0], ["pixel_aupro", 0]]
    assert rows["mean"].isna().all()
    table = report.tables["The readings: texture/gravel"]
    assert set(table.frame.loc["impossible"]) == {"–"} and table.notes == {"impossible": FAILED}
    assert table.caption == ["50 test images, 20 of them anomalous; 1 training seed."]
    assert [title for title in report.tables if "contamination" in title] == ["The contamination: texture/gravel"]


def bold(one: table.Table) -> set[str]:
    return {row for row, cells in one.frame.T.items() if any(isinstance(cell, table.Bold) for cell in cells)}


def test_what_differs_has_a_column_and_what_is_better_beyond_chance_stands_out(report):
    gravel, cells, rate = (report.tables[f"The {name}"] for name in (
        "readings: texture/gravel", "readings: elpv/mono", "contamination: texture/gravel"))
    against = ablation_tables.AGAINST
    columns = [(group, name) for group in ("", against) for name in ("image AUROC", "AUPRO")]
    assert [column for column in gravel.frame if column[0] in ("", against)] == columns
    assert [column for column in cells.frame if column[0] in ("", against)] == columns[::2]  # no masks
    assert bold(gravel) == {"good"} and bold(cells) == {"good", "impossible"}
    assert list(rate.frame) == [("", "own decision F1 (forest)"), ("", "own false positive rate"),
                                (against, "own decision F1 (forest)")]


def test_without_the_literal_reading_there_is_no_difference_but_a_warning(tmp_path):
    report = Report(tmp_path)
    report.fail("elpv/mono", LITERAL)
    report.read()
    assert report.table.query("dataset == 'elpv'")["difference"].isna().all()
    assert report.tables["The readings: elpv/mono"].warnings == [TEXT["ablation"]["no_literal"]]
    assert not report.tables["The readings: texture/gravel"].warnings
    assert "not compared" in [text.get_text() for text in report.figure("readings").legends[0].get_texts()]


def test_a_list_has_a_panel_per_dataset_and_metric_with_every_variant_and_a_legend_of_their_sides(report):
    figure = report.figure("readings")
    assert [ax.get_title() for ax in figure.axes] == ["texture/gravel: image AUROC", "texture/gravel: AUPRO",
                                                      "elpv/mono: image AUROC"]
    points = sorted(line.get_xydata()[0].tolist()[::-1] for line in figure.axes[0].lines if line.get_marker() != "None")
    assert points == [[place, value] for place, value in enumerate((0.7, 0.8, 0.7005, 0.6))]
    assert [text.get_text() for text in figure.axes[0].texts] == ["–"] and "impossible" in figure.get_suptitle()
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        "literal reading", "higher beyond chance", "within chance", "lower beyond chance"}


def test_the_label_free_choice_is_a_star_at_its_x(report):
    figure = report.figure("t")
    stars = [line.get_xydata()[0].tolist() for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert stars == [pytest.approx([x, value], rel=0.05) for x, value in ((1, 0.75), (500, 0.65))]  # side by side
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["noised", "scaled", "label-free choice"]


def test_one_dataset_and_series_and_point_or_nothing_at_all_make_nothing_fail(tmp_path):
    studies = {"alone": {"x": "t", "kind": "curve", "log": True, "metrics": ["image_auroc", "no_such_metric"]}}
    report = Report(tmp_path, ["d/c"], variants=[("alone", "one", LITERAL, 3, 0.7)], studies=studies)
    assert [ax.get_title() for ax in report.figure("alone").axes] == ["d/c: image AUROC"]
    report.fail("d/c", LITERAL)
    report.read()
    assert not report.figure("alone").axes and report.tables["The alone: d/c"].notes == {"one, 3": FAILED}
    assert report.counts.empty and report.differences.empty


def test_the_script_writes_everything_and_the_same_bytes_again(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "workflow/scripts")
    from ablation_report import main

    run, outputs = Report(tmp_path, ["texture/gravel"]).run, []
    write_json(run / "run.json", DESCRIPTION)
    for _ in range(2):
        main(read_run(run))
        outputs.append({str(path.relative_to(run)): path.read_bytes() for path in run.glob("[tf]*/*")})
    assert outputs[0] == outputs[1]
    assert set(outputs[0]) == {f"figures/ablation_{name}.{end}" for name in STUDIES for end in ("png", "pdf")} | {
        f"tables/ablation{end}" for end in (".csv", "_differences.csv", "_counts.csv", ".md", ".tex")}
    assert f"missing: texture/gravel impossible, {FAILED}\n" in capsys.readouterr().err
    text = outputs[0]["tables/ablation.md"].decode()
    assert text.index("## What was found") < text.index("## The readings: texture/gravel") < text.index(FAILED)


def test_a_missing_plan_is_named_in_one_line(tmp_path):
    write_json(tmp_path / "runs/a/run.json", DESCRIPTION)
    done = subprocess.run([sys.executable, ROOT / "workflow/scripts/ablation_report.py", "--run", tmp_path / "runs/a"],
                          capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"{tmp_path / 'runs/a/ablation/variants.json'} is missing" in done.stderr
