"""Every table and figure names the command that rebuilds just it, and DVC reads what the rules write."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from radar.report import ablation, ablation_tables, claims, figures, significance, tables

ROOT = Path(__file__).resolve().parent.parent
NO_STUDY = ablation.Ablation((), (), "", {}, {}, {}, {}, {})
# What stands in each table beside its rows.
TABLES = {"main.md": lambda: tables.main_markdown([]), "main.tex": lambda: tables.main_latex([]),
          "timing.md": lambda: tables.timing_markdown([]), "timing.tex": lambda: tables.timing_latex([]),
          "claims.md": lambda: claims.markdown([]), "claims.tex": lambda: claims.latex([]),
          "statistics.md": lambda: significance.markdown([]), "statistics.tex": lambda: significance.latex([]),
          "ablation.md": lambda: ablation_tables.markdown(NO_STUDY, ablation.table(NO_STUDY), ""),
          "ablation.tex": lambda: ablation_tables.latex(NO_STUDY, ablation.table(NO_STUDY))}


@pytest.fixture(scope="module")
def outputs() -> list[str]:
    """What the rules of the default run and of the ablation study write: tables, figures and the report."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--summary", "all", "ablation"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr[-3000:]
    paths = [line.split("\t")[0] for line in done.stdout.splitlines()]
    return [path for path in paths if re.match(r"results/(tables/|figures/|report\.html)", path)]


def test_the_command_in_a_table_or_figure_names_what_the_rules_write(outputs):
    assert len(outputs) > 40 and "results/report.html" in outputs
    for path in map(Path, outputs):
        if path.suffix in (".md", ".tex"):
            found = re.findall(r"snakemake --cores all (\S+?)[`\n]", TABLES[path.name]())
            assert found == [f"results/tables/{path.stem}.md"] and found[0] in outputs
        elif path.suffix in (".png", ".pdf"):
            assert figures.REBUILD.format(path.stem).removeprefix("snakemake --cores all ") in outputs


def test_dvc_compares_all_settings_metrics_and_figures_of_the_default_run_and_the_study(outputs):
    listed = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    methods = yaml.safe_load((ROOT / "config/config.yaml").read_text())["methods"]
    assert listed["params"] == ["config/config.yaml", "config/ablation.yaml",
                                *(f"config/methods/{name}.yaml" for name in methods)]
    assert listed["metrics"] == ["results/tables/metrics.json"] and listed["metrics"][0] in outputs
    assert sorted(listed["plots"]) == sorted(path for path in outputs if path.endswith(".png"))
