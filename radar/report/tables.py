"""The tables of a run, made from the CSV files that compare.py wrote. No number is computed here."""

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml
from tabulate import tabulate

from radar.evaluation.statistics import FEWEST_FRIEDMAN, deviation_factors
from radar.report.compare import FALSE_POSITIVE_RATES, FROM_CD, KEY, RANKED, latency, winners
from radar.report.format import DASH, count, interval, p_value, percent, plain, rounded, share, span, spread
from radar.report.load import Pair, Run, is_mean, of, once, pairs_of, read_csv, read_json
from radar.report.table import Bold, Table, frame_of

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
LABEL = 20       # of them; a longer name of a method breaks
SHOWN_ALONE = 6  # datasets that the terminal shows one by one, beside the means over categories


class Numbers(dict[str, pd.DataFrame]):
    """The CSV files that compare.py wrote of a run: numbers["main"]. Raises InputError.

    pairs: its datasets, before them the means over categories.
    """

    def __init__(self, run: Run, folder: Path):
        text = dict.fromkeys(["reason", "commit"], "str")
        super().__init__({name: read_csv(folder / f"{name}.csv", dtype=text) for name in FILES})
        self.run = run
        self.pairs = [*filter(is_mean, pairs_of(self["main"])), *run.pairs]
        self._main = {row[:4]: row[4:7] for row in self["main"].itertuples(index=False, name=None)}
        self._won = winners(self["main"], self["differences"])

    def cell(self, pair: Pair, method: str, metric: str, write: Callable[..., str] = spread) -> str:
        """A mean with half of its interval, of a rate with both ends; bold if it wins and no method is missing."""
        mean, low, high = self._main.get((*pair, method, metric), (float("nan"),) * 3)
        text = (interval if metric in FALSE_POSITIVE_RATES else write)(mean, low, high, share)
        return Bold(text) if (*pair, metric, method) in self._won and not self.reasons(pair) else text

    def reasons(self, pair: Pair, timing: bool = False) -> dict[str, str]:
        """method -> why something of it is missing: of its timing, or of all else."""
        rows = self["missing"] if is_mean(pair) else of(self["missing"], pair)
        rows = rows[(rows["dataset"] == pair[0]) & (rows["reason"].str.startswith("no timing") == timing)]
        texts = "not all of " + rows["category"] if is_mean(pair) else rows["reason"]
        return {name: "; ".join(dict.fromkeys(lines)) for name, lines in texts.groupby(rows["method"], sort=False)}

    def cost(self, pair: Pair, method: str) -> list[str]:
        """Its latency and NFE."""
        return [rounded(latency(self["timing"], pair, method)), span(self["timing"].query("method == @method")["nfe"])]

    def table(self, title: str, columns: Sequence[tuple[str, str]], rows: Mapping[str, Sequence[str]],
              reasons: Mapping[str, str] | None = None) -> Table:
        """A row per method in the order of the run; one without cells gets dashes, one with a reason a note."""
        reasons, labels = reasons or {}, self.run.labels
        cells = {label: rows.get(name, [DASH] * len(columns))
                 for name, label in labels.items() if name in rows or name in reasons}
        return Table(title, frame_of(cells, columns), [self._made_by()], notes={
            labels[name]: f"{'incomplete' if name in rows else 'missing'}: {one}" for name, one in reasons.items()})

    def _made_by(self) -> str:
        """Which run, what of it is not the default, and at which commit."""
        commits = sorted({one.commit[:10] + " with local changes" * bool(one.dirty)
                          for one in self["records"].dropna(subset="commit").itertuples()})
        changes = ", ".join(f"{name} {value}" for name, value in self.run.changed.items())
        return (f"Run {self.run.name}{', changed: ' * bool(changes)}{changes}."
                + f" Commit {', '.join(commits)}." * bool(commits))


# Accuracy


