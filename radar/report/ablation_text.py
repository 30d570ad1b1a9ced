"""What the tables of the ablation study say, in plain English, computed from them."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from radar.report.ablation import REDRAW, Ablation, Study, chosen_x, mean, stem
from radar.report.ablation_tables import (
    LIST_DIFFERENCES,
    metric_label,
    number,
    percent_of,
    row_labels,
    study_rows,
    with_interval,
)
from radar.report.tables import (
    short,
)


def paragraph(ablation: Ablation, table: pd.DataFrame, compared: pd.DataFrame) -> str:
    """What the tables say, in plain English: per topic a line, below it one line beginning with "- " per finding.

    Topics are separated by an empty line. table: of `table`; compared: of `comparisons`. Tied, or within chance: the
    95 % interval of the paired difference includes 0.
    """
    parts = [_readings_text(ablation, table), _t_text(ablation, table, compared), _draws_text(compared),
             _redraw_text(ablation, table), _space_text(compared), _nfe_text(compared),
             _budget_text(ablation, compared), *_pairs_texts(ablation, compared)]
    seeds = len(ablation.seeds)
    caveat = ("Tied and within chance mean that the 95 % interval of the paired difference, over resampled test "
              "images, includes 0. Intervals are not corrected for the number of comparisons: where nothing differs, "
              "about one comparison in twenty still looks like a difference. The best point of a curve is picked with "
              "the test labels. The intervals do not hold what another training would change "
              f"({seeds} seed{'s' * (seeds != 1)}).")
    missing = missing_text(ablation, ablation.studies.values())
    return "\n\n".join([*(part for part in parts if part), caveat, *missing])


def missing_text(ablation: Ablation, studies: Iterable[Study]) -> list[str]:
    """A sentence that names, per dataset, the variants of which something is missing; none if all is there."""
    studies = list(studies)
    lines = []
    for pair in ablation.pairs:
        names: dict[str, str] = {}
        for study in studies:
            for entry, label in zip(study.entries, row_labels(study), strict=True):
                if (*pair, entry.variant) in ablation.missing:
                    x = f" at {number(entry.x)} ({study.x})" if study.kind == "curve" and entry.x is not None else ""
                    names.setdefault(entry.variant, label + x)
        if names:
            lines.append(f"on {'/'.join(pair)} {'; '.join(dict.fromkeys(names.values()))}")
    return [f"Missing, at least in part: {'. '.join(lines)}."] if lines else []


def _topic(head: str, lines: Sequence[str]) -> str:
    """A topic with its findings; nothing where there is none."""
    return "\n".join([head, *(f"- {line}" for line in lines)]) if lines else ""


def _sides(rows: pd.DataFrame) -> tuple[list, list, list]:
    """Rows whose paired interval lies above 0, includes it, lies below it; those without an interval are left out."""
    known = [row for row in rows.itertuples() if not math.isnan(row.difference_low)]
    return ([row for row in known if row.difference_low > 0],
            [row for row in known if row.difference_low <= 0 <= row.difference_high],
            [row for row in known if row.difference_high < 0])


def _change(row) -> str:
    return with_interval(row.difference, row.difference_low, row.difference_high)


def _readings_text(ablation: Ablation, table: pd.DataFrame) -> str:
    """Per dataset and metric: which readings beat, equal and lose to the literal one."""
    lines = []
    for pair in ablation.pairs if "readings" in ablation.studies else ():
        for metric in LIST_DIFFERENCES:
            rows = study_rows(table, "readings", pair)
            rows = rows[(rows["metric"] == metric) & (rows["variant"] != ablation.literal)].dropna(subset="mean")
            literal = mean(ablation.of(pair, ablation.literal), metric)
            if math.isnan(literal) or rows.empty:
                continue
            sides = _sides(rows.sort_values("mean", ascending=False, kind="stable"))
            texts = [[f"{row.series} ({short(row.mean)}{'' if side is sides[1] else f', {_change(row)}'})"
                      for row in side] for side in sides]
            better, tied, worse = (f"({len(names)}): {'; '.join(names)}" if names else "(0)" for names in texts)
            lines.append(f"On {'/'.join(pair)}, in {metric_label(metric)}, the literal reading has {short(literal)}. "
                         f"Better {better}. Tied with it {tied}. Worse {worse}.")
    return _topic("Readings of RADAR against the literal one, in brackets the value and the difference to the literal "
                  "one with its paired interval.", lines)


def _t_text(ablation: Ablation, table: pd.DataFrame, compared: pd.DataFrame) -> str:
    """Per dataset and series: the best t, those within chance of it, and whether the label-free choice is."""
    study = ablation.studies.get("t")
    rows = _picked(compared, "t", "best", "image_auroc")
    if study is None or rows.empty:
        return ""
    values = {(row.dataset, row.category, row.variant): row.mean
              for row in table[(table["study"] == "t") & (table["metric"] == "image_auroc")].itertuples()}
    lines, verdicts = [], []
    for (dataset, category, series), points in rows.groupby(["dataset", "category", "series"], sort=False):
        curve, best = points.dropna(subset="x"), points.iloc[0]
        near = [row.x for row in curve.itertuples() if row.x == best.other_x or row.difference_high >= 0]
        line = (f'On {dataset}/{category}, "{series}" is best at {number(best.other_x)} '
                f"({short(values[dataset, category, best.other_variant])}) and within chance of that at "
                f"{ranges(near, curve['x'].tolist())}")
        for row in points[points["x"].isna()].itertuples():
            chosen = sorted(set(chosen_x(study, ablation.detectors[(dataset, category, row.variant)])))
            if math.isnan(row.difference_low):
                continue
            verdict = ("worse" if row.difference_high < 0 else "better" if row.difference_low > 0 else
                       "within chance of the best")
            line += f"; its label-free choice, {' and '.join(map(number, chosen))}, is {verdict} ({_change(row)})"
            verdicts.append(verdict)
        lines.append(f"{line}.")
    xs = sorted({entry.x for entry in study.entries if entry.x is not None})
    head = f"Timestep: image AUROC over t = {', '.join(map(number, xs))}."
    if verdicts:
        head += (f" The label-free choice is worse than the best t, beyond chance, in {verdicts.count('worse')} of "
                 f"{len(verdicts)} curves.")
    return _topic(head, lines)


def ranges(chosen: Sequence[float], grid: Sequence[float]) -> str:
    """Numbers of a rising grid, those that follow one another as a range: "1, 10 to 100"."""
    runs: list[list[float]] = []
    for before, x in zip([None, *grid], grid, strict=False):
        if x in chosen:
            if runs and runs[-1][-1] == before:
                runs[-1].append(x)
            else:
                runs.append([x])
    return ", ".join(number(run[0]) if len(run) == 1 else f"{number(run[0])} to {number(run[-1])}" for run in runs)


def _picked(compared: pd.DataFrame, study: str, what: str, metric: str) -> pd.DataFrame:
    return compared[(compared["study"] == study) & (compared["what"] == what) & (compared["metric"] == metric)]


def _sorted_out(rows: pd.DataFrame, words: tuple[str, str, str], name, where: str = "") -> tuple[str, list[str]]:
    """How many rows lie above 0, around it and below it, as a sentence; and per dataset, which ones."""
    lines = []
    for (dataset, category), ours in rows.groupby(["dataset", "category"], sort=False):
        clauses = [f"{word[0].upper()}{word[1:]} ({len(side)}): {'; '.join(map(name, side))}"
                   for word, side in zip(words, _sides(ours), strict=True) if side]
        lines += [f"On {dataset}/{category}{where}. {'. '.join(clauses)}."] if clauses else []
    counts = [f"{word} in {len(side)}" for word, side in zip(words, _sides(rows), strict=True)]
    return f"Of {sum(map(len, _sides(rows)))} comparisons: {', '.join(counts)}.", lines


def _span_name(row) -> str:
    return f"{row.series} (from {number(row.other_x)} to {number(row.x)} {_change(row)})"


def _draws_text(compared: pd.DataFrame) -> str:
    """What averaging over draws of the noise changes: most draws against fewest."""
    counts, lines = _sorted_out(_picked(compared, "draws", "span", "image_auroc"),
                                ("helps", "no change beyond chance", "hurts"), _span_name)
    return _topic(f"Averaging over draws of the noise: image AUROC, most draws against fewest. {counts}", lines)


def _redraw_text(ablation: Ablation, table: pd.DataFrame) -> str:
    """How much scores and image AUROC move when other noise is drawn."""
    lines = []
    for study in (one for one in ablation.studies.values() if one.kind == "redraw"):
        for pair in ablation.pairs:
            rows = study_rows(table, study.name, pair)
            values = {(row.series, row.metric): row.mean for row in rows[rows["variant"] == ""].itertuples()}
            clauses = []
            for series in study.on(pair).series():
                _, _, relative, low, high = (values.get((series, metric), math.nan) for metric in REDRAW)
                if not math.isnan(relative):
                    clauses.append(f'"{series}" by {percent_of(relative)} and from {short(low)} to {short(high)}')
            lines += [f"On {'/'.join(pair)}, {'; '.join(clauses)}."] if clauses else []
    return _topic("The same images scored with other noise: how far a score moves (its standard deviation over the "
                  "redraws, in percent of that over images), and the range of image AUROC.", lines)


def _space_text(compared: pd.DataFrame) -> str:
    """Features against pixels, for every method that can do both."""
    def name(row) -> str:
        ours, theirs = stem(row.series), stem(row.other_series)
        return f"{ours if ours == theirs else f'{row.series} over {row.other_series}'} ({_change(row)})"

    heads, lines = ["Features against pixels, features minus pixels."], []
    for metric in LIST_DIFFERENCES:
        rows = _picked(compared, "space", "space", metric)
        if len(rows):
            counts, found = _sorted_out(rows, ("better on features", "tied", "worse on features"), name,
                                        f", in {metric_label(metric)}")
            label = metric_label(metric)
            heads.append(f"{label[0].upper()}{label[1:]}: {counts[0].lower()}{counts[1:]}")
            lines += found
    return _topic(" ".join(heads), lines)


def _nfe_text(compared: pd.DataFrame) -> str:
    """Whether more network evaluations help: most against fewest, and where the best lies."""
    best = {(row.dataset, row.category, row.series): row.other_x
            for row in _picked(compared, "nfe", "best", "image_auroc").itertuples()}
    counts, lines = _sorted_out(
        _picked(compared, "nfe", "span", "image_auroc"), ("more help", "no change beyond chance", "more hurt"),
        lambda row: f"{_span_name(row)[:-1]}, best at {number(best[row.dataset, row.category, row.series])})")
    return _topic(f"Network evaluations per image: image AUROC, most against fewest. {counts}", lines)


def _budget_text(ablation: Ablation, compared: pd.DataFrame) -> str:
    """Which curves over the training budget still rise beyond chance between their last two points."""
    study = ablation.studies.get("budget")
    steps = compared[(compared["study"] == "budget") & (compared["what"] == "step")]
    if study is None or steps.empty:
        return ""
    order = {series: index for index, series in enumerate(study.series())}
    curves = steps.sort_values("x", kind="stable").groupby(["dataset", "category", "metric", "series"], sort=False)
    last = curves.tail(1).sort_values("series", key=lambda names: names.map(order), kind="stable")
    lines, rivals = [], {}
    for pair in ablation.pairs:
        for metric in dict.fromkeys(["image_auroc", *study.metrics]):
            rows = last[(last["metric"] == metric) & (last["dataset"] == pair[0]) & (last["category"] == pair[1])]
            rising, _, falling = _sides(rows)
            clauses = [f"{word} ({len(side)}): {'; '.join(map(_span_name, side))}"
                       for word, side in (("Still rising", rising), ("Falling", falling)) if side]
            lines += [f"On {'/'.join(pair)}, in {metric_label(metric)}. {'. '.join(clauses)}."] if clauses else []
            rivals |= dict.fromkeys(row.series for row in rising)
    verdict = (f"Still rising beyond chance, so under-trained at the largest budget: "
               f"{'; '.join(sorted(rivals, key=order.get))}." if rivals else
               "No curve still rises beyond chance.")
    head = f"Training budget ({study.x or 'x'}): the last two points of each of {len(last)} curves. {verdict}"
    return _topic(head, lines) or head


def _pairs_texts(ablation: Ablation, compared: pd.DataFrame) -> list[str]:
    """A topic per study that compares some of its series with one another."""
    texts = []
    for study in ablation.studies.values():
        rows = compared[(compared["study"] == study.name) & (compared["what"] == "pair")]
        lines = []
        for (dataset, category, metric), ours in rows.groupby(["dataset", "category", "metric"], sort=False):
            found = "; ".join(f"{row.series}, minus {row.other_series}: {_change(row)}" for row in ours.itertuples())
            lines.append(f"On {dataset}/{category}, in {metric_label(metric)}. {found}.")
        texts.append(_topic(f"{study.title}: differences, and their paired intervals.", lines))
    return texts
