"""Write one figure of a run as PNG and PDF; maps and strip are of one dataset."""

import argparse
import sys
from pathlib import Path

from radar.report import figures, pictures
from radar.report.drawing import save
from radar.report.load import InputError, read_csv, read_run

FIGURES = {  # what draws it, and the tables it takes
    "accuracy_latency": (figures.accuracy_latency, "main", "timing"), "timing": (figures.timing, "timing"),
    "roc": (figures.roc, "main", "results"), "recall": (figures.recall, "defects"),
    "seeds": (figures.seeds, "results", "statistics"), "ranks": (figures.ranks, "ranks"), "loss": (figures.loss,),
    "maps": (pictures.maps,), "strip": (pictures.strip, "answers"),
}
FROM_FILES = {"roc", "loss", "maps", "strip"}  # beside tables, so that files may be missing


def main(args: argparse.Namespace) -> None:
    run, out = read_run(args.run), args.run / "partial" if args.partial else args.run
    draw, *names = FIGURES[args.figure]
    given = [read_csv(out / "tables" / f"{name}.csv") for name in names]
    stem = args.figure
    if args.figure in ("maps", "strip"):
        dataset = args.dataset or pictures.with_masks(run)
        if dataset not in run.datasets:
            raise InputError(f"--dataset {dataset}: the run has {', '.join(run.datasets)}")
        given.insert(0, tuple(dataset.split("/", 1)))
        stem += f"_{dataset.replace('/', '_')}" * (args.figure == "maps")
    if args.figure in FROM_FILES:
        given.append(args.partial)
    save(draw(run, *given), out / "figures" / stem, f"snakemake --cores all {args.run / 'figures' / stem}.pdf")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="results/runs/<run>")
    parser.add_argument("--figure", required=True, choices=list(FIGURES))
    parser.add_argument("--dataset", metavar="DATASET/CATEGORY", help="of maps, strip; default: the first with masks")
    parser.add_argument("--partial", action="store_true", help="after a failure: what is there, of DIR/partial")
    try:
        main(parser.parse_args())
    except (InputError, OSError) as error:
        sys.exit(f"figures: {error}")
