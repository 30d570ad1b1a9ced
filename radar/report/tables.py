"""The tables of a run, made from the CSV files that compare.py wrote. No number is computed here."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml
from tabulate import tabulate

from radar.evaluation.statistics import FEWEST_FRIEDMAN, deviation_factors
from radar.report.compare import FALSE_POSITIVE_RATES, FROM_CD, KEY, RANKED, latency, winners
from radar.report.format import DASH, count, interval, p_value, percent, plain, rounded, share, span, spread
from radar.report.load import Pair, Run, of, pairs_of, read_csv, read_json
from radar.report.table import Table, frame_of

FPR = "false_positive_rate_measured"
TEXT = yaml.safe_load((Path(__file__).parent / "templates" / "tables.yaml").read_text(encoding="utf-8"))
LEGENDS = TEXT["legends"]
MAIN, TIMING, COSTS = ({name: tuple(label) for name, label in TEXT["columns"][of].items()}
                       for of in ("main", "timing", "costs"))
NAMES = {metric: label if group == "calibrated" or label == "AUPRO" else f"{group} {label}"
         for metric, (group, label) in MAIN.items()}
WRITE = {**dict.fromkeys(("batch_size", "nfe", "training_images"), plain), "parameters": lambda n: rounded(n / 1e6)}
SUMMARY = ("image_auroc", "f1", FPR, "pixel_auroc", "pixel_aupro")  # the terminal, and tables by category
COMPACT = ("image_auroc", "pixel_aupro", "f1")
FILES = ("main", "differences", "timing", "records", "missing", "statistics", "ranks", "comparisons")
BUSY = 0.25      # cores that others may use while methods are timed
TERMINAL = 110   # columns
SHOWN_ALONE = 6  # datasets that the terminal shows one by one, beside the means over categories

Cell = tuple[str, bool]  # text, whether it is bold


class Numbers:
    """The CSV files that compare.py wrote of a run: numbers["main"], numbers.on("main", pair). Raises InputError.

    pairs: its datasets, means over categories first, those of which everything is missing last.
    """

    def __init__(self, run: Run, folder: Path):
        text = dict.fromkeys(["reason", "commit"], "str")
        self.run, self._frames = run, {name: read_csv(folder / f"{name}.csv", dtype=text) for name in FILES}
        self.pairs = pairs_of(pd.concat([self["main"], self["missing"]]))
        self._main = {row[:4]: row[4:7] for row in self["main"].itertuples(index=False, name=None)}
        self._won = winners(self["main"], self["differences"])

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._frames[name]

    def on(self, name: str, pair: Pair) -> pd.DataFrame:
        """The rows of a dataset."""
        return of(self[name], pair)

    def cell(self, pair: Pair, method: str, metric: str) -> Cell:
        """A mean with half of its interval, of a rate with both ends; bold if it wins and no method is missing."""
        write = interval if metric in FALSE_POSITIVE_RATES else spread
        mean, low, high = self._main.get((*pair, method, metric), (float("nan"),) * 3)
        return write(mean, low, high, share), (*pair, metric, method) in self._won and not self.reasons(pair)

    def reasons(self, pair: Pair, timing: bool = False) -> dict[str, str]:
        """method -> why something of it is missing: of its timing, or of all else."""
        rows = self["missing"] if is_mean(pair) else self.on("missing", pair)
        rows = rows[(rows["dataset"] == pair[0]) & (rows["reason"].str.startswith("no timing") == timing)]
        texts = "not all of " + rows["category"] if is_mean(pair) else rows["reason"]
        return {name: "; ".join(dict.fromkeys(lines)) for name, lines in texts.groupby(rows["method"], sort=False)}

    def latency(self, pair: Pair, method: str) -> str:
        return rounded(latency(self["timing"], pair, method))

    def nfe(self, method: str) -> str:
        timed = self["timing"]
        return span(timed.loc[timed["method"] == method, "nfe"]) if len(timed) else DASH


def is_mean(pair: Pair) -> bool:
    return pair[1].startswith("mean of ")


def _table(numbers: Numbers, title: str, columns: Sequence[tuple[str, str]], rows: Mapping[str, Sequence[Cell | str]],
           records: pd.DataFrame, reasons: Mapping[str, str] | None = None) -> Table:
    """A row per method in the order of the run; one without cells gets dashes, one with a reason a note."""
    reasons = reasons or {}
    labels = {name: label for name, label in numbers.run.labels.items() if name in rows or name in reasons}
    cells = {label: [one if isinstance(one, tuple) else (one, False) for one in rows.get(name, [DASH] * len(columns))]
             for name, label in labels.items()}
    return Table(
        title, frame_of({label: [text for text, _ in row] for label, row in cells.items()}, columns),
        caption=[made_by(numbers.run, records)],
        bold={(label, columns[place]) for label, row in cells.items() for place, (_, bold) in enumerate(row) if bold},
        notes={labels[name]: f"{'incomplete' if name in rows else 'missing'}: {one}" for name, one in reasons.items()})


# Accuracy


def main_tables(numbers: Numbers) -> list[Table]:
    """Of each dataset, and each mean over categories, a table of all metrics; a row per method."""
    made = []
    for pair in numbers.pairs:
        records, reasons = numbers.on("records", pair), numbers.reasons(pair)
        rows = {method: [numbers.cell(pair, method, metric) for metric in MAIN]
                for method in set(numbers.on("main", pair)["method"])}
        made.append(table := _table(numbers, "/".join(pair), [*MAIN.values()], rows, records, reasons))
        table.caption += [tested(records), *data_warnings(numbers.run, pair)]
        table.warnings += too_small(records) + ["Warning: a method is missing, so that no winner is named."] * bool(
            reasons and rows)
    return made


def category_tables(numbers: Numbers) -> list[Table]:
    """Of datasets of several categories a table per metric of the summary; a row per category, columns are methods."""
    made = []
    for dataset in [pair[0] for pair in numbers.pairs if is_mean(pair)]:
        ours = numbers["main"][numbers["main"]["dataset"] == dataset]
        methods = [name for name in numbers.run.methods if name in set(ours["method"])]
        for metric in [one for one in SUMMARY if ours.loc[ours["metric"] == one, "mean"].notna().any()]:
            rows = {category: [numbers.cell((dataset, category), method, metric)[0] for method in methods]
                    for category in dict.fromkeys(ours["category"])}
            made.append(Table(f"{dataset}: {NAMES[metric]} by category", frame_of(rows, [
                ("methods", numbers.run.labels[method]) for method in methods], "category")))
    return made


def compact_table(numbers: Numbers) -> Table:
    """All on one page: a row per method; of each dataset, or its mean over categories, three metrics and latency."""
    averaged = {pair[0] for pair in numbers.pairs if is_mean(pair)}
    pairs = [pair for pair in numbers.pairs if is_mean(pair) or pair[0] not in averaged]
    labels = [*(NAMES[metric] for metric in COMPACT), "ms"]
    columns = [("/".join(pair), label) for pair in pairs for label in labels] + [("", "NFE")]
    rows: dict[str, list[Cell | str]] = {method: [] for method in numbers.run.methods}
    for method, row in rows.items():
        for pair in pairs:
            found = [numbers.cell(pair, method, metric) for metric in COMPACT]
            row += [*((text.partition(" ±")[0], bold) for text, bold in found), numbers.latency(pair, method)]
        row.append(numbers.nfe(method))
    table = _table(numbers, "all datasets", columns, rows, numbers["records"])
    table.caption += timed_on(numbers["timing"])[:1]
    table.warnings += busy(numbers["timing"]) + ["Warning: methods are missing; no winner is named over them."] * bool(
        len(numbers["missing"]))
    return table


def made_by(run: Run, records: pd.DataFrame) -> str:
    """Which run, what of it is not the default, and at which commit."""
    commits = sorted({one.commit[:10] + " with local changes" * bool(one.dirty)
                      for one in records.dropna(subset="commit").itertuples()})
    changes = ", ".join(f"{name} {value}" for name, value in flat(run.changed))
    return (f"Run {run.name}{', changed: ' * bool(changes)}{changes}."
            + f" Commit {', '.join(commits)}." * bool(commits))


def flat(settings: Mapping, before: str = "") -> Iterator[tuple[str, object]]:
    """Nested settings as (training.images, 800), ..."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def tested(records: pd.DataFrame) -> str:
    """On how many seeds and images, and what was promised."""
    if records.empty:
        return "No method was evaluated."
    seeds = sorted(set(records["seed"]))
    images = {name: span(records[name]) for name in records if name.startswith("n_")}
    return TEXT["tested"]["unlabelled" if records["n_test_unlabelled"].max() else "labelled"].format(
        seeds=f"{count(len(seeds), 'seed')} ({', '.join(map(str, seeds))})", **images,
        promised=span(records["false_positive_rate"], percent))


