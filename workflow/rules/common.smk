# Helpers of the rules: what the configuration means, and which files of the packages a result depends on.

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import SharedFSUsage

sys.path.insert(0, workflow.basedir)
from radar import config as configuration, studies
from radar.code import CodeError, digest
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
    LITERAL = configuration.variant_method(KNOWN_METHODS["radar"])
    read_claims()  # so that a mistake in it stops the run before it begins
    if shutil.which("git") is None:
        raise ConfigurationError("git is missing: DVC and the provenance of the results need it; install it")
except ConfigurationError as error:
    raise WorkflowError(str(error))

SEEDS = config["seeds"]
PYTHON = shlex.quote(sys.executable)
# A rule that asks for a GPU runs one at a time where gpu=1: ask only where there is one.
# On a cluster the machine that reads this has none: there the profile says device=cuda.
HAS_GPU = config["device"] == "cuda" or config["device"] == "auto" and shutil.which("nvidia-smi") is not None
GPU = 1 if HAS_GPU else 0

RUN = "results/{dataset}/{category}"
PREDICTOR = f"{RUN}/noise_predictor-{{predictor}}/seed{{seed}}"
DETECTOR = f"{RUN}/{{method}}/seed{{seed}}"


wildcard_constraints:
    dataset="[A-Za-z0-9_.-]+",
    category="[A-Za-z0-9_.-]+",
    method="|".join(METHODS),
    predictor="|".join(PREDICTORS),
    seed="[0-9]+",


def code(*entries):
    """The code that a rule's results depend on, as a parameter of the rule: see radar.code."""
    try:
        return digest(*entries)
    except CodeError as error:
        raise WorkflowError(str(error))


SHARED = SharedFSUsage.INPUT_OUTPUT in workflow.storage_settings.shared_fs_usage
if not SHARED:  # jobs run the code that is sent with them, not that of their image
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [workflow.basedir, os.environ.get("PYTHONPATH")]))


@lru_cache
def origin(name):
    """Where the images of <dataset>/<category> lie, and who lists them."""
    return configuration.origin(name, config["data_root"])


def origin_of(wildcards):
    return origin(f"{wildcards.dataset}/{wildcards.category}")


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


def data_folder(wildcards):
    """The folder that the manifest's paths are relative to."""
    return origin_of(wildcards).folder


@lru_cache
def images_state(dataset, category):
    """What tells that images of a category were changed, added or removed since they were read."""
    folder = Path(origin(f"{dataset}/{category}").folder)
    return configuration.folder_state(folder / category if (folder / category).is_dir() else folder)


def as_json(value):
    """A value for the command line of a script."""
    return json.dumps(value, sort_keys=True)


def per_dataset(pattern, **wildcards):
    """`pattern` for every dataset of the run, and for all values of the other wildcards."""
    return [
        path
        for name in DATASETS
        for path in expand(
            pattern, dataset=name.partition("/")[0], category=name.partition("/")[2], **wildcards
        )
    ]


def predictor_files(wildcards):
    """The files of the shared noise predictor, for a method that stands on one."""
    name = METHODS[wildcards.method].get("noise_predictor")
    if name is None:
        return []
    return expand(
        f"{PREDICTOR}/noise_predictor.{{suffix}}", predictor=name, suffix=["json", "safetensors"],
        **{key: wildcards[key] for key in ("dataset", "category", "seed")},
    )


def detectors_of(wildcards):
    """All files of the timed detectors of a dataset, and of the noise predictors that they stand on."""
    names = {method["noise_predictor"] for method in METHODS.values() if "noise_predictor" in method}
    where = {"dataset": wildcards.dataset, "category": wildcards.category, "seed": SEEDS[0]}
    return expand(f"{DETECTOR}/detector.safetensors", method=METHODS, **where) + expand(
        f"{PREDICTOR}/noise_predictor.{{suffix}}", predictor=sorted(names), suffix=["json", "safetensors"], **where
    )


def group_of(wildcards):
    """The methods of a group of variants."""
    return [one["method"] for one in VARIANTS if one["group"] == wildcards.group]


def group_files(wildcards):
    """The noise predictor that the variants of a group stand on."""
    if name := group_of(wildcards)[0].get("noise_predictor"):
        keys = {key: wildcards[key] for key in ("dataset", "category", "seed")}
        return expand(f"{PREDICTOR}/noise_predictor.{{suffix}}", predictor=name, suffix=["json", "safetensors"], **keys)
    return []


def print_summary(tables, figures):
    summary = Path(tables, "summary.txt")
    if not summary.exists():  # only a part of the workflow was asked for
        return
    shutil.rmtree("results/partial", ignore_errors=True)  # of an earlier run, which failed
    print(summary.read_text())
    print(f"tables:  {tables}/main.md, timing.md, claims.md, statistics.md (also .csv, .tex)")
    print(f"figures: {figures}/*.png, *.pdf")
    for path in OVERLAYS:
        print(f"decisions and pictures: {path}, overlays/ beside it; look from the top, highest scores first")
    print("all of it on one page: results/report.html")


def labels():
    """How the tables and figures call the methods."""
    return "--labels " + " ".join(
        shlex.quote(f"{name}={method['label']}") for name, method in METHODS.items() if "label" in method
    )


def citations():
    """What the methods are cited as."""
    return "--citations " + " ".join(
        shlex.quote(f"{name}={method['citation']}") for name, method in METHODS.items() if "citation" in method
    )


def report_arguments():
    return (
        f"--datasets {' '.join(DATASETS)} --methods {' '.join(METHODS)} --seeds {' '.join(map(str, SEEDS))} {labels()}"
    )


def ablation_state():
    """What tells that the ablation study has been made, made anew or removed; empty if it is not there.

    Claims, statistics and the report take it where it is. It is no input of theirs: then every run would have to bring
    the study up to date.
    """
    table = Path("results/tables/ablation.csv")
    return sha256(table) if table.exists() and Path("results/ablation/variants.json").exists() else ""


def data_arguments():
    """Where the images lie that the report shows."""
    return "--data " + " ".join(shlex.quote(f"{name}={origin(name).folder}") for name in DATASETS)


def failures(logs):
    """A line per failed job that Snakemake's own logs tell of: its log file, and that file's last line."""
    text = "\n".join(Path(log).read_text() for log in logs)
    for name in dict.fromkeys(re.findall(r"(?m)^ +log: (.+?) \(check log file", text)):
        if Path(name).is_file():
            yield f"{name}: {last_line(Path(name)) or 'it wrote nothing'}"


def tell_failure(logs):
    """After a failure: what failed and why, and tables and report of what is there, beside the real ones."""
    print("\n".join(["", *failures(logs)]))
    command = f"{PYTHON} workflow/scripts/tables.py --partial {report_arguments()} {citations()} --out results/partial"
    if subprocess.run(command, shell=True).returncode != 0:
        return
    command = f"{PYTHON} workflow/scripts/page.py --partial {report_arguments()} {data_arguments()} --out results/partial/report.html"
    page = ", report.html" if subprocess.run(command, shell=True, stdout=subprocess.DEVNULL).returncode == 0 else ""
    earlier = "; results/tables and figures are an earlier run's" * Path("results/tables/main.md").exists()
    print(f"Some jobs failed or were stopped. What is there: results/partial/main.md{page}{earlier}")
