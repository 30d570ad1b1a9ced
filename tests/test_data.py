"""The data: layout, simulators, manifest, calibration split."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from scipy import ndimage
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from radar.data import check, defects, elpv, folder, layout, manifest, printed, texture
from radar.data.layout import Picture
from radar.files import ROOT, sha256

CATEGORIES = ("gravel", "brick", "grass")


def settings_of(source: str) -> dict:
    return yaml.safe_load((ROOT / "config" / "datasets" / f"{source}.yaml").read_text())["settings"]


def build(top: Path) -> pd.DataFrame:
    return check.build(folder.listing(top, "", {}))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256(path) for path in folder.rglob("*") if path.is_file()}


def grey(value: int = 100, size: int = 16) -> np.ndarray:
    return np.full((size, size), value, np.uint8)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture(scope="module")
def printed_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("printed") / "all"
    layout.write(folder, printed.pictures("all", settings_of("printed")))
    return folder


@pytest.fixture(scope="module")
def gravel_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("texture") / "gravel"
    layout.write(folder, texture.pictures("gravel", settings_of("texture")))
    return folder


@pytest.fixture
def user_folder(tmp_path) -> Path:
    """A small dataset of one's own, in MVTec AD layout, without images.csv."""
    folder = tmp_path / "own"
    for number in range(4):
        save(folder / f"train/good/{number:03d}.png", grey(number))
    save(folder / "test/good/000.png", grey(50))
    save(folder / "test/scratch/000.png", grey(60))
    save(folder / "ground_truth/scratch/000_mask.png", grey(255))
    return folder


# The layout


