"""The report of the ablation study on a made-up results tree: differences, redraws, text, tables and figures."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radar.evaluation.bootstrap import decision_samples, image_samples, paired_difference, resample_weights
from radar.evaluation.metrics import decision_metrics, image_metrics
from radar.report import ablation, ablation_figures, ablation_tables, ablation_text, tables
from radar.report.latex import escape_latex
from tests.conftest import check_figure

ROOT = Path(__file__).resolve().parent.parent
DATASETS = ["printed/all", "texture/gravel", "elpv/mono"]
PIXEL = ("pixel_auroc", "pixel_ap", "pixel_aupro")
LITERAL = "radar-1a2b3c4d"
N = 60  # test images of a dataset, the second half anomalous


def method(cls: str = "radar.method.radar:RADAR", predictor: str | None = "pixels", **settings) -> dict:
    return {"class": cls, "noise_predictor": predictor, "label": "made up", "settings": settings}


class Tree:
    """A made-up results/ablation: `add` puts a variant into a study; `write` writes all files."""

    def __init__(self, datasets: list[str] = DATASETS, seeds: tuple[int, ...] = (0,), draws: int = 200):
        self.datasets, self.seeds, self.draws = datasets, seeds, draws
        self.studies: dict[str, dict] = {}
        self.variants: list[dict] = []
        self.strength: dict[str, float] = {}
        self.more: dict[str, dict] = {}

    def study(self, name: str, kind: str, metrics: list[str], x: str | None = None, log: bool = False,
              title: str | None = None, compare: list[list[str]] | None = None) -> None:
        self.studies[name] = {"title": title or name, "x": x, "log": log, "metrics": metrics, "kind": kind,
                              "compare": compare}

    def add(self, study: str, series: str, folder: str, strength: float, x: float | None = None, nfe: int | None = 1,
            made: dict | None = None, chosen: dict | None = None, training: dict | None = None, noise: float = 0.3,
            rate: float = 0.05) -> None:
        """strength: how many deviations anomalous images score above normal ones."""
        self.variants.append({"study": study, "series": series, "x": x, "variant": folder, "nfe": nfe,
                              "method": made or method()})
        if folder not in self.strength:
            self.strength[folder] = strength
            self.more[folder] = {"nfe": nfe, "chosen": chosen or {}, "training": training, "noise": noise, "rate": rate}

    def write(self, root: Path) -> Path:
        results = root / "results" / "ablation"
        for place, pair in enumerate(self.datasets):
            for seed in self.seeds:
                for folder in self.strength:
                    self.write_run(results, pair, place, folder, seed)
        (results / "variants.json").write_text(json.dumps({
            "datasets": self.datasets, "seeds": list(self.seeds), "literal": LITERAL, "studies": self.studies,
            "variants": self.variants}))
        return root

    def write_run(self, results: Path, pair: str, place: int, folder: str, seed: int) -> None:
        shared = np.random.default_rng(place).normal(size=N)
        rng = np.random.default_rng([place, seed, *folder.encode()])
        more, label = self.more[folder], np.arange(N) >= N // 2
        strength = self.strength[folder] * (1 - 0.25 * place)
        score = shared + more["noise"] * rng.normal(size=N) + strength * label
        decision, own = score > 1.6, score > np.quantile(score[~label], 1 - min(0.9, 1.3 * more["rate"]))
        weights = resample_weights(label, self.draws, 0)
        measured = {"false_positive_rate": "false_positive_rate_measured"}
        metrics = image_metrics(score, label) | {
            measured.get(k, k): v for k, v in decision_metrics(decision, label).items()
        } | decision_metrics(own, label, "own_")
        samples = image_samples(score, label, weights) | {
            measured.get(k, k): v for k, v in decision_samples(decision, label, weights).items()
        } | decision_samples(own, label, weights, "own_")
        wobble = np.random.default_rng(place + 100).normal(0, 0.03, self.draws)
        for name in PIXEL:
            if pair.startswith("elpv"):
                metrics[name] = None
            else:
                metrics[name] = float(0.55 + 0.3 * math.tanh(strength / 2) + 0.01 * rng.normal())
                samples[name] = metrics[name] + wobble + 0.008 * rng.normal(size=self.draws)
        dataset, category = pair.split("/")
        path = results / dataset / category / folder / f"seed{seed}"
        path.mkdir(parents=True)
        paths = ["train/good/0.png", *(f"test/{i}.png" for i in range(N))]
        pd.DataFrame({"path": paths, "split": ["calibration"] + ["test"] * N, "score": [99.0, *score],
                      "own_decision": [0, *own.astype(int)]}).to_csv(path / "scores.csv", index=False)
        (path / "detector.json").write_text(json.dumps({"parameters": 1000, **{
            name: more[name] for name in ("nfe", "chosen", "training")}}))
        (path / "metrics.json").write_text(json.dumps({
            "dataset": dataset, "category": category, "method": folder, "seed": seed, "false_positive_rate": 0.05,
            "n_calibration": 24, "calibration_too_small": False, "n_test_normal": N // 2, "n_test_anomalous": N // 2,
            "metrics": metrics}))
        np.savez(path / "bootstrap.npz", **samples)


def example() -> Tree:
    """All studies, with plausible numbers."""
    tree = Tree()
    both = ["image_auroc", "pixel_aupro"]
    tree.study("readings", "list", both, title="Readings of RADAR")
    readings = {"literal (noise drawn, Sobel, forest)": (LITERAL, 1.0),
                "magnitude in place of Sobel": ("magnitude", 1.05), "residual n - e, |n - e|": ("residual", 1.3),
                "scaled image, e = 0": ("scaled", 1.2), "t = 100": ("t100", 1.5),
                "Mahalanobis in place of the forest": ("normal", 1.1), "one-sided top 1 %": ("top", 0.9),
                "standardised by position": ("position", 0.5), "t = 999": ("t999", 0.0),
                "16 draws": ("draws16", 1.1), "features, magnitude": ("features", 2.4),
                "chosen without labels (t, input, map, evidence, detection)": ("best", 1.4)}
    for series, (folder, strength) in readings.items():
        tree.add("readings", series, folder, strength, made=method(predictor="features" if folder == "features"
                                                                   else "pixels"),
                 chosen={"t": 50, "map": "residual"} if folder == "best" else None)

    tree.study("t", "curve", both, "timestep t", True, "Timestep of the single forward step")
    for i, series in enumerate(["noised, noise, Sobel", "noised, noise, magnitude", "noised, residual", "scaled, noise",
                                "features, noise"]):
        for x in (1, 2, 5, 10, 20, 50, 100, 200, 500):
            strength = (0.6 + 0.25 * i) * math.exp(-((math.log10(x) - 1 - 0.2 * i) ** 2) / 1.5) + 0.3
            tree.add("t", series, LITERAL if (i, x) == (0, 1) else f"t-{i}-{x}", strength, x=x)
        tree.add("t", series, f"t-{i}-chosen", (0.6 + 0.25 * i) + 0.2, chosen={"t": (10, 10, 50, 100, 100)[i]})

    tree.study("contamination", "curve", ["own_f1", "own_false_positive_rate"], "contamination of the forest", True)
    for i, series in enumerate(["literal", "residual", "scaled"]):
        for x in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3):
            folder = LITERAL if (i, x) == (0, 0.05) else f"c-{i}-{x}"
            tree.add("contamination", series, folder, 1 + 0.2 * i, x=x, rate=x)

    tree.study("draws", "curve", both, "noise draws averaged", True, "Averaging over draws of the noise")
    for i, series in enumerate(["literal", "residual"]):
        for x in (1, 2, 4, 8, 16):
            tree.add("draws", series, LITERAL if (i, x) == (0, 1) else f"d-{i}-{x}", 1 + 0.3 * i, x=x, nfe=x,
                     noise=1.2 / math.sqrt(x))

    tree.study("redraw", "redraw", ["image_auroc"], title="Other noise for the same images")
    for i, draws in enumerate((1, 4)):
        for k in range(6):
            tree.add("redraw", f"{draws} draw{'s' * (draws > 1)}", f"redraw-{i}-{k}", 1.0, nfe=draws,
                     noise=0.6 / math.sqrt(draws))

    tree.study("attention", "list", both, title="Attention in the network",
               compare=[["16 and 8 px", "none"], ["none", "8 x 8 px"]])
    for series, strength in (("none", 0.9), ("8 x 8 px", 1.0), ("16 and 8 px", 1.05)):
        tree.add("attention", series, f"a-{series}", strength)

    tree.study("patch", "curve", both, "patch [px]", False, "Side of the patches")
    for i, series in enumerate(["literal", "residual"]):
        for x in (16, 32, 48, 64):
            tree.add("patch", series, LITERAL if (i, x) == (0, 32) else f"p-{i}-{x}", 1 - abs(x - 32) / 60 + i / 4, x=x)

    tree.study("nfe", "curve", both, "network evaluations per image", True, "Network evaluations")
    for i, (series, slope) in enumerate({"DDIM inversion on pixels": -0.3, "InvAD on features": 0.3,
                                         "DDPM chain": 0.9}.items()):
        for x in (1, 2, 3, 5, 10, 25):
            tree.add("nfe", series, f"nfe-{i}-{x}", 0.8 + slope * math.log10(x), x=x, nfe=x)

    tree.study("space", "list", both, title="Pixels against features")
    for name, cls, gain in (("RADAR (scaled)", "radar.method.radar:RADAR", 1.0), ("PCA", "baselines.pca:PCA", 1.3),
                            ("Gaussian", "baselines.gaussian:Gaussian", -0.7)):
        for where in ("pixels", "features"):
            predictor = where if name.startswith("RADAR") else None
            made = method(cls, predictor, **({} if predictor else {"space": where}))
            tree.add("space", f"{name} on {where}", f"s-{name[:3]}-{where}", 1 + gain * (where != "pixels"), made=made)
    tree.add("space", "DDIM inversion", "s-ddim", 0.2, nfe=3, made=method("baselines.invad:InvAD"))
    tree.add("space", "InvAD", "s-invad", 2.0, nfe=3, made=method("baselines.invad:InvAD", "features"))

    tree.study("budget", "curve", both, "training images", True, "Training budget")
    for i, (series, slope) in enumerate({"RADAR": 0.1, "RADAR (scaled)": 0.2, "DDPM": 0.3, "InvAD": 0.1,
                                         "DiffusionAD": 2.6, "AnoDDPM (simplex)": 0.2}.items()):
        for x in (2400, 9600, 38400):
            tree.add("budget", series, f"b-{i}-{x}", 0.6 + 0.1 * i + slope * math.log10(x / 2400), x=x,
                     training={"images": x, "seconds": x / 111, "step": x // 32, "loss": 0.1})
    return tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """The example, in which a variant of two studies failed on one dataset. Tests read it only."""
    root = example().write(tmp_path_factory.mktemp("ablation"))
    fail(root, "printed/all", "residual")
    fail(root, "printed/all", "nfe-2-25")
    return root


def fail(root: Path, pair: str, folder: str) -> None:
    path = root / "results" / "ablation" / pair / folder / "seed0"
    for file in path.iterdir():
        file.unlink()
    (path / "failure.json").write_text(json.dumps({"reason": "OutOfMemory: 50% of {disk} & C_1 <full>",
                                                   "log": "detect.log"}))


def read(root: Path) -> ablation.Ablation:
    results = root / "results" / "ablation"
    return ablation.read_ablation(ablation.read_variants(results / "variants.json"), results)


@pytest.fixture(scope="module")
def study(tree) -> ablation.Ablation:
    return read(tree)


@pytest.fixture(scope="module")
def table(study) -> pd.DataFrame:
    return ablation.table(study)


@pytest.fixture(scope="module")
def compared(study) -> pd.DataFrame:
    return ablation.comparisons(study)


def load(root: Path, pair: str, folder: str, seed: int = 0) -> tuple[dict, dict]:
    path = root / "results" / "ablation" / pair / folder / f"seed{seed}"
    return json.loads((path / "metrics.json").read_text())["metrics"], dict(np.load(path / "bootstrap.npz"))


# Numbers


def test_differences_to_the_literal_reading_are_paired(tree, table):
    assert list(table) == ablation.TABLE
    for metric in ("image_auroc", "pixel_aupro", "f1"):
        (value, draws), (other, reference) = load(tree, "printed/all", "t100"), load(tree, "printed/all", LITERAL)
        row = table.query("study == 'readings' and dataset == 'printed' and variant == 't100' and metric == @metric")
        assert row["mean"].tolist() == [pytest.approx(value[metric])]
        low, high = paired_difference(draws[metric], reference[metric])
        assert row[["difference", "difference_low", "difference_high"]].values.tolist() == [
            pytest.approx([value[metric] - other[metric], low, high])]
    ours = table[table["variant"] == LITERAL]
    assert len(ours) and ours["difference"].isna().all() and ours["mean"].notna().any()
    # the same folder in several studies has the same numbers
    assert ours.query("dataset == 'printed' and metric == 'image_auroc'")["mean"].nunique() == 1
    assert set(ours["study"]) == {"readings", "t", "contamination", "draws", "patch"}


def test_differences_of_several_seeds_are_over_common_seeds(tmp_path):
    tree = Tree(["d/c"], (0, 1, 2))
    tree.study("readings", "list", ["image_auroc"])
    tree.add("readings", "literal", LITERAL, 1.0)
    tree.add("readings", "other", "other", 1.5)
    root = tree.write(tmp_path)
    (root / "results/ablation/d/c/other/seed1/metrics.json").unlink()
    table = ablation.table(read(root))
    rows = table.query("variant == 'other' and metric == 'image_auroc'")
    files = {name: [load(root, "d/c", name, seed) for seed in (0, 2)] for name in ("other", LITERAL)}
    means = [np.mean([metrics["image_auroc"] for metrics, _ in files[name]]) for name in files]
    draws = [np.mean([samples["image_auroc"] for _, samples in files[name]], axis=0) for name in files]
    assert rows["n_seeds"].tolist() == [2]
    assert rows[["difference", "difference_low", "difference_high"]].values.tolist() == [
        pytest.approx([means[0] - means[1], *paired_difference(*draws)])]
    assert "other is incomplete: seed 1: no metrics.json" in ablation_tables.markdown(read(root), table, "")


def test_cost_and_choice_are_those_of_the_detector(table):
    rows = table.query("dataset == 'printed' and metric == 'image_auroc'").set_index(["study", "variant"])
    assert rows.loc[("budget", "b-1-9600"), ["training_images", "training_s"]].tolist() == [9600, 9600 / 111]
    assert rows.loc[("nfe", "nfe-0-25"), "nfe"] == 25
    assert rows.loc[("t", "t-2-chosen"), "chosen"] == '{"t": 50}' and math.isnan(rows.loc[("t", "t-2-chosen"), "x"])
    assert rows.loc[("t", "t-2-50"), "chosen"] == "" and pd.isna(rows.loc[("t", "t-2-50"), "training_images"])


def test_redraw_deviation_against_a_loop(tree, table):
    for group, series in enumerate(["1 draw", "4 draws"]):
        scores, aurocs = [], []
        for k in range(6):
            path = tree / f"results/ablation/elpv/mono/redraw-{group}-{k}/seed0"
            scores.append({row.path: row.score for row in pd.read_csv(path / "scores.csv").itertuples()
                           if row.split == "test"})
            aurocs.append(json.loads((path / "metrics.json").read_text())["metrics"]["image_auroc"])
        deviations, means = [], []
        for image in scores[0]:
            ours = [one[image] for one in scores]
            centre = sum(ours) / 6
            deviations.append(math.sqrt(sum((x - centre) ** 2 for x in ours) / 5))
            means.append(centre)
        centre = sum(means) / N
        spread = math.sqrt(sum((x - centre) ** 2 for x in means) / (N - 1))
        rows = table[(table["study"] == "redraw") & (table["dataset"] == "elpv") & (table["series"] == series)
                     & (table["variant"] == "")]
        assert dict(zip(rows["metric"], rows["mean"], strict=True)) == pytest.approx({
            "redraws": 6, "redraw_deviation": sum(deviations) / N,
            "redraw_relative_deviation": sum(deviations) / N / spread,
            "redraw_auroc_lowest": min(aurocs), "redraw_auroc_highest": max(aurocs)})


def test_redraws_are_matched_by_path_and_refused_if_the_images_differ(tmp_path):
    tree = Tree(["d/c"])
    tree.study("redraw", "redraw", ["image_auroc"])
    for k in range(3):
        tree.add("redraw", "1 draw", LITERAL if k == 0 else f"r{k}", 1.0)
    root = tree.write(tmp_path)
    before = ablation.table(read(root)).query("variant == ''")["mean"].tolist()
    path = root / "results/ablation/d/c/r1/seed0/scores.csv"
    scores = pd.read_csv(path)
    scores[::-1].to_csv(path, index=False)
    assert ablation.table(read(root)).query("variant == ''")["mean"].tolist() == pytest.approx(before)
    scores[:-1].to_csv(path, index=False)
    with pytest.raises(tables.InputError, match=re.escape(str(path))):
        ablation.table(read(root))


def test_methods_on_pixels_and_features_are_matched(study):
    pairs = ablation.spaces(study.studies["space"].entries)
    assert [(features.variant, pixels.variant) for features, pixels in pairs] == [
        ("s-RAD-features", "s-RAD-pixels"), ("s-PCA-features", "s-PCA-pixels"), ("s-Gau-features", "s-Gau-pixels"),
        ("s-invad", "s-ddim")]


def test_the_same_settings_on_pixels_and_features_are_matched_whatever_their_names():
    def entry(series: str, predictor: str, **settings) -> ablation.Entry:
        return ablation.Entry("space", series, None, series, None, method("b:InvAD", predictor, **settings), ("d/c",))

    entries = [entry("inversion, pixels", "pixels", score="invad"),
               entry("inversion, features (InvAD)", "features", score="invad"),
               entry("inversion, features, by position", "features", score="position"),
               ablation.Entry("space", "alone", None, "alone", None, method("radar.method.radar:RADAR"), ("d/c",))]
    assert [(ours.series, theirs.series) for ours, theirs in ablation.spaces(entries)] == [
        ("inversion, features (InvAD)", "inversion, pixels")]


@pytest.mark.parametrize("series, text", [("PCA on features", "PCA"), ("Gaussian, pixels", "Gaussian"),
                                          ("RADAR (features)", "RADAR"), ("RADAR (scaled), pixels", "RADAR (scaled)"),
                                          ("inversion, features (InvAD)", "inversion (InvAD)"), ("DDPM", "DDPM")])
def test_stem(series, text):
    assert ablation.stem(series) == text


def test_a_study_is_shown_on_its_own_datasets_only(tmp_path):
    """The same variant may be run on another dataset for another study."""
    tree = Tree(["d/c", "e/f"])
    tree.study("readings", "list", ["image_auroc"])
    tree.study("t", "curve", ["image_auroc"], "timestep t", True)
    tree.add("readings", "literal", LITERAL, 1.0)
    tree.add("readings", "other", "other", 1.0)
    for x, folder in ((1, LITERAL), (10, "t10")):
        tree.add("t", "noise", folder, 1.0, x=x)
        tree.variants[-1]["datasets"] = ["e/f"]
    root = tree.write(tmp_path)
    for file in (root / "results/ablation/d/c/t10/seed0").iterdir():
        file.unlink()
    study = read(root)
    table, compared = ablation.table(study), ablation.comparisons(study)
    assert study.missing == {}
    assert set(table[table["study"] == "t"]["dataset"]) == {"e"} == set(compared["dataset"])
    titles = [block.title for block in ablation_tables.blocks(study, table)]
    assert titles == ["readings: d/c", "readings: e/f", "t: e/f"]
    assert [ax.get_title() for ax in ablation_figures.figure(study, "t", table).axes] == ["e/f"]


def test_comparisons_are_paired(tree, compared):
    assert list(compared) == ablation.DIFFERENCES
    row = compared.query("what == 'step' and study == 'budget' and dataset == 'printed' and metric == 'image_auroc' "
                         "and variant == 'b-4-38400'").iloc[0]
    assert (row["other_variant"], row["x"], row["other_x"]) == ("b-4-9600", 38400, 9600)
    (value, draws), (other, reference) = (load(tree, "printed/all", name) for name in ("b-4-38400", "b-4-9600"))
    assert row["difference"] == pytest.approx(value["image_auroc"] - other["image_auroc"])
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(
        paired_difference(draws["image_auroc"], reference["image_auroc"]))
    best = compared.query("what == 'best' and study == 't' and metric == 'image_auroc'")
    assert (best["difference"] <= 1e-12)[best["x"].notna()].all()


def test_a_list_compares_the_pairs_that_it_names(tree, study, table, compared):
    pairs = compared.query("what == 'pair' and dataset == 'texture' and metric == 'pixel_aupro'")
    assert list(zip(pairs["study"], pairs["series"], pairs["other_series"], strict=True)) == [
        ("attention", "16 and 8 px", "none"), ("attention", "none", "8 x 8 px")]
    (value, draws), (other, reference) = (load(tree, "texture/gravel", name) for name in ("a-16 and 8 px", "a-none"))
    assert pairs["difference"].iloc[0] == pytest.approx(value["pixel_aupro"] - other["pixel_aupro"])
    low, high = paired_difference(draws["pixel_aupro"], reference["pixel_aupro"])
    assert tuple(pairs[["difference_low", "difference_high"]].iloc[0]) == pytest.approx((low, high))
    change = tables.with_interval(pairs["difference"].iloc[0], low, high)
    assert (f"- On texture/gravel, in AUPRO. 16 and 8 px, minus none: {change}; none, minus 8 x 8 px: "
            in ablation_text.paragraph(study, table, compared))
    assert "On elpv/mono, in AUPRO. 16" not in ablation_text.paragraph(study, table, compared)  # it has no masks


@pytest.mark.parametrize("chosen, text", [([1, 2, 3], "1 to 3"), ([1, 3], "1, 3"), ([2, 3, 10], "2 to 3, 10"),
                                          ([10], "10"), ([], "")])
def test_ranges(chosen, text):
    assert ablation_text.ranges(chosen, [1, 2, 3, 5, 10]) == text


@pytest.mark.parametrize("value, text", [(0.0312, "+.031"), (-0.12, "-.120"), (0.0001, "+.000"), (-0.0001, "-.000"),
                                         (0.0, ".000"), (1.0, "+1.000")])
def test_signed(value, text):
    assert tables.signed(value) == text


# Text


def test_paragraph_names_who_wins_ties_and_loses(tmp_path):
    tree = Tree(["d/c"])
    tree.study("readings", "list", ["image_auroc", "pixel_aupro"])
    for series, folder, strength in (("the literal", LITERAL, 1.0), ("good one", "good", 3.5),
                                     ("same one", "same", 1.0), ("bad one", "bad", -1.5)):
        tree.add("readings", series, folder, strength)
    tree.study("t", "curve", ["image_auroc"], "timestep t", True)
    for x, strength in ((1, -1.0), (10, 2.0), (100, 2.05), (500, -1.0)):
        tree.add("t", "noise", f"t{x}", strength, x=x)
    tree.add("t", "noise", "chosen", -1.0, chosen={"t": 500, "map": "noise"})
    tree.study("budget", "curve", ["image_auroc"], "training images", True)
    for series, slope in (("hungry rival", 1.2), ("sated method", 0.0)):
        for x in (1, 2, 3):
            tree.add("budget", series, f"{series[0]}{x}", 0.2 + slope * (x - 2), x=x)
    tree.study("nfe", "curve", ["image_auroc"], "NFE", True)
    for series, slope in (("helped", 1.2), ("hurt", -1.2), ("indifferent", 0.0)):
        for x in (1, 2, 3):
            tree.add("nfe", series, f"nfe-{series}{x}", 1 + slope * (x - 2), x=x, nfe=x)
    tree.study("space", "list", ["image_auroc"])
    for where, strength in (("pixels", 0.0), ("features", 2.5)):
        tree.add("space", f"PCA on {where}", f"pca-{where}", strength, made=method("p:PCA", None, space=where))
    study = read(tree.write(tmp_path))
    table = ablation.table(study)
    text = ablation_text.paragraph(study, table, ablation.comparisons(study))

    readings = text.split("\n\n")[0].splitlines()[1:]
    for metric, line in zip(ablation_tables.LIST_DIFFERENCES, readings, strict=True):
        literal = table[(table["variant"] == LITERAL) & (table["metric"] == metric)]["mean"].iloc[0]
        name = {"image_auroc": "image AUROC", "pixel_aupro": "AUPRO"}[metric]
        assert line.startswith(f"- On d/c, in {name}, the literal reading has {tables.short(literal)}. ")
        better, tied, worse = re.search(r"Better \(1\): (.*)\. Tied with it \(1\): (.*)\. Worse \(1\): (.*)\.",
                                        line).groups()
        assert better.startswith("good one (") and tied.startswith("same one (") and worse.startswith("bad one (")
        assert re.fullmatch(r"bad one \(-?\.\d{3}, -\.\d{3} \[-\.\d{3}, -\.\d{3}\]\)", worse)
        assert re.fullmatch(r"same one \(\.\d{3}\)", tied)
    assert re.search(r'"noise" is best at 10+ \(.*\) and within chance of that at 10 to 100; its label-free choice, '
                     r"500, is worse \(-\.", text)
    assert "worse than the best t, beyond chance, in 1 of 1 curves" in text
    assert re.search(r"in image AUROC\. Still rising \(1\): hungry rival \(from 2 to 3 \+\.\d{3} \[\+", text)
    assert "under-trained at the largest budget: hungry rival." in text
    assert re.search(r"More help \(1\): helped \(.*, best at 3\)\. No change beyond chance \(1\): indifferent \(.*\)\. "
                     r"More hurt \(1\): hurt \(.*, best at 1\)", text)
    assert "in image AUROC. Better on features (1): PCA (+." in text
    assert "not corrected for the number of comparisons" in text and "(1 seed)" in text and "Missing" not in text


def test_paragraph_of_the_example_speaks_of_every_topic(study, table, compared):
    text = ablation_text.paragraph(study, table, compared)
    starts = ["Readings of RADAR", "Timestep", "Averaging", "The same images", "Features against",
              "Network evaluations", "Training budget", "Attention in the network: differences",
              "Tied and within chance", "Missing"]
    parts = text.split("\n\n")
    assert [part.startswith(start) for part, start in zip(parts, starts, strict=True)] == [True] * len(starts)
    assert "nan" not in text.lower() and "None" not in text
    assert "DiffusionAD" in parts[6].splitlines()[0]
    assert "on printed/all residual n - e, |n - e|; DDPM chain at 25 (network evaluations per image)." in parts[-1]
    for row in compared.query("study == 't' and what == 'best' and metric == 'image_auroc' and x != x").itertuples():
        start = f'- On {row.dataset}/{row.category}, "{row.series}"'
        line = next(line for line in text.splitlines() if line.startswith(start))
        word = ("worse" if row.difference_high < 0 else "better" if row.difference_low > 0 else
                "within chance of the best")
        assert line.endswith(f"is {word} ({tables.with_interval(*row[12:15])}).")


def test_a_curve_over_the_budget_that_is_flat_names_nobody(tmp_path):
    tree = Tree(["d/c"])
    tree.study("budget", "curve", ["image_auroc"], "training images", True)
    for x in (1, 2):
        tree.add("budget", "sated", LITERAL if x == 1 else "b2", 1.0, x=x)
    study = read(tree.write(tmp_path))
    assert "No curve still rises beyond chance." in ablation_text.paragraph(study, ablation.table(study),
                                                                      ablation.comparisons(study))


# Tables


def test_tables_hold_every_series_and_the_text(study, table, compared):
    text = ablation_text.paragraph(study, table, compared)
    markdown, latex = ablation_tables.markdown(study, table, text), ablation_tables.latex(study, table)
    assert markdown.startswith("# Ablation\n\nReadings of RADAR")
    for page in (markdown, latex):
        assert ablation_tables.REBUILD in page and tables.REBUILD not in page
    parts = markdown.split("\n## ")[1:]
    assert len(parts) == len(study.studies) * len(DATASETS) == latex.count(r"\begin{tabular}")
    for part, (name, pair) in zip(parts, [(name, pair) for name in study.studies for pair in DATASETS], strict=True):
        assert part.startswith(f"{study.studies[name].title}: {pair}")
        rows = [line for line in part.splitlines() if line.startswith("| ")][1:]
        entries = study.studies[name].entries
        assert len(rows) == (2 if name == "redraw" else len(entries))
        for series in study.studies[name].series():
            assert any(row.replace("\\|", "|").startswith(f"| {series} ") for row in rows)
            assert escape_latex(series) in latex
    budget = next(part for part in parts if part.startswith("Training budget: printed/all"))
    assert re.search(r"\| DDPM +\| 38400 .*\| 346 +\|", budget)


def test_bold_stands_where_the_difference_is_above_chance_only(study, table):
    part = next(part for part in ablation_tables.markdown(study, table, "").split("\n## ")
                if part.startswith("Readings of RADAR: printed/all"))
    rows = {line.split("|")[1].strip(): line for line in part.replace("\\|", "/").splitlines() if line.startswith("| ")}
    assert re.search(r"\*\*\+\.\d{3} \[\+\.\d{3}, \+\.\d{3}\]\*\*", rows["features, magnitude"])
    assert "**" not in rows["t = 999"] and re.search(r"-\.\d{3} \[-\.\d{3}, -\.\d{3}\]", rows["t = 999"])
    assert "**" not in rows["literal (noise drawn, Sobel, forest)"]
    for row in table.dropna(subset="difference_low").query("study == 'readings' and dataset == 'printed'").itertuples():
        if row.metric == "image_auroc":
            label = row.series.replace("|", "/")
            assert ("**" + tables.with_interval(*row[11:14]) in rows[label]) == (row.difference_low > 0)


def test_a_failed_variant_has_dashes_and_a_footnote(study, table):
    part = next(part for part in ablation_tables.markdown(study, table, "").split("\n## ")
                if part.startswith("Readings of RADAR: printed/all"))
    row = next(line for line in part.replace("\\|", "/").splitlines() if line.startswith("| residual"))
    assert row.split("|")[1].strip().endswith("[1]")
    assert {cell.strip() for cell in row.split("|")[2:-1]} == {"–"}
    assert "[1] residual n - e, \\|n - e\\| is missing: seed 0: no metrics.json; OutOfMemory" in part
    chain = next(part for part in ablation_tables.markdown(study, table, "").split("\n## ")
                 if part.startswith("Network evaluations: printed/all"))
    assert re.search(r"\| DDPM chain \[1\] +\| 25 +\| – ", chain)
    rows = table.query("dataset == 'printed' and variant == 'residual'")
    assert rows["mean"].isna().all() and (rows["n_seeds"] == 0).all() and set(rows["metric"]) == {"image_auroc",
                                                                                                 "pixel_aupro"}


def test_results_beside_a_failure_are_not_shown(tmp_path):
    tree = Tree(["d/c"])
    tree.study("readings", "list", ["image_auroc"])
    tree.add("readings", "literal", LITERAL, 1.0)
    tree.add("readings", "other", "other", 1.0)
    root = tree.write(tmp_path)
    (root / "results/ablation/d/c/other/seed0/failure.json").write_text('{"reason": "new failure", "log": "l"}')
    study = read(root)
    assert study.missing == {("d", "c", "other"): "seed 0: failed; new failure (log: l)"}
    assert not study.of(("d", "c"), "other")


def test_without_the_literal_reading_there_is_no_difference_but_a_warning(tmp_path):
    tree = Tree(["d/c"])
    tree.study("readings", "list", ["image_auroc"])
    tree.add("readings", "literal", LITERAL, 1.0)
    tree.add("readings", "other", "other", 1.0)
    root = tree.write(tmp_path)
    fail(root, "d/c", LITERAL)
    study = read(root)
    table = ablation.table(study)
    text = ablation_tables.markdown(study, table, ablation_text.paragraph(study, table, ablation.comparisons(study)))
    assert table["difference"].isna().all() and "the literal reading is missing" in text
    assert ablation_figures.figure(study, "readings", table).axes


def test_metrics_without_masks_have_no_column(study, table):
    parts = ablation_tables.markdown(study, table, "").split("\n## ")
    head = {pair: next(part for part in parts if part.startswith(f"Readings of RADAR: {pair}")) for pair in DATASETS}
    assert "AUPRO" in head["printed/all"] and "AUPRO" not in head["elpv/mono"]


def test_latex_is_escaped_and_balanced(study, table):
    body = "\n".join(line for line in ablation_tables.latex(study, table).splitlines() if not line.startswith("%"))
    assert r"50\% of \{disk\} \& C\_1 \textless{}full\textgreater{}" in body and r"\textbar{}n - e\textbar{}" in body
    bare = body.replace("\\\\", "").replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}") and "±" not in body and "–" not in body
    assert not re.search(r"(?<!\\)[%#_]", re.sub(r"\\label\{.*?\}", "", body))
    for columns, content in re.findall(r"\\begin\{tabular\}\{(lr*)\}(.*?)\\end\{tabular\}", body, re.S):
        for row in (line for line in content.splitlines() if line.endswith(r" \\")):
            spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            assert len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans) == len(columns)


@pytest.mark.parametrize("change, message", [
    (lambda v: v["studies"]["t"].update(kind="tree"), "of kind 'tree'"),
    (lambda v: v["datasets"].append("printed"), "no dataset/category"),
    (lambda v: v["variants"][0].update(study="nowhere"), "unknown study 'nowhere'"),
    (lambda v: v["variants"][0].pop("series"), "variant 0 has no series"),
    (lambda v: v["variants"][0].update(x="50"), "variant 0 has x '50'"),
    (lambda v: v["studies"]["t"].update(metrics=[]), "study t has no metrics"),
    (lambda v: v.pop("literal"), "has no literal")])
def test_a_broken_list_of_variants_is_refused_in_one_line(tree, tmp_path, change, message):
    variants = json.loads((tree / "results/ablation/variants.json").read_text())
    change(variants)
    path = tmp_path / "variants.json"
    path.write_text(json.dumps(variants))
    with pytest.raises(tables.InputError, match=message) as error:
        ablation.read_variants(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


# Figures


@pytest.mark.parametrize("name", list(example().studies))
def test_every_study_has_a_figure(study, table, name):
    figure = ablation_figures.figure(study, name, table)
    masks = 0 if "pixel_aupro" not in study.studies[name].metrics else 2
    expected = {"redraw": 6, "contamination": 6}.get(name, 3 + masks)
    assert len(figure.axes) == expected > 1
    figure.canvas.draw()
    sizes = [text.get_fontsize() for ax in figure.axes for text in [*ax.texts, ax.title, *ax.get_xticklabels()]]
    assert min(sizes) >= 7


def test_the_label_free_choice_lies_at_its_t(study, table):
    figure = ablation_figures.figure(study, "t", table)
    stars = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert [line.get_xdata()[0] for line in stars] == pytest.approx([10, 10, 50, 100, 100], rel=0.15)  # side by side
    value = table.query("variant == 't-2-chosen' and dataset == 'printed' and metric == 'image_auroc'")["mean"].iloc[0]
    assert stars[2].get_ydata()[0] == pytest.approx(value)


def test_a_study_without_results_says_so(study, table):
    nothing = table.assign(mean=math.nan)
    for name in ("readings", "t", "redraw"):
        assert "No results" in ablation_figures.figure(study, name, nothing).texts[0].get_text()


def test_more_datasets_than_fit_in_a_row(tmp_path):
    tree = Tree([f"d{i}/c" for i in range(4)], draws=20)
    tree.study("t", "curve", ["image_auroc", "own_f1"], "t", True)
    for x in (1, 10):
        tree.add("t", "noise", f"t{x}", 1.0, x=x)
    study = read(tree.write(tmp_path))
    figure = ablation_figures.figure(study, "t", ablation.table(study))
    assert [ax.get_title() for ax in figure.axes if ax.get_title()] == [f"d{i}/c" for i in range(4)]
    assert len(figure.axes) == 8


# Script


def test_script_writes_everything_and_prints_the_text(tmp_path):
    tree = Tree(["printed/all", "elpv/mono"])
    tree.study("readings", "list", ["image_auroc", "pixel_aupro"])
    tree.add("readings", "literal", LITERAL, 1.0)
    tree.add("readings", "other", "other", 2.0)
    tree.study("t", "curve", ["image_auroc"], "timestep t", True)
    for x in (1, 10):
        tree.add("t", "noise", LITERAL if x == 1 else "other", 1.0, x=x)
    root = tree.write(tmp_path)
    fail(root, "elpv/mono", "other")
    outputs = {}
    for turn in ("once", "again"):
        done = subprocess.run([sys.executable, ROOT / "workflow/scripts/ablation_report.py", "--variants",
                               "results/ablation/variants.json", "--results", "results/ablation", "--tables",
                               f"{turn}/tables", "--figures", f"{turn}/figures"], cwd=root, capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr
        outputs[turn] = {str(path.relative_to(root / turn)): path.read_bytes() for path in (root / turn).rglob("*.*")}
    assert outputs["once"] == outputs["again"]
    assert set(outputs["once"]) == {f"figures/ablation_{name}.{end}" for name in ("readings", "t")
                                    for end in ("png", "pdf")} | {
        f"tables/{name}" for name in ("ablation.csv", "ablation_differences.csv", "ablation.md", "ablation.tex")}
    for name in ("readings", "t"):
        check_figure(root / f"once/figures/ablation_{name}")
    assert done.stdout.startswith("Readings of RADAR against the literal one")
    assert "missing: elpv/mono other, seed 0: no metrics.json; OutOfMemory" in done.stderr
    assert list(pd.read_csv(root / "once/tables/ablation.csv")) == ablation.TABLE
    assert (root / "once/tables/ablation.md").read_text().startswith("# Ablation\n\nReadings of RADAR against")


def test_script_names_a_broken_file_in_one_line(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "workflow/scripts/ablation_report.py"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "results/ablation/variants.json is missing" in done.stderr


def test_the_report_imports_neither_torch_nor_sklearn():
    code = ("import sys; sys.path.insert(0, 'workflow/scripts'); import ablation_report; "
            "assert not {'torch', 'sklearn'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
