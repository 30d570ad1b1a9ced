"""Write the manifest of a prepared dataset, or of a user's folder: one row per image, with its sha256."""

import argparse
import sys
from pathlib import Path

from radar.data import manifest
from radar.files import atomic

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    try:
        table = manifest.build(arguments.folder)
    except manifest.DatasetError as error:
        sys.exit(str(error))
    with atomic(arguments.out) as temporary:
        table.to_csv(temporary, index=False)
    print(f"{arguments.folder}: " + ", ".join(f"{n} {split}" for split, n in table["split"].value_counts().items()))
