"""Simplex noise: its values, its statistics, and AnoDDPM's chain that is driven by it."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from opensimplex import OpenSimplex
from scipy.integrate import quad

from baselines.ddpm import DDPM, posterior
from radar.diffusion.schedule import image_noise
from radar.diffusion.simplex import simplex_noise, standard_deviation
from tests.conftest import ancestral_step, closed_form

A = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fields(calls: int, count: int, size: int, draw=simplex_noise, seed: int = 0, **settings) -> np.ndarray:
    """float64 [calls * count, size, size] of several calls, as one call places all of its fields alike."""
    g = generator(seed)
    return torch.cat([draw(count, 1, size, size, g, **settings)[:, 0] for _ in range(calls)]).double().numpy()


# The values


@pytest.mark.parametrize("count, channels, height, width, frequency, octaves, persistence", [
    (2, 3, 5, 7, 64, 6, 0.8), (1, 1, 9, 4, 16, 3, 0.5), (90, 3, 2, 1, 8, 2, 0.8),
])
def test_simplex_noise_is_the_sum_over_octaves(count, channels, height, width, frequency, octaves, persistence):
    """Value by value in float64, with the documented draws; the last case has more fields than one permutation."""
    ours = simplex_noise(count, channels, height, width, generator(5), frequency, octaves, persistence)
    assert ours.shape == (count, channels, height, width) and ours.dtype == torch.float32
    # kernels (2 - r^2)^4 at half a lattice point per unit of volume, gradients of squared length 153 (see the module)
    variance = quad(lambda r: 0.5 * 4 * np.pi * r**2 * ((2 - r**2) ** 4 / 103) ** 2 * 153 * r**2 / 3, 0, 2**0.5)[0]
    scale = (variance * sum(persistence ** (2 * i) for i in range(octaves))) ** 0.5

    g, expected = generator(5), np.zeros((count * channels, height, width))
    for k in range(count * channels):
        if k % 256 == 0:
            simplex = OpenSimplex(torch.randint(2**62, (), generator=g).item())
            places = 1536 * torch.rand(octaves, 3, dtype=torch.float64, generator=g)
        for row in range(height):
            for column in range(width):
                for i, (x, y, z) in enumerate(places.tolist()):
                    f = frequency / 2**i
                    expected[k, row, column] += persistence**i / scale * simplex.noise3(
                        x + column / f, y + row / f, z + 5 * (k % 256))
    np.testing.assert_allclose(ours.view(-1, height, width), expected, atol=1e-6)


def test_the_generator_is_the_only_source_of_randomness():
    g = generator(1)
    first, second = simplex_noise(3, 2, 8, 8, g), simplex_noise(3, 2, 8, 8, g)
    torch.manual_seed(99)
    assert torch.equal(first, simplex_noise(3, 2, 8, 8, generator(1)))
    assert not torch.equal(first, second)


def test_threads_are_at_most_torchs_and_change_no_bit():
    threads = torch.get_num_threads()
    try:
        noise = {}
        for count in (1, 2, 1000):
            torch.set_num_threads(count)
            noise[count] = simplex_noise(8, 1, 160, 160, generator())  # enough for three
            assert numba.get_num_threads() == min(count, 3, numba.config.NUMBA_NUM_THREADS)
            simplex_noise(8, 1, 16, 16, generator())  # too little for more than one
            assert numba.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(noise[1], noise[2]) and torch.equal(noise[1], noise[1000])


def test_the_first_call_leaves_torchs_threads_alone():
    """In a process of its own: numba starts its threads once, and OpenMP then forgets how many torch was given."""
    command = ("import torch; torch.set_num_threads(1); from radar.diffusion.simplex import simplex_noise; "
               "simplex_noise(1, 1, 4, 4, torch.Generator()); print(torch.get_num_threads())")
    done = subprocess.run([sys.executable, "-c", command], env=os.environ | {"NUMBA_NUM_THREADS": "3"},
                          capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


# The statistics


@pytest.mark.parametrize("settings", [{}, {"octaves": 1}, {"frequency": 4, "octaves": 2, "persistence": 0.5}])
def test_zero_mean_and_unit_variance_over_many_fields(settings):
    """Within four standard errors, over 400 calls of 16 fields each."""
    e = fields(400, 16, 4, **settings).reshape(400, -1)
    mean, square = e.mean(1), (e**2).mean(1)
    assert abs(mean.mean()) < 4 * mean.std() / 20 < 0.08
    assert abs(square.mean() - 1) < 4 * square.std() / 20 < 0.08


def test_scale_of_the_published_code():
    """Half the standard deviation, a quarter of the variance, as radar.diffusion.simplex says."""
    assert standard_deviation() == pytest.approx(0.505, abs=5e-4)
    g = np.random.default_rng(0)
    e = np.array([sum(0.8**i * simplex.noise3(*g.uniform(0, 1e4, 3)) for i in range(6))
                  for simplex in map(OpenSimplex, range(50)) for _ in range(200)])
    assert e.std() == pytest.approx(standard_deviation(), rel=0.03)


def test_fields_and_channels_are_independent():
    """Neighbours of a call, of an image and of the first and second permutation: no correlation beyond chance."""
    g = generator()
    e = torch.stack([simplex_noise(130, 2, 2, 2, g)[:, :, 0, 0].flatten() for _ in range(400)]).double()
    for k, other in ((0, 1), (0, 2), (7, 8), (0, 6), (100, 101), (0, 256), (3, 259)):
        correlation = torch.corrcoef(e[:, [k, other]].T)[0, 1]
        assert abs(correlation) < 4 / 400**0.5, (k, other)


def radial_power(e: np.ndarray, edges: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean power density and share of all power between radial frequencies `edges`, in cycles per px."""
    size = e.shape[-1]
    window = np.outer(np.hanning(size), np.hanning(size))
    power = (np.abs(np.fft.fft2(e * window)) ** 2).mean(0)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    rings = [(radius >= low) & (radius < high) for low, high in zip(edges, edges[1:], strict=False)]
    return (np.array([power[ring].mean() for ring in rings]),
            np.array([power[ring].sum() for ring in rings]) / power.sum())


