"""Writing files so that nothing half-written remains, and telling where a result came from."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("radar", "baselines", "workflow", "config", "Snakefile", "dvc.yaml", "pyproject.toml", "constraints.txt")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; rename it to `path` if all went well, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")  # same ending: writers choose the format by it
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically. NaN is refused (ValueError): JSON has none."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def last_line(log: Path) -> str:
    """The last line of a log that is not blank, without its margins: where a job ended, and mostly why; "" if none."""
    lines = (line.strip() for line in reversed(log.read_text(errors="replace").splitlines()))
    return next(filter(None, lines), "")


def provenance(settings: dict, **inputs: Path) -> dict:
    """What makes a result traceable: commit, the settings in force, hashes of its input files, versions.

    commit is None outside a git checkout; `commit_dirty` tells whether code or settings differed from it.
    """

    def git(*arguments: str) -> str | None:
        try:
            return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return None

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--", *SOURCES)
    return {
        "commit": commit.strip() if commit else None,
        "commit_dirty": None if changes is None else bool(changes),
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()},
        "inputs_sha256": {name: sha256(path) for name, path in inputs.items()},
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "scikit-learn", "numpy", "scipy")},
    }
