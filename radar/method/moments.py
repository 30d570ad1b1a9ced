"""Mean, deviation and covariance of what is seen once and not kept, at many positions at a time.

The covariance may be shrunk towards a multiple of the identity, by Ledoit and Wolf's rule (J. Multivariate Analysis 88,
2004): with residuals r_k, k = 1 ... n, of D numbers, S = 1/n sum_k r_k r_k^T, mu = tr S / D,

    b = (1/n sum_k |r_k|^4 - |S|^2) / (n D),   d = (|S|^2 - D mu^2) / D,   a = min(b, d) / d,   S* = (1 - a) S + a mu I

The residuals are only known with the mean; sum |r_k|^4, expanded around a centre near it, is a sum over vectors, too.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from radar.method.detector import MethodError


class Moments:
    """Sums over vectors x [P, N, D], N at each of P positions; everything in float64.

    centre: [P, D], near the means; unit: [D], what each number is divided by. The results are of (x - mean) / unit.
    """

    def __init__(self, centre: Tensor, unit: Tensor):
        self.centre, self.unit, self.n = centre.double(), unit.double(), 0
        p, d = self.centre.shape
        self._y, self._qy = self.centre.new_zeros(p, d), self.centre.new_zeros(p, d)
        self._yy, self._qq = self.centre.new_zeros(p, d, d), self.centre.new_zeros(p)

    def add(self, x: Tensor) -> None:
        """Take in x [P, N, D]."""
        y = (x.double() - self.centre[:, None]) / self.unit
        q = y.square().sum(2)
        self.n += x.shape[1]
        self._y += y.sum(1)
        self._yy += y.mT @ y
        self._qy += (q[..., None] * y).sum(1)
        self._qq += q.square().sum(1)

    def mean(self) -> Tensor:
        """The mean of x at every position, [P, D]."""
        return self.centre + self._y / self.n * self.unit

    def scatter(self) -> Tensor:
        """sum_k r_k r_k^T at every position, [P, D, D]; r = (x - mean) / unit."""
        shift = self._y / self.n
        return self._yy - self.n * shift[..., None] * shift[:, None]

    def fourth(self) -> Tensor:
        """sum_k |r_k|^4 at every position, [P]."""
        d = self._y / self.n
        dd, dy = d.square().sum(1), (d * self._y).sum(1)
        yy = self._yy.diagonal(dim1=1, dim2=2).sum(1)
        return (self._qq + 4 * torch.einsum("pi,pij,pj->p", d, self._yy, d) + self.n * dd**2
                - 4 * (d * self._qy).sum(1) + 2 * dd * yy - 4 * dd * dy)


def ledoit_wolf(scatter: Tensor, fourth: Tensor, n: int) -> Tensor:
    """The shrunk covariances [P, D, D] from scatter [P, D, D] and sum |r|^4 [P] of n residuals each."""
    S, d = scatter / n, scatter.shape[-1]
    square = S.square().sum((1, 2))
    mu = S.diagonal(dim1=1, dim2=2).sum(1) / d
    spread = (square - d * mu**2) / d
    noise = torch.minimum((fourth / n - square) / (n * d), spread)
    share = torch.where(noise > 0, noise / spread.clamp(min=1e-300), torch.zeros_like(noise))[:, None, None]
    return (1 - share) * S + share * mu[:, None, None] * torch.eye(d, dtype=S.dtype, device=S.device)


def position_statistics(maps: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [G, H, W] of maps [N, G, H, W] at every position; they are gone through once.

    The deviation at a position is shrunk half-way to the mean deviation of its scale [ours]: from some tens of images
    it is known to some tenths only. Raises MethodError if sizes differ or there is a single image.
    """
    n, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for batch in maps:
        batch = batch.double()
        if n and batch.shape[1:] != mean.shape:
            raise MethodError("to standardise by position takes training images of one size")
        # the mean of the batch moves the mean, and the squares around it (Chan, Golub, LeVeque 1983)
        shift, n = batch.mean(0) - mean, n + len(batch)
        squares = squares + (
            (batch - batch.mean(0)).square().sum(0) + shift.square() * len(batch) * (n - len(batch)) / n)
        mean = mean + shift * len(batch) / n
    if n < 2:
        raise MethodError("to standardise by position takes at least two training images")
    deviation = (squares / (n - 1)).sqrt()
    typical = deviation.mean((1, 2), keepdim=True)
    return mean.float(), (0.5 * deviation + 0.5 * typical).clamp(min=1e-12).float()
