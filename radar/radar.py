"""RADAR: Reconstruction-free Anomaly Detection with Attention-based diffusion models in Real-time.

Moradi, Grasso, Colosimo, Paynabar, arXiv 2508.04818 (2025). One forward-diffusion step on the image, one evaluation
of a noise predictor trained on patches of normal images, and the predicted noise map is the evidence: its Sobel
magnitude segments, and an Isolation Forest on a global and a local number of it detects. No reverse sampling, no
reconstruction. What the public text leaves open is a setting here, named in the constructor; see config/methods/.
"""

import torch
from torch import Tensor

from radar.data.images import ImageSet, to_unit
from radar.detector import Detector, Prediction, SeamError
from radar.diffusion import T, diffuse, image_noise
from radar.forest import Forest
from radar.maps import channel_norm, root_mean_squares, smooth, sobel_magnitude


class RADAR(Detector):
    """Settings, all of them readings of the paper where it is silent:

    t: timestep of the single forward step, 0 ... 999. Literal: 1.
    input: "noised" = x_t with noise e drawn once from the seed (literal); "scaled" = e taken as 0, deterministic.
    map: "noise" = the predicted noise n (literal); "residual" = n - e, what the prediction gets wrong.
    evidence: "sobel" = S = sqrt((G_x * n)^2 + (G_y * n)^2) (literal); "magnitude" = |n|.
    contamination: of the Isolation Forest, the share of normal training images beyond its own decision threshold.
    smoothing: sigma in px of the anomaly map, the same for every method of a run; the detection does not use it.
    """

    def __init__(self, *, t: int = 1, input: str = "noised", map: str = "noise", evidence: str = "sobel",
                 contamination: float = 0.05, smoothing: float = 0.0, **common):
        super().__init__(**common)
        for name, value, allowed in (("t", t, range(T)), ("input", input, ("noised", "scaled")),
                                     ("map", map, ("noise", "residual")),
                                     ("evidence", evidence, ("sobel", "magnitude"))):
            if value not in allowed:
                raise SeamError(f"RADAR: {name} is {value!r}; allowed: {allowed}")
        if not 0 < contamination <= 0.5:
            raise SeamError(f"RADAR: contamination is {contamination!r}; allowed: above 0, up to 0.5")
        if input == "scaled" and map == "residual":
            raise SeamError("RADAR: input 'scaled' draws no noise, so there is no residual; use map 'noise'")
        self.t, self.input, self.map, self.evidence = t, input, map, evidence
        self.contamination, self.smoothing = contamination, smoothing
        self.forest_: Forest | None = None

    @property
    def nfe(self) -> int:
        return 1

    def noise_map(self, x_0: Tensor) -> Tensor:
        """n (or n - e) of images x_0 [N, C, H, W], stitched to their size: one network evaluation per tile."""
        tiles = self.noise_predictor.tiling(x_0)
        e = image_noise(*x_0.shape[1:], self.seed, 0, x_0.device) if self.input == "noised" else torch.zeros_like(x_0)
        x_t = diffuse(x_0, self.t, e)
        n = tiles.stitch(self.noise_predictor.eps(tiles.split(x_t), self.t))
        return n - e if self.map == "residual" else n

    def _evidence(self, x_0: Tensor) -> Tensor:
        n = self.noise_map(x_0)
        return sobel_magnitude(n) if self.evidence == "sobel" else n.abs()

    def _features(self, evidence: Tensor) -> Tensor:
        """The two-dimensional feature [N, 2]: root mean square over the image, and the largest over a patch."""
        settings = self.noise_predictor.settings
        return root_mean_squares(evidence, settings["patch"], settings["stride"])

    def fit(self, normal: ImageSet) -> None:
        features = [self._features(self._evidence(to_unit(batch.to(self.device)))) for batch in normal.batches(8)]
        self.forest_ = Forest.fit(torch.cat(features), self.contamination, self.seed).to(self.device)

    def predict(self, images: Tensor) -> Prediction:
        S = self._evidence(images)
        score = self.forest_.score(self._features(S))
        return Prediction(score, smooth(channel_norm(S), self.smoothing), self.forest_.decide(score))

    def state(self) -> dict[str, Tensor]:
        return self.forest_.state_

    def restore(self, state: dict[str, Tensor]) -> None:
        self.forest_ = Forest(state)
