"""The report: the answer by hand, whole and escaped, without network, and in a real browser what the tables say."""

import argparse
import base64
import importlib.util
import io
import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radar.report import claims, figures, page, page_answer, page_pictures, page_plots, significance, tables
from radar.report.blocks import Block, Cell
from radar.report.page_plots import Point
from radar.report.tables import Run
from tests.test_reporting import DATASETS, METHODS, ROOT, SEEDS, tree  # noqa: F401

HOSTILE = '<script>alert("x")</script> & <b>'
LABELS = {"radar": "RADAR", "ddim_inversion": HOSTILE, "pca": "PCA"}
YAMLS = {
    "radar": {"class": "radar.method.radar:RADAR", "noise_predictor": "pixels"},
    "radar_features": {"class": "radar.method.readings:Readings", "noise_predictor": "features"},
    "anoddpm": {"class": "baselines.ddpm:DDPM", "noise_predictor": "simplex"},
    "ddpm": {"class": "baselines.ddpm:DDPM", "noise_predictor": "pixels"},
    "pca": {"class": "baselines.pca:PCA"},
    "mine": {"class": "mine:Mine"},
}


# The answer


def run(method: str, value: float | None, pair: str = "a/b", metric: str = "image_auroc", **record) -> Run:
    dataset, category = pair.split("/")
    noise = np.random.default_rng(sum(map(ord, method))).standard_normal(400)
    record = {"dataset": dataset, "category": category, "method": method, "seed": 0, "metrics": {metric: value},
              "n_test_normal": 20, "n_test_anomalous": 30} | record
    return Run(record, {} if value is None else {metric: value + 0.01 * noise})


def runs_of(values: dict[str, dict[str, float]]) -> list[Run]:
    return [run(method, value, pair) for pair, group in values.items() for method, value in group.items()]


THREE = {"a/b": {"radar": 0.9, "radar_features": 0.95, "ddpm": 0.7, "anoddpm": 0.8, "pca": 0.99},
         "c/d": {"radar": 0.5, "radar_features": 0.6, "ddpm": 0.6, "anoddpm": 0.4, "pca": 0.3},
         "e/f": {"radar": 0.7, "radar_features": 0.7, "ddpm": 0.7, "anoddpm": 0.1, "pca": 0.1}}


def test_the_answer_compares_the_same_network_then_the_best_of_each_kind_then_the_floor():
    latencies = {(*pair.split("/"), name): time for pair in THREE
                 for name, time in (("radar", 10), ("radar_features", 30), ("ddpm", 100), ("anoddpm", 40), ("pca", 1))}
    text, block = page_answer.answer(runs_of(THREE), latencies, YAMLS, {"radar": "RADAR", "ddpm": "DDPM"})
    assert text[0] == "It depends on the data: more accurate on some, less on others, at 0.10 times the latency."
    # +.2, -.1 and 0 to DDPM, which shares its network; AnoDDPM does not
    assert text[1].startswith("RADAR against DDPM, which read the same trained network: better on 1 of 3 datasets, "
                              "worse on 1, within chance on 1 (−.100 to +.200, +.033 on average)")
    # .95 to .80, .60 to .60, .70 to .70; on features 30 ms to 40 and 100, on pixels 10 to 100
    assert "better on 1 of 3 datasets, worse on 0, within chance on 2 (.000 to +.150" in text[2]
    assert "at 0.10 to 0.75 times the latency" in text[2]
    assert "better on 2 of 3 datasets, worse on 1, within chance on 0 (−.040 to +.600" in text[3]
    assert "over 50 test images a dataset and 1 seed;" in text[4]
    rows = {label: cells for label, _, cells in block.rows}
    assert [len(cells) for cells in rows.values()] == [len(block.columns)] * 3
    assert rows["a/b"][0].text.startswith("+.200 [") and rows["a/b"][0].bold and rows["a/b"][1].text == "0.10"
    assert not rows["e/f"][0].bold and rows["a/b"][2].text == "radar_features − anoddpm"


