"""python -m radar: check data, score photographs, export maps, plan a run, measure what things cost."""

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path


def main() -> int:
    """Parse the command line and run the command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m radar", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    check = commands.add_parser("check", help="read every image of a dataset and tell all that is wrong with it")
    check.add_argument("dataset", help="dataset/category, a dataset, or any folder of photographs")
    check.add_argument("--data-root", default="data/raw", help="where the unpacked originals lie (default data/raw)")
    check.add_argument("--workers", type=int, help="processes that read images (default: one per core)")

    score = commands.add_parser("score", help="score a folder of photographs with a trained detector")
    score.add_argument("--detector", type=Path, required=True, help="results/<dataset>/<category>/<method>/seed<k>")
    score.add_argument("--images", type=Path, required=True, help="folder of PNG, JPEG, BMP or TIFF images")
    score.add_argument("--out", type=Path, required=True, help="folder for scores.csv and overlays/")
    score.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))

    bench = commands.add_parser("bench", help="whole predictions against the bare network passes over the same tiles")
    bench.add_argument("--detector", type=Path, required=True, help="a detector of NFE 1, e.g. .../radar/seed0")
    bench.add_argument("--size", type=int, default=128, help="side of the test image in px (default 128)")
    bench.add_argument("--batch", type=int, default=1, help="images at once (default 1)")
    bench.add_argument("--repeats", type=int, default=30)
    bench.add_argument("--threads", type=int, default=2)
    bench.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))

    export = commands.add_parser("export", help="anomaly maps as TIFF, as MVTec AD's own evaluation reads them")
    export.add_argument("--run", type=Path, required=True, help="results/<dataset>/<category>/<method>/seed<k>")
    export.add_argument("--out", type=Path, required=True, help="folder for <category>/test/<defect>/<name>.tiff")

    plan = commands.add_parser("plan", help="jobs, arithmetic, device-hours and disk of a run")
    plan.add_argument("--configfile", type=Path, help="over config/config.yaml, e.g. config/paper.yaml")
    plan.add_argument("--tflops", type=float, help="sustained TFLOP/s of the device (default: measured on this one)")
    plan.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="to measure on")

    metrics = commands.add_parser("bench-metrics", help="time and memory of evaluating many anomaly maps")
    metrics.add_argument("--maps", type=int, default=10_000, help="how many (default 10000), and a tenth of them")
    metrics.add_argument("--side", type=int, default=256, help="of a map in px (default 256)")
    metrics.add_argument("--draws", type=int, default=1000, help="bootstrap resamples (default 1000)")

    images = commands.add_parser("bench-images", help="time and memory of checking, training on and scoring many files")
    images.add_argument("--images", type=int, default=20_000, help="how many (default 20000), and a tenth of them")

    arguments = parser.parse_args()

    light = {"check": _check, "export": _export, "bench-metrics": _bench_metrics,
             "bench-images": _bench_images}  # these import no torch
    if arguments.command in light:
        return light[arguments.command](arguments)
    if arguments.command == "score":
        # Read when torch is loaded. OpenMP threads spin while they wait, which on an idle machine saves a sixth of the
        # time, and on a busy one costs forty times as much; the benchmark has the machine to itself, a user may not.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    # torch takes seconds to import: not for --help or a typing mistake
    from radar.devices import choose_device
    from radar.method.detector import MethodError

    try:
        arguments.device = choose_device(arguments.device)
        return {"score": _score, "bench": _bench, "plan": _plan}[arguments.command](arguments)
    except (MethodError, OSError, RuntimeError) as error:
        print(f"radar: {error}", file=sys.stderr)
        return 2


def _export(arguments: argparse.Namespace) -> int:
    from radar.commands.export import export_maps

    try:
        print(f"{export_maps(arguments.run, arguments.out)} maps: {arguments.out}")
    except (OSError, ValueError) as error:
        print(f"radar: {error}", file=sys.stderr)
        return 2
    return 0


def _bench_metrics(arguments: argparse.Namespace) -> int:
    from radar.evaluation.bench import report

    print(json.dumps(report(arguments.maps, arguments.side, arguments.draws), indent=1))
    return 0


def _bench_images(arguments: argparse.Namespace) -> int:
    from radar.evaluation.bench_images import report

    print(json.dumps(report(arguments.images), indent=1))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    """0 if the data can be used, 1 if they cannot, 2 if there are none."""
    from radar import config as configuration
    from radar.data import check, manifest

    try:
        if Path(arguments.dataset).is_dir():
            settings = configuration.origin("folder/x", "").settings
            origins = {arguments.dataset: configuration.Origin(arguments.dataset, "folder", "", settings, False)}
        else:
            known = {path.stem for path in (configuration.CONFIG / "datasets").glob("*.yaml")}
            if "/" in arguments.dataset and arguments.dataset.partition("/")[0] not in known:
                raise manifest.DatasetError([f"no folder {arguments.dataset}: correct the path, or name a dataset"])
            names = configuration.expand_datasets([arguments.dataset])
            origins = {name: configuration.origin(name, arguments.data_root) for name in names}
        usable = True
        for name, origin in origins.items():
            origin.check()
            listing = manifest.listing(Path(origin.folder), origin.source, origin.category, origin.settings)
            report = check.check(Path(origin.folder), listing, arguments.workers or check.processes(), name)
            counts = Counter((row["split"], {0: "normal", 1: "defective", -1: "without label"}[row["label"]])
                             for row in report.rows)
            print(*check.lines(report.problems), sep="\n", end="\n" * bool(report.problems))
            images = ", ".join(f"{count} {split} {label}" for (split, label), count in sorted(counts.items()))
            print(f"{name}: {images or 'no image'}; {check.summary(report.problems)}")
            usable &= not report.of("error")
    except (configuration.ConfigurationError, manifest.DatasetError) as error:
        print(f"radar: {error}", file=sys.stderr)
        return 2
    return 0 if usable else 1


def _score(arguments: argparse.Namespace) -> int:
    from radar.commands.score import score_folder
    from radar.devices import prepare_torch

    prepare_torch(os.cpu_count() or 1)
    unreadable = score_folder(arguments.detector, arguments.images, arguments.out, arguments.device)
    return 1 if unreadable else 0


def _plan(arguments: argparse.Namespace) -> int:
    from radar.commands.plan import plan, read_config
    from radar.config import ConfigurationError

    try:
        print(plan(read_config(arguments.configfile), arguments.configfile, arguments.tflops, arguments.device))
    except ConfigurationError as error:
        print(f"radar: {error}", file=sys.stderr)
        return 2
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    import torch

    from radar.devices import prepare_torch
    from radar.evaluation.timing import overhead
    from radar.method.detector import load

    prepare_torch(arguments.threads)
    detector, description = load(arguments.detector, arguments.device)
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.batch, description["channels"], arguments.size, arguments.size)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    with torch.inference_mode():
        result = overhead(detector, images, arguments.repeats)
    print(json.dumps({"detector": description["name"], "device": arguments.device, "threads": arguments.threads}
                     | result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
