"""Written displacement fields move points and images alike in SimpleITK, nibabel and the Slicer runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from lattices import (
    LATTICES,
    LEFT_HANDED,
    OBLIQUE,
    OBLIQUE_2D,
    PERMUTED,
    blocks,
    inner_points,
    linear_field,
    rotation,
    smooth_field,
    smooth_image,
)
from scipy import ndimage

from AutoRegLib.imaging.displacement import DisplacementField, affine_of, compose_on, jacobian_determinant
from AutoRegLib.imaging.files import (
    read_displacement,
    read_transform,
    write_composite,
    write_coordinates,
    write_displacement,
)
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import resample, to_sitk
from AutoRegLib.registration.inverse import affine_guess, refine_inverse

SUFFIXES = (".nrrd", ".nii.gz", ".h5", ".tfm")
GEOMETRIES = pytest.mark.parametrize("geometry", LATTICES.values(), ids=LATTICES.keys())


def simpleitk_transform(path: Path) -> sitk.Transform:
    """A user's own reading, without this library."""
    if path.suffix in (".h5", ".tfm"):
        return sitk.ReadTransform(str(path))
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))


def moved(transform: Any, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def by_hand(field: DisplacementField, points: np.ndarray) -> np.ndarray:
    """Linear interpolation written out, independent of ITK."""
    geometry = field.geometry
    index = (points - np.array(geometry.origin)) @ geometry.direction_matrix / np.array(geometry.spacing)
    low = np.floor(index).astype(int)
    part = index - low
    total = np.zeros_like(points)
    for corner in np.ndindex(*(2,) * geometry.dims):
        weight = np.prod(np.where(corner, part, 1 - part), axis=1)
        total += weight[:, None] * field.vectors[tuple((low + np.array(corner)).T[::-1])]
    return points + total


@pytest.mark.parametrize("suffix", SUFFIXES)
@GEOMETRIES
def test_points_move_alike_in_simpleitk(geometry: Geometry, suffix: str, tmp_path: Path) -> None:
    field, points = smooth_field(geometry), inner_points(geometry, 500)
    path = tmp_path / f"transform{suffix}"
    write_displacement(field, path)
    expected = by_hand(field, points)
    assert np.abs(expected - points).max() > 2  # mm: the test would notice an identity
    for transform in (simpleitk_transform(path), read_transform(path), field.to_transform()):
        assert np.abs(moved(transform, points) - expected).max() < 1e-4
    back = read_displacement(path)
    assert back.geometry.close_to(geometry), back.geometry.difference(geometry)
    assert np.abs(back.vectors - field.vectors).max() < 1e-6


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_points_move_alike_in_two_dimensions(suffix: str, tmp_path: Path) -> None:
    field, points = smooth_field(OBLIQUE_2D), inner_points(OBLIQUE_2D, 200)
    path = tmp_path / f"transform{suffix}"
    write_displacement(field, path)
    for transform in (simpleitk_transform(path), read_transform(path)):
        assert np.abs(moved(transform, points) - by_hand(field, points)).max() < 1e-4


def test_a_flat_nifti_displacement_of_others_is_read_right(tmp_path: Path) -> None:
    """ITK misreads intent 1006 in 2-D; nibabel writes what the standard says: RAS-signed vectors."""
    field = smooth_field(OBLIQUE_2D)
    affine = np.eye(4)
    affine[:2, :2] = OBLIQUE_2D.index_to_physical[:2, :2]
    affine[:2, 3] = OBLIQUE_2D.origin
    vectors = -field.vectors.transpose(1, 0, 2)[:, :, None, None, :]
    image = nibabel.Nifti1Image(vectors, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    image.header.set_intent(1006)
    nibabel.save(image, tmp_path / "transform.nii.gz")
    assert np.abs(read_displacement(tmp_path / "transform.nii.gz").vectors - field.vectors).max() < 1e-6


@pytest.mark.parametrize("suffix", SUFFIXES)
@GEOMETRIES
def test_points_move_alike_in_slicer(geometry: Geometry, suffix: str, tmp_path: Path) -> None:
    slicer = pytest.importorskip("slicer", reason="slicer-core, the Slicer runtime, is not installed")
    field, points = smooth_field(geometry), inner_points(geometry, 500)
    path = tmp_path / f"transform{suffix}"
    write_displacement(field, path)
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "warp")
    storage = slicer.vtkMRMLTransformStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    grid = node.GetTransformFromParentAs("vtkOrientedGridTransform", False, True)
    assert grid is not None, "Slicer read it as a transform to parent"
    grid.SetInterpolationModeToLinear()  # Slicer interpolates grids from files with cubic splines
    sign = np.array([-1.0, -1.0, 1.0])  # RAS
    found = np.array([grid.TransformPoint(point) for point in (points * sign).tolist()]) * sign
    assert np.abs(found - field.warp_points(points)).max() < 1e-4


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("fixed", "moving"), [(OBLIQUE, LEFT_HANDED), (LEFT_HANDED, PERMUTED), (PERMUTED, OBLIQUE)])
def test_the_warped_image_is_simpleitks(fixed: Geometry, moving: Geometry, suffix: str, tmp_path: Path) -> None:
    field = smooth_field(fixed)
    write_displacement(field, tmp_path / f"transform{suffix}")
    theirs = simpleitk_transform(tmp_path / f"transform{suffix}")
    grid = sitk.Image(fixed.size, sitk.sitkUInt8)
    grid.SetSpacing(fixed.spacing)
    grid.SetOrigin(fixed.origin)
    grid.SetDirection(fixed.direction)
    image, labels = smooth_image(moving), blocks(moving)

    warped = resample(image, fixed, field.to_transform()).array
    expected = sitk.GetArrayFromImage(sitk.Resample(to_sitk(image), grid, theirs, sitk.sitkLinear, 0.0))
    assert np.abs(warped - expected).max() < 1e-3 * np.ptp(image.array)
    assert np.abs(warped - resample(image, fixed).array).max() > 0.05 * np.ptp(image.array)

    warped = resample(labels, fixed, field.to_transform()).array
    expected = sitk.GetArrayFromImage(sitk.Resample(to_sitk(labels), grid, theirs, sitk.sitkNearestNeighbor, 0.0))
    assert int((warped != expected).sum()) == 0
    assert int((warped != resample(labels, fixed).array).sum()) > 100


