"""Reading and checking the configuration: every mistake is one line that names the file, the key and the remedy.

Imported by the Snakefile at every call, so it imports nothing heavy.
"""

import ast
import csv
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from radar.code import CodeError, module_file, parsed
from radar.files import ROOT

CONFIG = ROOT / "config"
SCHEMAS = ROOT / "workflow" / "schemas"
USER_DATASET = "folder"  # folder/<name>: the user's own images under data/folder/<name>


class ConfigurationError(Exception):
    """One line: which file and key, what is wrong, what is allowed."""


def read_yaml(path: Path) -> dict:
    """A YAML mapping from a file. Raises ConfigurationError."""
    try:
        value = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path}: must be a mapping of keys to values")
    return value


def check(value: dict, schema: str, source: str) -> None:
    """Raise ConfigurationError for the first thing in `value` that workflow/schemas/<schema>.schema.yaml forbids."""
    rules = {"$defs": read_yaml(SCHEMAS / "config.schema.yaml")["$defs"]} | read_yaml(SCHEMAS / f"{schema}.schema.yaml")
    validator = Draft202012Validator(rules)
    for error in sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.path))):
        where = ".".join(map(str, error.path))
        if error.validator == "additionalProperties":
            allowed = error.schema["properties"]
            unknown = ", ".join(sorted(f"'{key}'" for key in error.instance if key not in allowed))
            raise ConfigurationError(f"{source}: unknown key {unknown}{f' in {where}' if where else ''}; "
                                     f"allowed: {', '.join(sorted(allowed))}")
        raise ConfigurationError(f"{source}: {where or 'the file'}: {error.message}")


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
    source = "configuration"
    check(config, "config", source)
    for name, predictor in expand_predictors(config).items():
        _check_predictor(f"{source}: noise_predictors.{name}", predictor)


PREDICTOR_KEYS = {"pixels": {"space", "noise", "patch", "stride", "network", "predicts", "tile_batch", "training"}}
PREDICTOR_KEYS["features"] = PREDICTOR_KEYS["pixels"] | {"backbone", "standardise"}
NETWORK_KEYS = {"unet": {"channels", "layers_per_block", "attention", "norm_groups"}, "mlp": {"width", "depth"},
                "dit": {"width", "depth", "heads"}}


def expand_predictors(config: dict) -> dict[str, dict]:
    """Every noise predictor with all its settings: those of its base, its own over them, and the run's training budget
    under its own. Keys that its kind of network does not have are left out. Raises ConfigurationError.
    """
    given = config["noise_predictors"]

    def complete(name: str, path: tuple[str, ...] = ()) -> dict:
        if name not in given or name in path:
            raise ConfigurationError(f"configuration: noise_predictors.{path[-1]}: base is '{name}'; allowed: "
                                     f"{', '.join(other for other in given if other not in path)}")
        own = dict(given[name] or {})
        base = complete(own.pop("base"), (*path, name)) if "base" in own else {}
        return base | own | {"training": base.get("training", {}) | (own.get("training") or {})}

    expanded = {}
    for name in given:
        settings = complete(name)
        kind = NETWORK_KEYS.get(settings.get("network", ""), set())
        keys = PREDICTOR_KEYS.get(settings.get("space", ""), set()) | kind
        if missing := sorted(keys - settings.keys()) or sorted({"space", "network"} - settings.keys()):
            raise ConfigurationError(f"configuration: noise_predictors.{name}: {', '.join(missing)} missing")
        settings["training"] = config["training"] | settings["training"]
        expanded[name] = {key: value for key, value in settings.items() if key in keys}
    return expanded


