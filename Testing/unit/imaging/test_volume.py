"""Volumes and their resampling: by hand, kinds, outside, antialiasing."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from lattices import LEFT_HANDED, OBLIQUE, blocks, smooth_image

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume, geometry_of, resample, to_sitk

LINE = Geometry((4, 2), (2.0, 1.0), (0.0, 0.0), (1, 0, 0, 1))
RAMP = Volume(np.array([[0, 10, 20, 30]] * 2, dtype=np.int16), LINE, "intensity")


def test_the_transform_pulls_back_in_mm() -> None:
    shifted = resample(RAMP, LINE, sitk.TranslationTransform(2, (0.8, 0.0)), outside=-1)
    assert np.abs(shifted.array - [[4.0, 14.0, 24.0, 30.0]] * 2).max() < 1e-5  # less than half a voxel out is inside
    assert shifted.array.dtype == np.float32


def test_outside_is_a_value_or_the_border() -> None:
    far = sitk.TranslationTransform(2, (4.0, 0.0))
    assert resample(RAMP, LINE, far, outside=-7).array[0].tolist() == [20.0, 30.0, -7.0, -7.0]
    assert resample(RAMP, LINE, far, outside=None).array[0].tolist() == [20.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.bool_])
def test_labels_are_never_mixed_and_keep_their_type(dtype: type) -> None:
    labels = Volume(np.array([[0, 1, 0, 1]] * 2).astype(dtype), LINE, "labels")
    found = resample(labels, LINE, sitk.TranslationTransform(2, (1.2, 0.0)))
    assert found.array.dtype == dtype
    assert found.array[0].astype(int).tolist() == [1, 0, 1, 0]


def test_another_lattice_sees_the_same_place() -> None:
    seen = resample(smooth_image(LEFT_HANDED), OBLIQUE)
    inside = resample(Volume(np.ones(LEFT_HANDED.shape, np.uint8), LEFT_HANDED, "labels"), OBLIQUE).array > 0
    assert inside.mean() > 0.3
    assert np.abs(seen.array - smooth_image(OBLIQUE).array)[inside].max() < 60  # of 1000: linear interpolation
    assert np.abs(seen.array - smooth_image(OBLIQUE).array)[inside].mean() < 10


def test_antialias_keeps_the_mean_and_removes_the_pattern() -> None:
    fine = Geometry((32, 32), (1.0, 1.0), (0.0, 0.0), (1, 0, 0, 1))
    coarse = Geometry((8, 8), (4.0, 4.0), (1.5, 1.5), (1, 0, 0, 1))
    checks = Volume(np.indices((32, 32)).sum(axis=0) % 2 * 100.0, fine, "intensity")
    off = Geometry((8, 8), (4.0, 4.0), (1.0, 1.0), (1, 0, 0, 1))
    plain, smooth = resample(checks, off), resample(checks, off, antialias=True)
    assert np.ptp(plain.array) == 0 and abs(float(plain.array[3, 3]) - 50) == 50  # aliased to one of the two values
    assert np.abs(smooth.array[2:-2, 2:-2] - 50).max() < 2
    constant = Volume(np.full((32, 32), 7.0), fine, "intensity")
    assert np.abs(resample(constant, coarse, antialias=True).array - 7).max() < 1e-4


def test_antialias_does_nothing_to_an_equal_or_finer_lattice() -> None:
    image = smooth_image(OBLIQUE)
    assert np.array_equal(resample(image, OBLIQUE, antialias=True).array, resample(image, OBLIQUE).array)


def test_through_simpleitk_and_back() -> None:
    for volume in (smooth_image(LEFT_HANDED), blocks(OBLIQUE)):
        image = to_sitk(volume)
        assert np.array_equal(sitk.GetArrayFromImage(image), volume.array)
        assert geometry_of(image).close_to(volume.geometry, tolerance=1e-9)


def test_repr_says_what_one_wants_to_know() -> None:
    assert repr(RAMP) == "Volume(intensity, 4x2 voxels of 2 x 1 mm, int16, 0 to 30)"
    assert "4 values" in repr(blocks(OBLIQUE))


def test_refusals() -> None:
    with pytest.raises(InputError, match="array and geometry disagree"):
        Volume(np.zeros((4, 2)), LINE, "intensity")
    with pytest.raises(InputError, match="labels must be integers"):
        Volume(np.zeros((2, 4)), LINE, "labels")
    with pytest.raises(InputError, match="kind"):
        Volume(np.zeros((2, 4)), LINE, "mask")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="dimension"):
        resample(RAMP, OBLIQUE)
