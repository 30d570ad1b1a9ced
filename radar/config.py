"""The files of config/ but for the study and the claims: datasets, methods, noise predictors, the run.

The models check; what is handed on are the plain values of the YAML, because results record them. Imported by the
Snakefile at every call, so it imports nothing heavy.
"""

import ast
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import AfterValidator, Field, model_validator

from radar.checked_yaml import UNSET, ConfigurationError, Count, Positive, Seed, Several, Strict, Text, check, read_yaml
from radar.code import module_file, parsed
from radar.diffusion.settings import CompletePredictor, NoisePredictors, Training, expand_predictors
from radar.files import ROOT

CONFIG = ROOT / "config"


def _file(kind: str, name: str, advice: str) -> Path:
    """config/<kind>s/<name>.yaml. Raises ConfigurationError, with advice, if there is none."""
    path = CONFIG / f"{kind}s" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise ConfigurationError(f"unknown {kind} '{name}'; known: {known}; {advice}")
    return path


# Datasets


class Dataset(Strict):
    """config/datasets/<name>.yaml. With `original`, the images lie below data_root; without it, a stage of dvc.yaml
    makes them; without categories, they are the user's own, and every folder in data/<name> is a category.
    """

    source: str  # module of radar.data that lists the images, or makes them
    categories: Several[str] = UNSET
    original: str = ""
    address: str = Field("", alias="from")
    licence: str = ""
    images: dict[Literal["train", "test"], Count] = {}  # published numbers, of all categories
    settings: dict[str, Any] = {}


@lru_cache
def read_dataset(name: str) -> Dataset:
    """config/datasets/<name>.yaml, checked. Raises ConfigurationError."""
    path = _file("dataset", name, "your own images are folder/<name>, at data/folder/<name>")
    return check(Dataset, read_yaml(path), str(path))


def expand_datasets(names: list[str]) -> list[str]:
    """Every name as <dataset>/<category>; a dataset alone stands for its categories. Raises ConfigurationError."""
    expanded: list[str] = []
    for name in names:
        dataset, _, category = name.partition("/")
        categories = read_dataset(dataset).categories
        if categories is UNSET:
            place = f"{dataset}/{category or '<name>'}"
            if not Path("data", place).is_dir():
                raise ConfigurationError(f"no images of '{place}': put or link your images at data/{place}")
            categories = [category]
        if category and category not in categories:
            raise ConfigurationError(f"dataset '{dataset}' has no category '{category}'; "
                                     f"it has: {', '.join(categories)}")
        expanded += [f"{dataset}/{one}" for one in ([category] if category else categories)]
    return list(dict.fromkeys(expanded))


class Origin(NamedTuple):
    """Where images lie, and who lists them: the folder that the manifest's paths are relative to, a module of
    radar.data, its category and settings. generated: made by a stage of dvc.yaml; else the user's, and only read.
    """

    folder: str
    source: str
    category: str
    settings: dict
    generated: bool
    address: str = ""

    def check(self) -> None:
        """Raise ConfigurationError if the images should be there and are not."""
        if not self.generated and not Path(self.folder).is_dir():
            raise ConfigurationError(f"no folder {self.folder}: put or link the unpacked original there, or say "
                                     "--config data_root=FOLDER" + f" ({self.address})" * bool(self.address))


def origin(name: str, data_root: str) -> Origin:
    """The origin of <dataset>/<category>; data_root: folder of the originals."""
    dataset, _, category = name.partition("/")
    about = read_dataset(dataset)
    if about.original:
        folder = f"{data_root}/{about.original}"
        return Origin(folder, about.source, category, about.settings, False, about.address)
    return Origin(f"data/{name}", "folder", category, about.settings, about.categories is not UNSET)


def has_labels(name: str) -> bool:
    """Whether the test images of <dataset>/<category> have labels; only the user's own may have none."""
    from radar.data import folder  # reads names, no image

    return read_dataset(name.partition("/")[0]).categories is not UNSET or folder.has_labels(Path("data", name))


def generated_datasets() -> list[str]:
    """The datasets that a stage of dvc.yaml makes."""
    names = sorted(path.stem for path in (CONFIG / "datasets").glob("*.yaml"))
    return [name for name in names if origin(name, "").generated]


def folder_state(folder: Path) -> list[float]:
    """Number of files below a folder, links followed, and the latest change: if it differs, the data are read anew."""
    seen, times = set(), [0.0]
    for top, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(top))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(top, name)) not in seen]  # circles
        times += [path.stat().st_mtime for path in (Path(top, name) for name in files) if path.exists()]
    return [len(times) - 1, max(times)]


# Methods


