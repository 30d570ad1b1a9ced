"""Two runs beside each other: `python -m radar compare RUN RUN`."""

from pathlib import Path

from radar.files import atomic
from radar.report.runs import compare_runs, find_run, show


def main(first: str, second: str, out: Path | None) -> int:
    runs = find_run(first), find_run(second)
    table = compare_runs(*runs)
    show(*runs, table)
    if out:
        with atomic(out) as temporary:
            table.to_csv(temporary, index=False)
    return 0
