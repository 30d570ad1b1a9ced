"""Evaluate one method's scores and maps against the labels and masks of the test images."""

import argparse
import json
import sys
import warnings
from pathlib import Path

from radar.data.manifest import DatasetError
from radar.evaluation.evaluate import evaluate_folder

if __name__ == "__main__":
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--protocol", type=json.loads, required=True, help="the protocol of the config, as JSON")
    parser.add_argument("--name", required=True, help="what the method is called")
    parser.add_argument("--out", type=Path, required=True, help="results/<dataset>/<category>/<method>/seed<k>")
    arguments = parser.parse_args()
    try:
        evaluate_folder(arguments.out, arguments.name, arguments.manifest, arguments.data, arguments.protocol)
    except (ValueError, OSError, DatasetError) as error:
        sys.exit(f"{arguments.out}: {error}")
