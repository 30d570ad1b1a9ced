"""Runs of their own in a copy of the checkout: own photographs, failures, kills, mistakes."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.checkout import copy_checkout, environment, place, snakemake, table
from tests.conftest import grain


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the checkout."""
    return copy_checkout(tmp_path_factory.mktemp("runs"))


def test_a_mistake_in_the_configuration_is_one_line(folder):
    for setting, words in (("sedes=1", "unknown key 'sedes'"), ("methods=[radra]", "unknown method 'radra'"),
                           ("datasets=[prnited]", "unknown dataset 'prnited'")):
        result = snakemake(folder, "-n", "--config", setting)
        assert result.returncode == 1 and words in result.stdout and "Traceback" not in result.stdout


def test_the_rules_are_clean_to_snakemakes_lint(folder):
    result = snakemake(folder, "--lint")
    assert result.returncode == 0, result.stdout


BROKEN = '''
from radar.method.detector import Detector

class Broken(Detector):
    nfe = 0
    def fit(self, normal): raise RuntimeError("the lens cap is on")
    def predict(self, images): ...
    def state(self): return {}
    def restore(self, state): ...
'''


def test_own_photographs_of_mixed_sizes_and_a_method_that_fails(folder):
    """A user's folder and a class from a user's package; the failure costs the other method nothing."""
    mine, generator = folder / "data/folder/mine", np.random.default_rng(0)
    for part in ("train/good", "test/good", "test/spot", "ground_truth/spot"):
        (mine / part).mkdir(parents=True)
    for i in range(30):
        Image.fromarray(grain(generator, size=34 + i % 3)[0]).save(mine / f"train/good/{i}.png")
    for i in range(8):
        Image.fromarray(grain(generator, size=36 + i)[0]).save(mine / f"test/good/{i}.png")
        image, mask = grain(generator, defect=True, size=36 + i)
        Image.fromarray(image).save(mine / f"test/spot/{i}.jpg", quality=98)
        Image.fromarray(255 * mask.astype(np.uint8)).save(mine / f"ground_truth/spot/{i}_mask.png")
    (folder / "mypackage.py").write_text(BROKEN)
    (folder / "config/methods/broken.yaml").write_text("class: mypackage:Broken\n")
    arguments = ("--config", "run=mine", "datasets=[folder/mine]", "methods=[pca,broken]")
    result = snakemake(folder, *arguments)
    assert result.returncode == 1
    text = (folder / "results/runs/mine/partial/tables/main.md").read_text()
    assert "broken" in text and "the lens cap is on" in text and "folder/mine" in text
    where = place(folder, "folder/mine", "broken", run="mine").relative_to(folder)
    end = result.stdout.partition("Exiting because a job execution failed")[2]
    assert re.search(rf"\n{where}/detect\.log: .*the lens cap is on\n", end), end
    failure = json.loads((folder / where / "failure.json").read_text())
    assert failure == {"dataset": "folder", "category": "mine", "method": "broken", "seed": 0,
                       "reason": "RuntimeError: the lens cap is on",
                       "log": f"{where}/detect.log"}
    record = json.loads((place(folder, "folder/mine", "pca", run="mine") / "metrics.json").read_text())
    assert record["metrics"]["image_auroc"] > 0.9 and record["metrics"]["pixel_auroc"] > 0.9
    # the finished method is not computed again, and alone it makes a table
    again = snakemake(folder, "--config", "run=mine", "datasets=[folder/mine]", "methods=[pca]")
    assert again.returncode == 0 and "fit and score" not in again.stdout
    # a broken photograph stops the run before anything is trained, and is named
    (mine / "train/good/31.png").write_bytes(b"not a picture")
    refused = snakemake(folder, "--config", "run=mine", "datasets=[folder/mine]", "methods=[pca]")
    assert refused.returncode == 1 and "train/good/31.png: cannot be read as an image" in refused.stdout


def test_photographs_without_labels_get_scores_decisions_and_pictures(folder):
    unlabelled, generator = folder / "data/folder/unlabelled", np.random.default_rng(1)
    unlabelled.mkdir(parents=True)
    for i in range(30):
        Image.fromarray(grain(generator, defect=i == 7)[0]).save(unlabelled / f"{i:02d}.png")
    result = snakemake(folder, "--config", "run=new", "datasets=[folder/unlabelled]", "methods=[pca]")
    assert result.returncode == 0, result.stdout[-5000:]
    out = place(folder, "folder/unlabelled", "pca", run="new")
    decisions = pd.read_csv(out / "decisions.csv").set_index("file")
    assert len(decisions) == 30 and decisions["score"].idxmax() == "07.png" and decisions.loc["07.png", "decision"] == 1
    assert (decisions["decision"] == (decisions["score"] > decisions["threshold"])).all()
    assert len(list((out / "overlays").glob("*.png"))) == 30
    record = json.loads((out / "metrics.json").read_text())
    assert record["n_test_unlabelled"] == 30 and set(record["metrics"].values()) == {None}
    assert "30 test images without labels" in (folder / "results/runs/new/tables/main.md").read_text()


