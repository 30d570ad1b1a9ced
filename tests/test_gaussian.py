"""The statistical floors against scikit-learn's covariances, scipy's Mahalanobis distance, and closed forms.

The frozen network is replaced by one that averages grey levels over a 4 x 4 grid, but for the last tests: what is
tested here is what is made of its features.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA as ScikitPCA

from baselines.gaussian import Gaussian
from baselines.pca import PCA
from radar.images.image_set import to_unit
from radar.method.detector import MethodError
from tests.conftest import Tensors

GRID = 4


class Pooled:
    """In place of FrozenFeatures: grey levels of three colours and their squares, averaged over a 4 x 4 grid."""

    channels, grid, groups = 6, GRID, [3, 3]

    def __init__(self, device, backbone="pooled"):
        self.device = device

    def __call__(self, images):
        levels = (images + 1) * 127.5
        return F.adaptive_avg_pool2d(torch.cat([levels, (levels / 10).square()], dim=1), GRID)[:, :self.channels]

    def parameters(self):
        return 7


class Colours(Pooled):
    """The averages of two colours, without squares."""

    channels, groups = 2, [2]


@pytest.fixture
def pooled(monkeypatch):
    """Make Gaussian and PCA use a stand-in; returns the function that chooses which."""
    def use(standin: type) -> type:
        monkeypatch.setattr("baselines.floor.FrozenFeatures", standin)
        return standin
    use(Pooled)
    return use


def texture(n: int, size: int = GRID, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """Gaussian noise as uint8 [n, channels, size, size], neighbours and channels correlated."""
    noise = torch.randn(n, channels + 1, size, size + 1, generator=torch.Generator().manual_seed(seed))
    noise = noise[..., 1:] + 0.5 * noise[..., :-1]
    return (20 * (noise[:, 1:] + noise[:, :-1]) + 127.5).clamp(0, 255).round().byte()


def vectors(images: torch.Tensor, units: np.ndarray | float = 1.0) -> np.ndarray:
    """The stand-in's features as float64 [positions, N, 6]."""
    return Pooled(None)(to_unit(images)).flatten(2).permute(2, 0, 1).double().numpy() / units


# Gaussian on features


@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", 0.01, 0.3])
@pytest.mark.parametrize("covariance", ["position", "shared"])
def test_distance_at_each_position_is_scipys(pooled, covariance, shrinkage):
    images, new = texture(40), texture(5, seed=1)
    gaussian = Gaussian(space="features", channels=0, covariance=covariance, shrinkage=shrinkage, top_fraction=0.2)
    gaussian.fit(Tensors(images))
    units = vectors(images).reshape(-1, 6).std(axis=0)
    x, y = vectors(images, units), vectors(new, units)
    residuals = x - x.mean(axis=1, keepdims=True)

    expected = np.empty((5, GRID * GRID))
    for p in range(GRID * GRID):
        if covariance == "position":
            S = (LedoitWolf().fit(x[p]).covariance_ if shrinkage == "ledoit_wolf"
                 else np.cov(x[p].T) + shrinkage * np.eye(6))
        elif shrinkage == "ledoit_wolf":
            S = LedoitWolf(assume_centered=True).fit(residuals.reshape(-1, 6)).covariance_
        else:
            S = np.mean([np.cov(one.T) for one in x], axis=0) + shrinkage * np.eye(6)
        expected[:, p] = [mahalanobis(one, x[p].mean(axis=0), np.linalg.inv(S)) for one in y[p]]

    prediction = gaussian.predict(to_unit(new))  # images as large as the grid: the map is the grid
    np.testing.assert_allclose(prediction.anomaly_map.flatten(1), expected, rtol=1e-3)
    np.testing.assert_allclose(prediction.score, np.sort(expected)[:, -3:].mean(axis=1), rtol=1e-3)  # 0.2 of 16


