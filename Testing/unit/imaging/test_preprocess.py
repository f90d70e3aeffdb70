"""Intensity windows, the network's grid, padding."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from lattices import LEFT_HANDED, OBLIQUE, blocks, smooth_image

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.geometry import Geometry, working_grid
from AutoRegLib.imaging.preprocess import (
    IntensityScaling,
    intensity_scaling,
    scale_intensity,
    to_grid,
)
from AutoRegLib.imaging.volume import Volume

SQUARE = Geometry((100, 101), (1.0, 1.0), (0.0, 0.0), (1, 0, 0, 1))


def image(values: np.ndarray) -> Volume:
    return Volume(values.reshape(SQUARE.shape), SQUARE, "intensity")


def test_the_window_by_hand() -> None:
    scaling = intensity_scaling(image(np.arange(10100.0)))
    assert abs(scaling.low - (1 + 0.005 * 10098)) < 1e-6  # percentiles of 1..10099, the minimum is background
    assert abs(scaling.high - (1 + 0.995 * 10098)) < 1e-6
    scaled = scale_intensity(image(np.arange(10100.0)), IntensityScaling(1000.0, 5000.0)).array.ravel()
    assert scaled.dtype == np.float32
    assert scaled[[0, 1000, 3000, 5000, 9000]].tolist() == [0, 0, 0.5, 1, 1]


def test_background_does_not_move_the_window() -> None:
    tissue = np.random.default_rng(0).normal(100, 10, size=2000)
    values = np.zeros(10100)
    values[:2000] = tissue
    scaling = intensity_scaling(image(values))
    assert scaling.low == 0  # the background stays apart from the darkest tissue
    assert abs(scaling.high - np.percentile(tissue, 99.5)) < 1e-9


def test_a_few_wild_voxels_do_not_move_the_window() -> None:
    values = np.random.default_rng(0).normal(100, 10, size=10100)
    values[:3] = -1e6
    values[3:6] = 1e6
    scaling = intensity_scaling(image(values))
    assert 60 < scaling.low < 80
    assert 120 < scaling.high < 140


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float32, np.float64])
def test_percentiles_of_any_type_are_those_of_64_bits(dtype: type) -> None:
    lowest, highest = (-120, 120) if dtype == np.int8 else (0, 60000) if dtype == np.uint16 else (-32000, 32000)
    values = np.random.default_rng(0).uniform(lowest, highest, 10100).astype(dtype)
    before, inner = values.copy(), values[values > values.min()].astype(np.float64)
    scaling = intensity_scaling(image(values))
    assert [scaling.low, scaling.high] == pytest.approx(np.percentile(inner, (0.5, 99.5)).tolist(), abs=1e-9)
    assert np.array_equal(values, before)


def test_ct_has_one_window_for_all() -> None:
    values = np.random.default_rng(0).normal(40, 10, size=10100)
    assert intensity_scaling(image(values), modality="ct") == IntensityScaling(-1000.0, 1000.0)
    assert intensity_scaling(image(values), modality="T1") != IntensityScaling(-1000.0, 1000.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_two_valued_images_keep_their_contrast(dtype: type) -> None:
    values = np.zeros(10100, dtype)
    values[:300] = 7
    picture = image(values)
    assert set(np.unique(scale_intensity(picture, intensity_scaling(picture)).array)) == {0.0, 1.0}


def test_scaling_is_blind_to_the_scanners_units() -> None:
    picture = smooth_image(OBLIQUE)
    other = Volume(picture.array * 37 - 1200, OBLIQUE, "intensity")
    first = scale_intensity(picture, intensity_scaling(picture)).array
    second = scale_intensity(other, intensity_scaling(other)).array
    assert np.abs(first - second).max() < 1e-4
    assert np.ptp(first) == 1


def test_a_grid_sees_the_image_scaled_and_moved() -> None:
    picture = smooth_image(LEFT_HANDED)
    grid = working_grid(LEFT_HANDED, spacing=2.5)
    shift = sitk.TranslationTransform(3, (3.0, -2.0, 1.0))
    seen, moved = to_grid(picture, grid), to_grid(picture, grid, shift)
    assert seen.geometry is grid
    assert seen.array.dtype == np.float32
    assert seen.array.min() >= 0 and seen.array.max() <= 1
    assert np.abs(seen.array - moved.array).max() > 0.1


def test_padding_of_the_grid_is_no_edge() -> None:
    bright = Volume(np.full((6, 6, 6), 100.0), Geometry((6, 6, 6), (1, 1, 1), (0, 0, 0), tuple(np.eye(3).ravel())),
                    "intensity")
    bright.array[2:4, 2:4, 2:4] = 0
    seen = to_grid(bright, working_grid(bright.geometry, spacing=1.0, multiple=8))
    assert seen.array.shape == (8, 8, 8)
    assert seen.array[0].min() == 1 and seen.array[-1].min() == 1


def test_refusals() -> None:
    with pytest.raises(InputError, match="constant"):
        intensity_scaling(image(np.full(10100, 3.0)))
    with pytest.raises(InputError, match="labels"):
        scale_intensity(blocks(OBLIQUE), IntensityScaling(0.0, 1.0))
    with pytest.raises(InputError, match="window"):
        IntensityScaling(1.0, 1.0)
