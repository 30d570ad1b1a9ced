"""What `make run` runs: the workflow, after clearing the lock that a killed run left behind, if no other run holds it.

Snakemake cannot tell a dead run's lock from a living one's; an operating system's lock, which goes with its process,
can.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    folder = Path(".snakemake")
    folder.mkdir(exist_ok=True)
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "all"]
    lock = open(folder / "run.lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("radar-bench: another `make run` is at work in this folder; wait for it or stop it")
    if any((folder / "locks").glob("*")):
        subprocess.run([*snakemake, "--unlock", *sys.argv[1:]], capture_output=True)
    os.set_inheritable(lock.fileno(), True)  # Snakemake holds it from here on, whatever becomes of make
    os.execv(sys.executable, [*snakemake, *sys.argv[1:]])