def test_distance_in_two_dimensions_by_hand(pooled):
    """Four points (+-1, 0), (0, +-2) about (100, 100): variances over all 1/2 and 2, sample covariance 4/3 I in units
    of them; with 2/3 I added it is 2 I, so M^2 = (a^2 / (1/2) + b^2 / 2) / 2 = a^2 + b^2 / 4 at (100 + a, 100 + b)."""
    pooled(Colours)

    def flat(*points: tuple[int, int]) -> torch.Tensor:
        return torch.tensor(points, dtype=torch.uint8)[..., None, None].expand(-1, 2, GRID, GRID)

    gaussian = Gaussian(space="features", channels=2, shrinkage=2 / 3)
    gaussian.fit(Tensors(flat((101, 100), (99, 100), (100, 102), (100, 98))))
    prediction = gaussian.predict(to_unit(flat((103, 108), (100, 100), (96, 100), (100, 80))))
    np.testing.assert_allclose(prediction.score, [5, 0, 4, 10], rtol=1e-3, atol=1e-3)
    assert gaussian.mean_.shape == (16, 1, 2) and gaussian.W_.shape == (16, 2, 2)


@pytest.mark.parametrize("covariance", ["position", "shared"])
def test_squared_distance_of_new_gaussian_features_is_chi_squared(pooled, covariance):
    pooled(Colours)
    gaussian = Gaussian(space="features", channels=None, covariance=covariance)
    gaussian.fit(Tensors(texture(2000, channels=2)))
    squared = gaussian.predict(to_unit(texture(1000, channels=2, seed=1))).anomaly_map.double().square()
    assert squared.mean().item() == pytest.approx(2, rel=0.03)
    assert squared.var().item() == pytest.approx(4, rel=0.1)


def test_the_distance_does_not_depend_on_the_channels_units(pooled):
    """Every channel counts in its own unit, so that shrinkage towards a multiple of I treats all alike."""
    class Rescaled(Colours):
        def __call__(self, images):
            return super().__call__(images) * torch.tensor([1000.0, 0.01]).view(1, 2, 1, 1)

    maps = []
    for standin in (Colours, Rescaled):
        pooled(standin)
        gaussian = Gaussian(space="features", channels=2)
        gaussian.fit(Tensors(texture(20, channels=2)))
        maps.append(gaussian.predict(to_unit(texture(4, channels=2, seed=1))).anomaly_map)
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-3, atol=1e-3)


def test_channels_are_drawn_from_the_seed(pooled):
    drawn = [Gaussian(space="features", channels=3, seed=seed).channels_.tolist() for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1] and len({tuple(one) for one in drawn}) > 1
    assert all(sorted(set(one)) == one and len(one) == 3 and max(one) < 6 for one in drawn)
    assert Gaussian(space="features", channels=None).channels_.tolist() == [0, 1, 2, 3, 4, 5]


# Gaussian on pixels


@pytest.mark.parametrize("shrinkage", ["ledoit_wolf", 0.01])
def test_distance_of_a_patch_is_scipys(shrinkage):
    images, new = Tensors(texture(10, 20)), texture(6, 4, seed=1)
    gaussian = Gaussian(patch=4, training_patches=300, shrinkage=shrinkage, seed=3)
    gaussian.fit(images)
    x = images.random_patches(300, 4, torch.Generator().manual_seed(3)).flatten(1).double().numpy()
    S = LedoitWolf().fit(x).covariance_ if shrinkage == "ledoit_wolf" else np.cov(x.T) + shrinkage * np.eye(48)
    precision = np.linalg.inv(S)
    y = to_unit(new).flatten(1).double().numpy()
    expected = np.array([mahalanobis(one, x.mean(axis=0), precision) for one in y])
    prediction = gaussian.predict(to_unit(new))
    np.testing.assert_allclose(prediction.anomaly_map, expected[:, None, None] * np.ones((4, 4)), rtol=1e-3)
    np.testing.assert_allclose(prediction.score, expected, rtol=1e-3)


