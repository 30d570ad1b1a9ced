"""The page of a run: sentences, parts in order, escaping, no network, runs without labels and runs that failed."""

import html as web
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from radar.images.overlay import write_decisions
from radar.report import page
from radar.report.load import InputError, read_run
from tests.report_tree import write_run
from workflow.scripts.compare import main as compare

ROOT = Path(__file__).resolve().parent.parent
HOSTILE = '<script>alert("1")</script> & \'x\''
ALWAYS = ["sheets", "methods", "environment"]  # the last parts of every page
METHODS = ("radar", "invad", "ddpm", "pca")
CLAIM = {"id": "a_claim", "paper": "arXiv:1", "method": "radar", "statement": HOSTILE, "verdict": "contradicted",
         "measured": -1.5, "low": -2.0, "high": -0.25, "unit": "points", "of": "lead in F1", "why": "it lies below 0",
         "published": "13", "published_unit": "percent", "source": "abstract", "evidence": "paper",
         "conditions": HOSTILE, "detail": ""}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run with tables, figures and one claim that was tested and one that was not; results/runs/default."""
    root = tmp_path_factory.mktemp("page")
    run = write_run(root, methods=METHODS)
    for path in root.glob("results/*/*/manifest.csv"):
        pd.read_csv(path).assign(width=24, height=24, mask_from=128).to_csv(path, index=False)
    for path in root.glob("results/*/*/*/seed*/detector.json"):
        path.write_text(json.dumps({"threshold": 0.5, "map_threshold": 0.9, "channels": 1, "longest_side": None}))
    (root / "results/printed/all/check.json").write_text(json.dumps({"warnings": [HOSTILE], "summary": HOSTILE}))
    description = json.loads((run / "run.json").read_text())
    description["changed"] = {"training.images": 800}
    for method in description["methods"].values():
        method["class"] = "baselines.pca:PCA"
    description["methods"]["invad"] |= {"class": "baselines.invad:InvAD", "label": HOSTILE, "settings": {"steps": 3}}
    (run / "run.json").write_text(json.dumps(description))
    compare(read_run(run))
    pd.DataFrame([CLAIM, CLAIM | {"id": "b", "verdict": "not run", "statement": "Another", "why": "no GPU"}]).to_csv(
        run / "tables/claims.csv", index=False)
    (run / "figures").mkdir()
    for name in ("accuracy_latency", "recall", "maps_printed_all", "strip"):  # the last is not the page's
        Image.new("RGB", (40, 20)).save(run / f"figures/{name}.png")
    return run


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of it that a test may change."""
    shutil.copytree(finished.parents[1], tmp_path / "results")
    return tmp_path / "results/runs/default"


def text(html: str) -> str:
    """What a reader sees, on one line."""
    html = re.sub(r"(?s)<(script|style)>.*?</\1>", "", html)
    return " ".join(web.unescape(re.sub(r"<[^>]+>", " ", html)).split())


def sentences(run: Path, rows: dict[str, list[tuple]]) -> list[str]:
    """The sentences of the page for these answers: question -> (ours, theirs, difference, low, high, latency ratio)."""
    columns = pd.read_csv(run / "tables/answers.csv").columns
    pd.DataFrame([(question, f"set{place}", "all", *row, 94, 2) for question, found in rows.items()
                  for place, row in enumerate(found)], columns=columns).to_csv(run / "tables/answers.csv", index=False)
    answer = re.search(r'<ol class="answer">.*?</ol>', page.page(read_run(run)), re.DOTALL)
    return [text(one) for one in answer[0].split('<li class="sentence">')[1:]] if answer else []


LOSS, WIN = ("radar", "ddpm", -0.12, -0.18, -0.06, 0.05), ("radar", "ddpm", 0.031, 0.012, 0.05, 0.5)
OPEN = ("radar", "pca", 0.002, -0.03, 0.034, None)


