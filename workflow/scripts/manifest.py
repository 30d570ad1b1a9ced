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
    parser.add_argument("--source", default="folder", help="module of radar.data that lists the images")
    parser.add_argument("--category", default="")
    parser.add_argument("--settings", type=json.loads, default={}, help="of the source, as JSON")
    parser.add_argument("--workers", type=int, default=1, help="processes that read images")
    arguments = parser.parse_args()
    name = "/".join(arguments.out.parts[-3:-1])
    try:
        listing = check.listing_of(arguments.folder, arguments.source, arguments.category, arguments.settings)
        table = check.build(listing, arguments.workers, name)
    except DatasetError as error:
        shown = error.problems[:40]
        print(*shown, sep="\n", file=sys.stderr)
        # the last line is what a failed run ends with
        rest = len(error.problems) - 1
        more = f"; and {rest} more: {Path(sys.executable)} -m radar check {name} shows all" if rest else ""
        sys.exit(f"{name}: {shown[0]}{more}")
    warnings = listing.of("warning")
    write_json(arguments.out.with_name("check.json"), {
        "images": len(table), "warnings": [problem.line for problem in warnings], "summary": check.summary(warnings)})
    with atomic(arguments.out) as temporary:
        table.to_csv(temporary, index=False)
    for line in check.lines(warnings, of_a_kind=3):
        print(line)
    print(f"{name}: " + ", ".join(f"{n} {split}" for split, n in table["split"].value_counts().items())
          + f"; {check.summary(warnings)}")
