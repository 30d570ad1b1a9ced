"""Write the report of a run, one HTML page that needs no network: results/report.html."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from radar.code import module_file
from radar.config import CONFIG, ConfigurationError, read_yaml
from radar.files import atomic, sha256
from radar.images import photos
from radar.images.map_archive import read_maps, read_scale
from radar.report import ablation, claims, figures, page, page_answer, page_pictures, significance, tables
from radar.report.arguments import add_data, add_partial, reporting_parser
from radar.report.page_pictures import BUDGET, Mistakes, Picture

FIGURES = {
    "roc": ("ROC curves per dataset, one line per method, with a marker at the calibrated threshold; areas and rates "
            "are in the tables of each dataset.", "ROC curves."),
    "recall": ("Table of images found per kind of defect, severity and method, shaded by recall.",
               "Images found at the calibrated threshold, by defect and severity."),
    "timing": ("Bars: the share of tiling, networks and the rest in each method's time; and measured against predicted "
               "latency; the numbers are under Timing.", "Where the time goes, and what predicts it."),
    "seeds": ("Points per dataset, method and seed: image AUROC and AUPRO with the t-interval of their mean; the "
              "numbers are under Statistics.", "Every seed."),
    "ranks": ("Mean ranks of the methods over datasets; the numbers are under Statistics.", "Ranks over datasets."),
    "loss": ("Training loss against images seen, one line per trained network.", "Training loss."),
}
REBUILD = "snakemake --cores all results/{}"


def arguments() -> argparse.Namespace:
    parser = reporting_parser(__doc__, "results/report.html")
    add_data(parser)
    parser.add_argument("--lock", type=Path, default=Path("dvc.lock"), metavar="FILE", help="DVC's hashes of the data")
    parser.add_argument("--variants", type=Path, metavar="FILE",
                        help="results/ablation/variants.json, where the study was made")
    add_partial(parser)  # without claims, statistics and figures, which take all results
    return parser.parse_args()


def mistakes(run: Path, manifest: pd.DataFrame, data: Path, label: str, most: int, side: int) -> Mistakes:
    """Pictures of a trained method's worst false alarms and misses."""
    description = tables.read_json(run / "detector.json", ("threshold", "map_threshold", "channels", "longest_side"))
    scores = tables.read_csv(run / "scores.csv", ("path", "split", "score"))
    kinds = page_pictures.worst(scores, manifest, most)
    wanted = {row.path: row for rows in kinds.values() for row in rows.itertuples()}
    scale, shown, threshold = read_scale(run / "maps.npz"), {}, description["threshold"]
    for path, anomaly_map in read_maps(run / "maps.npz"):
        if path not in wanted:
            continue
        row, mask = wanted[path], None
        if row.mask:
            with Image.open(data / row.mask) as image:
                small = image.convert("L").resize(anomaly_map.shape[::-1], Image.Resampling.NEAREST)
            mask = np.asarray(small) >= row.mask_from
        image = photos.read_image(data / path, description["channels"], description["longest_side"])
        found = anomaly_map.astype(np.float32) * scale
        uri, size = page_pictures.thumbnail(image, found, description["map_threshold"], mask, side)
        kind = figures.kind_of(row)
        one = Picture(uri, size, f"{kind} image {path}, and the same under {label}'s map",
                      f"{kind}, score {row.score:.3g}, threshold {threshold:.3g}, {Path(path).name}")
        shown[path] = page_pictures.decision(one, row.label, row.score, threshold)
    return Mistakes(label, *([shown[path] for path in kinds[kind]["path"]]
                             for kind in ("normal", "anomalous", "unlabelled")))


def read_manifest(folder: Path) -> pd.DataFrame:
    return tables.read_csv(folder / "manifest.csv", ("path", "split", "label", "defect", "mask", "width", "height"),
                           keep_default_na=False, na_values={"severity": [""]})


