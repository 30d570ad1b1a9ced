"""Write the report of a run, one HTML page that needs no network: report.html in the run's folder."""

from radar.report.load import Run
from radar.report.page import page
from radar.report.step import step, write


def main(run: Run) -> None:
    text = page(run)
    write(run.out, {"report.html": text})
    print(f"{run.out / 'report.html'}: {len(text.encode()) / 1e6:.1f} MB")


if __name__ == "__main__":
    step(__doc__, main)
