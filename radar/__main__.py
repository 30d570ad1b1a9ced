"""python -m radar: what an engineer does with a trained detector.

score: score a folder of photographs. bench: measure what a prediction costs beyond the bare network.
"""

import argparse
import json
import os
import sys
from pathlib import Path


def main() -> int:
    """Parse the command line and run the command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m radar", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    score = commands.add_parser("score", help="score a folder of photographs with a trained detector")
    score.add_argument("--detector", type=Path, required=True, help="results/<dataset>/<category>/<method>/seed<k>")
    score.add_argument("--images", type=Path, required=True, help="folder of PNG, JPEG, BMP or TIFF images")
    score.add_argument("--out", type=Path, required=True, help="folder for scores.csv and overlays/")
    score.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))

    bench = commands.add_parser("bench", help="whole predictions against the bare network passes over the same tiles")
    bench.add_argument("--detector", type=Path, required=True, help="a detector of NFE 1, e.g. .../radar/seed0")
    bench.add_argument("--size", type=int, default=128, help="side of the test image in px (default 128)")
    bench.add_argument("--batch", type=int, default=1, help="images at once (default 1)")
    bench.add_argument("--repeats", type=int, default=30)
    bench.add_argument("--threads", type=int, default=2)
    bench.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))

    arguments = parser.parse_args()

    if arguments.command == "score":
        # Read when torch is loaded. OpenMP threads spin while they wait, which on an idle machine saves a sixth of the
        # time, and on a busy one costs forty times as much; the benchmark has the machine to itself, a user may not.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    # torch takes seconds to import: not for --help or a typing mistake
    from radar.detector import SeamError
    from radar.scoring import choose_device

    try:
        arguments.device = choose_device(arguments.device)
        return {"score": _score, "bench": _bench}[arguments.command](arguments)
    except (SeamError, OSError, RuntimeError) as error:
        print(f"radar: {error}", file=sys.stderr)
        return 2


def _score(arguments: argparse.Namespace) -> int:
    from radar.folder import score_folder
    from radar.scoring import prepare_torch

    prepare_torch(os.cpu_count() or 1)
    unreadable = score_folder(arguments.detector, arguments.images, arguments.out, arguments.device)
    return 1 if unreadable else 0


def _bench(arguments: argparse.Namespace) -> int:
    import torch

    from radar.detector import load
    from radar.evaluation.timing import overhead
    from radar.scoring import prepare_torch

    prepare_torch(arguments.threads)
    detector, description = load(arguments.detector, arguments.device)
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.batch, description["channels"], arguments.size, arguments.size)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    with torch.inference_mode():
        result = overhead(detector, images, arguments.repeats)
    print(json.dumps({"detector": description["name"], "device": arguments.device, "threads": arguments.threads}
                     | result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
