"""Figures and pictures of a hand-made run: what is drawn where, in which colour, and that nothing hides or is cut."""

import base64
import io
import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from radar.images.map_archive import MapWriter, read_maps
from radar.report import compare, drawing, figures, pictures
from radar.report.load import KEY, InputError, Run, load, read_csv, read_run
from radar.report.step import write
from tests.conftest import check_figure
from tests.report_tree import write_run
from workflow.scripts.figures import FIGURES
from workflow.scripts.figures import main as script

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("radar", "invad", "ddpm", "pca", "mine")
FAMILY_COLOURS = {"radar": "#0072B2", "invad": "#0072B2", "ddpm": "#D55E00", "pca": "#009E73", "mine": "#CC79A7"}


def write_tables(folder: Path) -> None:
    """The CSV files of a run that figures read."""
    tables = compare.tables(load(read_run(folder)))
    write(folder / "tables", {f"{name}.csv": table.to_csv(index=False) for name, table in tables.items()})


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(pictures, "DOTS", 60)
    monkeypatch.setitem(drawing.STYLE, "figure.dpi", 100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run of five methods on a dataset of two categories and one without masks, with its figures; only to be read."""
    made = write_run(tmp_path_factory.mktemp("run"), ("printed/a", "printed/b", "elpv/mono"), METHODS)
    write_tables(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "DOTS", 60)
        patch.setitem(drawing.STYLE, "figure.dpi", 100)
        script(read_run(made))
    return made


def drawn(folder: Path, name: str, **changed: pd.DataFrame) -> Figure:
    draw, *tables = FIGURES[name]
    given = [changed.get(one, read_csv(folder / f"tables/{one}.csv")) for one in tables]
    return drawing.styled(draw)(read_run(folder), *given)


def page_of_maps(folder: Path, pair: tuple[str, str]) -> Figure:
    return drawing.styled(pictures.maps)(read_run(folder), pair)


def with_run(folder: Path, change) -> Run:
    """The run after its description was changed."""
    content = json.loads((folder / "run.json").read_text())
    change(content)
    (folder / "run.json").write_text(json.dumps(content))
    return read_run(folder)


# All figures


@pytest.mark.parametrize("name", [*FIGURES, "maps_printed_a"])
def test_a_figure_is_the_same_each_time_and_nothing_leaves_its_page(folder, name):
    stem = folder / "figures" / name
    check_figure(stem, f"snakemake --cores all {stem}.pdf")
    figure = drawn(folder, name) if name in FIGURES else page_of_maps(folder, ("printed", "a"))
    canvas = FigureCanvasAgg(figure)
    drawing.styled(figure.draw_without_rendering)()
    figure.set_layout_engine("none")  # as `save` does
    drawing.styled(canvas.draw)()
    with Image.open(f"{stem}.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(canvas.buffer_rgba()))
    assert min(one.get_fontsize() for one in figure.findobj(Text) if one.get_text().strip()) >= 7
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 > -0.01 and box.y0 > -0.01 and box.x1 < width + 0.01 and box.y1 < height + 0.01


def test_a_colour_is_a_family_and_markers_and_lines_tell_its_methods_apart(folder):
    styles = drawing.style_of(read_run(folder))
    assert {name: one.colour for name, one in styles.items()} == FAMILY_COLOURS
    assert len({(one.colour, one.marker) for one in styles.values()}) == len(METHODS)
    assert len({(one.colour, one.line) for one in styles.values()}) == len(METHODS)
    assert styles["radar"].label == "RADAR"


def test_files_have_the_same_bytes_whatever_settings_the_caller_has(folder, tmp_path):
    import matplotlib

    drawing.save(drawn(folder, "loss"), tmp_path / "a", "x")
    check_figure(tmp_path / "a", "x")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "pdf.fonttype": 3}):
        drawing.save(drawn(folder, "loss"), tmp_path / "b", "x")
    for one in ("png", "pdf"):
        assert (tmp_path / f"a.{one}").read_bytes() == (tmp_path / f"b.{one}").read_bytes()


def test_a_run_without_labels_has_maps_and_says_what_it_lacks(tmp_path):
    folder = write_run(tmp_path, ("elpv/mono",), ("radar", "pca"), values=lambda *_: dict.fromkeys(compare.METRICS))
    with_run(folder, lambda run: run["datasets"]["elpv/mono"].update(labelled=False))
    manifest = read_csv(tmp_path / "results/elpv/mono/manifest.csv")
    manifest.loc[manifest["split"] == "test", "label"] = -1
    manifest.to_csv(tmp_path / "results/elpv/mono/manifest.csv", index=False)
    write_tables(folder)
    for name in FIGURES:
        figure = drawn(folder, name)
        empty = name in ("accuracy_latency", "roc", "seeds", "ranks")
        assert ("Nothing to show" in figure.get_suptitle()) == empty, name
    assert "printed" not in page_of_maps(folder, ("elpv", "mono")).get_suptitle()
    assert len(pictures.chosen_images(manifest)) == 9


# Accuracy and latency


def test_every_method_stands_at_its_latency_and_auroc_with_its_name(folder):
    figure = drawn(folder, "accuracy_latency")
    main = read_csv(folder / "tables/main.csv").query("metric == 'image_auroc'").set_index(KEY)
    assert [ax.get_title() for ax in figure.axes] == ["printed, mean of 2 categories", "elpv/mono"]
    for ax, pair in zip(figure.axes, (("printed", "mean of 2"), ("elpv", "mono")), strict=True):
        bars = [one for one in ax.containers if isinstance(one, ErrorbarContainer)]
        for place, (name, bar) in enumerate(zip(METHODS, bars, strict=True), 1):
            row, line = main.loc[(*pair, name)], bar.lines[0]
            [[x, y]] = line.get_xydata()
            assert y == pytest.approx(row["mean"]) and line.get_color() == FAMILY_COLOURS[name]
            assert x == pytest.approx(10 * place * 1.25, rel=0.05)  # the geometric mean of equal categories
            [[low, high]] = [path[:, 1] for path in bar.lines[2][0].get_segments()]
            assert (low, high) == pytest.approx((row["ci_low"], row["ci_high"]))
        assert len({(bar.lines[0].get_color(), bar.lines[0].get_marker()) for bar in bars}) == 5
        names = {text.get_text(): text for text in ax.texts}
        assert list(names) == ["RADAR", *METHODS[1:]]
        assert [text.get_color() for text in names.values()] == [FAMILY_COLOURS[name] for name in METHODS]
        boxes = [text.get_window_extent() for text in names.values()]
        assert not any(one.padded(-1).overlaps(other.padded(-1)) for one, other in combinations(boxes, 2))
        assert ax.get_xscale() == "log"


def test_a_method_without_an_interval_is_drawn(folder):
    main = read_csv(folder / "tables/main.csv")
    figure = drawn(folder, "accuracy_latency", main=main.assign(ci_low=np.nan, ci_high=np.nan))
    figure.draw_without_rendering()
    assert [len(ax.containers) for ax in figure.axes] == [5, 5]


# The others


def test_bars_of_the_timing_are_shares_and_dots_are_measured_and_predicted(folder):
    axes = drawn(folder, "timing").axes
    upper, lower = axes[0], axes[3]
    widths = np.array([bar.get_width() for bar in upper.patches]).reshape(len(figures.PARTS), len(METHODS))
    np.testing.assert_allclose(np.nansum(widths, 0), 100)
    np.testing.assert_allclose(widths[0], 100 * 0.5 / 9.5)  # tiling of 0.5 + 8 + 1 ms
    predicted, measured = [one.get_offsets()[:, 0] for one in lower.collections[1:]]
    np.testing.assert_allclose(predicted, 8.1)
    np.testing.assert_allclose(measured, read_csv(folder / "tables/timing.csv")["latency_ms_median"][:5])


def test_a_roc_curve_is_the_mean_over_seeds_of_sklearns(folder, tmp_path):
    run = read_run(folder)
    curve = figures.mean_rocs(run, ("elpv", "mono"))["pca"]
    manifest = read_csv(run.results / "elpv/mono/manifest.csv").set_index("path")["label"]
    areas, steps = [], []
    for seed in run.seeds:
        scores = read_csv(run.place(("elpv", "mono"), "pca", seed) / "scores.csv").query("split == 'test'")
        areas.append(roc_auc_score(manifest[scores["path"]], scores["score"]))
        rates, found, _ = roc_curve(manifest[scores["path"]], scores["score"])
        steps.append([found[rates <= rate].max() for rate in figures.GRID])  # a staircase, not a slope
    np.testing.assert_allclose(curve, np.mean(steps, axis=0))
    assert np.trapezoid(curve, figures.GRID) == pytest.approx(np.mean(areas), abs=0.005)
    ax = drawn(folder, "roc").axes[2]
    main = read_csv(folder / "tables/main.csv").pivot(index=KEY, columns="metric", values="mean")
    main = main.loc[("elpv", "mono", "pca")]
    assert (main["false_positive_rate_measured"], main["recall"]) in [
        pytest.approx(tuple(line.get_xydata()[0])) for line in ax.lines if len(line.get_xydata()) == 1]


def defects(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame([("d", "c", *row) for row in rows],
                        columns=[*KEY, "seed", "defect", "severity", "n", "detected"])


def test_recall_is_summed_over_seeds_by_defect_and_rising_severity():
    table = figures.recall_table(defects(
        ("a", 0, "oil", 2.0, 3, 3), ("a", 0, "oil", 1.0, 3, 0), ("a", 1, "oil", 2.0, 3, 0), ("b", 0, "oil", 2.0, 3, 1),
        ("a", 0, "crack", np.nan, 4, 1)))
    assert table["a"].to_dict() == {"oil 1 (3)": 0, "oil 2 (6)": 0.5, "crack (4)": 0.25}
    assert table["b"].isna().tolist() == [True, False, True]
    many = figures.recall_table(defects(*(("a", 0, "oil", level, 1, 1) for level in np.linspace(0, 1, 40))))
    assert list(many.index) == [f"oil {end} (8)" for end in (0.2, 0.4, 0.6, 0.8, 1)]


def test_every_seed_and_the_mean_stand_at_their_value(folder):
    ax = drawn(folder, "seeds").axes[0]
    results = read_csv(folder / "tables/results.csv").query("metric == 'image_auroc' and category == 'a'")
    points = {(round(x, 6), y) for x, y in ax.collections[0].get_offsets()}
    assert points == {(round(row.value, 6), METHODS.index(row.method)) for row in results.itertuples()}
    means = [tuple(line.get_xydata()[0]) for line in ax.lines if len(line.get_xydata()) == 1]
    assert means == [(pytest.approx(results.loc[results["method"] == name, "value"].mean()), y)
                     for y, name in enumerate(METHODS)]


@pytest.mark.parametrize("distance", [0.5, np.nan])
def test_a_bar_joins_ranks_within_the_critical_difference_if_there_is_one(folder, distance):
    table = pd.DataFrame({"metric": "f1", "method": METHODS, "mean_rank": [1.0, 1.4, 3.0, 4.0, 5.0], "n_blocks": 9,
                          "friedman_statistic": 9.0, "friedman_p": 0.01, "critical_difference": distance})
    [ax] = drawn(folder, "ranks", ranks=table).axes
    bars = [line.get_xdata() for line in ax.lines if line.get_linewidth() == 2]
    assert [sorted(bar) for bar in bars] == ([] if np.isnan(distance) else [[1.0, 1.4]])
    assert ax.get_title("left") == "F1: 9 datasets, " + (
        "too few of them, or of methods, for a test" if np.isnan(distance) else "CD 0.500, p of Friedman's test 0.01")


# Maps


def test_chosen_images_are_the_first_of_the_middle_severity_of_each_defect(folder):
    manifest = read_csv(read_run(folder).results / "printed/a/manifest.csv")
    rows = pictures.chosen_images(manifest)
    assert rows["path"].tolist() == ["test/good/0.png", "test/crack/1.png", "test/oil_spill/1.png"]
    assert rows["severity"].tolist()[1:] == [0.5, 0.5] and len(pictures.chosen_images(manifest, 2)) == 2
    two = pictures.chosen_images(manifest[manifest["severity"] != 1.0])  # the lower of two is the middle
    assert two["severity"].tolist()[1:] == [0.2, 0.2]


def test_the_common_scale_is_of_all_maps_and_the_own_of_one(tmp_path):
    rng = np.random.default_rng(0)
    maps = [rng.gamma(2, 1, (16, 12)).astype(np.float32) * factor for factor in (1, 5, 0.1)]
    with MapWriter(tmp_path / "maps.npz", ["a", "b", "c"]) as out:
        for one in maps:
            out.add(one[None])
    c_common, c_own, a_common, a_own = pictures.maps_of(tmp_path / "maps.npz", ["c", "a"], 2)
    everything = np.concatenate([one.ravel() for _, one in read_maps(tmp_path / "maps.npz")]).astype(float)
    for shown, one, of in ((a_common, maps[0], everything), (c_common, maps[2], everything), (a_own, maps[0], maps[0])):
        expected = pictures.in_colours(one, *np.percentile(of, (1, 99.5)))
        assert np.abs(shown.astype(int) - expected).mean() < 1
    assert c_common.max() < 100 and c_own.max() > 240  # a faint map is dark among others, and shows on its own
    np.testing.assert_array_equal(pictures.maps_of(tmp_path / "maps.npz", ["a"], 1), [a_common])
    (tmp_path / "maps.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="maps.npz: .*: delete it"):
        pictures.maps_of(tmp_path / "maps.npz", ["a"], 1)


def test_a_page_of_maps_has_a_column_per_method_and_two_lines_per_image(folder):
    figure = page_of_maps(folder, ("printed", "a"))
    labels = [text.get_text() for ax in figure.axes for text in ax.get_xticklabels()]
    assert [one for one in labels if one != "image, truth"] == ["RADAR", *METHODS[1:]]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["normal", "crack 0.5", "oil spill 0.5"]
    height, width, _ = figure.axes[0].images[0].get_array().shape
    assert height / width == pytest.approx(6 / len(figure.axes[0].get_xticks()), rel=0.1)
    assert figure.get_size_inches()[1] < 11


def test_the_strip_is_of_the_first_dataset_and_of_the_methods_that_the_answer_compares(folder):
    answers = pd.DataFrame({"dataset": "printed", "category": "a", "ours": ["radar"], "theirs": ["pca"]})
    strip = drawn(folder, "strip", answers=answers)
    names = [text.get_text() for text in strip.axes[0].get_xticklabels()]
    assert names == ["image", "truth", "RADAR", "pca"] and strip.get_size_inches()[1] < 6
    assert {text.get_text() for text in strip.axes[0].texts} == {"normal"}
    assert strip.get_suptitle().startswith("printed/a, seed 0")


# For the page


def decoded(uri: str) -> np.ndarray:
    kind, data = re.fullmatch(r"data:image/(png|webp);base64,(.*)", uri).groups()
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.format.lower() == kind
        return np.asarray(image.convert("RGB"), int)


def test_the_worst_are_the_highest_normal_and_the_lowest_anomalous_scores():
    test = pd.DataFrame({"path": range(8), "label": [0, 0, 0, 1, 1, 1, 1, -1],
                         "score": [1.0, 9.0, 5.0, 2.0, 8.0, 0.5, 3.0, 7.0]})
    found = {name: rows["path"].tolist() for name, rows in pictures.worst(test, 2).items()}
    assert found == {"normal": [1, 2], "anomalous": [5, 3], "unlabelled": [7]}


def test_a_thumbnail_shows_the_photograph_and_the_map_over_it_with_the_truth():
    image = np.full((1, 40, 56), 128, np.uint8)
    mask = np.zeros((40, 56), bool)
    mask[10:30, 10:30] = True
    uri, size = pictures.thumbnail(image, np.where(mask, 2.0, 0.0), 1.0, mask, 112)
    pixels = decoded(uri)
    assert size == (224, 80) and pixels.shape == (80, 224, 3)
    assert np.abs(pixels[:, :108] - 128).max() < 14  # the photograph is left as it is
    assert np.abs(pixels[5, 115:130] - 128).max() < 14  # and where the map is nothing
    assert np.ptp(pixels[40, 112 + 40]) > 90  # the map has colour
    quiet = decoded(pictures.thumbnail(image, np.zeros((40, 56)), 1.0, mask, 112)[0])
    outline = quiet[20:22, 112 + 26:112 + 56].mean((0, 1))
    assert outline[1] > outline[0] + 60 and outline[2] > outline[0] + 60  # cyan where the truth ends


def test_a_figure_keeps_its_shape_on_the_page_and_is_not_made_larger(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (150, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "f.png")
    (large, size), (small, less) = (pictures.figure_uri(tmp_path / "f.png", width) for width in (1400, 350))
    assert size == (700, 150) == decoded(large).shape[1::-1]
    assert less == (350, 75) == decoded(small).shape[1::-1]


def test_figures_do_not_import_torch():
    code = "import sys, workflow.scripts.figures; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
