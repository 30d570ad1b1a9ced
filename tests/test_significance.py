"""What the statistics' tables say, from runs whose answer is known."""

import math

import numpy as np
import pytest

from radar.evaluation.statistics import not_apart
from radar.report import significance
from radar.report.ablation import Ablation, Entry, Study
from radar.report.figures import looks, ranks, seeds
from radar.report.tables import Run, summarise


def run(method: str, value: float, pair: str = "a/b", seed: int = 0, metric: str = "image_auroc",
        draws: np.ndarray | None = None, **record) -> Run:
    dataset, category = pair.split("/")
    record |= {"dataset": dataset, "category": category, "method": method, "seed": seed, "metrics": {metric: value}}
    return Run(record, {} if draws is None else {metric: draws})


def scored(text: str) -> dict:
    """Of a record, where it came from: the hash of its scores."""
    return {"inputs_sha256": {"scores": text}}


def many(datasets: int, methods: str = "abcdef") -> list[Run]:
    """Method a is best on every dataset, f worst."""
    return [run(name, 0.9 - 0.1 * place + 0.01 * number, f"d{number}/all")
            for number in range(datasets) for place, name in enumerate(methods)]


def test_enough_datasets_get_a_critical_difference_and_too_few_a_reason():
    ranks, pairs = significance.across(many(6))
    assert ranks.set_index("method")["mean_rank"].to_dict() == dict(zip("abcdef", range(1, 7), strict=True))
    assert (ranks["n_blocks"] == 6).all() and ranks["friedman_statistic"].iloc[0] == pytest.approx(30)
    text = significance.sentence(ranks, pairs, "image_auroc", "image AUROC")
    assert "6 methods on 6 datasets" in text and "Nemenyi" in text and "30.00" in text
    ranks, pairs = significance.across(many(3))
    assert ranks["critical_difference"].isna().all() and pairs["p"].isna().all()
    assert "too few to test (it takes 5)" in significance.sentence(ranks, pairs, "image_auroc", "image AUROC")


def test_few_methods_are_compared_pair_by_pair():
    ranks, pairs = significance.across(many(6, "abc"))
    assert pairs["p"].tolist() == pytest.approx([2 / 64] * 3)
    assert pairs["p_holm"].tolist() == pytest.approx([6 / 64] * 3)
    assert "differ: none" in significance.sentence(ranks, pairs, "image_auroc", "x")
    ranks, pairs = significance.across(many(12, "abc"))
    assert "a and b (p = 0.0015), a and c" in significance.sentence(ranks, pairs, "image_auroc", "x")


def test_a_dataset_that_lacks_a_method_is_no_block():
    runs = [one for one in many(6) if (one.record["method"], one.record["dataset"]) != ("c", "d4")]
    _, whole, values = significance.blocks_of(runs, "image_auroc")
    assert whole == [f"d{i}/all" for i in (0, 1, 2, 3, 5)] and values.shape == (5, 6)


