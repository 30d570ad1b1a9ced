"""Every mistake in the configuration is one line that names it and the remedy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from radar import config as configuration
from radar import studies
from radar.config import ConfigurationError

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
    predictors = configuration.expand_predictors(value)
    methods = configuration.read_methods(predictors)
    assert set(value["methods"]) <= set(methods)
    assert predictors["simplex"] == predictors["pixels"] | {"noise": "simplex"}
    assert all(one["training"]["images"] == value["training"]["images"] for one in predictors.values())


def test_the_shipped_ablation_is_valid_and_its_variants_are_settings():
    value, ablation = config(), studies.read_ablation("config/ablation.yaml")
    value["noise_predictors"] |= ablation["noise_predictors"]
    methods = configuration.read_methods(configuration.expand_predictors(value))
    variants = studies.expand_ablation(value, ablation, methods)
    by_name = {one["variant"]: one["method"] for one in variants}
    assert all(by_name[one["variant"]] == one["method"] for one in variants)  # a name stands for one variant
    assert len(by_name) == len({json.dumps(method, sort_keys=True) for method in by_name.values()})
    literal = [one for one in variants if one["method"] == configuration.variant_method(methods["radar"])]
    assert {one["study"] for one in literal} >= {"readings", "contamination", "budget"}
    variants = [one for one in variants if one["dataset"] == "texture/gravel"]
    assert [one["x"] for one in variants if one["series"] == "DDPM chain"] == [1, 2, 3, 5, 10, 25]
    assert [len(one["method"]["settings"]["taus"]) for one in variants if one["series"] == "InvAD"
            and one["study"] == "nfe"] == [1, 2, 3, 5, 10, 25]
    budget = [one["method"]["training"]["images"] for one in variants
              if (one["study"], one["series"]) == ("budget", "DiffusionAD")]
    assert len(budget) == 3


def test_a_method_must_not_train_on_the_photograph_that_is_tested():
    methods = {"diffusionad": {"class": "a:B", "settings": {"textures": ["brick", "grass"]}}}
    configuration.check_textures(["texture/gravel", "printed/all"], methods)
    with pytest.raises(ConfigurationError, match="diffusionad.yaml: textures has 'brick'"):
        configuration.check_textures(["texture/gravel", "texture/brick"], methods)


def ablation(**series) -> dict:
    return {"datasets": ["printed"], "seeds": [0], "bootstrap_draws": 100,
            "studies": {"s": {"title": "S", "kind": "curve", "metrics": ["image_auroc"], "series": {"one": series}}}}


@pytest.mark.parametrize("series, words", [
    ({"method": "radra"}, "studies.s.series.one.method: unknown method 'radra'"),
    ({"method": "radar", "vary": {"t": [1], "draws": [1]}}, "series.one.vary: Dictionary should have at most 1 item"),
    ({"method": "radar", "noise_predictor": "pixel"}, "unknown noise predictor 'pixel'; known: pixels"),
    ({"method": "radar", "vary": {"training": [{"images": 8}]}, "training": {"image": 8}}, "unknown key 'image'"),
])
def test_a_mistake_in_the_ablation_is_named(series, words):
    value = config()
    methods = configuration.read_methods(configuration.expand_predictors(value))
    with pytest.raises(ConfigurationError) as error:
        studies.expand_ablation(value, ablation(**series), methods)
    assert words in line(error)


@pytest.mark.parametrize("kind, name", [("list", "two"), ("curve", "one")])
def test_only_series_of_a_list_are_compared(kind, name):
    value = config()
    methods = configuration.read_methods(configuration.expand_predictors(value))
    study = ablation(method="radar")
    study["studies"]["s"] |= {"kind": kind, "compare": [["one", name]]}
    with pytest.raises(ConfigurationError) as error:
        studies.expand_ablation(value, study, methods)
    assert f"studies.s: compare: '{name if kind == 'list' else 'one'}' is no series of a list" in line(error)


@pytest.mark.parametrize("predictor, words", [
    ({"base": "pixel"}, "noise_predictors.new: base is 'pixel'; allowed: pixels, simplex, features"),
    ({"base": "new"}, "noise_predictors.new: base is 'new'"),
    ({"space": "pixels", "network": "unet"}, "noise_predictors.new: attention, channels"),
    ({"base": "features", "noise": "simplex"}, "noise is simplex on features"),
    ({"base": "features", "network": "dit", "width": 128, "depth": 1, "heads": 3}, "128 is not a multiple of heads 3"),
    ({"base": "pixels", "attention": [7]}, "no feature map has a side of 7; the sides are [32, 16, 8]"),
    ({"base": "pixels", "network": "mlp", "width": 8, "depth": 1}, "network is mlp on pixels"),
])
def test_a_bad_noise_predictor_is_named(predictor, words):
    value = config()
    value["noise_predictors"]["new"] = predictor
    with pytest.raises(ConfigurationError) as error:
        configuration.check_config(value)
    assert words in line(error)


@pytest.mark.parametrize("changes, words", [
    ({"sedes": [1]}, "unknown key 'sedes'; allowed: ablation, data_root, datasets"),
    ({"noise_predictors__pixels__pacth": 3}, "noise_predictors.pixels: unknown key 'pacth'; allowed: attention"),
    ({"seeds": []}, "seeds: "), ({"seeds": ["a"]}, "seeds.0: Input should be a valid integer, but is 'a'"),
    ({"device": "tpu"}, "device: Input should be 'auto', 'cpu' or 'cuda', but is 'tpu'"),
    ({"protocol__false_positive_rate": 0}, "protocol.false_positive_rate"), ({"run": "a/b"}, "run: "),
    ({"run": ".."}, "run: "), ({"seeds": [0, 0]}, "seeds: 0 stands there twice"), ({"timing": {}}, "timing.threads: "),
    ({"methods": ["radar", "radra"]}, "methods.1: unknown method 'radra'; known: anoddpm"),
    ({"methods": ["radra"]}, "to add one, write config/methods/<name>.yaml"),
    ({"datasets": ["prnited"]}, "datasets: unknown dataset 'prnited'; known: btad"),
    ({"training": {"images": 1}}, "training: batch_size, checkpoint_seconds, clip"),
    ({"noise_predictors__simplex__training": {"clip": None}}, "noise_predictors.simplex.training.clip: Input should"),
    ({"timing__seconds": float("nan")}, "timing.seconds: "), ({"timing__seconds": True}, "timing.seconds: "),
    ({"noise_predictors__pixels__stride": 64}, "stride 64 exceeds patch 32"),
    ({"noise_predictors__pixels__patch": 30}, "patch 30 must be a multiple of 4"),
    ({"noise_predictors__pixels__channels": [12, 16]}, "12 is not a multiple of norm_groups 8"),
])
def test_a_bad_value_is_named(changes, words):
    with pytest.raises(ConfigurationError) as error:
        configuration.check_config(config(**changes))
    assert words in line(error)


@pytest.mark.parametrize("name, words", [
    ("nothing", "unknown dataset 'nothing'; known: btad, elpv, folder, kolektorsdd, mpdd, mtd, mvtec_ad, printed, "
                "texture, visa; your own images are folder/<name>"),
    ("texture/sand", "dataset 'texture' has no category 'sand'; it has: gravel, brick, grass"),
    ("folder/mine", "put or link your images at data/folder/mine"),
    ("folder", "put or link your images at data/folder/<name>"),
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
    ("class: baselines.pca:PCA\nsettings: {patches: 3}", "unknown setting 'patches'; allowed: backbone, patch"),
    ("class: baselines.pca", "class: String should match pattern"),
    ("class: baselines.pca:PCA\nfamily: skiping", "family: Input should be 'skipping', 'reconstructing' or"),
    ("class: baselines.none:PCA", "no module 'baselines.none'"),
    ("class: nowhere.at.all:PCA", "no module 'nowhere.at.all'"),
    ("class: baselines.pca:KPCA", "defines no class KPCA"),
    ("noise_predictor: oracle\nclass: baselines.pca:PCA", "noise_predictor is 'oracle'; the configuration has: pixels"),
    ("class: [", "cannot be read as YAML"), ("- a", "must be a mapping"),
])
def test_a_bad_method_file_is_named(text, words, monkeypatch, tmp_path):
    monkeypatch.setattr(configuration, "CONFIG", tmp_path)
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods/new.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as error:
        configuration.read_methods(["pixels"])
    assert words in line(error) and "new.yaml" in line(error)


def test_command_line_values_are_typed():
    given = {"seeds": ["0", "1"], "device": "cpu", "training": {"learning_rate": "1e-3"},
             "longest_side": "null", "methods": ["radar"], "timing": {"seconds": "0.5"}}
    typed = configuration.typed(given)
    assert typed["seeds"] == [0, 1] and typed["longest_side"] is None and typed["timing"]["seconds"] == 0.5
    assert typed["device"] == "cpu" and typed["methods"] == ["radar"]


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
        assert name.lower() in pins
    assert not {"torchvision", "timm"} & set(pins)
    assert "+" not in "".join(pins.values())  # no local builds such as 2.13.0+cpu
