"""python -m radar.data SOURCE CATEGORY: write data/SOURCE/CATEGORY as config/datasets/SOURCE.yaml says.

The stages of dvc.yaml call this; run it from the top of the repository.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from radar import config as configuration
from radar.data import layout

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m radar.data", description="Prepare the data of the benchmark.")
    parser.add_argument("source", help="name of a file in config/datasets, without .yaml")
    parser.add_argument("category", help="one of the categories that this file lists")
    arguments = parser.parse_args()
    name = f"{arguments.source}/{arguments.category}"
    try:
        configuration.expand_datasets([name])
        about = configuration.read_dataset(arguments.source)
        source = import_module(f"radar.data.{about.source}")
        layout.write(Path("data", name), source.pictures(arguments.category, about.settings))
    except KeyError as error:
        sys.exit(f"{name}: the setting {error} is missing in config/datasets/{arguments.source}.yaml")
    except (configuration.ConfigurationError, ImportError, OSError, ValueError) as error:
        sys.exit(f"{name}: {error}")
