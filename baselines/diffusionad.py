"""DiffusionAD: noise to norm in one denoising step, and a segmentation network that compares.

Zhang, Wang, Zeng, Wu, Jiang, "DiffusionAD: Norm-guided One-step Denoising Diffusion for Anomaly Detection", TPAMI 2025,
arXiv 2303.08730; "code" is the authors' (HuiZhang0812/DiffusionAD). The image is noised to two scales, t_n < t_m, with
independent noise, e_n = eps(x_tn, t_n), e_m = eps(x_tm, t_m). The noisier one gives a norm, x_0m, that has forgotten
the anomaly and the details; it guides the other:

    x_0m = clamp((x_tm - sqrt(1 - a_m) e_m) / sqrt(a_m)),    a_t = alpha_bar_t
    y    = sqrt(a_n) x_0m + sqrt(1 - a_n) e_n
    e*   = e_n - sqrt(1 - a_n) w (y - x_tn)
    x_0* = clamp((x_tn - sqrt(1 - a_n) e*) / sqrt(a_n))

and a convolutional U-Net predicts the mask from [x_0, x_0*]. Both networks learn together, from normal patches half of
which carry a synthetic anomaly (radar.images.synthetic); the mask's gradient reaches the noise predictor through x_0*:

    loss = |e - eps(x_t, t)|^2 at both scales, of patches without anomaly only + 5 focal(mask) + smooth L1(mask).

Ours, against the code: images lie in [-1, 1] (there in [0, 1], and clamped to [-1, 1] all the same); group, not batch
normalisation in the segmentation network, so that a mask does not depend on the batch; diffusers' U-Net; the suite's
training loop (there Adam, 1e-4, and 1e-5 for the segmentation); patches and tiles (there whole images, `patch: 256`).
The code picks its checkpoint on the test set and draws new noise at every test; here budget and noise are fixed.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radar.diffusion.networks import unet
from radar.diffusion.schedule import T, at, diffuse, image_noise
from radar.images.filters import top_mean
from radar.images.image_set import ImageSet
from radar.images.synthetic import TEXTURES, paste
from radar.images.tiling import tiling
from radar.method.detector import Detector, MethodError, Prediction


class DiffusionAD(Detector):
    """The defaults are the authors' code's, but for textures.

    patch, stride: px, side of the training patches and of the test tiles, and from tile to tile.
    channels, layers_per_block, attention, norm_groups: of the noise predictor, see radar.diffusion.networks.unet.
    segmentation_channels: of the segmentation network's levels.
    tile_batch: how many tiles go through the networks at once; a matter of memory and speed only.
    t_n, t_m: the two timesteps at test time.
    t_split: in training t_n is uniform below it and t_m from it to 999.
    guidance: "norm" = the paper's, its w is guidance_weight; "none" = the plain one-step estimate from e_n at t_n, in
        the training too.
    segmentation: "network" = the paper's; "none" = an ablation [ours]: no second network, no synthetic anomalies, and
        the map is the squared difference between image and reconstruction.
    anomaly_probability: share of the training patches that get a synthetic anomaly.
    textures: photographs (brick, grass, gravel; never the one that is tested) to take anomalies from, besides the
        shuffled patch. Paper: the Describable Textures Dataset.
    top_fraction: share of the smoothed map's pixels whose mean is the image score.
    """

    def __init__(self, *, patch: int = 256, stride: int = 256, channels: Sequence[int] = (128, 128, 256, 256, 512, 512),
                 layers_per_block: int = 2, attention: Sequence[int] = (32, 16, 8), norm_groups: int = 32,
                 segmentation_channels: Sequence[int] = (64, 128, 256, 512, 512, 512), tile_batch: int = 32,
                 t_n: int = 200, t_m: int = 400, t_split: int = 300, guidance: str = "norm",
                 guidance_weight: float = 1.0, segmentation: str = "network", anomaly_probability: float = 0.5,
                 textures: Sequence[str] = (), top_fraction: float = 50 / 256**2, **common):
        super().__init__(**common)
        self.require(guidance in ("norm", "none"), f"guidance is '{guidance}'; allowed: norm, none")
        self.require(segmentation in ("network", "none"), f"segmentation is '{segmentation}'; allowed: network, none")
        self.require(0 <= t_n < T and (guidance == "none" or t_n < t_m < T),
                     f"t_n is {t_n} and t_m {t_m}; allowed: 0 <= t_n < t_m <= {T - 1}")
        self.require(0 < t_split < T, f"t_split is {t_split}; allowed: 1 to {T - 1}")
        self.require(0 <= anomaly_probability < 1,
                     f"anomaly_probability is {anomaly_probability}; allowed: 0 up to, not at, 1")
        for name in textures:
            self.require(name in TEXTURES, f"no texture '{name}'; allowed: {', '.join(TEXTURES)}")
        for name, widths in (("channels", channels), ("segmentation_channels", segmentation_channels)):
            self.require(patch % 2 ** (len(widths) - 1) == 0 and not any(width % norm_groups for width in widths),
                         f"{name} is {list(widths)}; every width must be a multiple of norm_groups = {norm_groups}, "
                         f"and patch = {patch} of 2^{len(widths) - 1}, the levels' halvings")
        sides = [patch // 2**level for level in range(len(channels))]
        for side in attention:
            self.require(side in sides, f"attention at {side} px; the feature maps have {sides} px")
        self.patch, self.stride, self.tile_batch = patch, stride, tile_batch
        self.unet_settings: dict = {"patch": patch, "channels": list(channels), "layers_per_block": layers_per_block,
                              "attention": list(attention), "norm_groups": norm_groups}
        self.segmentation_channels = list(segmentation_channels) if segmentation == "network" else None
        self.t_test = [t_n, t_m] if guidance == "norm" else [t_n]
        self.nfe = len(self.t_test)  # of the noise predictor; the segmentation is not counted
        self.t_ranges = [(0, t_split), (t_split, T)][:len(self.t_test)]
        self.guidance_weight, self.anomaly_probability, self.textures = guidance_weight, anomaly_probability, textures
        self.top_fraction = top_fraction

    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.networks_.parameters())

    def fit(self, normal: ImageSet) -> None:
        """Train both networks on random patches. Raises MethodError without a training budget."""
        if self.training is None:
            raise MethodError("DiffusionAD trains its own networks and was given no training")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)  # the initial weights
            self._build(normal.channels)
        count = self.training.settings["batch_size"]
        self.training(self.networks_, self.loss, lambda g: normal.random_patches(count, self.patch, g))

    def _build(self, image_channels: int) -> None:
        networks = nn.ModuleDict({"unet": unet(image_channels, self.unet_settings)})
        if self.segmentation_channels:
            networks["segmentation"] = Segmentation(2 * image_channels, self.segmentation_channels,
                                                    self.unet_settings["norm_groups"])
        networks.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.networks_ = networks.eval().requires_grad_(False)

    def loss(self, x_0: Tensor, generator: torch.Generator) -> Tensor:
        """The training loss of normal patches x_0 [N, C, patch, patch]; anomalies and noise are drawn anew."""
        n = len(x_0)
        mask = torch.zeros(n, 1, *x_0.shape[2:], dtype=torch.bool)
        if self.segmentation_channels:
            rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
            x_0, mask = paste(x_0, rng, self.anomaly_probability, textures=self.textures)
        t = [torch.randint(low, high, (n,), generator=generator) for low, high in self.t_ranges]
        e = [torch.randn(x_0.shape, generator=generator).to(self.device) for _ in t]
        x_0, mask = x_0.to(self.device), mask.to(self.device)
        x_rec, predicted = self._denoise(x_0, t, e)

        normal = ~mask.flatten(1).any(1)
        noise_loss = sum((one - other).square().flatten(1).mean(1) for one, other in zip(e, predicted, strict=True))
        noise_loss = (noise_loss * normal).sum() / normal.sum().clamp(min=1)  # 0 in a batch of anomalies only [code]
        if not self.segmentation_channels:
            return noise_loss
        logits, mask = self._segment(x_0, x_rec), mask.float()
        return noise_loss + 5 * focal_loss(logits, mask) + F.smooth_l1_loss(logits.sigmoid(), mask)

    def _denoise(self, x_0: Tensor, t: list[Tensor], e: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """(x_0*, [e_n, e_m]) of x_0 [N, C, patch, patch], noised with e to the timesteps t [N] of each scale."""
        x_t = [diffuse(x_0, *one) for one in zip(t, e, strict=True)]
        a = [at(one, self.device) for one in t]
        batch = torch.cat(x_t).contiguous(memory_format=torch.channels_last)  # both scales go through it together
        predicted = self.networks_["unet"](batch, torch.cat(t).to(self.device), return_dict=False)[0].chunk(len(t))
        if len(t) == 1:
            return one_step(x_t[0], predicted[0], a[0]), list(predicted)
        (x_tn, x_tm), (e_n, e_m), (a_n, a_m) = x_t, predicted, a
        return norm_guided(x_tn, x_tm, e_n, e_m, a_n, a_m, self.guidance_weight), list(predicted)

    def _segment(self, x_0: Tensor, x_rec: Tensor) -> Tensor:
        """Logits of the mask, [N, 1, patch, patch]."""
        return self.networks_["segmentation"](
            torch.cat([x_0, x_rec], dim=1).contiguous(memory_format=torch.channels_last))

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Prediction:
        """From the masks (or reconstructions) of overlapping tiles, stitched. They share the noise, the image's."""
        tiles = tiling(*images.shape[2:], self.patch, self.stride, images.device)
        noise = [image_noise(*images.shape[1:], self.seed, draw, images.device) for draw in range(self.nfe)]
        batch = [tiles.split(images), *(tiles.split(e).repeat(len(images), 1, 1, 1) for e in noise)]
        parts = zip(*(one.split(self.tile_batch) for one in batch), strict=True)
        stitched = tiles.stitch(torch.cat([self._predict_tiles(*part) for part in parts]))
        differing = stitched[:, 0] if self.segmentation_channels else (images - stitched).square().mean(1)
        anomaly_map = self.full_map(differing, images)
        return Prediction(top_mean(anomaly_map, self.top_fraction), anomaly_map)

    def _predict_tiles(self, x_0: Tensor, *e: Tensor) -> Tensor:
        """The mask of tiles, 0 ... 1, [N, 1, patch, patch]; without segmentation network x_0* [N, C, patch, patch]."""
        x_rec, _ = self._denoise(x_0, [torch.full((len(x_0),), t) for t in self.t_test], list(e))
        return self._segment(x_0, x_rec).sigmoid() if self.segmentation_channels else x_rec

    def state(self) -> dict[str, Tensor]:
        """The weights, named unet.* and segmentation.*."""
        return self.networks_.state_dict()

    def restore(self, state: dict[str, Tensor]) -> None:
        self._build(state["unet.conv_in.weight"].shape[1])
        self.networks_.load_state_dict(state)


