"""The equations of RADAR and its rivals against independent float64 computations and closed forms.

For normal data x_0 ~ N(0, s^2) the ideal noise predictor is known: eps(x_t, t) = sqrt(1 - a) x_t / (a s^2 + 1 - a)
with a = alpha_bar_t, the conditional mean of e given x_t.
"""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA as ScikitPCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from baselines.ddpm import DDPM, posterior
from baselines.invad import InvAD, inversion_step, negative_log_likelihood
from baselines.pca import PCA
from radar.diffusion.predictor import Memory, NoisePredictor
from radar.diffusion.schedule import image_noise
from radar.method import forest
from radar.method.detector import MethodError
from radar.method.moments import position_statistics
from radar.method.radar import RADAR
from radar.method.readings import Readings, measure
from tests.conftest import PREDICTOR, Tensors, ancestral_step, closed_form

BETA = np.linspace(1e-4, 0.02, 1000)
A = np.cumprod(1 - BETA)
S = 0.5


def gaussian_eps(x_t: torch.Tensor, t: int) -> torch.Tensor:
    return (1 - A[t]) ** 0.5 * x_t / (A[t] * S**2 + 1 - A[t])


def ideal(patch: int = 32, stride: int = 16):
    return closed_form(gaussian_eps, patch, stride)


