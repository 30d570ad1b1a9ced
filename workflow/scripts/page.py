"""Write the report of a run, one HTML page that needs no network: results/report.html."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from radar.configuration import CONFIG, ConfigurationError, class_file, read_yaml
from radar.data import photos
from radar.files import atomic, sha256
from radar.mapfile import read_maps, read_scale
from radar.reporting import ablation, claims, page, significance, tables

FIGURES = {
    "accuracy_latency": ("Scatter plot per dataset: image AUROC with its interval against latency per image, on a "
                         "logarithmic axis; the numbers are in the tables above and under Timing.",
                         "Accuracy against latency."),
    "roc": ("ROC curves per dataset, one line per method, with a marker at the calibrated threshold; areas and rates "
            "are in the tables above.", "ROC curves."),
    "recall": ("Table of images found per kind of defect, severity and method, shaded by recall.",
               "Recall by defect and severity."),
    "timing": ("Bars: the share of tiling, networks and the rest in each method's time; and measured against predicted "
               "latency; the numbers are under Timing.", "Where the time goes, and what predicts it."),
    "seeds": ("Points per dataset, method and seed: image AUROC and AUPRO with the t-interval of their mean; the "
              "numbers are under Statistics.", "Every seed."),
    "ranks": ("Mean ranks of the methods over datasets; the numbers are under Statistics.", "Ranks over datasets."),
    "loss": ("Training loss against images seen, one line per trained network.", "Training loss."),
}
REBUILD = "snakemake --cores all results/{}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER")
    parser.add_argument("--datasets", nargs="+", required=True, metavar="DATASET/CATEGORY")
    parser.add_argument("--methods", nargs="+", required=True, metavar="NAME", help="in this order")
    parser.add_argument("--seeds", nargs="+", type=int, required=True, help="timing and pictures are of the first")
    parser.add_argument("--labels", nargs="*", default=[], metavar="NAME=LABEL", help="what to call a method")
    parser.add_argument("--data", nargs="*", default=[], metavar="DATASET/CATEGORY=FOLDER",
                        help="what image paths are relative to, where it is not data/DATASET/CATEGORY")
    parser.add_argument("--variants", type=Path, help="results/ablation/variants.json, where the study was made")
    parser.add_argument("--out", type=Path, default=Path("results/report.html"), metavar="FILE")
    return parser.parse_args()


def mistakes(run: Path, manifest: pd.DataFrame, data: Path, label: str) -> page.Mistakes:
    """Pictures of a trained method's worst false alarms and misses."""
    description = json.loads((run / "detector.json").read_text())
    normal, anomalous = page.worst(tables.read_csv(run / "scores.csv", ("path", "split", "score")), manifest)
    wanted = {row.path: row for rows in (normal, anomalous) for row in rows.itertuples()}
    scale, shown = read_scale(run / "maps.npz"), {}
    for path, anomaly_map in read_maps(run / "maps.npz"):
        if path not in wanted:
            continue
        row, mask = wanted[path], None
        if row.mask:
            with Image.open(data / row.mask) as image:
                small = image.convert("L").resize(anomaly_map.shape[::-1], Image.Resampling.NEAREST)
            mask = np.asarray(small) >= row.mask_from
        image = photos.read_image(data / path, description["channels"], description["longest_side"])
        uri = page.thumbnail(image, anomaly_map.astype(np.float32) * scale, description["map_threshold"], mask)
        what = row.defect or "normal"
        said = "called anomalous" if row.score > description["threshold"] else "called normal"
        shown[path] = page.Picture(uri, f"{what} image {path} and {label}'s map of it; {said}",
                                   f"{path}: {said} ({row.score:.3g}, threshold {description['threshold']:.3g})")
    return page.Mistakes(label, *([shown[path] for path in rows["path"]] for rows in (normal, anomalous)))


def dataset(name: str, args: argparse.Namespace, blocks: list[tables.Block], labels: dict[str, str],
            data: Path) -> page.DatasetPart:
    folder = args.results / name
    manifest = tables.read_csv(folder / "manifest.csv", ("path", "split", "label", "defect", "mask", "width", "height"),
                               keep_default_na=False, na_values={"severity": [""]})
    description = read_yaml(CONFIG / "datasets" / f"{name.partition('/')[0]}.yaml")
    part = page.DatasetPart(name, page.data_sheet(manifest, description, sha256(folder / "manifest.csv")), blocks)
    part.warnings = tables.read_json(folder / "check.json", ("warnings",))["warnings"]
    stem = f"maps_{name.replace('/', '_')}"
    part.maps = page.figure(args.results / "figures" / f"{stem}.png",
                            f"Grid of test images of {name}: image, truth, and each method's anomaly map.",
                            "Chosen by a rule that knows no method.", REBUILD.format(f"figures/{stem}.pdf"))
    if (manifest.loc[manifest["split"] == "test", "label"] >= 0).all():
        part.mistakes = [mistakes(folder / method / f"seed{args.seeds[0]}", manifest, data, labels.get(method, method))
                         for method in args.methods]
    return part


