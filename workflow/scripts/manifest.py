"""Check a dataset and write its manifest, one row per image with its sha256, and what the check found beside it."""

import argparse
import json
import sys
from pathlib import Path

from radar.data import check
from radar.data.manifest import DatasetError
from radar.files import atomic, write_json

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path, help="results/<dataset>/<category>/manifest.csv; check.json is put beside it")
    parser.add_argument("--source", required=True, help="module of radar.data that lists the images")
    parser.add_argument("--category", required=True)
    parser.add_argument("--settings", type=json.loads, required=True, help="of the source, as JSON")
    parser.add_argument("--workers", type=int, default=1, help="processes that read images")
    arguments = parser.parse_args()
    name = "/".join(arguments.out.parts[-3:-1])
    try:
        listing = check.listing_of(arguments.folder, arguments.source, arguments.category, arguments.settings)
        table = check.build(listing, arguments.workers, name)
    except DatasetError as error:
        first, *others = error.problems
        print(first, *others[:39], sep="\n", file=sys.stderr)
        # the last line is what a failed run ends with
        more = f"; and {len(others)} more: {Path(sys.executable)} -m radar check {name} shows all" if others else ""
        sys.exit(f"{name}: {first}{more}")
    write_json(arguments.out.with_name("check.json"), {
        "images": len(table), "warnings": [problem.line for problem in listing.problems],
        "summary": check.summary(listing.problems)})
    with atomic(arguments.out) as temporary:
        table.to_csv(temporary, index=False)
    print(check.told(listing, name, of_a_kind=3))
