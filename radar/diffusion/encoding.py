"""What x_0 is: the image itself, or a standardised map of frozen features (InvAD, arXiv 2504.05662).

Both encodings have: channels, of x_0; groups, how many of them belong together; frozen, the network that makes the
features or None; state, what was learned of the training images, as named tensors.
"""

import torch
from torch import Tensor

from radar.diffusion.training import Batches
from radar.images.features import FrozenFeatures, feature_maps
from radar.images.image_set import ImageSet, Kept


class Pixels:
    """x_0 is the image [N, C, H, W] in [-1, 1]."""

    frozen = None

    def __init__(self, settings: dict, image_channels: int):
        self.patch, self.channels, self.groups = settings["patch"], image_channels, [image_channels]
        self.state: dict[str, Tensor] = {}

    def __call__(self, images: Tensor) -> Tensor:
        return images

    def training_batches(self, images: ImageSet, count: int) -> Batches:
        """batches(generator) -> `count` random patches of the images, [count, C, patch, patch]."""
        return lambda generator: images.random_patches(count, self.patch, generator)


class Features:
    """x_0 is the image's feature map [N, C', patch, patch], (features - mean) by a matrix; one group per stride.

    standardise: "channel" = zero mean and unit variance of every channel, or "whiten" = zero mean at every position and
    unit covariance of the channels (Ledoit-Wolf, pooled over positions), both of the normal training images [ours; the
    paper leaves features as they are]. Raises ValueError if `patch` is not the side of the feature map.
    """

    def __init__(self, settings: dict, device: torch.device):
        self.frozen, self.standardise = FrozenFeatures(device, settings["backbone"]), settings["standardise"]
        if settings["patch"] != self.frozen.grid:
            raise ValueError(f"noise predictor on features: patch is {settings['patch']}, the feature map's side "
                             f"is {self.frozen.grid}")
        self.channels, self.groups = self.frozen.channels, self.frozen.groups
        self.state: dict[str, Tensor] = {}  # mean [C, 1 or h, 1 or w] and matrix [C, C]

    def __call__(self, images: Tensor) -> Tensor:
        return self._standardised(self.frozen(images))

    def training_batches(self, images: ImageSet, count: int) -> Batches:
        """Take the standardisation from these images; batches(generator) -> x_0 of `count` random ones."""
        maps = feature_maps(self.frozen, images)
        self.state = standardisation(maps, self.standardise)

        def batches(generator: torch.Generator) -> Tensor:
            chosen = torch.randint(len(maps), (count,), generator=generator).tolist()
            return self._standardised(torch.stack([maps[i] for i in chosen]))

        return batches

    def _standardised(self, maps: Tensor) -> Tensor:
        return torch.einsum("dc,nchw->ndhw", self.state["matrix"], maps - self.state["mean"]).contiguous()


def standardisation(maps: Kept, kind: str) -> dict[str, Tensor]:
    """mean and matrix that standardise feature maps [C, h, w], from those of normal training images.

    kind: "channel", mean [C, 1, 1] and the inverse deviations on the diagonal; or "whiten", mean [C, h, w] and the
    symmetric inverse square root of the channels' covariance (so that whitened channel c is still mostly channel c).
    """
    from sklearn.covariance import ledoit_wolf  # a second to import, and needed in trainings only

    n, (c, h, w) = len(maps), maps[0].shape
    mean = torch.zeros(c, h, w, dtype=torch.float64, device=maps[0].device)
    for one in maps:
        mean += one.double() / n
    if kind == "channel":
        mean = mean.mean((1, 2), keepdim=True)
    elif kind != "whiten":
        raise ValueError(f"standardise is {kind!r}; allowed: channel, whiten")
    # A few images are enough for the covariance: each has h x w positions.
    some = [maps[i] for i in range(0, n, max(1, n // 100))]
    vectors = torch.cat([(one.double() - mean).flatten(1).T for one in some])
    if kind == "channel":
        matrix = torch.diag(1 / vectors.square().mean(0).sqrt().clamp(min=1e-6))
    else:
        covariance, _ = ledoit_wolf(vectors.cpu().numpy(), assume_centered=True)
        values, basis = torch.linalg.eigh(torch.from_numpy(covariance))
        matrix = basis @ torch.diag(values.clamp(min=1e-12) ** -0.5) @ basis.T
    return {"mean": mean.float(), "matrix": matrix.float().to(mean.device)}
