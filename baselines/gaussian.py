"""A Gaussian of normal patches and the Mahalanobis distance to it: the statistical floor, on pixels or frozen features.

PaDiM (Defard, Setkov, Loesch, Audigier, ICPR 2021, arXiv 2011.08785), on features: at each position of the grid one
mean mu and covariance S over the normal images, of channels drawn at random once,

    S = 1 / (N - 1) sum_k (x_k - mu)(x_k - mu)^T + epsilon I,  epsilon = 0.01    (eq. 1)
    M(x) = sqrt((x - mu)^T S^-1 (x - mu))                                       (eq. 2)

and the map is M. Ours: the backbone (radar.images.features; PaDiM takes ResNets), channels divided by their standard
deviation in training, Ledoit and Wolf's shrinkage (radar.method.moments) in place of epsilon, a covariance pooled over
the positions as the second choice, and as the image score the mean of the map's largest values, not its maximum. On
pixels, ours throughout: the texture is taken as stationary, one mean and covariance of random patches serve all tiles.

S = L L^T is factored once, in float64; then M(x) = || W (x - mu) || with W = L^-1 is one matrix product.
"""

import torch
from torch import Tensor

from baselines.floor import Floor
from radar.images.features import feature_maps
from radar.images.image_set import ImageSet
from radar.method.moments import Moments, ledoit_wolf

# Variance of rounding to 8 bits in images of -1 ... 1, added to every variance: flat images have an inverse too.
ROUNDING = (2 / 255) ** 2 / 12
FIRST = 256  # images at most that centre and unit are taken from; they are kept in memory, all others are not


class Gaussian(Floor):
    """space, backbone, patch, top_fraction: see Floor.
    training_patches: pixels: how many random patches mu and S are computed from.
    channels: features: how many, drawn at random from the seed (PaDiM: 100 of ResNet-18's 448); None or 0 = all.
    covariance: features: "position" = one per grid position (PaDiM), "shared" = one pooled over positions, each with
        its own mean; pixels: "shared". None = "position" on features, "shared" on pixels.
    shrinkage: "ledoit_wolf" = towards a multiple of I, by as much as the data ask for; or PaDiM's epsilon, a number.
    """

    def __init__(self, *, space: str = "pixels", backbone: str = "efficientnet_lite0", patch: int = 8,
                 training_patches: int = 10000, channels: int | None = 100, covariance: str | None = None,
                 shrinkage: str | float = "ledoit_wolf", top_fraction: float = 0.01, **common):
        super().__init__(space, backbone, patch, top_fraction, **common)
        self.require(covariance in (None, "shared", "position"),
                     f"covariance is {covariance!r}; allowed: 'position', 'shared', null")
        self.require(self.features is not None or covariance != "position",
                     "covariance 'position' needs space 'features'; on pixels it is 'shared'")
        self.require(patch >= 2 and training_patches >= 2,
                     f"patch is {patch}, training_patches {training_patches}; allowed: at least 2")
        self.require(shrinkage == "ledoit_wolf" or isinstance(shrinkage, int | float) and shrinkage > 0,
                     f"shrinkage is {shrinkage!r}; allowed: 'ledoit_wolf' or a number above 0")
        self.covariance = covariance or ("position" if self.features else "shared")
        self.training_patches, self.shrinkage = training_patches, shrinkage
        if self.features:
            available = self.features.channels
            self.require(0 <= (channels or 0) <= available,
                         f"channels is {channels}; the features have {available}; allowed: 0 to that")
            drawn = torch.randperm(available, generator=torch.Generator().manual_seed(self.seed))
            self.channels_ = drawn[:channels or available].sort().values.to(self.device)

    def fit(self, normal: ImageSet) -> None:
        if self.features:
            self.require(len(normal) >= 2, f"{len(normal)} normal images; a covariance on features needs at least 2")
            maps = feature_maps(self.features, normal)
            first = torch.cat([self._vectors(maps[i][None]) for i in range(min(len(maps), FIRST))], dim=1).double()
            deviation = first.std((0, 1), correction=0)  # one for all positions, to make channels comparable
            moments = Moments(first.mean(1), torch.where(deviation > 0, deviation, torch.ones_like(deviation)))
            for one in maps:
                moments.add(self._vectors(one[None]))
        else:
            generator = torch.Generator().manual_seed(self.seed)
            x = normal.random_patches(self.training_patches, self.patch, generator).flatten(1)[None]
            moments = Moments(x.double().mean(1), torch.ones(x.shape[2]))
            moments.add(x)
        W = whitening(moments, self.covariance, self.shrinkage).cpu() / moments.unit.cpu()
        self.mean_ = moments.mean()[:, None].float().to(self.device)
        self.W_ = W.float().contiguous().to(self.device)

    def judge_features(self, z: Tensor) -> Tensor:
        return self.distance(self._vectors(z)).T.reshape(-1, *z.shape[2:])

    def judge_patches(self, x: Tensor) -> Tensor:
        distance = self.distance(x.flatten(1)[None])[0]
        return distance[:, None, None, None].expand(-1, 1, self.patch, self.patch)

    def distance(self, x: Tensor) -> Tensor:
        """M(x) of vectors x [P, N, D] at P positions: [P, N]; about sqrt(D) for normal ones, whatever their unit."""
        return torch.linalg.vector_norm((x - self.mean_) @ self.W_.mT, dim=2)

    def _vectors(self, z: Tensor) -> Tensor:
        """The drawn channels of feature maps [N, C, H, W] as vectors [H * W, N, D]."""
        return z.index_select(1, self.channels_).flatten(2).permute(2, 0, 1)


def whitening(moments: Moments, covariance: str, shrinkage: str | float) -> Tensor:
    """W with W^T W = S^-1, lower triangular, of the residuals whose moments are given.

    [P, D, D] with covariance "position"; [1, D, D] with "shared", of all residuals together.
    """
    scatter, fourth, n, means = moments.scatter(), moments.fourth(), moments.n, 1
    if covariance == "shared":
        means, n = len(scatter), n * len(scatter)
        scatter, fourth = scatter.sum(0, keepdim=True), fourth.sum(0, keepdim=True)
    identity = torch.eye(scatter.shape[-1], dtype=torch.float64, device=scatter.device)
    if shrinkage == "ledoit_wolf":
        S = ledoit_wolf(scatter, fourth, n)
    else:
        S = scatter / max(n - means, 1) + float(shrinkage) * identity
    L = torch.linalg.cholesky(S + ROUNDING * identity)
    return torch.linalg.solve_triangular(L, identity.expand_as(L), upper=False)