def test_layout_writes_what_other_tools_expect(tmp_path):
    mask = np.zeros((8, 6), bool)
    mask[2:4, 1:3] = True
    layout.write(tmp_path / "set", [
        Picture(np.full((8, 6), 7, np.uint8), "train"), Picture(np.full((8, 6), 8, np.uint8), "calibration"),
        Picture(np.full((8, 6, 3), 9, np.uint8), "test"),
        Picture(np.full((8, 6), 10, np.uint8), "test", "hole", mask, 2)])
    assert sorted(hashes(tmp_path / "set")) == [
        "ground_truth/hole/000_mask.png", "images.csv", "test/good/000.png", "test/hole/000.png",
        "train/good/000.png", "train/good/001.png"]
    written = pixels(tmp_path / "set/ground_truth/hole/000_mask.png")
    assert np.array_equal(written, np.where(mask, 255, 0)) and written.dtype == np.uint8
    with open(tmp_path / "set/images.csv", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert rows["train/good/001.png"]["split"] == "calibration"
    assert rows["test/hole/000.png"] == {
        "path": "test/hole/000.png", "split": "test", "label": "1", "defect": "hole", "severity": "2",
        "mask": "ground_truth/hole/000_mask.png", "group": ""}


def test_writing_that_is_interrupted_leaves_the_earlier_dataset_and_nothing_else(tmp_path):
    def pictures():
        yield Picture(grey(2), "train")
        raise KeyboardInterrupt

    layout.write(tmp_path / "set", [Picture(grey(1), "train")])
    before = hashes(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        layout.write(tmp_path / "set", pictures())
    assert hashes(tmp_path) == before and os.listdir(tmp_path) == ["set"]


# Printed surfaces


def small_printed(**changes) -> dict:
    return settings_of("printed") | {"size": 64, "train_normal": 3, "test_normal": 2, "test_per_defect": 1} | changes


def test_printed_has_the_stated_images(tmp_path):
    settings = small_printed(test_per_defect=2)
    layout.write(tmp_path, printed.pictures("all", settings))
    table = build(tmp_path)
    assert (table["split"] == "train").sum() == settings["train_normal"]
    assert ((table["split"] == "test") & (table["label"] == 0)).sum() == settings["test_normal"]
    counts = table[table["label"] == 1].groupby(["defect", "severity"]).size()
    assert len(counts) == 6 * 3 and (counts == settings["test_per_defect"]).all()
    assert (table[["width", "height"]] == settings["size"]).all(axis=None)
    assert table["sha256"].is_unique


@pytest.mark.parametrize("defect", sorted(printed.DEFECTS))
def test_printed_masks_are_exact(defect):
    settings = settings_of("printed")
    for severity in defects.SEVERITIES:
        image, mask, twin = printed.defective_image(settings, defect, severity, number=0)
        difference = np.abs(image.astype(int) - twin)
        # beyond the mask only shading of a few grey levels, near the mask; the far image is the twin, bit by bit
        assert difference[~mask].max() <= 6
        assert difference[ndimage.distance_transform_edt(~mask) > 30].max() == 0
        # a true pixel is there because something changed there or right beside it
        assert ndimage.maximum_filter(difference, 9)[mask].min() >= 1
        assert 0 < mask.mean() < 0.35


@pytest.mark.parametrize("defect", sorted(printed.DEFECTS))
def test_printed_defects_grow_with_severity(defect):
    settings = settings_of("printed")
    change = []
    for severity in defects.SEVERITIES:
        pairs = [printed.defective_image(settings, defect, severity, number) for number in range(3)]
        change.append(np.mean([((image.astype(float) - twin) ** 2).sum() for image, _, twin in pairs]))
    assert change[0] < change[1] < change[2]


@pytest.mark.full
def test_sobel_energy_does_not_solve_printed(printed_folder):
    def features(image: np.ndarray) -> list[float]:
        image = image.astype(float)
        energy = ndimage.sobel(image, 0) ** 2 + ndimage.sobel(image, 1) ** 2
        windows = np.lib.stride_tricks.sliding_window_view(energy, (32, 32))[::16, ::16]
        return [np.sqrt(energy.mean()), np.sqrt(windows.mean((2, 3)).max())]

    table = build(printed_folder)
    table = table.assign(features=[features(pixels(printed_folder / path)) for path in table["path"]])
    test = table[table["split"] == "test"]
    forest = IsolationForest(random_state=0).fit(table.loc[table["split"] == "train", "features"].tolist())
    assert roc_auc_score(test["label"], -forest.score_samples(test["features"].tolist())) < 0.75


@pytest.mark.full
def test_pca_reconstruction_does_not_solve_printed(printed_folder):
    side, step = 16, 4

    def patches(image: np.ndarray) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(image.astype(float), (side, side))[::step, ::step]

    def score(image: np.ndarray) -> float:
        """Mean of the highest 1 % of the error map, each pixel the mean over the patches that cover it."""
        windows = patches(image)
        flat = windows.reshape(-1, side * side)
        error = ((flat - pca.inverse_transform(pca.transform(flat))) ** 2).reshape(windows.shape)
        total, count = np.zeros(image.shape), np.zeros(image.shape)
        for row, column in np.ndindex(error.shape[:2]):
            here = np.s_[row * step:row * step + side, column * step:column * step + side]
            total[here] += error[row, column]
            count[here] += 1
        values = np.sort((total / np.maximum(count, 1)).ravel())
        return values[-len(values) // 100:].mean()

    table = build(printed_folder)
    train = [pixels(printed_folder / path) for path in table.loc[table["split"] == "train", "path"]]
    pca = PCA(0.9, svd_solver="full").fit(np.vstack([patches(image)[::2, ::2].reshape(-1, side**2) for image in train]))
    test = table[table["split"] == "test"]
    assert roc_auc_score(test["label"], [score(pixels(printed_folder / path)) for path in test["path"]]) < 0.9


@pytest.mark.full
def test_printed_defects_show_to_who_knows_the_strands(printed_folder):
    """Taking the median along the strands finds most defects, but not all: detectable, and not trivial."""

    def score(image: np.ndarray) -> float:
        image, residuals = image.astype(float), []
        for direction in (1, -1):
            along = [np.roll(image, (direction * offset, offset), (0, 1)) for offset in range(-9, 10)]
            residuals.append((image - np.median(along, axis=0))[10:-10, 10:-10])
        energy = ndimage.gaussian_filter(ndimage.gaussian_filter(min(residuals, key=np.var), 1.0) ** 2, 2.5)
        return np.sort(energy.ravel())[-60:].mean() / np.median(energy)

    table = build(printed_folder)
    test = table[table["split"] == "test"]
    test = test.assign(score=[score(pixels(printed_folder / path)) for path in test["path"]])
    assert 0.85 < roc_auc_score(test["label"], test["score"]) < 1
    by_severity = [roc_auc_score(part["label"], part["score"]) for part in (
        test[(test["label"] == 0) | (test["severity"] == severity)] for severity in (1, 2, 3))]
    assert by_severity[0] < by_severity[1] < by_severity[2]


def test_printed_is_reproducible_and_follows_its_seed(tmp_path):
    for name, changes in (("a", {}), ("b", {}), ("c", {"seed": 1}), ("d", {"train_normal": 4})):
        layout.write(tmp_path / name, printed.pictures("all", small_printed(**changes)))
    a, b, c, d = (hashes(tmp_path / name) for name in "abcd")
    assert a == b
    assert all(a[path] != c[path] for path in a if path.startswith(("train", "test")))
    # an image does not depend on how many others there are
    assert {path: d[path] for path in a if path != "images.csv"} == {p: h for p, h in a.items() if p != "images.csv"}


# Textures


def test_texture_regions_are_disjoint_and_test_crops_overlap_by_a_quarter_at_most():
    settings = settings_of("texture")
    size = settings["crop"]
    for category in CATEGORIES:
        places = texture.crops(category, settings, (512, 512))
        covered = {}
        for split, corners in places.items():
            covered[split] = np.zeros((512, 512), bool)
            for y, x in corners:
                assert 0 <= y <= 512 - size and 0 <= x <= 512 - size
                covered[split][y:y + size, x:x + size] = True
        assert not (covered["train"] & covered["calibration"]).any()
        assert not ((covered["train"] | covered["calibration"]) & covered["test"]).any()
        test = places["test"]
        assert len(test) == 50
        for i, (y, x) in enumerate(test):
            for other_y, other_x in test[:i]:
                shared = max(0, size - abs(y - other_y)) * max(0, size - abs(x - other_x))
                assert shared <= size * size / 4


def test_texture_has_the_stated_images(gravel_folder):
    table = build(gravel_folder)
    assert table.groupby(["split", "label"]).size().to_dict() == {
        ("train", 0): 60, ("calibration", 0): 24, ("test", 0): 20, ("test", 1): 30}
    counts = table[table["label"] == 1].groupby(["defect", "severity"]).size()
    assert len(counts) == 5 * 3 and (counts == 2).all()


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("defect", sorted(texture.DEFECTS))
def test_texture_masks_are_exact_and_defects_grow_with_severity(category, defect):
    settings = settings_of("texture")
    photograph = getattr(texture.skimage.data, category)()
    for number in range(2):
        changes, areas = [], []
        for severity in defects.SEVERITIES:
            crop = photograph[96:160, 256:320]
            image, mask = texture.draw(crop, category, defect, severity, number, settings)
            assert np.array_equal(image[~mask], crop[~mask])
            difference = np.abs(image.astype(int) - crop)
            assert (difference[mask] > 0).mean() > 0.6
            changes.append((difference**2).sum())
            areas.append(mask.sum())
        assert changes[0] < changes[1] < changes[2] and 0 < areas[0] < areas[1] < areas[2]


def test_good_and_defective_texture_crops_are_mixed_over_the_region():
    settings = settings_of("texture")
    for category in CATEGORIES:
        defective = np.array([plan is not None for plan in texture.test_plan(category, settings, 50)]).reshape(10, 5)
        assert defective.sum() == 30
        assert 0 < defective[:5].sum() - 5 < 20 and 0 < defective[5:].sum() - 5 < 20


def test_texture_is_reproducible_and_follows_its_seed(gravel_folder, tmp_path):
    layout.write(tmp_path / "same", texture.pictures("gravel", settings_of("texture")))
    layout.write(tmp_path / "other", texture.pictures("gravel", settings_of("texture") | {"seed": 1}))
    assert hashes(tmp_path / "same") == hashes(gravel_folder)
    assert hashes(tmp_path / "other") != hashes(gravel_folder)


# Solar cells


def test_elpv_takes_only_certain_cells_of_one_kind(tmp_path):
    settings = settings_of("elpv") | {"train_normal": 6, "test_normal": 4, "test_defective": 5}
    layout.write(tmp_path / "mono", elpv.pictures("mono", settings))
    table = build(tmp_path / "mono")
    assert table.groupby(["split", "defect"]).size().to_dict() == {
        ("train", ""): 6, ("test", ""): 4, ("test", "defective"): 5}
    assert (table["mask"] == "").all() and table["severity"].isna().all()
    assert table["sha256"].is_unique and (table[["width", "height"]] == settings["size"]).all(axis=None)
    certain = {True: set(), False: set()}
    for path, probability, kind in elpv.labels():
        if kind == "mono" and probability in (0, 1):
            certain[probability == 1].add(path)
    sample = sorted(certain[True])[:40] + sorted(certain[False])[:40]
    assert len(sample) == 80
    # every written defective image is one of the certain defective cells
    known = {elpv.read_cell(path, settings["size"]).tobytes() for path in certain[True]}
    for path in table.loc[table["label"] == 1, "path"]:
        assert pixels(tmp_path / "mono" / path).tobytes() in known


def test_elpv_asks_for_no_more_cells_than_there_are(tmp_path):
    with pytest.raises(ValueError, match="588 normal"):
        layout.write(tmp_path / "mono", elpv.pictures("mono", settings_of("elpv") | {"train_normal": 600}))


# The command


def test_command_names_what_it_does_not_know():
    for source, category, expected in (("metal", "all", "unknown dataset 'metal'"),
                                       ("printed", "x", "dataset 'printed' has no category 'x'")):
        done = subprocess.run([sys.executable, "-m", "radar.data", source, category], cwd=ROOT, text=True,
                              capture_output=True)
        assert done.returncode == 1
        assert done.stderr.startswith(f"{source}/{category}: {expected}") and len(done.stderr.splitlines()) == 1


# The manifest


def test_manifest_of_a_folder_without_images_csv(user_folder):
    save(user_folder / "test/scratch/001.JPG", grey(70))
    save(user_folder / "ground_truth/scratch/001_mask.png", grey(255))
    save(user_folder / "test/dent/000.tiff", grey(80))  # no ground_truth/dent: image labels only
    table = build(user_folder)
    assert list(table.columns) == list(manifest.COLUMNS)
    assert table["path"].tolist() == sorted(table["path"]) and len(table) == 8
    scratch = table.set_index("path").loc["test/scratch/001.JPG"]
    assert (scratch["label"], scratch["defect"], scratch["mask"]) == (1, "scratch", "ground_truth/scratch/001_mask.png")
    dent = table.set_index("path").loc["test/dent/000.tiff"]
    assert (dent["label"], dent["mask"]) == (1, "")
    assert table.loc[table["split"] == "train", "label"].eq(0).all()
    assert scratch["sha256"] == sha256(user_folder / "test/scratch/001.JPG")


def test_a_changed_pixel_changes_one_row(user_folder):
    before = build(user_folder)
    save(user_folder / "train/good/002.png", grey(99))
    after = build(user_folder)
    assert before.loc[before["sha256"] != after["sha256"], "path"].tolist() == ["train/good/002.png"]


def test_manifest_survives_writing_and_reading(gravel_folder, tmp_path):
    table = build(gravel_folder)
    table.to_csv(tmp_path / "manifest.csv", index=False)
    pd.testing.assert_frame_equal(manifest.read(tmp_path / "manifest.csv"), table)


def problems(top: Path) -> list[str]:
    with pytest.raises(manifest.DatasetError) as caught:
        build(top)
    assert all("\n" not in line for line in caught.value.problems)
    return caught.value.problems


def test_no_normal_training_image(user_folder):
    for path in (user_folder / "train/good").iterdir():
        path.unlink()
    [line] = problems(user_folder)
    assert "train/good" in line and "no normal training image" in line


def test_unreadable_image(user_folder):
    whole = (user_folder / "test/good/000.png").read_bytes()
    (user_folder / "test/good/000.png").write_bytes(whole[:len(whole) // 2])
    [line] = problems(user_folder)
    assert "test/good/000.png: cannot be read as an image" in line and "replace" in line


def test_mask_without_image(user_folder):
    save(user_folder / "ground_truth/scratch/007_mask.png", grey(255))
    [line] = problems(user_folder)
    assert "scratch/007_mask.png: a mask without an image" in line and "remove" in line


def test_wrong_mask_size(user_folder):
    save(user_folder / "ground_truth/scratch/000_mask.png", grey(255, size=9))
    [line] = problems(user_folder)
    assert "000_mask.png: the mask has 9 x 9 px" in line and "16 x 16" in line


def test_missing_mask(user_folder):
    save(user_folder / "test/scratch/003.png", grey(61))
    [line] = problems(user_folder)
    assert "scratch/003.png: its mask" in line and "003_mask.png is missing" in line


def test_misplaced_image(user_folder):
    save(user_folder / "train/scratch/000.png", grey(61))
    [line] = problems(user_folder)
    assert "train/scratch/000.png" in line and "move it" in line


def test_all_problems_are_told_together(user_folder):
    (user_folder / "test/good/000.png").write_bytes(b"not an image")
    save(user_folder / "test/scratch/003.png", grey(61))
    save(user_folder / "ground_truth/scratch/000_mask.png", grey(255, size=9))
    assert len(problems(user_folder)) == 3


def test_images_csv_and_the_folder_must_agree(tmp_path):
    layout.write(tmp_path / "set", [*(Picture(grey(value), "train") for value in range(3)), Picture(grey(4), "test"),
                                    Picture(grey(5), "test", "hole")])
    (tmp_path / "set/train/good/001.png").unlink()
    save(tmp_path / "set/test/good/001.png", grey(9))
    missing, unlisted = sorted(problems(tmp_path / "set"), key=lambda line: "not listed" in line)
    assert "001.png: listed, but missing" in missing
    assert "test/good/001.png: not listed in images.csv" in unlisted


def test_a_group_in_two_splits_is_a_leak(tmp_path):
    layout.write(tmp_path / "set", [Picture(grey(1), "train"), Picture(grey(2), "train"), Picture(grey(3), "test"),
                                    Picture(grey(4), "test", "hole")])
    table = tmp_path / "set/images.csv"
    text = table.read_text()
    for image, group in (("train/good/000", "a"), ("train/good/001", "b"), ("test/good/000", "b")):
        text = re.sub(f"({image}.*)", rf"\g<1>{group}", text)
    table.write_text(text)
    [line] = problems(tmp_path / "set")
    assert "group 'b' is in test and train" in line


def test_a_test_split_without_normal_or_without_defective_images_is_refused(tmp_path):
    layout.write(tmp_path / "set", [Picture(grey(1), "train")])
    lines = problems(tmp_path / "set")
    assert [line.partition(": ")[2].partition(" (")[0] for line in lines] == ["no normal test image",
                                                                              "no defective test image"]
    assert all("the metrics need normal and defective ones (without labels: test/ itself)" in line for line in lines)


@pytest.mark.parametrize("line, expected", [
    ("train/good/000.png,validation,0,,,,", "split is 'validation'"),
    ("train/good/000.png,train,normal,,,,", "label is 'normal'"),
    ("train/good/000.png,train,1,hole,,,", "only normal ones belong"),
    ("train/good/000.png,test,1,,,,", "label is 1, but defect is ''"),
    ("train/good/000.png,test,1,hole,strong,,", "strong"),
])
def test_a_wrong_line_of_images_csv_is_named(tmp_path, line, expected):
    layout.write(tmp_path / "set", [Picture(grey(value), "train") for value in range(2)])
    table = tmp_path / "set/images.csv"
    table.write_text(table.read_text().replace("train/good/000.png,train,0,,,,", line))
    assert any("images.csv: line 2" in problem and expected in problem for problem in problems(tmp_path / "set"))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(manifest.DatasetError, match="nowhere: no such folder"):
        check.listing_of(tmp_path / "nowhere", "folder", "", {})


# The calibration split


def table_of(groups: list[str], split: str = "train") -> pd.DataFrame:
    rows = [{"path": f"train/good/{i:03d}.png", "split": split, "label": 0, "group": group}
            for i, group in enumerate(groups)]
    rows.append({"path": "test/good/000.png", "split": "test", "label": 0, "group": ""})
    return pd.DataFrame(rows)


def test_hold_out_moves_a_seeded_fraction_of_the_training_images():
    table = table_of([""] * 40)
    first, again, other = (manifest.hold_out_calibration(table, 0.25, seed) for seed in (0, 0, 1))
    assert first["split"].value_counts().to_dict() == {"train": 30, "calibration": 10, "test": 1}
    assert first.equals(again) and not first.equals(other)
    assert (table["split"] != "calibration").all()  # the given table is left alone


def test_hold_out_never_splits_a_group():
    table = table_of([f"part{i // 5}" for i in range(40)])
    for seed in range(20):
        result = manifest.hold_out_calibration(table, 0.3, seed)
        train = result[result["split"] != "test"]
        assert (train.groupby("group")["split"].nunique() == 1).all()
        assert train["split"].value_counts()["calibration"] in (10, 15)


def test_hold_out_keeps_at_least_one_image_on_each_side():
    for groups, fraction in ((["", ""], 0.01), (["", ""], 0.99), (["a"] * 9 + ["b"], 0.5)):
        counts = manifest.hold_out_calibration(table_of(groups), fraction, 3)["split"].value_counts()
        assert counts["train"] >= 1 and counts["calibration"] >= 1
    for groups in ([""], ["a", "a", "a"], []):
        with pytest.raises(manifest.DatasetError, match="calibration"):
            manifest.hold_out_calibration(table_of(groups), 0.2, 0)


def test_hold_out_respects_a_calibration_split_that_is_there(gravel_folder):
    table = build(gravel_folder)
    assert manifest.hold_out_calibration(table, 0.5, 0).equals(table)
