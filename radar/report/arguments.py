"""What the scripts that write tables, figures and the report are told on their command lines."""

import argparse
from pathlib import Path


def reporting_parser(description: str | None, out: str) -> argparse.ArgumentParser:
    """A parser with what all of them take: results, datasets, methods, seeds, labels, and where to write."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER")
    parser.add_argument("--datasets", nargs="+", required=True, type=dataset, metavar="DATASET/CATEGORY")
    parser.add_argument("--methods", nargs="+", required=True, metavar="NAME", help="rows and colours in this order")
    parser.add_argument("--seeds", nargs="+", type=int, required=True, help="timing and pictures are of the first")
    parser.add_argument("--labels", nargs="*", default=[], type=named, metavar="NAME=LABEL",
                        help="what to call a method")
    parser.add_argument("--out", type=Path, default=Path(out), metavar="PATH")
    return parser


def add_partial(parser: argparse.ArgumentParser) -> None:
    """Adds --partial: after a failure."""
    parser.add_argument("--partial", action="store_true", help="show what is there and name what is missing")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Adds --data: where pictures are shown."""
    parser.add_argument("--data", nargs="*", default=[], type=named, metavar="DATASET/CATEGORY=FOLDER",
                        help="what image paths are relative to, where it is not data/DATASET/CATEGORY")


def dataset(text: str) -> str:
    """`text`, if it is of the form dataset/category."""
    if "/" not in text:
        raise argparse.ArgumentTypeError(f"{text}: write dataset/category")
    return text


def named(text: str) -> tuple[str, str]:
    """(name, value) of name=value; a value may hold further equals signs."""
    name, mark, value = text.partition("=")
    if not mark:
        raise argparse.ArgumentTypeError(f"{text}: write name=text")
    return name, value
