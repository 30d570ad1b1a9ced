"""RADAR: Reconstruction-free Anomaly Detection with Attention-based diffusion models in Real-time.

Moradi, Grasso, Colosimo, Paynabar, arXiv 2508.04818 (2025). One forward-diffusion step on the image, one evaluation of
a noise predictor trained on patches of normal images; no reverse sampling, no reconstruction:

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) e,   n = eps(x_t, t),   S = sqrt((G_x * n)^2 + (G_y * n)^2)

The noise map n is the evidence, its Sobel magnitude S segments, and an Isolation Forest on two numbers, a global and a
local one, detects [the paper, as far as its public text says]. Our reading where that text is silent, as literal as can
be: t = 1; the forest learns from S of the normal training images; the global number is the root mean square of S over
the image, the local one the largest over a patch. Other readings of the same text are in radar.method.readings.
"""

import torch
from torch import Tensor

from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.schedule import T, diffuse
from radar.images.filters import channel_norm, root_mean_squares, sobel_magnitude
from radar.images.image_set import ImageSet, to_unit
from radar.method import forest
from radar.method.detector import Detector, Prediction


class RADAR(Detector):
    """t: timestep of the single forward step, 0 ... 999.
    patch: side in px of the patch of the local number; None = that of the noise predictor.
    contamination: of the Isolation Forest, the share of normal training images beyond its own decision threshold.
    """

    noise_predictor: NoisePredictor
    nfe = 1

    def __init__(self, *, t: int = 1, patch: int | None = None, contamination: float = 0.05, **common):
        super().__init__(**common)
        self.require(t in range(T), f"t is {t!r}; allowed: 0 to {T - 1}")
        self.require(0 < contamination <= 0.5, f"contamination is {contamination!r}; allowed: above 0, up to 0.5")
        self.t, self.patch, self.contamination = t, patch, contamination

    def noise_map(self, x_0: Tensor, e: Tensor) -> Tensor:
        """n = eps(x_t, t) of x_0 [N, C, H, W], noised with e; evaluated in squares and stitched; same shape."""
        x_t = diffuse(x_0, self.t, e)
        squares = self.noise_predictor.tiling(x_0)
        return squares.stitch(self.noise_predictor.eps(squares.split(x_t), self.t))

    def sobel_map(self, images: Tensor) -> Tensor:
        """S of the noise map of images [N, C, H, W], its norm over channels: [N, H, W]. The noise is the seed's."""
        x_0 = self.noise_predictor.encode(images)
        e = self.noise_predictor.noise(x_0, self.seed, draw=0)
        return channel_norm(sobel_magnitude(self.noise_map(x_0, e)))

    def feature(self, S: Tensor) -> Tensor:
        """The two numbers of maps [N, H, W], [N, 2]: root mean square over the image, and the largest over a patch."""
        patch = self.patch or self.noise_predictor.settings["patch"]
        return root_mean_squares(S, patch, max(1, patch // 2))

    def fit(self, normal: ImageSet) -> None:
        batches = (to_unit(batch.to(self.device)) for batch in normal.batches(8))
        features = torch.cat([self.feature(self.sobel_map(images)) for images in batches])
        self.forest_ = forest.fit(features, self.contamination, self.seed)

    def predict(self, images: Tensor) -> Prediction:
        S = self.sobel_map(images)
        score, decision = forest.judge(self.forest_, self.feature(S))
        return Prediction(score, self.full_map(S, images), decision)
