"""The figures of a run, out of its tables: accuracy and latency, where time goes, ROC, recall, seeds, ranks, loss.

Each function takes the run and tables as `compare` made them, and gives a Figure, drawn by a caller who is `styled`.
Nothing is measured here.
"""

import math
from itertools import cycle

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scikit_posthocs import critical_difference_diagram
from sklearn.metrics import roc_curve

from radar.report import compare, drawing, format
from radar.report.load import KEY, Pair, Run, of, once, pairs_of, read_csv
from radar.report.tables import NAMES

PARTS = {"tiling_ms": "tiling", "features_ms": "frozen features", "noise_predictor_ms": "noise predictor",
         "other_network_ms": "other network", "rest_ms": "scoring and the rest"}
GRID = np.linspace(0, 1, 501)  # of false-positive rates


def accuracy_latency(run: Run, main: pd.DataFrame, timing: pd.DataFrame) -> Figure:
    """Image AUROC with its 95 % interval against median latency, every method named at its point, a panel per dataset.

    Of a dataset with several categories their mean and the geometric mean of their latencies.
    """
    styles, points = drawing.style_of(run), main[main["metric"] == "image_auroc"].dropna(subset="mean")
    shown = once(pairs_of(points))
    points = points.loc[[(row.dataset, row.category) in shown for row in points.itertuples()]]
    points = points.assign(latency=[compare.latency(timing, (row.dataset, row.category), row.method)
                                    for row in points.itertuples()]).dropna(subset="latency")
    pairs, used = pairs_of(points), {one.colour for one in styles.values()}
    figure, [axes] = drawing.panels(pairs, 3.1, most=3, sharex=True, sharey=True)
    for ax, pair in zip(axes, pairs, strict=True):
        ax.axhline(0.5, color="#999999", linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
        for row in of(points, pair).itertuples():
            style, ends = styles[row.method], [[row.mean - row.ci_low], [row.ci_high - row.mean]]
            ax.errorbar(row.latency, row.mean, yerr=ends, color=style.colour, marker=style.marker, markersize=6,
                        markeredgecolor="white", elinewidth=0.9, alpha=0.95)
        ax.set(xlabel="latency [ms per image]", ylabel="image AUROC" if ax is axes[0] else "", xscale="log", xlim=(
            points["latency"].min() / 2, points["latency"].max() * 4))
        drawing.log_axis(ax.xaxis)
    drawing.entitle(figure, ["Mean image AUROC over seeds, with its 95 % bootstrap interval over test images; median "
                             "latency of one image. Up and left is better."],
                    [Patch(color=colour, label=name) for name, colour in drawing.FAMILIES.values() if colour in used])
    figure.draw_without_rendering()  # now the layout stands, and names can be placed in it
    for ax, pair in zip(axes, pairs, strict=True):
        ours = of(points, pair)
        drawing.name_points(ax, ours["latency"], ours["mean"], [styles[name] for name in ours["method"]])
    return figure


def timing(run: Run, timing: pd.DataFrame) -> Figure:
    """Of every dataset the parts of a prediction as shares of it; below, measured against predicted latency."""
    styles, known = drawing.style_of(run), timing.dropna(subset="latency_ms_median")
    pairs, labels = pairs_of(known), [one.label for one in styles.values()]
    colours = dict(zip(PARTS, sns.color_palette("mako_r", len(PARTS)), strict=True))
    figure, axes = drawing.panels(pairs, 0.5 + 0.14 * len(labels), deep=2, sharey=True)
    spans = known[["latency_ms_median", "predicted_ms"]].astype(float)
    limits = spans.min(axis=None) / 2, spans.max(axis=None) * 2
    for upper, lower, pair in zip(*axes, pairs, strict=True):
        ours, rows = of(known, pair).set_index("method").reindex(list(styles)), range(len(labels))
        parts = ours[list(PARTS)].astype(float)
        shares = parts.div(parts.sum(axis=1) / 100, axis=0)
        shares.plot.barh(stacked=True, ax=upper, color=colours, width=0.8, legend=False)
        upper.set(xlim=(0, 100), xlabel="share [%]")
        lower.hlines(rows, ours["predicted_ms"], ours["latency_ms_median"], color="#999999", linewidth=0.9)
        lower.scatter(ours["predicted_ms"], rows, 14, marker="D", facecolor="white", edgecolor="#555555", linewidth=0.8)
        lower.scatter(ours["latency_ms_median"], rows, 18, color=[one.colour for one in styles.values()], zorder=3)
        lower.set(xscale="log", xlabel="latency [ms]", xlim=limits)
        drawing.log_axis(lower.xaxis)
        drawing.name_rows(upper, labels)
        drawing.name_rows(lower, labels)
    dots = {"linestyle": "none", "color": "#555555", "markersize": 4}
    return drawing.entitle(figure, ["Upper: parts of one instrumented prediction. Lower: median latency; predicted: "
                                    "evaluations of networks times the time of one alone."],
                           [*(Patch(color=colours[part], label=name) for part, name in PARTS.items()),
                            Line2D([], [], marker="o", label="measured", **dots),
                            Line2D([], [], marker="D", label="predicted", markerfacecolor="white", **dots)])


def mean_rocs(run: Run, pair: Pair) -> dict[str, NDArray]:
    """Of every method its true-positive rates at the false-positive rates GRID, their mean over seeds; between two
    steps of a curve the lower counts. Raises InputError."""
    test = read_csv(run.results.joinpath(*pair, "manifest.csv"), ("path", "split", "label")).query("split == 'test'")

    def curve(method: str, seed: int) -> NDArray:
        scores = read_csv(run.place(pair, method, seed) / "scores.csv", ("path", "score"))
        judged = test[["path", "label"]].merge(scores, on="path")
        fpr, tpr, _ = roc_curve(judged["label"], judged["score"], drop_intermediate=False)
        return tpr[np.searchsorted(fpr, GRID, side="right") - 1]

    return {method: np.mean([curve(method, seed) for seed in run.seeds], axis=0) for method in run.methods}


def roc(run: Run, main: pd.DataFrame, results: pd.DataFrame) -> Figure:
    """ROC curves, mean over seeds, and where the calibrated threshold lies on them. Raises InputError."""
    styles, pairs = drawing.style_of(run), [pair for pair in run.pairs if run.datasets["/".join(pair)]["labelled"]]
    promised = results.loc[results["metric"] == "false_positive_rate", "value"].unique()
    points = main.pivot(index=KEY, columns="metric", values="mean")
    figure, [axes] = drawing.panels(pairs, 2.2 if len(pairs) <= 6 else 1.6, sharey=True, subplot_kw={"box_aspect": 1})
    for ax, pair in zip(axes, pairs, strict=True):
        ax.plot([0, 1], [0, 1], color="#999999", linewidth=0.6)
        ax.vlines(promised, 0, 1, color="#666666", linewidth=0.8, linestyle=":")
        for name, curve in mean_rocs(run, pair).items():
            style = styles[name]
            ax.plot([0, *GRID], [0, *curve], color=style.colour, linestyle=style.line, linewidth=1)
            ax.plot(*points.loc[(*pair, name), ["false_positive_rate_measured", "recall"]], color=style.colour,
                    marker=style.marker, markeredgecolor="white", markersize=6, zorder=4, clip_on=False)
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="false-positive rate",
               ylabel="true-positive rate" if ax is axes[0] else "")
        ax.xaxis.set_major_locator(ticker.MaxNLocator(4))
    return drawing.entitle(figure, ["Mean over seeds. Marker: at the calibrated threshold; dotted: the false-positive "
                                    f"rate that it promises, {format.span(promised, format.percent)}."],
                           [Line2D([], [], color=one.colour, marker=one.marker, linestyle=one.line,
                                   markeredgecolor="white", label=one.label) for one in styles.values()])


