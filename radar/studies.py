"""The ablation study, config/ablation.yaml: every study expanded into variants of the methods."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from radar.checked_yaml import UNSET, ConfigurationError, Seed, Several, Strict, Text, check, read_yaml
from radar.config import MethodName, expand_datasets, variant_method
from radar.diffusion.settings import NoisePredictors, Training
from radar.files import ROOT

FILE = "config/ablation.yaml"
NETWORKS = {"noise_predictor", "training"}  # keys of a method that are no settings
Number = int | float  # which is handed on as it is written
Datasets = Annotated[Several[str], AfterValidator(expand_datasets)]
Vary = Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(max_length=1)]  # one key: its values


class Series(Strict):
    """A method, and what is put over its own settings; vary: instead of the study's."""

    method: MethodName
    settings: dict[str, Any] = {}
    noise_predictor: str = UNSET
    training: Training = UNSET
    vary: Vary = UNSET


class Study(Strict):
    """at: the places on the x axis of the values of `vary`. also: settings of one more variant of each series."""

    title: Text
    kind: Literal["list", "curve"]
    x: str = ""
    log: bool = False
    datasets: Datasets = UNSET
    metrics: Several[str]
    at: Annotated[list[Number], Field(min_length=1)] = UNSET
    vary: Vary = {}
    also: dict[str, Any] = UNSET
    compare: Annotated[list[Annotated[list[str], Field(min_length=2, max_length=2)]], Field(min_length=1)] = []
    series: Annotated[dict[str, Series], Field(min_length=1)]

    @model_validator(mode="after")
    def _series_fit(self) -> Self:
        for name in sum(self.compare, []):
            if self.kind != "list" or name not in self.series:
                raise ValueError(f"compare: '{name}' is no series of a list; compare takes pairs of the series of a "
                                 "study of kind list")
        for name in self.series:
            self.points(name)
        return self

    def points(self, series: str) -> list[tuple[Number | None, dict]]:
        """Where on the x axis a series has variants, and what is changed there. Raises ValueError."""
        vary = self.vary if self.series[series].vary is UNSET else self.series[series].vary
        points: list[tuple[Number | None, dict]] = []
        for key, values in vary.items():
            places: list = self.at or ([None] if key in NETWORKS else values)
            if len(places) != len(values):
                raise ValueError(f"series.{series}: {len(values)} values of {key}, but {len(places)} places in at")
            points += [(place, {key: value}) for place, value in zip(places, values, strict=True)]
        return (points or [(None, {})]) + ([] if self.also is UNSET else [(None, self.also)])


class Ablation(Strict):
    """config/ablation.yaml."""

    datasets: Datasets
    seeds: Several[Seed]
    bootstrap_draws: Annotated[int, Field(ge=10)]
    noise_predictors: NoisePredictors = {}
    studies: dict[Annotated[str, Field(pattern="^[a-z0-9_]+$")], Study]


def read_ablation(path: str = FILE) -> dict:
    """config/ablation.yaml, or another file of its kind, checked. Raises ConfigurationError."""
    ablation = read_yaml(Path(path) if Path(path).exists() else ROOT / path)
    check(Ablation, ablation, path)
    return ablation


def expand_ablation(config: dict, ablation: dict, methods: dict[str, dict]) -> list[dict]:
    """A row per variant of a study and dataset: study, dataset, series, x, variant, group, method.

    config: with the ablation's noise predictors among its own. methods: name -> what read_method gives, of all methods.
    variant: a name made of the class and a digest of the settings, the same for the same variant in any study; group:
    variants that one job does; method: complete, as its YAML would be. Raises ConfigurationError.
    """
    source, predictors = config.get("ablation", FILE), config["noise_predictors"]
    checked = check(Ablation, ablation, source)
    rows = []
    for title, study in checked.studies.items():
        variants = []
        for label, series in study.series.items():
            own = series.settings | series.model_dump(include=NETWORKS, exclude_unset=True)
            for x, change in study.points(label):
                method = _changed(_changed(variant_method(methods[series.method]), own), change)
                uses = method.get("noise_predictor")
                if uses not in (None, *predictors):
                    raise ConfigurationError(f"{source}: studies.{title}.series.{label}: unknown noise predictor "
                                             f"'{uses}'; known: {', '.join(predictors)}")
                digest = hashlib.sha256(json.dumps(method, sort_keys=True).encode()).hexdigest()[:8]
                variant = f"{method['class'].partition(':')[2]}-{digest}"
                # what trains for itself is a job of its own; without any network, all are one
                group = uses or (variant if "training" in method else "no_predictor")
                variants.append({"series": label, "x": x, "variant": variant, "group": group, "method": method})
        rows += [{"study": title, "dataset": name, **one} for name in checked.datasets
                 if study.datasets is UNSET or name in study.datasets for one in variants]
    return rows


def _changed(method: dict, change: dict) -> dict:
    """A method with other settings, on another noise predictor, or with keys of its training over its own."""
    settings = {key: value for key, value in change.items() if key not in NETWORKS}
    changed = method | {"settings": method.get("settings", {}) | settings}
    if "noise_predictor" in change:
        changed["noise_predictor"] = change["noise_predictor"]
    if "training" in change:
        changed["training"] = method.get("training", {}) | change["training"]
    return changed
