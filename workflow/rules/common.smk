# Helpers of the rules: what the configuration means, where things lie, and which code a result depends on.

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import SharedFSUsage

sys.path.insert(0, workflow.basedir)
# in the jobs `python` is this one
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))
from radar import config as configuration
from radar import studies
from radar.code import CodeError, digest, module_file, parsed
from radar.config import ConfigurationError
from radar.files import last_line, sha256, write_json
from radar.report.claim_config import read_claims

try:
    config.update(configuration.typed(config))
    configuration.check_config(config)
    configuration.check_disk(Path.cwd(), 1)
    DATASETS = configuration.expand_datasets(config["datasets"])
    ABLATION_CONFIG = studies.read_ablation(config.get("ablation", "config/ablation.yaml"))
    # those of the study too; what no target asks for is not trained
    ALL_PREDICTORS = config | {
        "noise_predictors": config["noise_predictors"] | ABLATION_CONFIG.get("noise_predictors", {})
    }
    PREDICTORS = configuration.expand_predictors(ALL_PREDICTORS)
    METHODS = {name: configuration.read_method(name, PREDICTORS) for name in config["methods"]}
    configuration.check_textures(DATASETS, METHODS)
    KNOWN_METHODS = configuration.read_methods(PREDICTORS)
    VARIANTS = studies.expand_ablation(ALL_PREDICTORS, ABLATION_CONFIG, KNOWN_METHODS)
    read_claims()  # so that a mistake in it stops the run before it begins
    # what config/config.yaml says: what differs from it gets a place of its own
    DEFAULT = configuration.read_yaml(configuration.CONFIG / "config.yaml")
    DEFAULT_PREDICTORS = configuration.expand_predictors(
        DEFAULT | {"noise_predictors": DEFAULT["noise_predictors"] | ABLATION_CONFIG.get("noise_predictors", {})}
    )
    if shutil.which("git") is None:
        raise ConfigurationError("git is missing: DVC and the provenance of the results need it; install it")
except ConfigurationError as error:
    raise WorkflowError(str(error))

SEEDS = config["seeds"]
# Jobs that ask for a GPU run one at a time where gpu=1, so ask only where there is one.
# On a cluster the machine that reads this has none: there the profile says device=cuda.
GPU = int(config["device"] == "cuda" or config["device"] == "auto" and shutil.which("nvidia-smi") is not None)

# Where things lie: data and what is trained on them, shared by all runs; and what a run writes of them.
PLACE = "results/{dataset}/{category}"
PREDICTOR = f"{PLACE}/{{predictor}}/seed{{seed}}"
DETECTOR = f"{PLACE}/{{method}}/seed{{seed}}"
RUN = f"results/runs/{config['run']}"
MANIFEST = f"{PLACE}/manifest.csv"

if SharedFSUsage.INPUT_OUTPUT not in workflow.storage_settings.shared_fs_usage:
    # jobs run the code that is sent with them, not that of their image
    os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [workflow.basedir, os.environ.get("PYTHONPATH")])))


def code(*entries, data=()):
    """The code that results depend on, and files that they show, as a parameter of what makes them, see radar.code."""
    try:
        return digest(*entries, data=data)
    except CodeError as error:
        raise WorkflowError(str(error))


def as_json(value):
    """A value for the command line of a script."""
    return json.dumps(value, sort_keys=True)


def placed(name, identity):
    """A folder's name: `name` alone where the configuration asks for what config/config.yaml does, else with a digest.

    identity: of a configuration and its noise predictors, everything that the content of the folder depends on.
    """
    ours = identity(config, PREDICTORS)
    if ours == identity(DEFAULT, DEFAULT_PREDICTORS):
        return name
    return f"{name}-{hashlib.sha256(as_json(ours).encode()).hexdigest()[:8]}"


def predictor_folder(name):
    """What the folder of a noise predictor is called."""

    def identity(config, predictors):
        return [predictors.get(name), config["longest_side"], config["protocol"]["calibration_fraction"]]

    return placed(f"noise_predictor-{name}", identity)


def method_folder(name, method, draws=None):
    """What the folder of a method is called; draws: of the bootstrap, where they are not those of the protocol."""

    def identity(config, predictors):
        uses, trains = predictors.get(method.get("noise_predictor")), "training" in method
        return [uses, config["longest_side"], config["protocol"], draws, config["training"] if trains else None]

    return placed(name, identity)


PREDICTOR_OF = {predictor_folder(name): name for name in PREDICTORS}  # folder -> name
METHOD_OF = {method_folder(name, method): name for name, method in METHODS.items()}
FOLDERS = {name: folder for folder, name in METHOD_OF.items()}
for one in VARIANTS:
    one["variant"] = method_folder(one["variant"], one["method"], ABLATION_CONFIG["bootstrap_draws"])
# What was trained: the shared noise predictors, and the methods that train networks of their own.
USED = list(dict.fromkeys(method["noise_predictor"] for method in METHODS.values() if "noise_predictor" in method))
NETWORKS = {predictor_folder(name): name for name in USED} | {
    FOLDERS[name]: method.get("label", name) for name, method in METHODS.items() if "training" in method
}


