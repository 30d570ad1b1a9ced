"""What the documents say in numbers is what the suite computes; licence, citation and changelog are whole."""

import importlib
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from docutils.core import publish_parts
from PIL import Image
from scipy import stats

from radar.evaluation import statistics
from radar.evaluation.bootstrap import interval
from radar.evaluation.calibration import conformal_threshold, too_few
from radar.evaluation.metrics import PixelHistograms, decision_metrics, image_metrics, pixel_metrics
from radar.images.image_set import ImageSet
from radar.method.detector import Prediction
from radar.report import drawing, table, tables
from radar.report.format import share
from tests.conftest import grain

ROOT = Path(__file__).resolve().parent.parent
TEXT = " ".join((ROOT / "docs/reading-results.md").read_text(encoding="utf-8").split())


def says(*sentences: str) -> None:
    for sentence in sentences:
        assert sentence in TEXT, sentence


def span(low: float, high: float) -> str:
    return f"[{share(low)}, {share(high)}]"


def test_every_column_of_the_tables_is_explained():
    for group, label in tables.MAIN.values():
        says(f"{group}, **{label}**" if group == "own decision" else f"**{label}**")
    says("latency", "p90", "p99", "images/s", "NFE", "GFLOPs", "measured/predicted", "training images")


def test_the_example_of_image_metrics():
    normal, anomalous = [0.1, 0.2, 0.3, 0.4, 0.6], [0.3, 0.5, 0.7, 0.8, 0.9]
    says("score .1, .2, .3, .4, .6", "anomalous ones .3, .5, .7, .8, .9")
    score, label = np.array(normal + anomalous), np.repeat([0, 1], 5)
    found = image_metrics(score, label) | decision_metrics(score > 0.55, label)
    pairs = sum((a > n) + (a == n) / 2 for a in anomalous for n in normal)
    says(f"{pairs:g} of 25 pairs: {share(found['image_auroc'])}", f"taken at each anomaly | {share(found['image_ap'])}",
         f"{share(found['image_f1_max_oracle'])}, with the threshold at .5", f"7 of 10: {share(found['accuracy'])}",
         f"3 of 4: {share(found['precision'])}", f"3 of 5: {share(found['recall'])}", f"6 / 9: {share(found['f1'])}",
         f"1 of 5: {share(found['false_positive_rate'])}")
    assert decision_metrics(score >= 0.5, label)["f1"] == pytest.approx(found["image_f1_max_oracle"])


def test_the_examples_of_shares():
    label = np.repeat([1, 0], [54, 40])
    everything, coin = decision_metrics(np.ones(94, bool), label), image_metrics(np.zeros(94), label)
    assert everything["f1"] == pytest.approx(coin["image_f1_max_oracle"])
    says(f"already gives F1 {share(everything['f1'])} where 54 of 94", f"A coin has AP {share(coin['image_ap'])}")
    for normal, false_alarms, what in ((20, 1, "precision is {} where half"),
                                       (20_000, 1000, "it is {}: of 1,016 alarms")):
        decision = np.repeat([True, False, True, False], [16, 4, false_alarms, normal - false_alarms])
        found = decision_metrics(decision, np.repeat([1, 0], [20, normal]))
        assert found["recall"] == 0.8 and found["false_positive_rate"] == 0.05
        says(what.format(share(found["precision"])))
    says(f"Accuracy is {share(found['accuracy'])} all the same", f"up to {100 * (1 - 0.95**5):.1f} % of good parts")


