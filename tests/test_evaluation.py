"""Evaluation: every metric against scikit-learn or an independent all-thresholds implementation, and by hand."""

import json
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
)

from radar.evaluation.bootstrap import interval, resample_weights
from radar.evaluation.calibration import conformal_threshold, too_few
from radar.evaluation.evaluate import evaluate, evaluate_folder
from radar.evaluation.metrics import (
    CHUNK,
    PIXEL_METRICS,
    PixelHistograms,
    decision_metrics,
    descending_rank,
    image_metrics,
    pixel_metrics,
    pro_area,
    rank_metrics,
)
from radar.images.photos import read_image


def sklearn_ranking(label, score) -> dict[str, float]:
    precision, recall, _ = precision_recall_curve(label, score)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return {"auroc": roc_auc_score(label, score), "ap": average_precision_score(label, score),
            "f1_max_oracle": f1.max()}


def regions_of(mask) -> list[list[tuple[int, int]]]:
    """8-connected regions by flood fill."""
    left, regions = {tuple(p) for p in np.argwhere(mask).tolist()}, []
    while left:
        region, edge = [], [left.pop()]
        while edge:
            y, x = edge.pop()
            region.append((y, x))
            neighbours = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= neighbours
            edge += neighbours
        regions.append(region)
    return regions