@pytest.mark.parametrize(("ours", "start"), [
    (0.9, "Yes: more accurate, "), (0.1, "No: less accurate, "), (0.5, "In accuracy no difference can be told, "),
])
def test_the_lead_follows_from_the_verdicts(ours, start):
    text, _ = page_answer.answer(runs_of({"a/b": {"radar": ours, "ddpm": 0.5}}), {("a", "b", "radar"): 1, (
        "a", "b", "ddpm"): 4}, YAMLS, {})
    assert text[0] == f"{start}at 0.25 times the latency." and "of 1 dataset," in text[1]


def test_several_categories_count_once_by_their_mean_and_their_latencies_by_the_geometric_mean():
    values = {pair: {"radar": value, "ddpm": 0.5} for pair, value in (("m/x", 0.9), ("m/y", 0.7), ("o/z", 0.4))}
    latencies = {("m", "x", "radar"): 1.0, ("m", "x", "ddpm"): 2.0, ("m", "y", "radar"): 1.0, ("m", "y", "ddpm"): 8.0}
    text, block = page_answer.answer(runs_of(values), latencies, YAMLS, {})
    rows = {label: [cell.text for cell in cells] for label, _, cells in block.rows}
    assert list(rows) == ["m/mean of 2", "o/z"]
    assert rows["m/mean of 2"][0].startswith("+.300 [") and rows["m/mean of 2"][1] == "0.25"  # sqrt(1/2 * 1/8)
    assert rows["o/z"][1] == tables.DASH and "of 2 datasets" in text[1]
    assert page.unit_latency(latencies, ("m", "mean of 2"), "ddpm") == pytest.approx(4.0)
    assert page.unit_latency({**latencies, ("m", "z", "radar"): 1.0}, ("m", "mean of 3"), "ddpm") is None


def test_without_a_reconstruction_or_labels_there_is_no_answer():
    assert page_answer.answer([run("radar", 0.9), run("pca", 0.8), run("mine", 0.7)], {}, YAMLS, {}) == ([], None)
    assert page_answer.answer([run("radar", None), run("ddpm", None)], {}, YAMLS, {}) == ([], None)


# Drawings


def test_the_front_is_what_nothing_beats_in_both():
    points = [Point(name, latency, value, math.nan, math.nan) for name, latency, value in (
        ("slow", 9, 0.8), ("fast", 1, 0.5), ("beaten", 2, 0.4), ("best", 5, 0.9), ("tied", 2, 0.5), ("middle", 3, 0.6))]
    assert [point.method for point in page_plots.front(points)] == ["fast", "middle", "best"]


def test_on_the_plane_left_is_faster_up_is_better_and_names_cover_nothing():
    rng = np.random.default_rng(0)
    look = figures.looks([f"a method {i}" for i in range(14)])
    points = [Point(name, float(latency), float(value), float(value) - 0.05, min(1.0, float(value) + 0.05))
              for name, latency, value in zip(look, 10 ** rng.uniform(0, 1, 14), rng.uniform(0.5, 1, 14), strict=True)]
    (panel,) = page_plots.plane({"a/b": points}, look)
    by_name = dict(zip((point.method for point in points), panel.marks, strict=True))
    fast, slow = (pick(points, key=lambda point: point.latency) for pick in (min, max))
    low, high = (pick(points, key=lambda point: point.value) for pick in (min, max))
    assert by_name[fast.method].x < by_name[slow.method].x and by_name[high.method].y < by_name[low.method].y
    assert f"{high.method}: {tables.short(high.value)} [" in by_name[high.method].words and high.method in panel.words
    boxes = []
    for mark in panel.marks:
        assert page_plots.LEFT <= mark.x <= page_plots.WIDTH and 0 <= mark.high <= mark.y <= mark.low
        if mark.text:
            x, y, anchor = mark.text
            wide = page_plots.LETTER * len(mark.label)
            left = x - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
            boxes.append((left, y - 9, left + wide, y + 2))
    assert boxes
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert not any(left < mark.x < right and top < mark.y < bottom for mark in panel.marks)
        assert all(right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
                   for other in boxes[:i])


