"""Every LaTeX table that the suite writes compiles, with names that nobody should give, and stays on the page."""

import re
import shutil
import subprocess
from collections import Counter

import numpy as np
import pytest

from radar.report import ablation, ablation_tables, claims, latex, significance, tables
from radar.report.blocks import Block, Cell
from radar.report.claim_config import Claim
from tests.test_ablation_report import LITERAL, Tree, fail, method, read

HOSTILE = r"*50% of {disk} & C:\tmp is #1 <full> ~ ^ $x$ |a| [b] `c' ¿µ测¾ § über_all--naïve"
LABELS = ["RADAR", "RADAR (chosen)", "RADAR (features)", "DDIM inversion", "InvAD", "DiffusionAD", "DDPM",
          "AnoDDPM (simplex)", "Gaussian", "Gaussian (features)", "PCA", "PCA (features)", "w" * 45, HOSTILE]
METHODS = [f"m{place}" for place in range(len(LABELS))]
NAMES = dict(zip(METHODS, LABELS, strict=True))
DATASETS = [("a_dataset", "with #1"), ("mvtec_ad", "bottle"), ("mvtec_ad", "metal_nut")]
MISSING = [("a_dataset", "with #1", "m4", HOSTILE), ("a_dataset", "with #1", "not_there", "word " * 60)]
DOCUMENT = r"""\documentclass{article}
\usepackage[letterpaper,margin=2.5cm]{geometry}
\usepackage{booktabs,rotating}
\hfuzz=0pt
\begin{document}
%s
\end{document}
"""


def runs() -> list[tables.Run]:
    noise = np.random.default_rng(0).normal(0, 0.03, 50)
    record = {"false_positive_rate": 0.05, "n_calibration": 17, "calibration_too_small": True, "n_test_normal": 40,
              "n_test_anomalous": 54, "provenance": {"commit": "0123456789abcdef", "commit_dirty": True}}
    return [tables.Run(record | {"dataset": dataset, "category": category, "method": name, "seed": seed,
                                 "metrics": dict.fromkeys(tables.METRICS, 0.8 + 0.005 * place)},
                       {metric: 0.8 + 0.005 * place + noise for metric in tables.METRICS})
            for dataset, category in DATASETS for place, name in enumerate(METHODS) for seed in (0, 1)]


def main() -> str:
    ours = runs()
    means = tables.mean_over_categories(ours)
    return tables.main_latex([*tables.main_blocks(means, METHODS, NAMES),
                              *tables.category_blocks(ours, means, METHODS, NAMES),
                              *tables.main_blocks(ours, METHODS, NAMES, MISSING)])


def timing() -> str:
    record = dict.fromkeys(tables.TIMING_TABLE, 1234.5) | {
        "device": "cuda", "device_name": "NVIDIA_X 100%", "threads": 2, "image_shape": [3, 256, 256], "ratio_to": "m13",
        "nfe": 1000, "evaluations": 3.0, "batch_size": 128, "parameters": 123_456_789, "training_images": 3_000_000,
        "energy_note": HOSTILE, "images_per_s_by_batch": dict.fromkeys(("1", "8", "32", "128"), 1234.5)}
    records = [record | {"dataset": dataset, "category": category, "method": name}
               for dataset, category in DATASETS[:2] for name in METHODS]
    return tables.timing_latex([*tables.timing_blocks(records, METHODS, NAMES, MISSING),
                                *tables.cost_blocks(records, METHODS, NAMES)])


def study(folder) -> str:
    tree = Tree(["printed/all"], draws=20)
    tree.study("readings", "list", ["image_auroc", "pixel_aupro"], title=HOSTILE)
    tree.study("t", "curve", ["image_auroc", "pixel_aupro"], "timestep t", True)
    tree.study("redraw", "redraw", ["image_auroc"], title="Other noise")
    for place, name in enumerate([*LABELS, "x" * 20]):
        tree.add("readings", name, LITERAL if place == 0 else f"r{place}", 1.0, nfe=place, made=method(),
                 chosen={"t": 50, "map": "residual", "evidence": "magnitude"} if place == 3 else None)
    for place, name in enumerate(["noised, Sobel", "residual, magnitude", "on features"]):
        for x in (1, 5, 25, 50, 100, 200, 400, 800):
            tree.add("t", name, f"t{place}-{x}", 1.0, x=x)
        tree.add("t", name, f"t{place}-chosen", 1.0, chosen={"t": 50})
    for k in range(3):
        tree.add("redraw", HOSTILE, f"redraw{k}", 1.0)
    root = tree.write(folder)
    fail(root, "printed/all", "r5")
    found = read(root)
    return ablation_tables.latex(found, ablation.table(found))


