"""The figures of the ablation study: a forest of intervals, curves over x, or the spread over redraws."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from radar.report.ablation import Ablation, Pair, Study, chosen_x, mean
from radar.report.ablation_tables import metric_label, row_labels, study_rows
from radar.report.ablation_text import missing_text
from radar.report.figures import (
    COLOURS,
    COLUMN,
    NOTE,
    WIDTH,
    Style,
    break_label,
    empty,
    log_axis,
    looks,
    method_entries,
    note_lines,
    styled,
    write_notes,
)
from radar.report.tables import (
    DASH,
    LOWER_IS_BETTER,
)

Drawn = list[tuple[Line2D, str]]
STAR = {"marker": "*", "markersize": 10, "markerfacecolor": "white", "markeredgewidth": 1.1, "linestyle": "none"}
BETTER, TIED, WORSE, LITERAL = (
    {"marker": ">", "color": COLOURS[0]}, {"marker": "o", "color": "#555555", "markerfacecolor": "white"},
    {"marker": "<", "color": COLOURS[5]}, {"marker": "D", "color": "#000000"})
LITERAL_LINE = {"color": "#666666", "linewidth": 0.8, "linestyle": (0, (1, 1.5))}


@styled
def figure(ablation: Ablation, name: str, table: pd.DataFrame) -> Figure:
    """The figure of a study, by its kind: a forest of intervals, curves over x, or the spread over redraws."""
    study = ablation.studies[name]
    return {"list": _list_figure, "curve": _curve_figure, "redraw": _redraw_figure}[study.kind](ablation, study, table)


def _grid(shape: tuple[int, int], width: float, heights: Sequence[float], entries: Drawn, notes: Sequence[str],
          **options) -> tuple[Figure, np.ndarray]:
    """Panels in rows of `heights` inches; below them a legend, then lines of text."""
    lines = note_lines(notes, width)
    longest = max((len(text) for _, text in entries), default=0)
    stacked = math.ceil(len(entries) / max(1, int(width / (0.5 + 0.06 * longest))))  # rows of the legend
    below = 0.1 + 0.165 * stacked + NOTE * len(lines)
    total = sum(heights) + below
    drawn = Figure(figsize=(width, total), layout="constrained")
    drawn.get_layout_engine().set(rect=(0, below / total, 1, 1 - below / total))
    axes = drawn.subplots(*shape, squeeze=False, gridspec_kw={"height_ratios": heights}, **options)
    if entries:
        drawn.legend([handle for handle, _ in entries], [text for _, text in entries], loc="lower center",
                     bbox_to_anchor=(0.5, (0.05 + NOTE * len(lines)) / total), borderaxespad=0.1, handlelength=2.6,
                     ncols=math.ceil(len(entries) / stacked), columnspacing=1.2)
    write_notes(drawn, lines)
    return drawn, axes


def _shown(rows: pd.DataFrame, pairs: Sequence[Pair], metrics: Sequence[str]) -> tuple[list[Pair], list[str], set]:
    """The datasets and metrics of which there is a number, and (dataset, category, metric) of all numbers."""
    have = set(rows.dropna(subset="mean")[["dataset", "category", "metric"]].itertuples(index=False, name=None))
    return ([pair for pair in pairs if any((*pair, metric) in have for metric in metrics)],
            [metric for metric in metrics if any((*pair, metric) in have for pair in pairs)], have)


def _whiskers(row) -> list[list[float]]:
    """The distances [[down], [up]] from a mean to the ends of its interval; 0 where it has none."""
    ends = (row.mean - row.ci_low, row.ci_high - row.mean)
    return [[0.0 if math.isnan(end) else max(0.0, end)] for end in ends]


# Lists


def _list_figure(ablation: Ablation, study: Study, table: pd.DataFrame) -> Figure:
    """A row of panels per dataset, a panel per metric; in it a row per variant: its value and 95 % interval."""
    rows = table[table["study"] == study.name]
    pairs, metrics, have = _shown(rows, ablation.pairs, study.metrics)
    notes = ["Bars: 95 % bootstrap interval over test images. Dotted: the literal reading. Higher, lower and tied are "
             "by the interval of the paired difference to it, which is narrower than the bars suggest.",
             *missing_text(ablation, [study])]
    if not pairs:
        return empty(notes)
    entries = [(Line2D([], [], linestyle="none", markeredgewidth=0.9, **style), text) for style, text in (
        (BETTER, "higher beyond chance"), (TIED, "tied"), (WORSE, "lower beyond chance"))]
    if any(entry.variant == ablation.literal for entry in study.entries):
        entries.insert(0, (Line2D([], [], **LITERAL_LINE | LITERAL), "literal reading"))
    else:
        entries.insert(0, (Line2D([], [], **LITERAL_LINE), "literal reading"))
    places, drawn, axes = _forest(row_labels(study), pairs, metrics, entries, notes)
    for line, pair in zip(axes, pairs, strict=True):
        for ax, metric in zip(line, metrics, strict=True):
            if (*pair, metric) not in have:
                ax.remove()
                continue
            _forest_panel(ax, ablation, study, rows, pair, metric, places)
            ax.set_title(f"{'/'.join(pair)}: {metric_label(metric)}")
    return drawn


def _forest(labels: Sequence[str], pairs: Sequence[Pair], columns: Sequence[str], entries: Drawn,
            notes: Sequence[str]) -> tuple[list[float], Figure, np.ndarray]:
    """Panels [datasets, columns] with one named row per label, the first one on top; and the rows' places in y."""
    labels = [break_label(label, 38) for label in labels]
    ends = np.cumsum([0, *(label.count("\n") + 1 for label in labels)])  # in lines
    places = ((ends[1:] + ends[:-1]) / 2).tolist()
    heights = [0.45 + max(0.4, 0.165 * ends[-1])] * len(pairs)
    drawn, axes = _grid((len(pairs), len(columns)), WIDTH, heights, entries, notes)
    for index, ax in np.ndenumerate(axes):
        ax.set_ylim(ends[-1] + 0.1, -0.1)
        ax.set_yticks(places, labels if index[1] == 0 else [""] * len(labels), fontsize=7, linespacing=1.0)
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    return places, drawn, axes


