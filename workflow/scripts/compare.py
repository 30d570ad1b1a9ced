"""Write every number of a run as CSV, from what evaluation and timing left; for DVC its means and its configuration."""

import sys

from radar.files import write_json
from radar.report import compare
from radar.report.load import Run, load
from radar.report.step import step, write


def main(run: Run) -> None:
    results = load(run)
    tables = compare.tables(results)
    write(run.out / "tables", {f"{name}.csv": table.to_csv(index=False) for name, table in tables.items()})
    write_json(run.out / "metrics.json", compare.nested_means(tables["main"]))
    write_json(run.out / "params.json", run.config)
    for one in results.missing.itertuples():
        print(f"missing: {one.dataset}/{one.category} {one.method}, {one.reason}", file=sys.stderr)


if __name__ == "__main__":
    step(__doc__, main)