def test_the_answer_is_three_sentences_that_count_losses_wins_and_what_is_undecided(run):
    first, second, third = sentences(run, {
        "skipping - reconstructing": [WIN, LOSS, WIN], "skipping - statistical": [OPEN, WIN, OPEN],
        "radar - best other": [OPEN, WIN]})
    best = "The best diffusion method that skips the reconstruction, against the best"
    assert first.startswith(f"{best} that reconstructs, is worse beyond chance on 1 of 3 datasets, undecided on 0, "
                            "better beyond chance on 2 , at 0.0500 to 0.500 times")
    assert "set1/all worse −.120 [−.180, −.060] RADAR − ddpm 0.0500 times the latency, 94 test images, 2 seeds" in first
    assert second.startswith(f"{best} floor, a method without a diffusion model, is worse beyond chance on 0 of 3 "
                             "datasets, undecided on 2, better beyond chance on 1")
    assert "set0/all undecided +.002 [−.030, +.034] RADAR − pca not timed, 94 test images" in second
    assert third.startswith("RADAR as its paper has it, against the best other method, is worse beyond chance on 0 of")


def test_the_first_line_says_that_radar_loses_even_where_it_wins_more_often(run):
    first, _ = sentences(run, {"skipping - reconstructing": [WIN], "radar - best other": [WIN, LOSS, WIN]})
    assert first.startswith(
        "RADAR as its paper has it, against the best other method, is worse beyond chance on 1 of 3 datasets, undec")
    assert sentences(run, {}) == []


def test_the_page_has_its_parts_in_order_and_the_numbers_of_the_tables(finished):
    html = page.page(read_run(finished))
    assert re.findall(r'<h2 id="([^"]+)"', html) == [
        "answer", "compared", "claims", "datasets", "calibration", "timing", "statistics", *ALWAYS]
    shown = text(html)
    for row in pd.read_csv(finished / "tables/main.csv").query("metric in ['image_auroc', 'f1']").itertuples():
        table = re.search(rf'<table id="T_main-{row.dataset}-{row.category}".*?</table>', html, re.DOTALL)[0]
        assert f">{row.mean:.3f}".replace(">0", ">") in table
    assert "AUPRO" not in table  # elpv has no masks: no column of dashes
    assert "picked on these same test images, of 2 methods that skip" in shown
    assert "Run default : changed against config/config.yaml: training.images: 800 ; commit 0123456789;" in shown
    assert "−1.50 [−2.00, −0.250] points lead in F1" in shown
    assert "why contradicted it lies below 0" in shown and "published 13 percent (abstract; paper)" in shown
    assert "1 claim not run" in shown and shown.index("1 claim not run") > shown.index("1 contradicted")
    assert "z_{i+1} = sqrt(a_{i+1}) x_0" in shown and "CC BY-NC-SA 4.0" in shown
    # 4 methods on 2 datasets, 6 pictures of two kinds of mistake each, and the three figures that it knows
    assert html.count("<img ") == 2 * 4 * (6 + 6) + 3 and len(html) < 2 * 10**6


def test_every_string_is_escaped_nothing_needs_the_network_and_links_resolve(finished):
    html = page.page(read_run(finished))
    assert "<script>alert" not in html and html.count("&lt;script&gt;alert") > 5
    assert html.count("<script>") == html.count("</script>") == 1
    assert not re.search(r'\ssrc=(?!"data:image/)', html)
    assert not any(part in html for part in ("<link", "@import", "url(", "http://"))
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids)) and all(ids)
    anchors = re.findall(r'href="#([^"]+)"', html) + re.findall(r'aria-labelledby="([^"]+)"', html)
    assert "main" in anchors and set(anchors) <= set(ids)
    assert all(re.search(' width="\\d+".* alt="[^"]{5,}"', one) for one in re.findall("<img [^>]*>", html))


