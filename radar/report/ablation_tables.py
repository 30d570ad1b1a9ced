"""The tables of the ablation study, in Markdown and LaTeX: a block per study and dataset."""

import json
import math

import pandas as pd

from radar.report.ablation import REDRAW, Ablation, Entry, Pair, Study, space
from radar.report.latex import to_latex
from radar.report.tables import (
    DASH,
    LOWER_IS_BETTER,
    MAIN_COLUMNS,
    METRICS,
    NOTHING,
    Block,
    Cell,
    cell,
    main_caption,
    main_warnings,
    rounded,
    short,
    to_markdown,
    with_interval,
)

REBUILD = "snakemake --cores all results/tables/ablation.md"
LIST_METRICS = ("image_auroc", "image_ap", "f1", "pixel_auroc", "pixel_aupro")
LIST_DIFFERENCES = ("image_auroc", "pixel_aupro")
CALIBRATED = frozenset(metric for metric, group, *_ in MAIN_COLUMNS if group == "calibrated")
# metric -> (group, label within the group, full label)
NAMES = {metric: (f"own {metric[4:]}",) * 3 for metric in METRICS if metric.startswith("own_")} | {
    metric: (group, label, full) for metric, group, label, full in MAIN_COLUMNS} | {
    "own_false_positive_rate": ("own decision", "FPR (forest)", "own decision FPR (forest)"),
    "false_positive_rate_measured": ("calibrated", "FPR", "FPR")}
LEGEND = (
    "± is half the width of the 95 % bootstrap interval over test images, stratified by label; its two ends are in "
    "ablation.csv.",
    "Difference: variant minus the literal reading of RADAR on the same resamples, with its paired 95 % interval in "
    "brackets. Bold: the interval lies above 0. Intervals are not corrected for the number of comparisons.",
    "F1 is at the threshold calibrated on normal images; own decision is that of the forest.",
    f"{DASH} is not applicable, or missing where a note says so.",
)


def markdown(ablation: Ablation, table: pd.DataFrame, text: str) -> str:
    """GitHub-flavoured Markdown: the text, then a table per study and dataset."""
    title, _, rest = to_markdown("Ablation", LEGEND, blocks(ablation, table), REBUILD).partition("\n\n")
    clean = text.replace("*", "\\*").replace("<", "&lt;").replace("|", "\\|")
    return f"{title}\n\n{clean}\n\n{rest}"


def latex(ablation: Ablation, table: pd.DataFrame) -> str:
    """One floating table per study and dataset, to be \\input in a document that loads booktabs and rotating."""
    return to_latex("Ablation", LEGEND, blocks(ablation, table), REBUILD)


def blocks(ablation: Ablation, table: pd.DataFrame) -> list[Block]:
    """One block per study and dataset, one row per variant; of a redraw study, one row per series."""
    return [(_redraw_block if study.kind == "redraw" else _block)(ablation, study.on(pair), pair, table)
            for study in ablation.studies.values() for pair in ablation.pairs if study.on(pair).entries]


def _empty_block(ablation: Ablation, study: Study, pair: Pair) -> Block:
    runs = [run for entry in study.entries for run in ablation.of(pair, entry.variant)]
    return Block(f"{study.title}: {'/'.join(pair)}", main_caption(runs), [], [])


def _block(ablation: Ablation, study: Study, pair: Pair, table: pd.DataFrame) -> Block:
    rows = study_rows(table, study.name, pair)
    by = {key: row for key, row in zip(zip(rows["variant"], rows["metric"], strict=True), rows.itertuples(),
                                       strict=True)}
    block = _empty_block(ablation, study, pair)
    names = list(dict.fromkeys([*(LIST_METRICS if study.kind == "list" else ()), *study.metrics]))
    names.sort(key=lambda name: METRICS.index(name) if name in METRICS else len(METRICS))
    # A metric that no variant has (pixel metrics without masks), or a cost that all share, needs no column.
    metrics = [name for name in names if rows.loc[rows["metric"] == name, "mean"].notna().any()]
    metrics = metrics or [name for name in names if not name.startswith("pixel_")]
    differences = [name for name in (LIST_DIFFERENCES if study.kind == "list" else study.metrics)
                   if name not in LOWER_IS_BETTER and rows.loc[rows["metric"] == name, "difference"].notna().any()]
    costs = [(name, *heads) for name, *heads in (
        ("nfe", "cost", "NFE", "NFE"), ("training_images", "training", "images", "training images"),
        ("training_s", "training", "seconds", "training [s]")) if _tells(rows, name)]
    has_x = bool(study.x) and any(entry.x is not None for entry in study.entries)
    has_chosen = any(text != "" for text in rows["chosen"])

    block.columns += [("", study.x, study.x)] * has_x + [NAMES.get(name, ("", name, name)) for name in metrics]
    block.columns += [("difference to the literal reading", (label := metric_label(name)), f"difference in {label}")
                      for name in differences]
    block.columns += [tuple(heads) for _, *heads in costs] + [("", "chosen", "chosen")] * has_chosen
    if CALIBRATED & set(metrics):
        block.warnings += main_warnings([run for entry in study.entries for run in ablation.of(pair, entry.variant)])
    if differences == [] and not ablation.of(pair, ablation.literal):
        block.warnings.append("Warning: the literal reading is missing, so that no difference is given.")
    for entry, label in zip(study.entries, row_labels(study), strict=True):
        any_row = next(row for (variant, _), row in by.items() if variant == entry.variant)
        cells = [Cell(number(entry.x))] * has_x
        for name in metrics:
            row = by.get((entry.variant, name))
            cells.append(cell(row and (row.mean, row.ci_low, row.ci_high), bold=False))
        for name in differences:
            row = by.get((entry.variant, name))
            cells.append(NOTHING if row is None or math.isnan(row.difference) else
                         Cell(with_interval(row.difference, row.difference_low, row.difference_high),
                              bold=row.difference_low > 0))
        for name, *_ in costs:
            value = getattr(any_row, name)
            cells.append(Cell(rounded(value) if name == "training_s" else number(value)))
        if has_chosen:
            cells.append(Cell(_chosen_text(any_row.chosen)))
        name = f"{label}, {study.x} {number(entry.x)}" if has_x and entry.x is not None else label
        block.rows.append((label, _note(block, ablation, pair, entry, name), cells))
    return block