def main_tables(numbers: Numbers) -> list[Table]:
    """Of each dataset, and each mean over categories, a table of all metrics; a row per method."""
    made = []
    for pair in numbers.pairs:
        records, reasons = of(numbers["records"], pair), numbers.reasons(pair)
        rows = {method: [numbers.cell(pair, method, metric) for metric in MAIN]
                for method in of(numbers["main"], pair)["method"].unique()}
        made.append(table := numbers.table("/".join(pair), [*MAIN.values()], rows, reasons))
        table.caption += [tested(records), *data_warnings(numbers.run, pair)]
        table.warnings += too_small(records) + [TEXT["no_winner"]] * bool(reasons and rows)
    return made


def category_tables(numbers: Numbers) -> list[Table]:
    """Of datasets of several categories a table per metric of the summary; a row per category, columns are methods."""
    made = []
    for dataset in [pair[0] for pair in numbers.pairs if is_mean(pair)]:
        ours = numbers["main"].query("dataset == @dataset")
        methods = [name for name in numbers.run.methods if name in set(ours["method"])]
        for metric in [one for one in SUMMARY if one in set(ours.dropna(subset="mean")["metric"])]:
            rows = {category: [str(numbers.cell((dataset, category), method, metric)) for method in methods]
                    for category in ours["category"].unique()}
            made.append(Table(f"{dataset}: {NAMES[metric]} by category", frame_of(rows, [
                ("methods", numbers.run.labels[method]) for method in methods], "category")))
    return made


def compact_table(numbers: Numbers) -> Table:
    """All on one page: a row per method; of each dataset, or its mean over categories, three metrics and latency."""
    pairs, rows = once(numbers.pairs), {}
    for method in numbers.run.methods:
        rows[method] = [text for pair in pairs for text in (
            *(numbers.cell(pair, method, metric, lambda mean, *_: share(mean)) for metric in COMPACT),
            numbers.cost(pair, method)[0])] + numbers.cost(pairs[0], method)[1:]
    columns = [("/".join(pair), label) for pair in pairs for label in (*(NAMES[metric] for metric in COMPACT), "ms")]
    table = numbers.table("all datasets", [*columns, ("", "NFE")], rows)
    table.caption += timed_on(numbers["timing"])[:1]
    table.warnings += busy(numbers["timing"]) + [TEXT["no_winners"]] * (not numbers["missing"].empty)
    return table


def tested(records: pd.DataFrame) -> str:
    """On how many seeds and images, and what was promised."""
    seeds = sorted(set(records["seed"]))
    kind = "none" if records.empty else "unlabelled" if records["n_test_unlabelled"].max() else "labelled"
    return TEXT["tested"][kind].format(
        seeds=f"{count(len(seeds), 'seed')} ({', '.join(map(str, seeds))})",
        promised=span(records["false_positive_rate"], percent),
        **{name: span(records[name]) for name in records if name.startswith("n_")})


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
    for pair in numbers.run.pairs:
        timed = of(numbers["timing"], pair)
        first_one = next((numbers.run.labels.get(name, name) for name in timed.get("ratio_to", [])), "the first")
        columns = [(group, label.format(first=first_one)) for group, label in TIMING.values()]
        first.append(numbers.table("/".join(pair), columns, _measured(timed, TIMING), numbers.reasons(pair, True)))
        first[-1].caption += timed_on(timed)
        first[-1].warnings += busy(timed)
        if timed.empty:
            continue
        throughput = {row.method: json.loads(row.images_per_s_by_batch) for row in timed.itertuples()}
        sizes = sorted({size for found in throughput.values() for size in found}, key=int)
        cells = {method: [*row, *(rounded(throughput[method].get(size)) for size in sizes)]
                 for method, row in _measured(timed, COSTS).items()}
        columns = [*COSTS.values(), *(("images/s at batch", size) for size in sizes)]
        second.append(numbers.table(f"{'/'.join(pair)}: where the time goes", columns, cells))
        second[-1].warnings += [
            TEXT["evaluations"].format(method=numbers.run.labels[row.method], nfe=plain(row.nfe),
                                       counted=plain(row.evaluations))
            for row in timed.itertuples() if row.evaluations > 0 and row.evaluations != row.nfe]
    return first + second