def _check_predictor(source: str, predictor: dict) -> None:
    patch, stride = predictor["patch"], predictor["stride"]
    if stride > patch:
        raise ConfigurationError(f"{source}: stride {stride} exceeds patch {patch}: pixels between the patches would "
                                 "never be seen")
    if predictor["space"] == "features" and predictor["noise"] == "simplex":
        raise ConfigurationError(f"{source}: noise is simplex on features; allowed there: gaussian")
    if predictor["network"] == "dit" and predictor["width"] % predictor["heads"]:
        raise ConfigurationError(f"{source}: width {predictor['width']} is not a multiple of heads "
                                 f"{predictor['heads']}")
    if predictor["network"] != "unet":
        if predictor["space"] == "pixels":
            raise ConfigurationError(f"{source}: network is {predictor['network']} on pixels; allowed there: unet")
        return
    levels = len(predictor["channels"])
    if patch % 2 ** (levels - 1):
        raise ConfigurationError(f"{source}: patch {patch} must be a multiple of {2 ** (levels - 1)} for {levels} "
                                 "levels of channels")
    for width in predictor["channels"]:
        if width % predictor["norm_groups"]:
            raise ConfigurationError(f"{source}: channels: {width} is not a multiple of norm_groups "
                                     f"{predictor['norm_groups']}")
    sides = [patch // 2**level for level in range(levels)]
    if wrong := [side for side in predictor["attention"] if side not in sides]:
        raise ConfigurationError(f"{source}: attention: no feature map has a side of {wrong[0]}; the sides are {sides}")


def expand_datasets(names: list[str]) -> list[str]:
    """Every name as <dataset>/<category>; a dataset alone stands for its categories. Raises ConfigurationError."""
    known = {path.stem: path for path in sorted((CONFIG / "datasets").glob("*.yaml")) if path.stem != USER_DATASET}
    expanded: list[str] = []
    for name in names:
        dataset, _, category = name.partition("/")
        if dataset == USER_DATASET:
            if not category or not (Path("data/folder") / category).is_dir():
                raise ConfigurationError(f"configuration: dataset '{name}': put or link your images at "
                                         f"data/folder/{category or '<name>'} and name it folder/<name>")
            expanded.append(name)
            continue
        if dataset not in known:
            raise ConfigurationError(f"configuration: unknown dataset '{dataset}'; known: {', '.join(known)}, "
                                     "and folder/<name> for your own images under data/folder/<name>")
        categories = read_yaml(known[dataset])["categories"]
        if category and category not in categories:
            raise ConfigurationError(f"configuration: dataset '{dataset}' has no category '{category}'; "
                                     f"it has: {', '.join(categories)}")
        expanded += [f"{dataset}/{one}" for one in ([category] if category else categories)]
    return list(dict.fromkeys(expanded))


@dataclass(frozen=True)
class Origin:
    """Where a dataset's images lie and who lists them.

    folder: which the paths of the manifest are relative to. source: module of radar.data. generated: made by a stage of
    dvc.yaml; else the folder is the user's, and is only read.
    """

    folder: str
    source: str
    category: str
    settings: dict
    generated: bool
    advice: str = ""

    def check(self) -> None:
        """Raise ConfigurationError if the images should be there and are not."""
        if not self.generated and not Path(self.folder).is_dir():
            raise ConfigurationError(f"no folder {self.folder}: put or link the unpacked original there, or say "
                                     f"--config data_root=FOLDER{self.advice}")


def origin(name: str, data_root: str) -> Origin:
    """The origin of <dataset>/<category>; data_root: folder of the originals."""
    dataset, _, category = name.partition("/")
    description = read_yaml(CONFIG / "datasets" / f"{dataset}.yaml")
    settings = description["settings"] or {}
    if "original" in description:
        advice = f" ({description['from']})" if "from" in description else ""
        folder = f"{data_root}/{description['original']}"
        return Origin(folder, description["source"], category, settings, False, advice)
    if dataset == USER_DATASET:
        return Origin(f"data/{name}", description["source"], category, settings, False)
    return Origin(f"data/{name}", "folder", category, settings, True)


def has_labels(name: str) -> bool:
    """Whether the test images of <dataset>/<category> have labels; only the user's own may have none."""
    from radar.data import folder  # reads names, no image

    dataset, _, category = name.partition("/")
    return dataset != USER_DATASET or folder.has_labels(Path("data/folder") / category)


def generated_datasets() -> list[str]:
    """The datasets that a stage of dvc.yaml makes."""
    paths = sorted((CONFIG / "datasets").glob("*.yaml"))
    return [path.stem for path in paths if path.stem != USER_DATASET and "original" not in read_yaml(path)]


def folder_state(folder: Path) -> list[float]:
    """Number of files below a folder, links followed, and the latest change: when it differs, the data are read
    anew."""
    seen: set[str] = set()
    count, latest = 0, 0.0
    for top, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(top))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(top, name)) not in seen]  # circles
        for name in files:
            path = os.path.join(top, name)
            if os.path.exists(path):
                count, latest = count + 1, max(latest, os.stat(path).st_mtime)
    return [count, latest]


