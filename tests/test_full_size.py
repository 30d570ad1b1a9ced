"""The papers' size on pixels: the network builds, takes one training step, and every reading of it predicts once."""

import numpy as np
import pytest
import torch

from baselines.ddpm import DDPM
from baselines.invad import InvAD
from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.training import Training
from radar.method.radar import RADAR
from tests.conftest import TRAINING

# Dhariwal & Nichol's U-Net as AnoDDPM and DiffusionAD configure it for 256 px: base 128, multiples 1-1-2-2-4-4,
# attention at 32, 16 and 8 px.
PAPER = {"space": "pixels", "noise": "simplex", "patch": 256, "stride": 256, "network": "unet",
         "channels": [128, 128, 256, 256, 512, 512], "layers_per_block": 2, "attention": [32, 16, 8],
         "norm_groups": 32, "predicts": "noise", "tile_batch": 1}


@pytest.mark.full
def test_the_pixel_methods_at_the_papers_size(tmp_path):
    torch.manual_seed(0)
    predictor = NoisePredictor(PAPER, 3)
    # derived for diffusers' blocks, layer by layer, in tests/test_diffusionad.py: 120,249,859
    assert predictor.parameters() == 120_249_859
    images = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = predictor.network.conv_out.weight.clone()
    budget = TRAINING | {"images": 1, "batch_size": 1}
    curve = Training(budget, 0, tmp_path, {}, "one step")(predictor.network, predictor.loss, lambda generator: images)
    assert np.isfinite(curve[-1]["loss"]) and not torch.equal(before, predictor.network.conv_out.weight)
    # the score needs a fit, which is not what is checked here: one evaluation and what is made of it
    radar = RADAR(noise_predictor=predictor)
    assert torch.isfinite(radar.feature(radar.sobel_map(images))).all()
    assert InvAD(taus=[999], noise_predictor=predictor).predict(images).check(images, "inversion").score.shape == (1,)
    ddpm = DDPM(noise_level=250, chain_steps=1, noise_predictor=predictor)
    assert ddpm.predict(images).check(images, "AnoDDPM").anomaly_map.shape == (1, 256, 256)