def too_small(records: pd.DataFrame) -> list[str]:
    small = records[records["calibration_too_small"].astype(bool)]
    return [TEXT["too_small"].format(n=span(small["n_calibration"]), promised=span(
        small["false_positive_rate"], percent))] * (len(small) > 0)


def data_warnings(run: Run, pair: Pair) -> list[str]:
    """What the check of the data warned of."""
    path = run.results.joinpath(*pair, "check.json")
    check = read_json(path, ("summary", "warnings")) if path.is_file() else {"warnings": []}
    return [f"Data: {check['summary']}, see {path}."] if check["warnings"] else []


def references(run: Run) -> str:
    """A Markdown list of what the methods are cited as; empty without citations."""
    lines = [f"- {run.labels[name]}: {one['citation']}\n" for name, one in run.methods.items() if one.get("citation")]
    return "".join(["\n## References\n\n", *lines] if lines else [])


# Timing


def timing_tables(numbers: Numbers) -> list[Table]:
    """Of each dataset latency, throughput and cost; then where the time goes, and the throughput at each batch size."""
    first, second = [], []
    for pair in [one for one in numbers.pairs if not is_mean(one)]:
        timed, reasons, records = numbers.on("timing", pair), numbers.reasons(pair, True), numbers.on("records", pair)
        first_one = next((numbers.run.labels.get(name, name) for name in timed.get("ratio_to", [])), "the first")
        columns = [(group, label.format(first=first_one)) for group, label in TIMING.values()]
        first.append(_table(numbers, "/".join(pair), columns, _measured(timed, TIMING), records, reasons))
        first[-1].caption += timed_on(timed)
        first[-1].warnings += busy(timed)
        if timed.empty:
            continue
        throughput = {row.method: json.loads(row.images_per_s_by_batch) for row in timed.itertuples()}
        sizes = sorted({size for found in throughput.values() for size in found}, key=int)
        cells = {method: [*row, *(rounded(throughput[method].get(size)) for size in sizes)]
                 for method, row in _measured(timed, COSTS).items()}
        columns = [*COSTS.values(), *(("images/s at batch", size) for size in sizes)]
        second.append(_table(numbers, f"{'/'.join(pair)}: where the time goes", columns, cells, records))
        second[-1].warnings += [
            f"Warning: {numbers.run.labels[row.method]} says NFE {plain(row.nfe)}, counted {plain(row.evaluations)}."
            for row in timed.itertuples() if row.evaluations > 0 and row.evaluations != row.nfe]
    return first + second


