"""DiffusionAD: its equations against independent float64 computations, its training, and the paper's full size."""

import numpy as np
import pytest
import torch
from torch import nn

from baselines.diffusionad import DiffusionAD, Segmentation, focal_loss, norm_guided, one_step
from radar.diffusion.schedule import image_noise
from radar.diffusion.training import Training
from radar.images.image_set import ImageSet
from radar.images.synthetic import paste
from radar.method.detector import MethodError
from tests.conftest import Tensors

A = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
TINY = {"patch": 16, "stride": 8, "channels": [8, 16], "layers_per_block": 1, "attention": [8], "norm_groups": 4,
        "segmentation_channels": [8, 16], "tile_batch": 16, "top_fraction": 0.01}
BUDGET = {"images": 60 * 16, "batch_size": 16, "learning_rate": 0.003, "warm_up": 0.1, "ema_decay": 0.95, "clip": 1.0,
          "checkpoint_seconds": 1000, "precision": "float32"}


def stripes(n: int = 12, channels: int = 1, size: int = 40) -> ImageSet:
    """Images from memory: soft stripes with a little grain."""
    generator = torch.Generator().manual_seed(0)
    wave = 60 * torch.sin(torch.arange(size) * 2 * torch.pi / 8 + 6.3 * torch.rand(n, channels, 1, 1,
                                                                                 generator=generator))
    grain = 8 * torch.randn(n, channels, size, size, generator=generator)
    return Tensors((127.5 + wave + grain).clamp(0, 255).byte())


def training(folder, **changes) -> Training:
    return Training(BUDGET | changes, 0, folder, {}, "test")


def untrained(channels: int = 1, **settings) -> DiffusionAD:
    detector = DiffusionAD(**TINY | settings)
    torch.manual_seed(0)
    detector._build(channels)
    return detector


class Stub(nn.Module):
    """A known function in the place of a network; remembers how many patches it was evaluated on."""

    def __init__(self, function):
        super().__init__()
        self.function, self.patches = function, 0

    def forward(self, *inputs, return_dict=None):
        self.patches += len(inputs[0])
        out = self.function(*inputs)
        return out if return_dict is None else (out,)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    detector = DiffusionAD(training=training(tmp_path_factory.mktemp("training")), seed=3, **TINY)
    images = stripes()
    detector.fit(images)
    return detector, torch.stack(list(images))


# Equations


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n, m", [(0, 300), (200, 400), (299, 999)])
def test_norm_guidance_step_by_step(n, m, w):
    x_n, x_m, e_n, e_m = np.random.default_rng(0).normal(size=(4, 2, 3, 5, 5))
    x_0m = np.clip(x_m / np.sqrt(A[m]) - np.sqrt(1 / A[m] - 1) * e_m, -1, 1)
    y = np.sqrt(A[n]) * x_0m + np.sqrt(1 - A[n]) * e_n
    e_star = e_n - np.sqrt(1 - A[n]) * w * (y - x_n)
    expected = np.clip(x_n / np.sqrt(A[n]) - np.sqrt(1 / A[n] - 1) * e_star, -1, 1)
    guided = norm_guided(*map(torch.from_numpy, (x_n, x_m, e_n, e_m)), A[n], A[m], w)
    np.testing.assert_allclose(guided, expected, rtol=1e-12, atol=1e-12)
    batched = norm_guided(*(torch.from_numpy(one) for one in (x_n, x_m, e_n, e_m)),
                          *(torch.full((2, 1, 1, 1), a, dtype=torch.float64) for a in (A[n], A[m])), w)
    np.testing.assert_allclose(batched, expected, rtol=1e-12, atol=1e-12)


def test_without_weight_the_guidance_is_the_plain_estimate():
    x_n, x_m, e_n, e_m = torch.randn(4, 2, 1, 6, 6, dtype=torch.float64)
    plain = one_step(x_n, e_n, A[200])
    torch.testing.assert_close(norm_guided(x_n, x_m, e_n, e_m, A[200], A[400], 0.0), plain, rtol=0, atol=0)
    expected = ((x_n - np.sqrt(1 - A[200]) * e_n) / np.sqrt(A[200])).numpy().clip(-1, 1)
    np.testing.assert_allclose(plain, expected, rtol=1e-12)


def test_the_guided_image_lies_between_the_two_estimates():
    x_0, e_n, e_m = 0.1 * torch.randn(3, 1, 1, 8, 8, dtype=torch.float64)  # so small that nothing is clamped
    x_n = A[200] ** 0.5 * x_0 + (1 - A[200]) ** 0.5 * 0.5 * e_m
    x_m = A[400] ** 0.5 * x_0 + (1 - A[400]) ** 0.5 * 0.5 * e_n
    near, norm = one_step(x_n, e_n, A[200]), one_step(x_m, e_m, A[400])
    assert near.abs().max() < 1 and norm.abs().max() < 1
    torch.testing.assert_close(norm_guided(x_n, x_m, e_n, e_m, A[200], A[400], 0.7),
                               near + (1 - A[200]) * 0.7 * (norm - near))


