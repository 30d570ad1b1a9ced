"""python -m radar.data prepare SOURCE CATEGORY: write data/SOURCE/CATEGORY as config/datasets/SOURCE.yaml says.

The stages of dvc.yaml call this; run it from the top of the repository.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from radar import config as configuration


def main() -> int:
    """Exit status: 0, 1 if the data could not be made, 2 if no such dataset exists or its settings are incomplete."""
    parser = argparse.ArgumentParser(prog="python -m radar.data", description="Prepare the data of the benchmark.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare", help="write data/SOURCE/CATEGORY")
    command.add_argument("source", help="name of a file in config/datasets, without .yaml")
    command.add_argument("category", help="one of the categories that this file lists")
    arguments = parser.parse_args()
    name, file = f"{arguments.source}/{arguments.category}", configuration.CONFIG / f"datasets/{arguments.source}.yaml"
    try:
        configuration.expand_datasets([name])
        description = configuration.read_yaml(file)
        source = import_module(f"radar.data.{description['source']}")
        source.prepare(arguments.category, Path("data") / name, description["settings"])
    except (configuration.ConfigurationError, KeyError) as error:
        print(f"{file}: the setting {error} is missing" if isinstance(error, KeyError) else error, file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
