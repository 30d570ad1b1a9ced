"""Evaluate one method's scores and maps against the labels and masks of the test images."""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from radar.data import manifest
from radar.evaluation.evaluate import evaluate
from radar.files import atomic, provenance, write_json

if __name__ == "__main__":
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--maps", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--protocol", type=json.loads, required=True, help="the protocol of the config, as JSON")
    parser.add_argument("--longest-side", type=int, required=True, help="0 = images keep their size")
    parser.add_argument("--name", required=True, help="what the method is called")
    parser.add_argument("--out", type=Path, required=True, help="results/<dataset>/<category>/<method>/seed<k>")
    arguments = parser.parse_args()
    dataset, category, _, run = arguments.out.parts[-4:]
    seed = int(run.removeprefix("seed"))
    try:
        table = manifest.hold_out_calibration(
            manifest.read(arguments.manifest), arguments.protocol["calibration_fraction"], seed)
        record, samples = evaluate(pd.read_csv(arguments.scores), arguments.maps, table, arguments.data,
                                   arguments.protocol, arguments.longest_side or None)
    except (ValueError, OSError, manifest.DatasetError) as error:
        sys.exit(f"{dataset}/{category} {arguments.name} {run}: {error}")
    with atomic(arguments.out / "bootstrap.npz") as temporary:
        np.savez(temporary, **samples)
    write_json(arguments.out / "metrics.json", {
        "dataset": dataset, "category": category, "method": arguments.name, "seed": seed, **record,
        "provenance": provenance(arguments.protocol, scores=arguments.scores, maps=arguments.maps,
                                 manifest=arguments.manifest),
    })
