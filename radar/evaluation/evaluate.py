"""From the scores and maps of one method to its metrics: the only place that reads labels and masks of the test set.

Everything that is chosen (the threshold) is chosen from the calibration split, which holds normal images only.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from radar.data import UNKNOWN
from radar.evaluation.bootstrap import decision_samples, image_samples, pixel_samples, resample_weights
from radar.evaluation.calibration import conformal_threshold, too_few
from radar.evaluation.curves import Array
from radar.evaluation.metrics import PIXEL_METRICS, PixelHistograms, decision_metrics, image_metrics, pixel_metrics
from radar.images.map_archive import read_maps
from radar.images.photos import shrunk


def evaluate(scores: pd.DataFrame, maps: Path | None, manifest: pd.DataFrame, data_root: Path, settings: dict,
             longest_side: int | None = None) -> tuple[dict, dict[str, Array]]:
    """The metrics of one trained method on one dataset, and their bootstrap samples.

    scores: columns path, split (calibration or test), score, own_decision (0 or 1; NaN throughout if the method does
        not decide by itself).
    maps: maps.npz with `paths` [N] of the test images, `shapes` int32 [N, 2] and `maps`, float16, one after the other;
        None for a method without maps.
    manifest: columns path, split, label (0 = normal, 1 = anomalous, -1 = nobody knows), defect, severity, mask and,
        where it is not 128, mask_from (the lowest value of a mask that is foreground), of all the dataset. Where no
        test image has a label every metric is None.
    data_root: folder that the paths of images and masks are relative to.
    settings: false_positive_rate, bootstrap_draws, bootstrap_seed, aupro_limit.
    longest_side: images were shrunk to this many pixels before they were scored (None = never).

    Returns (record, samples). record: threshold, false_positive_rate (the promised one), n_calibration,
    calibration_too_small, n_test_normal, n_test_anomalous, n_test_unlabelled, metrics {name: float, or None where not
    applicable} and by_defect [{defect, severity, n, detected}] at the threshold. samples: {name: [draws]} of the
    metrics that apply; the threshold stays fixed, so the intervals speak of new test images, not of a new calibration.

    Raises ValueError, in one line that names the file or the column, if the inputs do not fit together.
    """
    calibration, test = _match(scores, manifest, "calibration"), _match(scores, manifest, "test")
    if calibration["label"].any():
        raise ValueError("manifest: the calibration split holds anomalous images")
    score, label = test["score"].to_numpy(), test["label"].to_numpy().astype(bool)

    rate = settings["false_positive_rate"]
    threshold = conformal_threshold(calibration["score"], rate)
    decision = score > threshold
    own_decision = _own_decision(test["own_decision"])
    record = {"threshold": threshold, "false_positive_rate": rate, "n_calibration": len(calibration),
              "calibration_too_small": too_few(len(calibration), rate)}
    if (test["label"] == UNKNOWN).any():
        return record | _without_labels(len(test)), {}
    histograms, order = (None, None) if maps is None else _histograms(Path(maps), test, Path(data_root), longest_side)

    metrics = image_metrics(score, label) | _measured(decision_metrics(decision, label))
    own = decision_metrics(decision if own_decision is None else own_decision, label, "own_")
    metrics |= dict.fromkeys(own) if own_decision is None else own
    metrics |= pixel_metrics(histograms, settings["aupro_limit"])
    metrics = {name: None if value is None or np.isnan(value) else value for name, value in metrics.items()}

    # Rows follow the manifest, whatever the order in the method's files, so that all methods meet the same resamples.
    weights = resample_weights(label, settings["bootstrap_draws"], settings["bootstrap_seed"])
    samples = image_samples(score, label, weights) | _measured(decision_samples(decision, label, weights))
    if own_decision is not None:
        samples |= decision_samples(own_decision, label, weights, "own_")
    if histograms is not None:
        samples |= pixel_samples(histograms, weights[:, order], settings["aupro_limit"])
    samples = {name: value for name, value in samples.items() if metrics[name] is not None}

    record |= {
        "n_test_normal": int((~label).sum()),
        "n_test_anomalous": int(label.sum()),
        "n_test_unlabelled": 0,
        "metrics": metrics,
        "by_defect": _by_defect(test[label], decision[label]),
    }
    return record, samples


def _without_labels(count: int) -> dict:
    """The rest of the record of `count` test images without labels: every metric is None."""
    nothing = np.zeros(1, bool)  # whatever: only the names of the metrics are wanted
    names = [*image_metrics(nothing, nothing), *_measured(decision_metrics(nothing, nothing)),
             *decision_metrics(nothing, nothing, "own_"), *PIXEL_METRICS]
    return {"n_test_normal": 0, "n_test_anomalous": 0, "n_test_unlabelled": count, "metrics": dict.fromkeys(names),
            "by_defect": []}


def _match(scores: pd.DataFrame, manifest: pd.DataFrame, split: str) -> pd.DataFrame:
    """The manifest's rows of a split, in its order, with the columns score and own_decision."""
    for name, table, columns in (("scores", scores, ("path", "split", "score", "own_decision")),
                                 ("manifest", manifest, ("path", "split", "label", "defect", "severity", "mask"))):
        for column in columns:
            if column not in table:
                raise ValueError(f"{name}: no column '{column}'")
    rows = manifest[manifest["split"] == split].set_index("path")
    scored = scores[scores["split"] == split].set_index("path")
    if rows.empty:
        raise ValueError(f"manifest: no rows of the {split} split")
    for name, index in (("manifest", rows.index), ("scores", scored.index)):
        if index.has_duplicates:
            raise ValueError(f"{name}: {index[index.duplicated()][0]} occurs twice in the {split} split")
    if len(missing := rows.index.difference(scored.index)):
        raise ValueError(f"scores: {missing[0]} of the {split} split has no score ({len(missing)} missing)")
    if len(unknown := scored.index.difference(rows.index)):
        raise ValueError(f"scores: {unknown[0]} is not in the manifest's {split} split ({len(unknown)} unknown)")
    if not rows["label"].isin([0, 1]).all() and not rows["label"].eq(UNKNOWN).all():
        raise ValueError(f"manifest: column 'label' must hold 0 or 1, or {UNKNOWN} throughout the {split} split")
    rows = rows.join(scored[["score", "own_decision"]])
    rows["score"] = pd.to_numeric(rows["score"], errors="coerce")
    if len(bad := rows.index[~np.isfinite(rows["score"])]):
        raise ValueError(f"scores: column 'score' is not finite for {bad[0]} ({len(bad)} of the {split} split)")
    return rows


