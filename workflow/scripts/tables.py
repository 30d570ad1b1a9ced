"""Write the tables of a run: main, timing (CSV, Markdown, LaTeX), differences, summary.txt, metrics.json for DVC."""

import argparse
import sys
from pathlib import Path

from radar.files import atomic, write_json
from radar.reporting import tables

MOST = 6  # datasets that the terminal shows one by one


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER")
    parser.add_argument("--datasets", nargs="+", required=True, metavar="DATASET/CATEGORY")
    parser.add_argument("--methods", nargs="+", required=True, metavar="NAME", help="rows, in this order")
    parser.add_argument("--seeds", nargs="+", type=int, required=True, help="the first one was timed")
    parser.add_argument("--labels", nargs="*", default=[], metavar="NAME=LABEL", help="what to call a method")
    parser.add_argument("--citations", nargs="*", default=[], metavar="NAME=TEXT", help="what a method is cited as")
    parser.add_argument("--out", type=Path, default=Path("results/tables"), metavar="FOLDER")
    parser.add_argument("--partial", action="store_true", help="show what is there and name what is missing")
    args = parser.parse_args()
    pairs = [*args.labels, *args.citations]
    for given, mark in [(name, "/") for name in args.datasets] + [(pair, "=") for pair in pairs]:
        if mark not in given:
            parser.error(f"{given}: write " + ("dataset/category" if mark == "/" else "name=text"))
    return args


def data_warnings(results: Path, pair: str) -> list[str]:
    """What the check of the data warned of, as a sentence."""
    path = results / pair / "check.json"
    if not path.is_file():
        return []
    check = tables.read_json(path, ("summary", "warnings"))
    return [f"Data: {check['summary']}, see {path}."] if check["warnings"] else []


def main(args: argparse.Namespace) -> None:
    labels, citations = (dict(pair.split("=", 1) for pair in pairs) for pairs in (args.labels, args.citations))
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
    texts = {
        "main.csv": table.to_csv(index=False),
        "differences.csv": tables.differences([*means, *runs]).to_csv(index=False),
        "main.md": tables.main_markdown([*overall, *by_category, *accuracy])
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
