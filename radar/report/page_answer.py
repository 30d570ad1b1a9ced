"""Does skipping the reconstruction win, by how much, how sure, at what cost: computed from the runs of a selection."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from radar.evaluation.bootstrap import paired_difference
from radar.report.tables import (
    DASH,
    NOTHING,
    Block,
    Cell,
    Run,
    common,
    grouped,
    mean_over_categories,
    seed_mean,
    signed,
    with_interval,
)

METRIC = "image_auroc"
# By class: what reads the anomaly from the noise or the latent; what reconstructs the image and compares; what has no
# diffusion model at all. A class of the user's is none of them, and stands in the tables alone.
SKIPPING = ("radar.method.radar:RADAR", "radar.method.readings:Readings", "baselines.invad:InvAD")
RECONSTRUCTING = ("baselines.ddpm:DDPM", "baselines.diffusionad:DiffusionAD")
STATISTICAL = ("baselines.gaussian:Gaussian", "baselines.pca:PCA")

Latencies = Mapping[tuple[str, str, str], float]  # (dataset, category, method) -> ms


@dataclass(frozen=True)
class Contrast:
    """Ours minus theirs on a dataset with its paired 95 % interval (NaN if unknown), and our share of their latency."""

    ours: str
    theirs: str
    difference: float
    low: float
    high: float
    ratio: float

    @property
    def verdict(self) -> str:
        return "better" if self.low > 0 else "worse" if self.high < 0 else "within chance"


def units(runs: Sequence[Run]) -> dict[tuple[str, str], dict[str, list[Run]]]:
    """What counts once: a dataset, by the mean over its categories if it has several of them."""
    groups, means = grouped(runs), grouped(mean_over_categories(runs))
    over = {dataset: (dataset, category) for dataset, category in means}
    return {over.get(key[0], key): means[over[key[0]]] if key[0] in over else group for key, group in groups.items()}


def contrast(group: Mapping[str, Sequence[Run]], ours: str, theirs: str, ratio: float) -> Contrast | None:
    """Two methods on the same resamples of their common seeds; None if they have none."""
    sides = common(group[ours], group[theirs])
    if not sides[0]:
        return None
    means = [float(np.mean([run.value(METRIC) for run in side])) for side in sides]
    draws = [seed_mean(side, METRIC) for side in sides]
    known = all(one is not None for one in draws)
    low, high = paired_difference(*draws) if known else (math.nan, math.nan)
    return Contrast(ours, theirs, means[0] - means[1], float(low), float(high), ratio)


def unit_latency(latencies: Latencies, unit: tuple[str, str], method: str) -> float | None:
    """Latency [ms] on a unit, the geometric mean over its categories; None where one was not timed."""
    if unit[1].startswith("mean of "):
        found = [value for (dataset, _, name), value in latencies.items() if (dataset, name) == (unit[0], method)]
        complete = len(found) == len({key[:2] for key in latencies if key[0] == unit[0]})
        return math.exp(float(np.mean(np.log(found)))) if found and complete else None
    return latencies.get((*unit, method))


def latency_ratio(latencies: Latencies, unit: tuple[str, str], ours: str, theirs: str) -> float:
    """Latency of ours over theirs on a unit; NaN where one was not timed."""
    pair = [unit_latency(latencies, unit, method) for method in (ours, theirs)]
    return math.nan if None in pair else pair[0] / pair[1]


def same_network(methods: Mapping[str, Mapping]) -> tuple[str, str] | None:
    """The first method that skips and the first that reconstructs on the very same trained noise predictor.

    methods: name -> its YAML, in the order of the run.
    """
    for ours, method in methods.items():
        for theirs, other in methods.items():
            if (method["class"] in SKIPPING and other["class"] in RECONSTRUCTING and method.get("noise_predictor")
                    and method["noise_predictor"] == other.get("noise_predictor")):
                return ours, theirs
    return None


def answer(runs: Sequence[Run], latencies: Latencies, methods: Mapping[str, Mapping],
           labels: Mapping[str, str]) -> tuple[list[str], Block | None]:
    """A paragraph as a list of sentences, and a table of a row per dataset; ([], None) if nothing can be compared.

    methods: name -> its YAML, in the order of the run.
    """
    pair = same_network(methods)
    kinds = {kind: [name for name, method in methods.items() if method["class"] in kind]
             for kind in (SKIPPING, RECONSTRUCTING, STATISTICAL)}
    like, best, floor, tested = {}, {}, {}, []
    for unit, group in units(runs).items():
        group = {name: kept for name, ours in group.items()
                 if (kept := [run for run in ours if run.value(METRIC) is not None])}
        tops = {kind: max((name for name in names if name in group), default=None,
                          key=lambda name: np.mean([run.value(METRIC) for run in group[name]]))
                for kind, names in kinds.items()}
        wanted = [(like, *pair)] if pair and set(pair) <= group.keys() else []
        wanted += [(found, tops[SKIPPING], tops[kind]) for found, kind in ((best, RECONSTRUCTING), (floor, STATISTICAL))
                   if tops[SKIPPING] and tops[kind]]
        for found, ours, theirs in wanted:
            if one := contrast(group, ours, theirs, latency_ratio(latencies, unit, ours, theirs)):
                found[unit] = one
        if wanted:
            record = next(iter(group.values()))[0].record
            tested.append((record.get("n_test_normal") or 0) + (record.get("n_test_anomalous") or 0))
    if not like and not best:
        return [], None
    name = {method: labels.get(method, method) for method in methods}
    first = like or best
    who = (f"{name[pair[0]]} against {name[pair[1]]}, which read the same trained network" if like else
           "The best method that skips it against the best that reconstructs, both picked on the test images")
    sentences = [f"{_lead(list(first.values()))}{_cost(first)}.", f"{who}: {_counts(first)} ({_span(first)})."]
    if like and best:
        sentences.append("The best method that skips it against the best that reconstructs, both picked on the test "
                         f"images: {_counts(best)} ({_span(best)}){_cost(best)}.")
    if floor:
        sentences.append("The best that skips it against the best without any diffusion model: "
                         f"{_counts(floor)} ({_span(floor)}).")
    n_seeds, images = len({run.record["seed"] for run in runs}), f"{min(tested)}"
    if min(tested) != max(tested):
        images += f" to {max(tested)}"
    sentences.append(f"Numbers are differences in image AUROC, over {images} test images a dataset and {n_seeds} "
                     f"seed{'s' * (n_seeds != 1)}; better and worse mean that the paired 95 % interval over test "
                     "images excludes 0, as one comparison in twenty does by chance.")
    block = Block("By dataset", ["Difference in image AUROC with its paired 95 % interval, bold where that excludes 0; "
                                 "latency ratio: the first's latency over the second's."], [], [], head="dataset")
    parts = [(f"{name[pair[0]]} minus {name[pair[1]]}", like, False)] if like else []
    parts += [(text, found, True) for text, found in
              (("best that skips minus best that reconstructs", best),
               ("best that skips minus best without diffusion", floor)) if found]
    for text, _, named in parts:
        heads = [*(["methods"] if named else []), "difference", "latency ratio"]
        block.columns += [(text, head, f"{text}: {head}") for head in heads]
    for unit in dict.fromkeys([*like, *best, *floor]):
        cells: list[Cell] = []
        for _, found, named in parts:
            cells += _cells(found[unit], name, named) if unit in found else [NOTHING] * (2 + named)
        block.rows.append(("/".join(unit), [], cells))
    return sentences, block


def _lead(found: Sequence[Contrast]) -> str:
    better, worse = (sum(one.verdict == verdict for one in found) for verdict in ("better", "worse"))
    if better and worse:
        return "It depends on the data: more accurate on some, less on others"
    if better:
        return "Yes: more accurate" + " or within chance" * (better < len(found))
    if worse:
        return "No: less accurate" + " or within chance" * (worse < len(found))
    return "In accuracy no difference can be told"


def _counts(found: Mapping[tuple[str, str], Contrast]) -> str:
    n, verdicts = len(found), [one.verdict for one in found.values()]
    return (f"better on {verdicts.count('better')} of {n} dataset{'s' * (n != 1)}, worse on {verdicts.count('worse')}, "
            f"within chance on {verdicts.count('within chance')}")


def _span(found: Mapping[tuple[str, str], Contrast]) -> str:
    values = [one.difference for one in found.values()]
    if len(values) == 1:
        (only,) = found.values()
        return minus(with_interval(values[0], only.low, only.high))
    return minus(f"{signed(min(values))} to {signed(max(values))}, {signed(float(np.mean(values)))} on average")


def _cost(found: Mapping[tuple[str, str], Contrast]) -> str:
    ratios = [one.ratio for one in found.values() if not math.isnan(one.ratio)]
    if not ratios:
        return ""
    low, high = f"{min(ratios):.2f}", f"{max(ratios):.2f}"
    return f", at {low if low == high else f'{low} to {high}'} times the latency"


def minus(text: str) -> str:
    """A number with a minus sign in place of a hyphen."""
    return text.replace("-", "−")


def _cells(one: Contrast, name: Mapping[str, str], named: bool) -> list[Cell]:
    return [*([Cell(f"{name[one.ours]} − {name[one.theirs]}")] if named else []),
            Cell(minus(with_interval(one.difference, one.low, one.high)), bold=one.verdict != "within chance"),
            Cell(DASH if math.isnan(one.ratio) else f"{one.ratio:.2f}")]