def test_seeds_and_test_set_share_the_variance_and_redraws_take_their_part():
    rng = np.random.default_rng(0)
    pair, setting = ("a", "b"), {"class": "C", "noise_predictor": "p"}
    seeds = [run("m", value, seed=i, draws=value + rng.normal(0, 0.02, 2000), provenance=scored(f"seed {i}"))
             for i, value in enumerate((0.6, 0.7, 0.8))]
    noise = rng.normal(0, 0.02, 2000)  # the same for all redraws: they differ by their noise alone
    redraws = {f"v{i}": run(f"v{i}", value, draws=value + noise, provenance=scored(scores))
               for i, (value, scores) in enumerate(((0.58, "other"), (0.60, "seed 0"), (0.62, "third")))}
    entries = tuple(Entry("redraw", "s", None, name, 1, setting | {"settings": {"t": 1, "first_draw": i}}, ("a/b",))
                    for i, name in enumerate(redraws))
    study = Study("redraw", "t", None, False, ("image_auroc",), "redraw", entries)
    ablation = Ablation((pair,), (0,), "v0", {"redraw": study}, {(*pair, name): [one] for name, one in redraws.items()},
                        {}, {}, {})
    method = setting | {"label": "M", "settings": {"t": 1, "smoothing": 2.0}}
    [row] = significance.table(seeds, {"m": method}, ablation).itertuples()
    assert row.sd_test == pytest.approx(0.02, rel=0.05) and row.sd_noise == pytest.approx(0.02, rel=0.01)
    # of the values' variance, .01, the test set's .0004 is taken off
    assert row.sd_seed == pytest.approx(math.sqrt(0.01 - 0.0004), rel=0.01)
    assert row.share_test + row.share_seed == pytest.approx(1)
    assert row.share_noise == pytest.approx(0.0004 / 0.01, rel=0.1)
    [other] = significance.table(seeds, {"m": method | {"settings": {"t": 2}}}, ablation).itertuples()
    assert math.isnan(other.share_noise) and other.share_seed == row.share_seed
    trained_anew = [run("m", one.record["metrics"]["image_auroc"], seed=one.record["seed"],
                        draws=one.draws["image_auroc"], provenance=scored("new")) for one in seeds]
    [other] = significance.table(trained_anew, {"m": method}, ablation).itertuples()
    assert math.isnan(other.share_noise) and other.share_seed == row.share_seed
    assert significance.seed_values(seeds)["value"].tolist() == [0.6, 0.7, 0.8]


def test_the_caption_counts_the_seeds_of_what_is_shown():
    runs = [run("m", 0.6 + 0.1 * seed, seed=seed, draws=np.full(50, 0.6)) for seed in (0, 1)]
    runs[0].record["metrics"]["precision"] = 0.5  # nothing was called anomalous with the other seed
    [block] = significance.statistics_blocks(significance.table(runs, {"m": {}}), ["m"], {})
    assert block.caption[0].startswith("2 seeds. From 2 seeds a deviation is known to a factor of 0.45 to 31.9")


def test_a_false_positive_rate_of_zero_is_not_certain():
    runs = [run("m", 0.0, seed=seed, metric="false_positive_rate_measured", n_test_normal=20, draws=np.zeros(50))
            for seed in (0, 1)]
    [row] = summarise(runs).itertuples()
    assert (row.ci_low, row.ci_high) == pytest.approx((0, 0.1684), abs=1e-4)  # 20 images, not 40


def test_bars_join_the_ranks_that_differ_by_less_than_the_critical_difference():
    assert not_apart([1.0, 1.5, 2.4, 4.0, 4.5], 1.0) == [(0, 1), (1, 2), (3, 4)]
    assert not_apart([1.0, 3.0, 5.0], 1.0) == [] and not_apart([1.0, 1.1, 1.2], 1.0) == [(0, 2)]


def test_the_figures_show_every_seed_and_every_method():
    look = looks(list("abcdef"))
    runs = [run(name, 0.5 + 0.05 * place + 0.02 * seed, seed=seed)
            for place, name in enumerate("abc") for seed in (0, 1)]
    figure = seeds(significance.seed_values(runs), look)
    drawn = [line for line in figure.axes[0].lines if line.get_marker() == "|"]
    assert [line.get_xdata().tolist() for line in drawn] == [pytest.approx([0.5 + 0.05 * i, 0.52 + 0.05 * i])
                                                             for i in range(3)]
    for count, words in ((6, "Nemenyi"), (3, "too few to test")):
        table, comparisons = significance.across(many(count))
        told = {"image_auroc": significance.sentence(table, comparisons, "image_auroc", "image AUROC")}
        texts = [text.get_text() for text in ranks(table, told, look).axes[0].texts]
        assert words in " ".join(texts).replace("\n", " ") and "a  1.00" in texts and "6.00  f" in texts
        assert any("critical difference" in text for text in texts) == (count == 6)
