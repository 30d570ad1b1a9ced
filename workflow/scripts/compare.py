"""Write every number of a run as CSV, from what evaluation and timing left; for DVC its means and its configuration."""

import sys
from pathlib import Path

import pandas as pd

from radar.files import write_json
from radar.report import compare
from radar.report.load import load, read_run
from radar.report.step import out_of, step, write


def main(folder: Path, partial: bool) -> None:
    run = read_run(folder)
    results = load(run, partial)
    out = out_of(folder, partial)
    means = compare.category_means(results)
    main_table, (ranks, comparisons) = compare.main_table(results), compare.ranks(results)
    tables = {
        "results": results.frame(), "main": main_table, "differences": compare.differences(results),
        "timing": compare.timing_table(results.timing), "defects": results.defects,
        "records": pd.concat([means.records, results.records]), "missing": results.missing,
        "statistics": compare.by_seed(results), "ranks": ranks, "comparisons": comparisons,
        "answers": compare.answers(results),
    }
    write(out / "tables", {f"{name}.csv": table.to_csv(index=False) for name, table in tables.items()})
    write_json(out / "metrics.json", compare.nested_means(main_table))
    write_json(out / "params.json", run.config)
    for one in results.missing.itertuples():
        print(f"missing: {one.dataset}/{one.category} {one.method}, {one.reason}", file=sys.stderr)


if __name__ == "__main__":
    step(__doc__, main)