def read_method(name: str, predictors: Iterable[str]) -> dict:
    """config/methods/<name>.yaml, checked, its settings too as far as can be told without importing the class.

    predictors: the names of the run's noise predictors. Raises ConfigurationError.
    """
    path = CONFIG / "methods" / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(path.stem for path in (CONFIG / "methods").glob("*.yaml")))
        raise ConfigurationError(f"configuration: unknown method '{name}'; known: {known}; "
                                 f"to add one, write config/methods/{name}.yaml")
    method = read_yaml(path)
    source = str(path.relative_to(ROOT))
    check(method, "method", source)
    if method.get("noise_predictor") not in (None, *predictors):
        raise ConfigurationError(f"{source}: noise_predictor is '{method['noise_predictor']}'; the configuration "
                                 f"has: {', '.join(predictors)}")
    allowed = _constructor_keywords(method["class"], source)
    for key in method.get("settings") or {}:
        if allowed is not None and key not in allowed:
            raise ConfigurationError(f"{source}: unknown setting '{key}'; allowed: {', '.join(sorted(allowed))}")
    return method


def check_textures(datasets: list[str], methods: dict[str, dict]) -> None:
    """Raise ConfigurationError if a method makes its anomalies of the very photograph that a dataset is made of."""
    for name, method in methods.items():
        for texture in (method.get("settings") or {}).get("textures", []):
            if f"texture/{texture}" in datasets:
                raise ConfigurationError(
                    f"config/methods/{name}.yaml: textures has '{texture}', the photograph that the dataset "
                    f"texture/{texture} is made of; take it out of textures, or leave out the dataset or the method")


def _constructor_keywords(reference: str, source: str) -> set[str] | None:
    """The keyword-only arguments of the class's own constructor, from its source; None if it defines none."""
    name = reference.partition(":")[2]
    try:
        tree = parsed(module_file(reference))
    except CodeError as error:
        raise ConfigurationError(f"{source}: class: {error}") from error
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    if not classes:
        raise ConfigurationError(f"{source}: class: the module of '{reference}' defines no class {name}")
    for node in classes[0].body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            given_by_the_suite = {"seed", "device", "noise_predictor", "training"}
            return {argument.arg for argument in node.args.kwonlyargs} - given_by_the_suite
    return None


def check_disk(folder: Path, gigabytes: float) -> None:
    """Raise ConfigurationError if the disk of `folder` has less than so much room."""
    free = shutil.disk_usage(folder).free / 2**30
    if free < gigabytes:
        raise ConfigurationError(f"disk: {free:.1f} GiB free for {folder}, the run needs {gigabytes:g} GiB; "
                                 "make room and start again")


# The ablation study


