"""PCA reconstruction of patches: the statistical floor, no network.

"Statistical machine learning models" are RADAR's non-diffusion rivals (arXiv 2508.04818); which ones is not public.
Ours: principal components of random patches of normal images, map = squared reconstruction error of overlapping
tiles, image score = mean of the map's largest 1 %.
"""

import torch
from sklearn.decomposition import PCA as ScikitPCA
from torch import Tensor

from radar.data.images import ImageSet
from radar.detector import Detector, Prediction, SeamError
from radar.maps import smooth, top_mean
from radar.patches import tiling


class PCA(Detector):
    """patch: side of the patches in px; tiles overlap by half.
    variance: share of the patches' variance that the kept components explain, 0 ... 1.
    training_patches: how many random patches the components are computed from.
    top_fraction: share of the map's pixels whose mean is the image score.
    smoothing: sigma in px of the anomaly map, the same for every method of a run.
    """

    def __init__(self, *, patch: int = 16, variance: float = 0.9, training_patches: int = 4000,
                 top_fraction: float = 0.01, smoothing: float = 0.0, **common):
        super().__init__(**common)
        if not 0 < variance < 1:
            raise SeamError(f"PCA: variance is {variance}; allowed: between 0 and 1")
        self.patch, self.variance, self.training_patches = patch, variance, training_patches
        self.top_fraction, self.smoothing = top_fraction, smoothing

    @property
    def nfe(self) -> int:
        return 0

    def fit(self, normal: ImageSet) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        patches = normal.random_patches(self.training_patches, self.patch, generator).flatten(1)
        pca = ScikitPCA(n_components=self.variance, svd_solver="full").fit(patches.double().numpy())
        self.mean_ = torch.from_numpy(pca.mean_).float().to(self.device)
        self.components_ = torch.from_numpy(pca.components_).float().contiguous().to(self.device)

    def predict(self, images: Tensor) -> Prediction:
        tiles = tiling(*images.shape[2:], self.patch, self.patch // 2, images.device)
        centred = tiles.split(images).flatten(1) - self.mean_
        error = (centred - centred @ self.components_.T @ self.components_).square()
        error = tiles.stitch(error.view(-1, images.shape[1], self.patch, self.patch))
        anomaly_map = smooth(error.mean(1), self.smoothing)
        return Prediction(top_mean(anomaly_map, self.top_fraction), anomaly_map)

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean_, "components": self.components_}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.mean_, self.components_ = state["mean"], state["components"]
