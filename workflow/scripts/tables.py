"""Write the tables of a run in Markdown and LaTeX, and the terminal's summary, from the CSV files of compare.py."""

import argparse
import sys
from pathlib import Path

from radar.files import atomic
from radar.report import table, tables
from radar.report.load import InputError, read_run

FAILED = "**After a run that failed: what is there, some of it perhaps of an earlier run.**\n\n"


def main(folder: Path, partial: bool) -> None:
    out = (folder / "partial" if partial else folder) / "tables"
    numbers = tables.Numbers(read_run(folder), out)
    main_tables = tables.main_tables(numbers)
    means = [one for one in main_tables if tables.is_mean(tuple(one.title.split("/", 1)))]
    files = {
        "main": ("Accuracy", [*means, *tables.category_tables(numbers), *main_tables[len(means):]]),
        "compact": ("Results", [tables.compact_table(numbers)]),
        "timing": ("Timing", tables.timing_tables(numbers)),
        "statistics": ("Statistics", tables.statistics_tables(numbers)),
    }
    texts = {"summary.txt": tables.summary(numbers)}
    for name, (heading, made) in files.items():
        command = f"snakemake --cores all {folder / 'tables' / name}.md"
        shown = heading, tables.LEGENDS[name], made, command
        texts[f"{name}.md"] = FAILED * partial + table.markdown(*shown)
        texts[f"{name}.tex"] = table.latex(*shown)
    texts["main.md"] += tables.references(numbers.run)
    for name, text in texts.items():
        with atomic(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="results/runs/<run>")
    parser.add_argument("--partial", action="store_true", help="after a failure: what is in DIR/partial")
    arguments = parser.parse_args()
    try:
        main(arguments.run, arguments.partial)
    except (InputError, OSError) as error:
        sys.exit(f"tables: {error}")