def test_the_examples_of_calibration():
    assert too_few(18, 0.05) and not too_few(19, 0.05)
    assert conformal_threshold(range(19), 0.05) == 18 and conformal_threshold(range(39), 0.05) == 37
    says(f"the highest of 18 only {100 / 19:.1f} %", "1 / 20 = 5 %")
    for n, what in ((19, "true rate above {}"), (199, "from 199, above {}")):
        rank = round((n + 1) * 0.95)  # the true rate of the k-th of n scores is Beta(n + 1 - k, k)
        assert conformal_threshold(range(1, n + 1), 0.05) == rank
        says(what.format(share(stats.beta(n + 1 - rank, rank).ppf(0.9))))
    says(f"2 of 40 images is .050 {span(*statistics.clopper_pearson(2, 40))}".replace("0.", "."),
         f"0 of 40 is .000 [.000, {share(statistics.clopper_pearson(0, 40)[1])}]")


def pixels(*defects: tuple[tuple[slice, slice], float], marked: tuple[slice, slice] | None = None) -> dict[str, str]:
    """Pixel metrics of one image of 100 x 100 px; defects: where, and what the map says there; 1 elsewhere, 3 where
    marked."""
    anomaly_map, mask = np.ones((100, 100), np.float16), np.zeros((100, 100), bool)
    if marked:
        anomaly_map[marked] = 3
    for where, value in defects:
        anomaly_map[where], mask[where] = value, True
    histograms = PixelHistograms()
    histograms.add(anomaly_map, mask)
    return {name.removeprefix("pixel_"): share(value) for name, value in pixel_metrics(histograms).items()}


def test_the_examples_of_pixel_metrics():
    small, large = np.s_[10:14, 10:15], np.s_[40:60, 40:60]
    found = pixels((small, 2), marked=np.s_[80:82, :])
    says(f"AUROC {found['auroc']}, AUPRO {found['aupro']}; AP {found['ap']}", f"{100 * 200 / 220:.0f} % is wrong")
    found = pixels((small, 1), (large, 2))
    says(f"AUROC {found['auroc']}, AP {found['ap']}; AUPRO {found['aupro']}")
    found = pixels((small, 1))  # the same everywhere
    assert (found["auroc"], found["ap"], found["aupro"]) == (".500", ".002", ".150")


def test_the_examples_of_comparisons():
    ours = np.array([0.70, 0.75, 0.80, 0.85, 0.90])
    says(f"{span(*interval(ours))} and {span(*interval(ours - 0.04))}",
         f"difference is {span(*interval(ours - (ours - 0.04)))}", f"{12 * 11 // 2} pairs", "three of them")
    assert round(66 * 0.05) == 3
    for values in ((0.80, 0.82), (0.80, 0.82, 0.80, 0.82, 0.81)):
        low, high = statistics.t_interval(values)
        says(f"{share((low + high) / 2)} ± {share((high - low) / 2)}")
    seed = statistics.Variance(0.04**2, 0.03**2).seed_share()
    says(f"{100 * (1 - seed):.0f} % and {100 * seed:.0f} %", f"{statistics.critical_difference(12, 15):.2f} apart")
    assert np.isnan(statistics.friedman(np.random.default_rng(0).normal(size=(3, 12)))).all()


def test_the_examples_of_cost():
    taken = [10.0] * 18 + [50.0] * 2
    says(f"median {np.median(taken):g} and p90 {np.quantile(taken, 0.9):.0f}", f"wait {1000 * 32 / 200:g} ms")
    says(f"Figures are {drawing.COLUMN} or {drawing.WIDTH} inches wide")
    says("wider than the text is shrunk to its width", "`array`, `booktabs`, `graphicx` and `rotating`")
    assert r"\usepackage{array,booktabs,graphicx,rotating}" in table.latex("Head", [], [], "make")
    assert r"\ifdim\width>\linewidth\linewidth" in table.FULL


