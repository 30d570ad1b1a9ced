"""InvAD: anomaly detection by noising, with a DDIM inversion in the space of frozen features, or of pixels.

Sakai, He, Gu, Sigal, Hasegawa, arXiv 2504.05662 (CVPR 2026; not the InvAD of arXiv 2404.10760, which reconstructs
features). Deterministic Euler steps of the probability-flow ODE (Song, Meng, Ermon, "Denoising Diffusion Implicit
Models", ICLR 2021) carry x_0, the feature map, to noise; what does not arrive as standard normal noise is anomalous:

    e_i = eps(z_i, tau_i),    x_0 = (z_i - sqrt(1 - a_i) e_i) / sqrt(a_i),
    z_{i+1} = sqrt(a_{i+1}) x_0 + sqrt(1 - a_{i+1}) e_i

for i = 0 ... S - 1, unclipped, with the last alpha_bar set to 0 [authors' code], so that z_S is the last predicted
noise itself. Map M = || z_S ||_2 over channels, bilinear to the image's size; score = standardised (max M - min M) plus
standardised negative log-likelihood of z_S under N(0, I).

Ours: the authors take the min-max of both terms over the whole test set, anomalies included; here mean and standard
deviation of normal training images standardise them, so that the calibration images stay untouched for the threshold.
The likelihood is the mean over dimensions, not the sum, so that images of different sizes can be compared. On pixels
(DDIM inversion) both are taken square by square and then blended: blending the latents first would average noise away
where overlapping squares disagree, which is where the anomalies are.
"""

import math

import torch
from torch import Tensor

from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.schedule import ALPHA_BAR, T
from radar.images.filters import channel_norm, top_mean
from radar.images.image_set import ImageSet, to_unit
from radar.method.detector import Detector, Prediction
from radar.method.moments import position_statistics


class InvAD(Detector):
    """taus: increasing timesteps of the evaluations, S = len(taus). InvAD's code: 0, 500, 999; a digest of the paper:
        333, 666, 999. More steps are worse, the authors say.
    score: "invad" = as above; "position" = the map minus its mean, over its deviation, at every position of the normal
        training images, and the mean of its largest `top_fraction` (features only) [ours].
    """

    noise_predictor: NoisePredictor

    def __init__(self, *, taus: list[int] | tuple[int, ...] = (0, 500, 999), score: str = "invad",
                 top_fraction: float = 0.025, **common):
        super().__init__(**common)
        taus = list(taus)
        self.require(len(taus) > 0 and sorted(set(taus)) == taus and 0 <= taus[0] <= taus[-1] < T,
                     f"taus are {taus}; allowed: increasing timesteps from 0 to {T - 1}")
        self.require(score in ("invad", "position"), f"score is {score!r}; allowed: invad, position")
        self.taus, self.nfe, self.score, self.top_fraction = taus, len(taus), score, top_fraction
        self.mean_, self.deviation_ = torch.zeros(2), torch.ones(2)

    def invert(self, x_0: Tensor) -> Tensor:
        """z_S of squares x_0 [N, C, patch, patch]; same shape."""
        z = x_0
        a = [ALPHA_BAR[tau] for tau in self.taus] + [0.0]  # the last alpha_bar is 0: z_S is the predicted noise itself
        for i, tau in enumerate(self.taus):
            z = inversion_step(z, self.noise_predictor.eps(z, tau), a[i], a[i + 1])
        return z

    def _terms(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms of the score, [N, 2], and the map M over x_0, [N, H', W']."""
        x_0 = self.noise_predictor.encode(images)
        squares = self.noise_predictor.tiling(x_0)
        z = self.invert(squares.split(x_0))
        M = squares.stitch(channel_norm(z)[:, None])[:, 0]
        spread = M.flatten(1).amax(1) - M.flatten(1).amin(1)
        nll = squares.stitch(negative_log_likelihood(z)[:, None])[:, 0].flatten(1).mean(1)
        return torch.stack([spread, nll], dim=1), M

    def fit(self, normal: ImageSet) -> None:
        results = (self._terms(to_unit(batch.to(self.device))) for batch in normal.batches(8))
        if self.score == "position":
            mean, deviation = position_statistics(M[:, None] for _, M in results)
            self.mean_, self.deviation_ = mean[0], deviation[0]
            return
        terms = torch.cat([terms for terms, _ in results])
        self.mean_ = terms.mean(0)
        deviation = terms.std(0) if len(terms) > 1 else torch.zeros_like(self.mean_)
        # a term that does not vary beyond rounding (saturated images, a single image) is left unscaled
        self.deviation_ = torch.where(deviation > 1e-5 * self.mean_.abs(), deviation, torch.ones_like(deviation))

    def predict(self, images: Tensor) -> Prediction:
        terms, M = self._terms(images)
        if self.score == "position":
            M = (M - self.mean_) / self.deviation_
            score = top_mean(M, self.top_fraction)
        else:
            score = ((terms - self.mean_) / self.deviation_).sum(1)
        return Prediction(score, self.full_map(M, images))


def inversion_step(z: Tensor, e: Tensor, a: float, a_next: float) -> Tensor:
    """z_{i+1} = sqrt(a_{i+1}) x_0 + sqrt(1 - a_{i+1}) e with x_0 = (z - sqrt(1 - a_i) e) / sqrt(a_i), unclipped."""
    x_0 = (z - (1 - a) ** 0.5 * e) / a**0.5
    return a_next**0.5 * x_0 + (1 - a_next) ** 0.5 * e


def negative_log_likelihood(z: Tensor) -> Tensor:
    """0.5 (z^2 + log 2 pi) of z [N, C, H, W] under N(0, I), mean over channels: [N, H, W]."""
    return 0.5 * (z.square().mean(1) + math.log(2 * math.pi))
