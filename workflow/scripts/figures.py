"""Write the figures of a run as PNG and PDF."""

from pathlib import Path

from matplotlib.figure import Figure

from radar.report import figures, pictures
from radar.report.drawing import save, styled
from radar.report.load import read_csv, read_run
from radar.report.step import out_of, step

FIGURES = {  # what draws it, and the tables it takes
    "accuracy_latency": (figures.accuracy_latency, "main", "timing"), "timing": (figures.timing, "timing"),
    "roc": (figures.roc, "main", "results"), "recall": (figures.recall, "defects"),
    "seeds": (figures.seeds, "results", "statistics"), "ranks": (figures.ranks, "ranks"), "loss": (figures.loss,),
    "strip": (pictures.strip, "answers"),
}


@styled
def main(folder: Path, partial: bool) -> None:
    run, out = read_run(folder), out_of(folder, partial)

    def write(name: str, figure: Figure) -> None:
        save(figure, out / "figures" / name, f"snakemake --cores all {folder / 'figures' / name}.pdf")

    for name, (draw, *tables) in FIGURES.items():
        if name != "loss" or run.networks:
            write(name, draw(run, *(read_csv(out / "tables" / f"{table}.csv") for table in tables)))
    for pair in run.pairs:
        write("_".join(["maps", *pair]), pictures.maps(run, pair))


if __name__ == "__main__":
    step(__doc__, main)
