"""The schedule and the objective against diffusers and naive float64 computations."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.schedule import SCHEDULE, diffuse, image_noise

SETTINGS = {"space": "pixels", "noise": "gaussian", "patch": 16, "stride": 8, "network": "unet", "channels": [8, 16],
            "layers_per_block": 1, "attention": [8], "norm_groups": 4, "predicts": "noise", "tile_batch": 3}


def predictor(channels: int = 1) -> NoisePredictor:
    torch.manual_seed(0)
    return NoisePredictor(SETTINGS, channels)


def test_alpha_bar_is_the_linear_schedule_of_ddpm():
    reference = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02).alphas_cumprod
    np.testing.assert_allclose(SCHEDULE, reference, rtol=2e-5)


def test_alpha_bar_at_the_timesteps_that_the_literature_quotes():
    values = SCHEDULE[[1, 50, 100, 200, 250, 400, 500, 999]].tolist()
    assert values == pytest.approx([0.9998, 0.970, 0.895, 0.656, 0.521, 0.194, 0.078, 4e-5], abs=6e-4)


def test_diffuse_keeps_unit_variance_and_scales_the_image():
    x, e = torch.randn(2, 4, 3, 8, 8, dtype=torch.float64)
    a = float(np.prod(1 - np.linspace(1e-4, 0.02, 1000)[:101]))
    torch.testing.assert_close(diffuse(x, 100, e), a**0.5 * x + (1 - a) ** 0.5 * e)
    many = diffuse(x.float(), torch.tensor([0, 100, 500, 999]), e.float())  # a timestep for each image
    for i, t in enumerate((0, 100, 500, 999)):
        torch.testing.assert_close(many[i].double(), diffuse(x[i], t, e[i]), atol=1e-5, rtol=1e-4)


def test_noise_is_one_field_per_size_seed_and_draw():
    field = image_noise(1, 8, 9, 0, 0, "cpu")
    assert field.shape == (1, 1, 8, 9)
    assert torch.equal(field, image_noise(1, 8, 9, 0, 0, "cpu"))
    assert not torch.equal(field, image_noise(1, 8, 9, 1, 0, "cpu"))
    assert not torch.equal(field, image_noise(1, 8, 9, 0, 1, "cpu"))


def test_loss_is_the_mean_squared_error_of_the_predicted_noise():
    p, x_0 = predictor(), torch.rand(5, 1, 16, 16) * 2 - 1
    loss = p.loss(x_0, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    t = torch.randint(0, 1000, (5,), generator=generator)
    e = torch.randn(x_0.shape, generator=generator)
    errors = [(e[i] - p.eps(diffuse(x_0[i:i + 1], int(t[i]), e[i:i + 1]), int(t[i]))[0]).square().mean().item()
              for i in range(5)]
    assert loss.item() == pytest.approx(np.mean(errors), rel=1e-4)


def test_eps_does_not_depend_on_how_tiles_are_batched():
    p, x = predictor(3), torch.randn(7, 3, 16, 16)
    together = p.eps(x, 10)
    single = torch.cat([p.eps(one[None], 10) for one in x])
    torch.testing.assert_close(together, single, atol=1e-5, rtol=1e-4)


def test_save_and_load_give_the_same_predictor(tmp_path):
    p, x = predictor(), torch.randn(2, 1, 16, 16)
    p.save(tmp_path, {})
    loaded = NoisePredictor.load(tmp_path)
    assert loaded.sha256 == p.sha256 and loaded.parameters() == p.parameters()
    assert torch.equal(loaded.eps(x, 7), p.eps(x, 7))


def test_loading_from_an_empty_folder_names_it(tmp_path):
    with pytest.raises(OSError, match=str(tmp_path)):
        NoisePredictor.load(tmp_path)
