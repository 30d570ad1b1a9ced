"""What the scripts that report have in common: their command line, one line for what they cannot use, and writing."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from radar.config import ConfigurationError
from radar.files import atomic
from radar.report.load import InputError, Run, read_run


def step(doc: str | None, main: Callable[[Run], None]) -> None:
    """Call main(the run that the command line names)."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="results/runs/<run>")
    parser.add_argument("--partial", action="store_true", help="after a failure: what is there, into DIR/partial")
    arguments = parser.parse_args()
    try:
        main(read_run(arguments.run, arguments.partial))
    except (InputError, ConfigurationError, OSError) as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: {error}")


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files: name -> content."""
    for name, text in texts.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
