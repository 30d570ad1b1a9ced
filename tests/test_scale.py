"""What lets a run grow: maps and statistics that are not kept in memory, GPUs that are shared, maps for other tools."""

import re
import subprocess
import sys
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import ndimage
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from radar import config as configuration
from radar.commands import export, plan
from radar.data import check
from radar.data.listing import Listing
from radar.devices import claim
from radar.evaluation.bootstrap import resample_weights
from radar.evaluation.metrics import PIXEL_METRICS, PixelHistograms, pixel_metrics
from radar.files import ROOT
from radar.images.image_set import Kept
from radar.images.map_archive import MapWriter, read_maps
from radar.method.moments import Moments, ledoit_wolf
from tests.conftest import grain

# Maps


def random_maps(count: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(6 + i, 9)).astype(np.float32) * 10.0 ** (i - 2) for i in range(count)]


def write(path: Path, maps: list[np.ndarray]) -> None:
    with MapWriter(path, [f"{i}.png" for i in range(len(maps))]) as out:
        for one in maps:
            out.add(one[None])


def test_maps_come_back_with_eleven_significant_bits(tmp_path):
    maps = random_maps()
    write(tmp_path / "maps.npz", maps)
    stored = dict(read_maps(tmp_path / "maps.npz", scaled=False))
    with np.load(tmp_path / "maps.npz") as arrays:
        scale = float(arrays["scale"])
    back = dict(read_maps(tmp_path / "maps.npz"))
    assert list(back) == [f"{i}.png" for i in range(5)]
    for one, again in zip(maps, back.values(), strict=True):
        assert again.dtype == np.float32
        np.testing.assert_allclose(again, one, rtol=2**-11, atol=scale * 2**-24)
    for name, again in back.items():
        assert stored[name].dtype == np.float16 and np.array_equal(stored[name].astype(np.float32) * scale, again)
    largest = max(np.abs(one).max() for one in maps) / scale
    assert 2**14 <= largest <= 2**15 and np.log2(scale) == round(np.log2(scale))


def test_maps_take_two_bytes_a_pixel_and_the_same_maps_give_the_same_bytes(tmp_path):
    maps = [np.random.default_rng(i).normal(size=(100, 100)).astype(np.float32) for i in range(20)]
    for name in "ab":
        write(tmp_path / f"{name}.npz", maps)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (tmp_path / "a.npz").stat().st_size < 2 * 20 * 100 * 100 + 5000
    with np.load(tmp_path / "a.npz") as arrays:  # any reader of .npz can read it
        assert set(arrays) == {"paths", "shapes", "scale", "maps"} and arrays["maps"].dtype == np.float16


def test_nothing_remains_of_maps_whose_scoring_failed(tmp_path):
    with pytest.raises(RuntimeError), MapWriter(tmp_path / "maps.npz", ["a"]) as out:
        out.add(np.ones((1, 4, 4), np.float32))
        raise RuntimeError
    with pytest.raises(ValueError, match="1 maps for 2 images"), MapWriter(tmp_path / "maps.npz", ["a", "b"]) as out:
        out.add(np.ones((1, 4, 4), np.float32))
    assert not list(tmp_path.iterdir())


