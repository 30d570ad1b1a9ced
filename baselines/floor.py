"""What the statistical floors share: one procedure, on patches of pixels or frozen features at every grid position."""

from abc import abstractmethod

from torch import Tensor

from radar.images.features import FrozenFeatures
from radar.images.filters import top_mean
from radar.images.tiling import tiling
from radar.method.detector import Detector, Prediction


class Floor(Detector):
    """space: "pixels" or "features", what is judged.
    backbone: features: which frozen network, see radar.images.features.
    patch: pixels: side of the patches in px; tiles overlap by half, and what is said of them is blended.
    top_fraction: share of the map whose mean is the image score: on pixels of the smoothed map, on features of the
        grid, before smoothing (0.025 = 5 of 14 x 14 positions).
    """

    nfe = 0

    def __init__(self, space: str, backbone: str, patch: int, top_fraction: float, **common):
        super().__init__(**common)
        self.require(space in ("pixels", "features"), f"space is {space!r}; allowed: 'pixels', 'features'")
        self.patch, self.top_fraction = patch, top_fraction
        self.features = FrozenFeatures(self.device, backbone) if space == "features" else None

    @abstractmethod
    def judge_features(self, z: Tensor) -> Tensor:
        """How anomalous every position of feature maps [N, C, H, W] is: [N, H, W]."""

    @abstractmethod
    def judge_patches(self, x: Tensor) -> Tensor:
        """How anomalous every pixel of patches [N, C, patch, patch] is, [N, 1 or C, patch, patch]."""

    def parameters(self) -> int:
        return self.features.parameters() if self.features else 0

    def predict(self, images: Tensor) -> Prediction:
        if self.features:
            grid = self.judge_features(self.features(images))
            return Prediction(top_mean(grid, self.top_fraction), self.full_map(grid, images))
        tiles = tiling(*images.shape[2:], self.patch, self.patch // 2, images.device)
        anomaly_map = self.full_map(tiles.stitch(self.judge_patches(tiles.split(images))).mean(1), images)
        return Prediction(top_mean(anomaly_map, self.top_fraction), anomaly_map)