def recall_table(defects: pd.DataFrame, most: int = 5) -> pd.DataFrame:
    """Share of images detected, all seeds together: "defect severity (images)" x method.

    Defects in their order, severities rising; more than `most` severities are rounded up to as many.
    """
    level = defects["severity"]
    if level.nunique() > most:
        ends = np.linspace(level.min(), level.max(), most + 1)
        level = pd.cut(level, ends, labels=ends[1:], include_lowest=True).astype(float)
    order = pd.Categorical(defects["defect"], defects["defect"].unique())
    rows = defects.assign(defect=order, severity=level.fillna(-1))
    sums = rows.groupby(["defect", "severity", "method"], observed=True)[["detected", "n"]].sum().unstack("method")
    names = [defect + f" {severity:g}" * (severity >= 0) + f" ({images:g})"
             for (defect, severity), images in sums["n"].max(axis=1).items()]
    return (sums["detected"] / sums["n"]).set_axis(names)


def recall(run: Run, defects: pd.DataFrame) -> Figure:
    """Share of anomalous images found at the calibrated threshold, by defect and severity, a heatmap per dataset."""
    styles, pairs = drawing.style_of(run), pairs_of(defects)
    tables = [recall_table(of(defects, pair)).reindex(columns=list(styles)) for pair in pairs]
    figure = Figure(figsize=(drawing.WIDTH, 1 + sum(0.3 + 0.16 * len(table) for table in tables)), layout="constrained")
    sizes = [len(table) for table in tables]
    axes = figure.subplots(len(pairs), 1, squeeze=False, height_ratios=sizes).flat if pairs else []
    for ax, pair, table in zip(axes, pairs, tables, strict=True):
        sns.heatmap(table, ax=ax, vmin=0, vmax=1, cmap="cividis", annot=table.map(format.share), fmt="", cbar=False,
                    annot_kws={"fontsize": 7}, xticklabels=False, yticklabels=True, linewidths=0.3)
        ax.set(xlabel="", ylabel="")
        ax.set_title("/".join(pair), loc="left", weight="bold")
        ax.tick_params(length=0, labelrotation=0)
    for ax in figure.axes[:1]:
        drawing.name_columns(ax, list(styles.values()))
        figure.colorbar(ax.collections[0], ax=figure.axes, fraction=0.02, pad=0.01, label="recall", ticks=[0, 0.5, 1])
    return drawing.entitle(figure, ["Share of images detected at the calibrated threshold, all seeds together. Behind "
                                    "a defect: its severity, and (how many images)."])


