"""A hand-made run folder for the tests of reporting: all files that a run leaves, with numbers of the test's choice."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from radar.report.compare import METRICS

FAMILIES = {"radar": "skipping", "invad": "skipping", "ddpm": "reconstructing", "diffusionad": "reconstructing",
            "pca": "statistical"}
SIDE = 24  # pixels of an image
PIXEL = [name for name in METRICS if name.startswith("pixel_")]
OWN = [name for name in METRICS if name.startswith("own_")]

Values = Callable[[str, str, int], dict]  # (dataset/category, method, seed) -> metric -> value; None = not applicable


def drawn_values(pair: str, method: str, seed: int) -> dict:
    """All metrics between .5 and .9; elpv has no masks, and only RADAR decides by itself."""
    values = np.random.default_rng([*f"{pair}{method}{seed}".encode()]).uniform(0.5, 0.9, len(METRICS))
    no = (PIXEL if pair.startswith("elpv") else []) + (OWN if method != "radar" else [])
    return {name: None if name in no else float(value) for name, value in zip(METRICS, values, strict=True)}


def write_run(root: Path, datasets: Sequence[str] = ("printed/all", "elpv/mono"),
              methods: Sequence[str] = ("radar", "ddpm", "pca"), seeds: Sequence[int] = (0, 1),
              values: Values = drawn_values, latency: dict[str, float] | None = None, rounds: int = 12) -> Path:
    """Write root/data and root/results, all of a finished run; its folder, root/results/runs/default.

    Draws are the value and .03 deviations of a noise that method and seed decide. latency: method -> median [ms], by
    default 10, 20, ...; three samples in each of the rounds.
    """
    run = root / "results/runs/default"
    latency = latency or {name: 10.0 * place for place, name in enumerate(methods, 1)}
    for pair in datasets:
        manifest = _write_images(root, pair)
        for method in methods:
            for seed in seeds:
                _write_method(root / "results" / pair / method / f"seed{seed}", manifest, values(pair, method, seed))
        for seed in seeds:
            _write_loss(root / "results" / pair / "noise_predictor-pixels" / f"seed{seed}")
        _json(run / "timing" / f"{pair}.json", {
            "device": "cpu", "device_name": "CPU_X 100%", "threads": 2, "cores_of_others": 0.0,
            "image_shape": [1, SIDE, SIDE],
            "methods": {name: timing(latency[name], latency[methods[0]], rounds) | {"ratio_to": methods[0]}
                        for name in methods}})
    _json(run / "run.json", {
        "run": "default", "config": {"seeds": [*seeds], "protocol": {"false_positive_rate": 0.05}}, "changed": {},
        "datasets": {pair: {"data": str(root / "data" / pair), "labelled": True} for pair in datasets},
        "methods": {name: {"class": f"x:{name}", "label": name.upper() if name == "radar" else name,
                           "citation": f"{name}, 2025", "folder": name, "family": FAMILIES.get(name, "absent")}
                    for name in methods},
        "networks": {"noise_predictor-pixels": "pixels"}, "seeds": [*seeds]})
    return run


def timing(median: float, first: float, rounds: int = 12, nfe: int = 1) -> dict:
    """What timing.json holds of a method; the machine slows down by half on the way."""
    places = np.arange(max(rounds, 1))
    middles = median * np.linspace(1, 1.5, len(places)) * (1 + 0.01 * np.sin(median + places))
    return {
        "latency_ms_median": float(np.median(middles)), "latency_ms_p90": float(np.quantile(middles, 0.9)),
        "latency_ms_p99": None,
        "latency_ms": [float(one * factor) for one in middles for factor in (0.9, 1, 1.2)][:3 * rounds],
        "latency_round": [index for index in range(rounds) for _ in range(3)],
        "ratio": median / first, "ratio_low": 0.9 * median / first, "ratio_high": 1.2 * median / first,
        "images_per_s": 1234 / median, "images_per_s_by_batch": {"1": 1000 / median, "8": 1234 / median},
        "batch_size": 8, "tiling_ms": 0.5, "features_ms": None, "noise_predictor_ms": 8.0, "other_network_ms": None,
        "rest_ms": 1.0, "evaluation_ms": 8.1, "predicted_ms": 8.1, "measured_to_predicted": 1.23,
        "measured_to_predicted_low": 1.2, "measured_to_predicted_high": 1.3, "evaluations": float(nfe), "nfe": nfe,
        "parameters": 1_500_000, "gflops": 0.5, "peak_memory_mb": 300.0, "training_images": 9600, "training_s": 51.5,
        "cold_start_s": 0.321}


def _write_images(root: Path, pair: str) -> pd.DataFrame:
    """Images, masks and manifest: 5 calibration, 6 normal and 12 anomalous test images of 2 defects (elpv: of 1)."""
    rng = np.random.default_rng(len(pair))
    masks = not pair.startswith("elpv")
    defects = {"crack": [0.2, 0.5, 1.0], "oil_spill": [0.2, 0.5, 1.0]} if masks else {"defective": [None]}
    rows = [(f"train/good/{i}.png", "calibration", 0, "good", None, None) for i in range(5)]
    rows += [(f"test/good/{i}.png", "test", 0, "good", None, None) for i in range(6)]
    rows += [(f"test/{defect}/{i}.png", "test", 1, defect, severities[i % len(severities)],
              f"ground_truth/{defect}/{i}_mask.png" if masks else None)
             for defect, severities in defects.items() for i in range(12 // len(defects))]
    manifest = pd.DataFrame(rows, columns=["path", "split", "label", "defect", "severity", "mask"])
    square = np.pad(np.full((8, 8), 255, np.uint8), 8)
    for row in manifest.itertuples():
        _image(root / "data" / pair / row.path, rng.integers(0, 255, (SIDE, SIDE)).astype(np.uint8))
        if isinstance(row.mask, str):
            _image(root / "data" / pair / row.mask, square)
    folder = root / "results" / pair
    folder.mkdir(parents=True, exist_ok=True)
    manifest.to_csv(folder / "manifest.csv", index=False)
    _json(folder / "check.json", {"images": len(manifest), "warnings": [], "summary": ""})
    return manifest


def _write_method(folder: Path, manifest: pd.DataFrame, metrics: dict) -> None:
    rng = np.random.default_rng([*"".join(folder.parts[-4:]).encode()])
    folder.mkdir(parents=True, exist_ok=True)
    test = manifest[manifest["split"] == "test"]
    kinds = test[test["label"] == 1].groupby(["defect", "severity"], dropna=False).size()
    scores = manifest[["path", "split"]].assign(score=rng.normal(size=len(manifest)), own_decision="")
    scores.to_csv(folder / "scores.csv", index=False)
    _json(folder / "detector.json", {"nfe": 1, "training": {"images": 9600, "seconds": 51.5}})
    _json(folder / "metrics.json", {
        "threshold": 0.5, "false_positive_rate": 0.05, "n_calibration": 25, "calibration_too_small": False,
        "n_test_normal": 6, "n_test_anomalous": 12, "n_test_unlabelled": 0, "metrics": metrics,
        "provenance": {"commit": "0123456789abcdef", "commit_dirty": False},
        "by_defect": [{"defect": defect, "severity": None if pd.isna(level) else level, "n": int(n), "detected": 1}
                      for (defect, level), n in kinds.items()]})
    np.savez(folder / "bootstrap.npz", **{name: value + rng.normal(0, 0.03, 200)
                                          for name, value in metrics.items() if value is not None})
    np.savez(folder / "maps.npz", paths=test["path"].to_numpy(str), shapes=np.full((len(test), 2), SIDE, np.int32),
             maps=rng.uniform(size=len(test) * SIDE**2).astype(np.float16), scale=np.float32(1))


def _write_loss(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    step = np.arange(1, 60)
    pd.DataFrame({"step": step, "images": 8 * step, "seconds": step, "loss": 1 / step}).to_csv(
        folder / "loss.csv", index=False)


def _image(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _json(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
