"""For photographs without labels: what a trained method says of each, as decisions.csv and overlay pictures."""

import argparse
import json
import shutil
import sys
from pathlib import Path

import pandas as pd

from radar.images.map_archive import read_maps
from radar.images.overlay import write_decisions, write_overlay
from radar.images.photos import read_image

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="results/<dataset>/<category>/<method>/seed<k>")
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    run = arguments.run
    try:
        description = json.loads((run / "detector.json").read_text())
        scores = pd.read_csv(run / "scores.csv").query("split == 'test'")
        temporary = run / ".overlays"
        shutil.rmtree(temporary, ignore_errors=True)
        for name, anomaly_map in read_maps(run / "maps.npz"):
            image = read_image(arguments.data / name, description["channels"], description["longest_side"])
            write_overlay(temporary, Path(name), image, anomaly_map, description["map_threshold"])
        shutil.rmtree(run / "overlays", ignore_errors=True)
        temporary.rename(run / "overlays")
        scored = zip(scores["path"], scores["score"], strict=True)
        write_decisions(run / "decisions.csv", scored, description["threshold"])
    except (OSError, ValueError) as error:
        sys.exit(f"{run}: {error}")
    found = int((scores["score"] > description["threshold"]).sum())
    print(f"{run}: {len(scores)} photographs, {found} called anomalous: decisions.csv, overlays/")
