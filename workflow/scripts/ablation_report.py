"""Write the tables (CSV, Markdown, LaTeX) and figures (PNG, PDF) of the ablation study into a run's folder."""

import sys

from radar.report import ablation, ablation_figures, ablation_tables
from radar.report.drawing import save
from radar.report.load import Run
from radar.report.step import step, write
from radar.report.table import latex, markdown
from radar.report.tables import LEGENDS


def main(run: Run) -> None:
    study, out, command = ablation.read_ablation(run.folder), run.out, run.command("ablation")
    rows = ablation.table(study)
    differences = ablation.comparisons(study, rows)
    counts = ablation.counts(study, rows, differences)
    tables = ablation_tables.tables(study, rows)
    texts = {
        "ablation.csv": rows.to_csv(index=False),
        "ablation_differences.csv": differences.to_csv(index=False),
        "ablation_counts.csv": counts.to_csv(index=False),
        "ablation.md": markdown("Ablation", LEGENDS["ablation"], [ablation_tables.found(counts), *tables], command),
        "ablation.tex": latex("Ablation", LEGENDS["ablation"], tables, command),
    }
    write(out / "tables", texts)
    for name in study.studies:
        save(ablation_figures.figure(study, name, rows), out / "figures" / f"ablation_{name}", command)
    for (dataset, category, variant), reason in study.missing.items():
        print(f"missing: {dataset}/{category} {variant}, {reason}", file=sys.stderr)
    print(f"ablation: {out / 'tables' / 'ablation.md'}")


if __name__ == "__main__":
    step(__doc__, main)
