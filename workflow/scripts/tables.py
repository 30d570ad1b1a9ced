"""Write the tables of a run in Markdown and LaTeX, and the terminal's summary, from the CSV files of compare.py."""

from pathlib import Path

from radar.report import table, tables
from radar.report.load import read_run
from radar.report.step import out_of, step, write

FAILED = "**After a run that failed: what is there, some of it perhaps of an earlier run.**\n\n"


def main(folder: Path, partial: bool) -> None:
    out = out_of(folder, partial) / "tables"
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
    write(out, texts)


if __name__ == "__main__":
    step(__doc__, main)
