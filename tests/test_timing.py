"""Timing: rounds and their ratios, percentiles, and where the time of a prediction goes."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from baselines.ddpm import DDPM
from baselines.diffusionad import DiffusionAD
from baselines.invad import InvAD
from baselines.pca import PCA
from radar.diffusion.predictor import NoisePredictor
from radar.evaluation import timing
from radar.evaluation.cost import cost_of
from radar.evaluation.rounds import TAIL, in_turns, latency, median_interval, turns, within_rounds
from radar.evaluation.timing import (
    cores_of_others,
    device_name,
    peak_memory,
    predict_uint8,
    time_detectors,
)
from radar.method.radar import RADAR
from tests.conftest import FEATURES, PREDICTOR, Tensors

# Rounds


def samples(*pairs: tuple[int, float]) -> pd.Series:
    return pd.Series([taken for _, taken in pairs], [index for index, _ in pairs])


def test_a_drift_of_the_machine_cancels_in_the_ratio_within_a_round():
    rng = np.random.default_rng(0)
    speed = np.exp(rng.normal(0, 1, 12))  # of the machine, in each round
    ours = samples(*((i, 3 * speed[i]) for i in range(12) for _ in range(3)))
    theirs = samples(*((i, 2 * speed[i]) for i in range(0, 12, 2)))  # takes part in every second round only
    assert within_rounds(ours, theirs) == pytest.approx((1.5, 1.5, 1.5))
    assert not 1.4 < ours.median() / theirs.median() < 1.6


@pytest.mark.parametrize("n", [6, 12, 25, 60])
def test_the_interval_of_the_median_is_the_shortest_pair_of_order_statistics_that_holds_its_level(n):
    values = pd.Series(np.arange(n)[::-1])
    low, high = median_interval(values)

    def coverage(k: int) -> float:  # that the median lies between the k-th smallest and the k-th largest
        return 1 - 2 * stats.binom.cdf(k - 1, n, 0.5)

    assert high == n - 1 - low and coverage(low + 1) >= 0.95 > coverage(low + 2)


def test_five_rounds_have_no_interval():
    assert median_interval(pd.Series([1.0, 2.0, 3.0, 4.0, 5.0])) == (None, None)  # even their range holds 93.75 % only


def test_a_99th_percentile_needs_a_hundred_samples():
    few, many = (latency(samples(*((0, 0.001 * i) for i in range(1, n + 1)))) for n in (TAIL - 1, TAIL))
    assert few["latency_ms_p99"] is None and few["latency_ms_median"] == pytest.approx(50)
    assert many["latency_ms_p99"] == pytest.approx(np.quantile(np.arange(1, 101), 0.99))
    assert len(many["latency_ms"]) == len(many["latency_round"]) == 100


@pytest.mark.parametrize("expected", [0.0001, 0.01, 0.05, 0.5, 4.0])
def test_turns_keep_to_the_budget_and_every_method_gets_its_rounds(expected):
    calls, every = turns(expected, 12, 240, 0.5)
    total = calls * len(range(0, 12, every))
    assert 6 <= total <= 240
    assert calls == 1 or total * expected <= 0.5 + 6 * expected


def test_rounds_start_with_another_method_each_and_samples_carry_their_round():
    called = []
    calls = {name: lambda name=name: called.append(name) for name in "abc"}
    taken = in_turns(calls, {"a": (1, 1), "b": (2, 1), "c": (1, 2)}, 3)
    assert "".join(called) == "abbc" + "bba" + "cabb"
    assert taken["b"].index.tolist() == [0, 0, 1, 1, 2, 2] and taken["c"].index.tolist() == [0, 2]
    assert in_turns({}, {}, 3) == {}


def test_what_others_use_is_told_from_what_is_ones_own(monkeypatch):
    monkeypatch.setattr(timing.psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(timing.psutil, "cpu_percent", lambda: 75.0)
    for ours, others in ((120.0, 1.8), (310.0, 0.0)):
        monkeypatch.setattr(timing.PROCESS, "cpu_percent", lambda ours=ours: ours)
        assert cores_of_others() == pytest.approx(others)
    assert device_name("cpu")


# Where the time goes


@pytest.fixture(scope="module")
def detectors(trivial_set):
    """Untrained: what a network has learnt does not change what it costs."""
    normal = Tensors(trivial_set[1])
    pixels, features = NoisePredictor(PREDICTOR, 1), NoisePredictor(FEATURES, 1)
    features.training_batches(normal, 1)  # which takes the standardisation
    made = {"radar": RADAR(noise_predictor=pixels), "ddpm": DDPM(noise_predictor=pixels, chain_steps=4),
            "ddim": InvAD(noise_predictor=pixels), "invad": InvAD(noise_predictor=features), "pca": PCA(),
            "radar_features": RADAR(noise_predictor=features)}
    for detector in made.values():
        detector.fit(normal)
    return made


@torch.inference_mode()
def test_the_parts_are_within_the_whole_and_the_evaluations_are_the_nfe(detectors, trivial_set):
    _, normal, *_ = trivial_set
    for name, detector in detectors.items():
        cost = cost_of(detector, lambda detector=detector: predict_uint8(detector, normal[:1]), 0.05)
        assert cost.evaluations == detector.nfe, name
        assert 0 < sum(cost.parts.values()) <= cost.whole
        assert ("noise_predictor" in cost.parts) == (detector.nfe > 0)
        assert ("features" in cost.parts) == (name in ("invad", "radar_features"))
        assert cost.milliseconds()["rest_ms"] >= 0
    # nothing of the watching stays behind
    before, after = (predict_uint8(detectors["radar"], normal[:2])[0] for _ in range(2))
    assert torch.equal(before, after) and "forward" not in vars(detectors["radar"].noise_predictor.network)


def test_every_method_is_timed_and_predicted_on_the_same_terms(detectors, trivial_set):
    _, normal, *_ = trivial_set
    timed = time_detectors(detectors, normal, batch_sizes=[1, 4], repeats=12, seconds=0.05)
    for name, one in timed.items():
        assert one["ratio_to"] == "radar"
        assert one["latency_ms_median"] <= one["latency_ms_p90"] <= max(one["latency_ms"])
        assert one["nfe"] == one["evaluations"] == detectors[name].nfe
        assert set(one["images_per_s_by_batch"]) <= {1, 4} and one["batch_size"] in one["images_per_s_by_batch"]
        assert (one["predicted_ms"] is None) == (name == "pca")
    assert timed["radar"]["ratio"] == timed["radar"]["ratio_low"] == timed["radar"]["ratio_high"] == 1
    assert timed["ddpm"]["predicted_ms"] == pytest.approx(4 * timed["ddpm"]["evaluation_ms"])
    assert timed["invad"]["predicted_ms"] > 3 * timed["invad"]["evaluation_ms"]  # the features come on top


def test_the_segmentation_network_is_a_part_of_its_own(trivial_set):
    images, normal, *_ = trivial_set
    detector = DiffusionAD(patch=16, stride=16, channels=[8, 8], layers_per_block=1, attention=[], norm_groups=4,
                           segmentation_channels=[4, 4])
    detector._build(1)
    with torch.inference_mode():
        cost = cost_of(detector, lambda: predict_uint8(detector, normal[:1]), 0.05)
    assert {"noise_predictor", "other_network", "tiling"} == set(cost.parts) and cost.evaluations == detector.nfe == 2


def test_the_peak_of_a_call_is_its_own():
    large, small = (peak_memory(lambda size=size: torch.ones(size), torch.device("cpu")) for size in (50_000_000, 1))
    assert large > small + 150_000_000
