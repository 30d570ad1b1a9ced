"""Two runs beside each other: what differs in their settings, and every method's difference on the same images."""

from pathlib import Path

import pandas as pd
from tabulate import tabulate

from radar.files import sha256
from radar.report import format
from radar.report.compare import RANKED, difference, latency, over_seeds, with_means
from radar.report.load import KEY, InputError, Run, load, once, read_run
from radar.report.step import write

COMPARED = [*KEY, "metric", "first", "second", "difference", "ci_low", "ci_high", "n_seeds"]


def main(first: str, second: str, out: Path | None) -> int:
    runs = find_run(first), find_run(second)
    table = compare_runs(*runs)
    show(*runs, table)
    if out:
        write(out.parent, {out.name: table.to_csv(index=False)})
    return 0


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
    ours, theirs = (with_means(load(run)) for run in (first, second))
    rows = []
    for pair in [one for one in once(ours.samples) if one in once(theirs.samples)]:
        for metric, methods in ours.samples[pair].items():
            for method, before in methods.items():
                after = theirs.samples[pair].get(metric, {}).get(method, {})
                if common := before.keys() & after.keys():
                    values = (over_seeds(seeds[one] for one in common).value for seeds in (before, after))
                    rows.append((*pair, method, metric, *values, *difference(after, before)))
        for method in [name for name in first.methods if name in second.methods]:
            times = [latency(results.timing, pair, method) for results in (ours, theirs)]
            rows.append((*pair, method, "latency_ms_median", *times, times[1] - times[0], None, None, 1))
    return pd.DataFrame(rows, columns=COMPARED).astype({"ci_low": float, "ci_high": float})


def show(first: Run, second: Run, table: pd.DataFrame) -> None:
    """Print the main metrics of compare_runs, and what differs in the settings."""
    for run in (first, second):
        told = ", ".join(f"{key} = {value}" for key, value in run.changed.items()) or "as config/config.yaml"
        print(f"{run.name} ({run.folder}): {told}")
    heads = ["dataset", "method", first.name, second.name, "difference [95 %]"]
    for metric in (*RANKED, "latency_ms_median"):
        plain, signed = (format.rounded,) * 2 if metric == "latency_ms_median" else (format.share, format.signed)
        rows = [[f"{row.dataset}/{row.category}", first.labels.get(row.method, row.method), plain(row.first),
                 plain(row.second), format.interval(row.difference, row.ci_low, row.ci_high, signed)]
                for row in table[table["metric"] == metric].itertuples()]
        if rows:
            print(f"\n{metric}", tabulate(rows, heads, disable_numparse=True), sep="\n")
