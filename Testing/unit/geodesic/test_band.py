"""The band against torch.fft and scipy on whole grids."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.metric import Metric

GRIDS = [((16, 21), 6), ((9, 12, 10), 5)]


def random(band: Band, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, band.dims, *band.sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=GRIDS, ids=str)
def band(request: pytest.FixtureRequest) -> Band:
    return Band(*request.param, dtype=torch.float64)


def kept(shape: tuple[int, ...], sizes: tuple[int, ...]) -> np.ndarray:
    """Which frequencies of ``numpy.fft.fftn`` a band keeps."""
    axes = [np.abs(np.fft.fftfreq(size, 1 / size)) <= n // 2 for size, n in zip(shape, sizes, strict=True)]
    return np.asarray(np.logical_and.reduce(np.meshgrid(*axes, indexing="ij")))


def test_coordinates_are_the_hermitian_coefficients(band: Band) -> None:
    values = random(band)
    axes = tuple(range(2, 2 + band.dims))
    whole = np.fft.fftn(band.to_grid(values).numpy(), axes=axes, norm="forward")
    own = np.fft.fftn(np.fft.irfftn(band.spectrum(values).numpy(), s=band.sizes, axes=axes, norm="forward"),
                      axes=axes, norm="forward")
    inside = kept(band.shape, band.sizes)
    assert np.abs(whole[..., ~inside]).max() < 1e-14
    assert np.abs(whole[..., inside] - own.reshape(1, band.dims, -1)).max() < 1e-14
    assert np.abs(np.square(np.abs(own)).sum() * band.weight - values.square().sum().item()) < 1e-11
    assert torch.allclose(band.from_spectrum(band.spectrum(values)), values, atol=1e-13)


def test_the_convolution_is_the_products_lowest_frequencies(band: Band) -> None:
    first, second = random(band), random(band, 1)
    found = band.to_grid(band.convolve(first, second)).numpy()
    fine = [3 * size for size in band.shape]  # nothing is aliased there
    axes = tuple(range(2, 2 + band.dims))
    product = (band.spread(first, tuple(fine)) * band.spread(second, tuple(fine))).numpy()
    frequencies = np.fft.fftn(product, axes=axes, norm="forward") * kept(tuple(fine), band.sizes)
    truth = np.fft.ifftn(frequencies, axes=axes, norm="forward").real[(..., *[slice(None, None, 3)] * band.dims)]
    assert np.abs(found - truth).max() < 1e-13
    assert np.abs(truth).max() > 0.1


def test_derivative_is_that_of_the_fourier_series(band: Band) -> None:
    values = random(band)
    voxels = band.to_grid(values).numpy()
    for axis in range(band.dims):
        waves = np.fft.fftfreq(band.shape[axis]).reshape([-1 if place == axis else 1 for place in range(band.dims)])
        truth = np.fft.ifft(2j * np.pi * waves * np.fft.fft(voxels, axis=2 + axis), axis=2 + axis).real
        assert np.abs(band.to_grid(band.derivative(values, axis)).numpy() - truth).max() < 1e-13
        assert np.abs(truth).max() > 0.1


def test_the_metric_is_the_cube_of_the_voxels_laplacian(band: Band) -> None:
    values, alpha = random(band), 1.7
    voxels = band.to_grid(values).numpy()
    for _ in range(3):
        laplacian = np.stack([scipy.ndimage.laplace(component, mode="wrap") for component in voxels[0]])[None]
        voxels = voxels - alpha * laplacian
    metric = Metric.of(band, alpha)
    assert np.abs(band.to_grid(metric.lower(values)).numpy() - voxels).max() < 1e-10 * np.abs(voxels).max()
    assert torch.allclose(metric.raise_(metric.lower(values)), values, atol=1e-12)


def test_the_prior_is_a_normal_distribution(band: Band) -> None:
    values, metric = random(band), Metric.of(band, 2.5)
    spread = metric.operator(-0.5).expand_as(values)
    truth = -torch.distributions.Normal(torch.zeros_like(values), spread).log_prob(values).sum()
    ours = metric.prior(values) + 0.5 * values.numel() * np.log(2 * np.pi)
    assert abs(float(ours - truth)) < 1e-9 * abs(float(truth))


@pytest.mark.parametrize("alpha", [2.0, 9.0])
def test_a_velocitys_regularity_is_found_whatever_its_amplitude(alpha: float) -> None:
    """Of velocities four times as long as the prior's; with an amplitude of one alpha would be far too small."""
    metric = Metric.of(Band((100, 100), 16, dtype=torch.float64), alpha)
    values = 4 * random(Band((100, 100), 16), 1).expand(1, 2, 15, 15) * metric.operator(-0.5)
    amplitude = float(metric.amplitude(values))
    assert abs(amplitude / 16 - 1) < 0.2
    slopes = [float(Metric.of(metric.space, factor * alpha).prior_slope(values, amplitude)) for factor in (0.7, 1.4)]
    assert slopes[0] < 0 < slopes[1]  # the energy has its least in between
    assert float(Metric.of(metric.space, alpha / 3).prior_slope(values)) > 0


def test_the_slopes_by_alpha_against_differences(band: Band) -> None:
    values, alpha, step = random(band), 2.5, 1e-5
    metric, more, less = (Metric.of(band, value) for value in (alpha, alpha + step, alpha - step))
    for amplitude in (1.0, 7.0):
        prior = (more.prior(values, amplitude) - less.prior(values, amplitude)) / (2 * step)
        assert abs(float(metric.prior_slope(values, amplitude) / prior) - 1) < 1e-6
    logs = (more.operator().log() - less.operator().log()) / (2 * step) * alpha
    information = 0.5 * band.dims * logs.square().sum()
    assert abs(float(metric.information() / information) - 1) < 1e-6


def test_to_grid_of_blocks_and_its_transpose(band: Band) -> None:
    values = random(band)
    fine = band.to_grid(values)
    assert torch.allclose(band.from_grid(fine), values, atol=1e-12)
    coarse = band.to_grid(values, 2)
    assert coarse.shape[2:] == tuple(-(-size // 2) for size in band.shape)
    other = torch.randn_like(coarse)
    assert abs(float((coarse * other).sum() - (values * band.onto_grid_transposed(other, 2)).sum())) < 1e-10
    slow = Band(band.shape, 3, torch.float64)  # long waves: the centre of a block is close to the mean of its voxels
    smooth = slow.to_grid(random(slow))
    first = [slice(0, 2 * (size // 2), 2) for size in band.shape]
    means = sum(smooth[(..., *[slice(part.start + shift, None if part.stop + shift > size else part.stop + shift, 2)
                               for part, shift, size in zip(first, shifts, band.shape, strict=True)])]
                for shifts in np.ndindex(*[2] * band.dims)) / 2**band.dims
    assert float((slow.to_grid(random(slow), 2)[tuple(slice(size) for size in means.shape)] - means).abs().max()) < 0.4


def test_an_even_number_keeps_one_fewer_and_small_axes_fewer() -> None:
    assert Band((128, 12), 16).sizes == (15, 11)
    with pytest.raises(InputError):
        Band((128, 2), 16)
    with pytest.raises(InputError):
        Metric.of(Band((8, 8), 5), 0.0)