def _measured(timed: pd.DataFrame, columns: Iterable[str]) -> dict[str, list[str]]:
    """method -> its numbers, with half of their intervals where there are any."""
    return {row["method"]: [
        spread(row.get(name), row.get(f"{name}_low"), row.get(f"{name}_high"), WRITE.get(name, rounded))
        for name in columns] for _, row in timed.iterrows()}


def timed_on(timed: pd.DataFrame) -> list[str]:
    """On what methods were timed; how large the images were."""
    if timed.empty:
        return ["No method was timed."]
    shapes = dict.fromkeys("×".join(map(str, json.loads(shape))) for shape in timed["image_shape"])
    return [f"Timed on {'; '.join(device_texts(timed))}.",
            f"Image: {' and '.join(shapes)} (channels × height × width)."]


def device_texts(timed: pd.DataFrame) -> list[str]:
    """Kind and name of each device that was timed, and its threads."""
    shown = timed.reindex(columns=["device", "device_name", "threads"]).drop_duplicates().itertuples(index=False)
    return [f"{kind}{f' ({name})' if name not in (kind, '') and not pd.isna(name) else ''}"
            + ("" if pd.isna(threads) else f", {count(int(threads), 'thread')}") for kind, name, threads in shown]


def busy(timed: pd.DataFrame) -> list[str]:
    """Why times cannot be compared."""
    others = timed["cores_of_others"].max() if len(timed) else 0
    return ([TEXT["mixed"]] * (len(device_texts(timed)) > 1)
            + [TEXT["busy"].format(cores=rounded(others))] * bool(others > BUSY))