@GEOMETRIES
def test_nibabel_reads_a_displacement_field(geometry: Geometry, tmp_path: Path) -> None:
    field = smooth_field(geometry)
    write_displacement(field, tmp_path / "transform.nii.gz")
    image = nibabel.load(tmp_path / "transform.nii.gz")
    assert image.header.get_intent()[0] == "displacement vector"
    assert int(image.header["intent_code"]) == 1006
    assert image.shape == (*geometry.size, 1, 3)
    to_ras = np.array([-1.0, -1.0, 1.0])
    index = (2, 3, 4)
    voxel = np.asarray(image.dataobj)[(*index, 0)] * to_ras
    assert np.abs(voxel - field.vectors[index[::-1]]).max() < 1e-6
    place = (image.affine @ [*index, 1])[:3] * to_ras
    assert np.abs(place - (geometry.index_to_physical @ [*index, 1])[:3]).max() < 1e-4


@GEOMETRIES
def test_nitransforms_moves_ten_thousand_points_as_we_do(geometry: Geometry, tmp_path: Path) -> None:
    """At voxels: between them it takes cubic splines. Its fields are those of the NIfTI standard, RAS."""
    nonlinear = pytest.importorskip("nitransforms.nonlinear", reason="nitransforms is not installed")
    field = smooth_field(geometry)
    write_displacement(field, tmp_path / "transform.nii.gz")
    image = nibabel.load(tmp_path / "transform.nii.gz")
    theirs = nonlinear.DenseFieldTransform(nibabel.Nifti1Image(np.asarray(image.dataobj)[:, :, :, 0], image.affine))
    draws, to_ras = np.random.default_rng(0), np.array([-1.0, -1.0, 1.0])
    voxels = np.stack([draws.integers(1, size - 1, 10_000) for size in geometry.size], axis=1)
    points = voxels @ geometry.index_to_physical[:3, :3].T + geometry.index_to_physical[:3, 3]
    expected = by_hand(field, points)
    assert np.abs(expected - points).max() > 2  # mm
    assert np.abs(theirs.map(points * to_ras) * to_ras - expected).max() < 1e-3


def test_the_nrrd_says_what_it_is(tmp_path: Path) -> None:
    write_displacement(smooth_field(OBLIQUE), tmp_path / "transform.nrrd")
    header = (tmp_path / "transform.nrrd").read_bytes().split(b"\n\n")[0].decode()
    for line in ("type: float", "encoding: gzip", "kinds: vector domain domain domain",
                 "intent_code:=1006", "displacement field type:=resampling"):
        assert line in header


def test_jacobian_is_simpleitks_where_the_direction_is_identity() -> None:
    size, spacing = (12, 15, 11), (1.3, 0.8, 2.0)
    straight = Geometry(size, spacing, (3.0, 4.0, 5.0), tuple(np.eye(3).ravel()))
    field = smooth_field(straight, size=3)
    image = sitk.Cast(field.to_image(), sitk.sitkVectorFloat64)
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image, True))
    found = jacobian_determinant(field).array
    assert np.abs(found - expected).max() < 1e-5
    assert np.ptp(found) > 0.5


@GEOMETRIES
def test_jacobian_of_a_linear_map_is_its_determinant(geometry: Geometry) -> None:
    matrix = rotation(7) @ np.diag([1.2, 0.9, 1.3]) @ rotation(8)
    found = jacobian_determinant(linear_field(geometry, matrix)).array
    inside = found[1:-1, 1:-1, 1:-1]
    assert np.abs(inside - np.linalg.det(matrix)).max() < 1e-4


