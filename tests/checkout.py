"""A copy of the checkout, and Snakemake in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parent.parent


def copy_checkout(folder: Path) -> Path:
    """A git repository with the files of this checkout, as a clone would have them."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True,
                           text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def environment(folder: Path) -> dict:
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments, "--configfile", "tests/tiny.yaml"]
    return subprocess.run(command, cwd=folder, env=environment(folder), text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)


def place(folder: Path, dataset: str, method: str, seed: int = 0, run: str = "tiny") -> Path:
    """The folder of a trained method; its name has a digest where settings differ from config/config.yaml."""
    name = json.loads((folder / f"results/runs/{run}/run.json").read_text())["methods"][method]["folder"]
    return folder / "results" / dataset / name / f"seed{seed}"


def table(folder: Path, name: str, run: str = "tiny", **options) -> pd.DataFrame:
    return pd.read_csv(folder / f"results/runs/{run}/tables/{name}.csv", **options)
