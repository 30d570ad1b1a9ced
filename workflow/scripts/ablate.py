"""Fit, score and evaluate the variants of the ablation study that stand on one noise predictor, on a dataset and seed.

One process does them all and evaluates the network once for what several variants read. A variant that is finished and
still the same is not computed again; one that fails leaves failure.json and costs the others nothing. Labels are read
by the evaluation of a variant only, after it has been scored.
"""

import argparse
import json
import sys
import traceback
import warnings
from contextlib import nullcontext
from pathlib import Path

import detect

from radar.code import digest
from radar.devices import prepare_torch
from radar.diffusion.training import exclusive, fingerprint
from radar.evaluation.evaluate import evaluate_folder
from radar.files import sha256, write_json


def main(arguments: argparse.Namespace) -> None:
    prepare_torch(arguments.threads)
    plan = json.loads(arguments.plan.read_text())
    dataset = "/".join(arguments.out.parts[-2:])
    chosen = {one["variant"]: one["method"] for one in plan["variants"]
              if one["group"] == arguments.group and dataset in one["datasets"]}
    images = detect.images_of(arguments)
    predictor, path = detect.predictor_of(arguments, next(iter(chosen.values())), arguments.manifest.parent)
    failed = []
    with predictor.remembering() if predictor else nullcontext():
        for count, name in enumerate(sorted(chosen, key=lambda name: reads(chosen[name])), 1):
            out = arguments.out / name / f"seed{arguments.seed}"
            mark = fingerprint(chosen[name], arguments.seed, {
                "predictor": predictor and predictor.sha256, "manifest": sha256(arguments.manifest),
                "longest_side": arguments.longest_side, "protocol": arguments.protocol, "training": arguments.training,
                "code": digest("workflow/scripts/ablate.py", chosen[name]["class"])})
            if finished(out, mark):
                (out / "maps.npz").unlink(missing_ok=True)
                continue
            print(f"ablation {dataset} seed {arguments.seed} {arguments.group}: {name}, {count} of {len(chosen)}",
                  file=sys.stderr, flush=True)
            (out / "failure.json").unlink(missing_ok=True)
            try:
                with exclusive(out, str(out)):
                    detect.fit_and_score(chosen[name], name, images, predictor, path, arguments, out)
                    evaluate_folder(out, name, arguments.manifest, arguments.data, arguments.protocol,
                                    fingerprint=mark)
                    (out / "maps.npz").unlink()
            except Exception as error:
                if not isinstance(error, detect.EXPECTED):
                    traceback.print_exc()
                print(f"{name} failed: {error}", file=sys.stderr)
                detect.record_failure(out, name, error, arguments.stamp.with_suffix(".log"))
                failed.append(name)
    write_json(arguments.stamp, {"variants": sorted(chosen), "failed": failed})


def reads(method: dict) -> tuple:
    """Variants with the same key ask the network the same; they follow each other, so that it is remembered."""
    settings = method["settings"]
    first = (method["class"], "choose" in settings, settings.get("t", 0), str(settings.get("input", "")))
    return *first, json.dumps(settings)


def finished(out: Path, mark: str) -> bool:
    record = out / "metrics.json"  # written last
    return record.exists() and json.loads(record.read_text()).get("fingerprint") == mark


if __name__ == "__main__":
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    warnings.simplefilter("once")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="what is to be run, and how it is shown")
    parser.add_argument("--group", required=True, help="which variants of the plan")
    parser.add_argument("--protocol", type=json.loads, required=True, help="the protocol of the config, as JSON")
    parser.add_argument("--stamp", type=Path, required=True, help="written when all are done")
    detect.common_arguments(parser)
    try:
        main(parser.parse_args())
    except detect.EXPECTED as error:
        sys.exit(str(error))
