"""What a run left, read from its files: every number in one tidy frame, and the bootstrap draws beside it.

A run is described by results/runs/<run>/run.json, which the workflow writes: its configuration, datasets, methods and
seeds, and the folder of each trained method. Nothing is computed here.
"""

import json
import math
import shlex
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radar.evaluation.bootstrap import interval
from radar.files import last_line, sha256

Pair = tuple[str, str]  # dataset, category
KEY = ["dataset", "category", "method"]
DESCRIPTION = ("config", "changed", "datasets", "methods", "networks", "seeds")
RECORD = ["threshold", "false_positive_rate", "n_calibration", "calibration_too_small", "n_test_normal",
          "n_test_anomalous", "n_test_unlabelled"]
MEASURED = ["device", "device_name", "threads", "cores_of_others", "latency_ms_median", "nfe"]  # without any timing
SETTINGS = "snakemake and the settings of the run"
MAKE, AGAIN = f"make it with {SETTINGS}", f"delete it and make it again with {SETTINGS}"


class InputError(Exception):
    """A file that cannot be used. One line that names it and says what to do."""


@dataclass(frozen=True)
class Run:
    """results/runs/<run>/run.json. folder: where it lies, and the run's tables, figures and report.

    methods: name -> its YAML and `folder`, what the method's folder below a dataset is called. datasets:
    "dataset/category" -> {"data": folder of its images, "labelled": whether its test images have labels}. networks:
    folder -> name of every trained network. changed: what of the configuration differs from config/config.yaml.
    results: the folder of the trained methods. partial: after a failure, so that what is there is reported.
    """

    folder: Path
    name: str
    config: dict
    changed: dict
    datasets: dict[str, dict]
    methods: dict[str, dict]
    networks: dict[str, str]
    seeds: list[int]
    results: Path
    partial: bool = False

    @property
    def pairs(self) -> list[Pair]:
        return [(dataset, category) for dataset, _, category in (name.partition("/") for name in self.datasets)]

    @property
    def labels(self) -> dict[str, str]:
        """What tables and figures call the methods."""
        return {name: method.get("label", name) for name, method in self.methods.items()}

    @property
    def out(self) -> Path:
        """Where its tables, figures and report are."""
        return self.folder / "partial" if self.partial else self.folder

    def command(self, target: object) -> str:
        """What makes a target of the run anew, with all that the run changed."""
        settings = ([f"run={self.name}"] if self.name != "default" else []) + [
            _setting(*key.split("."), value=value) for key, value in self.changed.items()]
        return shlex.join(["snakemake", "--cores", "all", str(target), *(["--config", *settings] if settings else [])])

    def place(self, pair: Pair, method: str, seed: int) -> Path:
        """The folder of a trained method."""
        return self.results.joinpath(*pair, self.methods[method]["folder"], f"seed{seed}")

    def trained(self, pair: Pair) -> Iterator[tuple[str, int, Path]]:
        """(name, seed, loss.csv) of every network of the run: of noise predictors, and of methods that train."""
        for (folder, name), seed in product(self.networks.items(), self.seeds):
            yield name, seed, self.results.joinpath(*pair, folder, f"seed{seed}", "loss.csv")


def _setting(top: str, *below: str, value: object) -> str:
    """A setting as Snakemake's --config takes it: training={"images": 800}."""
    for part in reversed(below):
        value = {part: value}
    return f"{top}={value if isinstance(value, str) else json.dumps(value)}"


def read_run(folder: Path, partial: bool = False) -> Run:
    """The description of a run. Raises InputError."""
    content = read_json(folder / "run.json", ("run", *DESCRIPTION))
    return Run(folder=folder, name=content["run"], results=folder.parent.parent, partial=partial,
               **{name: content[name] for name in DESCRIPTION})


@dataclass(frozen=True)
class Estimate:
    """A number, and draws [D] of it; one that is NaN: no interval is known."""

    value: float
    draws: np.ndarray = field(default_factory=lambda: np.array([math.nan]))

    def ends(self, level: float = 0.95) -> tuple[float, float]:
        """Its percentile interval; (NaN, NaN) if unknown."""
        return interval(self.draws, level)


Seeds = dict[int, Estimate]  # of one training each