class Method(Strict):
    """config/methods/<name>.yaml, as far as can be told without importing the class."""

    reference: str = Field(alias="class", pattern="^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$")
    # for the report: reads the anomaly from the noise or latent; from a reconstruction; has no diffusion model
    family: Literal["skipping", "reconstructing", "statistical"] = UNSET
    noise_predictor: str = UNSET
    training: Training = UNSET
    label: str = ""
    citation: str = ""
    settings: dict[str, Any] = {}

    @model_validator(mode="after")
    def _class_takes_the_settings(self) -> Self:
        name, module = self.reference.partition(":")[2], parsed(module_file(self.reference))
        classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
        if name not in classes:
            raise ValueError(f"class: the module of '{self.reference}' defines no class {name}")
        for node in classes[name].body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                given_by_the_suite = {"seed", "device", "noise_predictor", "training"}
                allowed = {argument.arg for argument in node.args.kwonlyargs} - given_by_the_suite
                if unknown := sorted(self.settings.keys() - allowed):
                    raise ValueError(f"unknown setting '{unknown[0]}'; allowed: {', '.join(sorted(allowed))}")
        return self


MethodName = Annotated[str, AfterValidator(lambda name: _file(
    "method", name, "to add one, write config/methods/<name>.yaml").stem)]


def read_methods(predictors: Iterable[str]) -> dict[str, dict]:
    """All of config/methods by name, checked. predictors: names of noise predictors. Raises ConfigurationError."""
    methods = {}
    for path in sorted((CONFIG / "methods").glob("*.yaml")):
        methods[path.stem] = read_yaml(path)
        uses = check(Method, methods[path.stem], str(path)).noise_predictor
        if uses not in (UNSET, *predictors):
            raise ConfigurationError(f"{path}: noise_predictor is '{uses}'; the configuration has: "
                                     f"{', '.join(predictors)}")
    return methods


def variant_method(method: dict) -> dict:
    """A method's YAML without what does not change its results."""
    return {key: value for key, value in method.items() if key not in ("label", "citation", "family")}


def check_textures(datasets: list[str], methods: dict[str, dict]) -> None:
    """Raise ConfigurationError if a method makes its anomalies of the very photograph that a dataset is made of."""
    for name, method in methods.items():
        for texture in method.get("settings", {}).get("textures", []):
            if f"texture/{texture}" in datasets:
                raise ConfigurationError(
                    f"config/methods/{name}.yaml: textures has '{texture}', the photograph that the dataset "
                    f"texture/{texture} is made of; take it out of textures, or leave out the dataset or the method")


# The run


class Protocol(Strict):
    calibration_fraction: Annotated[float, Field(gt=0, lt=1)]
    false_positive_rate: Annotated[float, Field(gt=0, lt=1)]
    bootstrap_draws: Annotated[int, Field(ge=10)]
    bootstrap_seed: Seed
    aupro_limit: Annotated[float, Field(gt=0, le=1)]


class Timing(Strict):
    threads: Count
    batch_sizes: Several[Count]
    repeats: Annotated[int, Field(ge=3)]
    seconds: Positive


class Config(Strict):
    """The run: config/config.yaml with what lies over it."""

    run: Annotated[str, Field(pattern="^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")]  # a folder, but not the one above
    datasets: Annotated[Several[str], AfterValidator(expand_datasets)]
    data_root: Text
    methods: Several[MethodName]
    seeds: Several[Seed]
    device: Literal["auto", "cpu", "cuda"]
    longest_side: Annotated[int, Field(ge=16)] | None
    training: Training
    noise_predictors: NoisePredictors
    protocol: Protocol
    timing: Timing
    ablation: str = UNSET  # another file of the kind of config/ablation.yaml

    @model_validator(mode="after")
    def _budget_is_complete(self) -> Self:
        if missing := sorted(Training.model_fields.keys() - self.training.model_fields_set - {"precision"}):
            raise ValueError(f"training: {', '.join(missing)} missing")
        return self


def typed(value: object) -> object:
    """`value` with the strings in it read as YAML scalars: Snakemake's --config gives numbers in lists as strings."""
    if isinstance(value, dict):
        return {key: typed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [typed(one) for one in value]
    scalar = yaml.safe_load(value) if isinstance(value, str) else value
    return scalar if scalar is None or isinstance(scalar, (bool, int, float)) else value


def check_config(config: dict) -> None:
    """Check the run's configuration as a whole. Raises ConfigurationError."""
    check(Config, config, "configuration")
    for name, predictor in expand_predictors(config).items():
        check(CompletePredictor, predictor, f"configuration: noise_predictors.{name}")