# Ranks, promises, seeds


def statistics_tables(numbers: Numbers) -> list[Table]:
    """Ranks over datasets, promised against measured false-positive rates, and what another seed would change."""
    made = [_promises(numbers)]
    if shown := [metric for metric in RANKED if metric in set(numbers["ranks"]["metric"])]:
        ranks = numbers["ranks"].set_index(["metric", "method"])["mean_rank"]
        made.insert(0, _table(numbers, "across datasets", [("mean rank", NAMES[metric]) for metric in shown], {
            method: [rounded(ranks[metric, method]) for metric in shown] for method in numbers.run.methods},
            numbers["records"]))
        made[0].caption += [rank_test(numbers, metric) for metric in shown]
    for pair in [one for one in numbers.pairs if not is_mean(one)]:
        found = numbers.on("statistics", pair)
        found = found[found["metric"].isin(RANKED)].set_index(["method", "metric"])
        shown = [metric for metric in RANKED if metric in found.index.get_level_values(1)]
        cells = {one.Index: (spread(one.mean, one.t_low, one.t_high), percent(one.share_test), percent(one.share_seed))
                 for one in found.itertuples()}
        rows = {method: [text for metric in shown for text in cells.get((method, metric), (DASH,) * 3)]
                for method, _ in cells}
        columns = [(NAMES[metric], label) for metric in shown for label in ("mean", "tests", "seed")]
        if shown:
            n = found["n_seeds"].min()
            made.append(_table(numbers, f"{'/'.join(pair)}: seeds", columns, rows, numbers.on("records", pair)))
            made[-1].caption += [f"{span(found['n_seeds'])} seed{'s' * bool(n > 1)}."] + [
                f"From {n} seeds a deviation is known to a factor of {span(deviation_factors(n), rounded)}, and the "
                "shares with it."] * bool(n > 1)
    return made


def rank_test(numbers: Numbers, metric: str) -> str:
    """What the tests across datasets say of a metric, or why there is none."""
    ours = numbers["ranks"].query("metric == @metric")
    pairs = numbers["comparisons"].query("metric == @metric").dropna(subset="p_holm")
    first, labels = ours.iloc[0], numbers.run.labels
    text = f"{NAMES[metric]}: {len(ours)} methods on {count(int(first['n_blocks']), 'dataset')} or categories"
    if not pd.isna(first["critical_difference"]):
        return (f"{text}; Friedman's statistic {rounded(first['friedman_statistic'])}, "
                f"p = {p_value(first['friedman_p'])}; mean ranks differ at 5 % where they lie "
                f"{rounded(first['critical_difference'])} apart (Nemenyi).")
    if len(ours) < FROM_CD and len(pairs):
        found = [f"{labels[row.method]} and {labels[row.other]} (p = {p_value(row.p_holm)})"
                 for row in pairs.itertuples() if row.p_holm < 0.05]
        return f"{text}; by Wilcoxon's test, corrected after Holm, differ: {', '.join(found) or 'none'}."
    fewest = FEWEST_FRIEDMAN if len(ours) >= FROM_CD else 6
    return f"{text}: too few to test (it takes {fewest}), the ranks only describe them."