def card(name: str, label: str, timings: list[dict]) -> page.MethodCard:
    method = read_yaml(CONFIG / "methods" / f"{name}.yaml")
    ours = [record for record in timings if record["method"] == name]
    facts = [("class", method["class"]), ("settings", page.settings_text(method.get("settings") or {}))]
    if "noise_predictor" in method:
        facts.append(("noise predictor", method["noise_predictor"]))
    if ours:
        facts += [("network evaluations per image", f"{ours[0]['nfe']:g}"),
                  ("parameters", f"{ours[0]['parameters']:,}" if ours[0]["parameters"] else "–")]
    return page.MethodCard(name, label, page.module_text(class_file(method["class"], name)),
                           method.get("citation", ""), facts)


def study(path: Path, args: argparse.Namespace) -> tuple[list[str], list[page.Picture]]:
    """What the ablation study says, and its figures."""
    text = (args.results / "tables" / "ablation.md").read_text().split("\n\n")
    # between the title and the command that rebuilds it
    end = next(i for i, part in enumerate(text) if part.startswith("Rebuild with"))
    lines = [line.replace("\\*", "*").replace("\\|", "|").replace("&lt;", "<") for part in text[1:end]
             for line in part.splitlines()]
    titles = {name: one["title"] for name, one in ablation.read_variants(path)["studies"].items()}
    figures = [(name, title, args.results / "figures" / f"ablation_{name}.png") for name, title in titles.items()]
    return lines, [page.figure(file, f"{title}: curves or intervals per dataset; the numbers are in "
                                     "results/tables/ablation.md.", f"{title}.",
                               REBUILD.format(f"figures/ablation_{name}.pdf"))
                   for name, title, file in figures if file.is_file()]


def main(args: argparse.Namespace) -> None:
    labels, data = (dict(pair.split("=", 1) for pair in pairs) for pairs in (args.labels, args.data))
    where = (args.results, args.datasets, args.methods)
    evaluated, _ = tables.run_files(*where, args.seeds, "metrics.json")
    timed, _ = tables.run_files(*where, args.seeds[:1], "timing.json")
    runs = tables.read_runs(evaluated, [path.with_name("bootstrap.npz") for path in evaluated])
    timings = tables.read_timings(timed)
    accuracy = {block.title: [block] for block in tables.main_blocks(runs, args.methods, labels)}
    verdicts = tables.read_csv(args.results / "tables" / "claims.csv", claims.TABLE, keep_default_na=False,
                               na_values={name: [""] for name in ("measured", "low", "high")}, dtype={"published": str})
    verdicts["measured_text"] = [page.measured_text(row) for row in verdicts.itertuples()]
    verdicts["published_text"] = [page.published_text(row) for row in verdicts.itertuples()]
    classes = {name: read_yaml(CONFIG / "methods" / f"{name}.yaml")["class"] for name in args.methods}
    latencies = {(one["dataset"], one["category"], one["method"]): one["latency_ms_median"] for one in timings}
    answer, answer_block = page.answer(runs, latencies, classes, labels)
    statistics = tables.read_csv(args.results / "tables" / "statistics.csv", significance.STATISTICS)
    ranks = tables.read_csv(args.results / "tables" / "ranks.csv", significance.RANKS)
    comparisons = tables.read_csv(args.results / "tables" / "comparisons.csv", significance.COMPARISONS)
    blocks = significance.statistics_blocks(statistics, args.methods, labels)
    if len(ranks):
        blocks.insert(0, significance.ranks_block(ranks, comparisons, args.methods, labels))
    lines, ablation_figures = study(args.variants, args) if args.variants else ([], [])
    provenance = runs[0].record["provenance"]
    commits = sorted({str(run.record["provenance"]["commit"]) for run in runs})
    devices = dict.fromkeys(str(one.get("device_name") or one["device"]) for one in timings)
    environment = [("commit", ", ".join(commits) + " with local changes" * bool(provenance["commit_dirty"])),
                   ("device", "; ".join(devices)),
                   ("Python", provenance["python"]),
                   *((name, version) for name, version in provenance["versions"].items()),
                   ("seeds", ", ".join(map(str, args.seeds)))]
    files = {name: args.results / "figures" / f"{name}.png" for name in FIGURES}
    figures = [page.figure(files[name], alt, caption, REBUILD.format(f"figures/{name}.pdf"))
               for name, (alt, caption) in FIGURES.items() if files[name].is_file()]
    commands = {name: REBUILD.format(f"tables/{file}") for name, file in (
        ("main", "main.md"), ("differences", "differences.csv"), ("timing", "timing.md"), ("claims", "claims.md"),
        ("statistics", "statistics.md"))} | {"page": REBUILD.format("report.html")}
    text = page.render(page.Page(
        title="RADAR-bench: results", verdicts=verdicts, summary=f"{claims.counts(verdicts['verdict'])}.",
        answer=answer, answer_block=answer_block, datasets=[
            dataset(name, args, accuracy.get(name, []), labels, Path(data.get(name, f"data/{name}")))
            for name in args.datasets],
        figures=figures, timing=[*tables.timing_blocks(timings, args.methods, labels),
                                 *tables.cost_blocks(timings, args.methods, labels)],
        statistics=blocks, ablation_text=lines, ablation=ablation_figures,
        methods=[card(name, labels.get(name, name), timings) for name in args.methods], environment=environment,
        commands=commands))
    with atomic(args.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"{args.out}: {len(text.encode()) / 2**20:.1f} MB")


if __name__ == "__main__":
    try:
        main(arguments())
    except (tables.InputError, ConfigurationError, OSError, ValueError) as error:
        sys.exit(f"page: {error}")
