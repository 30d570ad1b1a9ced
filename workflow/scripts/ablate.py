"""Fit, score and evaluate the variants of the ablation study that stand on one noise predictor, on a dataset and seed.

One process does them all and evaluates the network once for what several variants read. A variant that is finished and
still the same is not computed again; one that fails leaves failure.json and costs the others nothing. Labels are read
by the evaluation of a variant only, after it has been scored.
"""

import argparse
import json
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import detect
import numpy as np
import pandas as pd
from job import images_of, read_job

from radar.code import digest
from radar.data import manifest
from radar.devices import prepare_torch
from radar.diffusion.training import exclusive, fingerprint
from radar.evaluation.evaluate import evaluate
from radar.files import atomic, provenance, sha256, write_json


def main(arguments: argparse.Namespace) -> None:
    prepare_torch(arguments.threads)
    plan = json.loads(arguments.plan.read_text())
    dataset = "/".join(arguments.out.parts[-2:])
    chosen = {one["variant"]: one["method"] for one in plan["variants"]
              if one["group"] == arguments.group and dataset in one["datasets"]}
    images = images_of(arguments)
    predictor = detect.predictor_of(arguments, next(iter(chosen.values())))
    failed = []
    with predictor.remembering() if predictor else nullcontext():
        for count, name in enumerate(sorted(chosen, key=lambda name: reads(chosen[name])), 1):
            out = arguments.out / name / f"seed{arguments.seed}"
            mark = fingerprint(chosen[name], arguments.seed, {
                "predictor": predictor and predictor.sha256, "manifest": sha256(arguments.manifest),
                "longest_side": arguments.longest_side, "protocol": arguments.protocol, "training": arguments.training,
                "code": digest("workflow/scripts/ablate.py", chosen[name]["class"])})
            if finished(out, mark):
                continue
            print(f"ablation {dataset} seed {arguments.seed} {arguments.group}: {name}, {count} of {len(chosen)}",
                  file=sys.stderr, flush=True)
            (out / "failure.json").unlink(missing_ok=True)
            try:
                with exclusive(out, str(out)):
                    job = argparse.Namespace(**vars(arguments) | {"method": chosen[name], "name": name, "out": out})
                    detect.fit_and_score(job, images, predictor)
                    judge(out, arguments, mark)
            except Exception as error:
                reason = detect.record_failure(out, name, error, arguments.stamp.with_suffix(".log"))
                print(f"{name} failed: {reason}", file=sys.stderr)
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


def judge(out: Path, arguments: argparse.Namespace, mark: str) -> None:
    """Evaluate what fit_and_score wrote; the maps are not kept."""
    dataset, category, variant, _ = out.parts[-4:]
    table = manifest.hold_out_calibration(
        manifest.read(arguments.manifest), arguments.calibration_fraction, arguments.seed)
    record, samples = evaluate(pd.read_csv(out / "scores.csv"), out / "maps.npz", table, arguments.data,
                               arguments.protocol, arguments.longest_side)
    (out / "maps.npz").unlink()
    with atomic(out / "bootstrap.npz") as temporary:
        np.savez(temporary, **samples)
    write_json(out / "metrics.json", {
        "dataset": dataset, "category": category, "method": variant, "seed": arguments.seed, **record,
        "fingerprint": mark, "provenance": provenance(arguments.protocol, scores=out / "scores.csv",
                                                      manifest=arguments.manifest)})


if __name__ == "__main__":
    warnings.simplefilter("once")
    try:
        main(read_job(__doc__, "plan", "stamp"))  # what is to be run, and how it is shown; written when all are done
    except detect.EXPECTED as error:
        sys.exit(str(error))