def the_claims() -> str:
    row = {"value": 13, "unit": "percent"}
    made = [claims.Assessment(Claim(f"c{place}", "RADAR", "arXiv:2508.04818", ("radar",), f"{HOSTILE} is so. " * 3,
                                    None, "kind", {}, row, "abstract", "paper", HOSTILE),
                              verdict, "radar", -1.234, -12.3, 12.3, "hundredths", HOSTILE, "Other images. " * 10)
            for place, verdict in enumerate(claims.VERDICTS)]
    return claims.latex(claims.blocks(made))


def statistics() -> str:
    ours = runs()
    ranks, comparisons = significance.across(ours)
    return significance.latex([significance.ranks_block(ranks, comparisons, METHODS, NAMES),
                               *significance.statistics_blocks(significance.table(ours, {}), METHODS, NAMES)])


def many() -> str:
    """More tables than LaTeX lets wait for a page, and every character that it is given."""
    row = " ".join([*sorted(latex.ACCENTED), *latex.LATEX]), [], [Cell(".9")]
    return latex.to_latex("Many", (), [Block(f"d{place}", [], [], [("", "AUROC", "AUROC")], [row])
                                       for place in range(80)], "make many")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, str]:
    """What each .tex file of the suite holds; a new one is a new line here."""
    return {"main": main(), "timing": timing(), "ablation": study(tmp_path_factory.mktemp("ablation")),
            "claims": the_claims(), "statistics": statistics(), "many": many()}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs and rotating (TeX Live)")
def test_all_tables_compile_in_one_document_and_none_leaves_the_page(written, tmp_path):
    for name, text in written.items():
        (tmp_path / f"{name}.tex").write_text(text, encoding="utf-8")
    inputs = "\n".join(rf"\input{{{name}}}\clearpage" for name in written)
    (tmp_path / "all.tex").write_text(DOCUMENT % inputs)
    done = subprocess.run(["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"], cwd=tmp_path,
                          capture_output=True)
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert not re.findall(r"Overfull \\hbox.*|.*Float too large.*|.*multiply.defined.*", log)


def test_no_table_has_the_label_of_another(written):
    labels = Counter(re.findall(r"\\label\{(.*?)\}", "".join(written.values())))
    assert labels and set(labels.values()) == {1}


def test_tables_of_a_default_run_are_not_split():
    names = dict(zip(METHODS[:12], LABELS[:12], strict=True))
    ours = [run for run in runs() if run.record["method"] in names]
    for block in (*tables.main_blocks(ours, METHODS, names), *significance.statistics_blocks(
            significance.table(ours, {}), METHODS, names)):
        assert latex.to_latex("t", tables.MAIN_LEGEND, [block], "make t").count(r"\begin{tabular}") == 1


def test_a_table_that_is_too_large_is_continued_and_keeps_everything():
    columns = [("group", f"metric {place}", f"metric {place}") for place in range(30)]
    block = Block("d/c", ["Caption."], [], columns, notes=["first", "second"])
    block.rows = [(f"row {row}", [1] if row == 3 else [2] if row == 89 else [],
                   [Cell(f"{row}.{column}") for column in range(30)]) for row in range(90)]
    text = latex.to_latex("Title", ("Legend.",), [block], "make it")
    parts = text.split(r"\begin{sidewaystable*}")[1:]
    assert len(parts) > 3 and all("Continued." in part for part in parts[1:]) and "Legend." in parts[0]
    assert sorted(re.findall(r"\d+\.\d+(?= [&\\])", text)) == sorted(f"{r}.{c}" for r in range(90) for c in range(30))
    # a note stands where its row is, numbered anew
    assert [part.count("textsuperscript{1} first") for part in parts] == [part.count("row 3\\") for part in parts]
    assert [part.count("textsuperscript{1} second") for part in parts] == [part.count("row 89\\") for part in parts]
    assert sum(part.count("second") for part in parts) == 2


@pytest.mark.parametrize("text, escaped", [
    ("a_b & 5 %", r"a\_b \& 5 \%"), ("*", "{*}"), ("[x]", "{[}x{]}"), ("--", "-{}-"), ("---", "-{}-{}-"),
    ("1 – 2", r"1 \textendash{} 2"), ("naïve Łódź", "naïve Łódź"), ("u\u0308", "ü"), ("ﬁ²", "fi2"),
    ("测\a", "U+6D4BU+0007"), ("a\n\tb", "a b")])
def test_latex_reads_as_the_text_does(text, escaped):
    assert latex.escape_latex(text) == escaped
