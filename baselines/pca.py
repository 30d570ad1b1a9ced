"""PCA reconstruction: the statistical floor, no network trained; of pixels, or of frozen features.

"Statistical machine learning models" are RADAR's non-diffusion rivals (arXiv 2508.04818); which ones is not public.
Ours: principal components of normal data, and the squared error of reconstructing an image from them. On pixels: of
random patches; map = error of overlapping tiles. On features (radar.images.features): of the vectors at all grid
positions of all images, channels divided by their standard deviation in training; map = error at each position, mean
over channels.
"""

import torch
from sklearn.decomposition import PCA as ScikitPCA
from torch import Tensor

from baselines.floor import Floor
from radar.images.features import feature_maps
from radar.images.image_set import ImageSet
from radar.method.moments import Moments


class PCA(Floor):
    """space, backbone, patch, top_fraction: see Floor.
    variance: share of the patches' (vectors') variance that the kept components explain, 0 ... 1.
    training_patches: pixels: how many random patches the components are computed from.
    """

    def __init__(self, *, space: str = "pixels", backbone: str = "efficientnet_lite0", patch: int = 16,
                 variance: float = 0.9, training_patches: int = 4000, top_fraction: float = 0.01, **common):
        super().__init__(space, backbone, patch, top_fraction, **common)
        self.require(0 < variance < 1, f"variance is {variance}; allowed: between 0 and 1")
        self.variance, self.training_patches = variance, training_patches

    def fit(self, normal: ImageSet) -> None:
        if self.features:
            maps = feature_maps(self.features, normal)
            centre = maps[0].double().mean((1, 2))[None]
            moments = Moments(centre, torch.ones_like(centre[0]))
            for one in maps:
                moments.add(one.flatten(1).T[None])
            mean, scatter = moments.mean()[0].cpu(), moments.scatter()[0].cpu()
            deviation = (scatter.diagonal() / moments.n).sqrt()
            unit = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
            values, vectors = torch.linalg.eigh(scatter / unit / unit[:, None])
            values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
            kept = int((values.cumsum(0) / values.sum() <= self.variance).sum()) + 1
            mean, components = mean / unit, vectors.T[:kept]
            self.unit_ = unit.float().to(self.device)
        else:
            generator = torch.Generator().manual_seed(self.seed)
            patches = normal.random_patches(self.training_patches, self.patch, generator).flatten(1)
            pca = ScikitPCA(n_components=self.variance, svd_solver="full").fit(patches.double().numpy())
            mean, components = torch.from_numpy(pca.mean_), torch.from_numpy(pca.components_)
        self.mean_ = mean.float().to(self.device)
        self.components_ = components.float().contiguous().to(self.device)

    def judge_features(self, z: Tensor) -> Tensor:
        return self.error(z.movedim(1, -1) / self.unit_).mean(-1)

    def judge_patches(self, x: Tensor) -> Tensor:
        return self.error(x.flatten(1)).view(x.shape)

    def error(self, x: Tensor) -> Tensor:
        """Squared error of reconstructing vectors x [..., D] from the components, per entry; same shape."""
        centred = x - self.mean_
        return (centred - centred @ self.components_.T @ self.components_).square()
