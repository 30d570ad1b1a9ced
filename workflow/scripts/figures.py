"""Write one figure of a run as PNG and PDF; `maps` writes one pair of files per dataset."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from radar.report import figures, significance, tables
from radar.report.arguments import add_data, add_partial, reporting_parser
from radar.report.tables import InputError


def arguments() -> argparse.Namespace:
    parser = reporting_parser(__doc__, "results/figures")
    parser.add_argument("--figure", required=True, choices=list(FIGURES))
    parser.add_argument("--networks", nargs="*", default=[], metavar="NAME", help="what was trained (for loss)")
    add_data(parser)
    add_partial(parser)
    return parser.parse_args()


class Source:
    """The files that the arguments name; remembers what was missing."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.missing: list[tables.Missing] = []
        self.unlabelled: list[str] = []
        self.look = figures.looks(args.methods, dict(args.labels))
        self.data = dict(args.data)

    def files(self, name: str, *, methods: list[str] | None = None, seeds: list[int] | None = None,
              datasets: list[str] | None = None) -> list[Path]:
        args = self.args
        found, missing = tables.run_files(args.results, datasets or args.datasets, methods or args.methods,
                                          seeds or args.seeds, name, args.partial)
        self.missing += missing
        return found

    def manifest(self, pair: str) -> pd.DataFrame:
        return tables.read_csv(self.args.results / pair / "manifest.csv",
                               ("path", "split", "label", "defect", "severity", "mask"), dtype={"mask": object})

    def notes(self) -> list[str]:
        """One line that names the methods of which not everything is there."""
        names = dict.fromkeys(f"{self.look[method].label if method in self.look else method} on {dataset}/{category}"
                              for dataset, category, method, _ in self.missing)
        return [f"Missing, at least in part: {', '.join(names)}."] * bool(names) + [
            f"Without labels: {', '.join(self.unlabelled)}."] * bool(self.unlabelled)

    def records(self) -> list[dict]:
        return [tables.read_json(path, ("dataset", "category", "method", "seed", "metrics", "by_defect",
                                        "false_positive_rate")) for path in self.files("metrics.json")]


def accuracy_latency(source: Source):
    evaluated, drawn = source.files("metrics.json"), source.files("bootstrap.npz")
    timed = source.files("timing.json", seeds=source.args.seeds[:1])
    table = tables.main_table(evaluated, drawn)
    yield "accuracy_latency", figures.accuracy_latency(table, tables.timing_table(timed), source.look, source.notes())


def timing(source: Source):
    timed = source.files("timing.json", seeds=source.args.seeds[:1])
    yield "timing", figures.timing(tables.timing_table(timed), source.look, source.notes())


def roc(source: Source):
    curves = []
    for pair in source.args.datasets:
        scored = source.files("scores.csv", datasets=[pair])
        labels = source.manifest(pair).query("split == 'test'").set_index("path")["label"] if scored else None
        if scored and (labels == -1).all():
            source.unlabelled.append(pair)
            continue
        for path in scored:
            scores = tables.read_csv(path, ("path", "split", "score")).query("split == 'test'")
            known = labels.reindex(scores["path"])
            if known.isna().any() or known.nunique() < 2:
                raise InputError(f"{path} does not hold the normal and anomalous test images of the manifest of "
                                 f"{pair}: delete it and run snakemake --cores all")
            fpr, tpr = figures.roc_points(known.to_numpy(int), scores["score"].to_numpy(float))
            dataset, category, method, seed = path.parts[-5:-1]
            curves.append(pd.DataFrame({"dataset": dataset, "category": category, "method": method,
                                        "seed": int(seed.removeprefix("seed")), "fpr": fpr, "tpr": tpr}))
    columns = ["dataset", "category", "method", "seed", "fpr", "tpr"]
    operating = pd.DataFrame([(*(record[name] for name in columns[:4]),
                               record["metrics"].get("false_positive_rate_measured"), record["metrics"].get("recall"),
                               record["false_positive_rate"]) for record in source.records()],
                             columns=[*columns, "promised"])
    table = pd.concat(curves) if curves else pd.DataFrame(columns=columns)
    yield "roc", figures.roc(table, operating, source.look, source.notes())


def recall(source: Source):
    rows = [{**{name: record[name] for name in ("dataset", "category", "method", "seed")}, **entry}
            for record in source.records() for entry in record["by_defect"]]
    columns = ["dataset", "category", "method", "seed", "defect", "severity", "n", "detected"]
    yield "recall", figures.recall(pd.DataFrame(rows, columns=columns), source.look, source.notes())


def maps(source: Source):
    for pair in source.args.datasets:
        source.missing.clear()  # each of these figures has its own notes
        stem, title = f"maps_{pair.replace('/', '_')}", f"{pair}, seed {source.args.seeds[0]}"
        if source.args.partial and not (source.args.results / pair / "manifest.csv").is_file():
            yield stem, figures.empty([f"{pair} has no manifest.csv."])
            continue
        rows = figures.chosen_images(source.manifest(pair))
        found = {}
        for path in source.files("maps.npz", datasets=[pair], seeds=source.args.seeds[:1]):
            try:
                found[path.parts[-3]] = figures.maps_of(path, rows["path"].tolist())
            except KeyError as error:
                raise InputError(f"{path} has no map of {error}: delete it and run snakemake --cores all") from None
            except ValueError as error:
                raise InputError(f"{error}: delete it and run snakemake --cores all") from None
        folder = Path(source.data.get(pair, f"data/{pair}"))
        yield stem, figures.picture_grid(title, rows, folder, found, source.look, source.notes())


def loss(source: Source):
    curves = []
    for path in source.files("loss.csv", methods=source.args.networks):
        dataset, category, network, seed = path.parts[-5:-1]
        curve = tables.read_csv(path, ("images", "loss"))
        name = source.look[network].label if network in source.look else network.removeprefix("noise_predictor-")
        curves.append(curve.assign(dataset=dataset, category=category, network=name,
                                   seed=int(seed.removeprefix("seed"))))
    columns = ["dataset", "category", "network", "seed", "images", "loss"]
    table = pd.concat(curves) if curves else pd.DataFrame(columns=columns)
    yield "loss", figures.training_loss(table, source.notes())


def seeds(source: Source):
    runs = tables.read_runs(source.files("metrics.json"), [])
    yield "seeds", figures.seeds(significance.seed_values(runs), source.look, source.notes())


def ranks(source: Source):
    table, comparisons = significance.across(tables.read_runs(source.files("metrics.json"), []))
    sentences = {metric: significance.sentence(table, comparisons, metric, label)
                 for metric, label in significance.METRICS if metric in set(table["metric"])}
    yield "ranks", figures.ranks(table, sentences, source.look, source.notes())


FIGURES = {"accuracy_latency": accuracy_latency, "timing": timing, "roc": roc, "recall": recall, "maps": maps,
           "loss": loss, "seeds": seeds, "ranks": ranks}


def main(args: argparse.Namespace) -> None:
    source = Source(args)
    for stem, figure in FIGURES[args.figure](source):
        figures.save(figure, args.out / stem)
        for dataset, category, method, reason in source.missing:
            print(f"missing: {dataset}/{category} {method}, {reason}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main(arguments())
    except (InputError, OSError) as error:
        sys.exit(f"figures: {error}")
