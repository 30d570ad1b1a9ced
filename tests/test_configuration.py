"""Every mistake in the configuration is one line that names it and the remedy."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from radar import configuration
from radar.configuration import ConfigurationError

ROOT = Path(__file__).parent.parent


def config(**changes) -> dict:
    value = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for path, change in changes.items():
        *parents, last = path.split("__")
        target = value
        for key in parents:
            target = target[key]
        target[last] = change
    return value


def line(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_shipped_configuration_is_valid():
    value = config()
    configuration.check_config(value)
    assert configuration.expand_datasets(value["datasets"]) == ["printed/all", "texture/gravel", "elpv/mono"]
    for name in value["methods"]:
        configuration.read_method(name)


@pytest.mark.parametrize("changes, words", [
    ({"sedes": [1]}, "unknown key 'sedes'; allowed: datasets"),
    ({"noise_predictor__pacth": 3}, "unknown key 'pacth' in noise_predictor; allowed: attention"),
    ({"seeds": []}, "seeds: "), ({"seeds": ["a"]}, "seeds.0: 'a' is not of type 'integer'"),
    ({"device": "tpu"}, "device: 'tpu' is not one of"),
    ({"protocol__false_positive_rate": 0}, "protocol.false_positive_rate"),
    ({"noise_predictor__stride": 64}, "stride 64 exceeds patch 32"),
    ({"noise_predictor__patch": 30}, "patch 30 must be a multiple of 4"),
    ({"noise_predictor__channels": [12, 16]}, "12 is not a multiple of norm_groups 8"),
])
def test_a_bad_value_is_named(changes, words):
    with pytest.raises(ConfigurationError) as error:
        configuration.check_config(config(**changes))
    assert words in line(error)


@pytest.mark.parametrize("name, words", [
    ("nothing", "unknown dataset 'nothing'; known: elpv, printed, texture"),
    ("texture/sand", "dataset 'texture' has no category 'sand'; it has: gravel, brick, grass"),
    ("folder/mine", "put or link your images, in MVTec AD layout, at data/folder/mine"),
])
def test_an_unknown_dataset_is_named(name, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as error:
        configuration.expand_datasets([name])
    assert words in line(error)


def test_a_dataset_stands_for_its_categories_and_a_folder_for_itself(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/folder/mine").mkdir(parents=True)
    names = configuration.expand_datasets(["texture/brick", "texture", "folder/mine"])
    assert names == ["texture/brick", "texture/gravel", "texture/grass", "folder/mine"]


@pytest.mark.parametrize("text, words", [
    ("class: baselines.pca:PCA\nsetings: {}", "unknown key 'setings'; allowed: citation, class"),
    ("class: baselines.pca:PCA\nsettings: {patches: 3}", "unknown setting 'patches'; allowed: patch, smoothing"),
    ("class: baselines.pca", "class: 'baselines.pca' does not match"),
    ("class: baselines.none:PCA", "no module 'baselines.none'"),
    ("class: nowhere.at.all:PCA", "no module 'nowhere.at.all'"),
    ("class: baselines.pca:KPCA", "defines no class KPCA"),
    ("needs: [oracle]\nclass: baselines.pca:PCA", "needs.0: 'oracle' is not one of"),
    ("class: [", "not valid YAML"), ("- a", "must be a mapping"),
])
def test_a_bad_method_file_is_named(text, words, monkeypatch, tmp_path):
    monkeypatch.setattr(configuration, "CONFIG", tmp_path)
    monkeypatch.setattr(configuration, "ROOT", tmp_path)
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods/new.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as error:
        configuration.read_method("new")
    assert words in line(error) and "new.yaml" in line(error)
    with pytest.raises(ConfigurationError, match="unknown method 'old'; known: new; to add one, write"):
        configuration.read_method("old")


def test_command_line_values_are_typed():
    given = {"seeds": ["0", "1"], "device": "cpu", "noise_predictor": {"training": {"learning_rate": "1e-3"}},
             "longest_side": "null", "methods": ["radar"], "timing": {"seconds": "0.5"}}
    typed = configuration.typed(given)
    assert typed["seeds"] == [0, 1] and typed["longest_side"] is None and typed["timing"]["seconds"] == 0.5
    assert typed["device"] == "cpu" and typed["methods"] == ["radar"]


def test_disk_space_is_asked_for_in_one_line(tmp_path):
    configuration.check_disk(tmp_path, 0)
    with pytest.raises(ConfigurationError, match="the run needs 1e.09 GiB; make room"):
        configuration.check_disk(tmp_path, 1e9)


def test_preflight_names_what_is_missing(tmp_path):
    script = ROOT / "workflow/scripts/preflight.py"

    def run(**environment):
        return subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path,
                              env={"PATH": "/usr/bin:/bin"} | environment)

    assert "git is missing" in run(PATH="/nowhere").stderr
    assert "make room" in run(RADAR_SETUP_GIB="1e9").stderr
    old = "import preflight; preflight.NEEDED_PYTHON = (9, 0); print(preflight.problem())"
    told = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True, cwd=script.parent).stdout
    assert told.startswith("Python 9.0 or newer is needed") and told.count("\n") == 1 and "make PYTHON=" in told
    fine = run(RADAR_SETUP_GIB="0")
    assert fine.returncode == 0 and fine.stderr == ""


def test_environment_yml_declares_nothing_of_its_own():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert [name.partition("=")[0] for name in conda] == ["python", "pip", "git"]
    assert pip == {"pip": ["-c constraints.txt", "-e .[dev]"]}


def test_every_dependency_is_pinned_and_torchvision_is_not_among_them():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {row.partition("==")[0].lower().replace("_", "-"): row.partition("==")[2]
            for row in (ROOT / "constraints.txt").read_text().split()}
    assert all(pins.values())
    for name in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        assert name in pins
    assert not {"torchvision", "timm"} & set(pins)
    assert "+" not in "".join(pins.values())  # no local builds such as 2.13.0+cpu
