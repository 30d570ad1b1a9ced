# Helpers of the rules: what the configuration means, where things lie, and which code a result depends on.

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, workflow.basedir)
# Jobs run this Python, and the code that lies here or is sent with them, whatever their image has.
for variable, folder in (("PATH", str(Path(sys.executable).parent)), ("PYTHONPATH", workflow.basedir)):
    os.environ[variable] = os.pathsep.join(filter(None, [folder, os.environ.get(variable)]))
from radar import config as configuration
from radar import studies
from radar.code import CodeError, digest, module_file, parsed
from radar.config import ConfigurationError
from radar.files import last_line, sha256, write_json
from radar.report.claim_config import read_claims


@contextmanager
def in_one_line():
    """What a user can mend ends the workflow with the line that says so. Also a decorator."""
    try:
        yield
    except (ConfigurationError, CodeError) as error:
        sys.exit(f"radar-bench: {error}")


def with_studies(config):
    """A configuration with the noise predictors of the study too; what no target asks for is not trained."""
    return config | {"noise_predictors": config["noise_predictors"] | ABLATION_CONFIG.get("noise_predictors", {})}


with in_one_line():
    config.update(configuration.typed(config))
    configuration.check_config(config)
    DATASETS = configuration.expand_datasets(config["datasets"])
    ABLATION_CONFIG = studies.read_ablation(config.get("ablation", "config/ablation.yaml"))
    PREDICTORS = configuration.expand_predictors(with_studies(config))
    KNOWN_METHODS = configuration.read_methods(PREDICTORS)
    METHODS = {name: KNOWN_METHODS[name] for name in config["methods"]}
    configuration.check_textures(DATASETS, METHODS)
    VARIANTS = studies.expand_ablation(with_studies(config), ABLATION_CONFIG, KNOWN_METHODS)
    read_claims()  # so that a mistake in it stops the run before it begins
    # what config/config.yaml says: what differs from it gets a place of its own
    DEFAULT = configuration.read_yaml(configuration.CONFIG / "config.yaml")
    DEFAULT_PREDICTORS = configuration.expand_predictors(with_studies(DEFAULT))
    if shutil.which("git") is None:
        raise ConfigurationError("git is missing: DVC and the provenance of the results need it; install it")
    if shutil.disk_usage(".").free < 2**30:
        raise ConfigurationError("less than 1 GiB is free on this disk; make room and start again")

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


code = in_one_line()(digest)  # the code that results depend on, as a parameter of what makes them


def as_json(value):
    """A value for the command line of a script."""
    return json.dumps(value, sort_keys=True)


def job(wildcards, **settings):
    """The settings of a job on a dataset and seed for its script, as one JSON object: its own, and what all have."""
    common = dict(data=data_folder(wildcards), seed=int(wildcards.seed), device=config["device"])
    common |= dict(longest_side=config["longest_side"], calibration_fraction=config["protocol"]["calibration_fraction"])
    return as_json(common | settings)


def flat(settings, above=""):
    """Nested settings side by side: {"training.images": 400}."""
    found = {}
    for key, value in settings.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def placed(name, predictor, *keys):
    """A folder's name: `name` alone where the configuration asks for what config/config.yaml does, else with a digest.

    predictor: the noise predictor that the content of the folder depends on; keys: what it depends on of the rest.
    """
    ours, default = (
        [predictors.get(predictor), {key: value for key, value in flat(whole).items() if key.startswith(keys)}]
        for whole, predictors in ((config, PREDICTORS), (DEFAULT, DEFAULT_PREDICTORS))
    )
    return name if ours == default else f"{name}-{hashlib.sha256(as_json(ours).encode()).hexdigest()[:8]}"


def predictor_folder(name):
    """What the folder of a noise predictor is called."""
    return placed(f"noise_predictor-{name}", name, "longest_side", "protocol.calibration_fraction")


def method_folder(name, method):
    """What the folder of a method is called."""
    return placed(name, method.get("noise_predictor"), "longest_side", "protocol", *{"training"} & method.keys())


PREDICTOR_OF = {predictor_folder(name): name for name in PREDICTORS}  # folder -> name
METHOD_OF = {method_folder(name, method): name for name, method in METHODS.items()}
for one in VARIANTS:
    one["variant"] = method_folder(one["variant"], one["method"])
# What was trained: the shared noise predictors, and the methods that train networks of their own.
USED = list(dict.fromkeys(method["noise_predictor"] for method in METHODS.values() if "noise_predictor" in method))
NETWORKS = {predictor_folder(name): name for name in USED} | {
    folder: METHODS[name].get("label", name) for folder, name in METHOD_OF.items() if "training" in METHODS[name]
}


wildcard_constraints:
    dataset="[A-Za-z0-9_.-]+",
    category="[A-Za-z0-9_.-]+",
    method="|".join(map(re.escape, METHOD_OF)),
    predictor="|".join(map(re.escape, PREDICTOR_OF)),
    seed="[0-9]+",


def method_of(wildcards):
    """The YAML of the method whose folder the wildcard names."""
    return METHODS[METHOD_OF[wildcards.method]]


def origin(name):
    """Where the images of <dataset>/<category> lie, and who lists them."""
    return configuration.origin(name, config["data_root"])


def origin_of(wildcards):
    return origin(f"{wildcards.dataset}/{wildcards.category}")


def data_folder(wildcards):
    """The folder that the manifest's paths are relative to."""
    return origin_of(wildcards).folder


@lru_cache
def images_state(dataset, category):
    """What tells that images of a category were changed, added or removed since they were read."""
    folder = Path(origin(f"{dataset}/{category}").folder)
    return configuration.folder_state(folder / category if (folder / category).is_dir() else folder)


def per_dataset(pattern, **wildcards):
    """`pattern` for every dataset of the run, and for all values of the other wildcards."""
    dataset, category = zip(*(name.split("/") for name in DATASETS))
    return expand(expand(pattern, zip, dataset=dataset, category=category, allow_missing=True), **wildcards)


def predictor_files(names, wildcards):
    """The files of shared noise predictors, on the dataset and seed of the wildcards; None has none."""
    keys = {key: wildcards[key] for key in ("dataset", "category")} | {"seed": wildcards.get("seed", SEEDS[0])}
    folders = [predictor_folder(name) for name in names if name]
    return expand(f"{PREDICTOR}/noise_predictor.{{suffix}}", predictor=folders, suffix=["json", "safetensors"], **keys)


def description():
    """The run in a file: all that tables, figures and report need to know of it."""
    default = flat(DEFAULT) | {"run": config["run"]}
    return {
        "run": config["run"],
        "config": config,
        "changed": {key: value for key, value in flat(config).items() if value != default.get(key)},
        "datasets": {
            name: {"data": origin(name).folder, "labelled": configuration.has_labels(name)} for name in DATASETS
        },
        "methods": {name: METHODS[name] | {"folder": folder} for folder, name in METHOD_OF.items()},
        "networks": NETWORKS,
        "seeds": SEEDS,
    }


def ablation_state():
    """What tells that the run's ablation study has been made, made anew or removed; empty if it is not there. Claims and
    report take it where it is; as an input of theirs, every run would have to bring it up to date.
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