def test_a_damaged_maps_file_is_named(tmp_path):
    write(tmp_path / "maps.npz", random_maps())
    data = (tmp_path / "maps.npz").read_bytes()
    (tmp_path / "maps.npz").write_bytes(data[:len(data) // 2])
    with pytest.raises(ValueError, match="maps.npz"):
        list(read_maps(tmp_path / "maps.npz"))
    with zipfile.ZipFile(tmp_path / "maps.npz", "w") as archive:
        archive.writestr("paths.npy", b"")
    with pytest.raises(ValueError, match="maps.npz"):
        list(read_maps(tmp_path / "maps.npz"))


def test_export_writes_what_mvtecs_evaluation_reads(tmp_path):
    run = tmp_path / "results/mvtec_ad/tile/pca/seed0"
    names = ["tile/test/crack/000.png", "tile/test/good/000.png"]
    with MapWriter(run / "maps.npz", names) as out:
        out.add(np.stack([np.full((4, 6), 0.25, np.float32), np.full((4, 6), 3.0, np.float32)]))
    rows = [{"path": name, "split": "test", "label": int("crack" in name), "defect": "crack" * ("crack" in name),
             "severity": "", "mask": "", "group": "", "sha256": "", "mask_sha256": "", "width": 60, "height": 40,
             "mask_from": 128} for name in names]
    pd.DataFrame(rows).to_csv(run.parent.parent / "manifest.csv", index=False)
    assert export.main(run, tmp_path / "tiff") == 0
    for place, value in (("crack", 0.25), ("good", 3.0)):
        with Image.open(tmp_path / f"tiff/tile/test/{place}/000.tiff") as image:
            assert image.mode == "F" and image.size == (60, 40)  # at the size of the photograph and its mask
            np.testing.assert_allclose(np.asarray(image), value, rtol=1e-3)
    with pytest.raises(ValueError, match="holds no maps.npz"):
        export.main(tmp_path, tmp_path / "tiff")


# Pixel metrics of many maps


def coarse_and_exact(count: int = 60, exact: int = 2000, side: int = 48) -> tuple[PixelHistograms, PixelHistograms]:
    """The same smooth random maps, half of them with one to three round defects, counted in bins and exactly."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:side, :side]
    fields = [ndimage.gaussian_filter(rng.standard_normal((side, side)), side / 64) * side / 16 for _ in range(16)]
    pair = PixelHistograms(exact=exact), PixelHistograms()
    for i in range(count):
        anomaly_map = np.roll(fields[i % 16], rng.integers(side, size=2), (0, 1)) + 0.1 * rng.standard_normal()
        mask = np.zeros((side, side), bool)
        if i >= count // 2:
            for _ in range(rng.integers(1, 4)):
                top, left, radius = *rng.integers(side, size=2), rng.integers(2, side // 8)
                mask |= (y - top) ** 2 + (x - left) ** 2 < radius**2
            anomaly_map = anomaly_map + rng.uniform(0, 2) * mask
        for histograms in pair:
            histograms.add(anomaly_map.astype(np.float16), mask)
    return pair


def test_metrics_of_many_maps_are_exact_and_their_draws_close():
    coarse, exact = coarse_and_exact(exact=20_000)  # the values of the first normal images make the bins
    assert coarse.bins is not None and exact.bins is None
    assert pixel_metrics(coarse) == pixel_metrics(exact)
    weights = resample_weights(np.arange(60) >= 30, 200, 0)
    ours, theirs = (pixel_metrics(histograms, weights=weights) for histograms in (coarse, exact))
    for name in PIXEL_METRICS:
        assert np.abs(ours[name] - theirs[name]).max() < 0.1 * theirs[name].std()


@pytest.mark.parametrize("count", [40, pytest.param(4000, marks=pytest.mark.full)])
def test_memory_of_many_maps_stays_at_some_kilobytes_each(count):
    coarse, _ = coarse_and_exact(count)
    assert sum(image.data.nbytes + image.indices.nbytes for image in coarse._images) < count * 32_000
    assert max(image.shape[1] for image in coarse._images) == PixelHistograms.BINS


# Memory that does not grow with the number of images


def traced_peak(function) -> int:
    """Bytes that NumPy and Python had at most during a call."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_the_check_keeps_some_kilobytes_of_a_picture_and_reading_maps_keeps_one(tmp_path):
    rng, side = np.random.default_rng(0), 400
    pictures = [rng.integers(256, size=(side, side), dtype=np.uint8) for _ in range(60)]
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{i}.png", compress_level=0)
    write(tmp_path / "maps.npz", [picture.astype(np.float32) for picture in pictures])

    def peak_of_check(count: int) -> int:
        listing = Listing(tmp_path)
        for i in range(count):
            listing.add(tmp_path / f"{i}.png", "test" if i % 2 else "train")
        return traced_peak(lambda: check.check(listing))

    assert (peak_of_check(60) - peak_of_check(20)) / 40 < side**2 / 3  # thumbnails, not pictures
    assert traced_peak(lambda: [None for _ in read_maps(tmp_path / "maps.npz")]) < 10 * 2 * side**2


STEPS = """
import resource, sys
from pathlib import Path
import torch
from radar.data import check, folder as own, manifest
from radar.devices import prepare_torch
from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.training import Training
from radar.images.image_set import ImageSet
from radar.images.map_archive import MapWriter
from radar.method.radar import RADAR
from radar.method.scoring import score_images
from tests.conftest import PREDICTOR, TRAINING

step, folder = sys.argv[1], Path(sys.argv[2])
prepare_torch(1)
if step == "check":
    check.build(own.listing(folder / "data", "", {}), workers=2).to_csv(folder / "manifest.csv", index=False)
else:
    table = manifest.read(folder / "manifest.csv")
    normal, test = (ImageSet(folder / "data", table.loc[table["split"] == split, "path"], 1, room=2**20)
                    for split in ("train", "test"))  # the caches are full with few images
if step == "train":
    predictor = NoisePredictor(PREDICTOR, 1)
    batches = predictor.training_batches(normal, 8)
    Training(TRAINING | {"images": 800}, 0, folder, {}, step)(predictor.network, predictor.loss, batches)
    predictor.save(folder, {})
elif step == "score":
    detector = RADAR(noise_predictor=NoisePredictor.load(folder))
    detector.fit(normal)
    with MapWriter(folder / "maps.npz", test.paths) as writer:
        score_images(detector, test, method="radar", description=step, writer=writer)
print(max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


@pytest.mark.full
def test_checking_training_and_scoring_need_no_more_memory_for_ten_times_the_images(tmp_path):
    peaks = {}
    for count in (200, 2000):
        rng = np.random.default_rng(0)
        for place, share in (("train/good", count // 2), ("test/good", count // 4), ("test/spot", count // 4)):
            (tmp_path / f"{count}/data" / place).mkdir(parents=True)
            for i in range(share):
                image = grain(rng, defect=place == "test/spot", size=64)[0]
                Image.fromarray(image).save(tmp_path / f"{count}/data" / place / f"{i}.png")
        command = [sys.executable, "-c", STEPS]
        peaks[count] = [int(subprocess.run([*command, step, tmp_path / str(count)], cwd=ROOT, stdout=subprocess.PIPE,
                                           check=True).stdout) for step in ("check", "train", "score")]
    assert np.divide(peaks[2000], peaks[200]).max() < 1.1, peaks


# Statistics that do not keep what they have seen


def test_moments_agree_with_numpy_and_scikit_learn_whatever_the_centre():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 50, 7)) @ rng.normal(size=(7, 7)) + rng.normal(size=(3, 1, 7))
    unit = rng.uniform(0.5, 2, 7)
    moments = Moments(torch.from_numpy(x.mean(1) + 0.3 * rng.normal(size=(3, 7))), torch.from_numpy(unit))
    for part in np.array_split(x, 6, axis=1):
        moments.add(torch.from_numpy(part))
    np.testing.assert_allclose(moments.mean(), x.mean(1), rtol=1e-10)
    residuals = (x - x.mean(1, keepdims=True)) / unit
    np.testing.assert_allclose(moments.scatter(), np.einsum("pki,pkj->pij", residuals, residuals), atol=1e-9)
    np.testing.assert_allclose(moments.fourth(), (residuals**2).sum(2).__pow__(2).sum(1), rtol=1e-9)
    ours = ledoit_wolf(moments.scatter(), moments.fourth(), moments.n)
    for one, residual in zip(ours, residuals, strict=True):
        np.testing.assert_allclose(one, sklearn_ledoit_wolf(residual, assume_centered=True)[0], rtol=1e-8, atol=1e-10)


def test_what_does_not_fit_is_made_again():
    made = []

    def make(index: int) -> torch.Tensor:
        made.append(index)
        return torch.full((4,), float(index))

    kept = Kept(make, 5, room=32)  # bytes: two of them
    first, second = list(kept), list(kept)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True)) and len(first) == 5
    assert made == [0, 1, 2, 3, 4, 2, 3, 4]


def test_near_duplicates_are_the_same_whatever_the_block(monkeypatch):
    """A copy in the last block is found, and the likeliest twin of all blocks is named."""
    rng = np.random.default_rng(0)
    thumbnails = {f"{name}{i}": rng.standard_normal(check.THUMBNAIL**2).astype(np.float16)
                  for name in ("train", "test") for i in range(9)}
    copy = thumbnails["train7"]
    thumbnails |= {"test2": (copy + 0.3 * rng.standard_normal(copy.shape)).astype(np.float16), "test5": copy}
    train, test = ([f"{name}{i}" for i in range(9)] for name in ("train", "test"))
    whole = check.near_duplicates(test, train, thumbnails)
    assert [pair[:2] for pair in whole] == [("test2", "train7"), ("test5", "train7")]
    monkeypatch.setattr(check, "BLOCK", 4)
    assert check.near_duplicates(test, train, thumbnails) == [
        (path, twin, pytest.approx(likeness)) for path, twin, likeness in whole]


# GPUs


def test_jobs_take_different_gpus_and_wait_for_a_free_one(tmp_path):
    """Two processes have two GPUs: a third waits until one of them ends."""
    code = ("import sys; from pathlib import Path; from radar.devices import claim; "
            "print(claim(2, Path(sys.argv[1])), flush=True); sys.stdin.read()")
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert sorted(int(job.stdout.readline()) for job in jobs) == [0, 1]
        with ThreadPoolExecutor() as pool:
            third = pool.submit(claim, 2, tmp_path)
            with pytest.raises(TimeoutError):
                third.result(timeout=0.2)
            jobs[0].kill()
            assert third.result(timeout=30) in (0, 1)
    finally:
        for job in jobs:
            job.kill()
            job.communicate()


# The plan


def test_the_plan_counts_a_convolution_and_a_training_step():
    network = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
    x = torch.zeros(1, 3, 10, 10, requires_grad=True)
    forward = 2 * 8 * 3 * 9 * 100
    assert plan.flops(lambda: network(x)) == forward
    assert plan.flops(lambda: network(x).sum().backward()) == 3 * forward


def test_images_of_a_dataset_that_is_not_there_are_the_published_ones():
    assert [plan.count_test_images(f"mvtec_ad/{name}") for name in ("tile", "wood")] == [115, 115]  # 1725 of 15


def test_the_paper_run_has_the_papers_network_and_its_work_is_counted_without_computing_it():
    config = plan.read_config(ROOT / "config/paper.yaml")
    predictors = configuration.expand_predictors(config)
    simplex = plan.of_predictor(predictors["simplex"])
    assert simplex.parameters == 120_249_859  # as derived in test_diffusionad, of the code of both papers
    assert predictors["simplex"]["noise"] == "simplex" and predictors["pixels"]["noise"] == "gaussian"
    assert predictors["pixels"]["training"]["precision"] == "bfloat16"
    own = plan.of_method(configuration.read_methods(predictors)["diffusionad_paper"])
    assert own.parameters == 120_249_859 + 28_373_569
    assert own.flops > 2 * simplex.flops  # two timesteps, and the segmentation network comes on top


def test_a_plan_adds_up_what_is_trained_and_scored():
    config = plan.read_config(None) | {"datasets": ["mvtec_ad/tile", "mvtec_ad/wood"], "methods": ["radar", "pca"],
                                       "seeds": [0, 1]}
    text = plan.plan(config, tflops=1e-3)
    assert "train pixels" in text and "pca" not in text and "2 datasets, 2 seeds" in text
    hours = float(re.search(r"PFLOP: ([\d.]+) device-hours", text)[1])
    step = plan.of_predictor(configuration.expand_predictors(config)["pixels"]).flops
    assert hours == pytest.approx(4 * config["training"]["images"] * step / 1e9 / 3600, abs=0.06)
    assert "0.1 GiB of maps" in text  # 230 test images, 2 methods, 2 seeds, 256 x 256 px of two bytes


def test_a_method_that_trains_in_a_way_of_its_own_is_named_and_not_counted(monkeypatch):
    config = plan.read_config(None) | {"datasets": ["mvtec_ad/tile"], "methods": ["diffusionad"]}
    monkeypatch.setattr("baselines.diffusionad.DiffusionAD.fit", lambda self, normal: normal.label)
    assert "train diffusionad: not counted" in plan.plan(config, tflops=1)