def _forest_panel(ax: Axes, ablation: Ablation, study: Study, rows: pd.DataFrame, pair: Pair, metric: str,
                  places: Sequence[float]) -> None:
    by = {row.variant: row for row in study_rows(rows, study.name, pair).itertuples() if row.metric == metric}
    for y, entry in zip(places, study.entries, strict=True):
        row = by.get(entry.variant)
        if "/".join(pair) not in entry.datasets:
            continue
        if row is None or math.isnan(row.mean):
            ax.text(0.02, y, DASH, transform=ax.get_yaxis_transform(), fontsize=8, va="center", ha="left")
            continue
        style = TIED
        if entry.variant == ablation.literal:
            style = LITERAL
            ax.axvline(row.mean, **LITERAL_LINE)
        elif row.difference_low > 0:
            style = BETTER
        elif row.difference_high < 0:
            style = WORSE
        ax.errorbar(row.mean, y, xerr=_whiskers(row), color=style["color"], elinewidth=0.9, linestyle="none")
        ax.plot(row.mean, y, linestyle="none", markeredgewidth=0.9, zorder=4, **style)
    literal = mean(ablation.of(pair, ablation.literal), metric)
    if ablation.literal not in by and not math.isnan(literal):
        ax.axvline(literal, **LITERAL_LINE)


# Curves


