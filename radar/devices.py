"""Several GPUs on one machine: every job takes a free one, and gives it back when its process ends, however it ends."""

import fcntl
import os
import time
from pathlib import Path
from typing import IO

# Where the machine's jobs meet. A lock belongs to its process and goes with it.
LOCKS = Path(os.environ.get("RADAR_GPU_LOCKS", f"/tmp/radar-bench-gpus-{os.getuid()}"))

_held: list[IO] = []


def claim(count: int, locks: Path = LOCKS, patience: float | None = None) -> int:
    """The number of a GPU that no other job of this user has, of `count`; it is this process's until it ends.

    Waits until one is free; after `patience` seconds without one TimeoutError is raised.
    """
    locks.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    while True:
        for index in range(count):
            file = open(locks / f"{index}.lock", "w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            _held.append(file)
            return index
        if patience is not None and time.monotonic() - started >= patience:
            raise TimeoutError(f"none of {count} GPUs has become free in {patience:g} s")
        time.sleep(1)
