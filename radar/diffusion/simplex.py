"""Simplex noise in octaves, which AnoDDPM diffuses with in place of Gaussian noise.

Wyatt, Leach, Schmon, Willcocks, "AnoDDPM: Anomaly Detection with Denoising Diffusion Probabilistic Models using Simplex
Noise", CVPR Workshops 2022: e = sum_i p^i simplex(x / f_i, y / f_i, z) with f_i = f / 2^i; six octaves, persistence
p = 0.8, f = 64 px. Most of its power lies at low frequencies, so that large defects are noised away, too.

The authors' code: three-dimensional OpenSimplex noise, a new permutation per draw and channel; all octaves start at the
corner x = y = 0, with z = t / f_i, t the timestep; one field for the whole batch; no normalisation. Its e has standard
deviation 0.505, not 1, so x_t holds a quarter of the noise variance that the schedule says.

Ours: unit variance, so that one schedule and one lambda serve both kinds of noise: a lambda is harsher than in the
published code, whose lambda = 250 has the signal-to-noise ratio of t = 140 here. We divide by the standard deviation
over all fields, a constant, not by each sample's own: that would take away what the low octaves do (32 px see a quarter
of a wave of the first), and make e depend on the crop. Every octave starts at its own random place (from a common
corner they are scaled copies of each other); every image and channel has its own field.
"""

import math

import numba  # which opensimplex compiles itself with
import numpy as np
import torch
from opensimplex import OpenSimplex
from torch import Tensor

PERIOD = 1536  # of OpenSimplex along an axis: 256 permuted entries times the six units after which its lattice repeats
SPACING = 5    # between fields along z: a lattice point reaches sqrt(2) far, so they share none; prime to the six units
BLOCK = 256    # fields per permutation: BLOCK * SPACING < PERIOD
SHARE = 100_000  # values that make a thread worth waking, 3 ms; on a busy machine the wait for it can take far longer

# The variance of OpenSimplex in 3-D at a random place [our derivation]. A lattice point at distance r < sqrt(2) adds
# (2 - r^2)^4 g.d / 103 with |d| = r and a random gradient g, |g|^2 = 153; there is half a point per unit of volume. So
# the variance is 1/2 (153 / 3) / 103^2 times the integral of (2 - r^2)^8 r^2 over the ball, 4 pi 512 sqrt(2) B(5/2, 9).
# Measured over 1,500 permutations: standard deviation 0.3140, against 0.3139.
_BETA = math.gamma(2.5) * math.gamma(9) / math.gamma(11.5)
SIMPLEX_VARIANCE = 0.5 * 51 / 103**2 * 4 * math.pi * 512 * math.sqrt(2) * _BETA


def simplex_noise(count: int, channels: int, height: int, width: int, generator: torch.Generator,
                  frequency: float = 64, octaves: int = 6, persistence: float = 0.8) -> Tensor:
    """Fields of zero mean and unit variance, float32 [count, C, H, W], each image and channel its own.

    Mean and variance are those over many draws: a single small field is dominated by its few slow waves.
    frequency: the paper's word for f, the unit of length of the first octave in px; every further one has half of it.
        An octave's power is centred at 0.47 / f_i cycles per px, waves of 2.1 f_i; 0.74 of e's lies below 1 / 32.
    persistence: amplitude of an octave relative to the one before.
    generator: on the CPU; the only source of randomness: the same bits with any number of threads.
    """
    total, threads = count * channels, torch.get_num_threads()
    wanted = 1 + min(total, BLOCK) * height * width // SHARE  # but no more than torch was given, or numba started with
    numba.set_num_threads(min(wanted, threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    noise = np.zeros((total, height, width))
    for start in range(0, total, BLOCK):
        block = noise[start:start + BLOCK]
        simplex = OpenSimplex(int(torch.randint(2**62, (), generator=generator)))
        places = PERIOD * torch.rand(octaves, 3, dtype=torch.float64, generator=generator).numpy()
        for i, (x, y, z) in enumerate(places):
            f = frequency / 2**i
            block += persistence**i * simplex.noise3array(
                x + np.arange(width) / f, y + np.arange(height) / f, z + SPACING * np.arange(float(len(block))))
    if torch.get_num_threads() != threads:  # numba's first call sets them to its own number: both use one OpenMP
        torch.set_num_threads(threads)
    noise /= standard_deviation(octaves, persistence)
    return torch.from_numpy(noise).float().view(count, channels, height, width)


def standard_deviation(octaves: int = 6, persistence: float = 0.8) -> float:
    """Of the sum over octaves before normalisation, 0.505 by default: the factor back to the published code's e."""
    return math.sqrt(SIMPLEX_VARIANCE * sum(persistence ** (2 * i) for i in range(octaves)))
