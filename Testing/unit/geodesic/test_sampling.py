"""Bull's-eyes against areas and volumes of ellipses, velocities against the prior's variance."""

from __future__ import annotations

import math

import pytest
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.metric import Metric
from AutoRegLib.geodesic.sampling import bulls_eye, random_bulls_eye, sample_velocities


def test_area_of_two_ellipses() -> None:
    image = bulls_eye((100, 90), (40.0, 25.0), (20.0, 10.0))
    assert image.shape == (1, 1, 100, 90) and image.dtype == torch.float32
    assert float(image.sum()) == pytest.approx(math.pi * (40 * 25 - 20 * 10), rel=2e-3)
    assert float(image[0, 0, 49, 44]) == 0.0 and float(image[0, 0, 20, 45]) == 1.0 and float(image[0, 0, 5, 45]) == 0.0


def test_volume_of_two_ellipsoids() -> None:
    image = bulls_eye((32, 30, 28), (12.0, 10.0, 9.0), (6.0, 5.0, 4.0))
    assert float(image.sum()) == pytest.approx(4 / 3 * math.pi * (12 * 10 * 9 - 6 * 5 * 4), rel=5e-3)


def test_it_is_its_own_mirror_image() -> None:
    image = bulls_eye((21, 34), (8.0, 13.0), (3.0, 5.0))
    assert torch.equal(image, image.flip(2)) and torch.equal(image, image.flip(3))


def test_a_number_is_always_the_same_image() -> None:
    first = random_bulls_eye((40, 40), seed=1, index=7)
    assert torch.equal(first, random_bulls_eye((40, 40), seed=1, index=7))
    assert not torch.equal(first, random_bulls_eye((40, 40), seed=1, index=8))
    assert not torch.equal(first, random_bulls_eye((40, 40), seed=2, index=7))


def test_half_axes_that_are_none_are_refused() -> None:
    with pytest.raises(InputError):
        bulls_eye((20, 20), (8.0, 8.0), (9.0, 2.0))


def test_velocities_have_the_priors_variance() -> None:
    """By the complex coefficients of torch.fft: variance 1 / (n^d L) each, Hermitian, since the field is real."""
    band = Band((50, 40), 8)
    metric = Metric.of(band, torch.tensor([2.0]))
    drawn = sample_velocities(metric, range(4000))
    spectrum = band.spectrum(drawn)
    k, half = torch.fft.fftfreq(7) * 7, torch.arange(4.0)
    laplacian = (2 - 2 * torch.cos(2 * math.pi * k / 50))[:, None] + (2 - 2 * torch.cos(2 * math.pi * half / 40))[None]
    wanted = (1 + 2.0 * laplacian) ** -3 / 49
    found = spectrum.abs().square().mean((0, 1))
    assert ((found / wanted - 1).abs() < 0.08).all()


def test_a_seed_is_always_the_same_velocity() -> None:
    metric = Metric.of(Band((30, 30), 8), 2.0)
    drawn = sample_velocities(metric, [3, 4])
    assert torch.equal(drawn[1], sample_velocities(metric, [4])[0])
    assert not torch.equal(drawn[0], drawn[1])
