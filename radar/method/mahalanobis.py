"""A normal distribution of a few numbers per image, and how far an image is from it: no ceiling, two-sided."""

from dataclasses import dataclass

import torch
from torch import Tensor

from radar.method.detector import MethodError


@dataclass(frozen=True)
class Mahalanobis:
    """mean [D] and whitening [D, D] with whitening^T whitening = inverse covariance, both float64."""

    mean: Tensor
    whitening: Tensor

    @classmethod
    def fit(cls, features: Tensor) -> "Mahalanobis":
        """From features [N, D] of normal images; the covariance is shrunk after Ledoit & Wolf (2004).

        Raises MethodError for fewer than two.
        """
        from sklearn.covariance import ledoit_wolf  # a second to import, and not needed to predict

        if len(features) < 2:
            raise MethodError(f"to judge by a normal distribution takes 2 normal training images, not {len(features)}")
        x = features.double().cpu()
        mean = x.mean(0)
        scale = (x - mean).square().mean(0).sqrt().clamp(min=1e-12)  # shrinkage needs numbers of one size
        covariance, _ = ledoit_wolf(((x - mean) / scale).numpy(), assume_centered=True)
        covariance = torch.from_numpy(covariance)
        if torch.linalg.eigvalsh(covariance)[0] < 1e-6:  # of two or three images the shrinkage is no estimate
            covariance = 0.9 * covariance + 0.1 * torch.eye(len(covariance), dtype=torch.float64)
        factor = torch.linalg.cholesky(torch.linalg.inv(covariance))
        return cls(mean.to(features.device), (factor.T / scale).to(features.device))

    def distance(self, features: Tensor) -> Tensor:
        """Mahalanobis distance [N] of features [N, D] from the mean, float64."""
        return torch.linalg.vector_norm((features.double() - self.mean) @ self.whitening.T, dim=1)
