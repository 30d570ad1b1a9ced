"""The figures of a run: accuracy and time, ROC curves, recall by defect, picture grids, training loss.

Each function takes tidy data and gives a Figure. Colours are those of Okabe and Ito ("Color Universal Design", 2008);
every method has a marker and a line style too, so that no figure depends on colour alone. Sizes are in inches as
printed: a figure is as wide as a column or as the text of a page with two of them; no text is smaller than 7 points.
"""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from PIL import Image

from radar.evaluation.statistics import not_apart, t_interval
from radar.files import atomic
from radar.images.map_archive import read_maps, read_scale

# Blue, orange, purple, black, sky blue, vermillion; bluish green comes last, far from vermillion; yellow is too pale.
COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#000000", "#56B4E9", "#D55E00", "#009E73")
MARKERS = ("o", "s", "^", "D", "v", ">", "X", "p", "<", "P")  # 10 and 7 have no common factor: 70 different pairs
LINES = ("-", "--", ":", "-.")
COLUMN, WIDTH = 3.4, 7.0  # of journals in two columns, whose text is at least so wide
TALLEST = 8.3  # the pictures of a grid; a page has room for them and their notes
REBUILD = "snakemake --cores all results/figures/{}.pdf"
NOTE = 0.125  # inches per line of a note
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "legend.fontsize": 7, "legend.frameon": False, "axes.spines.top": False,
    "axes.spines.right": False, "axes.linewidth": 0.6, "axes.grid": True, "grid.color": "#dddddd",
    "grid.linewidth": 0.5, "axes.axisbelow": True, "lines.linewidth": 1.2, "lines.markersize": 5,
    "pdf.fonttype": 42, "figure.dpi": 100,
}


@dataclass(frozen=True)
class Style:
    """How a method is drawn, in every figure alike."""

    label: str
    colour: str
    marker: str
    line: str


