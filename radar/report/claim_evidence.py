"""What a run left that may speak to a claim of a paper, and the form that all that speaks to one has.

A comparison is a number that the claim says lies above a boundary: the lead over a rival in a metric, the logarithm of
how many times faster. Comparisons are averaged over the categories of a dataset and then over datasets, all with the
same weight.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from radar.report.claim_config import Claim
from radar.report.compare import Estimate, average, by_dataset, over_seeds
from radar.report.format import count, rounded, span
from radar.report.load import Pair, Results, Seeds
from radar.report.tables import TEXT

WHY = TEXT["why"]
Key = tuple[str, str]  # metric, rival
Comparisons = dict[Pair, dict[Key, Estimate]]


class NotRun(Exception):
    """Why a claim cannot be tested: a sentence of WHY."""

    def __init__(self, why: str, **values: object):
        super().__init__(WHY[why].format(**values))


@dataclass(frozen=True)
class Evidence:
    """What speaks to a claim.

    comparisons: the claim says that they lie above `boundary`. unit: of what `show`, monotonous, makes of them. of:
    what the number is of. absent: rivals that could not be compared. lacking: what a contradiction would need, empty if
    nothing. facts: for the template of the detail.
    """

    method: str
    comparisons: Comparisons
    boundary: float
    of: str
    unit: str = "points"
    show: Callable[[float], float] = lambda lead: 100 * lead
    absent: list[str] = field(default_factory=list)
    lacking: str = ""
    facts: dict = field(default_factory=dict)


def means(comparisons: Comparisons) -> dict[str, dict[Key, Estimate]]:
    """Of each dataset the comparisons averaged over its categories: {"printed/all": ...}.

    Only of keys that every category has.
    """
    keys = [key for key in next(iter(comparisons.values())) if all(key in one for one in comparisons.values())]
    return {name: {key: average([comparisons[pair][key] for pair in pairs]) for key in keys}
            for name, pairs in by_dataset(comparisons).items()}


def overall(comparisons: Comparisons) -> dict[Key, Estimate]:
    """The comparisons averaged over datasets."""
    parts = list(means(comparisons).values())
    return {key: average([one[key] for one in parts]) for key in parts[0]}


def over_datasets(values: Mapping[Pair, float]) -> float:
    """The mean over datasets of the means over their categories."""
    return float(np.mean([np.mean([values[pair] for pair in pairs]) for pairs in by_dataset(values).values()]))


class Left:
    """The results of a run, and its timings {pair: {method: record}}."""

    def __init__(self, results: Results):
        self.results, self.pairs = results, list(results.samples)
        self.timings: dict[Pair, dict[str, dict]] = {pair: {} for pair in self.pairs}
        for record in results.timing.to_dict("records"):
            self.timings[record["dataset"], record["category"]][record["method"]] = record

    def seeds(self, pair: Pair, method: str, metric: str) -> Seeds:
        return self.results.samples[pair].get(metric, {}).get(method, {})

    def mean(self, pairs: Iterable[Pair], method: str, metric: str) -> float:
        """A metric over seeds and datasets."""
        return over_datasets({pair: over_seeds(self.seeds(pair, method, metric).values()).value for pair in pairs})

    def label(self, method: str) -> str:
        return self.results.run.labels.get(method, method)

    def speaker(self, claim: Claim) -> str:
        """The first of the claim's methods that is in the run. Raises NotRun."""
        there = {name for metrics in self.results.samples.values() for methods in metrics.values() for name in methods}
        there |= {name for timed in self.timings.values() for name in timed}
        if found := [name for name in claim.speakers if name in there]:
            return found[0]
        raise NotRun("method", names=" or ".join(claim.speakers))

    def tested_on(self, claim: Claim) -> list[Pair]:
        """The datasets that the claim is tested on. Raises NotRun if one that it names is not in the run."""
        if claim.datasets is None:
            return self.pairs
        wanted = [(dataset, category) for dataset, _, category in (name.partition("/") for name in claim.datasets)]
        for name, group in by_dataset(wanted).items():
            absent = [pair for pair in group if pair not in self.pairs]
            if absent == group:
                raise NotRun("dataset", name=group[0][0] if len(group) > 1 else name)
            if absent:
                raise NotRun("categories", absent=len(absent), all=len(group), name=group[0][0])
        return wanted

    def timed(self, claim: Claim, method: str) -> dict[Pair, dict]:
        """The timings of the method. Raises NotRun if there are none."""
        found = {pair: self.timings[pair][method] for pair in self.tested_on(claim) if method in self.timings[pair]}
        if not found:
            raise NotRun("timing", method=self.label(method))
        return found

    def networks(self, pairs: Iterable[Pair], method: str) -> dict:
        """How large the networks of a method are, and on what they were trained, as far as its timing tells."""
        records = [self.timings[pair][method] for pair in pairs if method in self.timings[pair]]
        if not records or not all(record["training_images"] > 0 for record in records):
            return {}
        return {"parameters": span([record["parameters"] / 1e6 for record in records], rounded),
                "images": span([record["training_images"] for record in records]),
                "nfe": span([record["nfe"] for record in records])}

    def images(self, pairs: Iterable[Pair], method: str) -> str:
        """Datasets, seeds and test images that a number is of."""
        pairs, key = list(pairs), ["dataset", "category"]
        ours = self.results.records.query("method == @method").set_index(key).loc[pairs].reset_index()
        images = ours.drop_duplicates(key)[["n_test_normal", "n_test_anomalous"]].to_numpy().sum()
        seeds = ours.groupby(key)["seed"].nunique().max()
        return f"{', '.join(by_dataset(pairs))}; {count(int(seeds), 'seed')}; {count(int(images), 'test image')}"