def test_calibration_counts_the_methods_whose_interval_does_not_hold_the_promise():
    rates = {"radar": 0.05, "ddpm": 0.5, "pca": 0.0}
    shared = {"false_positive_rate": 0.05, "n_calibration": 12, "calibration_too_small": True, "n_test_normal": 100}
    runs = [run(name, rate, metric=page.FPR, **shared) for name, rate in rates.items()]
    block, (drawn,) = page.calibration(runs, list(rates), {"ddpm": "DDPM"})
    # 50 of 100 is above 5 %; 0 of 100 has the interval [0, .036], which is below it
    assert [cell.text for cell in block.rows[0][2]] == ["5 %", "12", "19", "100", "0.000 to 0.500", "1", "1"]
    assert drawn.warnings == ["Too few: 12 calibration images, the promise needs 19."]
    (_, _, (dot,), mean, (low, high)), places = drawn.rows[1], [row[3] for row in drawn.rows]
    assert dot == mean and low < mean < high and places[2] < drawn.line == places[0] < places[1]
    assert page.calibration([run("radar", None, metric=page.FPR)], ["radar"], {}) == (None, [])


# Pictures


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)


def test_the_worst_are_the_highest_normal_and_the_lowest_anomalous_scores():
    paths = [f"{i}.png" for i in range(9)]
    manifest = pd.DataFrame({"path": paths, "split": ["test"] * 8 + ["train"], "label": [0, 0, 0, 1, 1, 1, 1, -1, 0]})
    scores = pd.DataFrame({"path": paths, "split": ["test"] * 8 + ["calibration"],
                           "score": [1.0, 9.0, 5.0, 2.0, 8.0, 0.5, 3.0, 7.0, 99.0]})
    found = {name: rows["path"].tolist() for name, rows in page_pictures.worst(scores, manifest, 2).items()}
    assert found == {"normal": ["1.png", "2.png"], "anomalous": ["5.png", "3.png"], "unlabelled": ["7.png"]}


def test_a_decision_is_wrong_where_the_score_and_the_label_disagree():
    one = page_pictures.Picture("", (1, 1), "")
    found = {(label, score): page_pictures.decision(one, label, score, 2.0) for label in (0, 1, -1) for score in (2, 3)}
    assert {key for key, value in found.items() if value.wrong} == {(0, 3), (1, 2)}  # at the threshold is not above it
    assert found[0, 3].verdict == "false alarm" and found[1, 2].verdict == "missed"


def test_a_thumbnail_shows_the_photograph_and_the_map_over_it_with_the_truth():
    image = np.full((1, 40, 56), 128, np.uint8)
    mask = np.zeros((40, 56), bool)
    mask[10:30, 10:30] = True
    uri, size = page_pictures.thumbnail(image, np.where(mask, 2.0, 0.0), 1.0, mask, 112)
    pixels = decoded(uri)
    assert size == (224, 80) and pixels.shape == (80, 224, 3)
    assert np.abs(pixels[:, :108] - 128).max() < 14  # the photograph is left as it is
    assert np.abs(pixels[5, 115:130] - 128).max() < 14  # and where the map is nothing
    assert np.ptp(pixels[40, 112 + 40]) > 90  # the map has colour
    quiet = decoded(page_pictures.thumbnail(image, np.zeros((40, 56)), 1.0, mask, 112)[0])
    outline = quiet[20:22, 112 + 26:112 + 56].mean((0, 1))
    assert outline[1] > outline[0] + 60 and outline[2] > outline[0] + 60  # cyan where the truth ends


