"""The figures of the ablation study: a forest of intervals for a list of variants, lines over x for curves."""

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from radar.report.ablation import SIDES, Ablation, choices, sides
from radar.report.ablation_tables import labels, named
from radar.report.drawing import MARKERS, WIDTH, entitle, name_rows, styled
from radar.report.format import DASH, plain
from radar.report.load import of, pairs_of
from radar.report.tables import TEXT

# of a list's variants
LOOKS = dict(zip(SIDES, (("#0072B2", ">"), ("#777777", "o"), ("#D55E00", "<"), ("#000000", "D"), ("#bbbbbb", "s")),
                 strict=True))
CHOICE = "label-free choice"
PALETTE = [colour for place, colour in enumerate(sns.color_palette("colorblind")) if place != 8]  # yellow is pale
LITERAL: dict[str, Any] = {"color": "#000000", "linewidth": 0.8, "linestyle": ":", "zorder": 1}
STAR: dict[str, Any] = {"marker": "*", "markersize": 10, "markerfacecolor": "white", "linestyle": "none", "zorder": 5}

@styled
def figure(ablation: Ablation, name: str, table: pd.DataFrame) -> Figure:
    """A row of panels per dataset of a study, a panel per metric. table: of ablation.table."""
    study = ablation.studies[name]
    rows = table[(table["study"] == name) & table["metric"].isin(study["metrics"])]
    rows = rows.assign(label=labels(rows), side=sides(rows, ablation.literal))
    gone = dict.fromkeys(f"{row.dataset}/{row.category} {row.label}" for row in rows.itertuples()
                         if (row.dataset, row.category, row.variant) in ablation.missing)
    notes = [TEXT["ablation"][study["kind"]], *([f"Missing, at least in part: {'; '.join(gone)}."] if gone else [])]
    have = rows.dropna(subset="mean")
    if have.empty:
        return entitle(Figure(figsize=(WIDTH, 0.2), layout="constrained"), notes)
    pairs, metrics = pairs_of(have), [one for one in study["metrics"] if one in set(have["metric"])]
    literals = table[table["variant"] == ablation.literal].dropna(subset="mean")
    height = 0.5 + 0.16 * rows["label"].nunique() if study["kind"] == "list" else 1.9
    drawn = Figure(figsize=(WIDTH, len(pairs) * height), layout="constrained")
    for pair, line in zip(pairs, drawn.subplots(len(pairs), len(metrics), squeeze=False), strict=True):
        for ax, one in zip(line, metrics, strict=True):
            panel, literal = (part[part["metric"] == one] for part in (of(have, pair), of(literals, pair)))
            if panel.empty:
                ax.remove()
                continue
            for value in literal["mean"].head(1):
                (ax.axvline if study["kind"] == "list" else ax.axhline)(value, **LITERAL)
            if study["kind"] == "list":
                _forest(ax, panel, rows["label"].unique().tolist())
            else:
                _curves(ax, panel, study, rows)
            ax.set(title=f"{'/'.join(pair)}: {named(one)}", ylabel="")
    return entitle(drawn, notes, _legend(drawn))


def _legend(drawn: Figure) -> list[Artist]:
    """An entry per name in the panels; the star last."""
    found = {str(one.get_label()): one for ax in drawn.axes for one in ax.get_legend_handles_labels()[0]}
    if found.pop(CHOICE, None):
        found[CHOICE] = Line2D([], [], color="#333333", label=CHOICE, **STAR)
    return list(found.values())


def _forest(ax: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    """A named row per variant, the first one on top; a dash where there is no number."""
    for side, own in rows.groupby("side", sort=False):
        colour, marker = LOOKS[side]
        y = own["label"].map(names.index)
        ax.hlines(y, own["ci_low"], own["ci_high"], colors=colour, linewidth=0.9)
        ax.plot(own["mean"], y, color=colour, marker=marker, linestyle="none", label=side)
    for name in set(names) - set(rows["label"]):
        ax.text(0.02, names.index(name), DASH, transform=ax.get_yaxis_transform(), va="center")
    name_rows(ax, names if ax.get_subplotspec().is_first_col() else [""] * len(names))
    ax.xaxis.set_major_locator(MaxNLocator(6))


def _curves(ax: Axes, rows: pd.DataFrame, study: dict, every: pd.DataFrame) -> None:
    """A line per series over x, and a star at every x that a seed chose. every: the rows of all panels."""
    series, xs = every["series"].unique().tolist(), sorted(set(every["x"].dropna()))

    def beside(x: pd.Series, name: str) -> pd.Series:
        """x, moved by a hundredth of the axis per series, so that bars do not hide one another."""
        shift = 0.012 * (series.index(name) - (len(series) - 1) / 2)
        return x * (xs[-1] / xs[0]) ** shift if study["log"] else x + shift * (xs[-1] - xs[0])

    for name, own in rows.groupby("series", sort=False):
        points, place = own.dropna(subset="x").sort_values("x"), series.index(name) % len(PALETTE)
        x, colour = beside(points["x"], name), PALETTE[place]
        ax.vlines(x, points["ci_low"], points["ci_high"], color=colour, alpha=0.5, linewidth=0.8)
        ax.plot(x, points["mean"], color=colour, marker=MARKERS[place], markeredgecolor="white", label=name)
        for row in own[own["x"].isna()].itertuples():
            chosen = pd.Series(choices(row.chosen)).drop_duplicates()
            ax.plot(beside(chosen, name), [row.mean] * len(chosen), color=colour, label=CHOICE, **STAR)
    ax.set(xlabel=study["x"], xscale="log" if study["log"] else "linear")
    ax.set_xticks(xs, [plain(x) for x in xs])
    ax.xaxis.set_minor_locator(NullLocator())
