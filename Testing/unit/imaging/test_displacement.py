"""Displacement fields: by hand, chains, points, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from lattices import LEFT_HANDED, OBLIQUE, inner_points, linear_field, rotation, smooth_field

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.displacement import (
    DisplacementField,
    compose_on,
    from_transform,
    jacobian_determinant,
    transform_points,
)
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import array_to_image

FLAT = Geometry((3, 3), (2.0, 1.0), (0.0, 0.0), (1, 0, 0, 1))


def affine() -> sitk.AffineTransform:
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((rotation(5) * 0.2 + np.eye(3)).ravel().tolist())
    transform.SetTranslation((5.0, -3.0, 2.0))
    transform.SetCenter(OBLIQUE.centre.tolist())
    return transform


def test_a_vector_by_hand() -> None:
    vectors = np.zeros((3, 3, 2), dtype=np.float32)
    vectors[0, 1] = (0.5, -4.0)  # at index x = 1, y = 0, that is at (2, 0) mm
    field = DisplacementField(vectors, FLAT)
    assert field.warp_points(np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 0.0]])).tolist() == [
        [2.5, -4.0], [1.25, -2.0], [0.0, 0.0]]


def test_jacobian_by_hand() -> None:
    vectors = np.zeros((3, 3, 2), dtype=np.float32)
    vectors[..., 0] = [0.0, 1.0, 2.0]  # 1 mm more per voxel of 2 mm: stretched by 1.5
    determinant = jacobian_determinant(DisplacementField(vectors, FLAT)).array
    assert determinant[1].tolist() == [1.25, 1.5, 1.25]  # the border repeats its value


def test_the_first_transform_is_applied_first() -> None:
    field, then = smooth_field(OBLIQUE), affine()
    points = inner_points(OBLIQUE, 50)
    expected = transform_points(then, field.warp_points(points))
    other = field.warp_points(transform_points(then, points))
    assert np.abs(expected - other).max() > 0.2
    found = compose_on(OBLIQUE, field.to_transform(), then).warp_points(points)
    assert np.abs(found - expected).max() < 1e-4  # an affine map after a linear interpolation is exact


def test_where_a_field_lands_is_simpleitks_continuous_index() -> None:
    field, there = smooth_field(OBLIQUE), array_to_image(np.zeros(LEFT_HANDED.shape), LEFT_HANDED)
    found, transform = field.landing(LEFT_HANDED), field.to_transform()
    for z, y, x in ((0, 0, 0), (1, 2, 3), tuple(n - 2 for n in OBLIQUE.shape)):
        point = array_to_image(np.zeros(OBLIQUE.shape), OBLIQUE).TransformIndexToPhysicalPoint((x, y, z))
        expected = there.TransformPhysicalPointToContinuousIndex(transform.TransformPoint(point))
        assert np.abs(found[z, y, x] - expected).max() < 1e-4


def test_a_sampled_affine_is_the_affine() -> None:
    field = from_transform(affine(), LEFT_HANDED)
    points = inner_points(LEFT_HANDED, 50)
    assert np.abs(field.warp_points(points) - transform_points(affine(), points)).max() < 1e-4
    matrix = np.array(affine().GetMatrix()).reshape(3, 3)
    inside = jacobian_determinant(field).array[1:-1, 1:-1, 1:-1]
    assert np.abs(inside - np.linalg.det(matrix)).max() < 1e-4


def test_an_empty_chain_is_the_identity() -> None:
    assert not compose_on(OBLIQUE).vectors.any()


def test_sampling_a_field_on_its_own_lattice_changes_nothing() -> None:
    field = smooth_field(LEFT_HANDED)
    inner = (slice(1, -1),) * 3
    found = from_transform(field.to_transform(), LEFT_HANDED).vectors
    assert np.abs(found - field.vectors)[inner].max() < 1e-5


def test_no_points_are_no_points() -> None:
    assert smooth_field(OBLIQUE).warp_points(np.zeros((0, 3))).shape == (0, 3)


def test_refusals() -> None:
    with pytest.raises(InputError, match="vectors and geometry"):
        DisplacementField(np.zeros((3, 3, 3), np.float32), FLAT)
    with pytest.raises(InputError, match="not finite"):
        DisplacementField(np.full((3, 3, 2), np.nan, np.float32), FLAT)
    with pytest.raises(InputError, match="another dimension"):
        compose_on(FLAT, affine())
    with pytest.raises(InputError, match="points"):
        linear_field(OBLIQUE, np.eye(3)).warp_points(np.zeros((4, 2)))