def dataset(name: str, args: argparse.Namespace, blocks: list[tables.Block], labels: dict[str, str],
            data: Path) -> page.DatasetPart:
    folder, part = args.results / name, page.DatasetPart(name, blocks)
    stem, n = f"maps_{name.replace('/', '_')}", len(args.datasets)
    if not args.partial:
        part.maps = page_pictures.figure(
            args.results / "figures" / f"{stem}.png",
            f"Grid of test images of {name}: image, truth, and each method's anomaly map.",
            "Chosen by a rule that knows no method.", REBUILD.format(f"figures/{stem}.pdf"), BUDGET["maps"] // n)
    runs, _ = tables.run_files(args.results, [name], args.methods, args.seeds[:1], "maps.npz", args.partial)
    size = page_pictures.plan(n * len(args.methods))
    part.mistakes = [mistakes(path.parent, read_manifest(folder), data, labels.get(path.parts[-3], path.parts[-3]),
                              *size) for path in runs]
    return part


def sheet(name: str, args: argparse.Namespace, lock: dict) -> page.Card:
    folder = args.results / name
    description = read_yaml(CONFIG / "datasets" / f"{name.partition('/')[0]}.yaml")
    digests = [("sha256 of the manifest", sha256(folder / "manifest.csv")), *page.data_hash(lock, name)]
    return page.data_sheet(name, read_manifest(folder), description, digests,
                           tables.read_json(folder / "check.json", ("warnings",))["warnings"])


def study(path: Path, args: argparse.Namespace) -> tuple[list[tuple[str, list[str]]], list[Picture]]:
    """What the ablation study says, per topic its findings; and its figures."""
    text = (args.results / "tables" / "ablation.md").read_text().split("\n\n")
    # between the title and the command that rebuilds it
    end = next(i for i, part in enumerate(text) if part.startswith("Rebuild with"))
    topics = []
    for part in text[1:end]:
        first, *findings = part.replace("\\*", "*").replace("\\|", "|").replace("&lt;", "<").splitlines()
        topics.append((first, [line.removeprefix("- ") for line in findings]))
    titles = {name: one["title"] for name, one in ablation.read_variants(path)["studies"].items()}
    files = {name: file for name in titles
             if (file := args.results / "figures" / f"ablation_{name}.png").is_file()}
    return topics, [page_pictures.figure(file, f"{titles[name]}: curves or intervals per dataset; the numbers are in "
                                         "results/tables/ablation.md.", f"{titles[name]}.",
                                         REBUILD.format(f"figures/{file.stem}.pdf"), BUDGET["ablation"] // len(files))
                    for name, file in files.items()]


def read_verdicts(path: Path) -> pd.DataFrame:
    verdicts = tables.read_csv(path, claims.TABLE, keep_default_na=False, dtype={"published": str},
                               na_values={name: [""] for name in ("measured", "low", "high")})
    return verdicts.assign(measured_text=[page.measured_text(row) for row in verdicts.itertuples()],
                           published_text=[page.published_text(row) for row in verdicts.itertuples()])


def main(args: argparse.Namespace) -> None:
    labels, folders = dict(args.labels), dict(args.data)
    where = (args.results, args.datasets, args.methods)
    evaluated, missing = tables.run_files(*where, args.seeds, "metrics.json", args.partial)
    timed, untimed = tables.run_files(*where, args.seeds[:1], "timing.json", args.partial)
    runs = tables.read_runs(evaluated, [path.with_name("bootstrap.npz") for path in evaluated])
    timings, means = tables.read_timings(timed), tables.mean_over_categories(runs)
    methods = {name: read_yaml(CONFIG / "methods" / f"{name}.yaml") for name in args.methods}
    looks = figures.looks(args.methods, labels)
    accuracy = {block.title: [block] for block in tables.main_blocks(runs, args.methods, labels, missing)}
    answer, answer_block = page_answer.answer(runs, page.latencies_of(timings), methods, labels)
    rates, rate_dots = page.calibration(runs, args.methods, labels)
    lines, ablation_figures = study(args.variants, args) if args.variants else ([], [])
    verdicts, blocks, seed_dots, overviews = None, [], [], {}
    if not args.partial:
        folder = args.results / "tables"
        verdicts = read_verdicts(folder / "claims.csv")
        statistics = tables.read_csv(folder / "statistics.csv", significance.STATISTICS)
        ranks = tables.read_csv(folder / "ranks.csv", significance.RANKS)
        comparisons = tables.read_csv(folder / "comparisons.csv", significance.COMPARISONS)
        seeds = tables.read_csv(folder / "seeds.csv", significance.SEEDS)
        blocks = significance.statistics_blocks(statistics, args.methods, labels)
        if len(ranks):
            blocks.insert(0, significance.ranks_block(ranks, comparisons, args.methods, labels))
        seed_dots = page.seed_dots(seeds, statistics, args.methods, labels)
        overviews = {name: page_pictures.figure(file, *words, REBUILD.format(f"figures/{name}.pdf"),
                                                BUDGET["overviews"] // len(FIGURES))
                     for name, words in FIGURES.items()
                     if (file := args.results / "figures" / f"{name}.png").is_file()}
    commands = {name: REBUILD.format(file) for name, file in (
        ("main", "tables/main.md"), ("timing", "tables/timing.md"), ("claims", "tables/claims.md"),
        ("statistics", "tables/statistics.md"), ("plane", "figures/accuracy_latency.pdf"),
        ("page", "report.html"))}
    known = [name for name in args.datasets if (args.results / name / "check.json").is_file() or not args.partial]
    lock = read_yaml(args.lock) if args.lock.is_file() else {}
    n_seeds = len(args.seeds)
    text = page.render(page.Page(
        title="RADAR-bench: results",
        subtitle=f"{len(args.methods)} methods, {', '.join(args.datasets)}, {n_seeds} seed{'s' * (n_seeds != 1)}. "
                 "Commands on this page take the --config of the run, if it had one.",
        verdicts=verdicts, answer=answer, answer_block=answer_block,
        overview=page.overview(runs, timings, args.methods, labels, missing),
        plane=page.plane_panels(runs, timings, looks), looks=looks,
        datasets=[dataset(name, args, accuracy.get(name, []), labels, Path(folders.get(name, f"data/{name}")))
                  for name in known],
        mean_tables=[*tables.main_blocks(means, args.methods, labels),
                     *tables.category_blocks(runs, means, args.methods, labels)],
        figures=overviews, calibration=rates, calibration_dots=rate_dots,
        timing=[*tables.timing_blocks(timings, args.methods, labels, untimed),
                *tables.cost_blocks(timings, args.methods, labels)],
        statistics=blocks, statistics_dots=seed_dots, ablation_text=lines, ablation=ablation_figures,
        sheets=[sheet(name, args, lock) for name in known],
        methods=[page.method_card(name, labels.get(name, name), method, module_file(method["class"]), timings)
                 for name, method in methods.items()],
        environment=page.environment(runs, timings), commands=commands | {"ablation": "snakemake --cores all ablation"},
        missing=list(dict.fromkeys(f"{one}/{category}, {labels.get(method, method)}: {reason}"
                                   for one, category, method, reason in [*missing, *untimed]))))
    with atomic(args.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"{args.out}: {len(text.encode()) / 1e6:.1f} MB")


if __name__ == "__main__":
    try:
        main(arguments())
    except (tables.InputError, ConfigurationError, OSError, ValueError) as error:
        sys.exit(f"page: {error}")