EDGES = [0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2]


def test_power_falls_with_frequency_where_gaussian_noise_is_flat():
    density, share = radial_power(fields(4, 8, 128), EDGES)
    assert (density[:-1] > 4 * density[1:]).all()
    assert 0.65 < share[:2].sum() < 0.85  # below 1 / 32 cycles per px

    flat = np.random.default_rng(0).standard_normal((32, 128, 128))
    density, share = radial_power(flat, EDGES)
    np.testing.assert_allclose(density / density[-1], 1, atol=0.3)  # few frequencies lie in the first ring
    assert share[:2].sum() < 0.005


def test_octaves_add_their_powers():
    """Six octaves from 64 px have the power of six single ones of 64, 32 ... 2 px, in shares 0.64^i: they stand at
    places of their own, so none is a copy of another, and each is centred at 0.47 / f_i cycles per px."""
    together, _ = radial_power(fields(8, 8, 128), EDGES)
    single = [radial_power(fields(8, 8, 128, seed=i + 1, frequency=64 / 2**i, octaves=1), EDGES)[0] for i in range(6)]
    shares = 0.64 ** np.arange(6) / (0.64 ** np.arange(6)).sum()
    np.testing.assert_allclose(together[1:] / (shares @ np.array(single))[1:], 1, atol=0.15)

    frequencies = np.linspace(0, 0.5, 65)
    for f in (8, 4, 2):
        _, share = radial_power(fields(8, 8, 128, frequency=f, octaves=1), frequencies.tolist())
        centre = share @ (frequencies[1:] + frequencies[:-1]) / 2
        assert centre * f == pytest.approx(0.47, abs=0.03)


# The chain


