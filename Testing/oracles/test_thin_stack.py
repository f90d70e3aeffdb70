"""Stacks of two to five slices: aligned and deformed within their planes, judged by SimpleITK's transforms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from pipeline.synthetic import blobs, grid_about, rotation

from AutoRegLib.imaging.align import affine_align
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.thin_stack import thin_axis
from AutoRegLib.imaging.volume import Volume, resample, to_sitk
from AutoRegLib.registration import metrics
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pipeline import register_volumes

MIDDLE = (10.0, -20.0, 30.0)
OBLIQUE = rotation(12, -25, 30)


def stack(axis: int, slices: int, direction: np.ndarray = OBLIQUE, *, thick: float = 5.0) -> Geometry:
    sizes, spacing = [52, 56, 48], [1.3, 1.2, 1.4]
    sizes[axis], spacing[axis] = slices, thick
    return grid_about(MIDDLE, tuple(sizes), tuple(spacing), direction)


def turn(axis: int, degrees: float, shift: tuple[float, float, float]) -> sitk.AffineTransform:
    """A turn about the normal of the slices and a shift along them, by SimpleITK."""
    versor = sitk.VersorTransform(tuple(OBLIQUE[:, axis]), math.radians(degrees))
    along = np.array(shift)
    along[axis] = 0
    return sitk.AffineTransform(versor.GetMatrix(), tuple(OBLIQUE @ along), MIDDLE)


def speckled(grid: Geometry) -> Volume:
    """The blobs with detail that a turn can be told by."""
    image = blobs(grid)
    points = metrics.coordinates(grid) - np.array(MIDDLE)
    waves = np.sin(points @ [0.5, 0.2, -0.3]) * np.sin(points @ [-0.1, 0.45, 0.35])
    return Volume((image.array * (1 + 0.4 * waves)).astype(np.float32), grid, "intensity")


def moved(image: Volume, transform: sitk.Transform) -> Volume:
    """What SimpleITK makes of the image under a transform of points."""
    volume = to_sitk(image)
    return Volume(sitk.GetArrayFromImage(sitk.Resample(volume, volume, transform)), image.geometry, "intensity")


def within(axis: int, reach: float = 14.0) -> np.ndarray:
    steps = np.random.default_rng(0).uniform(-reach, reach, (40, 3))
    steps[:, axis] = np.clip(steps[:, axis], -2, 2)
    return np.asarray(MIDDLE + steps @ OBLIQUE.T)


def through(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


@pytest.mark.parametrize(("axis", "slices"), [(2, 2), (0, 3), (1, 5)])
def test_a_turn_and_a_shift_in_plane_are_found_and_nothing_moves_across(axis: int, slices: int) -> None:
    grid, true = stack(axis, slices), turn(axis, 11, (3.0, -4.0, 2.0))
    moving = speckled(grid)
    found = affine_align(moved(moving, true), moving, level="rigid")
    assert found.kept == "rigid"
    points = within(axis)
    there = through(found.transform, points)
    assert np.abs(there - through(true, points)).max() < 0.8
    assert np.abs(through(true, points) - points).max() > 3
    assert np.abs((there - points) @ OBLIQUE[:, axis]).max() < 1e-6


def test_an_affine_in_plane_leaves_the_distance_of_the_slices() -> None:
    grid = stack(2, 3)
    moving = speckled(grid)
    true = sitk.AffineTransform((OBLIQUE @ np.diag([1.15, 0.92, 1.0]) @ OBLIQUE.T).ravel().tolist(), (0, 0, 0), MIDDLE)
    found = affine_align(moved(moving, true), moving)
    points = within(2)
    there = through(found.transform, points)
    assert np.linalg.norm(there - through(true, points), axis=1).mean() < 0.6
    assert np.abs((there - points) @ OBLIQUE[:, 2]).max() < 1e-6


@pytest.mark.parametrize(("axis", "slices"), [(2, 2), (0, 3), (1, 5)])
def test_a_deformation_in_plane_is_found_slice_by_slice(axis: int, slices: int) -> None:
    grid = stack(axis, slices)
    moving, points = speckled(grid), metrics.coordinates(grid).astype(float)
    steps = (points - MIDDLE) @ OBLIQUE
    near = np.exp(-sum(steps[..., other] ** 2 for other in range(3) if other != axis) / (2 * 11**2))
    along = np.array([3.0, -2.5, 2.0])
    along[axis] = 0
    truth = near[..., None] * (OBLIQUE @ along)
    field = sitk.DisplacementFieldTransform(sitk.GetImageFromArray(truth, isVector=True))
    image = field.GetDisplacementField()
    image.CopyInformation(to_sitk(moving))
    field = sitk.DisplacementFieldTransform(image)
    fixed = moved(moving, field)
    found = register_volumes(no_network(grid, grid), fixed, moving, refine="auto", affine="none")
    there = near > 0.4
    error = np.linalg.norm(found.field.vectors - truth, axis=-1)
    assert error[there].mean() < 0.35 * np.linalg.norm(truth, axis=-1)[there].mean()
    assert np.abs(found.field.vectors @ OBLIQUE[:, axis]).max() < 1e-4
    assert found.orientation is not None and found.orientation.turned == 0
    assert float(found.orientation.jacobian.array.min()) > 0
    bright = [Volume((one.array > 120).astype(np.uint8), grid, "labels") for one in (fixed, moving)]
    before, after = (metrics.dice(bright[0], one, [1])[1] for one in (
        bright[1], resample(bright[1], grid, found.field.to_transform())))
    assert after > before + 0.03


def test_what_counts_as_a_thin_stack() -> None:
    thin, volume = stack(1, 3), grid_about(MIDDLE, (40, 40, 30), (1.5,) * 3, OBLIQUE)
    assert thin_axis(thin, stack(2, 5, OBLIQUE[:, [0, 2, 1]])) == 1  # the other one stored along another axis
    assert thin_axis(thin, volume) is None and thin_axis(volume, thin) is None
    assert thin_axis(thin, stack(1, 6)) is None
    assert thin_axis(thin, stack(1, 3, OBLIQUE @ rotation(20, 0, 0))) is None  # across one another
    assert thin_axis(thin, stack(1, 3, OBLIQUE @ rotation(0, 20, 0))) == 1  # turned in plane


def test_slices_at_another_height_stay_there() -> None:
    grid = stack(2, 4)
    up = Geometry(grid.size, grid.spacing, tuple(np.array(grid.origin) + 2.5 * OBLIQUE[:, 2]), grid.direction)
    found = affine_align(speckled(grid), speckled(up), level="rigid")
    points = within(2)
    assert np.abs((through(found.transform, points) - points) @ OBLIQUE[:, 2]).max() < 1e-6
