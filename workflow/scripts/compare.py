"""Write every number of a run as CSV, from what evaluation and timing left; for DVC its means and its configuration."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from radar.files import atomic, write_json
from radar.report import compare
from radar.report.load import InputError, load, read_run


def main(folder: Path, partial: bool) -> None:
    run = read_run(folder)
    results = load(run, partial)
    out = folder / "partial" if partial else folder
    means = compare.category_means(results)
    main_table, (ranks, comparisons) = compare.main_table(results), compare.ranks(results)
    tables = {
        "results": results.frame(), "main": main_table, "differences": compare.differences(results),
        "timing": compare.timing_table(results.timing), "defects": results.defects,
        "records": pd.concat([means.records, results.records]), "missing": results.missing,
        "statistics": compare.by_seed(results), "ranks": ranks, "comparisons": comparisons,
        "answers": compare.answers(results),
    }
    for name, table in tables.items():
        with atomic(out / "tables" / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    write_json(out / "metrics.json", compare.nested_means(main_table))
    write_json(out / "params.json", run.config)
    for one in results.missing.itertuples():
        print(f"missing: {one.dataset}/{one.category} {one.method}, {one.reason}", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="results/runs/<run>")
    parser.add_argument("--partial", action="store_true", help="after a failure: what is there, into DIR/partial")
    arguments = parser.parse_args()
    try:
        main(arguments.run, arguments.partial)
    except (InputError, OSError) as error:
        sys.exit(f"compare: {error}")
