"""Before anything is installed: is this machine fit? One line says what is missing and what to do.

Standard library only, and written so that any Python from 2.7 on can parse it and say that it is too old.
"""

import os
import sys

NEEDED_PYTHON = (3, 11)
NEEDED_GIB = 8  # the environment with a CUDA build of torch; 2 GiB are enough for a CPU build


def problem():
    """The first thing that is wrong, as one line, or None."""
    if sys.version_info < NEEDED_PYTHON:
        return ("Python %d.%d or newer is needed, %s is %d.%d; install one and say: make PYTHON=python3.11 run"
                % (NEEDED_PYTHON + (sys.executable,) + sys.version_info[:2]))
    import importlib.util
    import shutil
    if shutil.which("git") is None:
        return "git is missing; install it (it versions the data recipes, and DVC needs it)"
    if importlib.util.find_spec("ensurepip") is None:
        return ("this Python cannot create virtual environments; install its venv package "
                "(Debian and Ubuntu: apt install python3-venv)")
    needed = float(os.environ.get("RADAR_SETUP_GIB", NEEDED_GIB))
    free = shutil.disk_usage(".").free / 2.0**30
    if free < needed:
        return ("%.1f GiB are free here, the set-up needs up to %g GiB; make room, or, if you install the CPU build "
                "of torch (see README), say: RADAR_SETUP_GIB=3 make run" % (free, needed))
    return None


if __name__ == "__main__":
    line = problem()
    if line:
        sys.exit("radar-bench: " + line)
