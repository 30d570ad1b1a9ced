"""Write what seeds, chance and the number of datasets leave of the results: statistics, seeds, ranks, comparisons."""

import argparse
import sys
from pathlib import Path

from radar.config import CONFIG, ConfigurationError, read_yaml
from radar.files import atomic
from radar.report import ablation, significance, tables
from radar.report.arguments import reporting_parser


def arguments() -> argparse.Namespace:
    parser = reporting_parser(__doc__, "results/tables")
    parser.add_argument("--variants", type=Path, metavar="FILE",
                        help="results/ablation/variants.json, where the study was made")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    labels = dict(args.labels)
    files, _ = tables.run_files(args.results, args.datasets, args.methods, args.seeds, "metrics.json")
    runs = tables.read_runs(files, [path.with_name("bootstrap.npz") for path in files])
    study = None
    if args.variants:
        study = ablation.read_ablation(ablation.read_variants(args.variants), args.variants.parent)
    methods = {name: read_yaml(CONFIG / "methods" / f"{name}.yaml") for name in args.methods}
    table = significance.table(runs, methods, study)
    ranks, comparisons = significance.across(runs)
    blocks = significance.statistics_blocks(table, args.methods, labels)
    if len(ranks):
        blocks.insert(0, significance.ranks_block(ranks, comparisons, args.methods, labels))
    texts = {"seeds.csv": significance.seed_values(runs).to_csv(index=False),
             "statistics.csv": table.to_csv(index=False), "ranks.csv": ranks.to_csv(index=False),
             "comparisons.csv": comparisons.to_csv(index=False), "statistics.md": significance.markdown(blocks),
             "statistics.tex": significance.latex(blocks)}
    for name, text in texts.items():
        with atomic(args.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        main(arguments())
    except (tables.InputError, ConfigurationError, OSError) as error:
        sys.exit(f"significance: {error}")