@dataclass
class Results:
    """Everything that a run left.

    samples: (dataset, category) -> metric -> method -> seed -> Estimate, its draws over resampled test images, of what
    applies; a metric that applies to no seed of a method is an empty dict. records: a row per trained method and seed
    with what its evaluation tells beside metrics. defects: images of each kind and severity that were found. timing: a
    row per timed method. missing: what is not there, and why.
    """

    run: Run
    samples: dict[Pair, dict[str, dict[str, Seeds]]]
    records: pd.DataFrame
    defects: pd.DataFrame
    timing: pd.DataFrame
    missing: pd.DataFrame = field(default_factory=pd.DataFrame)

    def frame(self) -> pd.DataFrame:
        """Every number of the run: dataset, category, method, seed, metric, value; timing is of the first seed."""
        key = [*KEY, "seed"]
        rows = [(*pair, method, seed, metric, one.value) for pair, metrics in self.samples.items()
                for metric, methods in metrics.items() for method, seeds in methods.items()
                for seed, one in seeds.items()]
        counts = self.records[[*key, *RECORD]].melt(key, var_name="metric")
        measured = self.timing.assign(seed=self.run.seeds[0]).melt(key, var_name="metric")
        columns = [*key, "metric", "value"]
        table = pd.concat([pd.DataFrame(rows, columns=columns), counts, measured], ignore_index=True)[columns]
        return table.assign(value=pd.to_numeric(table["value"], errors="coerce")).dropna(subset="value")


def load(run: Run, timed: bool = True) -> Results:
    """Read metrics.json and bootstrap.npz of every method and seed, and the timing of a `timed` run.

    Raises InputError for what cannot be read, and for draws that are not paired. What is missing, or was made from
    other scores than those beside it, is left out of a partial run, and is an InputError of any other.
    """
    samples: dict[Pair, dict[str, dict[str, Seeds]]] = {pair: {} for pair in run.pairs}
    sizes: dict[Pair, int] = {}
    records, defects, missing = [], [], []
    for pair, method, seed in product(run.pairs, run.methods, run.seeds):
        key, folder = dict(zip([*KEY, "seed"], (*pair, method, seed), strict=True)), run.place(pair, method, seed)
        if reason := absent(folder / "metrics.json"):
            missing.append((*pair, method, f"seed {seed}: not evaluated{reason}"))
            continue
        record = read_json(folder / "metrics.json", ("metrics", "by_defect", *RECORD))
        known = {metric: value for metric, value in record["metrics"].items() if value is not None}
        draws = read_npz(folder / "bootstrap.npz", known)
        for name, array in draws.items():
            if array.shape != (sizes.setdefault(pair, array.size),):
                raise InputError(f"{folder / 'bootstrap.npz'} holds {array.shape} draws of {name}, other methods "
                                 f"{sizes[pair]}: {AGAIN}")
        for metric in record["metrics"]:
            seeds = samples[pair].setdefault(metric, {}).setdefault(method, {})
            if metric in known:
                seeds[seed] = Estimate(known[metric], draws[metric])
        source = record.get("provenance") or {}
        records.append({**record, **key, "commit": source.get("commit"), "dirty": bool(source.get("commit_dirty")),
                        "scores_sha256": source.get("inputs_sha256", {}).get("scores")})
        defects += [key | one for one in record["by_defect"]]
    timing, untimed = _timing(run) if timed else (pd.DataFrame(), [])
    missing += untimed
    if missing and not run.partial:
        dataset, category, method, reason = missing[0]
        raise InputError(f"{dataset}/{category} {method}, {reason}: {MAKE}")
    return Results(
        run, samples, pd.DataFrame(records, columns=[*KEY, "seed", *RECORD, "commit", "dirty", "scores_sha256"]),
        pd.DataFrame(defects, columns=[*KEY, "seed", "defect", "severity", "n", "detected"]).astype({
            "severity": float}),
        timing, pd.DataFrame(missing, columns=[*KEY, "reason"]))