def test_distances_of_overlapping_patches_are_blended():
    """Window-weighted mean over the patches that cover a pixel, by loops."""
    gaussian = Gaussian(patch=4, training_patches=300)
    gaussian.fit(Tensors(texture(10, 20, channels=1)))
    image = to_unit(texture(1, 10, channels=1, seed=1))
    total, weight = np.zeros((10, 10)), np.zeros((10, 10))
    window = np.sin(np.pi * (np.arange(4) + 0.5) / 4) ** 2 + 1e-3
    window = window[:, None] * window
    for top in range(0, 7, 2):
        for left in range(0, 7, 2):
            patch = image[:, :, top:top + 4, left:left + 4].reshape(1, 1, 16)
            total[top:top + 4, left:left + 4] += window * gaussian.distance(patch).item()
            weight[top:top + 4, left:left + 4] += window
    prediction = gaussian.predict(image)
    np.testing.assert_allclose(prediction.anomaly_map[0], total / weight, rtol=1e-4)
    assert prediction.score.item() == pytest.approx((total / weight).max(), rel=1e-4)  # 1 % of 100 pixels


def test_squared_distance_of_new_gaussian_patches_is_chi_squared():
    gaussian = Gaussian(patch=4, training_patches=20000)
    gaussian.fit(Tensors(texture(40, 64, channels=1)))
    new = Tensors(texture(40, 64, channels=1, seed=1)).random_patches(4000, 4, torch.Generator().manual_seed(0))
    squared = gaussian.predict(new).score.double().square()
    assert squared.mean().item() == pytest.approx(16, rel=0.03)
    assert squared.var().item() == pytest.approx(32, rel=0.1)


@pytest.mark.parametrize("space", ["pixels", "features"])
def test_flat_training_images_leave_finite_distances(pooled, space):
    gaussian = Gaussian(space=space, patch=4, channels=0)
    gaussian.fit(Tensors(torch.full((3, 3, 12, 12), 90, dtype=torch.uint8)))
    flat = gaussian.predict(to_unit(torch.full((1, 3, 12, 12), 90, dtype=torch.uint8)))
    other = gaussian.predict(to_unit(texture(1, 12))).check(torch.zeros(1, 3, 12, 12), "Gaussian")
    assert flat.score.item() == pytest.approx(0, abs=0.1) and other.score.item() > 100


# PCA on features