wildcard_constraints:
    dataset="[A-Za-z0-9_.-]+",
    category="[A-Za-z0-9_.-]+",
    method="|".join(map(re.escape, FOLDERS.values())),
    predictor="|".join(map(re.escape, PREDICTOR_OF)),
    seed="[0-9]+",


def method_of(wildcards):
    """The YAML of the method whose folder the wildcard names."""
    return METHODS[METHOD_OF[wildcards.method]]


@lru_cache
def origin(name):
    """Where the images of <dataset>/<category> lie, and who lists them."""
    return configuration.origin(name, config["data_root"])


def origin_of(wildcards):
    return origin(f"{wildcards.dataset}/{wildcards.category}")


def data_folder(wildcards):
    """The folder that the manifest's paths are relative to."""
    return origin_of(wildcards).folder


def check_origins():
    """Before anything is done: are the originals there?"""
    lines = []
    for name in DATASETS:
        try:
            origin(name).check()
        except ConfigurationError as error:
            lines.append(str(error))
    if lines:
        raise WorkflowError("\n".join(dict.fromkeys(lines)))


@lru_cache
def images_state(dataset, category):
    """What tells that images of a category were changed, added or removed since they were read."""
    folder = Path(origin(f"{dataset}/{category}").folder)
    return configuration.folder_state(folder / category if (folder / category).is_dir() else folder)


def per_dataset(pattern, **wildcards):
    """`pattern` for every dataset of the run, and for all values of the other wildcards."""
    return [
        path
        for dataset, category in (name.split("/", 1) for name in DATASETS)
        for path in expand(pattern, dataset=dataset, category=category, **wildcards)
    ]


def predictor_files(names, wildcards):
    """The files of shared noise predictors, on the dataset and seed of the wildcards; None has none."""
    keys = {key: wildcards[key] for key in ("dataset", "category")} | {"seed": wildcards.get("seed", SEEDS[0])}
    folders = [predictor_folder(name) for name in names if name]
    return expand(f"{PREDICTOR}/noise_predictor.{{suffix}}", predictor=folders, suffix=["json", "safetensors"], **keys)


def variants_of(group):
    """The methods of a group of the ablation's variants."""
    return [one["method"] for one in VARIANTS if one["group"] == group]


def changed(ours, default, above=""):
    """What of the configuration differs from config/config.yaml: {"training.images": 400}."""
    found = {}
    for key in dict.fromkeys([*ours, *default]):
        name, one, other = f"{above}{key}", ours.get(key), default.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found |= changed(one, other, f"{name}.")
        elif one != other and name != "run":
            found[name] = one
    return found


def description():
    """The run in a file: all that tables, figures and report need to know of it."""
    return {
        "run": config["run"],
        "config": config,
        "changed": changed(config, DEFAULT),
        "datasets": {
            name: {"data": origin(name).folder, "labelled": configuration.has_labels(name)} for name in DATASETS
        },
        "methods": {name: method | {"folder": FOLDERS[name]} for name, method in METHODS.items()},
        "networks": NETWORKS,
        "seeds": SEEDS,
    }


def ablation_state():
    """What tells that the run's ablation study has been made, made anew or removed; empty if it is not there.

    Claims and report take it where it is. It is no input of theirs: then every run would have to bring the study up to
    date.
    """
    table = Path(RUN, "tables/ablation.csv")
    return sha256(table) if table.exists() else ""


def print_summary():
    """What a run that succeeded ends with."""
    summary = Path(RUN, "tables/summary.txt")
    if not summary.exists():  # only a part of the workflow was asked for
        return
    shutil.rmtree(Path(RUN, "partial"), ignore_errors=True)  # of an earlier attempt, which failed
    print(summary.read_text())
    print(f"tables:  {RUN}/tables/main.md, compact.md, timing.md, claims.md, statistics.md (also .csv, .tex)")
    print(f"figures: {RUN}/figures/*.png, *.pdf")
    for path in OVERLAYS:
        print(f"decisions and pictures: {path}, overlays/ beside it; look from the top, highest scores first")
    print(f"all of it on one page: {PAGE}")


def tell_failure(logs):
    """After a failure: the last line of every failed job, and tables and report of what is there, beside the real ones."""
    text = "\n".join(Path(log).read_text() for log in logs)
    for name in dict.fromkeys(re.findall(r"(?m)^ +log: (.+?) \(check log file", text)):
        if Path(name).is_file():
            print(f"{name}: {last_line(Path(name)) or 'it wrote nothing'}")
    write_json(Path(RUN, "run.json"), description())
    for script in ("compare", "tables", "page"):
        command = [sys.executable, f"workflow/scripts/{script}.py", "--run", RUN, "--partial"]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
            return
    earlier = f"; {RUN}/tables and figures are an earlier attempt's" * Path(RUN, "tables/main.md").exists()
    print(f"Some jobs failed or were stopped. What is there: {RUN}/partial/tables/main.md, report.html{earlier}")
