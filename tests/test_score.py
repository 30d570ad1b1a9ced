"""Scoring a folder of new photographs, as an engineer does."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from radar.commands import score
from radar.images.overlay import overlay
from radar.method.detector import MethodError, build
from tests.conftest import grain
from tests.test_detectors import method


@pytest.fixture
def detector_folder(trivial_set, tmp_path):
    detector = build(method("pca"), seed=0, device="cpu")
    detector.fit(trivial_set[0])
    detector.save(tmp_path / "detector", {
        "method": method("pca"), "name": "pca", "seed": 0, "channels": 1, "longest_side": 64, "threshold": 0.01,
        "map_threshold": 0.005, "noise_predictor": None})
    return tmp_path / "detector"


@pytest.fixture
def photographs(tmp_path):
    """Good and bad ones, of several formats, sizes and depths, one of them broken, and a text file."""
    folder, generator = tmp_path / "photographs", np.random.default_rng(5)
    (folder / "more").mkdir(parents=True)
    good, bad = grain(generator)[0], grain(generator, defect=True)[0]
    Image.fromarray(good).save(folder / "good.png")
    Image.fromarray(bad).save(folder / "more/bad.bmp")
    Image.fromarray(np.stack([bad] * 3, axis=2)).save(folder / "bad.TIFF")
    Image.fromarray(bad.astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(np.tile(good, (5, 3))).save(folder / "large.png")
    Image.fromarray(good[:9, :20]).save(folder / "small.png")
    (folder / "broken.png").write_bytes((folder / "good.png").read_bytes()[:200])
    (folder / "notes.txt").write_text("no image")
    return folder


def test_scores_overlays_and_the_broken_file(detector_folder, photographs, tmp_path):
    command = [sys.executable, "-m", "radar", "score", "--detector", detector_folder, "--images", photographs, "--out",
               tmp_path / "out", "--device", "cpu"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "skipped: " in result.stderr and "broken.png" in result.stderr and "Traceback" not in result.stderr
    with open(tmp_path / "out/scores.csv", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert sorted(rows) == ["bad.TIFF", "deep.png", "good.png", "large.png", "more/bad.bmp", "small.png"]
    scores = [float(row["score"]) for row in rows.values()]
    assert scores == sorted(scores, reverse=True)  # who looks from the top sees the worst first
    for row in rows.values():
        assert int(row["decision"]) == (float(row["score"]) > float(row["threshold"]))
    assert {name for name, row in rows.items() if row["decision"] == "1"} == {"bad.TIFF", "deep.png", "more/bad.bmp"}
    # the same picture in another format and depth has the same score
    assert rows["bad.TIFF"]["score"] == rows["deep.png"]["score"] == rows["more/bad.bmp"]["score"]
    for name in rows:
        with Image.open(tmp_path / "out/overlays" / f"{name}.png") as picture:
            assert picture.width >= 256
    assert not list((tmp_path / "out").rglob(".*"))  # nothing temporary is left


def test_a_second_run_does_not_score_its_own_overlays(detector_folder, photographs):
    (photographs / "broken.png").unlink()
    for _ in range(2):
        assert score.main(detector_folder, photographs, photographs / "out", "cpu") == 0
        assert len((photographs / "out/scores.csv").read_text().splitlines()) == 7


def test_an_overlay_marks_what_exceeds_the_threshold_and_nothing_else():
    image, anomaly_map = np.full((1, 300, 300), 100, np.uint8), np.zeros((300, 300))
    anomaly_map[50:100, 50:100] = 3
    picture = np.asarray(overlay(image, anomaly_map, 1.0))
    assert picture.shape == (300, 600, 3)
    changed = (picture[:, :300] != 100).any(axis=2)
    assert np.array_equal(changed, anomaly_map > 1)
    heat = picture[:, 300:].sum(axis=2)
    assert (heat[anomaly_map > 1] == heat.max()).all() and (heat[anomaly_map == 0] == heat.min()).all()


def test_bad_arguments_are_one_line(detector_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for detector, images, words in ((detector_folder, tmp_path / "none", "is not a folder"),
                                    (detector_folder, tmp_path / "empty", "holds no image"),
                                    (tmp_path / "empty", tmp_path / "empty", "holds no trained detector")):
        with pytest.raises(MethodError, match=words):
            score.main(detector, images, tmp_path / "out", "cpu")
        assert not (tmp_path / "out").exists()
