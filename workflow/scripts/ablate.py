"""Fit, score and evaluate the variants of the ablation study that stand on one noise predictor, on a dataset and seed.

One process does them all and evaluates the network once for what several variants read. A variant that is finished and
still the same is not computed again; one that fails leaves failure.json and costs the others nothing. Labels are read
by the evaluation of a variant only, after it has been scored; its maps are not kept.
"""

import argparse
import json
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import detect
from job import images_of, read_job

from radar.code import digest
from radar.devices import prepare_torch
from radar.diffusion.training import exclusive, fingerprint
from radar.evaluation.evaluate import evaluate_folder
from radar.files import sha256, write_json


def main(job: argparse.Namespace) -> None:
    prepare_torch(job.threads)
    dataset = "/".join(job.out.parts[-2:])
    chosen = {one["variant"]: one["method"] for one in json.loads(job.plan.read_text())["variants"]
              if (one["group"], one["dataset"]) == (job.group, dataset)}
    images, predictor = images_of(job), detect.predictor_of(job, next(iter(chosen.values())))
    failed = []
    with predictor.memory.on() if predictor else nullcontext():
        for count, name in enumerate(sorted(chosen, key=lambda name: reads(chosen[name])), 1):
            out = job.out / name / f"seed{job.seed}"
            mark = fingerprint(chosen[name], job.seed, {
                "predictor": predictor and predictor.sha256, "manifest": sha256(job.manifest),
                "longest_side": job.longest_side, "protocol": job.protocol, "training": job.training,
                "code": digest("workflow/scripts/ablate.py", chosen[name]["class"])})
            if finished(out, mark):
                (out / "maps.npz").unlink(missing_ok=True)
                continue
            print(f"ablation {dataset} seed {job.seed} {job.group}: {name}, {count} of {len(chosen)}",
                  file=sys.stderr, flush=True)
            (out / "failure.json").unlink(missing_ok=True)
            try:
                with exclusive(out, str(out)):
                    own = vars(job) | {"method": chosen[name], "name": name, "out": out}
                    detect.fit_and_score(argparse.Namespace(**own), images, predictor)
                    evaluate_folder(out, name, job.manifest, Path(job.data), job.protocol, fingerprint=mark)
                    (out / "maps.npz").unlink()
            except Exception as error:
                reason = detect.record_failure(out, name, error, job.stamp.with_suffix(".log"))
                print(f"{name} failed: {reason}", file=sys.stderr)
                failed.append(name)
    write_json(job.stamp, {"variants": sorted(chosen), "failed": failed})


def reads(method: dict) -> tuple:
    """Variants with the same key ask the network the same; they follow each other, so that it is remembered."""
    settings = method["settings"]
    first = (method["class"], "choose" in settings, settings.get("t", 0), str(settings.get("input", "")))
    return *first, json.dumps(settings)


def finished(out: Path, mark: str) -> bool:
    record = out / "metrics.json"  # written last
    return record.exists() and json.loads(record.read_text()).get("fingerprint") == mark


if __name__ == "__main__":
    warnings.simplefilter("once")
    try:
        main(read_job(__doc__, "plan", "stamp"))  # what is to be run, and how it is shown; written when all are done
    except detect.EXPECTED as error:
        sys.exit(str(error))