def looks(methods: Sequence[str], labels: Mapping[str, str] | None = None) -> dict[str, Style]:
    """One look per method, by its place in `methods`."""
    return {name: Style((labels or {}).get(name, name), COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)],
                       LINES[i // len(COLOURS) % len(LINES)]) for i, name in enumerate(methods)}


def save(figure: Figure, stem: Path) -> None:
    """Write `stem`.png (200 dpi) and `stem`.pdf, by temporary names; the same figure gives the same bytes.

    Both hold the command that rebuilds them: as Description, and as Subject.
    """
    command = f"Rebuild with: {REBUILD.format(stem.name)}"
    with matplotlib.rc_context(STYLE):
        with atomic(stem.with_name(stem.name + ".png")) as temporary:
            figure.savefig(temporary, dpi=200, metadata={"Software": None, "Description": command})
        with atomic(stem.with_name(stem.name + ".pdf")) as temporary:
            figure.savefig(temporary, metadata={"CreationDate": None, "Creator": None, "Producer": None,
                                                "Subject": command})


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the style of the suite, whatever the caller's settings are."""
    @wraps(draw)
    def wrapped(*args, **kwargs) -> Figure:
        defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
        with matplotlib.rc_context(defaults | STYLE):
            return draw(*args, **kwargs)

    return wrapped


def datasets_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(dataset, category), in the order of the table."""
    return list(table[["dataset", "category"]].drop_duplicates().itertuples(index=False, name=None))


def part(table: pd.DataFrame, pair: tuple[str, str]) -> pd.DataFrame:
    return table[(table["dataset"] == pair[0]) & (table["category"] == pair[1])]


def panels(pairs: Sequence[tuple[str, str]], height: float, entries: Sequence[tuple[Line2D, str]],
           notes: Sequence[str], **options) -> tuple[Figure, list[Axes]]:
    """One panel of `height` inches per dataset, three in a row; below them a legend, then lines of text."""
    columns = min(3, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    width = COLUMN if columns == 1 else WIDTH
    lines = note_lines(notes, width)
    longest = max((len(text) for _, text in entries), default=0)
    stacked = math.ceil(len(entries) / max(1, int(width / (0.5 + 0.06 * longest))))  # rows of the legend
    below = 0.1 + 0.165 * stacked + NOTE * len(lines)
    total = rows * height + below

    figure = Figure(figsize=(width, total), layout="constrained")
    figure.get_layout_engine().set(rect=(0, below / total, 1, 1 - below / total))
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for ax in axes[len(pairs):]:
        ax.remove()
    for ax, pair in zip(axes, pairs, strict=False):
        ax.set_title("/".join(pair))
    if entries:
        figure.legend([handle for handle, _ in entries], [text for _, text in entries], loc="lower center",
                      bbox_to_anchor=(0.5, (0.05 + NOTE * len(lines)) / total), borderaxespad=0.1, handlelength=2.6,
                      ncols=math.ceil(len(entries) / stacked), columnspacing=1.2)
    write_notes(figure, lines)
    return figure, axes[: len(pairs)]


def empty(notes: Sequence[str]) -> Figure:
    """A figure that says why there is nothing to see."""
    lines = ["No results to show.", *note_lines(notes, WIDTH)]
    figure = Figure(figsize=(WIDTH, 0.3 + NOTE * len(lines)))
    write_notes(figure, lines)
    return figure


def note_lines(notes: Sequence[str], width: float) -> list[str]:
    """Notes broken to the width of a figure [inches]."""
    return [line for note in notes for line in textwrap.wrap(note, int((width - 0.12) / 0.0525))]


def write_notes(figure: Figure, lines: Sequence[str]) -> None:
    """Lines of text at the bottom left; each takes NOTE inches."""
    width, height = figure.get_size_inches()
    figure.text(0.06 / width, 0.05 / height, "\n".join(lines), fontsize=7, va="bottom", color="#333333",
                linespacing=1.1)


def method_entries(shown: Sequence[str], look: Mapping[str, Style], line: bool) -> list[tuple[Line2D, str]]:
    return [(Line2D([], [], color=look[name].colour, marker=look[name].marker, markeredgecolor="white",
                    markeredgewidth=0.5, linestyle=look[name].line if line else "none"), look[name].label)
            for name in shown]


# Accuracy against latency


@styled
def accuracy_latency(accuracy: pd.DataFrame, timing: pd.DataFrame, look: Mapping[str, Style],
                     notes: Sequence[str] = ()) -> Figure:
    """Image AUROC with its 95 % interval against latency at batch 1 (median; the whisker ends at the p90).

    accuracy: the main table; timing: the timing table. A method that lacks either is not drawn.
    """
    auroc = accuracy[accuracy["metric"] == "image_auroc"].dropna(subset="mean")
    points = auroc.merge(timing, on=["dataset", "category", "method"]).dropna(subset="latency_ms_median")
    shown = [name for name in look if name in set(points["method"])]
    entries = method_entries(shown, look, line=False)
    notes = ["Upright bars: 95 % bootstrap interval over test images. Bars to the right: from the median to the 90th "
             "percentile of the latency.", *notes]
    pairs = datasets_of(points)
    if not pairs:
        return empty(notes)
    figure, axes = panels(pairs, 2.3, entries, notes, sharey=True)
    for ax, pair in zip(axes, pairs, strict=True):
        for row in part(points, pair).itertuples():
            style = look[row.method]
            low, high = (0 if math.isnan(end) else abs(end - row.mean) for end in (row.ci_low, row.ci_high))
            later = 0 if math.isnan(row.latency_ms_p90) else max(0.0, row.latency_ms_p90 - row.latency_ms_median)
            ax.errorbar(row.latency_ms_median, row.mean, yerr=[[low], [high]], xerr=[[0], [later]], color=style.colour,
                        elinewidth=0.9, linestyle="none")
            ax.plot(row.latency_ms_median, row.mean, color=style.colour, marker=style.marker, markeredgecolor="white",
                    markeredgewidth=0.5, markersize=6.5, zorder=4)
        ax.set(xscale="log", xlabel="latency [ms per image]")
    # All panels have the same axes, so that they can be compared.
    low, high = min(ax.get_xlim()[0] for ax in axes), max(ax.get_xlim()[1] for ax in axes)
    for ax in axes:
        log_axis(ax, low, high)
    for ax in axes[::3]:
        ax.set_ylabel("image AUROC")
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(max(0.0, low), min(1.01, high))
    return figure


def log_axis(ax: Axes, low: float, high: float) -> None:
    """A logarithmic x axis from `low` to `high` with plain numbers, at least a decade wide."""
    if high / low < 10:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 150 else (1.0,), numticks=12))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


# Where the time goes


# Part of a prediction: column of the timing table, name, colour, hatching.
PARTS = (("tiling_ms", "tiling", COLOURS[4], "////"), ("features_ms", "frozen features", COLOURS[6], "...."),
         ("noise_predictor_ms", "noise predictor", COLOURS[0], ""),
         ("other_network_ms", "other network", COLOURS[1], "xxxx"),
         ("rest_ms", "scoring and the rest", "#bbbbbb", ""))
MEASURED = {"marker": "o", "color": "#000000", "markeredgecolor": "white", "markeredgewidth": 0.5}
PREDICTED = {"marker": "D", "color": COLOURS[5], "markerfacecolor": "none", "markeredgewidth": 0.9}


@styled
def timing(table: pd.DataFrame, look: Mapping[str, Style], notes: Sequence[str] = ()) -> Figure:
    """Per dataset: the parts of a prediction as shares of it, and the latency beside what NFE predicts, a row a method.

    table: the timing table.
    """
    table = table.dropna(subset="latency_ms_median")
    notes = ["Left: one instrumented prediction of one image. Right: median latency at batch 1; predicted: NFE × one "
             "evaluation of the noise predictor, and the other networks once, each timed alone; at the margin measured "
             "/ predicted, a dash for no network.", *notes]
    pairs = datasets_of(table)
    if not pairs:
        return empty(notes)
    entries = [(Patch(facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0), name)
               for column, name, colour, hatch in PARTS if table[column].notna().any()]
    entries += [(Line2D([], [], linestyle="none", **style), name)
                for style, name in ((MEASURED, "measured"), (PREDICTED, "predicted"))]
    shown = [[name for name in look if name in set(part(table, pair)["method"])] for pair in pairs]
    lines = note_lines(notes, WIDTH)
    heights = [0.5 + 0.165 * len(names) for names in shown]
    below = 0.3 + NOTE * len(lines)
    total = sum(heights) + below

    figure = Figure(figsize=(WIDTH, total), layout="constrained")
    figure.get_layout_engine().set(rect=(0, below / total, 1, 1 - below / total))
    axes = figure.subplots(len(pairs), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
    figure.legend([handle for handle, _ in entries], [name for _, name in entries], loc="lower center",
                  bbox_to_anchor=(0.5, (0.05 + NOTE * len(lines)) / total), borderaxespad=0.1, handlelength=1.6,
                  ncols=len(entries), columnspacing=1.0)
    write_notes(figure, lines)
    for (shares, latencies), pair, names in zip(axes, pairs, shown, strict=True):
        rows = part(table, pair).set_index("method").loc[names]
        _shares_panel(shares, rows, [look[name].label for name in names])
        _predicted_panel(latencies, rows)
        shares.set_title("/".join(pair))
    low, high = min(ax.get_xlim()[0] for ax in axes[:, 1]), max(ax.get_xlim()[1] for ax in axes[:, 1])
    for ax in axes[:, 1]:
        log_axis(ax, low, high)
    axes[-1, 0].set_xlabel("share of a prediction [%]")
    axes[-1, 1].set_xlabel("latency [ms per image]")
    return figure


def _shares_panel(ax: Axes, rows: pd.DataFrame, labels: Sequence[str]) -> None:
    parts = rows[[column for column, *_ in PARTS]].fillna(0)
    shares = 100 * parts.div(parts.sum(axis=1), axis=0)
    start = np.zeros(len(rows))
    for column, _, colour, hatch in PARTS:
        ax.barh(range(len(rows)), shares[column], left=start, height=0.8, color=colour, hatch=hatch, edgecolor="white",
                linewidth=0)
        start += shares[column].to_numpy()
    ax.set(xlim=(0, 100), ylim=(len(rows) - 0.4, -0.6))
    ax.set_yticks(range(len(rows)), labels, fontsize=7)
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")


def _predicted_panel(ax: Axes, rows: pd.DataFrame) -> None:
    for y, row in enumerate(rows.itertuples()):
        known = not math.isnan(row.predicted_ms)
        if known:
            ax.plot([row.predicted_ms, row.latency_ms_median], [y, y], color="#666666", linewidth=0.9)
            ax.plot(row.predicted_ms, y, linestyle="none", **PREDICTED)
        ax.plot(row.latency_ms_median, y, linestyle="none", zorder=4, **MEASURED)
        ax.text(1.01, y, f"{row.measured_to_predicted:.2f}" if known else "–", fontsize=7, va="center_baseline",
                transform=ax.get_yaxis_transform())
    ax.set(xscale="log", ylim=(len(rows) - 0.4, -0.6))
    ax.set_yticks(range(len(rows)), [""] * len(rows))
    ax.tick_params(axis="y", length=0)


# ROC curves


def roc_points(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-positive rates at every distinct threshold, from (0, 0) to (1, 1). labels: 0 or 1."""
    from sklearn.metrics import roc_curve  # half a second to import, and only this figure needs it

    false_positive_rate, true_positive_rate, _ = roc_curve(labels, scores, drop_intermediate=False)
    return false_positive_rate, true_positive_rate


@styled
def roc(curves: pd.DataFrame, operating: pd.DataFrame, look: Mapping[str, Style], notes: Sequence[str] = ()) -> Figure:
    """ROC curves: thin per seed, thick their mean at equal false-positive rate, a marker at the calibrated threshold.

    curves: dataset, category, method, seed, fpr, tpr; operating: dataset, category, method, seed, fpr, tpr, promised.
    """
    shown = [name for name in look if name in set(curves["method"])]
    entries = method_entries(shown, look, line=True)
    promised = sorted(set(operating["promised"].dropna()))
    thin = len(shown) <= 10  # with more, they would hide the means
    rates = " or ".join(f"{100 * rate:g} %" for rate in promised)
    drawn = "Thick: mean over seeds; thin: each seed." if thin else "Lines: mean over seeds."
    notes = [f"{drawn} Marker: at the calibrated threshold, mean over seeds; dotted: the false-positive rate it "
             f"promises ({rates}).", *notes]
    pairs = datasets_of(curves)
    if not pairs:
        return empty(notes)
    figure, axes = panels(pairs, 2.55, entries, notes, sharey=True)
    grid = np.linspace(0, 1, 501)
    for ax, pair in zip(axes, pairs, strict=True):
        ax.plot([0, 1], [0, 1], color="#999999", linewidth=0.6)
        for rate in promised:
            ax.axvline(rate, color="#666666", linewidth=0.8, linestyle=":")
        ours = part(curves, pair)
        for name in shown:
            style = look[name]
            seeds = [curve for _, curve in ours[ours["method"] == name].groupby("seed")]
            if not seeds:
                continue
            for curve in seeds if thin and len(seeds) > 1 else []:
                ax.plot(curve["fpr"], curve["tpr"], color=style.colour, linewidth=0.4, alpha=0.5)
            # A ROC curve is a staircase: at a rate between two steps the lower step counts.
            steps = [curve["tpr"].to_numpy()[np.searchsorted(curve["fpr"].to_numpy(), grid, side="right") - 1]
                     for curve in seeds]
            ax.plot(np.r_[0, grid], np.r_[0, np.mean(steps, axis=0)], color=style.colour, linestyle=style.line)
        for name in shown:
            points = part(operating, pair)
            points = points[points["method"] == name]
            if len(points):
                ax.plot(points["fpr"].mean(), points["tpr"].mean(), color=look[name].colour, marker=look[name].marker,
                        markeredgecolor="white", markeredgewidth=0.6, markersize=6.5, zorder=5)
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xlabel="false-positive rate")
    for ax in axes[::3]:
        ax.set_ylabel("true-positive rate")
    return figure


