"""Two runs beside each other: what differs in their settings, and every method's difference on the same images."""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from radar.files import sha256
from radar.report import format
from radar.report.compare import RANKED, contrast, latency, over_seeds, units
from radar.report.load import KEY, InputError, Run, load, read_run

COMPARED = [*KEY, "metric", "first", "second", "difference", "ci_low", "ci_high", "n_seeds"]


def find_run(text: str) -> Run:
    """The run of a name (results/runs/<name>) or of a folder, also of another checkout. Raises InputError."""
    folder = Path(text)
    return read_run(folder if (folder / "run.json").is_file() else Path("results/runs", text))


def refuse_strangers(first: Run, second: Run) -> None:
    """Raise InputError, naming the reason, if the runs cannot be compared image by image."""
    common = [pair for pair in first.pairs if pair in second.pairs]
    if not common:
        raise InputError(f"{first.folder} and {second.folder} have no dataset in common: {', '.join(first.datasets)} "
                         f"and {', '.join(second.datasets)}")
    for key in dict.fromkeys([*first.config["protocol"], *second.config["protocol"]]):
        ours, theirs = (run.config["protocol"].get(key) for run in (first, second))
        if ours != theirs:
            raise InputError(f"{first.folder} and {second.folder} were judged by other rules: protocol.{key} is {ours} "
                             f"and {theirs}; make one of them again with the protocol of the other")
    for pair in common:
        ours, theirs = (sha256(run.results.joinpath(*pair, "manifest.csv")) for run in (first, second))
        if ours != theirs:
            raise InputError(f"{'/'.join(pair)}: the runs had other images or another split (sha256 of the manifest "
                             f"{ours[:10]} and {theirs[:10]}); compare runs of the same data")


def compare_runs(first: Run, second: Run) -> pd.DataFrame:
    """A row per dataset, method and metric that both runs have: columns COMPARED; difference: second - first.

    Its interval is the paired 95 % bootstrap interval over the same resampled test images and common seeds. Latencies
    (latency_ms_median) are of two occasions and have none. Raises InputError if the runs do not belong together.
    """
    refuse_strangers(first, second)
    ours, theirs = (units(load(run)) for run in (first, second))
    rows = []
    for pair in [one for one in ours.samples if one in theirs.samples]:
        for metric, methods in ours.samples[pair].items():
            for method in methods:
                before, after = methods[method], theirs.samples[pair].get(metric, {}).get(method, {})
                if found := contrast(after, before):
                    values = (over_seeds(seeds[one] for one in before.keys() & after.keys()).value
                              for seeds in (before, after))
                    rows.append((*pair, method, metric, *values, found[0].value, *found[0].ends(), found[1]))
        for method in [name for name in first.methods if name in second.methods]:
            times = [latency(results.timing, pair, method) for results in (ours, theirs)]
            rows.append((*pair, method, "latency_ms_median", *times, times[1] - times[0], None, None, 1))
    return pd.DataFrame(rows, columns=COMPARED).astype({"ci_low": float, "ci_high": float})


def show(first: Run, second: Run, table: pd.DataFrame) -> None:
    """Print the main metrics of compare_runs, and what differs in the settings."""
    console = Console()
    for run in (first, second):
        told = ", ".join(f"{key} = {value}" for key, value in run.changed.items()) or "as config/config.yaml"
        console.print(f"[bold]{run.name}[/] ({run.folder}): {told}", highlight=False)
    for metric in (*RANKED, "latency_ms_median"):
        rows = table[table["metric"] == metric]
        if rows.empty:
            continue
        shown = Table("dataset", "method", first.name, second.name, "difference [95 %]", title=metric)
        for row in rows.itertuples():
            write = format.rounded if metric == "latency_ms_median" else format.share
            difference = (format.rounded(row.difference) if metric == "latency_ms_median"
                          else format.interval(row.difference, row.ci_low, row.ci_high))
            shown.add_row(f"{row.dataset}/{row.category}", first.labels.get(row.method, row.method), write(row.first),
                          write(row.second), difference)
        console.print(shown)
