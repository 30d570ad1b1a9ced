"""DDPM reconstruction by partial diffusion, the iterative rival, with Gaussian or simplex noise.

AnoDDPM: Wyatt, Leach, Schmon, Willcocks, CVPR Workshops 2022. Noise the image to lambda, run the ancestral reverse
chain down to 0 and compare: A = (x_0 - x_rec)^2. A respaced chain (Nichol & Dhariwal, "Improved DDPM", ICML 2021)
takes fewer, longer steps with the posterior of Ho et al. (NeurIPS 2020, eqs. 6 and 7) between kept timesteps.

The noise is of the kind that the noise predictor was trained with, Gaussian or simplex (radar.diffusion.simplex), in
the forward diffusion and in the ancestral steps, as in the run behind the metrics of the authors' code (whose sweep
over lambda adds Gaussian noise either way).

Ours: the ancestral steps have the posterior's variance, where the authors' code has beta_t, the two extremes of Ho et
al. (section 3.2); the image score; on features x_0 has no bounds, so nothing is clamped, and the map is interpolated to
the image. The authors' code swaps precision and recall; not here.
"""

from torch import Tensor

from radar.diffusion.predictor import NoisePredictor
from radar.diffusion.schedule import ALPHA_BAR, T, diffuse
from radar.images.filters import top_mean
from radar.images.image_set import ImageSet
from radar.method.detector import Detector, Prediction


class DDPM(Detector):
    """noise_level: lambda, the timestep to which the image is noised, 1 ... 999. Paper: 250.
    chain_steps: network evaluations from lambda to 0, at most lambda; equal to lambda = the paper's full chain.
    top_fraction: share of the smoothed map's pixels whose mean is the image score [ours].
    """

    noise_predictor: NoisePredictor

    def __init__(self, *, noise_level: int = 250, chain_steps: int = 250, top_fraction: float = 0.01, **common):
        super().__init__(**common)
        self.require(1 <= noise_level < T, f"noise_level is {noise_level}; allowed: 1 to {T - 1}")
        self.require(1 <= chain_steps <= noise_level,
                     f"chain_steps is {chain_steps}; allowed: 1 to noise_level = {noise_level}")
        # where the network is evaluated: from lambda downwards, evenly spaced, above 0
        self.timesteps = [round(noise_level * (chain_steps - i) / chain_steps) for i in range(chain_steps)]
        self.nfe, self.top_fraction = chain_steps, top_fraction

    def fit(self, normal: ImageSet) -> None:
        """Nothing to learn beyond the noise predictor."""

    def reconstruct(self, x_0: Tensor) -> Tensor:
        """x_rec of x_0 [N, C, H, W]: noised to lambda, denoised by the ancestral chain tile by tile, then stitched."""
        predictor = self.noise_predictor
        tiles = predictor.tiling(x_0)
        clamp = predictor.features is None  # pixels have a range, standardised features have none

        def noise(draw: int) -> Tensor:  # of the whole image, so that overlapping tiles share it
            return tiles.split(predictor.noise(x_0, self.seed, draw)).repeat(len(x_0), 1, 1, 1)

        x_t = diffuse(tiles.split(x_0), self.timesteps[0], noise(0))
        for i, (t, s) in enumerate(zip(self.timesteps, [*self.timesteps[1:], None], strict=True)):
            mean, variance = posterior(x_t, predictor.eps(x_t, t), t, s, clamp)
            x_t = mean + variance**0.5 * noise(i + 1) if s is not None else mean
        return tiles.stitch(x_t)

    def predict(self, images: Tensor) -> Prediction:
        x_0 = self.noise_predictor.encode(images)
        anomaly_map = self.full_map((x_0 - self.reconstruct(x_0)).square().mean(1), images)
        return Prediction(top_mean(anomaly_map, self.top_fraction), anomaly_map)


def posterior(x_t: Tensor, eps: Tensor, t: int, s: int | None, clamp: bool = True) -> tuple[Tensor, float]:
    """Mean and variance of q(x_s | x_t, x_0) with x_0 estimated from eps.

    s < t is the next kept timestep, None = x_0 itself (mean x_0, variance 0). clamp: the estimated x_0 to [-1, 1], the
    range of pixels. With alpha = alpha_bar_t / alpha_bar_s and beta = 1 - alpha this is Ho et al.'s eq. 7:
    mean = (sqrt(alpha_bar_s) beta x_0 + sqrt(alpha) (1 - alpha_bar_s) x_t) / (1 - alpha_bar_t),
    variance = beta (1 - alpha_bar_s) / (1 - alpha_bar_t).
    """
    a_t = ALPHA_BAR[t]
    x_0 = (x_t - (1 - a_t) ** 0.5 * eps) / a_t**0.5
    if clamp:
        x_0 = x_0.clamp(-1, 1)
    if s is None:
        return x_0, 0.0
    a_s = ALPHA_BAR[s]
    alpha = a_t / a_s
    mean = (a_s**0.5 * (1 - alpha) * x_0 + alpha**0.5 * (1 - a_s) * x_t) / (1 - a_t)
    return mean, (1 - alpha) * (1 - a_s) / (1 - a_t)
