"""Write the report of a run, one HTML page that needs no network: report.html in the run's folder."""

from pathlib import Path

from radar.report.page import page
from radar.report.step import out_of, step, write


def main(run: Path, partial: bool) -> None:
    out, text = out_of(run, partial), page(run, partial)
    write(out, {"report.html": text})
    print(f"{out / 'report.html'}: {len(text.encode()) / 1e6:.1f} MB")


if __name__ == "__main__":
    step(__doc__, main)