def uint8_images(n: int = 6, size: int = 48, channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (25 * torch.randn(n, channels, size, size, generator=generator) + 127.5).clamp(0, 255).byte()


def scipy_sobel(n: np.ndarray) -> np.ndarray:
    flat = n.reshape(-1, *n.shape[-2:])
    return np.stack([np.hypot(ndimage.sobel(one, 0, mode="nearest"), ndimage.sobel(one, 1, mode="nearest"))
                     for one in flat]).reshape(n.shape)


# RADAR


@pytest.mark.parametrize("t", [1, 100, 500])
@pytest.mark.parametrize("noised", [True, False])
def test_radar_on_gaussian_data_has_its_closed_form(t, noised):
    """n = c x_t with a known c, so S, the feature and the map follow from the image alone."""
    images = uint8_images()
    x, settings = images.double() / 127.5 - 1, {"noise_predictor": ideal(), "seed": 4}
    radar = RADAR(t=t, **settings) if noised else Readings(t=t, input="scaled", **settings)
    radar.fit(Tensors(images))
    prediction = radar.predict(x.float())

    e = image_noise(1, 48, 48, 4, 0, "cpu").double().numpy() if noised else 0.0
    x_t = A[t] ** 0.5 * x.numpy() + (1 - A[t]) ** 0.5 * e
    n = (1 - A[t]) ** 0.5 / (A[t] * S**2 + 1 - A[t]) * x_t
    sobel = scipy_sobel(n)
    np.testing.assert_allclose(prediction.anomaly_map, sobel[:, 0], rtol=2e-3, atol=2e-3)

    whole = np.sqrt((sobel**2).mean(axis=(1, 2, 3)))
    local = np.sqrt([max((one[a:a + 32, b:b + 32] ** 2).mean() for a in (0, 16) for b in (0, 16))
                     for one in sobel[:, 0]])
    features = np.stack([whole, local], axis=1).astype(np.float32)
    found = radar.sobel_map(x.float()) if noised else radar.maps(x.float())[:, 0]
    np.testing.assert_allclose(radar.feature(found), features, rtol=1e-4)
    assert prediction.score.shape == (6,) and prediction.decision.dtype == torch.bool


def test_radar_residual_is_the_predicted_minus_the_drawn_noise():
    x = torch.randn(2, 1, 40, 40)
    radar = Readings(t=200, map="residual", evidence="magnitude", noise_predictor=ideal(), seed=1)
    e = image_noise(1, 40, 40, 1, 0, "cpu")
    expected = gaussian_eps(A[200] ** 0.5 * x + (1 - A[200]) ** 0.5 * e, 200) - e
    torch.testing.assert_close(radar.evidence_map(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("map", ["noise", "residual"])
def test_radar_averages_the_map_over_draws(map):
    x = torch.randn(2, 1, 40, 40)
    settings = {"t": 50, "map": map, "evidence": "magnitude", "noise_predictor": ideal(), "seed": 3}
    single = [Readings(first_draw=k, **settings).evidence_map(x) for k in range(2, 5)]
    assert not torch.allclose(single[0], single[1], atol=0.01)
    averaged = Readings(draws=3, first_draw=2, **settings)
    torch.testing.assert_close(averaged.evidence_map(x), torch.stack(single).mean(0), atol=1e-5, rtol=1e-4)
    assert averaged.nfe == 3


def test_normal_detection_is_the_mahalanobis_distance_of_the_log_feature():
    """Against scipy with scikit-learn's shrunk covariance of scaled logarithms; two-sided, and without a ceiling."""
    images = uint8_images(40)
    radar = Readings(input="scaled", detection="normal", noise_predictor=ideal())
    radar.fit(Tensors(images))
    x = torch.cat([images.float() / 127.5 - 1, images[:1].float() / 127.5 - 1])
    x[-1] *= 3
    score = radar.predict(x).score
    features = radar.features(radar.maps(x)).log().double().numpy()
    scale = features[:40].std(0)
    covariance = LedoitWolf(assume_centered=True).fit((features[:40] - features[:40].mean(0)) / scale).covariance_
    inverse = np.linalg.inv(covariance)
    expected = [mahalanobis(one / scale, features[:40].mean(0) / scale, inverse) for one in features]
    np.testing.assert_allclose(score, expected, rtol=1e-4)
    assert score[-1] > 3 * score[:-1].max()
    isolating = Readings(input="scaled", noise_predictor=ideal())
    isolating.fit(Tensors(images))
    brighter, brightest = (isolating.predict(factor * x[:1]).score for factor in (10, 100))
    assert brighter == brightest  # the ceiling of a forest
    assert radar.predict(100 * x[:1]).score > radar.predict(10 * x[:1]).score


def test_position_standardisation_needs_images_of_one_size():
    maps = [torch.rand(2, 1, 4, 5), torch.rand(1, 1, 4, 6)]
    with pytest.raises(MethodError, match="one size"):
        position_statistics(maps)
    mean, deviation = position_statistics([torch.tensor([1.0, 5.0]).view(2, 1, 1, 1).repeat(1, 1, 1, 2)])
    assert mean.flatten().tolist() == [3, 3] and deviation.flatten().tolist() == pytest.approx([8**0.5] * 2)


# The choice without labels


def test_separation_measure_is_the_auroc_then_the_distance():
    normal, defective = torch.tensor([1.0, 2, 3, 4]), torch.tensor([2.5, 5, 3])
    auroc, distance = measure(normal, defective)
    assert auroc == pytest.approx(roc_auc_score([0] * 4 + [1] * 3, torch.cat([normal, defective])))
    assert distance == pytest.approx((3.5 - 2.5) / np.std([1, 2, 3, 4], ddof=1))


def test_radar_chooses_the_reading_that_separates_pasted_defects():
    """A predictor that answers with what it sees at t = 50 alone, and elsewhere always the same: 50 must be chosen."""
    images = (uint8_images(24).float() / 10 + 115).byte()  # faint, so that what is pasted in stands out

    def answer(x: torch.Tensor, t: int) -> torch.Tensor:
        return gaussian_eps(x, t) if t == 50 else torch.ones_like(x)

    radar = Readings(input="scaled", evidence="magnitude", detection="top", choose={"t": [1, 50, 400]},
                  noise_predictor=closed_form(answer, 32, 16))
    assert radar.chosen() == {"t": 1}  # before fitting, the first candidate
    radar.fit(Tensors(images))
    assert radar.t == 50 and radar.chosen() == {"t": 50}
    restored = Readings(input="scaled", evidence="magnitude", detection="top", choose={"t": [1, 50, 400]},
                     noise_predictor=closed_form(answer, 32, 16))
    restored.restore(radar.state())
    x = images.float() / 127.5 - 1
    assert torch.equal(restored.predict(x).score, radar.predict(x).score) and restored.t == 50


def test_too_few_normal_images_to_choose_or_judge_by_are_refused_in_one_line():
    with pytest.raises(MethodError, match="takes 4 normal training images, half of them to judge by, not 3"):
        Readings(choose={"t": [1, 50]}, noise_predictor=ideal()).fit(Tensors(uint8_images(3)))
    Readings(detection="normal", choose={"t": [1, 50]}, noise_predictor=ideal()).fit(Tensors(uint8_images(4)))
    with pytest.raises(MethodError, match="takes 2 normal training images, not 1"):
        Readings(detection="normal", noise_predictor=ideal()).fit(Tensors(uint8_images(1)))


def test_candidates_are_the_combinations_that_exist():
    radar = Readings(choose={"input": ["noised", "scaled"], "map": ["noise", "residual"], "t": [1, 2]},
                  noise_predictor=ideal())
    assert len(radar.candidates) == 6  # scaled has no residual
    for choose in ({"time": [1]}, {"t": 1}, {"t": []}, {"t": [5000, 1]}, {"input": ["scaled"], "map": ["residual"]}):
        with pytest.raises(MethodError):
            Readings(choose=choose, noise_predictor=ideal())


def test_what_is_remembered_is_not_evaluated_again():
    calls, memory = [], Memory()
    x, y = torch.randn(2, 1, 32, 32), torch.randn(2, 1, 32, 32)

    def ask(one: torch.Tensor, t: int) -> None:
        torch.testing.assert_close(memory(t, one, lambda x: calls.append(t) or x + t), one + t)

    with memory.on(room=2 * x.numel()):
        for one, t in ((x, 1), (x, 1), (y, 1), (x, 1), (x, 2), (y, 1)):
            ask(one, t)
        assert calls == [1, 1, 2, 1]  # y at 1 had been dropped for want of room
        with memory.on():  # no other than the outer one
            ask(y, 1)
    ask(x, 2)
    assert calls == [1, 1, 2, 1, 2]
    with memory.on(room=1):  # what is larger than the room is not kept, but given
        ask(x, 3)


def test_radar_evaluates_the_network_once():
    calls = []
    predictor = closed_form(lambda x, t: calls.append(t) or gaussian_eps(x, t), 32, 16)
    radar = RADAR(noise_predictor=predictor)
    radar.sobel_map(torch.randn(3, 1, 64, 64))
    assert calls == [1] and radar.nfe == 1


@pytest.mark.parametrize("settings, words", [
    ({"t": 1000}, "t is 1000"), ({"contamination": 0}, "contamination"), ({"draws": 0}, "draws"),
    ({"input": "noisy"}, "noised"), ({"evidence": "edge"}, "sobel"),
    ({"input": "scaled", "map": "residual"}, "no residual"),
])
def test_radar_and_its_readings_refuse_unusable_settings(settings, words):
    for cls in (RADAR, Readings) if settings.keys() <= {"t", "contamination"} else (Readings,):
        with pytest.raises(MethodError, match=f"{cls.__name__}: .*{words}"):
            cls(noise_predictor=ideal(), **settings)


@pytest.mark.parametrize("settings", [{}, {"t": 50, "patch": 8, "contamination": 0.2, "smoothing": 1.5}])
def test_readings_at_their_literal_values_are_radar_to_the_bit(settings, trivial_set):
    torch.manual_seed(0)
    common = settings | {"noise_predictor": NoisePredictor(PREDICTOR, 1), "seed": 2}
    literal = {"input": "noised", "map": "noise", "draws": 1, "first_draw": 0, "evidence": "sobel", "scales": "joint",
               "standardise": "none", "detection": "forest"}
    images, made = trivial_set[2].float() / 127.5 - 1, []
    for detector in (RADAR(**common), Readings(**common), Readings(**common, **literal)):
        detector.fit(trivial_set[0])
        made.append(detector.predict(images))
    for one in made[1:]:
        assert torch.equal(one.score, made[0].score) and torch.equal(one.anomaly_map, made[0].anomaly_map)
        assert torch.equal(one.decision, made[0].decision)


@pytest.mark.parametrize("n, contamination", [(60, 0.05), (400, 0.2), (7, 0.05)])
def test_forest_scores_and_decides_as_scikit_learn(n, contamination):
    generator = np.random.default_rng(0)
    normal, new = generator.normal(size=(n, 2)), generator.normal(size=(500, 2)) * 2
    ours = forest.fit(torch.from_numpy(normal), contamination, seed=3)
    theirs = IsolationForest(contamination=contamination, random_state=3).fit(normal)
    score, decision = forest.judge(ours, torch.from_numpy(new))
    np.testing.assert_allclose(score, -theirs.score_samples(new), rtol=1e-12)
    np.testing.assert_array_equal(decision, theirs.predict(new) == -1)


# DDPM


def test_full_chain_posterior_is_ddpms():
    """Between neighbouring timesteps: Ho et al.'s eq. 7 with beta_t, in float64."""
    generator = np.random.default_rng(0)
    x_0, e = generator.uniform(-0.9, 0.9, (2, 5, 5)), generator.normal(size=(2, 5, 5))
    for t in (1, 17, 250, 999):
        x_t = A[t] ** 0.5 * x_0 + (1 - A[t]) ** 0.5 * e
        mean, variance = posterior(torch.from_numpy(x_t), torch.from_numpy(e), t, t - 1)
        expected = (A[t - 1] ** 0.5 * BETA[t] * x_0 + (1 - BETA[t]) ** 0.5 * (1 - A[t - 1]) * x_t) / (1 - A[t])
        np.testing.assert_allclose(mean, expected, rtol=1e-6, atol=1e-8)
        assert variance == pytest.approx((1 - A[t - 1]) / (1 - A[t]) * BETA[t], rel=1e-6)


def test_posterior_clamps_the_estimated_image():
    mean, variance = posterior(torch.tensor([10.0]), torch.tensor([0.0]), 100, None)
    assert mean.item() == 1 and variance == 0


@pytest.mark.parametrize("steps", [250, 25, 1])
def test_ancestral_chain_with_the_ideal_predictor_has_its_closed_form(steps):
    """On Gaussian data every step is linear, so mean, variance and memory of the image follow by recursion."""
    s = 0.2  # small enough that clamping plays no part
    predictor = closed_form(lambda x, t: (1 - A[t]) ** 0.5 * x / (A[t] * s**2 + 1 - A[t]), 32, 32)
    ddpm = DDPM(noise_level=250, chain_steps=steps, noise_predictor=predictor)
    x_0 = s * torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(54321))
    rec = ddpm.reconstruct(x_0)

    kept = np.linspace(250, 0, steps + 1).round().astype(int)
    variance, covariance = A[250] * s**2 + 1 - A[250], A[250] ** 0.5 * s**2
    for t, after in zip(kept, kept[1:], strict=False):
        factor, added = ancestral_step(A, t, after, s)
        variance, covariance = factor**2 * variance + added, factor * covariance
    assert ddpm.nfe == steps
    assert rec.mean().item() == pytest.approx(0, abs=0.01)
    assert rec.std().item() == pytest.approx(variance**0.5, rel=0.02)
    if steps == 250:  # the full chain returns the data's own spread, but for its last step
        assert rec.std().item() == pytest.approx(s, rel=0.05)
    assert np.corrcoef(rec.flatten(), x_0.flatten())[0, 1] == pytest.approx(covariance / (s * variance**0.5), abs=0.02)


def test_timesteps_of_the_respaced_chain():
    assert DDPM(noise_level=250, chain_steps=10).timesteps == [250, 225, 200, 175, 150, 125, 100, 75, 50, 25]
    assert DDPM(noise_level=4, chain_steps=4).timesteps == [4, 3, 2, 1]


# DDIM inversion


def test_inversion_step_against_float64():
    z, e = np.random.default_rng(0).normal(size=(2, 4, 4))
    x_0 = (z - np.sqrt(1 - A[10]) * e) / np.sqrt(A[10])
    expected = np.sqrt(A[500]) * x_0 + np.sqrt(1 - A[500]) * e
    np.testing.assert_allclose(inversion_step(torch.from_numpy(z), torch.from_numpy(e), A[10], A[500]), expected,
                               rtol=1e-10)


def test_the_last_latent_is_the_predicted_noise():
    x = torch.randn(2, 1, 32, 32)
    inversion = InvAD(taus=[0, 500, 999], noise_predictor=ideal())
    z = inversion_step(x, gaussian_eps(x, 0), A[0], A[500])
    z = inversion_step(z, gaussian_eps(z, 500), A[500], A[999])
    torch.testing.assert_close(inversion.invert(x), gaussian_eps(z, 999).float(), atol=1e-4, rtol=1e-3)
    assert inversion.nfe == 3


def test_inversion_then_deterministic_sampling_returns_the_image():
    """Both walk the same curve; what is left is the discretisation error, which falls as 1 / S."""
    x = S * torch.randn(1, 1, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = []
    for steps in (10, 100, 1000):
        taus = np.linspace(0, 999, steps).round().astype(int)
        z = x
        for now, after in zip(taus, taus[1:], strict=False):
            z = inversion_step(z, gaussian_eps(z, now), A[now], A[after])
        for now, after in zip(taus[::-1], taus[::-1][1:], strict=False):
            z = inversion_step(z, gaussian_eps(z, now), A[now], A[after])
        errors.append(((z - x).norm() / x.norm()).item())
    assert errors[2] < 0.02 and errors[0] > 4 * errors[1] > 16 * errors[2]


def test_score_is_standardised_spread_plus_likelihood():
    images = uint8_images(size=32)  # one tile, so that nothing is blended
    inversion = InvAD(taus=[0, 500, 999], noise_predictor=ideal())
    inversion.fit(Tensors(images))
    x = images.float() / 127.5 - 1
    z = inversion.invert(x).double().numpy()
    spread = np.abs(z).max(axis=(1, 2, 3)) - np.abs(z).min(axis=(1, 2, 3))
    nll = [np.mean([0.5 * (v**2 + np.log(2 * np.pi)) for v in one.ravel()]) for one in z]
    expected = sum((term - np.mean(term)) / np.std(term, ddof=1) for term in (spread, np.array(nll)))
    np.testing.assert_allclose(inversion.predict(x).score, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(negative_log_likelihood(torch.from_numpy(z)).mean((1, 2)), nll)


def test_likelihood_does_not_shrink_where_overlapping_tiles_disagree():
    """Independent latents in every tile: their energy is 1 however the tiles overlap; blended latents' would not be."""
    generator = torch.Generator().manual_seed(0)
    random = closed_form(lambda x, t: torch.randn(x.shape, generator=generator), 32, 16)
    terms, M = InvAD(taus=[999], noise_predictor=random)._terms(torch.zeros(1, 1, 128, 128))
    assert terms[0, 1].item() == pytest.approx(0.5 * (1 + np.log(2 * np.pi)), rel=0.02)
    assert M.mean().item() == pytest.approx(np.sqrt(2 / np.pi), rel=0.02)


# PCA


def test_pca_error_is_scikit_learns():
    images = uint8_images(channels=3)
    pca = PCA(patch=8, variance=0.5, training_patches=300)
    data = Tensors(images)
    pca.fit(data)
    patches = data.random_patches(300, 8, torch.Generator().manual_seed(0)).flatten(1).double().numpy()
    theirs = ScikitPCA(n_components=0.5, svd_solver="full").fit(patches)
    x = images[:1, :, :8, :8].float() / 127.5 - 1
    flat = x.flatten(1).double().numpy()
    error = (flat - theirs.inverse_transform(theirs.transform(flat))) ** 2
    np.testing.assert_allclose(pca.predict(x).anomaly_map[0], error.reshape(3, 8, 8).mean(0), rtol=1e-3, atol=1e-5)
