"""Write the tables (CSV, Markdown, LaTeX) and figures (PNG, PDF) of the ablation study into a run's folder."""

import argparse
import sys
from pathlib import Path

from radar.files import atomic
from radar.report import ablation, ablation_figures, ablation_tables
from radar.report.drawing import save
from radar.report.load import InputError
from radar.report.table import latex, markdown

COMMAND = "snakemake --cores all ablation"


def main(run: Path) -> None:
    study = ablation.read_ablation(run)
    rows = ablation.table(study)
    differences = ablation.comparisons(study, rows)
    counts = ablation.counts(study, rows, differences)
    tables = ablation_tables.tables(study, rows)
    texts = {
        "ablation.csv": rows.to_csv(index=False),
        "ablation_differences.csv": differences.to_csv(index=False),
        "ablation_counts.csv": counts.to_csv(index=False),
        "ablation.md": markdown("Ablation", ablation_tables.LEGEND, [ablation_tables.found(counts), *tables], COMMAND),
        "ablation.tex": latex("Ablation", ablation_tables.LEGEND, tables, COMMAND),
    }
    for name, text in texts.items():
        with atomic(run / "tables" / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    for name in study.studies:
        save(ablation_figures.figure(study, name, rows), run / "figures" / f"ablation_{name}", COMMAND)
    for (dataset, category, variant), reason in ablation.missing(study).items():
        print(f"missing: {dataset}/{category} {variant}, {reason}", file=sys.stderr)
    print(f"ablation: {run / 'tables' / 'ablation.md'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, metavar="FOLDER", 
                        help="results/runs/<run>; the variants lie in results/ablation")
    try:
        main(parser.parse_args().run)
    except (InputError, OSError) as error:
        sys.exit(f"ablation: {error}")
