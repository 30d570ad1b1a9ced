"""The report: whole, escaped, without network, and in a real browser what the tables say."""

import base64
import io
import math
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radar.reporting import claims, page
from radar.reporting.tables import Block, Cell, Run

HOSTILE = '<script>alert("x")</script> & <b>'


def run(method: str, value: float | None, spread: float = 0.01, pair: str = "a/b") -> Run:
    dataset, category = pair.split("/")
    noise = np.random.default_rng(sum(map(ord, method))).standard_normal(400)
    record = {"dataset": dataset, "category": category, "method": method, "seed": 0, "metrics": {"image_auroc": value}}
    return Run(record, {} if value is None else {"image_auroc": value + spread * noise})


CLASSES = {"radar": "radar.radar:RADAR", "ddpm": "baselines.ddpm:DDPM", "diffusionad":
           "baselines.diffusionad:DiffusionAD", "pca": "baselines.pca:PCA"}


def test_the_answer_compares_with_the_best_reconstruction_and_counts():
    runs = [run(*one, pair=pair) for pair, values in (("a/b", (0.9, 0.7, 0.6)), ("c/d", (0.5, 0.6, 0.8)),
                                                      ("e/f", (0.7, 0.7, 0.1)))
            for one in zip(("radar", "ddpm", "diffusionad"), values, (0.01,) * 3, strict=True)]
    runs += [run("pca", 0.99, pair=pair) for pair in ("a/b", "c/d", "e/f")]  # reconstructs nothing that is compared
    latencies = {(*pair, name): time for pair in (("a", "b"), ("c", "d"), ("e", "f"))
                 for name, time in (("radar", 10), ("ddpm", 100), ("diffusionad", 40))}
    text, block = page.answer(runs, latencies, CLASSES, {"ddpm": "DDPM"})
    assert "on 1 of 3 datasets, within chance of it on 1, and worse on 1" in text[0]
    assert "0.10 to 0.25 of its time" in text[0]
    cells = {label: [one.text for one in row] for label, _, row in block.rows}
    assert cells["a/b"][:2] == [".900", "DDPM .700"] and cells["a/b"][3] == "better"
    assert cells["a/b"][2].startswith(".200 [")
    assert cells["c/d"][1] == "diffusionad .800" and cells["c/d"][3:] == ["worse", "0.25"]
    assert cells["e/f"][3] == "within chance"


def test_without_a_reconstruction_or_labels_there_is_no_answer():
    assert page.answer([run("radar", 0.9), run("pca", 0.8)], {}, CLASSES, {}) == ([], None)
    assert page.answer([run("radar", None), run("ddpm", None)], {}, CLASSES, {}) == ([], None)


def test_the_worst_mistakes_are_the_highest_normal_and_the_lowest_anomalous_scores():
    paths = [f"{i}.png" for i in range(8)]
    manifest = pd.DataFrame({"path": paths, "split": ["test"] * 7 + ["train"], "label": [0, 0, 0, 1, 1, 1, 1, 0]})
    scores = pd.DataFrame({"path": paths, "split": ["test"] * 7 + ["calibration"],
                           "score": [1.0, 9.0, 5.0, 2.0, 8.0, 0.5, 3.0, 99.0]})
    normal, anomalous = page.worst(scores, manifest)
    assert normal["path"].tolist() == ["1.png", "2.png"] and anomalous["path"].tolist() == ["5.png", "3.png"]


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)


def test_a_thumbnail_shows_the_photograph_with_its_truth_and_the_map():
    image = np.full((1, 40, 56), 128, np.uint8)
    mask = np.zeros((40, 56), bool)
    mask[10:30, 10:30] = True
    anomaly_map = np.where(mask, 2.0, 0.0)
    pixels = decoded(page.thumbnail(image, anomaly_map, 1.0, mask))
    assert pixels.shape == (80, 224, 3)
    assert np.abs(pixels[5, 5] - 128).max() < 12 and np.abs(pixels[40, 40] - 128).max() < 12  # the photograph is left
    outline = pixels[20:22, 30:50].mean((0, 1))
    assert outline[1] > outline[0] + 60  # cyan where the truth ends
    assert pixels[40, 112 + 40].sum() > 600 > 100 > pixels[5, 112 + 5].sum()  # the map is bright there and dark beside


