"""The non-diffeomorphic volume, by the authors' own package, by hand, and by tetrahedra moved one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk

from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.tetrahedra import orientation
from AutoRegLib.registration.unfolding import without_folds


def turning(dims: int, angle: float) -> tuple[float, ...]:
    matrix = np.eye(dims)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return tuple(matrix.ravel().tolist())


def noise(dims: int, strength: float, *, angle: float = 0.0, seed: int = 0) -> DisplacementField:
    """Rough vectors on anisotropic, turned voxels, ``strength`` voxels large."""
    shape, spacing = (9, 14, 11)[:dims], (0.8, 1.7, 2.5)[:dims]
    grid = Geometry(shape[::-1], spacing, (3.0,) * dims, turning(dims, angle))
    voxels = np.random.default_rng(seed).normal(0, strength, (*shape, dims))
    return DisplacementField(voxels * spacing @ grid.direction_matrix.T, grid)


def in_voxels(field: DisplacementField) -> np.ndarray:
    """Components in axis order."""
    return (field.vectors @ (field.geometry.direction_matrix / field.geometry.spacing))[..., ::-1].astype(np.float32)


@pytest.mark.parametrize("strength", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("dims", [2, 3])
def test_non_diffeomorphic_volume_is_that_of_the_authors(dims: int, strength: float) -> None:
    package = pytest.importorskip("digital_diffeomorphism", reason="digital-diffeomorphism is not installed")
    field = noise(dims, strength, angle=0.4)
    measure = package.ndv if dims == 3 else package.nda
    _, percent, *_ = measure(in_voxels(field), None, True)
    assert 100 * orientation(field).turned == pytest.approx(percent, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_determinants_are_those_of_the_filter(dims: int) -> None:
    field = noise(dims, 0.4)
    image = sitk.GetImageFromArray(field.vectors.astype(np.float64), isVector=True)
    image.SetSpacing(field.geometry.spacing)
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image, True))
    assert np.abs(orientation(field).jacobian.array - expected).max() < 1e-4


def test_one_cell_turned_over_between_voxels_is_found_where_no_determinant_tells() -> None:
    grid = Geometry((8, 8, 8), (1.0,) * 3, (0.0,) * 3, turning(3, 0.0))
    vectors = np.zeros((8, 8, 8, 3))
    vectors[4, 4, 4, 0] = 1.5  # beyond its neighbour; the central difference at the voxel itself does not see it
    found = orientation(DisplacementField(vectors, grid))
    assert found.jacobian.array[4, 4, 4] == pytest.approx(1.0)
    assert found.least[4, 4, 4] == pytest.approx(-0.5)


def test_every_tetrahedron_moved_on_its_own() -> None:
    """Volumes of four points each, by numpy's determinant."""
    field = noise(3, 0.4)
    moved = np.pad(in_voxels(field), ((1, 1),) * 3 + ((0, 0),), mode="edge")
    moved = moved + np.stack(np.meshgrid(*map(np.arange, moved.shape[:3]), indexing="ij"), -1)
    units = np.eye(3, dtype=int)
    corners = [[sign * unit for sign, unit in zip(signs, units, strict=True)] for signs in product((-1, 1), repeat=3)]
    middles = [[sign * (1 - unit) for unit in units] for sign in (-1, 1)]
    volumes = []
    for ends in (*corners, *middles):
        inner = np.moveaxis(moved[1:-1, 1:-1, 1:-1], -1, 0)
        edges = [np.moveaxis(moved[tuple(slice(1 + o, n - 1 + o) for o, n in zip(end, moved.shape[:3], strict=True))],
                             -1, 0) - inner for end in ends]
        own = np.linalg.det(np.array(ends, float))
        volumes.append((np.linalg.det(np.moveaxis(np.array(edges), (0, 1), (-2, -1))) / own, abs(own) / 6))
    found = orientation(field)
    assert np.abs(np.min([part for part, _ in volumes], axis=0) - found.least).max() < 1e-4
    turned = -sum((np.minimum(part, 0) * size).mean() for part, size in volumes) / 2
    assert found.turned == pytest.approx(turned, rel=1e-4) and turned > 0.01


@pytest.mark.parametrize("dims", [2, 3])
def test_what_is_delivered_turns_nothing_over(dims: int) -> None:
    field = noise(dims, 0.25, angle=0.4)
    assert orientation(field).turned > 0
    found, oriented, count = without_folds(field)
    assert count > 0 and oriented.turned == 0 and oriented.least.min() > 0
    assert orientation(found).turned == 0
    assert np.linalg.norm(found.vectors, axis=-1).mean() > 0.1 * np.linalg.norm(field.vectors, axis=-1).mean()


def test_a_mirrored_axis_turns_everything_over_within_the_border() -> None:
    grid = Geometry((7, 6, 5), (1.0,) * 3, (0.0,) * 3, turning(3, 0.0))
    vectors = np.zeros((5, 6, 7, 3))
    vectors[..., 0] = -2 * np.arange(7)
    found = orientation(DisplacementField(vectors, grid))
    inner = found.least[1:-1, 1:-1, 1:-1]
    assert np.abs(inner + 1).max() < 1e-6
    # per voxel 10 tetrahedra: 8 of 1/6 and 2 of 1/3, halved: a whole voxel, less what reaches beyond the border
    assert 0.6 < found.turned < 1
