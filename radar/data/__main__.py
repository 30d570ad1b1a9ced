"""python -m radar.data prepare SOURCE CATEGORY: write data/SOURCE/CATEGORY as config/datasets/SOURCE.yaml says.

The stages of dvc.yaml call this; run it from the top of the repository.
"""

import argparse
import importlib
import sys
from pathlib import Path

import yaml

CONFIG, DATA = Path("config/datasets"), Path("data")


class UsageError(Exception):
    """What was asked for does not exist; one line with what does."""


def prepare(source: str, category: str) -> None:
    """Write one dataset. Raises UsageError if the configuration knows no such source or category."""
    known = sorted(path.stem for path in CONFIG.glob("*.yaml"))
    if not known:
        raise UsageError(f"no dataset is configured in {CONFIG}: run this from the top of the repository")
    if source not in known:
        raise UsageError(f"unknown source '{source}': config/datasets has {', '.join(known)}")
    config = yaml.safe_load((CONFIG / f"{source}.yaml").read_text())
    if category not in config["categories"]:
        raise UsageError(f"unknown category '{category}' of {source}: {CONFIG / source}.yaml lists "
                         f"{', '.join(config['categories'])}")
    module = importlib.import_module(f"radar.data.{config['source']}")
    try:
        module.prepare(category, DATA / source / category, config["settings"])
    except KeyError as error:
        raise UsageError(f"{CONFIG / source}.yaml: the setting {error} is missing") from error


def main() -> int:
    """Exit status: 0, 1 if the data could not be made, 2 if no such dataset exists."""
    parser = argparse.ArgumentParser(prog="python -m radar.data", description="Prepare the data of the benchmark.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare", help="write data/SOURCE/CATEGORY")
    command.add_argument("source", help="name of a file in config/datasets, without .yaml")
    command.add_argument("category", help="one of the categories that this file lists")
    arguments = parser.parse_args()
    try:
        prepare(arguments.source, arguments.category)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        print(f"{arguments.source}/{arguments.category}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