@pytest.mark.parametrize("guidance", ["norm", "none"])
def test_with_the_true_noise_the_reconstruction_is_the_image(guidance):
    detector, generator = untrained(guidance=guidance), torch.Generator().manual_seed(0)
    x_0 = torch.rand(4, 1, 16, 16, generator=generator) * 2 - 1
    t = [torch.tensor([0, 50, 150, 299]), torch.tensor([300, 400, 600, 999])][:detector.nfe]
    e = [torch.randn(x_0.shape, generator=generator) for _ in t]
    detector.networks_["unet"] = Stub(lambda x, t: torch.cat(e))
    x_rec, predicted = detector._denoise(x_0, t, e)
    torch.testing.assert_close(x_rec, x_0, atol=1e-3, rtol=0)
    assert all(torch.equal(one, other) for one, other in zip(predicted, e, strict=True))


def test_focal_loss_against_its_formula():
    generator = np.random.default_rng(0)
    logits, mask = 4 * generator.normal(size=(3, 1, 7, 7)), generator.integers(0, 2, (3, 1, 7, 7)).astype(float)
    p = 1 / (1 + np.exp(-logits))
    for alpha, gamma in ((0.5, 4), (0.25, 2), (1, 0)):
        terms = [-alpha * (1 - q) ** gamma * np.log(q) for q in np.where(mask == 1, p, 1 - p).ravel()]
        ours = focal_loss(torch.from_numpy(logits), torch.from_numpy(mask), alpha, gamma)
        np.testing.assert_allclose(ours, np.mean(terms), rtol=1e-10)
    assert torch.isfinite(focal_loss(torch.tensor([-200.0, 200.0]), torch.tensor([1.0, 0.0])))


# The loss


@pytest.mark.parametrize("guidance", ["norm", "none"])
@pytest.mark.parametrize("segmentation", ["network", "none"])
def test_the_loss_is_the_sum_of_its_parts(guidance, segmentation):
    detector = untrained(guidance=guidance, segmentation=segmentation, textures=["brick"])
    detector.networks_["unet"] = Stub(lambda x, t: 0.8 * x + t.view(-1, 1, 1, 1) / 2000)
    detector.networks_["segmentation"] = Stub(lambda z: 3 * (z[:, :1] - z[:, 1:]) - 0.5)
    x_0 = torch.rand(10, 1, 16, 16) * 2 - 1
    loss = detector.loss(x_0, torch.Generator().manual_seed(7))

    generator = torch.Generator().manual_seed(7)
    mask = np.zeros((10, 1, 16, 16))
    if segmentation == "network":
        rng = np.random.default_rng(torch.randint(2**62, (1,), generator=generator).item())
        x_0, mask = paste(x_0, rng, 0.5, textures=["brick"])
        mask = mask.double().numpy()
        assert 0 < mask.any(axis=(1, 2, 3)).sum() < 10
    scales = len(detector.t_test)
    t = [torch.randint(*limits, (10,), generator=generator).numpy() for limits in ((0, 300), (300, 1000))[:scales]]
    e = [torch.randn(x_0.shape, generator=generator).double().numpy() for _ in range(scales)]

    x, noise_terms, masks = x_0.double().numpy(), [], []
    for i in range(10):
        a = [A[one[i]] for one in t]
        x_t = [np.sqrt(b) * x[i] + np.sqrt(1 - b) * one[i] for b, one in zip(a, e, strict=True)]
        eps = [0.8 * one + s[i] / 2000 for one, s in zip(x_t, t, strict=True)]
        if not mask[i].any():
            noise_terms.append(sum(((one[i] - other) ** 2).mean() for one, other in zip(e, eps, strict=True)))
        if guidance == "norm":
            norm = np.clip((x_t[1] - np.sqrt(1 - a[1]) * eps[1]) / np.sqrt(a[1]), -1, 1)
            y = np.sqrt(a[0]) * norm + np.sqrt(1 - a[0]) * eps[0]
            eps[0] = eps[0] - np.sqrt(1 - a[0]) * (y - x_t[0])
        rec = np.clip((x_t[0] - np.sqrt(1 - a[0]) * eps[0]) / np.sqrt(a[0]), -1, 1)
        masks.append(1 / (1 + np.exp(-(3 * (x[i] - rec) - 0.5))))
    expected = np.mean(noise_terms)
    if segmentation == "network":
        masks = np.stack(masks)
        p = np.where(mask == 1, masks, 1 - masks)
        distance = np.abs(masks - mask)
        smooth_l1 = np.where(distance < 1, 0.5 * distance**2, distance - 0.5)
        expected += 5 * np.mean(-0.5 * (1 - p) ** 4 * np.log(p)) + smooth_l1.mean()
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert detector.networks_["unet"].patches == 10 * scales