def expand_ablation(config: dict, ablation: dict, methods: dict[str, dict]) -> list[dict]:
    """Every variant of every study of config/ablation.yaml, complete: study, series, x, variant, datasets, method.

    config: with the ablation's noise predictors among its own. methods: name -> what read_method gives, of all methods.
    variant: a name made of the class and a digest of the settings, the same for the same variant in any study;
    method: as its YAML would be. Raises ConfigurationError.
    """
    predictors = expand_predictors(config)
    datasets = expand_datasets(ablation["datasets"])
    variants = []
    for study, description in ablation["studies"].items():
        chosen = expand_datasets(description["datasets"]) if "datasets" in description else datasets
        chosen = [name for name in datasets if name in chosen]
        for name in itertools.chain(*description.get("compare", ())):
            if description["kind"] != "list" or name not in description["series"]:
                raise ConfigurationError(f"config/ablation.yaml: studies.{study}.compare: '{name}' is no series of a "
                                         "list; compare takes pairs of the series of a study of kind list")
        for series, entry in description["series"].items():
            where = f"config/ablation.yaml: studies.{study}.series.{series}"
            if entry["method"] not in methods:
                raise ConfigurationError(f"{where}: unknown method '{entry['method']}'; known: {', '.join(methods)}")
            vary = entry.get("vary", description.get("vary", {}))
            if len(vary) > 1:
                raise ConfigurationError(f"{where}: vary has {', '.join(vary)}; give one key")
            points = [(None, {})]
            for key, values in vary.items():
                places = description.get("at", values if key not in ("noise_predictor", "training") else [None])
                if len(places) != len(values):
                    raise ConfigurationError(f"{where}: {len(values)} values of {key}, but {len(places)} places in at")
                points = [(place, {key: value}) for place, value in zip(places, values, strict=True)]
            if "also" in description:
                points.append((None, description["also"]))
            for x, change in points:
                method = _changed(methods[entry["method"]], entry, change)
                if method.get("noise_predictor") not in (None, *predictors):
                    raise ConfigurationError(f"{where}: unknown noise predictor '{method['noise_predictor']}'; known: "
                                             f"{', '.join(predictors)}")
                digest = hashlib.sha256(json.dumps(method, sort_keys=True).encode()).hexdigest()[:8]
                variant = f"{method['class'].partition(':')[2]}-{digest}"
                # what trains for itself is a job of its own; without any network, all are one
                group = method.get("noise_predictor") or (variant if "training" in method else "no_predictor")
                variants.append({"study": study, "series": series, "x": x, "variant": variant, "group": group,
                                 "datasets": chosen, "method": method})
    return variants


def read_ablation(path: str) -> dict:
    """config/ablation.yaml, or another file of its kind, checked. Raises ConfigurationError."""
    ablation = read_yaml(Path(path) if Path(path).exists() else ROOT / path)
    check(ablation, "ablation", path)
    return ablation


def read_methods(predictors: Iterable[str]) -> dict[str, dict]:
    """All of config/methods, by name. Raises ConfigurationError."""
    return {path.stem: read_method(path.stem, predictors) for path in sorted((CONFIG / "methods").glob("*.yaml"))}


def variant_method(method: dict) -> dict:
    """A method's YAML without what does not change its results."""
    return {key: value for key, value in method.items() if key not in ("label", "citation")}


def _changed(method: dict, entry: dict, change: dict) -> dict:
    """A method with a series' settings, noise predictor and training, and then those of one point, put over its own."""
    method = variant_method(method)
    method["settings"] = (method.get("settings") or {}) | entry.get("settings", {})
    for key, value in {"noise_predictor": entry.get("noise_predictor"), "training": entry.get("training")}.items():
        if value is not None:
            method[key] = value
    for key, value in change.items():
        if key == "noise_predictor":
            method[key] = value
        elif key == "training":
            method[key] = method.get("training", {}) | value
        else:
            method["settings"] = method["settings"] | {key: value}
    return method


# The papers' claims

PUBLISHED = ("method", "paper", "dataset", "category", "setting", "metric", "value", "unit", "device", "source",
             "evidence")