# Recall by defect type and severity


def severity_bins(severity: pd.Series, most: int = 5) -> pd.Series:
    """Severities as text, easiest to read: each value if there are at most `most`, else that many ranges."""
    values = np.sort(severity.dropna().unique())
    if len(values) <= most:
        return severity.map(severity_text)
    edges = np.linspace(values[0], values[-1], most + 1)
    names = [f"{low:.2g}–{high:.2g}" for low, high in zip(edges, edges[1:], strict=False)]
    return pd.cut(severity, edges, labels=names, include_lowest=True).astype(object).fillna("")


@styled
def recall(defects: pd.DataFrame, look: Mapping[str, Style], notes: Sequence[str] = ()) -> Figure:
    """Share of anomalous images found at the calibrated threshold, by defect and severity, as one table per dataset.

    defects: dataset, category, method, seed, defect, severity (may be empty), n, detected; summed over seeds.
    """
    notes = ["Images detected at the calibrated threshold, all seeds together. The number behind a defect is its "
             "severity, in brackets how many images were shown; where they were not all, detected / shown.", *notes]
    pairs = datasets_of(defects)
    if not pairs:
        return empty(notes)
    shown = [name for name in look if name in set(defects["method"])]
    tables = [recall_table(part(defects, pair)) for pair in pairs]
    heads, labels = [cut(look[name].label, 28) for name in shown], [recall_labels(table) for table in tables]

    # Inches, from the top: slanted names of the methods; per dataset its name and its rows; notes.
    row, head, width = 0.165, 0.27, WIDTH
    names = 0.14 + 0.037 * max(map(len, heads))
    left = 0.25 + 0.062 * max(len(label) for ours in labels for label in ours)
    right = max(0.75, 0.045 * len(heads[-1]))  # the colour bar, and the end of the last name
    cell = min(0.75, (width - left - right) / len(shown))
    lines = note_lines(notes, width)
    body = sum(head + row * len(table) for table in tables)
    bar = max(0.7, min(1.3, body - head))
    height = names + max(body, head + bar) + 0.15 + NOTE * len(lines)
    figure = Figure(figsize=(width, height))
    top = height - names
    for index, (pair, table, ours) in enumerate(zip(pairs, tables, labels, strict=True)):
        figure.text(0.06 / width, (top - head + 0.06) / height, "/".join(pair), fontsize=8, weight="bold")
        top -= head + row * len(table)
        ax = figure.add_axes((left / width, top / height, cell * len(shown) / width, row * len(table) / height))
        _recall_panel(ax, table, shown, ours)
        if index == 0:
            ax.tick_params(axis="x", labeltop=True, labelbottom=False, pad=1)
            ax.set_xticks(range(len(shown)), heads, rotation=40, ha="left", rotation_mode="anchor", fontsize=7)
    ax = figure.add_axes(((left + cell * len(shown) + 0.12) / width, (height - names - head - bar) / height,
                          0.09 / width, bar / height))
    figure.colorbar(ScalarMappable(Normalize(0, 1), "cividis"), ax, ticks=[0, 0.5, 1]).set_label("recall", fontsize=7)
    ax.grid(False)
    write_notes(figure, lines)
    return figure


