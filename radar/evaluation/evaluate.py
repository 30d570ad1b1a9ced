"""From the scores and maps of one method to its metrics: the only place that reads labels and masks of the test set.

Everything that is chosen (the threshold) is chosen from the calibration split, which holds normal images only.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from radar.data import UNKNOWN
from radar.data.manifest import hold_out_calibration, read
from radar.evaluation.bootstrap import resample_weights
from radar.evaluation.calibration import conformal_threshold, too_few
from radar.evaluation.metrics import PixelHistograms, decision_metrics, image_metrics, pixel_metrics
from radar.files import atomic, provenance, write_json
from radar.images.map_archive import read_maps
from radar.images.photos import read_mask


def evaluate_folder(folder: Path, name: str, manifest: Path, data: Path, protocol: dict, **marks) -> None:
    """Write bootstrap.npz and, last, metrics.json beside scores.csv and maps.npz.

    folder: results/<dataset>/<category>/<method>/seed<k>. name: what the method is called. data: folder of the dataset.
    protocol: of the configuration. marks: further fields of metrics.json. Raises ValueError, OSError or DatasetError.
    """
    dataset, category, _, run = folder.parts[-4:]
    scores, maps, seed = folder / "scores.csv", folder / "maps.npz", int(run.removeprefix("seed"))
    table = hold_out_calibration(read(manifest), protocol["calibration_fraction"], seed)
    record, samples = evaluate(pd.read_csv(scores), maps, table, data, protocol)
    with atomic(folder / "bootstrap.npz") as temporary:
        np.savez(temporary, **samples)
    write_json(folder / "metrics.json", {
        "dataset": dataset, "category": category, "method": name, "seed": seed, **record, **marks,
        "provenance": provenance(protocol, scores=scores, maps=maps, manifest=manifest)})


def evaluate(scores: pd.DataFrame, maps: Path, manifest: pd.DataFrame, data: Path, protocol: dict) -> tuple[dict, dict]:
    """The metrics of one trained method on one dataset, and their bootstrap samples.

    scores: columns path, split (calibration or test), score, own_decision (0 or 1; NaN throughout if the method does
        not decide by itself).
    maps: maps.npz of the test images, in the manifest's order.
    manifest: see radar.data.manifest; of test images without labels every metric is None.
    data: folder that the paths of masks are relative to.
    protocol: false_positive_rate, bootstrap_draws, bootstrap_seed, aupro_limit.

    Returns (record, samples). record: threshold, false_positive_rate (the promised one), n_calibration,
    calibration_too_small, n_test_normal, n_test_anomalous, n_test_unlabelled, metrics {name: float, or None where not
    applicable} and by_defect [{defect, severity, n, detected}] at the threshold. samples: {name: [draws]} of the
    metrics that apply; the threshold stays fixed, so the intervals speak of new test images, not of a new calibration.

    Raises ValueError or OSError, in one line that names the file, if it cannot be read or does not fit the others.
    """
    calibration, test = (_match(scores, manifest, split) for split in ("calibration", "test"))
    if calibration["label"].any():
        raise ValueError("manifest: the calibration split holds anomalous images")
    rate, label = protocol["false_positive_rate"], (test["label"] == 1).to_numpy()
    threshold = conformal_threshold(calibration["score"], rate)
    decision = (test["score"] > threshold).to_numpy()
    histograms = _histograms(maps, test, data)

    def measured(weights: NDArray | None = None) -> dict:
        calibrated = decision_metrics(decision, label, weights)
        calibrated["false_positive_rate_measured"] = calibrated.pop("false_positive_rate")  # the promised has the name
        own = decision_metrics(test["own_decision"] == 1, label, weights)
        return (image_metrics(test["score"], label, weights) | calibrated
                | {"own_" + name: value for name, value in own.items()}
                | pixel_metrics(histograms, protocol["aupro_limit"], weights))

    def applies(name: str, value: float | None) -> bool:
        decides = not name.startswith("own_") or test["own_decision"].notna().all()
        return not (test["label"] == UNKNOWN).any() and decides and value is not None and not np.isnan(value)

    metrics = {name: value if applies(name, value) else None for name, value in measured().items()}
    # Rows follow the manifest, so that all methods meet the same resamples.
    samples = measured(resample_weights(label, protocol["bootstrap_draws"], protocol["bootstrap_seed"]))
    record = {
        "threshold": threshold, "false_positive_rate": rate, "n_calibration": len(calibration),
        "calibration_too_small": too_few(len(calibration), rate),
        "n_test_normal": int((test["label"] == 0).sum()), "n_test_anomalous": int(label.sum()),
        "n_test_unlabelled": int((test["label"] == UNKNOWN).sum()),
        "metrics": metrics, "by_defect": _by_defect(test[label].assign(detected=decision[label]))}
    return record, {name: value for name, value in samples.items() if metrics[name] is not None}


def _match(scores: pd.DataFrame, manifest: pd.DataFrame, split: str) -> pd.DataFrame:
    """The manifest's rows of a split, in its order, by path, with the columns score and own_decision."""
    rows, scored = (table[table["split"] == split].set_index("path") for table in (manifest, scores))
    if sorted(rows.index) != sorted(scored.index) or rows.empty:
        odd = rows.index.symmetric_difference(scored.index).union(scored.index[scored.index.duplicated()])
        raise ValueError(f"scores: not of the {len(rows)} images of the manifest's {split} split, or not once each "
                         f"({', '.join(odd[:1])}); delete scores.csv and run snakemake again")
    return rows.join(scored[["score", "own_decision"]])


def _histograms(maps: Path, test: pd.DataFrame, data: Path) -> PixelHistograms | None:
    """Pixel counts of all test images; None unless every anomalous one has a mask."""
    has_mask = test.loc[test["label"] == 1, "mask"] != ""
    if not has_mask.all() or has_mask.empty:
        if has_mask.any():
            warnings.warn(f"manifest: {has_mask.sum()} of {len(has_mask)} anomalous test images have a mask, "
                          "pixel metrics need all: not applicable", stacklevel=3)
        return None
    histograms, paths = PixelHistograms(), []
    for path, anomaly_map in read_maps(maps, scaled=False):
        paths.append(path)
        mask = None
        if test["label"].get(path) == 1:
            mask = read_mask(data / test.at[path, "mask"], anomaly_map.shape, test.at[path, "mask_from"])
        histograms.add(anomaly_map, mask)
    if paths != list(test.index):
        raise ValueError(f"{maps}: not the maps of the manifest's {len(test)} test images, in its order; delete it and "
                         "run snakemake again")
    return histograms


def _by_defect(anomalous: pd.DataFrame) -> list[dict]:
    groups = anomalous.groupby(["defect", "severity"], dropna=False)["detected"].agg(["size", "sum"])
    return [{"defect": defect, "severity": None if pd.isna(level) else float(level), "n": int(n),
             "detected": int(found)} for (defect, level), n, found in groups.itertuples()]