def test_without_labels_the_page_opens_with_decisions_and_has_no_claims(run):
    description = json.loads((run / "run.json").read_text())
    description["datasets"] = {"elpv/mono": description["datasets"]["elpv/mono"] | {"labelled": False}}
    (run / "run.json").write_text(json.dumps(description))
    folder = run.parents[1] / "elpv/mono"
    manifest = pd.read_csv(folder / "manifest.csv")
    manifest.loc[manifest["split"] == "test", "label"] = -1
    manifest.assign(defect=None, mask=None).to_csv(folder / "manifest.csv", index=False)
    for path in folder.glob("*/seed*/metrics.json"):
        record = json.loads(path.read_text())
        record |= {"metrics": dict.fromkeys(record["metrics"]), "n_test_unlabelled": 18, "n_test_normal": 0,
                   "n_test_anomalous": 0, "by_defect": [], "calibration_too_small": True}
        path.write_text(json.dumps(record))
        scores = pd.read_csv(path.with_name("scores.csv")).query("split == 'test'")
        write_decisions(path.with_name("decisions.csv"), zip(scores["path"], scores["score"], strict=True), 0.5)
    compare(read_run(run))
    pd.read_csv(run / "tables/claims.csv").assign(verdict="not run").to_csv(run / "tables/claims.csv", index=False)
    html, decisions = page.page(read_run(run)), pd.read_csv(folder / "pca/seed0/decisions.csv")
    assert re.findall(r'<h2 id="([^"]+)"', html) == ["decisions", "timing", *ALWAYS]
    assert html.count("<img ") == 4 * 12 and "not run" not in text(html) and " nan" not in text(html)
    assert "the calibration set (25 images) is too small to promise" in text(html[:html.index("<h4>")])
    shown = text(html[html.index("<h4>pca"):])
    assert shown.startswith(f"pca: {decisions['decision'].sum()} of 18 photographs called anomalous 1. anomalous score "
                            f"{decisions['score'][0]:.2f}, threshold 0.500")
    assert shown.index(decisions["file"][0].replace("/", "/ ")) < shown.index(decisions["file"][1].replace("/", "/ "))


def test_after_a_failure_the_page_names_what_is_missing_and_why(run):
    failed = run.parents[1] / "printed/all/pca"
    shutil.rmtree(failed / "seed1")
    (failed / "seed0/detector.json").unlink()  # it worked once, so that metrics.json is there, and then was changed
    (failed / "seed0/failure.json").write_text(json.dumps({"reason": f"MemoryError {HOSTILE}", "log": "fit.log"}))
    (run / "timing/elpv/mono.json").unlink()
    with pytest.raises(InputError, match="is missing"):
        page.page(read_run(run, partial=True))
    compare(read_run(run, partial=True))
    command = [sys.executable, ROOT / "workflow/scripts/page.py", "--run", run, "--partial"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{run}/partial/report.html: ")
    shown = text((run / "partial/report.html").read_text(encoding="utf-8"))
    assert f"printed/all, pca: seed 0: not evaluated; MemoryError {HOSTILE} (log: fit.log)" in shown
    assert "elpv/mono, every method: no timing, not started the claims were not judged no figure was drawn" in shown
    assert "Only of the methods and datasets that are there" in shown and "claims hold" not in shown
    assert not (run / "report.html").exists()


def test_more_figures_are_smaller_so_that_the_page_stays_small(tmp_path):
    for place in range(36):
        Image.new("RGB", (1400, 20)).save(tmp_path / f"maps_{place}.png")
    found = page.figures(tmp_path)
    assert len(found) == 36 and {size for _, size in found.values()} == {(500, 7)}


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_in_a_browser_a_table_sorts_and_none_is_cut(finished, tmp_path):
    check = """<script>document.querySelector("#compact thead tr:last-child th:nth-child(2) button").click();
    document.title = Array.from(document.querySelectorAll(".scroll")).every(one => one.scrollWidth <= one.clientWidth);
    </script></body>"""
    (tmp_path / "report.html").write_text(page.page(read_run(finished)).replace("</body>", check), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom",
               "--window-size=1280,2000", f"--user-data-dir={tmp_path}/profile", f"file://{tmp_path}/report.html"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    table = re.search(r'<table id="T_compact".*?</table>', dom, re.DOTALL)[0]
    values = [float(one) for one in re.findall(r'class="data row\d+ col0"[^>]*>([.\d]+)', table)]
    assert len(values) == 4 and values == sorted(values, reverse=True) and 'aria-sort="descending"' in table
    assert "<title>true</title>" in dom