def _curve_figure(ablation: Ablation, study: Study, table: pd.DataFrame) -> Figure:
    """A column of panels per dataset, three in a row; a panel per metric; in it a line per series over x."""
    rows = table[table["study"] == study.name]
    pairs, metrics, have = _shown(rows, ablation.pairs, study.metrics)
    notes = ["Bars: 95 % bootstrap interval over test images; differences on the same images are known better, see the "
             "table. Points of one x stand beside one another.", *missing_text(ablation, [study])]
    if not pairs:
        return empty(notes)
    look = looks(study.series())
    entries = method_entries(study.series(), look, line=True)
    chosen = {(*pair, entry.variant) for pair in pairs for entry in study.entries if entry.x is None
              and chosen_x(study, ablation.detectors.get((*pair, entry.variant), []))}
    if chosen:
        entries.append((Line2D([], [], color="#333333", **STAR), "label-free choice"))
    literal = any(not math.isnan(mean(ablation.of(pair, ablation.literal), metric)) for pair in pairs
                  for metric in metrics if metric not in LOWER_IS_BETTER)
    if literal:
        entries.append((Line2D([], [], **LITERAL_LINE), "literal reading"))
    promised = "contamination" in f"{study.name} {study.x}".lower()
    if promised and LOWER_IS_BETTER & set(metrics):
        entries.append((Line2D([], [], color="#999999", linewidth=0.8), "rate = contamination"))

    columns = min(3, len(pairs))
    bands = math.ceil(len(pairs) / columns)
    width = COLUMN if columns == 1 else WIDTH
    drawn, axes = _grid((bands * len(metrics), columns), width, [2.0] * (bands * len(metrics)), entries, notes)
    xs = sorted({x for entry in study.entries if entry.x is not None for x in [entry.x]}
                | {x for key in chosen for x in chosen_x(study, ablation.detectors[key])})
    for place in range(bands * columns):
        band, column = divmod(place, columns)
        mine = axes[band * len(metrics): (band + 1) * len(metrics), column]
        pair = pairs[place] if place < len(pairs) else None
        for ax, metric in zip(mine, metrics, strict=True):
            if pair is None or (*pair, metric) not in have:
                ax.remove()
                continue
            _curve_panel(ax, ablation, study, study_rows(rows, study.name, pair), pair, metric, look)
            if promised and metric in LOWER_IS_BETTER:
                line = np.linspace(xs[0], xs[-1], 100)
                ax.plot(line, line, color="#999999", linewidth=0.8, zorder=1)
            elif not math.isnan(value := mean(ablation.of(pair, ablation.literal), metric)):
                ax.axhline(value, **LITERAL_LINE)
            x_axis(ax, xs, study.log)
            if column == 0 or (*pairs[place - 1], metric) not in have:
                ax.set_ylabel(metric_label(metric))
            lowest = [one for one in metrics if (*pair, one) in have][-1]
            if metric == lowest:
                ax.set_xlabel(study.x or "")
            if metric == next(one for one in metrics if (*pair, one) in have):
                ax.set_title("/".join(pair))
    return drawn


def _curve_panel(ax: Axes, ablation: Ablation, study: Study, rows: pd.DataFrame, pair: Pair, metric: str,
                 look: dict[str, Style]) -> None:
    rows = rows[rows["metric"] == metric].dropna(subset="mean")
    xs = sorted(entry.x for entry in study.entries if entry.x is not None)
    width = (max(xs[-1] / xs[0], 10) if study.log else xs[-1] - xs[0]) if xs else 0.0
    faint = 0.6 if len(look) <= 3 else 0.35

    def beside(x, index: int):
        """x, moved by a hundredth of the axis per series, so that bars do not hide one another."""
        shift = 0.01 * (index - (len(look) - 1) / 2)
        return x * width**shift if study.log else x + shift * width

    for index, (series, style) in enumerate(look.items()):
        curve = rows[(rows["series"] == series) & rows["x"].notna()].sort_values("x")
        if len(curve):
            x = beside(curve["x"], index)
            ends = np.hstack([_whiskers(row) for row in curve.itertuples()])
            ax.errorbar(x, curve["mean"], yerr=ends, color=style.colour, elinewidth=0.7, linestyle="none",
                        alpha=faint)
            ax.plot(x, curve["mean"], color=style.colour, marker=style.marker, linestyle=style.line, markersize=4.5,
                    markeredgecolor="white", markeredgewidth=0.5, zorder=3)
        for row in rows[(rows["series"] == series) & rows["x"].isna()].itertuples():
            key = (*pair, row.variant)
            choices = chosen_x(study, ablation.detectors[key])
            if not choices:  # nothing to vary: the same at every x
                ax.axhline(row.mean, color=style.colour, linestyle=style.line, linewidth=1.0)
            elif len(choices) == len(ablation.runs[key]):
                for x, run in zip(choices, ablation.runs[key], strict=True):
                    if (value := run.value(metric)) is not None:
                        ax.plot(beside(x, index), value, color=style.colour, zorder=5, **STAR)