def test_a_figure_keeps_its_shape_and_gets_as_small_as_it_must(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (300, 2800, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "f.png")
    large, small = (page_pictures.figure(tmp_path / "f.png", "alt", "caption", "command", most)
                    for most in (10**9, 120_000))
    assert large.size == (1400, 150) == decoded(large.uri).shape[1::-1]
    assert len(small.uri) <= 120_000 and small.size[0] < 1400 and small.size[0] / small.size[1] == pytest.approx(
        1400 / 150, rel=0.02)


# The page of a results tree


def load_script():
    spec = importlib.util.spec_from_file_location("page_script", ROOT / "workflow/scripts/page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()


@pytest.fixture
def results(tree) -> Path:  # noqa: F811
    """A run's results with all that the page reads: tables, claims, statistics, figures."""
    for pair in DATASETS:
        folder = tree / "results" / pair
        manifest = pd.read_csv(folder / "manifest.csv").assign(width=24, height=24, mask_from=128)
        manifest.to_csv(folder / "manifest.csv", index=False)
        (folder / "check.json").write_text(json.dumps({"warnings": [HOSTILE], "summary": ""}))
        for method in METHODS:
            (folder / method / "seed0/detector.json").write_text(json.dumps(
                {"threshold": 0.5, "map_threshold": 0.9, "channels": 1, "longest_side": None}))
    out = tree / "results/tables"
    out.mkdir()
    row = dict.fromkeys(claims.TABLE, "text") | {
        "id": "a_claim", "verdict": "reproduced", "statement": HOSTILE, "measured": -1.5, "low": -2.0, "high": 0.25,
        "unit": "points", "published": "13", "published_unit": "percent", "source": "abstract", "evidence": "paper"}
    pd.DataFrame([row, row | {"id": "another", "verdict": "not run", "measured": None, "published": None}]).to_csv(
        out / "claims.csv", index=False)
    files = tables.run_files(tree / "results", DATASETS, METHODS, SEEDS, "metrics.json")[0]
    runs = tables.read_runs(files, [path.with_name("bootstrap.npz") for path in files])
    ranks, comparisons = significance.across(runs)
    for name, table in (("statistics", significance.table(runs, dict.fromkeys(METHODS, {}))), ("ranks", ranks),
                        ("comparisons", comparisons), ("seeds", significance.seed_values(runs))):
        table.to_csv(out / f"{name}.csv", index=False)
    (tree / "results/figures").mkdir()
    for name in ("recall", *(f"maps_{pair.replace('/', '_')}" for pair in DATASETS)):
        Image.new("RGB", (40, 20)).save(tree / f"results/figures/{name}.png")
    return tree


def write(folder: Path, **changes) -> str:
    options = {"results": folder / "results", "datasets": DATASETS, "methods": METHODS, "seeds": SEEDS,
               "labels": list(LABELS.items()),
               "data": [(pair, str(folder / "data" / pair)) for pair in DATASETS], "lock": ROOT / "dvc.lock",
               "variants": None, "partial": False, "out": folder / "report.html"}
    SCRIPT.main(argparse.Namespace(**options | changes))
    return (folder / "report.html").read_text(encoding="utf-8")


def images(html: str) -> list[str]:
    return re.findall(r"<img [^>]*>", html)


def test_the_page_holds_the_numbers_of_the_tables_and_all_its_parts_in_order(results):
    html = write(results)
    found = tables.main_table(*(tables.run_files(results / "results", DATASETS, METHODS, SEEDS, name)[0]
                                for name in ("metrics.json", "bootstrap.npz")))
    for row in found.dropna(subset="mean").itertuples():
        if row.metric in [metric for metric, *_ in tables.MAIN_COLUMNS]:
            table = re.search(rf'<table id="t-main-{row.dataset}-{row.category}">.*?</table>', html, re.S)[0]
            assert f">{tables.short(row.mean)}" in table, row
    parts = re.findall(r'<h2 id="([^"]+)"', html)
    assert parts == ["verdicts", "answer", "methods-compared", "datasets", "recall", "calibration", "timing",
                     "statistics", "claims", "sheets", "methods", "environment"]
    assert "−1.50 [−2.00, 0.250] points" in html and "13 percent (abstract; paper)" in html
    assert "e49c5c0df773890d4e5ceec5e128c21f.dir" in html  # printed/all in dvc.lock
    assert "0123456789abcdef, 0123456789abcdef with local changes" in html and "CPU_X 100%" in html
    assert "CC BY-NC-SA 4.0" in html and "z_{i+1} = sqrt(a_{i+1}) x_0" in html  # licence, and InvAD's equation
    # 3 methods, 2 datasets: 3 images of each kind, and 3 figures
    assert len(images(html)) == 3 * 2 * 6 + 3
    assert html.count('<details class="dataset"') == 2 and len(html) < 10**6


def test_the_page_is_escaped_whole_and_needs_no_network(results):
    html = write(results)
    assert HOSTILE not in html and "<script>alert" not in html and html.count("&lt;script&gt;alert(") > 5
    assert html.count("<script>") == html.count("</script>") == 1
    assert not re.search(r'\ssrc=(?!"data:image/)', html) and "<link" not in html
    assert "@import" not in html and "url(" not in html and "http://" not in html
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids)) and all(ids)
    anchors = re.findall(r'href="#([^"]+)"', html)
    assert set(anchors) | set(re.findall(r'aria-labelledby="([^"]+)"', html)) <= set(ids) and "main" in anchors
    assert all(re.search(r' alt="[^"]{5,}"', one) and 'width="' in one for one in images(html))
    assert all("aria-label=" in one or "aria-hidden" in one for one in re.findall(r"<svg [^>]*>", html))
    for table in re.findall(r"<table.*?</table>", html, re.S):
        assert "<caption>" in table
        assert re.findall(r"<th(?! scope=\"(?:col|row|colgroup)\")[ >]", table) == []
    assert html.count("Rebuild: <code>snakemake --cores all results/") >= html.count("<table id=")