def _promises(numbers: Numbers) -> Table:
    """The measured false-positive rates of all datasets; bold where their interval does not hold the promised one."""
    rates = numbers["main"].query("metric == @FPR").merge(
        numbers["records"].drop_duplicates(KEY)[[*KEY, "false_positive_rate"]], on=KEY).set_index(KEY)
    kept = (rates["ci_low"] <= rates["false_positive_rate"]) & (rates["false_positive_rate"] <= rates["ci_high"])
    broken = rates.index[~kept & rates["ci_low"].notna()]
    columns = [("measured FPR", "/".join(pair)) for pair in numbers.pairs]
    rows = {method: [(numbers.cell(pair, method, FPR)[0], (*pair, method) in broken) for pair in numbers.pairs]
            for method in rates.index.get_level_values(2)}
    table = _table(numbers, "false-positive rates", columns, rows, numbers["records"])
    for pair in numbers.pairs:
        records = numbers.on("records", pair)
        table.caption.append(
            f"{'/'.join(pair)}: promised {span(records['false_positive_rate'], percent)}, "
            f"{span(records['n_calibration'])} calibration and {span(records['n_test_normal'])} normal test images.")
    table.warnings += too_small(numbers["records"])
    return table


# The terminal


def summary(numbers: Numbers) -> str:
    """The main numbers as plain text of at most TERMINAL columns."""
    made = {(dataset, category): table for table in main_tables(numbers)
            for dataset, _, category in [table.title.partition("/")]}
    alone = sum(not is_mean(pair) for pair in made)
    parts = []
    for pair, table in made.items():
        if not is_mean(pair) and alone > SHOWN_ALONE:
            continue
        untimed = {} if is_mean(pair) else numbers.reasons(pair, timing=True)
        lines = [*table.warnings, *(f"{label} is {note}" for label, note in table.notes.items()),
                 *(f"{numbers.run.labels[name]}: {reason}" for name, reason in untimed.items())]
        parts += ["/".join(pair), _grid(numbers, pair, table.frame.index), *map(_filled, lines), ""]
    promised = span(numbers["records"]["false_positive_rate"], percent)
    last = [TEXT["summary"].format(promised=promised), *timed_on(numbers["timing"])[:1], *busy(numbers["timing"])]
    return "\n".join([*parts, *map(_filled, last)]) + "\n"


def _filled(line: str) -> str:
    return textwrap.fill(line, TERMINAL)


def _grid(numbers: Numbers, pair: Pair, labels: Iterable[str]) -> str:
    """A row per method; a name that is too long is cut, a number never."""
    def mark(cell: Cell) -> str:
        return "*" * cell[1] + cell[0].partition(" [")[0]

    rows = {label: [*(mark(numbers.cell(pair, method, metric)) for metric in SUMMARY),
                    numbers.latency(pair, method), numbers.nfe(method)]
            for method, label in numbers.run.labels.items() if label in labels}
    heads = [*(NAMES[metric] for metric in SUMMARY), "latency ms", "NFE"]
    # of the other columns: two blanks between them, and as many before a head
    taken = [2 + max(len(head) + 2, *map(len, cells)) for head, *cells in zip(heads, *rows.values(), strict=True)]
    room = TERMINAL - sum(taken)
    cut = [[label if len(label) <= room else f"{label[:room - 1]}…", *row] for label, row in rows.items()]
    return tabulate(cut, ["method", *heads], disable_numparse=True, colalign=["left", *["right"] * len(heads)])
