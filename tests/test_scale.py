"""What lets a run grow: maps and statistics that are not kept in memory, GPUs that are shared, maps for other tools."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from radar import config as configuration
from radar.commands import plan
from radar.commands.export import export_maps
from radar.data import check
from radar.devices import claim
from radar.evaluation import bench, bench_images
from radar.evaluation.bootstrap import resample_weights
from radar.evaluation.metrics import PIXEL_METRICS, PixelHistograms, pixel_metrics
from radar.files import ROOT
from radar.images.kept import Kept
from radar.images.map_archive import MapWriter, read_maps, read_scale
from radar.method.detector import build
from radar.method.moments import Moments, ledoit_wolf

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
    scale = read_scale(tmp_path / "maps.npz")
    back = dict(read_maps(tmp_path / "maps.npz"))
    assert list(back) == [f"{i}.png" for i in range(5)]
    for one, again in zip(maps, back.values(), strict=True):
        assert again.dtype == np.float16
        np.testing.assert_allclose(again.astype(np.float64) * scale, one, rtol=2**-11, atol=scale * 2**-24)
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
    for read in (lambda path: list(read_maps(path)), read_scale):
        with pytest.raises(ValueError, match="maps.npz"):
            read(tmp_path / "maps.npz")
    with zipfile.ZipFile(tmp_path / "maps.npz", "w") as archive:
        archive.writestr("paths.npy", b"")
    with pytest.raises(ValueError, match="maps.npz"):
        read_scale(tmp_path / "maps.npz")


def test_export_writes_what_mvtecs_evaluation_reads(tmp_path):
    run = tmp_path / "results/mvtec_ad/tile/pca/seed0"
    names = ["tile/test/crack/000.png", "tile/test/good/000.png"]
    with MapWriter(run / "maps.npz", names) as out:
        out.add(np.stack([np.full((4, 6), 0.25, np.float32), np.full((4, 6), 3.0, np.float32)]))
    rows = [{"path": name, "split": "test", "label": int("crack" in name), "defect": "crack" * ("crack" in name),
             "severity": "", "mask": "", "group": "", "sha256": "", "mask_sha256": "", "width": 60, "height": 40,
             "mask_from": 128} for name in names]
    pd.DataFrame(rows).to_csv(run.parent.parent / "manifest.csv", index=False)
    assert export_maps(run, tmp_path / "tiff") == 2
    for place, value in (("crack", 0.25), ("good", 3.0)):
        with Image.open(tmp_path / f"tiff/tile/test/{place}/000.tiff") as image:
            assert image.mode == "F" and image.size == (60, 40)  # at the size of the photograph and its mask
            np.testing.assert_allclose(np.asarray(image), value, rtol=1e-3)
    with pytest.raises(ValueError, match="holds no maps.npz"):
        export_maps(tmp_path, tmp_path / "tiff")


# Pixel metrics of many maps


def coarse_and_exact(count: int = 60, exact: int = 2000) -> tuple[PixelHistograms, PixelHistograms]:
    pair = PixelHistograms(exact=exact), PixelHistograms()
    for one in bench.maps_and_masks(count, 48):
        for histograms in pair:
            histograms.add(*one)
    return pair


def test_metrics_of_many_maps_are_exact_and_their_draws_close():
    coarse, exact = coarse_and_exact(exact=20_000)  # the values of the first normal images make the bins
    assert coarse.coarse and not exact.coarse
    assert pixel_metrics(coarse) == pixel_metrics(exact)
    weights = resample_weights(np.arange(60) >= 30, 200, 0)
    ours, theirs = (pixel_metrics(histograms, weights=weights) for histograms in (coarse, exact))
    for name in PIXEL_METRICS:
        assert np.abs(ours[name] - theirs[name]).max() < 0.1 * theirs[name].std()


def test_memory_of_many_maps_stays_at_some_kilobytes_each():
    coarse, exact = coarse_and_exact(count=40)
    size = [sum(array.nbytes for image in histograms._images for array in image[:5]) for histograms in (coarse, exact)]
    assert size[0] < 40 * 16_000
    assert max(len(image.used) for image in coarse._images) <= PixelHistograms.BINS


def test_the_exact_aupro_is_that_of_the_plain_loop():
    result = bench.against_the_loop(count=8, side=40)
    assert result["difference"] < 1e-6 and 0.1 < result["exact"] < 0.99


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
    facts = {f"{name}{i}": check.Facts(thumbnail=rng.standard_normal(check.THUMBNAIL**2).astype(np.float16))
             for name in ("train", "test") for i in range(9)}
    copy = facts["train7"].thumbnail
    facts["test2"] = check.Facts(thumbnail=(copy + 0.3 * rng.standard_normal(copy.shape)).astype(np.float16))
    facts["test5"] = check.Facts(thumbnail=copy)
    train, test = ([f"{name}{i}" for i in range(9)] for name in ("train", "test"))
    whole = check.near_duplicates(test, train, facts)
    assert [pair[:2] for pair in whole] == [("test2", "train7"), ("test5", "train7")]
    monkeypatch.setattr(check, "BLOCK", 4)
    assert check.near_duplicates(test, train, facts) == [
        (path, twin, pytest.approx(likeness)) for path, twin, likeness in whole]


def test_the_benchmark_of_many_images_checks_trains_and_scores_them_all(tmp_path):
    bench_images.write_tree(tmp_path / "data", 80)
    done = {name: bench_images.step(name, tmp_path)["images"] for name in bench_images.STEPS}
    assert done == {"check": 80, "train": 40, "score": 40}
    assert len(list(read_maps(tmp_path / "maps.npz"))) == 40


# GPUs


def test_jobs_take_different_gpus_and_wait_for_a_free_one(tmp_path):
    """Three processes, two GPUs: the third finds none until one of the others ends."""
    code = ("import sys; from pathlib import Path; from radar.devices import claim; "
            "print(claim(2, Path(sys.argv[1])), flush=True); sys.stdin.read()")
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert sorted(int(job.stdout.readline()) for job in jobs) == [0, 1]
        with pytest.raises(TimeoutError, match="none of 2 GPUs"):
            claim(2, tmp_path, patience=0)
        jobs[0].kill()
        jobs[0].wait()
        assert claim(2, tmp_path) in (0, 1)
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


def test_counts_of_a_dataset_that_is_not_there_are_the_published_ones():
    train, test = zip(*(plan.counts(f"mvtec_ad/{name}", "data/raw") for name in ("tile", "wood")), strict=True)
    assert train == (242, 242) and test == (115, 115)  # 3629 and 1725 of 15 categories


def test_the_paper_run_has_the_papers_network_and_its_work_is_counted_without_computing_it():
    config = plan.read_config(ROOT / "config/paper.yaml")
    predictors = configuration.expand_predictors(config)
    simplex = plan.of_predictor(predictors["simplex"])
    assert simplex["parameters"] == 120_249_859  # as derived in test_diffusionad, of the code of both papers
    assert simplex["training"] == pytest.approx(3 * simplex["evaluation"], rel=0.01)
    assert predictors["simplex"]["noise"] == "simplex" and predictors["pixels"]["noise"] == "gaussian"
    assert predictors["pixels"]["training"]["precision"] == "bfloat16"
    detector = build(configuration.read_method("diffusionad_paper", predictors), seed=0, device="meta")
    own = plan.of_own_networks(detector)
    assert own["parameters"] == 120_249_859 + 28_373_569
    assert own["evaluation"] > simplex["evaluation"]  # the segmentation network comes on top