def _timing(run: Run) -> tuple[pd.DataFrame, list[tuple[str, str, str, str]]]:
    """A row per timed method, in the order of the run; and what is missing."""
    rows: list[dict] = []
    missing = []
    for pair in run.pairs:
        path = run.folder / "timing" / pair[0] / f"{pair[1]}.json"
        if not path.is_file():
            missing += [(*pair, method, f"no timing{_ended([path.with_suffix('.log')])}") for method in run.methods]
            continue
        shared = read_json(path, ("methods", "device"))
        methods = shared.pop("methods")
        shared.pop("provenance", None)
        for method, one in methods.items():
            rows.append(dict(zip(KEY, (*pair, method), strict=True)) | shared | one)
            rows[-1]["images_per_s_by_batch"] = json.dumps(one["images_per_s_by_batch"])
    return pd.DataFrame(rows, columns=None if rows else [*KEY, *MEASURED]), missing


def absent(path: Path) -> str:
    """Why a result of a method is not there, as the end of a sentence; empty if it is, and is of the scores beside it.

    A method that failed leaves failure.json. Logs lie beside what a job writes; what stands on a noise predictor that
    failed, or on data that were refused, has none of its own.
    """
    folder, scores = path.parent, path.parent / "scores.csv"
    if (folder / "failure.json").is_file():
        failure = read_json(folder / "failure.json", ("reason", "log"))
        return f"; {failure['reason'][:200]} (log: {failure['log']})"
    if path.is_file() and scores.is_file():
        recorded = (read_json(path, ["metrics"]).get("provenance") or {}).get("inputs_sha256", {}).get("scores")
        return "" if recorded in (None, sha256(scores)) else "; it is of other scores than those beside it"
    data = folder.parent.parent
    return _ended(list(folder.glob("*.log")) or [
        log for log in data.glob(f"noise_predictor-*/{folder.name}/train.log")
        if not log.with_name("noise_predictor.json").is_file()] or [
        data / "manifest.log"] * (not (data / "manifest.csv").is_file()))


def _ended(logs: Sequence[Path]) -> str:
    """How the newest of the logs that are there ends."""
    if not (logs := [log for log in logs if log.is_file()]):
        return ", not started"
    newest = max(logs, key=lambda log: (log.stat().st_mtime_ns, log.name))
    return f"; {newest.name} ends: {last_line(newest)[:200] or 'it is empty'}"


# Tables


def of(table: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """The rows of a dataset."""
    return table[(table["dataset"] == pair[0]) & (table["category"] == pair[1])]


def pairs_of(table: pd.DataFrame) -> list[Pair]:
    """The datasets of a table, in its order."""
    return list(table[["dataset", "category"]].drop_duplicates().itertuples(index=False, name=None))


def is_mean(pair: Pair) -> bool:
    """Whether it is a mean over categories."""
    return pair[1].startswith("mean of ")


def once(pairs: Iterable[Pair]) -> list[Pair]:
    """Every dataset once: as the mean over its categories where there is one."""
    pairs = list(pairs)
    averaged = {pair[0] for pair in pairs if is_mean(pair)}
    return [pair for pair in pairs if is_mean(pair) or pair[0] not in averaged]


# Files


def _read(path: Path, kind: str, read: Callable[[], Any], keys: Iterable[str]) -> Any:
    """What `read` gives, if it has all of `keys`. Raises InputError."""
    try:
        content = read()
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {MAKE}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is not readable {kind} ({' '.join(str(error).split())}): {AGAIN}") from None
    if gone := [key for key in keys if key not in content]:
        raise InputError(f"{path} has no {', '.join(gone)}: {AGAIN}")
    return content


def read_json(path: Path, keys: Iterable[str] = ()) -> dict:
    """A JSON object that has all of `keys`. Raises InputError."""
    return _read(path, "JSON", lambda: json.loads(path.read_text()), keys)


def read_csv(path: Path, columns: Iterable[str] = (), **options) -> pd.DataFrame:
    """A CSV file that has all of `columns`; those of KEY are text ("01"). Raises InputError."""
    dtype = dict.fromkeys(KEY, "str") | options.pop("dtype", {})
    return _read(path, "CSV", lambda: pd.read_csv(path, dtype=dtype, **options), columns)


def read_npz(path: Path, keys: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """All arrays of an .npz file that has all of `keys`. Raises InputError."""
    return _read(path, "NumPy", lambda: dict(np.load(path)), keys)
