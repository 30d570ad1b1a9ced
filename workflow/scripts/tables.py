"""Write the tables of a run: main, timing (CSV, Markdown, LaTeX), differences, summary.txt, metrics.json for DVC."""

import argparse
import sys
from pathlib import Path

from radar.files import atomic, write_json
from radar.report import tables
from radar.report.arguments import add_partial, named, reporting_parser

MOST = 6  # datasets that the terminal shows one by one


def arguments() -> argparse.Namespace:
    parser = reporting_parser(__doc__, "results/tables")
    parser.add_argument("--citations", nargs="*", default=[], type=named, metavar="NAME=TEXT",
                        help="what a method is cited as")
    add_partial(parser)
    return parser.parse_args()


def data_warnings(results: Path, pair: str) -> list[str]:
    """What the check of the data warned of, as a sentence."""
    path = results / pair / "check.json"
    if not path.is_file():
        return []
    check = tables.read_json(path, ("summary", "warnings"))
    return [f"Data: {check['summary']}, see {path}."] if check["warnings"] else []


def main(args: argparse.Namespace) -> None:
    labels, citations = dict(args.labels), dict(args.citations)
    where = (args.results, args.datasets, args.methods)
    evaluated, missing = tables.run_files(*where, args.seeds, "metrics.json", args.partial)
    drawn, _ = tables.run_files(*where, args.seeds, "bootstrap.npz", args.partial)
    timed, untimed = tables.run_files(*where, args.seeds[:1], "timing.json", args.partial)

    runs = tables.read_runs(evaluated, drawn)
    means = tables.mean_over_categories(runs)
    table = tables.summarise([*means, *runs])
    overall = tables.main_blocks(means, args.methods, labels)
    accuracy = tables.main_blocks(runs, args.methods, labels, missing)
    for block in accuracy:
        block.caption += data_warnings(args.results, block.title)
    records = tables.read_timings(timed)
    timing = tables.timing_blocks(records, args.methods, labels, untimed)
    costs = tables.cost_blocks(records, args.methods, labels)
    by_category = tables.category_blocks(runs, means, args.methods, labels)
    failed = "**After a run that failed: what is there, some of it perhaps of an earlier run.**\n\n" * args.partial
    texts = {
        "main.csv": table.to_csv(index=False),
        "differences.csv": tables.differences([*means, *runs]).to_csv(index=False),
        "main.md": failed + tables.main_markdown([*overall, *by_category, *accuracy])
        + tables.references(args.methods, labels, citations),
        "main.tex": tables.main_latex([*overall, *by_category, *accuracy]),
        "timing.csv": tables.timing_table(timed).to_csv(index=False),
        "timing.md": tables.timing_markdown([*timing, *costs]),
        "timing.tex": tables.timing_latex([*timing, *costs]),
        "summary.txt": tables.terminal_summary([*overall, *(accuracy if len(accuracy) <= MOST else [])], timing),
    }
    for name, text in texts.items():
        with atomic(args.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_json(args.out / "metrics.json", tables.metrics_json(table))
    for dataset, category, method, reason in [*missing, *untimed]:
        print(f"missing: {dataset}/{category} {method}, {reason}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main(arguments())
    except (tables.InputError, OSError) as error:
        sys.exit(f"tables: {error}")
