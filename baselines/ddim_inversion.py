"""DDIM inversion in pixel space: detection by noising, on the image itself.

The method of InvAD (Sakai, He, Gu, Sigal, Hasegawa, arXiv 2504.05662, CVPR 2026), which runs it on frozen features,
applied to pixels with the noise predictor that RADAR and DDPM use. Deterministic Euler steps of the probability-flow
ODE (Song, Meng, Ermon, "Denoising Diffusion Implicit Models", ICLR 2021) carry the image to noise; what does not
arrive as standard normal noise is anomalous. Map M = || z_S ||_2 over channels; score = standardised (max M - min M)
plus standardised negative log-likelihood of z_S.

Ours: the authors take the min-max of both terms over the whole test set, anomalies included; here mean and standard
deviation of normal training images standardise them, so that the calibration images stay untouched for the threshold.
The likelihood is the mean over dimensions, not the sum, so that images of different sizes can be compared. Both are
taken tile by tile and then blended: blending the latents first would average noise away where overlapping tiles
disagree, which is where the anomalies are.
"""

import math

import torch
from torch import Tensor

from radar.data.images import ImageSet, to_unit
from radar.detector import Detector, Prediction, SeamError
from radar.diffusion import ALPHA_BAR, T
from radar.maps import channel_norm, smooth


class DDIMInversion(Detector):
    """taus: increasing timesteps of the evaluations, S = len(taus). InvAD's code: 0, 500, 999; its text: 333, 666, 999.
    smoothing: sigma in px of the anomaly map, the same for every method of a run.
    """

    def __init__(self, *, taus: list[int] | tuple[int, ...] = (0, 500, 999), smoothing: float = 0.0, **common):
        super().__init__(**common)
        taus = list(taus)
        if not taus or sorted(set(taus)) != taus or not 0 <= taus[0] <= taus[-1] < T:
            raise SeamError(f"DDIMInversion: taus are {taus}; allowed: increasing timesteps from 0 to {T - 1}")
        self.taus, self.smoothing = taus, smoothing
        self.mean_, self.std_ = torch.zeros(2), torch.ones(2)

    @property
    def nfe(self) -> int:
        return len(self.taus)

    def invert(self, x_0: Tensor) -> Tensor:
        """z_S of tiles x_0 [N, C, patch, patch]; same shape."""
        z = x_0
        a = [ALPHA_BAR[tau] for tau in self.taus] + [0.0]  # the last alpha_bar is 0: z_S is the predicted noise itself
        for i, tau in enumerate(self.taus):
            z = inversion_step(z, self.noise_predictor.eps(z, tau), a[i], a[i + 1])
        return z

    def _terms(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms of the score, [N, 2], and the map M, [N, H, W]."""
        tiles = self.noise_predictor.tiling(images)
        z = self.invert(tiles.split(images))
        M = tiles.stitch(channel_norm(z)[:, None])[:, 0]
        spread = M.flatten(1).amax(1) - M.flatten(1).amin(1)
        nll = tiles.stitch(negative_log_likelihood(z)[:, None])[:, 0].flatten(1).mean(1)
        return torch.stack([spread, nll], dim=1), M

    def fit(self, normal: ImageSet) -> None:
        terms = torch.cat([self._terms(to_unit(batch.to(self.device)))[0] for batch in normal.batches(8)])
        self.mean_ = terms.mean(0)
        std = terms.std(0) if len(terms) > 1 else torch.zeros_like(self.mean_)
        # a term that does not vary beyond rounding (saturated images, a single image) is left unscaled
        self.std_ = torch.where(std > 1e-5 * self.mean_.abs(), std, torch.ones_like(std))

    def predict(self, images: Tensor) -> Prediction:
        terms, M = self._terms(images)
        return Prediction(((terms - self.mean_) / self.std_).sum(1), smooth(M, self.smoothing))

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean_, "std": self.std_}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.mean_, self.std_ = state["mean"], state["std"]


def inversion_step(z: Tensor, e: Tensor, a: float, a_next: float) -> Tensor:
    """z_{i+1} = sqrt(a_{i+1}) x_0 + sqrt(1 - a_{i+1}) e with x_0 = (z - sqrt(1 - a_i) e) / sqrt(a_i), unclipped."""
    x_0 = (z - (1 - a) ** 0.5 * e) / a**0.5
    return a_next**0.5 * x_0 + (1 - a_next) ** 0.5 * e


def negative_log_likelihood(z: Tensor) -> Tensor:
    """0.5 (z^2 + log 2 pi) of z [N, C, H, W] under N(0, I), mean over channels: [N, H, W]."""
    return 0.5 * (z.square().mean(1) + math.log(2 * math.pi))
