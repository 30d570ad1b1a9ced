"""What the figures of a run share: the style of each method, panels per dataset, labels that hide nothing, saving.

A colour is a family of methods, of Okabe and Ito's ("Color Universal Design", 2008), which everyone can tell apart;
within a family a method has its marker and its line. Sizes are in inches as printed; no text is below 7 points.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from numpy.typing import NDArray

from radar.files import atomic
from radar.report import format
from radar.report.load import KEY, Pair, Run

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
NEAR = 9  # points; a label so near its marker needs no line to it
ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
REACH = np.repeat([6, NEAR, 13, 18, 24, 32, 42, 54, 68, 84], len(ANGLES))[:, None]  # points from marker to label
AWAY = np.tile(np.c_[np.cos(ANGLES), np.sin(ANGLES)], (len(REACH) // len(ANGLES), 1))
ALONG = np.linspace(0, 0.95, 16)[None, :, None] * (REACH > NEAR)[:, None]  # where a line is looked at


@dataclass(frozen=True)
class Style:
    """How a method is drawn, in every figure alike."""

    label: str
    colour: str
    marker: str
    line: str | tuple


def style_of(run: Run) -> dict[str, Style]:
    """Of every method: the colour of its family, a marker and a line by its place in it."""
    styles, places = {}, dict.fromkeys(FAMILIES, 0)
    for name, method in run.methods.items():
        family = method.get("family") if method.get("family") in FAMILIES else None
        place, places[family] = places[family], places[family] + 1
        styles[name] = Style(run.labels[name], FAMILIES[family][1], MARKERS[place % len(MARKERS)],
                             LINES[place % len(LINES)])
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


def absent(run: Run, pairs: Iterable[Pair], table: pd.DataFrame) -> list[str]:
    """One line that names the methods without a row in `table`, or none."""
    known = set(table[KEY].itertuples(index=False, name=None))
    gaps = {pair: [label for name, label in run.labels.items() if (*pair, name) not in known] for pair in pairs}
    words = [f"{'/'.join(pair)}: {'all methods' if len(gone) == len(run.methods) else ', '.join(gone)}"
             for pair, gone in gaps.items() if gone]
    return [f"Not shown, for lack of results: {'; '.join(words)}."] if words else []


def log_axis(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 100 else (1.0,), numticks=12))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: format.plain(value)))
    axis.set_minor_formatter(ticker.NullFormatter())


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


# Labels beside points


def name_points(ax: Axes, points: NDArray, ends: NDArray, styles: Sequence[Style]) -> None:
    """Name the methods of points [N, 2] with bars up and down to `ends` [N, 2]; with a thin line to those not near.

    The figure's layout must stand (draw_without_rendering), and stays as it is.
    """
    scale = 72 / ax.figure.dpi  # all in points
    halo = [withStroke(linewidth=1.5, foreground="white")]
    texts = [ax.annotate(one.label, tuple(point), (0, 0), textcoords="offset points", fontsize=7, color=one.colour,
                         ha="center", va="center", annotation_clip=False, path_effects=halo, arrowprops={
                             "arrowstyle": "-", "linewidth": 0.5, "color": one.colour, "shrinkA": 0, "shrinkB": 3})
             for point, one in zip(points, styles, strict=True)]
    sizes = np.array([Text.get_window_extent(text).size for text in texts]) * scale
    anchors, low, high = (ax.transData.transform(np.c_[points[:, 0], y]) * scale for y in (points[:, 1], *ends.T))
    frame = np.array([*ax.bbox.min, *ax.bbox.max]) * scale
    offsets = spread(anchors, sizes, np.c_[low - 0.5, high + 0.5], frame)
    for text, size, offset in zip(texts, sizes, offsets, strict=True):
        text.set_position(tuple(offset))
        text.set_in_layout(False)
        if text.arrow_patch and np.hypot(*np.maximum(np.abs(offset) - size / 2, 0)) <= NEAR:
            text.arrow_patch.set_visible(False)


def spread(anchors: NDArray, sizes: NDArray, bars: NDArray, frame: NDArray) -> NDArray:
    """Offsets [N, 2] of the centres of labels of `sizes` [N, 2] from their `anchors` [N, 2]: near them, and apart.

    Greedy, where it is most crowded first. No label leaves the frame (x0, y0, x1, y1) or lies over a label, a marker
    or a line where there is another place; over `bars` [N, 4] if it must.
    """
    offsets, taken = np.zeros((len(anchors), 2)), np.c_[anchors - 5, anchors + 5]
    crowd = np.exp(-np.linalg.norm(anchors[:, None] - anchors, axis=-1) / 40).sum(1)
    for i in np.argsort(-crowd, kind="stable"):
        shift = AWAY * (REACH + sizes[i] / 2)
        boxes = np.tile(anchors[i] + shift, 2) + np.r_[-sizes[i] / 2 - 0.5, sizes[i] / 2 + 0.5]
        lines = np.tile(anchors[i] + shift[:, None] * ALONG, 2) + [-0.7, -0.7, 0.7, 0.7]
        outside = np.maximum(np.c_[frame[:2] - boxes[:, :2], boxes[:, 2:] - frame[2:]], 0).sum(1)
        crossed = _covered(lines.reshape(-1, 4), np.delete(taken, i, axis=0)).reshape(len(shift), -1).sum(1)
        best = np.argmin(REACH[:, 0] + 1000 * outside + 20 * crossed + 20 * _covered(boxes, taken)
                         + _covered(boxes, bars))
        taken, offsets[i] = np.r_[taken, boxes[[best]], lines[best]], shift[best]
    return offsets


def _covered(boxes: NDArray, others: NDArray) -> NDArray:
    """The area [K] of every box (x0, y0, x1, y1) [K, 4] that others [M, 4] cover."""
    sides = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    return sides.clip(0).prod(2).sum(1)