def test_a_batch_of_anomalies_has_no_noise_loss():
    detector = untrained()
    detector.anomaly_probability = 1.0
    detector.networks_["unet"] = Stub(lambda x, t: 0 * x)
    detector.networks_["segmentation"] = Stub(lambda z: 0 * z[:, :1])
    loss = detector.loss(torch.rand(4, 1, 16, 16), torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(5 * 0.5 * 0.5**4 * np.log(2) + 0.5 * 0.5**2, rel=1e-5)


def test_the_mask_teaches_the_noise_predictor():
    """With anomalies only there is no noise loss; what reaches the noise predictor comes through x_0*."""
    detector = untrained()
    detector.anomaly_probability = 1.0
    detector.networks_.requires_grad_(True)
    detector.loss(torch.rand(8, 1, 16, 16), torch.Generator().manual_seed(0)).backward()
    for network in detector.networks_.values():
        assert sum(parameter.grad.abs().sum() for parameter in network.parameters()) > 0


def test_a_step_depends_on_its_generator_only():
    detector, x_0 = untrained(textures=["grass"]), torch.rand(8, 1, 16, 16)
    first = detector.loss(x_0, torch.Generator().manual_seed(5))
    torch.rand(3)
    np.random.rand(3)  # noqa: NPY002
    assert torch.equal(detector.loss(x_0, torch.Generator().manual_seed(5)), first)
    assert not torch.equal(detector.loss(x_0, torch.Generator().manual_seed(6)), first)


# Training and prediction


def test_a_short_training_lowers_the_loss(trained):
    curve = trained[0].training.curve
    assert len(curve) == 6 and curve[-1]["loss"] < 0.8 * curve[0]["loss"]


def test_restored_it_predicts_the_same(trained):
    detector, images = trained
    state = detector.state()
    assert {name.partition(".")[0] for name in state} == {"unet", "segmentation"}
    again = DiffusionAD(seed=3, **TINY)
    again.restore({name: tensor.clone() for name, tensor in state.items()})
    first, second = detector.predict(images).check(images, "DiffusionAD"), again.predict(images)
    assert torch.equal(first.score, second.score) and torch.equal(first.anomaly_map, second.anomaly_map)
    assert 0 <= first.anomaly_map.min() and first.anomaly_map.max() <= 1
    assert again.parameters() == detector.parameters() == sum(tensor.numel() for tensor in state.values())


def test_a_score_does_not_depend_on_the_batch(trained):
    detector, images = trained
    together = detector.predict(images)
    for i, image in enumerate(images):
        alone = detector.predict(image[None])
        torch.testing.assert_close(alone.score[0], together.score[i], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.anomaly_map[0], together.anomaly_map[i], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("channels, height, width", [(1, 12, 40), (3, 33, 16)])
def test_images_of_other_sizes(channels, height, width):
    images = torch.rand(2, channels, height, width) * 2 - 1
    for segmentation in ("network", "none"):
        untrained(channels, segmentation=segmentation).predict(images).check(images, "DiffusionAD")


@pytest.mark.parametrize("guidance, evaluations", [("norm", 2), ("none", 1)])
def test_the_noise_predictor_is_evaluated_nfe_times_per_tile(guidance, evaluations):
    detector = untrained(guidance=guidance)
    stub = detector.networks_["unet"] = Stub(lambda x, t: x)
    detector.predict(torch.rand(3, 1, 32, 24))  # 3 x 2 tiles each
    assert detector.nfe == evaluations and stub.patches == 3 * 6 * evaluations


@pytest.mark.parametrize("guidance", ["norm", "none"])
def test_without_segmentation_the_map_is_the_squared_difference(guidance):
    """With eps = 0.9 x_t everything is done pixel by pixel, so tiling plays no part if the tiles share the noise."""
    detector = untrained(guidance=guidance, segmentation="none", seed=4)
    detector.networks_["unet"] = Stub(lambda x, t: 0.9 * x)
    images = torch.rand(2, 1, 40, 24) * 2 - 1
    x = images.double().numpy()
    x_t = [np.sqrt(A[t]) * x + np.sqrt(1 - A[t]) * image_noise(1, 40, 24, 4, draw, "cpu").double().numpy()
           for draw, t in enumerate((200, 400))]
    eps = 0.9 * x_t[0]
    if guidance == "norm":
        norm = np.clip((x_t[1] - np.sqrt(1 - A[400]) * 0.9 * x_t[1]) / np.sqrt(A[400]), -1, 1)
        eps = eps - np.sqrt(1 - A[200]) * (np.sqrt(A[200]) * norm + np.sqrt(1 - A[200]) * eps - x_t[0])
    rec = np.clip((x_t[0] - np.sqrt(1 - A[200]) * eps) / np.sqrt(A[200]), -1, 1)
    prediction = detector.predict(images)
    np.testing.assert_allclose(prediction.anomaly_map, ((x - rec) ** 2)[:, 0], rtol=1e-4, atol=1e-5)
    top = [np.sort(one.ravel())[-10:].mean() for one in ((x - rec) ** 2)]  # 1 % of 960 px
    np.testing.assert_allclose(prediction.score, top, rtol=1e-4)


def test_without_training_it_does_not_fit():
    with pytest.raises(MethodError, match="trains its own networks and was given no training"):
        DiffusionAD(**TINY).fit(stripes(2))


@pytest.mark.parametrize("settings, words", [
    ({"guidance": "some"}, "norm, none"), ({"segmentation": "yes"}, "network, none"), ({"t_n": 400}, "t_n is 400"),
    ({"t_m": 1000}, "t_m 1000"), ({"t_split": 0}, "t_split"), ({"anomaly_probability": 1}, "anomaly_probability"),
    ({"textures": ["brick", "dtd"]}, "no texture 'dtd'"), ({"channels": [8, 18]}, "multiple of norm_groups"),
    ({"patch": 12, "attention": [], "segmentation_channels": [8] * 4}, "segmentation_channels"),
    ({"attention": [4]}, "attention at 4 px"),
])
def test_unusable_settings_are_one_clear_line(settings, words):
    with pytest.raises(MethodError, match=words) as error:
        DiffusionAD(**TINY | settings)
    assert "\n" not in str(error.value)


# Full size


def resnet(i: int, o: int) -> int:
    """Parameters of a residual block: two normalisations and convolutions, the timestep's layer, a shortcut."""
    return 2 * i + 9 * i * o + o + 512 * o + o + 2 * o + 9 * o * o + o + (i * o + o if i != o else 0)


def unet_parameters() -> int:
    """Of the U-Net of 256 px, counted from its plan: 6 levels, 2 blocks down and 3 up each, attention at 32, 16, 8."""
    widths = [128, 128, 256, 256, 512, 512]

    def attention(c: int) -> int:
        return 2 * c + 4 * (c * c + c)

    total = (128 * 512 + 512) + (512 * 512 + 512) + (9 * 3 * 128 + 128)  # timestep, first convolution
    width, skips = 128, [128]
    for level, after in enumerate(widths):
        for _ in range(2):
            total += resnet(width, after) + (attention(after) if level >= 3 else 0)
            width = after
            skips.append(width)
        if level < 5:
            total += 9 * width * width + width  # strided convolution
            skips.append(width)
    total += 2 * resnet(512, 512) + attention(512)
    for level, after in reversed(list(enumerate(widths))):
        for _ in range(3):
            total += resnet(width + skips.pop(), after) + (attention(after) if level >= 3 else 0)
            width = after
        if level:
            total += 9 * width * width + width
    assert not skips
    return total + 2 * 128 + 9 * 128 * 3 + 3


def segmentation_parameters(channels_in: int) -> int:
    """Of the authors' segmentation network of base 64, from its list of convolutions, each with a normalisation."""
    layers = [(channels_in, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512),
              (512, 512), (512, 512), (512, 512), (512, 512),
              (512, 512), (1024, 512), (512, 512), (512, 256), (768, 256), (256, 256), (256, 128), (384, 128),
              (128, 128), (128, 64), (192, 64), (64, 64), (64, 64), (128, 64), (64, 64)]
    return sum(9 * i * o + o + 2 * o for i, o in layers) + 9 * 64 + 1


def test_segmentation_network_has_the_authors_layers():
    network = Segmentation(6, [64, 128, 256, 512, 512, 512], 32)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == segmentation_parameters(6) == 28_373_569


@pytest.mark.full
def test_at_the_papers_size_it_trains_a_step_and_predicts(tmp_path):
    """256 px, colour, the defaults of the constructor; about a minute on one core, 7 GiB."""
    images = stripes(1, 3, 256)
    detector = DiffusionAD(training=training(tmp_path, images=1, batch_size=1))
    detector.fit(images)
    assert np.isfinite(detector.training.curve[-1]["loss"])
    prediction = detector.predict(images[0][None]).check(images[0][None], "DiffusionAD")
    torch.testing.assert_close(prediction.score, prediction.anomaly_map.flatten(1).topk(50).values.mean(1))
    counts = {name: sum(one.numel() for one in network.parameters()) for name, network in detector.networks_.items()}
    assert counts == {"unet": unet_parameters(), "segmentation": segmentation_parameters(6)}
    assert counts["unet"] == 120_249_859 and detector.parameters() == 148_623_428