def one_step(x_t: Tensor, e: Tensor, a: Tensor | float) -> Tensor:
    """clamp((x_t - sqrt(1 - a) e) / sqrt(a)), the image that x_t and its noise e imply, at a = alpha_bar_t."""
    return ((x_t - (1 - a) ** 0.5 * e) / a**0.5).clamp(-1, 1)


def norm_guided(x_tn: Tensor, x_tm: Tensor, e_n: Tensor, e_m: Tensor, a_n: Tensor | float, a_m: Tensor | float,
                w: float) -> Tensor:
    """x_0* of the module's equations, [N, C, H, W] in [-1, 1]; w = 0 leaves x_0n, the one-step estimate of x_tn.

    Where nothing is clamped this is x_0n + (1 - a_n) w (x_0m - x_0n): at t_n = 200 a third of the way to the norm.
    """
    x_0m = one_step(x_tm, e_m, a_m)
    y = a_n**0.5 * x_0m + (1 - a_n) ** 0.5 * e_n
    return one_step(x_tn, e_n - (1 - a_n) ** 0.5 * w * (y - x_tn), a_n)


def focal_loss(logits: Tensor, mask: Tensor, alpha: float = 0.5, gamma: float = 4.0) -> Tensor:
    """Mean of -alpha (1 - p)^gamma log p, p being the probability given to a pixel's true class (mask: 0 or 1).

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017. alpha weighs both classes alike, as in the code.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    return (alpha * (1 - (-cross_entropy).exp()) ** gamma * cross_entropy).mean()


class Segmentation(nn.Module):
    """The segmentation network: image and reconstruction [N, 2C, H, W] to the logits of a mask [N, 1, H, W].

    DRAEM's discriminative U-Net (Zavrtanik et al., ICCV 2021), layer by layer as in DiffusionAD's code but for the
    normalisation and the sigmoid at its end: logits are exact where the sigmoid is rounded to 0 or 1.
    """

    def __init__(self, channels_in: int, channels: Sequence[int], norm_groups: int):
        super().__init__()
        self.down, self.up, self.join = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for before, width in zip([channels_in, *channels], channels, strict=False):
            self.down.append(nn.Sequential(*_layer(before, width, norm_groups), *_layer(width, width, norm_groups)))
        below = channels[-1]
        for level in reversed(range(len(channels) - 1)):
            width = channels[max(level - 1, 0)]  # a level gives back the width of the next finer one
            self.up.append(nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                                         *_layer(below, width, norm_groups)))
            self.join.append(nn.Sequential(*_layer(width + channels[level], width, norm_groups),
                                           *_layer(width, width, norm_groups)))
            below = width
        self.out = nn.Conv2d(below, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for up, join, skip in zip(self.up, self.join, skips[-2::-1], strict=True):
            x = join(torch.cat([up(x), skip], dim=1))
        return self.out(x)


def _layer(channels_in: int, channels_out: int, norm_groups: int) -> list[nn.Module]:
    return [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.GroupNorm(norm_groups, channels_out),
            nn.ReLU(inplace=True)]