def test_jacobian_finds_a_fold() -> None:
    found = jacobian_determinant(linear_field(LEFT_HANDED, np.diag([-0.5, 1.0, 1.0]))).array
    assert np.abs(found[1:-1, 1:-1, 1:-1] + 0.5).max() < 1e-4


def test_simpleitks_own_jacobian_ignores_the_direction() -> None:
    """Why the vectors are turned first: if this fails, SimpleITK has changed and the turning must go."""
    matrix = rotation(7) @ np.diag([1.2, 0.9, 1.3]) @ rotation(8)
    image = sitk.Cast(linear_field(OBLIQUE, matrix).to_image(), sitk.sitkVectorFloat64)
    plain = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image, True))[5, 5, 5]
    assert abs(plain - np.linalg.det(matrix)) > 0.05


@GEOMETRIES
def test_the_composite_is_the_field_and_beyond_it_the_affine(geometry: Geometry, tmp_path: Path) -> None:
    first, linear = smooth_field(geometry), sitk.Euler3DTransform((1, 2, 3), 0.1, -0.2, 0.3, (4.0, 5.0, -6.0))
    whole = compose_on(geometry, first.to_transform(), linear)
    write_composite(whole, affine_of(linear), tmp_path / "t.composite.h5")
    found = read_transform(tmp_path / "t.composite.h5")
    parts = sitk.CompositeTransform(sitk.ReadTransform(str(tmp_path / "t.composite.h5")))
    names = [parts.GetNthTransform(i).GetName() for i in range(parts.GetNumberOfTransforms())]
    assert sorted(names) == ["AffineTransform", "DisplacementFieldTransform"]
    points = inner_points(geometry, 200)
    assert np.abs(moved(found, points) - moved(linear, moved(first.to_transform(), points))).max() < 1e-3
    beyond = points + 500
    assert np.abs(moved(found, beyond) - moved(linear, beyond)).max() < 1e-9


@GEOMETRIES
def test_scipy_moves_ten_thousand_points_as_we_do(geometry: Geometry, tmp_path: Path) -> None:
    field = smooth_field(geometry)
    write_displacement(field, tmp_path / "t.nii.gz")
    image = nibabel.load(tmp_path / "t.nii.gz")  # vectors in RAS, on RAS points
    rng, size = np.random.default_rng(5), np.array(geometry.size)
    index = rng.uniform(0.01, 0.99, (10_000, 3)) * (size - 1)
    points = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    values = np.asarray(image.dataobj)[:, :, :, 0]
    there = points + np.stack([ndimage.map_coordinates(values[..., i], index.T, order=1) for i in range(3)], axis=1)
    ours = field.warp_points(points * (-1, -1, 1)) * (-1, -1, 1)
    assert np.abs(there - ours).max() < 1e-3 < np.abs(ours - points).max()


@GEOMETRIES
def test_scipy_takes_the_written_coordinates_both_ways(geometry: Geometry, tmp_path: Path) -> None:
    """10,000 points and a whole image, on an oblique, anisotropic, left-handed grid and the others, and back."""
    moving = replace(LEFT_HANDED, origin=tuple((np.array(LEFT_HANDED.origin) + 2).tolist()))
    forward = smooth_field(geometry)
    backward = refine_inverse(forward, affine_guess(forward, moving), tolerance=1e-4, iterations=30)
    for field, end in ((forward, moving), (backward, geometry)):
        write_coordinates(field, end, tmp_path / "t.npy")
        places, own = np.load(tmp_path / "t.npy"), field.geometry
        assert places.shape == (3, *own.shape) and places.dtype == np.float32
        index = np.random.default_rng(5).uniform(0.01, 0.99, (10_000, 3)) * (np.array(own.size) - 1)
        there = np.stack([ndimage.map_coordinates(part, index[:, ::-1].T, order=1) for part in places])[::-1].T
        found = there @ end.index_to_physical[:3, :3].T + end.index_to_physical[:3, 3]
        points = index @ own.index_to_physical[:3, :3].T + own.index_to_physical[:3, 3]
        expected = moved(field.to_transform(), points)
        assert np.abs(found - expected).max() < 1e-3 < 1 < np.abs(expected - points).max()
        volume = smooth_image(end)
        warped = resample(volume, own, field.to_transform(), outside=-1).array
        scipy = ndimage.map_coordinates(volume.array, places, order=1, cval=-1, output=np.float64)
        inner = np.all([(p > 0.01) & (p < n - 1.01) for p, n in zip(places, end.shape, strict=True)], axis=0)
        assert inner.mean() > 0.05 and np.abs(scipy - warped)[inner].max() < 1e-4 * np.ptp(volume.array)
