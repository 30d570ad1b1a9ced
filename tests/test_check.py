"""The sources of originals, each from a small tree as its authors publish it, and the check that reads every image."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy import ndimage

from radar import config as configuration
from radar.data import UNKNOWN, check, folder, kolektorsdd, mtd, mvtec_ad, visa
from radar.data.listing import Listing, Problem, held_out
from radar.files import ROOT


def noise(seed: int, size: int = 40, sigma: float = 1.0) -> np.ndarray:
    """A picture with some detail of its own, uint8."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), sigma)
    return (128 + 40 * field / field.std()).clip(0, 255).astype(np.uint8)


def save(path: Path, image: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def spot(value: int = 255, size: int = 40) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[4:9, 4:9] = value
    return mask


@pytest.fixture
def parts(tmp_path) -> Path:
    """A folder in MVTec AD's layout without a fault."""
    top = tmp_path / "parts"
    for number in range(5):
        save(top / f"train/good/{number:03d}.png", noise(number))
    for number in range(2):
        save(top / f"test/good/{number:03d}.png", noise(10 + number))
        save(top / f"test/hole/{number:03d}.png", noise(20 + number))
        save(top / f"ground_truth/hole/{number:03d}_mask.png", spot())
    return top


def checked(listing: Listing, workers: int = 1) -> Listing:
    check.check(listing, workers)
    return listing


def report_of(top: Path, workers: int = 1) -> Listing:
    return checked(folder.listing(top, "", {"test_fraction": 0.3, "seed": 0}), workers)


def told(top: Path, level: str = "error") -> list[str]:
    """The lines of a level, each without the folder's name."""
    lines = [problem.line for problem in report_of(top).of(level)]
    assert all("\n" not in line for line in lines)
    return [line.replace(f"{top}/", "") for line in lines]


def test_a_folder_without_a_fault_has_no_problem(parts):
    report = report_of(parts)
    assert not report.problems and check.summary(report.problems) == "no problem" and len(report.rows) == 9


def test_reading_in_several_processes_tells_the_same(parts):
    for number in range(5, 80):
        save(parts / f"train/good/{number:03d}.png", noise(100 + number, size=8))
    (parts / "train/good/050.png").write_bytes(b"GIF89a")
    alone, together = (report_of(parts, workers) for workers in (1, 3))
    assert alone.rows == together.rows and alone.problems == together.problems and len(alone.of("error")) == 1


# What is broken


def test_truncated_empty_and_foreign_files(parts):
    whole = (parts / "test/good/000.png").read_bytes()
    (parts / "test/good/000.png").write_bytes(whole[:len(whole) // 2])
    (parts / "test/good/001.png").write_bytes(b"")
    (parts / "test/hole/000.png").write_text("<html>404</html>")
    save(parts / "test/good/002.png", noise(12))
    lines = told(parts)
    assert len(lines) == 3 and all("cannot be read as an image" in line and "replace or remove it" in line
                                   for line in lines)
    assert [line.partition(":")[0] for line in lines] == ["test/good/000.png", "test/good/001.png", "test/hole/000.png"]


def test_animated_and_enormous_pictures(parts, monkeypatch):
    frames = [Image.fromarray(noise(seed)) for seed in (30, 31)]
    frames[0].save(parts / "train/good/000.png", save_all=True, append_images=frames[1:])
    frames[0].save(parts / "train/good/005.tif", save_all=True, append_images=frames[1:])
    save(parts / "train/good/006.png", np.zeros((60, 50), np.uint8))
    monkeypatch.setattr(check, "LARGEST", 2500)
    lines = told(parts)
    assert lines[0].startswith("train/good/000.png: holds 2 pictures") and "005.tif: holds 2 pictures" in lines[1]
    assert "006.png: has 50 x 60 px" in lines[2] and "shrink it" in lines[2] and len(lines) == 3


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    """120 megapixels in some hundred kilobytes."""
    path = tmp_path / "bomb.png"
    Image.new("1", (12000, 10000)).save(path)
    problem = check.facts_of(path)
    assert isinstance(problem, Problem) and problem.kind == "enormous" and "120 megapixels" in problem.line


def test_values_that_eight_bits_cannot_hold(parts):
    Image.fromarray(np.full((40, 40), 0.5, np.float32)).save(parts / "train/good/000.tif")
    Image.fromarray(np.full((40, 40), 70000, np.int32)).save(parts / "train/good/001.tif")
    Image.fromarray(noise(3).astype(np.uint16) * 200).save(parts / "train/good/007.tif")  # 16 bit is welcome
    lines = told(parts)
    assert len(lines) == 2 and "floating-point" in lines[0] and "beyond 16 bits" in lines[1]


def test_masks(parts):
    save(parts / "ground_truth/hole/000_mask.png", spot(size=39))
    save(parts / "ground_truth/hole/001_mask.png", spot(0))
    save(parts / "test/hole/002.png", noise(22))
    save(parts / "test/hole/003.png", noise(23))
    save(parts / "ground_truth/hole/003_mask.png", spot(1))
    save(parts / "test/hole/004.png", noise(24))
    save(parts / "ground_truth/hole/004_mask.png", np.where(spot() > 0, noise(5) // 2 + 128, 0).astype(np.uint8))
    save(parts / "ground_truth/hole/009_mask.png", spot())
    errors, warnings = told(parts), told(parts, "warning")
    assert ["002.png: its mask" in errors[0], "009_mask.png: a mask without an image" in errors[1],
            "000_mask.png: the mask has 39 x 39 px, its image test/hole/000.png 40 x 40" in errors[2]] == [True] * 3
    assert len(errors) == 3 and len(warnings) == 3
    assert "001_mask.png: is empty" in warnings[0]
    assert "003_mask.png: has no value above 1, defect begins at 128" in warnings[1]
    assert "004_mask.png: has" in warnings[2] and "128 and above is taken as defect" in warnings[2]


def test_masks_of_some_defects_only_are_told_before_the_run(parts):
    assert told(parts, "warning") == []
    save(parts / "test/scratch/0.png", noise(90))
    [line] = told(parts, "warning")
    assert "scratch has no masks, others have; pixel metrics need all" in line


def test_no_normal_image_at_all(parts):
    for path in (parts / "train/good").iterdir():
        path.unlink()
    [line] = told(parts)
    assert "train/good: no normal training image" in line


@pytest.mark.parametrize("places", [["test/good", "test/dent"], ["bad/dent"]])
def test_a_folder_whose_normal_images_were_forgotten_is_not_taken_for_one_without_labels(tmp_path, places):
    for number, place in enumerate(places):
        save(tmp_path / place / "0.png", noise(number))
    assert folder.has_labels(tmp_path)
    assert any("no normal training image" in line for line in told(tmp_path))


def test_the_same_picture_in_training_and_test_is_found_whatever_the_file(parts):
    save(parts / "test/good/000.png", noise(3), compress_level=0)  # other bytes, the same pixels
    [line] = told(parts)
    assert line == ("test/good/000.png: the same picture as train/good/003.png, which is learnt from; "
                    "remove one of them")
    published = folder.listing(parts, "", {})
    published.published = True
    report = checked(published)
    assert not report.of("error") and "the same picture" in report.of("warning")[0].line


@pytest.mark.parametrize("how", ["jpeg", "brighter", "larger"])
def test_near_duplicates_are_found(parts, how):
    common = noise(99, 120, 12).astype(float)  # what all parts look like, photographed at one place

    def part(seed: int) -> np.ndarray:
        return (0.8 * common + 0.3 * noise(seed, 120, 1.5)).clip(0, 255).astype(np.uint8)

    for number in range(5):
        save(parts / f"train/good/{number:03d}.png", part(number))
    for number in range(2):
        save(parts / f"test/good/{number:03d}.png", part(30 + number))
    assert not told(parts, "warning")  # other parts at the same place are no duplicates
    copy = part(2)
    if how == "jpeg":
        (parts / "test/good/000.png").unlink()
        save(parts / "test/good/000.jpg", copy, quality=60)
    elif how == "brighter":
        save(parts / "test/good/000.png", (copy * 0.8 + 40).astype(np.uint8))
    else:
        save(parts / "test/good/000.png", np.asarray(Image.fromarray(copy).resize((200, 200))))
    [line] = told(parts, "warning")
    assert line.startswith("test/good/000") and "nearly the same picture as train/good/002.png" in line


def test_modes(parts):
    rgb = np.stack([noise(seed) for seed in (40, 41, 42)], axis=2)
    save(parts / "train/good/000.png", np.concatenate([rgb, rgb[..., :1]], axis=2))
    Image.fromarray(rgb).convert("CMYK").save(parts / "train/good/005.tif")
    warnings = told(parts, "warning")
    assert "000.png: has an alpha channel" in warnings[0] and "005.tif: its colours are CMYK" in warnings[1]
    assert "is in colour, as are 2 of 10 images" in warnings[2] and len(warnings) == 3


def test_names_that_differ_only_in_case(parts):
    save(parts / "train/good/A.png", noise(50))
    save(parts / "train/good/a.PNG", noise(51))
    [line] = told(parts, "warning")
    assert "train/good/A.png: differs from train/good/a.PNG only in case" in line


def test_links(parts, tmp_path):
    outside = save(tmp_path / "elsewhere/9.png", noise(60))
    save(tmp_path / "more/8.png", noise(61))
    (parts / "train/good/linked.png").symlink_to(outside)
    (parts / "test/dent").symlink_to(tmp_path / "more")
    (parts / "train/good/gone.png").symlink_to(tmp_path / "nowhere.png")
    (parts / "test/good/circle").symlink_to(parts / "test")
    errors, warnings = told(parts), told(parts, "warning")
    assert len(errors) == 2 and "circle: a link to a folder that it lies in" in errors[1]
    assert "train/good/gone.png: a link that leads nowhere" in errors[0]
    assert sum("a link out of the dataset's folder" in line for line in warnings) == 2
    assert len(warnings) == 3 and "dent has no masks, others have" in warnings[-1]
    assert {"train/good/linked.png", "test/dent/8.png"} <= {row["path"] for row in report_of(parts).rows}


def test_every_problem_is_told_at_once_and_a_frequent_kind_is_cut_short(parts):
    for number in range(30):
        (parts / f"train/good/{100 + number}.png").write_bytes(b"nothing")
    save(parts / "test/hole/007.png", noise(70))
    report = report_of(parts)
    assert len(report.of("error")) == 31
    lines = check.told(report, "parts").splitlines()
    assert len(lines) == 13 and "... and 20 more of this kind (unreadable)" in "\n".join(lines)
    assert check.summary(report.problems) == "1 x image without mask (error); 30 x unreadable (error)"


def test_the_command_tells_all_and_its_status_says_whether_the_data_can_be_used(parts):
    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "radar", "check", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    good = run(str(parts))
    assert good.returncode == 0 and good.stdout == (
        f"{parts}: 2 test defective, 2 test normal, 5 train normal; no problem\n")
    (parts / "train/good/000.png").write_bytes(b"")
    save(parts / "ground_truth/hole/001_mask.png", spot(0))
    bad = run(str(parts))
    assert bad.returncode == 1
    assert [line.partition(":")[0] for line in bad.stdout.splitlines()[:2]] == ["error", "warning"]
    unknown = run("mvtec_ad/nothing")
    assert unknown.returncode == 2 and "has no category 'nothing'; it has: bottle" in unknown.stderr
    mistyped = run("data/folder/boltz")
    assert mistyped.returncode == 2 and "no folder data/folder/boltz: correct the path" in mistyped.stderr
    absent = run("mvtec_ad/tile", "--data-root", str(parts))
    assert absent.returncode == 2 and "put or link the unpacked original there" in absent.stderr


# The sources


def rows_of(listing) -> dict[str, tuple]:
    assert not [problem for problem in listing.problems if problem.level == "error"], listing.problems
    return {row["path"]: (row["split"], row["defect"], row["mask"]) for row in listing.rows}


def test_mvtec_ad(tmp_path):
    for place in ("train/good", "test/good", "test/crack", "test/oil"):
        save(tmp_path / f"tile/{place}/000.png", noise(1))
    save(tmp_path / "tile/ground_truth/crack/000_mask.png", spot())
    save(tmp_path / "tile/ground_truth/oil/000_mask.png", spot())
    save(tmp_path / "wood/train/good/000.png", noise(1))
    assert rows_of(mvtec_ad.listing(tmp_path, "tile", {})) == {
        "tile/train/good/000.png": ("train", "", ""), "tile/test/good/000.png": ("test", "", ""),
        "tile/test/crack/000.png": ("test", "crack", "tile/ground_truth/crack/000_mask.png"),
        "tile/test/oil/000.png": ("test", "oil", "tile/ground_truth/oil/000_mask.png")}


def test_btad(tmp_path):
    for place in ("train/ok", "test/ok", "test/ko"):
        save(tmp_path / f"03/{place}/0001.bmp", noise(1))
    save(tmp_path / "03/ground_truth/ko/0001.bmp", spot())
    assert rows_of(mvtec_ad.listing(tmp_path, "03", {"normal": "ok"})) == {
        "03/train/ok/0001.bmp": ("train", "", ""), "03/test/ok/0001.bmp": ("test", "", ""),
        "03/test/ko/0001.bmp": ("test", "ko", "03/ground_truth/ko/0001.bmp")}


def test_visa(tmp_path):
    for name, image in (("Images/Normal/0000.JPG", noise(1)), ("Images/Normal/0001.JPG", noise(2)),
                        ("Images/Anomaly/000.JPG", noise(3)), ("Masks/Anomaly/000.png", spot(3))):
        save(tmp_path / f"candle/Data/{name}", image)
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_text(
        "object,split,label,image,mask\n"
        "candle,train,normal,candle/Data/Images/Normal/0000.JPG,\n"
        "candle,test,normal,candle/Data/Images/Normal/0001.JPG,\n"
        "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png\n"
        "pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,\n")
    listing = visa.listing(tmp_path, "candle", {})
    assert rows_of(listing) == {
        "candle/Data/Images/Normal/0000.JPG": ("train", "", ""), "candle/Data/Images/Normal/0001.JPG": ("test", "", ""),
        "candle/Data/Images/Anomaly/000.JPG": ("test", "anomaly", "candle/Data/Masks/Anomaly/000.png")}
    table = check.build(listing)  # its masks hold 1, 2, 3 ...: no warning
    assert (table["mask_from"] == 1).all() and not listing.problems
    (tmp_path / "split_csv/1cls.csv").unlink()
    [problem] = visa.listing(tmp_path, "candle", {}).problems
    assert "1cls.csv: cannot be read ([Errno 2]" in problem.line and "unpack the whole archive" in problem.line
    (tmp_path / "split_csv/1cls.csv").write_text("object,split,label,image\ncandle,train,normal,x.JPG\n")
    [problem] = visa.listing(tmp_path, "candle", {}).problems
    assert "columns expected but not found: ['mask']" in problem.line and "\n" not in problem.line
    (tmp_path / "split_csv/1cls.csv").write_text("object,split,label,image,mask\ncandle,val,normal,x.JPG,\n")
    [problem] = visa.listing(tmp_path, "candle", {}).problems
    assert "line 2: split is 'val', label 'normal'" in problem.line


def test_kolektorsdd_keeps_every_commutator_on_one_side(tmp_path):
    for item in range(10):
        for part in range(3):
            save(tmp_path / f"sdd/kos{item:02d}/Part{part}.jpg", noise(10 * item + part))
            save(tmp_path / f"sdd/kos{item:02d}/Part{part}_label.bmp", spot(255 * (part == 1)))
    listing = kolektorsdd.listing(tmp_path, "sdd", {"test_fraction": 0.4, "seed": 0})
    rows = listing.rows
    assert not listing.problems and len(rows) == 4 * 3 + 6 * 2  # the defective surfaces of the others are left out
    sides = {}
    for row in rows:
        sides.setdefault(row["group"], set()).add(row["split"])
        assert (row["label"] == 1) == ("Part1" in row["path"]) == bool(row["mask"])
    assert sorted(map(len, sides.values())) == [1] * 10 and sum(side == {"test"} for side in sides.values()) == 4


def test_kolektorsdd2(tmp_path):
    for split, name, defect in (("train", 10000, 0), ("train", 10001, 1), ("test", 20000, 0), ("test", 20001, 1)):
        save(tmp_path / f"sdd2/{split}/{name}.png", noise(name))
        save(tmp_path / f"sdd2/{split}/{name}_GT.png", spot(255 * defect))
    settings = {"test_fraction": 0.4, "seed": 0}
    assert rows_of(kolektorsdd.listing(tmp_path, "sdd2", settings)) == {
        "sdd2/train/10000.png": ("train", "", ""), "sdd2/test/20000.png": ("test", "", ""),
        "sdd2/test/20001.png": ("test", "defect", "sdd2/test/20001_GT.png")}
    (tmp_path / "sdd2/test/20000_GT.png").unlink()
    (tmp_path / "sdd2/test/20001.png").unlink()
    (tmp_path / "sdd2/train/10000_GT.png").write_text("<html>404</html>")
    lines = [problem.line for problem in checked(kolektorsdd.listing(tmp_path, "sdd2", settings)).of("error")]
    assert "20001_GT.png: a mask without an image" in lines[0]
    assert "20000_GT.png: listed, but missing" in lines[1] and "10000_GT.png: cannot be read as an image" in lines[2]


def test_mtd_keeps_the_exposures_of_a_tile_together(tmp_path):
    def tile(seed: int, exposure: float, size: int = 100) -> np.ndarray:
        return (noise(seed, size, 1.2) * exposure).clip(0, 255).astype(np.uint8)

    for seed in range(6):
        for exposure in (0.5, 0.8, 1.0):
            defective = seed == 5 and exposure == 0.8
            folder_name = "MT_Crack" if defective else "MT_Free"
            save(tmp_path / f"{folder_name}/Imgs/exp{exposure}_{seed}.jpg", tile(seed, exposure), quality=90)
            save(tmp_path / f"{folder_name}/Imgs/exp{exposure}_{seed}.png", spot(255 * defective, 100))
    listing = mtd.listing(tmp_path, "all", {"size_tolerance": 12, "correlation": 0.5})
    groups = {}
    for row in listing.rows:
        groups.setdefault(row["group"], set()).add((row["path"][-5], row["split"]))
    assert len(listing.rows) == 18 and len(groups) == 6 and all(len(group) == 1 for group in groups.values())
    assert {next(iter(group)) for group in groups.values()} == {(str(seed), "test" if seed == 5 else "train")
                                                                for seed in range(6)}
    assert [row["defect"] for row in listing.rows if row["mask"]] == ["crack"]
    (tmp_path / "MT_Crack/Imgs/exp0.8_5.png").unlink()
    (tmp_path / "MT_Free/Imgs/exp1.0_0.jpg").write_text("<html>404</html>")
    listing = checked(mtd.listing(tmp_path, "all", {"size_tolerance": 12, "correlation": 0.5}))
    lines = [problem.line for problem in listing.of("error")]
    assert len(lines) == 2 and "exp1.0_0.jpg: cannot be read as an image" in lines[0]
    assert "exp0.8_5.png: listed, but missing" in lines[1]


def test_a_folder_with_good_and_bad(tmp_path):
    for number in range(10):
        save(tmp_path / f"good/{number}.png", noise(number))
    save(tmp_path / "bad/1.png", noise(20))
    save(tmp_path / "bad/scratch/2.png", noise(21))
    assert folder.kind(tmp_path) == "good_bad" and folder.has_labels(tmp_path)
    rows = rows_of(folder.listing(tmp_path, "", {"test_fraction": 0.3, "seed": 0}))
    assert sum(split == "test" for name, (split, *_) in rows.items() if name.startswith("good")) == 3
    assert rows["bad/1.png"] == ("test", "bad", "") and rows["bad/scratch/2.png"] == ("test", "scratch", "")
    other = rows_of(folder.listing(tmp_path, "", {"test_fraction": 0.3, "seed": 1}))
    assert other != rows and not report_of(tmp_path).problems


def test_a_folder_without_labels_is_learnt_from_and_scored_as_a_whole(tmp_path):
    for number in range(6):
        save(tmp_path / f"day{number % 2}/{number}.jpg", noise(number))
    assert folder.kind(tmp_path) == "unlabelled" and not folder.has_labels(tmp_path)
    listing = folder.listing(tmp_path, "", {})
    table = check.build(listing)
    assert not listing.problems and table["split"].value_counts().to_dict() == {"train": 6, "test": 6}
    assert (table.loc[table["split"] == "test", "label"] == UNKNOWN).all()


def test_a_test_folder_without_labels(parts):
    for kind in ("good", "hole"):
        for path in list((parts / "test" / kind).iterdir()):
            path.rename(parts / "test" / f"{kind}{path.name}")
        (parts / "test" / kind).rmdir()
    for path in list((parts / "ground_truth/hole").iterdir()):
        path.unlink()
    assert not folder.has_labels(parts) and not report_of(parts).problems
    assert sum(row["label"] == UNKNOWN for row in report_of(parts).rows) == 4
    save(parts / "test/good/9.png", noise(80))
    assert "lies in test/ itself, so that it has no label" in told(parts)[0]


def test_held_out_is_a_seeded_share_that_leaves_one_on_each_side():
    names = [str(i) for i in range(20)]
    assert len(held_out(names, 0.3, 0)) == 6 and held_out(names, 0.3, 0) == held_out(reversed(names), 0.3, 0)
    assert held_out(names, 0.3, 0) != held_out(names, 0.3, 1)
    assert [len(held_out(names[:2], share, 0)) for share in (0.01, 0.99)] == [1, 1] and held_out([], 0.5, 0) == set()


def test_every_configured_dataset_has_a_source():
    made = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["data"]["foreach"].values()
    stages = {one["source"] for one in made}
    for path in sorted((ROOT / "config/datasets").glob("*.yaml")):
        name = path.stem
        source, origin = configuration.read_dataset(name).source, configuration.origin(name, "data/raw")
        assert (ROOT / f"radar/data/{source}.py").is_file() and (ROOT / f"radar/data/{origin.source}.py").is_file()
        assert origin.generated == (name in configuration.generated_datasets()) == (name in stages)
        assert origin.folder == f"data/{name}" if origin.generated or name == "folder" else f"data/raw/{name}"