@pytest.mark.parametrize("noise", ["gaussian", "simplex"])
@pytest.mark.parametrize("steps", [40, 4])
def test_a_predictor_that_knows_the_noise_reconstructs_the_image(noise, steps):
    """Full and respaced chain; the noise of every step is of the predictor's kind, one field for the whole image."""
    x_0 = 1.8 * torch.rand(2, 1, 24, 24, generator=generator()) - 0.9
    seen = []

    def eps(x_t: torch.Tensor, t: int) -> torch.Tensor:
        e = (x_t - A[t] ** 0.5 * tiles) / (1 - A[t]) ** 0.5
        seen.append((t, x_t, e))
        return e

    predictor = closed_form(eps, 16, 8, noise)
    split = predictor.tiling(x_0).split
    tiles = split(x_0)
    ddpm = DDPM(noise_level=40, chain_steps=steps, noise_predictor=predictor, seed=3)
    torch.testing.assert_close(ddpm.reconstruct(x_0), x_0, atol=1e-5, rtol=0)
    assert len(seen) == ddpm.nfe == steps

    drawn = [split(image_noise(1, 24, 24, 3, draw, "cpu", noise)).repeat(2, 1, 1, 1) for draw in range(steps)]
    torch.testing.assert_close(seen[0][2], drawn[0], atol=1e-4, rtol=0)
    for (t, x_t, e), (s, x_s, _), field in zip(seen, seen[1:], drawn[1:], strict=False):
        mean, variance = posterior(x_t, e, t, s)
        torch.testing.assert_close((x_s - mean) / variance**0.5, field, atol=1e-3, rtol=0)


@pytest.mark.parametrize("steps", [25, 5])
def test_simplex_chain_on_simplex_data_has_its_closed_form(steps):
    """Data s * simplex noise has the noise's own spectrum, so the best linear predictor is the same factor of x_t at
    every frequency, and the reconstruction's variance follows by recursion from the unit variance of every draw."""
    s = 0.2
    predictor = closed_form(lambda x, t: (1 - A[t]) ** 0.5 * x / (A[t] * s**2 + 1 - A[t]), 16, 16, "simplex")
    ddpm = DDPM(noise_level=250, chain_steps=steps, noise_predictor=predictor)
    x_0 = s * simplex_noise(1, 256, 16, 16, generator(8))  # 256 channels = 256 fields
    rec = ddpm.reconstruct(x_0)

    kept = np.linspace(250, 0, steps + 1).round().astype(int)
    variance = A[250] * s**2 + 1 - A[250]
    for t, after in zip(kept, kept[1:], strict=False):
        factor, added = ancestral_step(A, t, after, s)
        variance = factor**2 * variance + added
    assert rec.square().mean().item() ** 0.5 == pytest.approx(variance**0.5, rel=0.1)


def test_features_are_not_clamped_and_their_map_has_the_images_size():
    """Standardised features have no range; pixels do."""
    images = 2 * torch.rand(2, 3, 32, 32, generator=generator()) - 1
    x_0 = 9 * F.avg_pool2d(images, 4)
    assert x_0.abs().max() > 2
    oracle = closed_form(lambda x_t, t: (x_t - A[t] ** 0.5 * x_0) / (1 - A[t]) ** 0.5, 8, 8)
    ddpm = DDPM(noise_level=100, chain_steps=10, noise_predictor=oracle)
    torch.testing.assert_close(ddpm.reconstruct(x_0), x_0.clamp(-1, 1), atol=1e-4, rtol=0)
    oracle.features, oracle.encode = object(), lambda images: 9 * F.avg_pool2d(images, 4)
    torch.testing.assert_close(ddpm.reconstruct(x_0), x_0, atol=1e-4, rtol=0)
    prediction = ddpm.predict(images).check(images, "DDPM on features")
    assert prediction.anomaly_map.max() < 1e-6
    assert ddpm.predict(images.flip(0)).anomaly_map.max() > 1  # the predictor still knows the other image
