"""On which device a job computes, and how; of several GPUs each job takes a free one, until its process ends."""

import ctypes
import fcntl
import os
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import torch

# Where the machine's jobs meet. A lock belongs to its process and goes with it.
LOCKS = Path(os.environ.get("RADAR_GPU_LOCKS", f"/tmp/radar-bench-gpus-{os.getuid()}"))

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def choose_device(name: str) -> str:
    """"auto" -> "cuda" if torch sees one, else "cpu"; of several GPUs one that no other job has, as "cuda:1".

    Raises RuntimeError for a cuda that is not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("device is cuda, but torch sees none; install a CUDA build of torch or set device: cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and (count := torch.cuda.device_count()) > 1:
        name = f"cuda:{claim(count)}"
        torch.cuda.set_device(name)  # what says "cuda" from here on means this one
    return name


@lru_cache  # once per process
def claim(count: int, locks: Path = LOCKS) -> int:
    """The number of a GPU that no other job of this user has, of `count`; it is this process's until it ends.

    Waits until one is free.
    """
    locks.mkdir(parents=True, exist_ok=True)
    while True:
        for index in range(count):
            file = os.open(locks / f"{index}.lock", os.O_CREAT | os.O_WRONLY, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            else:
                return index  # the file stays open, and with it the lock
        time.sleep(1)


def prepare_torch(threads: int) -> None:
    """How every job runs: a stated number of threads, the same bits each time, no slow path for denormal numbers.

    Denormals (below 1e-38) appear in softmax and cost a tenth of the time of a small network on the CPU. Memory that
    glibc gives back to the system after every layer, to ask for it again at the next one, costs as much again.
    """
    with suppress(AttributeError, OSError):  # another C library has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # larger pieces still go back at once: large networks need the room
        mallopt(M_TRIM_THRESHOLD, 256 * 2**20)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.backends.cudnn.deterministic = True