def _own_decision(column: pd.Series) -> NDArray[np.bool_] | None:
    if column.isna().all():
        return None
    if not column.isin([0, 1]).all():
        raise ValueError("scores: column 'own_decision' must hold 0 or 1 in all rows of the test split, or be empty "
                         "in all")
    return column.to_numpy().astype(bool)


def _measured(metrics: dict) -> dict:
    """The promised rate has the plain name."""
    return {name + "_measured" if name == "false_positive_rate" else name: value for name, value in metrics.items()}


def _histograms(maps: Path, test: pd.DataFrame, data_root: Path,
                longest_side: int | None) -> tuple[PixelHistograms | None, NDArray | None]:
    """Pixel counts of all test images, and the place of each in `test`; (None, None) if masks are missing."""
    anomalous = test["label"] == 1
    has_mask = (test["mask"].notna() & test["mask"].ne(""))[anomalous]
    if not has_mask.all() or not anomalous.any():
        if has_mask.any():
            warnings.warn(f"manifest: {has_mask.sum()} of {len(has_mask)} anomalous test images have a mask, "
                          "pixel metrics need all: not applicable", stacklevel=3)
        return None, None
    histograms, order = PixelHistograms(), []
    for path, anomaly_map in read_maps(maps):
        if path not in test.index:
            raise ValueError(f"{maps}: {path} is not in the manifest's test split")
        mask = None
        if anomalous[path]:
            mask_from = int(test.at[path, "mask_from"]) if "mask_from" in test else 128
            mask = _read_mask(data_root / str(test.at[path, "mask"]), anomaly_map.shape, mask_from)
        if anomaly_map.shape != (shape := _scored_shape(data_root / path, longest_side)):
            raise ValueError(f"{maps}: the map of {path} is {anomaly_map.shape}, its image was scored at {shape}")
        try:
            histograms.add(anomaly_map, mask)
        except ValueError as error:
            raise ValueError(f"{maps}: {path}: {error}") from error
        order.append(test.index.get_loc(path))
    if sorted(order) != list(range(len(test))):
        raise ValueError(f"{maps}: {len(set(order))} of {len(test)} test images have a map, {len(order)} maps in all")
    return histograms, np.array(order)


def _scored_shape(path: Path, longest_side: int | None) -> tuple[int, int]:
    """(H, W) at which `radar.images.photos.read_image` gives an image; reads the header only."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except OSError as error:
        raise ValueError(f"{path}: cannot be read as an image ({error})") from error
    width, height = shrunk((width, height), longest_side)
    return height, width


def _read_mask(path: Path, shape: tuple[int, int], mask_from: int) -> NDArray[np.bool_]:
    """Foreground (>= mask_from) of a mask, resized to (H, W) by nearest neighbour where the image was scored
    smaller."""
    try:
        with Image.open(path) as image:
            mask = image.convert("L")
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: cannot be read as a mask ({error})") from error
    if mask.size != shape[::-1]:
        mask = mask.resize(shape[::-1], Image.Resampling.NEAREST)
    return np.asarray(mask) >= mask_from


def _by_defect(anomalous: pd.DataFrame, detected: NDArray[np.bool_]) -> list[dict]:
    try:
        severity = pd.to_numeric(anomalous["severity"])
    except ValueError as error:
        raise ValueError(f"manifest: column 'severity' must hold numbers or nothing ({error})") from error
    table = pd.DataFrame({"defect": anomalous["defect"], "severity": severity, "detected": detected})
    groups = table.groupby(["defect", "severity"], dropna=False)["detected"].agg(["size", "sum"])
    return [{"defect": "" if pd.isna(defect) else str(defect), "severity": None if pd.isna(level) else float(level),
             "n": int(n), "detected": int(found)} for (defect, level), n, found in groups.itertuples()]