def test_originals_are_read_where_they_lie_and_the_tables_have_a_mean_over_categories(folder, tmp_path):
    generator = np.random.default_rng(2)
    for category in ("01", "02", "03"):
        for part, count, defect in (("train/ok", 20, False), ("test/ok", 6, False), ("test/ko", 6, True)):
            for number in range(count):
                image, mask = grain(generator, defect)
                for name, array in ((part, image), *([("ground_truth/ko", 255 * mask.astype(np.uint8))] * defect)):
                    path = tmp_path / "btad" / category / name / f"{number:04d}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(array).save(path)
    size = sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
    arguments = ("--config", "run=btad", "datasets=[btad]", "methods=[pca]", f"data_root={tmp_path}",
                 "seeds=[0]")
    result = snakemake(folder, *arguments)
    assert result.returncode == 0, result.stdout[-5000:]
    assert size == sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
    means = table(folder, "main", "btad", dtype={"category": str}).set_index(["category", "method", "metric"])["mean"]
    for metric in ("image_auroc", "pixel_aupro", "f1"):
        parts = [means[category, "pca", metric] for category in ("01", "02", "03")]
        assert means["mean of 3", "pca", metric] == pytest.approx(np.mean(parts)) and np.mean(parts) > 0.5
    text = (folder / "results/runs/btad/tables/main.md").read_text()
    assert "## btad/mean of 3" in text and "## btad: image AUROC by category" in text and "| 02 " in text
    again = snakemake(folder, *arguments)
    assert again.returncode == 0 and "Nothing to be done" in again.stdout
    # a new file concerns its own category only
    Image.fromarray(grain(generator)[0]).save(tmp_path / "btad/01/test/ok/0006.png")
    more = snakemake(folder, *arguments, "--dry-run")
    assert "btad/01 seed 0: fit and score pca" in more.stdout and "btad/02" not in more.stdout
    missing = snakemake(folder, "--config", "datasets=[mvtec_ad/tile]", f"data_root={tmp_path}")
    assert missing.returncode == 1 and f"no folder {tmp_path}/mvtec_ad: put or link" in missing.stdout


def test_the_paper_run_is_complete(folder):
    """Its dry run counts every job, on data that need not be there; the plan says the same number."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--quiet", "rules", "--configfile",
               "config/paper.yaml"]
    dry = subprocess.run(command, cwd=folder, env=environment(folder), text=True, capture_output=True)
    assert dry.returncode == 0, dry.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", dry.stdout + dry.stderr, flags=re.MULTILINE))
    datasets, seeds, methods, predictors = 15 + 12 + 1 + 1, 5, 14, 3
    assert int(jobs["fit_and_score"]) == int(jobs["evaluate"]) == datasets * seeds * methods
    assert int(jobs["train_noise_predictor"]) == datasets * seeds * predictors
    assert int(jobs["time_methods"]) == datasets


def test_killed_in_the_middle_of_a_training_it_goes_on_and_ends_with_the_same_numbers(folder):
    """kill -9 on the workflow and all its jobs; `make run`'s script clears the dead run's lock and takes up."""
    settings = ("--config", "run=killed", "training={images: 1200}")
    assert snakemake(folder, "results/runs/killed/run.json", *settings).returncode == 0
    trained = json.loads((folder / "results/runs/killed/run.json").read_text())["networks"]
    name = next(one for one, label in trained.items() if label == "pixels")
    target = f"results/texture/gravel/{name}/seed7/noise_predictor.safetensors"
    where = folder / Path(target).parent
    command = [sys.executable, "workflow/scripts/run.py", target, "--configfile", "tests/tiny.yaml", *settings]

    def start() -> subprocess.Popen:
        return subprocess.Popen(command, cwd=folder, env=environment(folder), text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, start_new_session=True)

    whole = start()
    assert whole.wait() == 0, whole.stdout.read()[-3000:]
    expected = (where / "noise_predictor.safetensors").read_bytes()
    shutil.rmtree(where)

    process = start()
    while not (where / "checkpoint.pt").exists():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
        assert process.poll() is None, process.stdout.read()[-3000:]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (where / "noise_predictor.safetensors").exists()
    again = start()
    printed = again.communicate()[0]
    assert again.returncode == 0, printed[-3000:]
    assert "goes on after step" in printed
    assert (where / "noise_predictor.safetensors").read_bytes() == expected
    assert not (where / "checkpoint.pt").exists()
