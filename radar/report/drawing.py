"""What the figures of a run share: the style of each method, panels per dataset, text and legend, saving.

A colour is a family of methods, of Okabe and Ito's ("Color Universal Design", 2008), which everyone can tell apart;
within a family a method has its marker and its line. Sizes are in inches as printed; no text is below 7 points.
"""

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from adjustText import adjust_text
from matplotlib import ticker
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from radar.files import atomic
from radar.report.load import Pair, Run

FAMILIES = {  # family of run.json: what it is called, its colour
    "skipping": ("skips the reconstruction", "#0072B2"), "reconstructing": ("reconstructs", "#D55E00"),
    "statistical": ("statistical, no diffusion", "#009E73"), None: ("other", "#CC79A7"),
}
MARKERS, LINES = "osD^vPX<>p", ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
NEUTRAL = ("#000000", "#56B4E9", "#E69F00", "#999999", "#F0E442")  # for what is no method
COLUMN, WIDTH = 3.4, 7.0  # of journals in two columns, whose text is at least so wide
STYLE: dict[Any, Any] = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"} | {
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "legend.fontsize": 7, "legend.frameon": False, "axes.spines.top": False,
    "axes.spines.right": False, "axes.linewidth": 0.6, "axes.edgecolor": "#666666", "xtick.color": "#333333",
    "ytick.color": "#333333", "axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.5, "axes.axisbelow": True,
    "lines.linewidth": 1.2, "lines.markersize": 5, "lines.markeredgewidth": 0.5, "pdf.fonttype": 42, "figure.dpi": 200,
}
# Decorates what draws or saves, so that no setting of the caller's matters.
styled = matplotlib.rc_context(STYLE)


@dataclass(frozen=True)
class Style:
    """How a method is drawn, in every figure alike."""

    label: str
    colour: str
    marker: str
    line: str | tuple


def style_of(run: Run) -> dict[str, Style]:
    """Of every method: the colour of its family, a marker and a line by its place in it."""
    styles, used = {}, Counter[str]()
    for name, method in run.methods.items():
        _, colour = FAMILIES.get(method.get("family"), FAMILIES[None])
        styles[name] = Style(run.labels[name], colour, MARKERS[used[colour] % len(MARKERS)],
                             LINES[used[colour] % len(LINES)])
        used[colour] += 1
    return styles


@styled
def save(figure: Figure, stem: Path, command: str) -> None:
    """Write `stem`.png (200 dpi) and `stem`.pdf with the command that makes them; the same figure, the same bytes."""
    about = {"png": {"Software": None, "Description": f"Made by {command}"},
             "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Subject": f"Made by {command}"}}
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # once is enough, and both files are alike
    for suffix, metadata in about.items():
        with atomic(stem.with_name(f"{stem.name}.{suffix}")) as temporary:
            figure.savefig(temporary, metadata=metadata)


def panels(pairs: Sequence[Pair], height: float, deep: int = 1, most: int = 5, **options) -> tuple[Figure, NDArray]:
    """A figure, and axes [deep, len(pairs)] of `height` inches: of every dataset `deep` of them below each other."""
    rows = math.ceil(len(pairs) / (3 if len(pairs) <= 6 else most)) or 1
    columns = math.ceil(len(pairs) / rows) or 1
    figure = Figure(figsize=(COLUMN if columns == deep == 1 and pairs else WIDTH, rows * deep * height + 0.4),
                    layout="constrained")
    grid = figure.subplots(rows * deep, columns, squeeze=False, **options)
    axes = np.array([grid[line::deep].ravel() for line in range(deep)])
    for ax in axes[:, len(pairs):].flat:
        ax.remove()
    for ax, (dataset, category) in zip(axes[0], pairs, strict=False):
        mean = category.startswith("mean of ")
        ax.set_title(f"{dataset}, {category} categories" if mean else f"{dataset}/{category}")
    return figure, axes[:, : len(pairs)]


def entitle(figure: Figure, lines: Iterable[str], legend: Sequence[Artist] = ()) -> Figure:
    """The figure with lines of text above its panels and a legend below them."""
    width, height = figure.get_size_inches()
    if not figure.axes:
        height, legend, lines = 0.2, (), ["Nothing to show.", *lines]
    text = "\n".join(textwrap.fill(line, int(19 * width)) for line in lines)
    figure.suptitle(text, x=0.01, ha="left", fontsize=7, color="#333333")
    rows = 0
    if legend:
        longest = max(len(str(one.get_label())) for one in legend)
        rows = math.ceil(len(legend) / max(1, int(width / (0.55 + 0.056 * longest))))
        figure.legend(handles=legend, loc="outside lower center", ncols=math.ceil(len(legend) / rows), handlelength=2.6)
    figure.set_figheight(height + 0.12 * (text.count("\n") + 1) + 0.16 * rows)
    return figure


def log_axis(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 100 else (1.0,), numticks=12))
    axis.set_major_formatter("{x:.10g}")
    axis.set_minor_formatter("")


def name_rows(ax: Axes, labels: Sequence[str]) -> None:
    """A row per label, the first on top."""
    ax.set_yticks(range(len(labels)), labels)
    ax.set(ylim=(len(labels) - 0.4, -0.6), ylabel="")
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")


def name_columns(ax: Axes, names: Sequence[Style | str], inches: float = 0) -> None:
    """A name above each column of width 1, of a method in its colour; level if a column is `inches` wide, enough."""
    level = inches > 0.8
    labels = [one.label if isinstance(one, Style) else one for one in names]
    ax.xaxis.tick_top()
    ax.set_xticks(np.arange(len(labels)) + 0.5, [textwrap.fill(one, 14) if level else one for one in labels],
                  rotation=0 if level else 40, ha="center" if level else "left", rotation_mode="anchor")
    for text, one in zip(ax.get_xticklabels(), names, strict=True):
        text.set_color(one.colour if isinstance(one, Style) else "black")


def name_points(ax: Axes, x: Iterable[float], y: Iterable[float], styles: Iterable[Style]) -> None:
    """Name the methods at their points, with a line where there is no room. The figure's layout must stand."""
    x, y = list(x), list(y)
    texts = [ax.text(*place, one.label, color=one.colour, fontsize=7, in_layout=False,
                     path_effects=[withStroke(linewidth=1.5, foreground="white")])
             for *place, one in zip(x, y, styles, strict=True)]
    adjust_text(texts, x, y, ax=ax, iter_lim=3000, explode_radius=0, expand=(1.1, 1.3), force_text=0.5,
                force_static=(0.2, 0.4), arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "#999999",
                                                     "shrinkA": 0})
