"""Bull's-eyes against areas and volumes of ellipses."""

from __future__ import annotations

import math

import pytest
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.lddmm.bulls_eye import bulls_eye, random_bulls_eye


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