def x_axis(ax: Axes, xs: Sequence[float], log: bool) -> None:
    """An axis over all of xs, with ticks at them where they do not come too close to one another."""
    low, high = min(xs, default=0), max(xs, default=1)
    formatter = EngFormatter(sep="") if high >= 10_000 else FuncFormatter(lambda value, _: f"{value:g}")
    if log and low > 0:
        ax.set_xscale("log")
        log_axis(ax, low / (high / low) ** 0.08 / 1.02, high * (high / low) ** 0.08 * 1.02)
        places = (np.log(xs) - np.log(ax.get_xlim()[0])) / np.log(ax.get_xlim()[1] / ax.get_xlim()[0])
    else:
        pad = 0.07 * (high - low) or 0.5
        ax.set_xlim(low - pad, high + pad)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        places = (np.array(xs) - low + pad) / (high - low + 2 * pad)
    # Widths of the numbers, as shares of a panel of 1.75 inches.
    widths = [0.06 * len(formatter(x, 0)) / 1.75 for x in xs]
    if all(b - a > (v + w) / 2 + 0.02 for (a, v), (b, w) in pairwise(zip(places, widths, strict=True))):
        ax.xaxis.set_major_locator(FixedLocator(list(xs)))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(formatter)


# Redraws


def _redraw_figure(ablation: Ablation, study: Study, table: pd.DataFrame) -> Figure:
    """Per dataset: the image AUROC of every redraw, and how much a score moves, in a row per series."""
    rows = table[table["study"] == study.name]
    columns = ["image_auroc", "redraw_relative_deviation"]
    pairs, _, have = _shown(rows, ablation.pairs, columns)
    notes = ["Left: a dot per redraw of the noise (mean over seeds), the bar from the lowest to the highest. Right: "
             "standard deviation of an image's score over the redraws, mean over test images, in percent of the "
             "standard deviation of the mean score over test images.", *missing_text(ablation, [study])]
    if not pairs:
        return empty(notes)
    look = looks(study.series())
    places, drawn, axes = _forest(list(look), pairs, columns, [], notes)
    for line, pair in zip(axes, pairs, strict=True):
        ours = study_rows(rows, study.name, pair)
        for y, (series, style) in zip(places, look.items(), strict=True):
            mine = ours[ours["series"] == series]
            auroc = mine.loc[(mine["metric"] == "image_auroc") & (mine["variant"] != ""), "mean"].dropna()
            if len(auroc):
                line[0].plot([auroc.min(), auroc.max()], [y, y], color=style.colour, linewidth=1.0)
                line[0].plot(auroc, [y] * len(auroc), color=style.colour, marker=style.marker, linestyle="none",
                             markeredgecolor="white", markeredgewidth=0.5, alpha=0.9)
            relative = mine.loc[mine["metric"] == columns[1], "mean"].dropna()
            if len(relative):
                line[1].plot(100 * relative, [y], color=style.colour, marker=style.marker, linestyle="none")
        line[0].set_title(f"{'/'.join(pair)}: image AUROC")
        if (*pair, columns[1]) in have:
            line[1].set_title(f"{'/'.join(pair)}: deviation of a score [%]")
            line[1].set_xlim(0, max(1.0, 1.1 * line[1].dataLim.x1))
        else:
            line[1].remove()
    return drawn