def test_the_citation_file_is_valid_and_of_this_version():
    """What the schema of CFF 1.2.0 requires of the keys that the file has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert set(citation) <= {"abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi",
                             "identifiers", "keywords", "license", "license-url", "message", "preferred-citation",
                             "references", "repository", "repository-artifact", "repository-code", "title", "type",
                             "url", "version"}
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software" and citation["title"]
    assert citation["message"] and citation["authors"] == [{"name": "The RADAR-bench authors"}]
    assert citation["version"] == project["version"] and citation["license"] == project["license"] == "MIT"
    assert citation["keywords"] and all(isinstance(word, str) for word in citation["keywords"])
    [paper] = citation["references"]
    assert {"authors", "title", "type"} <= set(paper) and paper["type"] == "article" and paper["year"] == 2025
    assert [author["family-names"] for author in paper["authors"]] == ["Moradi", "Grasso", "Colosimo", "Paynabar"]
    for identifier in paper["identifiers"]:
        assert set(identifier) == {"type", "value"} and identifier["type"] in {"doi", "url", "swh", "other"}


def test_licence_and_changelog_go_with_the_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license-files"] == ["LICENSE"]
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n\nCopyright (c) 2026 The RADAR-bench authors\n")
    headings = re.findall(r"^## \[(.+?)\]( - \d{4}-\d{2}-\d{2})?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == ("Unreleased", "") and headings[1][0] == project["version"] and headings[1][1]


def test_every_dataset_has_its_licence_where_the_data_lie():
    text = (ROOT / "data/README.md").read_text(encoding="utf-8")
    rows = {name: row for row in text.splitlines() if row.startswith("| `") for name in re.findall(r"`(\w+)`", row)}
    for path in (ROOT / "config/datasets").glob("*.yaml"):
        licence = yaml.safe_load(path.read_text()).get("licence", "")
        [known] = re.findall(r"CC0|CC BY-NC-SA 4\.0|CC BY 4\.0", licence) or [""]
        assert path.stem in rows and known in rows[path.stem]


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_link_to_what_there_is_and_are_no_wider_than_a_screen(page):
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
    assert not [link for link in re.findall(r"\]\((?!https?:)([^)#]+)", prose) if not (page.parent / link).exists()]
    assert not [line for line in prose.splitlines() if len(line) > 130 and not line.startswith("|")]


def test_the_readme_is_short_and_leads_on():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1200
    links = re.findall(r"\]\(([^):]+)\)", text)
    assert {"docs/reading-results.md", "LICENSE", "CHANGELOG.md", "data/README.md"} <= set(links)


@pytest.mark.parametrize("path", sorted((ROOT / "workflow/report").glob("*.rst")), ids=lambda path: path.stem)
def test_captions_of_snakemakes_report_are_there_and_clean(path):
    """As Snakemake renders them with docutils, which puts its complaints into the text."""
    page = publish_parts(path.read_text(encoding="utf-8"), writer="html")["body"]
    assert page.strip() and "system-message" not in page


def test_the_example_of_a_method_runs(tmp_path, monkeypatch):
    """As the page says: the class saved as a module, made with the YAML's settings, on a few grains."""
    text = (ROOT / "docs/adding-a-method.md").read_text(encoding="utf-8")
    [code], [settings] = (re.findall(rf"^```{kind}\n(.*?)^```", text, re.M | re.S) for kind in ("python", "yaml"))
    (tmp_path / "nearest.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    method = yaml.safe_load(settings)
    module, _, name = method["class"].partition(":")
    assert module == "baselines.nearest" and method["family"] in ("skipping", "reconstructing", "statistical")
    detector = getattr(importlib.import_module("nearest"), name)(
        **method["settings"], seed=0, device="cpu")
    generator = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(grain(generator, size=64)[0]).save(tmp_path / f"{i}.png")
    detector.fit(ImageSet(tmp_path, [f"{i}.png" for i in range(6)], channels=1))
    images = np.stack([grain(generator, defect=i > 2, size=64)[0] for i in range(6)])
    found = detector.predict(torch.from_numpy(images)[:, None].float() / 127.5 - 1)
    assert isinstance(found, Prediction) and found.anomaly_map.shape == (6, 64, 64)
    assert found.score[3:].min() > found.score[:3].max() and detector.parameters() > 0