def _measured(timed: pd.DataFrame, columns: Iterable[str]) -> dict[str, list[str]]:
    """method -> its numbers, with half of their intervals where there are any."""
    return {row["method"]: [
        spread(row.get(name), row.get(f"{name}_low"), row.get(f"{name}_high"), WRITE.get(name, rounded))
        for name in columns] for row in timed.to_dict("records")}


def timed_on(timed: pd.DataFrame) -> list[str]:
    """On what methods were timed; how large the images were."""
    if timed.empty:
        return [TEXT["untimed"]]
    shapes = dict.fromkeys("×".join(map(str, json.loads(shape))) for shape in timed["image_shape"])
    return [TEXT["timed"].format(devices="; ".join(device_texts(timed))),
            TEXT["image"].format(shapes=" and ".join(shapes))]


def device_texts(timed: pd.DataFrame) -> list[str]:
    """Kind and name of each device that was timed, and its threads."""
    shown = timed[["device", "device_name", "threads"]].drop_duplicates().itertuples(index=False)
    return [f"{kind} ({name}), {count(threads, 'thread')}" for kind, name, threads in shown]


def busy(timed: pd.DataFrame) -> list[str]:
    """Why times cannot be compared."""
    others = timed["cores_of_others"].max()
    return ([TEXT["mixed"]] * (len(device_texts(timed)) > 1)
            + [TEXT["busy"].format(cores=rounded(others))] * bool(others > BUSY))


# Ranks, promises, seeds


def statistics_tables(numbers: Numbers) -> list[Table]:
    """Ranks over datasets, promised against measured false-positive rates, and what another seed would change."""
    found = [_seeds(numbers, pair) for pair in pairs_of(numbers["statistics"].query("metric in @RANKED"))]
    return [*([] if numbers["ranks"].empty else [_ranks(numbers)]), _promises(numbers), *found]


def _ranks(numbers: Numbers) -> Table:
    """The mean ranks of all methods, and what the tests across datasets say."""
    ranks = numbers["ranks"].set_index(["metric", "method"])["mean_rank"]
    shown = ranks.index.unique("metric")
    table = numbers.table("across datasets", [("mean rank", NAMES[metric]) for metric in shown], {
        method: [rounded(ranks[metric, method]) for metric in shown] for method in numbers.run.methods})
    table.caption += [rank_test(numbers, metric) for metric in shown]
    return table


def rank_test(numbers: Numbers, metric: str) -> str:
    """What the tests across datasets say of a metric, or why there is none."""
    ours, text, labels = numbers["ranks"].query("metric == @metric"), TEXT["ranks"], numbers.run.labels
    pairs = numbers["comparisons"].query("metric == @metric").dropna(subset="p_holm")
    first, few = ours.iloc[0], len(ours) < FROM_CD
    found = text["few"].format(fewest=6 if few else FEWEST_FRIEDMAN)
    if not pd.isna(first["critical_difference"]):
        found = text["friedman"].format(statistic=rounded(first["friedman_statistic"]), p=p_value(first["friedman_p"]),
                                        distance=rounded(first["critical_difference"]))
    elif few and len(pairs):
        differ = [f"{labels[row.method]} and {labels[row.other]} (p = {p_value(row.p_holm)})"
                  for row in pairs.itertuples() if row.p_holm < 0.05]
        found = text["wilcoxon"].format(differ=", ".join(differ) or "none")
    return text["of"].format(metric=NAMES[metric], n=len(ours), blocks=count(first["n_blocks"], "dataset"), found=found)


