"""What a run left, read from its files: every number in one tidy frame, and the bootstrap draws beside it.

A run is described by results/runs/<run>/run.json, which the workflow writes: its configuration, datasets, methods and
seeds, and the folder of each trained method. Nothing is computed here.
"""

import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radar.evaluation.bootstrap import interval
from radar.files import last_line, sha256

Pair = tuple[str, str]  # dataset, category
KEY = ["dataset", "category", "method"]
# text and lists of timing.json, which are no numbers of the tidy frame
TIMING_TEXT = ("ratio_to", "image_shape", "images_per_s_by_batch", "latency_ms", "latency_round")
DESCRIPTION = ("config", "changed", "datasets", "methods", "networks", "seeds")
RECORD = ["threshold", "false_positive_rate", "n_calibration", "calibration_too_small", "n_test_normal",
          "n_test_anomalous", "n_test_unlabelled"]
MAKE, AGAIN = "make it with snakemake --cores all", "delete it and run snakemake --cores all"


class InputError(Exception):
    """A file that cannot be used. One line that names it and says what to do."""


@dataclass(frozen=True)
class Run:
    """results/runs/<run>/run.json. folder: where it lies, and the run's tables, figures and report.

    methods: name -> its YAML and `folder`, what the method's folder below a dataset is called. datasets:
    "dataset/category" -> {"data": folder of its images, "labelled": whether its test images have labels}. networks:
    folder -> name of every trained network. changed: what of the configuration differs from config/config.yaml.
    results: the folder of the trained methods.
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

    @property
    def pairs(self) -> list[Pair]:
        return [(dataset, category) for dataset, _, category in (name.partition("/") for name in self.datasets)]

    @property
    def labels(self) -> dict[str, str]:
        """What tables and figures call the methods."""
        return {name: method.get("label", name) for name, method in self.methods.items()}

    def place(self, pair: Pair, method: str, seed: int) -> Path:
        """The folder of a trained method."""
        return self.results.joinpath(*pair, self.methods[method]["folder"], f"seed{seed}")

    def trained(self, pair: Pair) -> Iterator[tuple[str, int, Path]]:
        """(name, seed, loss.csv) of every network of the run: of noise predictors, and of methods that train."""
        for folder, name in self.networks.items():
            for seed in self.seeds:
                yield name, seed, self.results.joinpath(*pair, folder, f"seed{seed}", "loss.csv")


def read_run(folder: Path) -> Run:
    """The description of a run. Raises InputError."""
    content = read_json(folder / "run.json", ("run", *DESCRIPTION))
    return Run(folder=Path(folder), name=content["run"], results=Path(folder).parent.parent,
               **{name: content[name] for name in DESCRIPTION})


@dataclass(frozen=True)
class Estimate:
    """A number, and draws [D] of it; None = no interval is known."""

    value: float
    draws: np.ndarray | None = None

    def ends(self, level: float = 0.95) -> tuple[float, float]:
        """Its percentile interval; (NaN, NaN) if unknown."""
        return (math.nan, math.nan) if self.draws is None else interval(self.draws, level)


Seeds = dict[int, Estimate]  # of one training each


@dataclass
class Results:
    """Everything that a run left.

    samples: (dataset, category) -> metric -> method -> seed -> Estimate, its draws over
    resampled test images, of what applies; a metric that applies to no
    seed of a method is an empty dict. records: a row per trained method and seed with what its evaluation tells beside
    metrics. defects: images of each kind and severity that were found. timing: a row per timed method. missing: what is
    not there, and why.
    """

    run: Run
    samples: dict[Pair, dict[str, dict[str, Seeds]]]
    records: pd.DataFrame
    defects: pd.DataFrame
    timing: pd.DataFrame
    missing: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*KEY, "reason"]))

    def frame(self) -> pd.DataFrame:
        """Every number of the run: dataset, category, method, seed, metric, value; timing is of the first seed."""
        rows = [(*pair, method, seed, metric, one.value) for pair, metrics in self.samples.items()
                for metric, methods in metrics.items() for method, seeds in methods.items()
                for seed, one in seeds.items()]
        counts = self.records[[*KEY, "seed", *RECORD]].melt([*KEY, "seed"], var_name="metric")
        measured = self.timing.drop(columns=[name for name in self.timing if name in TIMING_TEXT])
        measured = measured.assign(seed=self.run.seeds[0]).melt([*KEY, "seed"], var_name="metric")
        columns = [*KEY, "seed", "metric", "value"]
        table = pd.concat([pd.DataFrame(rows, columns=columns), counts, measured], ignore_index=True)[columns]
        return table.assign(value=pd.to_numeric(table["value"], errors="coerce")).dropna(subset="value")


def load(run: Run, partial: bool = False, timed: bool = True) -> Results:
    """Read metrics.json and bootstrap.npz of every method and seed, and the timing of a `timed` run.

    partial: leave out what is missing, or was made from other scores than those beside it, and tell why. Otherwise
    raises InputError for what is missing; always for what cannot be read, and for draws that are not paired.
    """
    samples: dict[Pair, dict[str, dict[str, Seeds]]] = {pair: {} for pair in run.pairs}
    records, defects, missing = [], [], []
    for pair in run.pairs:
        size = None
        for method in run.methods:
            for seed in run.seeds:
                folder = run.place(pair, method, seed)
                if reason := absent(folder / "metrics.json"):
                    if not partial:
                        raise InputError(f"{folder / 'metrics.json'} is missing: {MAKE}")
                    missing.append((*pair, method, f"seed {seed}: no metrics.json{reason}"))
                    continue
                record = read_json(folder / "metrics.json", ("metrics", "by_defect", *RECORD))
                draws = read_npz(folder / "bootstrap.npz") if (folder / "bootstrap.npz").is_file() else {}
                for metric, value in record["metrics"].items():
                    seeds = samples[pair].setdefault(metric, {}).setdefault(method, {})
                    if value is not None:
                        seeds[seed] = Estimate(value, draws.get(metric))
                for name, array in draws.items():
                    size = array.size if size is None else size
                    if array.shape != (size,):
                        raise InputError(f"{folder / 'bootstrap.npz'} holds {array.shape} draws of {name}, other "
                                         f"methods {size}: {AGAIN}")
                source = record.get("provenance") or {}
                records.append((*pair, method, seed, *(record[name] for name in RECORD), source.get("commit"),
                                bool(source.get("commit_dirty")), (source.get("inputs_sha256") or {}).get("scores")))
                defects += [(*pair, method, seed, one["defect"], one["severity"], one["n"], one["detected"])
                            for one in record["by_defect"]]
    timing, untimed = _timing(run, run.pairs if timed else [], partial)
    return Results(
        run, samples, pd.DataFrame(records, columns=[*KEY, "seed", *RECORD, "commit", "dirty", "scores_sha256"]),
        pd.DataFrame(defects, columns=[*KEY, "seed", "defect", "severity", "n", "detected"]).astype({
            "severity": float}),
        timing, pd.DataFrame([*missing, *untimed], columns=[*KEY, "reason"]))


def _timing(run: Run, pairs: Sequence[Pair], partial: bool) -> tuple[pd.DataFrame, list[tuple]]:
    """A row per timed method, in the order of the run; and what is missing."""
    rows, missing = [], []
    for pair in pairs:
        path = run.folder / "timing" / pair[0] / f"{pair[1]}.json"
        if not path.is_file():
            if not partial:
                raise InputError(f"{path} is missing: {MAKE}")
            log = path.with_suffix(".log")
            why = f"; its log ends: {last_line(log)[:200]}" if log.is_file() else ", not started"
            missing += [(*pair, method, f"no timing{why}") for method in run.methods]
            continue
        record = read_json(path, ("methods", "device"))
        shared = {name: value for name, value in record.items() if name not in ("methods", "provenance")}
        rows += [{**shared, **dict(zip(KEY, (*pair, method), strict=True)), **one}
                 for method, one in record["methods"].items()]
    return pd.DataFrame(rows, columns=None if rows else [*KEY, "device", "latency_ms_median"]), missing


def absent(path: Path) -> str:
    """Why a result of a method is not there, as the end of a sentence; empty if it is, and is of the scores beside it.

    A method that failed leaves failure.json. Logs lie beside what a job writes; what stands on a noise predictor that
    failed has none of its own.
    """
    folder, scores = path.parent, path.parent / "scores.csv"
    if (folder / "failure.json").is_file():
        failure = read_json(folder / "failure.json", ("reason", "log"))
        return f"; {failure['reason'][:200]} (log: {failure['log']})"
    if path.is_file() and scores.is_file():
        recorded = (read_json(path).get("provenance") or {}).get("inputs_sha256", {}).get("scores")
        return "" if recorded in (None, sha256(scores)) else "; it is of other scores than those beside it"
    logs = list(folder.glob("*.log"))
    if not logs:  # its noise predictor may have failed
        trainings = folder.parent.parent.glob(f"noise_predictor-*/{folder.name}")
        logs = [one / "train.log" for one in trainings if not (one / "noise_predictor.json").is_file()]
    logs = [log for log in logs if log.is_file()]
    if not logs:
        return ", not started"
    log = max(logs, key=lambda log: (log.stat().st_mtime_ns, log.name))
    return f"; {log.name} ends: {last_line(log)[:200]}" if last_line(log) else f"; {log.name} is empty"


# Tables


def of(table: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """The rows of a dataset."""
    return table[(table["dataset"] == pair[0]) & (table["category"] == pair[1])]


def pairs_of(table: pd.DataFrame) -> list[Pair]:
    """The datasets of a table, in its order."""
    return list(table[["dataset", "category"]].drop_duplicates().itertuples(index=False, name=None))


# Files


def _read(path: Path, kind: str, read: Callable[[], Any]) -> Any:
    """What `read` gives. Raises InputError."""
    try:
        return read()
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {MAKE}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is not readable {kind} ({' '.join(str(error).split())}): {AGAIN}") from None


def read_json(path: Path, keys: Iterable[str] = ()) -> dict:
    """A JSON object that has all of `keys`. Raises InputError."""
    record = _read(path, "JSON", lambda: json.loads(Path(path).read_text()))
    if not isinstance(record, dict):
        raise InputError(f"{path} is no JSON object: {AGAIN}")
    if gone := [key for key in keys if key not in record]:
        raise InputError(f"{path} has no {', '.join(gone)}: {AGAIN}")
    return record


def read_csv(path: Path, columns: Sequence[str] = (), **options) -> pd.DataFrame:
    """A CSV file that has all of `columns`; those of KEY are text ("01"). Raises InputError."""
    dtype = dict.fromkeys(KEY, "str") | options.pop("dtype", {})
    table = _read(path, "CSV", lambda: pd.read_csv(path, dtype=dtype, **options))
    if gone := [column for column in columns if column not in table]:
        raise InputError(f"{path} has no column {', '.join(gone)}: {AGAIN}")
    return table


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file. Raises InputError."""
    def arrays() -> dict[str, np.ndarray]:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name], float) for name in file.files}

    return _read(path, "NumPy", arrays)