def recall_table(defects: pd.DataFrame) -> pd.DataFrame:
    """(defect, severity text) x method -> (detected, n), defects in the order given, severities rising."""
    defects = defects.assign(text=severity_bins(defects["severity"].astype(float)))
    order = defects.assign(place=defects["defect"].map({name: i for i, name in enumerate(defects["defect"].unique())}))
    index = order.sort_values(["place", "severity"], kind="stable")[["defect", "text"]].drop_duplicates()
    sums = defects.groupby(["defect", "text", "method"], sort=False)[["detected", "n"]].sum()
    return sums.unstack("method").reindex(pd.MultiIndex.from_frame(index))


def recall_labels(table: pd.DataFrame) -> list[str]:
    """The rows of a recall_table: a defect's name where it begins, its severity, and how many images were shown."""
    names, most = [defect for defect, _ in table.index], table["n"].max(axis=1)
    return [f"{cut(name, 26) if y == 0 or names[y - 1] != name else ''}  {severity}".rstrip() + f" ({n:.0f})"
            for y, ((name, severity), n) in enumerate(most.items())]


def _recall_panel(ax: Axes, table: pd.DataFrame, shown: Sequence[str], labels: Sequence[str]) -> None:
    detected = table["detected"].reindex(columns=list(shown)).to_numpy(float)
    total = table["n"].reindex(columns=list(shown)).to_numpy(float)
    share = np.divide(detected, total, out=np.full_like(detected, np.nan), where=total > 0)
    ax.imshow(share, cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for (y, x), value in np.ndenumerate(share):
        text = "–" if math.isnan(value) else f"{detected[y, x]:.0f}"
        if total[y, x] < np.nanmax(total[y]):
            text += f"/{total[y, x]:.0f}"
        ax.text(x, y, text, ha="center", va="center_baseline", fontsize=7,
                color="white" if value < 0.55 else "black")
    names = [defect for defect, _ in table.index]
    for y in range(1, len(names)):
        if names[y] != names[y - 1]:
            ax.axhline(y - 0.5, color="white", linewidth=2)
    ax.set_yticks(range(len(labels)), labels, fontsize=7)
    ax.set_xticks([])
    ax.grid(False)
    ax.tick_params(length=0, pad=3)
    for spine in ax.spines.values():
        spine.set_visible(False)


# Picture grid


SHOWN_RULE = ("Columns: the first normal test image, and of each defect the first image of its middle severity, "
              "in the order of the manifest.")


def chosen_images(manifest: pd.DataFrame, most: int = 9) -> pd.DataFrame:
    """Test images to show, by a rule that knows no method: see SHOWN_RULE; at most `most`, in the manifest's order.

    manifest: path, split, label, defect, severity, mask. The lower of two middle severities counts as the middle.
    """
    test = manifest[manifest["split"] == "test"]
    if (test["label"] == -1).any():  # without labels: spread over all
        return test.iloc[np.unique(np.linspace(0, len(test) - 1, min(most, len(test))).round().astype(int))]
    rows = [test[test["label"] == 0].head(1)]
    for _, images in test[test["label"] == 1].groupby("defect", sort=False):
        values = np.sort(images["severity"].dropna().unique())
        middle = images[images["severity"] == values[(len(values) - 1) // 2]] if len(values) else images
        rows.append(middle.head(1))
    return pd.concat(rows[:most])


@dataclass(frozen=True)
class Maps:
    """A method's maps of the shown images, and the range that its colours span (from all its test maps)."""

    shown: dict[str, np.ndarray]  # path -> [H, W]
    low: float
    high: float


def maps_of(file: Path, paths: Sequence[str]) -> Maps:
    """The maps of `paths` out of maps.npz; range: 1st to 99.5th percentile of all maps in it.

    Raises ValueError if the file is damaged, KeyError with the path if one has no map.
    """
    scale, wanted, shown, pixels = read_scale(file), set(paths), {}, np.zeros(2**16, np.int64)
    for path, one in read_maps(file):
        pixels += np.bincount(one.view(np.uint16).ravel(), minlength=2**16)  # a float16 has no more values than that
        if path in wanted:
            shown[path] = one.astype(np.float32) * scale
    if missing := [path for path in paths if path not in shown]:
        raise KeyError(missing[0])
    values = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)
    used = np.flatnonzero(pixels)
    used = used[np.argsort(values[used])]
    ends, last = np.cumsum(pixels[used]), pixels.sum() - 1

    def percentile(share: float) -> float:  # as np.percentile does
        before, after = (values[used[np.searchsorted(ends, place(share * last), side="right")]]
                         for place in (np.floor, np.ceil))
        return scale * (before + (after - before) * (share * last % 1))

    low, high = percentile(0.01), percentile(0.995)
    return Maps({path: shown[path] for path in paths}, float(low), float(high) if high > low else float(low) + 1e-12)


def picture(path: Path, shape: tuple[int, int] | None, resample: Image.Resampling) -> np.ndarray:
    """An image as [H, W] or [H, W, 3] in 0..1, resized to `shape` (H, W) if it differs. Raises OSError."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
            image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise OSError(f"{path} cannot be read as an image: prepare the data with snakemake --cores all, "
                      "or name its folder with --data") from error
    if shape is not None and image.size != (shape[1], shape[0]):
        image = image.resize((shape[1], shape[0]), resample)
    return np.asarray(image) / 255


def kind_of(row) -> str:
    """What a row of a manifest is called."""
    if row.label == -1:
        return Path(row.path).name
    return "normal" if row.label == 0 else f"{row.defect} {severity_text(row.severity)}".strip()


@styled
def picture_grid(title: str, rows: pd.DataFrame, folder: Path, maps: Mapping[str, Maps], look: Mapping[str, Style],
                 notes: Sequence[str] = ()) -> Figure:
    """One column per image of `rows` (path, label, defect, severity, mask); below it its truth and each method's map.

    folder: what the paths are relative to. Colours span one range per method, the same for every image. Where the
    pictures get larger by it, the methods go on in a second set of columns.
    """
    shown = [name for name in look if name in maps]
    notes = [SHOWN_RULE, "The colours of a method span the range at the right of its maps: from the 1st to the 99.5th "
             "percentile of its maps of all test images.", *notes]
    if not len(rows):
        return empty(notes)

    # Inches. From the top: title; names of the columns, rows of pictures; notes. From the left: names, pictures, bars.
    left, right, gap = 1.05, 0.42, 0.05
    labels = ["image", "truth", *(look[name].label for name in shown)]

    def side_of(sets: int) -> float:
        wide = (WIDTH - sets * (left + right)) / (sets * len(rows)) - gap
        return min(1.0, wide, TALLEST / math.ceil(len(labels) / sets) - gap)

    sets = max((1, 2, 3), key=side_of)
    side, deep = side_of(sets), math.ceil(len(labels) / sets)
    heads = [broken(kind_of(row), int((side + gap) / 0.053), 3) for row in rows.itertuples()]
    lines = note_lines(notes, WIDTH)
    top, bottom = 0.3 + 0.125 * max(head.count("\n") + 1 for head in heads), 0.1 + NOTE * len(lines)
    height = top + (side + gap) * deep + bottom
    figure = Figure(figsize=(WIDTH, height))
    figure.text(0.06 / WIDTH, 1 - 0.17 / height, title, fontsize=8, weight="bold")
    write_notes(figure, lines)

    def corner(line: int, column: int) -> tuple[float, float]:
        """The lower left corner of a picture."""
        return (left + line // deep * (left + right + (side + gap) * len(rows)) + (side + gap) * column,
                height - top - (side + gap) * (line % deep + 1) + gap)

    def place(line: int, column: int, width: float) -> Axes:
        x, y = corner(line, column)
        return figure.add_axes((x / WIDTH, y / height, width / WIDTH, side / height))

    last = {}
    for column, row in enumerate(rows.itertuples()):
        arrays = {name: maps[name].shown[row.path] for name in shown}
        image = picture(folder / row.path, next((array.shape for array in arrays.values()), None), Image.Resampling.BOX)
        mask = None
        if isinstance(row.mask, str) and row.mask:
            mask = picture(folder / row.mask, image.shape[:2], Image.Resampling.NEAREST)
        cells = [place(line, column, side) for line in range(len(labels))]
        cells[0].imshow(image, cmap="gray", vmin=0, vmax=1)
        _draw_truth(cells[1], image, mask, row.label)
        for ax, name in zip(cells[2:], shown, strict=True):
            last[name] = ax.imshow(arrays[name], cmap="magma", vmin=maps[name].low, vmax=maps[name].high)
        for ax in cells:
            ax.set_axis_off()
        for line in range(0, len(labels), deep):
            x, y = corner(line, column)
            figure.text((x + side / 2) / WIDTH, (y + side + 0.05) / height, heads[column], fontsize=7, ha="center",
                        va="baseline", linespacing=1.05)
    for line, label in enumerate(labels):
        x, y = corner(line, 0)
        figure.text((x - 0.06) / WIDTH, (y + side / 2) / height, broken(label, 16, max(1, int(side / 0.11))),
                    fontsize=7, ha="right", va="center", linespacing=1.0)
    for line, name in enumerate(shown, 2):
        ax = place(line, len(rows), 0.06)
        figure.colorbar(last[name], ax).outline.set_linewidth(0.4)
        ax.yaxis.set_major_locator(NullLocator())
        for end, value, align in ((0, maps[name].low, "bottom"), (1, maps[name].high, "top")):
            ax.text(1.5, end, compact(value), transform=ax.transAxes, fontsize=7, ha="left", va=align)
    return figure


def severity_text(severity: float) -> str:
    return "" if pd.isna(severity) else f"{severity:.3g}"


def _draw_truth(ax: Axes, image: np.ndarray, mask: np.ndarray | None, label: int) -> None:
    """The image with its mask filled and outlined; words where there is no mask."""
    if mask is None:
        ax.imshow(np.full((*image.shape[:2], 3), 0.93))
        ax.text(0.5, 0.5, "image\nlabel\nonly" if label else "normal", transform=ax.transAxes, ha="center", va="center",
                fontsize=7)
        return
    ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    filled = (mask if mask.ndim == 2 else mask.max(axis=2)) > 0
    overlay = np.zeros((*filled.shape, 4))
    overlay[filled] = (*to_rgb(COLOURS[1]), 0.45)
    ax.imshow(overlay, interpolation="nearest")
    if filled.any() and not filled.all():
        ax.contour(filled, levels=[0.5], colors=[COLOURS[1]], linewidths=0.9)


def break_label(text: str, width: int) -> str:
    """Break at underscores and blanks where a line would exceed `width` characters."""
    lines = [""]
    for word in text.replace("_", "_ ").split(" "):
        joint = "" if lines[-1].endswith("_") or not lines[-1] else " "
        if lines[-1] and len(lines[-1] + joint + word.rstrip("_")) > width:
            lines.append("")
            joint = ""
        lines[-1] += joint + word
    return "\n".join(lines)


def broken(text: str, width: int, most: int) -> str:
    """At most `most` lines of at most `width` characters; an ellipsis stands for what is cut."""
    lines = break_label(text, width).split("\n")
    if len(lines) > most:
        lines[most - 1:] = [" ".join(lines[most - 1:])]
    return "\n".join(cut(line, width) for line in lines)


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def compact(value: float) -> str:
    """At most six characters, so that both ends of a range fit beside a row."""
    text = f"{value:.2g}" if 0.01 <= abs(value) < 1000 or value == 0 else f"{value:.0e}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


# Training loss


@styled
def training_loss(losses: pd.DataFrame, notes: Sequence[str] = ()) -> Figure:
    """Loss against images seen: faint as written, solid smoothed over 5 % of the training.

    losses: dataset, category, network, seed, images, loss.
    """
    names, seeds = list(losses["network"].unique()), sorted(losses["seed"].unique())
    shades = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    styles = {seed: LINES[i % len(LINES)] for i, seed in enumerate(seeds)}
    entries = [(Line2D([], [], color=shades[name]), name) for name in names]
    entries += [(Line2D([], [], color="#555555", linestyle=styles[seed]), f"seed {seed}") for seed in seeds]
    notes = ["Mean over 5 % of the training; faint: as written. Each network has a loss of its own: compare seeds, not "
             "networks.", *notes]
    pairs = datasets_of(losses)
    if not pairs:
        return empty(notes)
    figure, axes = panels(pairs, 2.1, entries, notes)
    for ax, pair in zip(axes, pairs, strict=True):
        ours = part(losses, pair)
        for (name, seed), curve in ours.groupby(["network", "seed"], sort=False):
            curve = curve.sort_values("images")
            window = max(1, len(curve) // 20)
            ax.plot(curve["images"], curve["loss"], color=shades[name], linewidth=0.4, alpha=0.3)
            ax.plot(curve["images"], curve["loss"].rolling(window, center=True, min_periods=1).mean(),
                    color=shades[name], linestyle=styles[seed])
        positive = ours["loss"][ours["loss"] > 0]
        if len(positive) and positive.max() > 5 * positive.min():
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.set_xlabel("images seen")
    for ax in axes[::3]:
        ax.set_ylabel("training loss")
    return figure


# Seeds


SEED_METRICS = {"image_auroc": "image AUROC", "pixel_aupro": "AUPRO"}


@styled
def seeds(table: pd.DataFrame, look: Mapping[str, Style], notes: Sequence[str] = ()) -> Figure:
    """Image AUROC and AUPRO of every seed, and their mean with its 95 % t-interval, a row per method.

    table: dataset, category, method, metric, seed, value. The panels of a metric have one axis, over all its points.
    """
    table = table[table["metric"].isin(SEED_METRICS)]
    shown = [name for name in look if name in set(table["method"])]
    grey = {"color": "#555555", "linestyle": "none"}
    entries = [(Line2D([], [], marker="|", markersize=9, **grey), "a seed"),
               (Line2D([], [], marker="o", markeredgecolor="white", markeredgewidth=0.5, **grey), "mean over seeds")]
    notes = ["Bars: 95 % t-interval of the mean, for other seeds on the same test images; one that reaches the edge of "
             "its panel goes on beyond it. A single seed has none.", *notes]
    drawn = [(metric, pair) for metric in SEED_METRICS for pair in datasets_of(table[table["metric"] == metric])]
    if not drawn:
        return empty(notes)
    figure, axes = panels([("/".join(pair), metric) for metric, pair in drawn], 0.5 + 0.15 * len(shown), entries, notes,
                          sharey=True)
    for place, (ax, (metric, pair)) in enumerate(zip(axes, drawn, strict=True)):
        points = table.loc[table["metric"] == metric, "value"]
        pad = 0.06 * (points.max() - points.min()) + 0.01
        ours = part(table[table["metric"] == metric], pair)
        for y, name in enumerate(shown):
            values, style = ours.loc[ours["method"] == name, "value"].to_numpy(), look[name]
            if not len(values):
                continue
            ax.plot(t_interval(values), [y, y], color=style.colour, linewidth=1.0, alpha=0.6)
            ax.plot(values, [y] * len(values), color=style.colour, marker="|", markersize=9, linestyle="none")
            ax.plot(values.mean(), y, color=style.colour, marker=style.marker, markersize=4.5, markeredgecolor="white",
                    markeredgewidth=0.5, zorder=4)
        ax.set(xlim=(points.min() - pad, points.max() + pad), ylim=(len(shown) - 0.4, -0.6), title="/".join(pair),
               xlabel=SEED_METRICS[metric])
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_yticks(range(len(shown)), [look[name].label for name in shown])
        ax.tick_params(axis="y", length=0, labelleft=place % 3 == 0)
    return figure


# Ranks


@styled
def ranks(table: pd.DataFrame, sentences: Mapping[str, str], look: Mapping[str, Style],
          notes: Sequence[str] = ()) -> Figure:
    """Mean ranks over datasets and categories: a critical-difference diagram (Demsar, JMLR 2006) per metric.

    table: metric, method, mean_rank, critical_difference (empty = nothing is tested). sentences: metric -> what the
    tests say of it, or why there is none.
    """
    shown = [(metric, ours) for metric, ours in table.groupby("metric", sort=False) if len(ours) > 1]
    notes = ["Mean rank over datasets and categories, 1 = best. A thick bar joins methods whose ranks differ by less "
             "than the critical difference, where there is one.", *notes]
    if not shown:
        return empty([*notes, "Ranks need two methods with metrics on one dataset."])
    lines = note_lines(notes, WIDTH)
    texts = [note_lines([sentences[metric]], WIDTH) for metric, _ in shown]
    diagrams = []
    for _, ours in shown:
        ours = ours.sort_values("mean_rank", kind="stable")
        distance = float(ours["critical_difference"].iloc[0])
        mean_ranks = dict(zip(ours["method"], ours["mean_rank"], strict=True))
        diagrams.append((mean_ranks, distance,
                         [] if math.isnan(distance) else not_apart(list(mean_ranks.values()), distance)))
    heights = [0.2 + NOTE * len(text) + (0.35 if math.isnan(distance) else 0.55) + 0.09 * len(groups)
               + 0.165 * math.ceil(len(mean_ranks) / 2) + 0.15
               for text, (mean_ranks, distance, groups) in zip(texts, diagrams, strict=True)]
    below = 0.1 + NOTE * len(lines)
    total = sum(heights) + below
    figure = Figure(figsize=(WIDTH, total))
    write_notes(figure, lines)
    top = total
    for text, diagram, height in zip(texts, diagrams, heights, strict=True):
        top -= height
        ax = figure.add_axes((0, top / total, 1, height / total))
        ax.set(xlim=(0, WIDTH), ylim=(0, height))  # in inches
        ax.set_axis_off()
        ax.text(0.06, height - 0.1, "\n".join(text), fontsize=7, va="top", color="#333333", linespacing=1.1)
        _rank_diagram(ax, *diagram, look, height - 0.12 - NOTE * len(text))
    return figure


def _rank_diagram(ax: Axes, mean_ranks: Mapping[str, float], distance: float, groups: Sequence[tuple[int, int]],
                  look: Mapping[str, Style], top: float) -> None:
    """The axis of ranks from 1 to k, a stem to each method's name, the better half left; below `top`, in inches."""
    names = list(mean_ranks)  # from the best on
    longest = max(len(look[name].label) for name in names)
    left, right, k = 0.6 + 0.062 * longest, WIDTH - 0.6 - 0.062 * longest, len(names)

    def x(rank: float) -> float:
        return left + (right - left) * (rank - 1) / (k - 1)

    if not math.isnan(distance):
        ends = x(1), x(1 + distance)
        ax.plot(ends, [top - 0.14] * 2, color="#000000", linewidth=1.2, marker="|", markersize=4)
        ax.text(ends[1] + 0.06, top - 0.14, f"critical difference {distance:.2f}", fontsize=7,
                va="center")
    line = top - (0.3 if math.isnan(distance) else 0.45)
    ax.plot([x(1), x(k)], [line, line], color="#000000", linewidth=0.8)
    for rank in range(1, k + 1):
        ax.plot([x(rank)] * 2, [line, line + 0.04], color="#000000", linewidth=0.8)
        ax.text(x(rank), line + 0.06, str(rank), fontsize=7, ha="center", va="bottom")
    for index, (first, last) in enumerate(groups):
        ends = [x(mean_ranks[names[place]]) for place in (first, last)]
        ax.plot([ends[0] - 0.03, ends[1] + 0.03], [line - 0.09 * (index + 1)] * 2, color="#000000", linewidth=2.4,
                solid_capstyle="butt")
    half = math.ceil(k / 2)
    for place, name in enumerate(names):
        best = place < half
        y = line - 0.09 * len(groups) - 0.165 * (1 + (place if best else k - 1 - place))
        rank, style = mean_ranks[name], look[name]
        end, step = (left - 0.1, -0.06) if best else (right + 0.1, 0.06)
        ax.plot([x(rank), x(rank), end], [line, y, y], color=style.colour, linewidth=0.8)
        ax.plot(x(rank), line, color=style.colour, marker=style.marker, markeredgecolor="white", markeredgewidth=0.5,
                zorder=4)
        ax.text(end + step, y, f"{style.label}  {rank:.2f}" if best else f"{rank:.2f}  {style.label}", fontsize=7,
                ha="right" if best else "left", va="center")