def _redraw_block(ablation: Ablation, study: Study, pair: Pair, table: pd.DataFrame) -> Block:
    rows = study_rows(table, study.name, pair)
    values = {(row.series, row.metric): row.mean for row in rows[rows["variant"] == ""].itertuples()}
    block = _empty_block(ablation, study, pair)
    block.caption.append(
        "Deviation: standard deviation of an image's score over the redraws, mean over test images; relative: over the "
        "standard deviation of the mean score over test images.")
    block.columns += [("", "redraws", "redraws"), ("image AUROC", "lowest", "lowest image AUROC"),
                      ("image AUROC", "highest", "highest image AUROC"),
                      ("score", "deviation", "deviation of a score"),
                      ("score", "relative", "relative deviation of a score")]
    for series in study.series():
        redraws, deviation, relative, low, high = (values.get((series, metric), math.nan) for metric in REDRAW)
        cells = [Cell(number(redraws)), *(NOTHING if math.isnan(one) else Cell(short(one)) for one in (low, high)),
                 Cell(rounded(deviation)), NOTHING if math.isnan(relative) else Cell(percent_of(relative))]
        notes = [mark for entry in study.entries if entry.series == series
                 for mark in _note(block, ablation, pair, entry, f"{series}, {entry.variant}")]
        block.rows.append((series, notes, cells))
    return block


def _note(block: Block, ablation: Ablation, pair: Pair, entry: Entry, name: str) -> list[int]:
    """The number of a new note that says why something of the variant is missing; nothing if all is there."""
    reason = ablation.missing.get((*pair, entry.variant))
    if reason is None:
        return []
    block.notes.append(f"{name} is {'incomplete' if ablation.of(pair, entry.variant) else 'missing'}: {reason}")
    return [len(block.notes)]


def _tells(rows: pd.DataFrame, name: str) -> bool:
    """Whether a cost differs between variants, and from x."""
    known = rows.drop_duplicates(["series", "x", "variant"]).dropna(subset=name)
    return known[name].nunique() > 1 and not (known[name].astype(float) == known["x"]).all()


def study_rows(table: pd.DataFrame, study: str, pair: Pair) -> pd.DataFrame:
    return table[(table["study"] == study) & (table["dataset"] == pair[0]) & (table["category"] == pair[1])]


def row_labels(study: Study) -> list[str]:
    """What each entry is called in a list: its series; where that repeats, with x, the space or the variant's name."""
    labels = []
    for entry in study.entries:
        twins = [one for one in study.entries if one.series == entry.series]
        if len(twins) == 1 or study.kind != "list":
            labels.append(entry.series)
        elif len({one.x for one in twins}) == len(twins):
            labels.append(f"{entry.series}, {number(entry.x)}")
        elif len({space(one.method) for one in twins}) == len(twins):
            labels.append(f"{entry.series} ({space(entry.method)})")
        else:
            labels.append(f"{entry.series} ({entry.variant})")
    return labels


def metric_label(metric: str) -> str:
    return NAMES.get(metric, (metric,) * 3)[2]


def number(value: float | None) -> str:
    """A number without needless digits: 0.05, 1, 25, 153600; a dash for None."""
    return DASH if value is None or pd.isna(value) else f"{value:.10g}"


def percent_of(share: float) -> str:
    """A share in percent, to two digits: 38 %, 4.2 %."""
    return f"{100 * share:.{max(0, 1 - math.floor(math.log10(100 * share)))}f} %" if share > 0 else "0 %"


def _chosen_text(chosen: str) -> str:
    """What was chosen, as text; seeds that differ behind one another."""
    if not chosen:
        return DASH
    found = json.loads(chosen)
    return "; ".join(", ".join(f"{name} = {value}" for name, value in one.items()) or "nothing"
                     for one in (found if isinstance(found, list) else [found]))
