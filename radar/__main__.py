"""python -m radar: check data, score photographs, export maps, plan a run, compare runs."""

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

RUN = "results/<dataset>/<category>/<method>/seed<k>"
# Each is a module of radar.commands with main(), which is given these arguments by name and returns the exit status. It
# is imported once it is called: torch takes seconds, and is not needed for --help or a typing mistake.
COMMANDS: dict[str, tuple[str, dict[str, dict]]] = {
    "check": ("read every image of a dataset and tell all that is wrong with it", {
        "dataset": {"help": "dataset/category, a dataset, or any folder of photographs"},
        "--data-root": {"default": "data/raw", "help": "where the unpacked originals lie (default data/raw)"},
        "--workers": {"type": int, "help": "processes that read images (default: one per core)"}}),
    "score": ("score a folder of photographs with a trained detector", {
        "--detector": {"type": Path, "required": True, "help": RUN},
        "--images": {"type": Path, "required": True, "help": "folder of PNG, JPEG, BMP or TIFF images"},
        "--out": {"type": Path, "required": True, "help": "folder for scores.csv and overlays/"},
        "--device": {"default": "auto", "choices": ("auto", "cpu", "cuda")}}),
    "export": ("anomaly maps as TIFF, as MVTec AD's own evaluation reads them", {
        "--run": {"type": Path, "required": True, "help": RUN},
        "--out": {"type": Path, "required": True, "help": "folder for <category>/test/<defect>/<name>.tiff"}}),
    "plan": ("jobs of a run, arithmetic and device-hours of its trainings, disk", {
        "--configfile": {"type": Path, "help": "over config/config.yaml, e.g. config/paper.yaml"},
        "--tflops": {"type": float, "required": True, "help": "that the device sustains, e.g. 60"}}),
    "compare": ("two runs beside each other, with paired differences", {
        "first": {"help": "name of a run, or its folder, also of another checkout"},
        "second": {"help": "the same; differences are second minus first"},
        "--out": {"type": Path, "help": "CSV file with every metric"}}),
}


def main() -> int:
    """Parse the command line and run the command. Returns the exit status: 2 with one line on stderr if it cannot."""
    parser = argparse.ArgumentParser(prog="python -m radar", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (text, arguments) in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        for argument, options in arguments.items():
            command.add_argument(argument, **options)
    given = vars(parser.parse_args())
    name = given.pop("command")
    if name == "score":
        # Read when torch is loaded. OpenMP threads spin while they wait, which on an idle machine saves a sixth of the
        # time, and on a busy one costs forty times as much; the benchmark has the machine to itself, a user may not.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return import_module(f"radar.commands.{name}").main(**given)
    except Exception as error:
        ours = type(error).__module__.startswith("radar.")  # their text says all
        if not ours and not isinstance(error, OSError | RuntimeError | ValueError):
            raise
        print(f"radar: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