def _promises(numbers: Numbers) -> Table:
    """The measured false-positive rates of all datasets; bold where their interval does not hold the promised one."""
    rates = numbers["main"].query("metric == @FPR").merge(
        numbers["records"].drop_duplicates(KEY)[[*KEY, "false_positive_rate"]], on=KEY)
    broken = rates.query("ci_low > false_positive_rate or ci_high < false_positive_rate").set_index(KEY).index
    table = numbers.table("false-positive rates", [("measured FPR", "/".join(pair)) for pair in numbers.pairs], {
        method: [(Bold if (*pair, method) in broken else str)(numbers.cell(pair, method, FPR))
                 for pair in numbers.pairs] for method in rates["method"].unique()})
    for pair in numbers.pairs:
        records = of(numbers["records"], pair)
        table.caption.append(TEXT["promised"].format(
            name="/".join(pair), rate=span(records["false_positive_rate"], percent),
            calibration=span(records["n_calibration"]), normal=span(records["n_test_normal"])))
    table.warnings += too_small(numbers["records"])
    return table


def _seeds(numbers: Numbers, pair: Pair) -> Table:
    """Means over seeds with their t-intervals, and whence the variance comes."""
    found = of(numbers["statistics"], pair).query("metric in @RANKED")
    shown, n = [metric for metric in RANKED if metric in set(found["metric"])], found["n_seeds"].min()
    cells = {(one.method, one.metric): (spread(one.mean, one.t_low, one.t_high), percent(one.share_test),
                                        percent(one.share_seed)) for one in found.itertuples()}
    table = numbers.table(
        f"{'/'.join(pair)}: seeds", [(NAMES[one], label) for one in shown for label in ("mean", "tests", "seed")],
        {method: [text for metric in shown for text in cells.get((method, metric), (DASH,) * 3)]
         for method in found["method"].unique()})
    table.caption += [f"{span(found['n_seeds'])} seed{'s' * bool(n > 1)}."] + [
        TEXT["deviation"].format(n=n, factor=span(deviation_factors(n), rounded))] * bool(n > 1)
    return table


# The terminal


def summary(numbers: Numbers) -> str:
    """The main numbers as plain text of at most TERMINAL columns."""
    lines = []
    shown = numbers.pairs if len(numbers.run.pairs) <= SHOWN_ALONE else once(numbers.pairs)
    for pair, table in zip(numbers.pairs, main_tables(numbers), strict=True):
        if pair in shown:
            untimed = {} if is_mean(pair) else numbers.reasons(pair, timing=True)
            lines += [table.title, _grid(numbers, pair, table), *table.warnings,
                      *(f"{label} is {note}" for label, note in table.notes.items()),
                      *(f"{numbers.run.labels[name]}: {reason}" for name, reason in untimed.items()), ""]
    promised = span(numbers["records"]["false_positive_rate"], percent)
    lines += [TEXT["summary"].format(promised=promised), *timed_on(numbers["timing"])[:1], *busy(numbers["timing"])]
    return "".join((line if "\n" in line else textwrap.fill(line, TERMINAL)) + "\n" for line in lines)


def _grid(numbers: Numbers, pair: Pair, table: Table) -> str:
    """The columns of SUMMARY, latency and NFE as plain text; the winner has an asterisk."""
    cells = table.frame[[MAIN[metric] for metric in SUMMARY]].map(
        lambda cell: "*" * isinstance(cell, Bold) + cell.partition(" [")[0])
    methods = {label: name for name, label in numbers.run.labels.items()}
    rows = [[label, *row, *numbers.cost(pair, methods[label])] for label, *row in cells.itertuples(name=None)]
    heads = ["method", *(NAMES[metric] for metric in SUMMARY), "latency ms", "NFE"]
    return tabulate(rows, heads, disable_numparse=True, colalign=["left", *["right"] * (len(heads) - 1)],
                    maxcolwidths=[LABEL, *[None] * (len(heads) - 1)])