@dataclass(frozen=True)
class Claim:
    """A claim of config/claims.yaml, complete.

    paper: the method as the paper calls it; reference: its citation. speakers: methods of the suite that may speak for
    it. datasets: each as dataset/category; None = all of the run. kind, options: the test. published: the row of
    config/published.csv with its value as a number; None = the claim is in words. source, evidence: where it stands.
    """

    name: str
    paper: str
    reference: str
    speakers: tuple[str, ...]
    statement: str
    datasets: tuple[str, ...] | None
    kind: str
    options: dict
    published: dict | None
    source: str
    evidence: str
    conditions: str


def read_published(path: Path = CONFIG / "published.csv") -> list[dict]:
    """The rows of published.csv, `value` as a number, the rest as text. Raises ConfigurationError."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error})") from error
    for number, row in enumerate(rows, 2):
        if tuple(row) != PUBLISHED or None in row.values():
            raise ConfigurationError(f"{path}: line {number}: must have exactly the columns {', '.join(PUBLISHED)}")
        try:
            row["value"] = float(row["value"])
        except ValueError:
            raise ConfigurationError(f"{path}: line {number}: value '{row['value']}' is no number") from None
        if not row["source"] or not row["evidence"]:
            raise ConfigurationError(f"{path}: line {number}: a number needs its source and evidence")
    return rows


def read_claims(path: Path = CONFIG / "claims.yaml", published: list[dict] | None = None) -> list[Claim]:
    """The claims of claims.yaml, checked and with their published numbers; published: as read_published gives it.

    Raises ConfigurationError.
    """
    papers = read_yaml(path)
    check(papers, "claims", str(path))
    published = read_published() if published is None else published
    methods = {file.stem for file in (CONFIG / "methods").glob("*.yaml")}
    claims: dict[str, Claim] = {}
    for paper, description in papers.items():
        _check_names(f"{path}: {paper}.methods", description["methods"], methods)
        for name, claim in description["claims"].items():
            where = f"{path}: {paper}.claims.{name}"
            if name in claims:
                raise ConfigurationError(f"{where}: {claims[name].paper} has a claim of this name too; rename one")
            kind, options = next(iter(claim["test"].items()))
            for entry in options.get("than", []):
                _check_names(f"{where}.test.{kind}.than", [entry] if isinstance(entry, str) else entry, methods)
            try:
                datasets = tuple(expand_datasets(claim["datasets"])) if "datasets" in claim else None
            except ConfigurationError as error:
                raise ConfigurationError(f"{where}.datasets: {str(error).removeprefix('configuration: ')}") from None
            if claim.keys() & {"published", "source", "evidence"} not in ({"published"}, {"source", "evidence"}):
                raise ConfigurationError(f"{where}: give published, or else source and evidence")
            row = _published_row(where, paper, claim["published"], published) if "published" in claim else None
            if kind == "reaches" and (row is None or row["unit"] != "percent"):
                raise ConfigurationError(f"{where}: reaches needs a published value in percent")
            claims[name] = Claim(name, paper, description["paper"], tuple(description["methods"]), claim["statement"],
                                 datasets, kind, options, row, *((row or claim)[key] for key in ("source", "evidence")),
                                 claim["conditions"])
    return list(claims.values())


def _check_names(where: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigurationError(f"{where}: unknown method '{name}'; known: {', '.join(sorted(known))}")


def _published_row(where: str, paper: str, wanted: dict, published: list[dict]) -> dict:
    """The one row of a paper that has the wanted values in its columns."""
    rows = [row for row in published if row["method"] == paper and wanted.items() <= row.items()]
    if len(rows) != 1:
        text = ", ".join(f"{key} '{value}'" for key, value in wanted.items())
        raise ConfigurationError(f"{where}.published: {len(rows) or 'no'} rows of published.csv "
                                 f"with method '{paper}', {text}; name one")
    return rows[0]