def seeds(run: Run, results: pd.DataFrame, statistics: pd.DataFrame) -> Figure:
    """Image AUROC and AUPRO of every seed, and their mean with its 95 % t-interval, a row per method."""
    styles = drawing.style_of(run)
    labels, place = [one.label for one in styles.values()], {name: i for i, name in enumerate(styles)}
    shown = [(metric, pair) for metric in ("image_auroc", "pixel_aupro")
             for pair in pairs_of(statistics[statistics["metric"] == metric])]
    figure, [axes] = drawing.panels([pair for _, pair in shown], 0.5 + 0.14 * len(labels), sharey=True)
    for ax, (metric, pair) in zip(axes, shown, strict=True):
        values, means = (of(table[table["metric"] == metric], pair) for table in (results, statistics))
        for row in means.itertuples():
            style, y = styles[row.method], place[row.method]
            ax.plot([row.t_low, row.t_high], [y, y], color=style.colour, linewidth=1, alpha=0.6)
            ax.plot(row.mean, y, color=style.colour, marker=style.marker, markersize=4.5, markeredgecolor="white",
                    zorder=4)
        ax.scatter(values["value"], values["method"].map(place), 70, marker="|", linewidth=1,
                   color=[styles[name].colour for name in values["method"]])
        everything = results.loc[results["metric"] == metric, "value"]
        ax.set(xlim=(everything.min() - 0.05, everything.max() + 0.05), xlabel=NAMES[metric])
        ax.xaxis.set_major_locator(ticker.MaxNLocator(4))
        drawing.name_rows(ax, labels)
    return drawing.entitle(figure, ["Strokes: every seed. Markers and bars: their mean and its 95 % t-interval, for "
                                    "other seeds on the same test images, cut at the panel's edge."])


def ranks(run: Run, ranks: pd.DataFrame) -> Figure:
    """Mean ranks over datasets and categories: a critical-difference diagram (Demsar, JMLR 2006) per metric."""
    styles, groups = drawing.style_of(run), list(ranks.groupby("metric", sort=False))
    figure = Figure(figsize=(drawing.WIDTH, len(groups) * (0.7 + 0.1 * len(styles))), layout="constrained")
    axes = figure.subplots(len(groups), 1, squeeze=False).flat if groups else []
    for ax, (metric, ours) in zip(axes, groups, strict=True):
        first, mean, shown = ours.iloc[0], ours["mean_rank"].to_numpy(), [styles[name] for name in ours["method"]]
        tested, labels = not math.isnan(first["critical_difference"]), [one.label for one in shown]
        level = tested & (np.abs(mean[:, None] - mean) <= first["critical_difference"])
        critical_difference_diagram(
            dict(zip(labels, mean, strict=True)), pd.DataFrame(level, labels, labels).astype(float), ax=ax,
            color_palette={one.label: one.colour for one in shown}, label_props={"fontsize": 7},
            label_fmt_left="{label} {rank:.2f} ", label_fmt_right=" {rank:.2f} {label}",
            marker_props={"clip_on": False})
        test = (f"CD {format.rounded(first['critical_difference'])}, p of Friedman's test "
                f"{format.p_value(first['friedman_p'])}" if tested else "too few of them, or of methods, for a test")
        ax.set_title(f"{NAMES[metric]}: {format.count(int(first['n_blocks']), 'dataset')}, {test}", loc="left")
        ax.grid(False)
    return drawing.entitle(figure, ["Mean rank over datasets and categories, 1 = best. A thick bar joins methods whose "
                                    "ranks differ by no more than the critical difference (CD), where there is one."])


def loss(run: Run) -> Figure:
    """Loss of every trained network against images seen, mean over 5 % of the training. Raises InputError."""
    colours = dict(zip(dict.fromkeys(run.networks.values()), cycle(drawing.NEUTRAL), strict=False))
    lines = dict(zip(run.seeds, cycle(drawing.LINES), strict=False))
    figure, [axes] = drawing.panels(run.pairs, 1.9, sharey=True)
    for ax, pair in zip(axes, run.pairs, strict=True):
        for name, seed, path in run.trained(pair):
            curve = read_csv(path, ("images", "loss"))
            smooth = curve["loss"].rolling(max(1, len(curve) // 20), center=True, min_periods=1).mean()
            ax.plot(curve["images"], smooth, color=colours[name], linestyle=lines[seed])
        ax.set(xlabel="images seen", ylabel="training loss" if ax is axes[0] else "", yscale="log")
        drawing.log_axis(ax.yaxis)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(4))
        ax.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    return drawing.entitle(figure, ["Mean over 5 % of the training. Each network has a loss of its own: compare seeds, "
                                    "not networks."],
                           [*(Patch(color=colour, label=name) for name, colour in colours.items()),
                            *(Line2D([], [], color="#555555", linestyle=line, label=f"seed {seed}")
                              for seed, line in lines.items())])
