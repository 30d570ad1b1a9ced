"""Write the figures of a run as PNG and PDF."""

from matplotlib.figure import Figure

from radar.report import figures, pictures
from radar.report.drawing import save, styled
from radar.report.load import Run, read_csv
from radar.report.step import step

FIGURES = {  # what draws it, and the tables it takes
    "accuracy_latency": (figures.accuracy_latency, "main", "timing"), "timing": (figures.timing, "timing"),
    "roc": (figures.roc, "main", "results"), "recall": (figures.recall, "defects"),
    "seeds": (figures.seeds, "results", "statistics"), "ranks": (figures.ranks, "ranks"), "loss": (figures.loss,),
    "strip": (pictures.strip, "answers"),
}


@styled
def main(run: Run) -> None:
    def write(name: str, figure: Figure) -> None:
        save(figure, run.out / "figures" / name, run.command(run.folder / "figures" / f"{name}.pdf"))

    for name, (draw, *tables) in FIGURES.items():
        if name != "loss" or run.networks:
            write(name, draw(run, *(read_csv(run.out / "tables" / f"{table}.csv") for table in tables)))
    for pair in run.pairs:
        write("_".join(["maps", *pair]), pictures.maps(run, pair))


if __name__ == "__main__":
    step(__doc__, main)