def naive_aupro(maps, masks, limit) -> float:
    """Straight from the definition: one pass over all images for every threshold."""
    normal = np.concatenate([m[~k] for m, k in zip(maps, masks, strict=True)])
    regions = [np.array([m[p] for p in region]) for m, k in zip(maps, masks, strict=True) for region in regions_of(k)]
    points = [(0.0, 0.0)]
    for threshold in sorted({float(v) for m in maps for v in m.ravel()}, reverse=True):
        points.append((np.mean(normal >= threshold), np.mean([np.mean(r >= threshold) for r in regions])))
    area = 0.0
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x1 > limit:
            y1, x1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0), limit
            area += (x1 - x0) * (y0 + y1) / 2
            break
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def some_images(seed: int, n: int = 9, levels: int = 40):
    """n maps of different sizes, every third image normal; coarse values make many ties, negative ones included."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for i in range(n):
        shape = (int(rng.integers(9, 16)), int(rng.integers(9, 16)))
        mask = np.zeros(shape, bool)
        if i % 3:
            mask = rng.random(shape) < 0.12
            mask[2:5, 2:6] = True
        maps.append((np.round((rng.normal(size=shape) + 0.8 * mask) * levels / 4) * 4 / levels).astype(np.float16))
        masks.append(mask)
    return maps, masks, np.arange(n) % 3 != 0


def histograms_of(maps, masks) -> PixelHistograms:
    histograms = PixelHistograms()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        histograms.add(anomaly_map, mask)
    return histograms


def pixel_reference(maps, masks, limit=0.3) -> dict[str, float]:
    label = np.concatenate([mask.ravel() for mask in masks])
    score = np.concatenate([anomaly_map.ravel() for anomaly_map in maps]).astype(float)
    reference = {"pixel_" + name: value for name, value in sklearn_ranking(label, score).items()}
    return reference | {"pixel_aupro": naive_aupro(maps, masks, limit)}


# Ranking at image level


@pytest.mark.parametrize("levels", [2, 5, 30, 10**6])
def test_image_metrics_agree_with_scikit_learn_on_ties(levels):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        label = rng.permutation(np.r_[0, 1, rng.integers(0, 2, 60)])
        score = np.round((rng.random(62) + 0.3 * label) * levels) / levels - 0.5
        expected = {"image_" + name: value for name, value in sklearn_ranking(label, score).items()}
        assert image_metrics(score, label) == pytest.approx(expected, abs=1e-12)


def test_image_metrics_by_hand():
    # Descending: 1 | 0 1 (tied) | 0. Of the 4 pairs the positives win 3 and tie 1.
    metrics = image_metrics([4, 3, 3, 1], [1, 0, 1, 0])
    assert metrics["image_auroc"] == 3.5 / 4
    assert metrics["image_ap"] == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert metrics["image_f1_max_oracle"] == pytest.approx(2 * 2 / (2 + 3))


def test_constant_score_ranks_at_chance():
    metrics = image_metrics([7.0] * 10, [0] * 6 + [1] * 4)
    assert metrics == pytest.approx({"image_auroc": 0.5, "image_ap": 0.4, "image_f1_max_oracle": 4 / 7})


@pytest.mark.parametrize("label", [[0, 0, 0], [1, 1, 1]])
def test_one_class_has_no_ranking_metric(label):
    assert all(math.isnan(value) for value in image_metrics([1.0, 2.0, 3.0], label).values())


def test_curves_ignore_empty_score_values_and_take_many_rows():
    negatives = np.array([[0, 0, 2, 0, 5], [1, 0, 1, 3, 0]])
    positives = np.array([[0, 3, 1, 0, 1], [0, 2, 0, 1, 0]])
    together = rank_metrics(negatives, positives)
    for row in range(2):
        kept = (negatives[row] + positives[row]) > 0
        alone = rank_metrics(negatives[row, kept], positives[row, kept])
        for name, values in together.items():
            assert values[row] == pytest.approx(float(alone[name]))


# Decisions


@pytest.mark.parametrize("seed", range(5))
def test_decision_metrics_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    label, decision = rng.integers(0, 2, 40), rng.integers(0, 2, 40)
    metrics = decision_metrics(decision, label)
    assert metrics == pytest.approx({
        "accuracy": accuracy_score(label, decision), "precision": precision_score(label, decision),
        "recall": recall_score(label, decision), "f1": f1_score(label, decision),
        "false_positive_rate": decision[label == 0].mean()})


def test_no_positive_decision_has_precision_zero():
    metrics = decision_metrics([False] * 4, [0, 0, 1, 1])
    assert metrics == {"accuracy": 0.5, "precision": 0, "recall": 0, "f1": 0, "false_positive_rate": 0}


def test_decision_metrics_without_a_class_are_undefined_not_zero():
    only_normal = decision_metrics([True, False], [0, 0])
    assert only_normal["false_positive_rate"] == only_normal["accuracy"] == 0.5
    assert all(math.isnan(only_normal[name]) for name in ("precision", "recall", "f1"))
    assert math.isnan(decision_metrics([True, False], [1, 1])["false_positive_rate"])


# Pixel level


def test_rank_orders_every_float16_value():
    values = np.arange(2**16, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)]
    ranks = descending_rank(values)
    order = np.argsort(-values.astype(float), kind="stable")
    assert ((np.diff(ranks[order]) > 0) == (np.diff(values[order].astype(float)) < 0)).all()
    assert (np.diff(ranks[order]) >= 0).all()
    assert 0 <= ranks.min() and ranks.max() < 2**16


@pytest.mark.parametrize("limit", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("levels", [3, 40, 4000])
def test_pixel_metrics_are_exact(levels, limit):
    for seed in range(3):
        maps, masks, _ = some_images(seed, levels=levels)
        assert pixel_metrics(histograms_of(maps, masks), limit) == pytest.approx(pixel_reference(maps, masks, limit),
                                                                                   abs=1e-10)


def test_aupro_by_hand_with_regions_that_touch_diagonally():
    # Two pixels that touch at a corner are one region A; the single pixel far away is region B.
    mask = np.array([[1, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 1]], bool)
    score = np.array([[9, 8, 1, 1, 1, 1, 1], [8, 7, 1, 1, 1, 1, 6]], np.float16)
    # 11 normal pixels, two of them (8) above all but the first pixel of A:
    # (FPR, PRO): (0, 0) -> (0, 1/4) -> (2/11, 1/4) -> (2/11, 1/2) -> (2/11, 1) -> (1, 1).
    limit = 0.3
    area = 2 / 11 * 1 / 4 + (limit - 2 / 11)
    assert pixel_metrics(histograms_of([score], [mask]), limit)["pixel_aupro"] == pytest.approx(area / limit)
    # Were the regions 4-connected, there would be three, and PRO 1/3, not 1/4, over the first stretch.


def test_aupro_interpolates_inside_a_tie_at_the_limit():
    # One value for everything: the curve is the diagonal, its area up to L is L^2 / 2.
    assert pro_area(np.array([10.0]), np.array([2.0]), 2, 0.3) == pytest.approx(0.15)


def test_aupro_is_one_for_a_perfect_map_and_zero_for_the_opposite():
    mask = np.zeros((8, 8), bool)
    mask[2:4, 2:4] = True
    assert pixel_metrics(histograms_of([mask.astype(np.float16)], [mask]))["pixel_aupro"] == pytest.approx(1)
    assert pixel_metrics(histograms_of([-mask.astype(np.float16)], [mask]))["pixel_aupro"] == pytest.approx(0)


def test_zero_and_minus_zero_are_one_score():
    maps = [np.array([[0.0, -0.0, -0.0, 0.0]], np.float16)]
    assert pixel_metrics(histograms_of(maps, [np.array([[0, 0, 1, 1]], bool)]))["pixel_auroc"] == 0.5


def test_pixel_metrics_see_only_the_order_of_values():
    maps, masks, _ = some_images(5)
    doubled = [(2 * anomaly_map).astype(np.float16) for anomaly_map in maps]
    expected = pytest.approx(pixel_metrics(histograms_of(maps, masks)), rel=1e-12)
    assert pixel_metrics(histograms_of(doubled, masks)) == expected


def test_no_maps_or_no_anomalous_pixel_means_not_applicable():
    assert pixel_metrics(None) == dict.fromkeys(PIXEL_METRICS)
    maps, masks, _ = some_images(0)
    metrics = pixel_metrics(histograms_of(maps, [None] * len(maps)))
    assert all(math.isnan(value) for value in metrics.values())


# Bootstrap


def test_resamples_keep_class_counts_and_depend_on_labels_and_seed_only():
    label = np.r_[[0] * 7, [1] * 12, [0] * 2]
    weights = resample_weights(label, 300, seed=3)
    assert weights.shape == (300, 21) and np.issubdtype(weights.dtype, np.integer)
    assert (weights[:, label == 0].sum(1) == 9).all() and (weights[:, label == 1].sum(1) == 12).all()
    assert (weights == resample_weights(label.tolist(), 300, seed=3)).all()
    assert (weights != resample_weights(label, 300, seed=4)).any()
    # Every image is drawn once on average, with the variance of a draw with replacement, 1 - 1/n.
    assert np.abs(weights.mean(0) - 1).max() < 0.25
    assert weights[:, label == 1].var() == pytest.approx(1 - 1 / 12, abs=0.08)


@pytest.mark.parametrize("label", [[0, 0, 0], [1, 1]])
def test_resampling_one_class(label):
    assert (resample_weights(label, 5, 0).sum(1) == len(label)).all()


def test_weights_of_one_give_the_plain_metrics():
    maps, masks, label = some_images(1)
    histograms, score = histograms_of(maps, masks), np.array([float(m.max()) for m in maps])
    ones, decision = np.ones((2, len(label)), int), score > 2
    for samples, plain in ((image_metrics(score, label, ones), image_metrics(score, label)),
                           (decision_metrics(decision, label, ones), decision_metrics(decision, label)),
                           (pixel_metrics(histograms, 0.2, ones), pixel_metrics(histograms, 0.2))):
        assert samples.keys() == plain.keys()
        for name, values in samples.items():
            assert values.tolist() == pytest.approx([plain[name]] * 2, abs=1e-12), name


def test_each_draw_is_the_metric_of_the_resampled_images():
    maps, masks, label = some_images(2, n=12)
    score = np.round([3 * float(m.mean()) + y for m, y in zip(maps, label, strict=True)], 1)
    decision = score > np.median(score)
    weights = resample_weights(label, 25, seed=0)
    samples = (image_metrics(score, label, weights) | decision_metrics(decision, label, weights)
               | pixel_metrics(histograms_of(maps, masks), 0.3, weights))
    for draw, weight in enumerate(weights):
        rows = np.repeat(np.arange(len(label)), weight)
        expected = {"image_" + name: value for name, value in sklearn_ranking(label[rows], score[rows]).items()}
        expected |= pixel_reference([maps[i] for i in rows], [masks[i] for i in rows])
        expected |= {"accuracy": accuracy_score(label[rows], decision[rows]),
                     "precision": precision_score(label[rows], decision[rows], zero_division=0),
                     "recall": recall_score(label[rows], decision[rows]),
                     "f1": f1_score(label[rows], decision[rows]),
                     "false_positive_rate": decision[rows][~label[rows]].mean()}
        assert {name: values[draw] for name, values in samples.items()} == pytest.approx(expected, abs=1e-10)


def test_draws_do_not_depend_on_how_many_are_computed_at_once():
    rng = np.random.default_rng(0)
    label, score = rng.integers(0, 2, 3000), rng.random(3000)
    weights = resample_weights(label, 400, seed=0)
    assert weights.size > CHUNK  # more than one chunk
    together = image_metrics(score, label, weights)
    for part in (slice(0, 3), slice(340, 360), slice(397, 400)):
        for name, values in image_metrics(score, label, weights[part]).items():
            np.testing.assert_allclose(values, together[name][part], rtol=1e-12)


def test_a_draw_without_anomalous_pixels_is_undefined_and_left_out_of_the_interval():
    maps, masks, label = some_images(3, n=6)
    masks = [mask if i == 1 else np.zeros_like(mask) for i, mask in enumerate(masks)]
    weights = resample_weights(label, 60, seed=0)
    aupro = pixel_metrics(histograms_of(maps, masks), weights=weights)["pixel_aupro"]
    assert (np.isnan(aupro) == (weights[:, 1] == 0)).all() and np.isnan(aupro).any()
    low, high = interval(aupro)
    assert low <= high


def test_interval_is_the_percentile_interval():
    assert interval(np.arange(101), level=0.9) == pytest.approx((5, 95))
    assert interval([np.nan, 1, 1], 0.95) == (1, 1)
    assert all(math.isnan(end) for end in interval([np.nan, np.nan]))


def test_bootstrap_interval_covers_the_true_auroc():
    # Normal scores N(0, 1), anomalous N(1, 1): AUROC = Phi(1 / sqrt 2) = 0.7602. Binomial(200, 0.95): 5 sd = 15.
    truth, covered = 0.5 * (1 + math.erf(0.5)), 0
    rng = np.random.default_rng(0)
    label = np.r_[np.zeros(60), np.ones(60)]
    weights = resample_weights(label, 400, seed=0)
    for _ in range(200):
        low, high = interval(image_metrics(rng.normal(size=120) + label, label, weights)["image_auroc"])
        covered += low <= truth <= high
    assert 175 <= covered <= 200


# Calibration


def test_conformal_quantile_by_hand():
    scores = np.random.default_rng(0).permutation(np.arange(1, 100))  # n = 99: k = ceil(100 * (1 - alpha))
    assert conformal_threshold(scores, 0.05) == 95
    assert conformal_threshold(scores, 0.1) == 90
    assert conformal_threshold(scores, 0.01) == 99
    assert conformal_threshold(scores[scores <= 98], 0.05) == 95  # ceil(99 * 0.95) = ceil(94.05)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.18, 0.3, 0.42, 0.7])
def test_conformal_rank_is_exact_where_floats_are_not(alpha):
    hundredths = round(alpha * 100)
    for n in range(1, 500):
        k = -(-(n + 1) * (100 - hundredths) // 100)
        assert too_few(n, alpha) == (k > n)
        if k <= n:
            assert conformal_threshold(np.arange(1, n + 1), alpha) == k


def test_conformal_coverage_is_that_of_the_rank_and_not_one_off():
    # P(new > k-th smallest of n) = 1 - k / (n + 1) exactly: n = 19, alpha = 0.1: k = 18, P = 0.1. One rank lower gives
    # 0.15, one higher 0.05. Over 20,000 trials one standard deviation is 42, the next rank 1,000 away.
    rng = np.random.default_rng(0)
    scores = rng.gumbel(size=(20_000, 20))
    exceeded = sum(new > conformal_threshold(held_out, 0.1) for *held_out, new in scores)
    assert abs(exceeded - 2000) < 5 * 42


def test_too_small_a_calibration_set_warns_with_the_number_it_needs():
    with pytest.warns(UserWarning, match=r"^18 .*0\.05.* 19 are needed"):
        assert conformal_threshold(np.arange(18), 0.05) == 17
    assert too_few(18, 0.05) and not too_few(19, 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert conformal_threshold(np.arange(19), 0.05) == 18


# The whole

SETTINGS = {"false_positive_rate": 0.2, "bootstrap_draws": 50, "bootstrap_seed": 1, "aupro_limit": 0.3}


class Case:
    """Ten calibration images; six normal and eight anomalous test images, of two sizes, with maps of the same."""

    def __init__(self, root, longest_side=None):
        rng = np.random.default_rng(0)
        self.root, self.maps_path = root, root / "maps.npz"
        rows, self.maps, self.masks = [], {}, {}
        for i in range(26):
            split = "train" if i < 2 else "calibration" if i < 12 else "test"
            label = int(i >= 18)
            path, shape = f"{split}/{i:02}.png", ((20, 24), (30, 17))[i % 2]
            mask = np.zeros(shape, bool)
            if label:
                mask[3:7, 4:4 + i - 14] = True
                Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(root / f"mask{i}.png")
            rows.append({"path": path, "split": split, "label": label, "defect": ["hole", "crack"][i % 2] if label else
                         "good", "severity": [0.5, 1.0, np.nan][i % 3] if label else np.nan,
                         "mask": f"mask{i}.png" if label else "", "mask_from": 128})
            (root / split).mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(root / path)
            if split == "test":
                scored = read_image(root / path, 1, longest_side)[0].shape
                resized = Image.fromarray(mask).resize(scored[::-1], Image.Resampling.NEAREST)
                self.masks[path] = np.asarray(resized)
                self.maps[path] = (rng.normal(size=scored) + self.masks[path]).astype(np.float16)
        self.manifest = pd.DataFrame(rows)
        self.scores = self.manifest.loc[self.manifest["split"] != "train", ["path", "split"]].assign(
            score=lambda t: rng.normal(size=len(t)) + 0.9 * (t.index >= 18), own_decision=np.nan)
        self.write_maps()

    def write_maps(self, **changes):
        arrays = {"paths": np.array(list(self.maps)), "scale": 0.5,
                  "shapes": np.array([m.shape for m in self.maps.values()], np.int32),
                  "maps": np.concatenate([m.ravel() for m in self.maps.values()])}
        np.savez_compressed(self.maps_path, **(arrays | changes))

    def evaluate(self, **settings):
        return evaluate(self.scores, self.maps_path, self.manifest, self.root, SETTINGS | settings)


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


@pytest.mark.parametrize("longest_side", [None, 24, 19])
def test_evaluate_puts_everything_together(tmp_path, longest_side):
    case = Case(tmp_path, longest_side)
    record, samples = case.evaluate()
    test = case.scores[case.scores["split"] == "test"]
    label = (test.index >= 18).astype(int)
    threshold = np.sort(case.scores.loc[case.scores["split"] == "calibration", "score"])[8]  # ceil(11 * 0.8) = 9th
    decision = test["score"].to_numpy() > threshold
    assert record["threshold"] == threshold and record["false_positive_rate"] == 0.2
    assert (record["n_calibration"], record["n_test_normal"], record["n_test_anomalous"]) == (10, 6, 8)
    assert record["calibration_too_small"] is False
    ranking = {"image_" + name: value for name, value in sklearn_ranking(label, test["score"]).items()}
    expected = ranking | pixel_reference(list(case.maps.values()), list(case.masks.values())) | {
        "accuracy": accuracy_score(label, decision), "precision": precision_score(label, decision),
        "recall": recall_score(label, decision), "f1": f1_score(label, decision),
        "false_positive_rate_measured": decision[label == 0].mean()}
    own = {"own_" + name: None for name in ("accuracy", "precision", "recall", "f1", "false_positive_rate")}
    metrics = record["metrics"]
    assert {name: metrics[name] for name in own} == own
    assert {name: value for name, value in metrics.items() if name not in own} == pytest.approx(expected, abs=1e-10)
    assert samples.keys() == expected.keys()
    assert all(values.shape == (50,) and np.isfinite(values).all() for values in samples.values())
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_by_defect_counts_what_is_detected_at_the_threshold(case):
    record, _ = case.evaluate()
    merged = case.manifest.merge(case.scores, on=["path", "split"]).query("label == 1")
    keys = [(row["defect"], row["severity"]) for row in record["by_defect"]]
    assert keys == [(d, s) for d in ("crack", "hole") for s in (0.5, 1.0, None)]
    for row in record["by_defect"]:
        severity = merged["severity"].isna() if row["severity"] is None else merged["severity"] == row["severity"]
        chosen = merged[(merged["defect"] == row["defect"]) & severity]
        assert row["n"] == len(chosen) and row["detected"] == (chosen["score"] > record["threshold"]).sum()
    assert sum(row["n"] for row in record["by_defect"]) == 8


def test_a_score_at_the_threshold_is_not_detected(case):
    threshold = case.evaluate()[0]["threshold"]
    case.scores.loc[case.scores["split"] == "test", "score"] = threshold
    record, _ = case.evaluate()
    assert record["metrics"]["recall"] == record["metrics"]["false_positive_rate_measured"] == 0


def test_the_order_of_the_scores_changes_nothing(case):
    record, samples = case.evaluate()
    case.scores = case.scores.sample(frac=1, random_state=0)
    again, samples_again = case.evaluate()
    assert again["by_defect"] == record["by_defect"] and again["metrics"] == pytest.approx(record["metrics"])
    for name, values in samples.items():
        np.testing.assert_allclose(values, samples_again[name], rtol=1e-12)


def test_a_methods_own_decisions_are_reported_beside_the_calibrated_ones(case):
    case.scores["own_decision"] = (case.scores["score"] > 0.3).astype(float)
    record, samples = case.evaluate()
    test = case.scores[case.scores["split"] == "test"]
    assert record["metrics"]["own_recall"] == (test["own_decision"][test.index >= 18]).mean()
    assert record["metrics"]["own_false_positive_rate"] == (test["own_decision"][test.index < 18]).mean()
    assert samples["own_f1"].shape == (50,)
    case.scores["own_decision"] = case.scores["own_decision"].astype(bool)
    assert case.evaluate()[0] == record


def test_image_labels_only_leaves_pixel_metrics_out(case):
    case.manifest["mask"] = ""
    record, samples = case.evaluate()
    assert all(record["metrics"][name] is None for name in PIXEL_METRICS)
    assert not set(PIXEL_METRICS) & set(samples)
    assert record["metrics"]["image_auroc"] is not None


def test_masks_of_some_images_only_are_not_enough(case):
    case.manifest.loc[20, "mask"] = ""
    with pytest.warns(UserWarning, match="7 of 8"):
        record, _ = case.evaluate()
    assert record["metrics"]["pixel_aupro"] is None


def test_a_test_set_of_one_class_has_no_ranking(case):
    case.manifest = case.manifest.iloc[:18]
    case.scores = case.scores[case.scores["path"].isin(case.manifest["path"])]
    record, samples = case.evaluate()
    assert record["metrics"]["image_auroc"] is None and record["metrics"]["recall"] is None
    assert set(samples) == {"accuracy", "false_positive_rate_measured"} and record["by_defect"] == []


def test_too_small_a_calibration_split_is_recorded(case):
    with pytest.warns(UserWarning, match="needed"):
        record, _ = case.evaluate(false_positive_rate=0.05)
    assert record["calibration_too_small"] is True


def test_a_folder_gets_metrics_and_draws_of_what_lies_in_it(tmp_path):
    folder = tmp_path / "data/all/pca/seed3"
    folder.mkdir(parents=True)
    case = Case(folder)
    case.scores.to_csv(folder / "scores.csv", index=False)
    case.manifest.to_csv(tmp_path / "manifest.csv", index=False)
    protocol = SETTINGS | {"calibration_fraction": 0.2}
    evaluate_folder(folder, "PCA", tmp_path / "manifest.csv", folder, protocol, mark="x")
    written, (record, samples) = json.loads((folder / "metrics.json").read_text()), case.evaluate()
    assert written.items() >= (record | {"dataset": "data", "category": "all", "method": "PCA", "seed": 3, "mark": "x"}
                               ).items()
    assert set(written["provenance"]["inputs_sha256"]) == {"scores", "maps", "manifest"}
    with np.load(folder / "bootstrap.npz") as draws:
        assert {name: draws[name].tolist() for name in draws} == {name: one.tolist() for name, one in samples.items()}


def change(case, table, row, column, value):
    frame = getattr(case, table).copy()
    frame[column] = frame[column].astype(object)
    frame.loc[row, column] = value
    setattr(case, table, frame)


def drop(case, table, **what):
    setattr(case, table, getattr(case, table).drop(**what))


def unreadable(case, name):
    (case.root / name).write_bytes(b"not a file of this kind")


def fewer_maps(case):
    case.maps.pop("test/20.png")
    case.write_maps()


def one_map(case, name, value):
    case.maps[name] = value
    case.write_maps()


BAD_INPUT = {
    "no score": (lambda c: drop(c, "scores", index=20), r"scores: .* test split, .*\(test/20.png\)"),
    "unknown image": (lambda c: drop(c, "manifest", index=20), r"scores: .* test split, .*\(test/20.png\)"),
    "wrong split": (lambda c: change(c, "scores", 5, "split", "test"), r"scores: .*\(calibration/05.png\)"),
    "scored twice": (lambda c: setattr(c, "scores", pd.concat([c.scores, c.scores[-1:]])),
                     r"scores: .*once each \(test/25.png\)"),
    "anomalous calibration": (lambda c: change(c, "manifest", 5, "label", 1), "manifest: the calibration split"),
    "no calibration": (lambda c: drop(c, "manifest", index=range(2, 12)), "scores: not of the 0 images"),
    "fewer maps": (fewer_maps, "maps.npz: not the maps of the manifest's 14 test images"),
    "foreign map": (lambda c: one_map(c, "other.png", np.zeros((3, 3), np.float16)), "maps.npz: not the maps"),
    "maps cut short": (lambda c: c.write_maps(maps=np.zeros(100, np.float16)), r"maps.npz: .* float16 \[\d+\]"),
    "maps not float16": (lambda c: c.write_maps(maps=np.zeros(100)), "maps.npz: maps are float64"),
    "shapes missing": (lambda c: c.write_maps(shapes=np.zeros((2, 2), np.int32)), "maps.npz: 14 paths but shapes"),
    "maps damaged": (lambda c: unreadable(c, "maps.npz"), "maps.npz"),
    "maps absent": (lambda c: c.maps_path.unlink(), "maps.npz"),
    "mask damaged": (lambda c: unreadable(c, "mask20.png"), "mask20.png: cannot be read as a mask"),
    "mask absent": (lambda c: (c.root / "mask20.png").unlink(), "mask20.png: cannot be read as a mask"),
}


@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_is_refused_in_one_line_that_names_it(case, what):
    spoil, message = BAD_INPUT[what]
    spoil(case)
    with pytest.raises((ValueError, OSError), match=message) as error:
        case.evaluate()
    assert "\n" not in str(error.value)
