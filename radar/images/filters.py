"""Turning noise and residuals into anomaly maps: Sobel magnitude, smoothing, and numbers that sum a map up."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# G_x of Sobel; G_y is its transpose.
SOBEL_X = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def sobel_magnitude(n: Tensor) -> Tensor:
    """S = sqrt((G_x * n)^2 + (G_y * n)^2) of n [N, C, H, W], per channel; borders are replicated."""
    c = n.shape[1]
    kernels = torch.stack([SOBEL_X, SOBEL_X.T]).to(n)[:, None]
    gradients = F.conv2d(F.pad(n, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[:, None], kernels)
    return gradients.square().sum(1).sqrt().view(-1, c, *n.shape[2:])


def channel_norm(evidence: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, H, W]: the L2 norm over channels, which for grey images is the absolute value."""
    return torch.linalg.vector_norm(evidence, dim=1)


def smooth(anomaly_map: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing of [N, H, W] with `sigma` px (0 = none), borders replicated."""
    if sigma == 0:
        return anomaly_map
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=anomaly_map.dtype, device=anomaly_map.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(anomaly_map[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))[:, 0]


def resized(anomaly_map: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """A map over a grid, [N, H', W'], as one of `size` (H, W), by bilinear interpolation."""
    if anomaly_map.shape[1:] == size:
        return anomaly_map
    return F.interpolate(anomaly_map[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def top_mean(anomaly_map: Tensor, fraction: float) -> Tensor:
    """[N, H, W] -> [N]: the mean of the largest `fraction` of an image's pixels, at least one."""
    values = anomaly_map.flatten(1)
    return values.topk(max(1, round(fraction * values.shape[1])), dim=1).values.mean(1)


def root_mean_squares(maps: Tensor, patch: int, stride: int) -> Tensor:
    """[N, H, W] -> [N, 2]: the root mean square over the image, and the largest one over a patch.

    Patches are `patch` px squares every `stride` px (the last ones end at the border); images smaller than a patch
    have one patch, the image.
    """
    energy = maps.square()[:, None]
    height, width = energy.shape[2:]
    window = (min(patch, height), min(patch, width))
    local = F.avg_pool2d(energy, window, stride)
    corner = F.avg_pool2d(energy[..., height - window[0]:, width - window[1]:], window)
    bottom = F.avg_pool2d(energy[..., height - window[0]:, :], window, stride)
    right = F.avg_pool2d(energy[..., width - window[1]:], window, stride)
    largest = torch.cat([pooled.flatten(1) for pooled in (local, bottom, right, corner)], dim=1).amax(1)
    return torch.stack([energy.flatten(1).mean(1), largest], dim=1).sqrt()
