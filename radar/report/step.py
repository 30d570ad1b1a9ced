"""What the scripts that report have in common: their command line, one line for what they cannot use, and writing."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from radar.config import ConfigurationError
from radar.files import atomic
from radar.report.load import InputError


def step(doc: str | None, main: Callable[[Path, bool], None]) -> None:
    """Call main(the run's folder, whether only what is there after a failure is reported, into its folder partial/)."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="results/runs/<run>")
    parser.add_argument("--partial", action="store_true", help="after a failure: what is there, into DIR/partial")
    arguments = parser.parse_args()
    try:
        main(arguments.run, arguments.partial)
    except (InputError, ConfigurationError, OSError) as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: {error}")


def out_of(run: Path, partial: bool) -> Path:
    """Where a step writes to, and finds what the steps before it wrote."""
    return run / "partial" if partial else run


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files: name -> content."""
    for name, text in texts.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
