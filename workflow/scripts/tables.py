"""Write the tables of a run in Markdown and LaTeX, and the terminal's summary, from the CSV files of compare.py."""

from radar.report import table, tables
from radar.report.load import Run, is_mean
from radar.report.step import step, write

FAILED = "**After a run that failed: what is there, some of it perhaps of an earlier run.**\n\n"


def main(run: Run) -> None:
    numbers = tables.Numbers(run, run.out / "tables")
    main_tables = tables.main_tables(numbers)
    means = sum(map(is_mean, numbers.pairs))
    files = {
        "main": ("Accuracy", [*main_tables[:means], *tables.category_tables(numbers), *main_tables[means:]]),
        "compact": ("Results", [tables.compact_table(numbers)]),
        "timing": ("Timing", tables.timing_tables(numbers)),
        "statistics": ("Statistics", tables.statistics_tables(numbers)),
    }
    texts = {"summary.txt": tables.summary(numbers)}
    for name, (heading, made) in files.items():
        command = run.command(run.folder / "tables" / f"{name}.md")
        shown = heading, tables.LEGENDS[name], made, command
        texts[f"{name}.md"] = FAILED * run.partial + table.markdown(*shown)
        texts[f"{name}.tex"] = table.latex(*shown)
    texts["main.md"] += tables.references(run)
    write(run.out / "tables", texts)


if __name__ == "__main__":
    step(__doc__, main)