def test_a_partial_page_names_what_is_missing(results):
    shutil.rmtree(results / "results/printed/all/pca")
    (results / "results/elpv/mono/radar/seed0/timing.json").unlink()
    (results / "results/tables/claims.csv").unlink()
    html = write(results, partial=True)
    assert "Not everything is here: 4 files missing" in html and "printed/all, PCA: seed 0: no metrics.json" in html
    assert "The claims were not judged in this run." in html and 'id="t-main-elpv-mono"' in html
    assert 'id="statistics"' not in html and 'href="#statistics"' not in html
    # printed: pictures of two methods; elpv: of three; no figures, which may be of another run
    assert len(images(html)) == (2 + 3) * 6
    with pytest.raises(tables.InputError, match="metrics.json is missing"):
        write(results)


def test_without_labels_there_are_pictures_and_no_metrics(results):
    folder = results / "results/elpv/mono"
    manifest = pd.read_csv(folder / "manifest.csv")
    manifest.assign(label=np.where(manifest["split"] == "test", -1, 0), defect=None, mask=None).to_csv(
        folder / "manifest.csv", index=False)
    for path in folder.glob("*/seed*/metrics.json"):
        record = json.loads(path.read_text())
        record |= {"metrics": dict.fromkeys(record["metrics"]), "n_test_unlabelled": 18, "by_defect": []}
        path.write_text(json.dumps(record))
        np.savez(path.with_name("bootstrap.npz"))
    html = write(results, datasets=["elpv/mono"])
    assert "This selection cannot say" in html and "18 test images without labels" in html
    assert html.count("no label, highest scores") == 3 and len(images(html)) == 3 * 3 + 2
    assert 'id="calibration"' not in html and 'id="plane"' not in html and "nan" not in re.sub(r'base64[^"]*', "", html)