def test_pca_error_on_features_is_scikit_learns(pooled):
    images, new = texture(40), texture(5, seed=1)
    pca = PCA(space="features", variance=0.8, top_fraction=0.2)
    pca.fit(Tensors(images))
    units = vectors(images).reshape(-1, 6).std(axis=0)
    theirs = ScikitPCA(n_components=0.8, svd_solver="full").fit(vectors(images, units).reshape(-1, 6))
    assert 0 < theirs.n_components_ < 6 and len(pca.components_) == theirs.n_components_
    y = vectors(new, units).reshape(-1, 6)
    error = ((y - theirs.inverse_transform(theirs.transform(y))) ** 2).mean(axis=1).reshape(16, 5).T
    prediction = pca.predict(to_unit(new))
    np.testing.assert_allclose(prediction.anomaly_map.flatten(1), error, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(prediction.score, np.sort(error)[:, -3:].mean(axis=1), rtol=1e-3)


# Both


def floors(**settings) -> list:
    return [Gaussian(space="features", channels=0, **settings), PCA(space="features", variance=0.5, **settings)]


@pytest.mark.parametrize("smoothing", [0.0, 1.5])
def test_the_map_peaks_where_the_defect_is(pooled, smoothing):
    """Image 24 x 40, grid 4 x 4: cell (1, 2) lies at rows 6 to 11, columns 20 to 29."""
    train = torch.stack([F.interpolate(one[None].float(), (24, 40)).byte()[0] for one in texture(60)])
    image = train[:1].clone()
    image[:, :, 6:12, 20:30] = torch.tensor([255, 0, 255], dtype=torch.uint8).view(3, 1, 1)  # the colours go together
    for detector in floors(smoothing=smoothing):
        detector.fit(Tensors(train))
        before, after = detector.predict(to_unit(train[:1])), detector.predict(to_unit(image))
        assert after.anomaly_map.shape == (1, 24, 40) and after.score > 1.5 * before.score
        row, column = divmod(after.anomaly_map.flatten().argmax().item(), 40)
        assert 6 <= row < 12 and 20 <= column < 30
        change = (after.anomaly_map - before.anomaly_map)[0]  # bilinear: none beyond the neighbouring cells' centres
        reach = 0 if smoothing == 0 else 5
        assert change[15 + reach:].abs().max() < 1e-3 and change[:, :15 - reach].abs().max() < 1e-3


@pytest.mark.parametrize("detector", [
    lambda seed: Gaussian(patch=4, training_patches=200, seed=seed),
    lambda seed: Gaussian(space="features", channels=4, seed=seed),
    lambda seed: Gaussian(space="features", channels=4, covariance="shared", seed=seed),
    lambda seed: PCA(space="features", seed=seed), lambda seed: PCA(patch=4, seed=seed),
], ids=["pixels", "position", "shared", "pca_features", "pca_pixels"])
def test_what_is_learned_is_restored(pooled, detector):
    fitted, other = detector(0), detector(1)  # the drawn channels are restored too
    fitted.fit(Tensors(texture(20, 12)))
    other.restore({name: tensor.clone() for name, tensor in fitted.state().items()})
    images = to_unit(texture(3, 12, seed=1))
    first, second = fitted.predict(images), other.predict(images)
    assert torch.equal(first.score, second.score) and torch.equal(first.anomaly_map, second.anomaly_map)
    assert fitted.nfe == 0 and fitted.parameters() == (7 if fitted.features else 0)


def test_pca_on_pixels_keeps_its_state():
    pca = PCA(patch=4)
    pca.fit(Tensors(texture(5, 12)))
    assert sorted(pca.state()) == ["components_", "mean_"]


@pytest.mark.parametrize("cls, settings, words", [
    (Gaussian, {"space": "audio"}, "space is 'audio'"), (PCA, {"space": "audio"}, "space is 'audio'"),
    (Gaussian, {"patch": 0}, "patch is 0"), (Gaussian, {"training_patches": 1}, "training_patches 1"),
    (Gaussian, {"space": "features", "channels": 7}, "channels is 7; the features have 6"),
    (Gaussian, {"space": "features", "channels": -1}, "channels is -1"),
    (Gaussian, {"covariance": "position"}, "needs space 'features'"),
    (Gaussian, {"space": "features", "covariance": "diagonal"}, "covariance is 'diagonal'"),
    (Gaussian, {"shrinkage": "oas"}, "shrinkage is 'oas'"), (Gaussian, {"shrinkage": 0}, "shrinkage is 0"),
])
def test_unusable_settings_are_one_clear_line(pooled, cls, settings, words):
    with pytest.raises(MethodError, match=words) as error:
        cls(**settings)
    assert "\n" not in str(error.value)


def test_one_image_has_no_covariance(pooled):
    with pytest.raises(MethodError, match="at least 2"):
        Gaussian(space="features", channels=0).fit(Tensors(texture(1)))


# With the frozen network


@pytest.mark.parametrize("detector", [
    lambda: Gaussian(space="features", channels=40), lambda: PCA(space="features", top_fraction=0.025),
], ids=["gaussian", "pca"])
def test_on_the_frozen_network_a_defect_stands_out(detector):
    train, test = texture(24, 56, channels=1), texture(4, 56, channels=1, seed=1)
    test[2:, :, 28:44, 12:28] = 128  # the grain is missing
    detector = detector()
    detector.fit(Tensors(train))
    assert detector.parameters() > 1e6
    prediction = detector.predict(to_unit(test))
    assert prediction.score[2:].min() > 1.2 * prediction.score[:2].max()
    for one in prediction.anomaly_map[2:]:
        row, column = divmod(one.flatten().argmax().item(), 56)
        assert 26 <= row < 46 and 10 <= column < 30
