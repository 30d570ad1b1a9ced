"""Write the report of a run, one HTML page that needs no network: report.html in the run's folder."""

import argparse
import sys
from pathlib import Path

from radar.config import ConfigurationError
from radar.files import atomic
from radar.report.load import InputError
from radar.report.page import page

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="results/runs/<run>")
    parser.add_argument("--partial", action="store_true", help="after a failure: what is there, into DIR/partial")
    arguments = parser.parse_args()
    out = (arguments.run / "partial" if arguments.partial else arguments.run) / "report.html"
    try:
        text = page(arguments.run, arguments.partial)
        with atomic(out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except (InputError, ConfigurationError, OSError, ValueError) as error:
        sys.exit(f"page: {error}")
    print(f"{out}: {len(text.encode()) / 1e6:.1f} MB")