def whole(**changes) -> page.Page:
    block = Block("a/b", ["Mean over 2 seeds."], [], [("g", "AUROC", "image AUROC"), ("g", "x", "x")],
                  [("radar", [1], [Cell(".912", ".034", True), Cell("−0.5")]), ("ddpm", [], [Cell(".834"), Cell("12")]),
                   ("none", [], [Cell("–"), Cell("3")])], ["a note"])
    values = dict.fromkeys(("plane", "mean_tables", "calibration_dots", "timing", "statistics", "statistics_dots",
                            "ablation_text", "ablation", "sheets", "methods", "environment", "answer"), [])
    values |= {"title": "T", "subtitle": "", "verdicts": None, "answer_block": None, "overview": block, "looks": {},
               "datasets": [page.DatasetPart("a/b", [block])], "figures": {}, "calibration": None,
               "commands": dict.fromkeys(("main", "page", "plane"), "snakemake x")}
    return page.Page(**values | changes)


def test_many_datasets_are_folded_and_few_are_not():
    parts = [page.DatasetPart(f"d/{i}", []) for i in range(28)]
    assert page.render(whole()).count('class="dataset" id="d-a-b" open') == 1
    folded = page.render(whole(datasets=parts))
    assert folded.count('<details class="dataset"') == 28 and not re.search(r"<details[^>]* open", folded)
    assert page_pictures.plan(3 * 14)[0] > page_pictures.plan(28 * 14)[0] == 1


def test_a_column_of_nothing_is_left_out_and_named():
    block = Block("t", [], [], [("g", "a", "full a"), ("g", "b", "full b")],
                  [("x", [], [Cell("1"), Cell("–")]), ("y", [], [Cell("–"), Cell("–")])])
    found = page.without_empty(block)
    assert [column[1] for column in found.columns] == ["a"] and [len(cells) for *_, cells in found.rows] == [1, 1]
    assert found.caption == ["Not applicable or not measured: full b."]


def test_a_method_is_described_in_its_modules_own_words(tmp_path):
    text = '"""Title.\n\nFirst\nparagraph.\n\n    a = b\n      + c\n\nMore."""\n'
    for name, content in (("good", text), ("bare", "x = 1\n"), ("broken", "def (\n")):
        (tmp_path / name).write_text(content)
    assert page.module_text(tmp_path / "good") == ("Title. First paragraph.", "a = b\n  + c")
    assert page.module_text(tmp_path / "bare") == page.module_text(tmp_path / "broken") == ("", "")


def test_the_study_stands_in_topics_with_their_findings():
    html = page.render(whole(ablation_text=[("Timestep.", ["one", HOSTILE]), ("A caveat.", [])],
                             commands=dict.fromkeys(("main", "page", "ablation"), "x")))
    assert "<summary>Timestep.</summary><ul><li>one</li>" in html and "<p>A caveat.</p>" in html


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_in_a_browser_the_numbers_stand_there_and_a_table_sorts(tmp_path):
    (tmp_path / "report.html").write_text(page.render(whole()), encoding="utf-8")

    def shown(fragment: str = "") -> list[str]:
        """The rows' heads of the overview, in the order that the browser shows."""
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync",
                   f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{tmp_path}/report.html{fragment}"]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
        assert ".912" in dom and "<button" in dom  # the script ran
        table = re.search(r'<table id="t-overview-a-b">.*?</table>', dom, re.S)[0]
        assert fragment.endswith("up") == ('aria-sort="ascending"' in table)
        return re.findall(r'<th scope="row">([a-z]+)', table)

    assert shown() == ["radar", "ddpm", "none"]
    assert shown("#sort=t-overview-a-b:1:up") == ["ddpm", "radar", "none"]  # what is no number stays below
    assert shown("#sort=t-overview-a-b:2:down") == ["ddpm", "none", "radar"]  # the minus is a real one
