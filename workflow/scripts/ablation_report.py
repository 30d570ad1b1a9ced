"""Write the tables (CSV, Markdown, LaTeX) and figures (PNG, PDF) of the ablation study, and print what they say."""

import argparse
import sys
import textwrap
from pathlib import Path

from radar.files import atomic
from radar.report import ablation, ablation_figures, ablation_tables, ablation_text, figures
from radar.report.tables import TERMINAL, InputError


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", type=Path, default=Path("results/ablation/variants.json"), metavar="FILE",
                        help="what was to be run, and how it is shown")
    parser.add_argument("--results", type=Path, default=Path("results/ablation"), metavar="FOLDER")
    parser.add_argument("--tables", type=Path, default=Path("results/tables"), metavar="FOLDER")
    parser.add_argument("--figures", type=Path, default=Path("results/figures"), metavar="FOLDER")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    study = ablation.read_ablation(ablation.read_variants(args.variants), args.results)
    table, compared = ablation.table(study), ablation.comparisons(study)
    text = ablation_text.paragraph(study, table, compared)
    texts = {
        "ablation.csv": table.to_csv(index=False),
        "ablation_differences.csv": compared.to_csv(index=False),
        "ablation.md": ablation_tables.markdown(study, table, text),
        "ablation.tex": ablation_tables.latex(study, table),
    }
    for name, content in texts.items():
        with atomic(args.tables / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    for name in study.studies:
        figures.save(ablation_figures.figure(study, name, table), args.figures / f"ablation_{name}")
    for (dataset, category, variant), reason in study.missing.items():
        print(f"missing: {dataset}/{category} {variant}, {reason}", file=sys.stderr)
    for line in text.splitlines():
        print(textwrap.fill(line, TERMINAL, subsequent_indent="  " * line.startswith("- "), break_on_hyphens=False))


if __name__ == "__main__":
    try:
        main(arguments())
    except (InputError, OSError) as error:
        sys.exit(f"ablation: {error}")