def whole(**changes) -> page.Page:
    row = dict.fromkeys(claims.TABLE, "text") | {
        "verdict": "reproduced", "statement": HOSTILE, "measured": -1.5, "low": -2.0, "high": 0.25, "unit": "points",
        "published": "13", "published_unit": "percent", "source": "abstract", "evidence": "paper"}
    rows = [row, row | {"verdict": "not run", "measured": math.nan, "published": ""}]
    verdicts = pd.DataFrame(rows)
    verdicts["measured_text"] = [page.measured_text(one) for one in verdicts.itertuples()]
    verdicts["published_text"] = [page.published_text(one) for one in verdicts.itertuples()]
    assert verdicts["measured_text"].tolist() == ["-1.50 [-2.00, 0.250] points", ""]
    assert verdicts["published_text"].tolist() == ["13 percent (abstract; paper)", ""]
    block = Block("a/b", ["Mean over 2 seeds."], ["Warning: careful."],
                  [("g", "AUROC", "image AUROC"), ("g", "x", "x")],
                  [("radar", [1], [Cell(".912", ".034", True), Cell("0.5")]), ("ddpm", [], [Cell(".834"), Cell("12")]),
                   (HOSTILE, [], [Cell("–"), Cell("3")])], ["a note"])
    pixel = page.Picture(page.data_uri(Image.new("L", (4, 4))), HOSTILE, "caption", "snakemake")
    part = page.DatasetPart("a/b", [("images", "3")], [block], pixel, [page.Mistakes("radar", [pixel], [pixel])],
                            [HOSTILE])
    commands = dict.fromkeys(("main", "differences", "timing", "claims", "statistics", "page"), "snakemake x")
    values = {"title": "T", "verdicts": verdicts, "summary": "1 reproduced, 1 not run.", "answer": ["Yes."],
              "answer_block": block, "datasets": [part], "figures": [pixel], "timing": [block], "statistics": [block],
              "ablation_text": ["Topic", "- finding"], "ablation": [pixel], "environment": [("commit", "0123")],
              "methods": [page.MethodCard("radar", HOSTILE, "text", "cite", [("class", "C")])],
              "commands": commands}
    return page.Page(**values | changes)


def test_the_page_is_whole_escaped_and_needs_no_network():
    html = page.render(whole())
    assert "alert(" not in re.sub(r"&lt;script&gt;alert\(", "", html) and "&lt;script&gt;" in html
    assert html.count("<script>") == 1
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", html) and "@import" not in html and "url(" not in html
    ids = re.findall(r'\bid="([^"]+)"', html)
    for anchor in re.findall(r'href="#([^"]+)"', html):
        assert anchor in ids
    images = re.findall(r"<img [^>]*>", html)
    assert images and all(re.search(r'alt="[^"]+"', one) and 'src="data:image/' in one for one in images)
    assert html.count("Rebuild:") >= 6 and ".912" in html and 'class="best"' in html


def test_what_is_empty_is_left_out():
    bare = page.DatasetPart("a/b", [], [])
    html = page.render(whole(answer=[], answer_block=None, timing=[], statistics=[], ablation_text=[], ablation=[],
                             figures=[], datasets=[bare]))
    for anchor in ("answer", "timing", "statistics", "ablation"):
        assert f'id="{anchor}"' not in html and f'href="#{anchor}"' not in html


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_in_a_browser_the_numbers_stand_there_and_a_table_sorts(tmp_path):
    (tmp_path / "report.html").write_text(page.render(whole()), encoding="utf-8")

    def shown(fragment: str = "") -> list[str]:
        """The rows' heads of the main table, in the order that the browser shows."""
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync",
                   f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{tmp_path}/report.html{fragment}"]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
        assert ".912" in dom and "<button" in dom  # the script ran
        table = re.search(r'<table id="t-a-b">.*?</table>', dom, re.S)[0]
        return re.findall(r'<th scope="row">(&lt|[a-z]+)', table)

    assert shown() == ["radar", "ddpm", "&lt"]
    assert shown("#sort=t-a-b:1:up") == ["ddpm", "radar", "&lt"]  # what is no number stays below
    assert shown("#sort=t-a-b:2:down") == ["ddpm", "&lt", "radar"]


def test_a_figure_is_shrunk_and_keeps_its_shape(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 2800, 3), dtype=np.uint8)).save(tmp_path / "f.png")
    found = decoded(page.figure(tmp_path / "f.png", "alt", "caption", "command").uri)
    assert found.shape == (150, page.WIDEST, 3)
