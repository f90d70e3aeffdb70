"""Volumes of one slice: registered in their plane, files judged by SimpleITK and Slicer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pipeline.synthetic import blobs, grid_about, known_model, rotation

from AutoRegLib import register
from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.files import read_geometry, read_volume, write_points, write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.single_slice import slice_pair
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.run import RegisterOptions, apply_transform
from AutoRegLib.registration.run import register as register_files

OBLIQUE = rotation(20, -30, 15)
MIDDLE = np.array((10.0, -20, 30))
#: fields as images by the slice's axis
FIELDS = (("transform.nrrd", "transform.nii.gz"), ("transform.nrrd", "transform.nii.gz"), ("transform.nrrd",))
ANY: dict[str, Any] = {"model": "none", "refine": "auto"}


def slice_grid(axis: int, *, size: int = 56, out: float = 0.0, direction: np.ndarray = OBLIQUE) -> Geometry:
    """A plane through the blobs, 4 mm thick, ``out`` mm along its normal."""
    sizes, spacing = [size, size + 6, size - 4], [1.2, 1.1, 1.3]
    sizes[axis], spacing[axis] = 1, 4.0
    return grid_about(tuple(MIDDLE + out * direction[:, axis]), tuple(sizes), tuple(spacing), direction)


def parts(grid: Geometry, shift: tuple[float, ...] = (0, 0, 0)) -> Volume:
    """What is bright and what is brightest of the blobs, as labels."""
    return Volume(np.digitize(blobs(grid, shift=shift).array, (80, 160)).astype(np.uint8), grid, "labels")


def shifted(axis: int) -> np.ndarray:
    """A shift within the plane. Unit: mm LPS."""
    along = np.array([4.0, -3.0, 5.0])
    along[axis] = 0
    return OBLIQUE @ along


def simpleitk_field(path: Path) -> sitk.DisplacementFieldTransform:
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))


def in_plane(grid: Geometry, axis: int, count: int = 50, reach: float = 14.0) -> np.ndarray:
    """Points of the slice, some of them off its middle but within its thickness."""
    steps = np.random.default_rng(0).uniform(-reach, reach, (count, 3))
    steps[:, axis] = np.linspace(-1.9, 1.9, count)
    return np.asarray(grid.centre + steps @ grid.direction_matrix.T)


def parts_at(grid: Geometry, points: np.ndarray) -> np.ndarray:
    """The labels of the voxels that points lie in."""
    voxels = (points - np.array(grid.origin)) @ grid.direction_matrix / np.array(grid.spacing)
    return np.asarray(parts(grid).array[tuple(np.rint(voxels).astype(int).T[::-1])])


@pytest.fixture(scope="module", params=[0, 1, 2])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, dict[str, Any]]:
    axis, base = request.param, tmp_path_factory.mktemp("slice")
    fixed, shift = slice_grid(axis), tuple(shifted(axis))
    moving = slice_grid(axis, size=60)
    write_volume(blobs(fixed), base / "fixed.nii.gz")
    write_volume(blobs(moving, shift=shift), base / "moving.nii.gz")
    write_volume(parts(fixed), base / "fixed_labels.nii.gz")
    write_volume(parts(moving, shift), base / "moving_labels.nii.gz")
    write_points("abc", in_plane(fixed, axis, 3), base / "fixed.csv")
    write_points("abc", in_plane(fixed, axis, 3) + shift, base / "moving.csv")
    report = register(
        base / "fixed.nii.gz", base / "moving.nii.gz", base / "out", **ANY, affine="rigid", inverse=True,
        fixed_labels=base / "fixed_labels.nii.gz", moving_labels=base / "moving_labels.nii.gz",
        fixed_landmarks=base / "fixed.csv", moving_landmarks=base / "moving.csv",
        transform_format=("nrrd", "h5", "tfm", "composite.h5", "npy", *(() if axis == 2 else ("nii.gz",))))
    return base, axis, report


def test_the_written_transform_moves_points_as_the_shape_was_moved(done: tuple[Path, int, dict[str, Any]]) -> None:
    base, axis, report = done
    grid, shift = slice_grid(axis), shifted(axis)
    points = in_plane(grid, axis)
    for name in FIELDS[axis]:
        field = simpleitk_field(base / "out" / name)
        moved = np.array([field.TransformPoint(point) for point in points.tolist()]) - points
        assert np.abs(moved - shift).max() < 1.0, name  # a pixel: between the blobs nothing guides
        shown = parts_at(grid, points) > 0
        assert shown.sum() > 30 and np.linalg.norm(moved - shift, axis=1)[shown].mean() < 0.4, name
        assert np.abs(moved @ grid.direction_matrix[:, axis]).max() < 1e-5, "it leaves the plane"
    for name in ("transform.h5", "transform.tfm", "transform.composite.h5", "affine.tfm"):
        other = sitk.ReadTransform(str(base / "out" / name))
        there = np.array([other.TransformPoint(point) for point in points.tolist()]) - points
        assert np.abs(there - (shift if "affine" in name else moved)).max() < (0.5 if "affine" in name else 1e-3), name
    back = simpleitk_field(base / "out" / "inverse_transform.nrrd")
    there = [back.TransformPoint(point) for point in (points + shift).tolist()]
    assert np.linalg.norm(np.array(there) - points, axis=1)[shown].mean() < 0.4
    assert report["tre_before_mm"] == pytest.approx(np.linalg.norm(shift), abs=1e-3) and report["tre_mm"] < 0.5


def test_results_are_volumes_of_the_fixed_slices_shape_and_place(done: tuple[Path, int, dict[str, Any]]) -> None:
    base, axis, report = done
    fixed, moving = (sitk.ReadImage(str(base / f"{name}.nii.gz")) for name in ("fixed", "moving"))
    for name in ("warped", "warped_labels", "jacobian"):
        image = sitk.ReadImage(str(base / "out" / f"{name}.nii.gz"))
        assert image.GetSize() == fixed.GetSize() == slice_grid(axis).size
        assert np.abs(np.subtract(image.GetDirection(), fixed.GetDirection())).max() < 1e-6
        assert np.abs(np.subtract(image.GetOrigin(), fixed.GetOrigin())).max() < 1e-4
    field = simpleitk_field(base / "out" / "transform.nrrd")
    warped = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, field))
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(base / "out" / "warped.nii.gz")))
    assert np.abs(ours - warped).max() < 1e-3 * np.ptp(warped)
    labels = sitk.ReadImage(str(base / "moving_labels.nii.gz"))
    warped = sitk.GetArrayFromImage(sitk.Resample(labels, fixed, field, sitk.sitkNearestNeighbor))
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(base / "out" / "warped_labels.nii.gz")))
    assert np.count_nonzero(ours != warped) == 0
    assert report["dice_before"]["mean"] < 0.6 and report["dice"]["mean"] > 0.85
    assert report["folds"] == 0 and report["ndv_fraction"] == 0


def test_apply_carries_the_slice_along(done: tuple[Path, int, dict[str, Any]]) -> None:
    base = done[0]
    for name in (*FIELDS[done[1]], "transform.h5"):
        told = apply_transform(base / "out" / name, reference=base / "fixed.nii.gz", input=base / "moving.nii.gz",
                               output=base / "applied.nii.gz")
        assert told["outside_field"] == 0
        ours, theirs = (read_volume(base / where, "intensity", flat=False) for where in (
            "applied.nii.gz", "out/warped.nii.gz"))
        assert ours.geometry.close_to(theirs.geometry)
        assert np.abs(ours.array - theirs.array).max() < 1e-3 * np.ptp(theirs.array)


def test_slicer_moves_points_alike(done: tuple[Path, int, dict[str, Any]]) -> None:
    slicer = pytest.importorskip("slicer", reason="slicer-core, the Slicer runtime, is not installed")
    base, axis, _ = done
    points = in_plane(slice_grid(axis), axis)
    field = simpleitk_field(base / "out" / "transform.nrrd")
    expected = np.array([field.TransformPoint(point) for point in points.tolist()])
    for name in (*FIELDS[axis], "transform.h5"):
        scene = slicer.vtkMRMLScene()
        node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "warp")
        storage = slicer.vtkMRMLTransformStorageNode()
        scene.AddNode(storage)
        storage.SetFileName(str(base / "out" / name))
        assert storage.ReadData(node)
        grid = node.GetTransformFromParentAs("vtkOrientedGridTransform", False, True)
        assert grid is not None, name
        grid.SetInterpolationModeToLinear()
        sign = np.array([-1.0, -1.0, 1.0])
        middle = points - np.outer((points - slice_grid(axis).centre) @ OBLIQUE[:, axis], OBLIQUE[:, axis])
        found = np.array([grid.TransformPoint(point) for point in (middle * sign).tolist()]) * sign
        flat = expected - points + middle
        assert np.abs(found - flat).max() < 1e-3, name


def test_slices_of_two_planes_are_carried_onto_one_another_and_it_is_said(tmp_path: Path) -> None:
    fixed, moving = slice_grid(2), slice_grid(2, out=30.0, direction=OBLIQUE @ rotation(0, 4, 0))
    write_volume(blobs(fixed), tmp_path / "fixed.nrrd")
    seen = blobs(fixed).array
    write_volume(Volume(seen, moving, "intensity"), tmp_path / "moving.nrrd")  # the same picture elsewhere
    report = register(tmp_path / "fixed.nrrd", tmp_path / "moving.nrrd", tmp_path / "out", model="none", refine=0,
                      affine="rigid")
    assert any("apart" in text for text in report["warnings"])
    field = simpleitk_field(tmp_path / "out" / "transform.nrrd")
    index = np.array([[0.0, 10, 10], [0, 28, 31], [0, 40, 22]])[:, [1, 2, 0]]
    start, end = (index @ grid.index_to_physical[:3, :3].T + grid.origin for grid in (fixed, moving))
    moved = np.array([field.TransformPoint(point) for point in start.tolist()])
    assert np.abs(moved - end).max() < 0.3
    warped = read_volume(tmp_path / "out" / "warped.nii.gz", "intensity", flat=False)
    assert np.abs(warped.array - seen).mean() < 0.05 * np.ptp(seen)


def test_a_geodesic_of_slices_starts_as_that_of_the_pictures(tmp_path: Path) -> None:
    """The initial velocity lies on the working grid, in the plane, whatever grid the slice itself has."""
    fixed, moving = slice_grid(1, size=27), slice_grid(1, size=30)
    write_volume(blobs(fixed), tmp_path / "fixed.nrrd")
    write_volume(blobs(moving, shift=tuple(shifted(1))), tmp_path / "moving.nrrd")
    flat = slice_pair(fixed, moving)
    assert flat is not None
    write_volume(flat.fixed.volume(blobs(fixed)), tmp_path / "fixed2.nrrd")
    write_volume(flat.moving.volume(blobs(moving, shift=tuple(shifted(1)))), tmp_path / "moving2.nrrd")
    for name in ("", "2"):
        register(tmp_path / f"fixed{name}.nrrd", tmp_path / f"moving{name}.nrrd", tmp_path / f"out{name}",
                 model="none", refine=0, affine="none", transformation="lddmm", deliver="whole")
    field, plain = (sitk.ReadImage(str(tmp_path / f"out{name}" / "initial_velocity.nrrd"), sitk.sitkVectorFloat64)
                    for name in ("", "2"))
    assert field.GetSize()[1] == 1 and field.GetSize()[::2] == plain.GetSize() != fixed.size[::2]
    turn = flat.fixed.basis
    for index in ((0, 0), (7, 3), tuple(n - 1 for n in plain.GetSize())):
        there = (index[0], 0, index[1])
        point = turn @ plain.TransformIndexToPhysicalPoint(index) + flat.fixed.offset
        assert np.abs(field.TransformIndexToPhysicalPoint(there) - point).max() < 1e-4
        assert np.abs(np.array(field[there]) - turn @ plain[index]).max() < 0.02  # a descent follows rounding
    assert np.abs(sitk.GetArrayFromImage(plain)).max() > 1.0


def test_what_cannot_be_one_plane_is_refused_with_a_way_out(tmp_path: Path) -> None:
    write_volume(blobs(slice_grid(2)), tmp_path / "slice.nrrd")
    write_volume(blobs(slice_grid(1)), tmp_path / "across.nrrd")
    write_volume(blobs(grid_about(tuple(MIDDLE), (30, 30, 20), (2.0,) * 3, OBLIQUE)), tmp_path / "volume.nrrd")
    for fixed, moving, said in (("slice", "across", "parallel"), ("slice", "volume", "single slice"),
                                ("volume", "slice", "single slice")):
        with pytest.raises(InputError, match=said) as problem:
            register(tmp_path / f"{fixed}.nrrd", tmp_path / f"{moving}.nrrd", tmp_path / "out", **ANY)
        assert problem.value.remedy
    with pytest.raises(InputError, match="one slice"):
        register(tmp_path / "slice.nrrd", tmp_path / "slice.nrrd", tmp_path / "out", **ANY,
                 transform_format=("nrrd", "nii.gz"))
    with pytest.raises(InputError, match="3-D images") as problem:
        register_files(known_model(3, 0.5), tmp_path / "slice.nrrd", tmp_path / "slice.nrrd", output=tmp_path / "out",
                       options=RegisterOptions())
    assert "single slice" in problem.value.remedy


def test_a_model_of_pictures_takes_slices(tmp_path: Path) -> None:
    write_volume(blobs(slice_grid(1)), tmp_path / "slice.nii.gz")
    register_files(known_model(2, 0.5), tmp_path / "slice.nii.gz", tmp_path / "slice.nii.gz", output=tmp_path / "out",
                   options=RegisterOptions(deliver="whole"))
    assert read_geometry(tmp_path / "out" / "warped.nii.gz", flat=False).close_to(slice_grid(1))
    field = simpleitk_field(tmp_path / "out" / "transform.nrrd")
    assert np.abs(field.TransformPoint(tuple(MIDDLE)) - MIDDLE).max() > 0.1


def test_an_initial_transform_and_masks_of_slices_count_in_their_plane(tmp_path: Path) -> None:
    grid, shift = slice_grid(2), 4 * shifted(2)
    write_volume(blobs(grid), tmp_path / "fixed.nrrd")
    moved = Geometry(grid.size, grid.spacing, tuple(np.array(grid.origin) + shift), grid.direction)
    write_volume(blobs(moved, shift=tuple(shift)), tmp_path / "moving.nrrd")
    mask = blobs(grid)
    write_volume(Volume((mask.array > 30).astype(np.uint8), grid, "labels"), tmp_path / "mask.nrrd")
    sitk.WriteTransform(sitk.TranslationTransform(3, tuple(shift)), str(tmp_path / "start.tfm"))
    register(tmp_path / "fixed.nrrd", tmp_path / "moving.nrrd", tmp_path / "out", model="none", refine=0,
             affine="rigid", initial_transform=tmp_path / "start.tfm", fixed_mask=tmp_path / "mask.nrrd")
    field = simpleitk_field(tmp_path / "out" / "transform.nrrd")
    points = in_plane(grid, 2, reach=10.0)
    there = np.array([field.TransformPoint(point) for point in points.tolist()])
    assert np.abs(there - points - shift).max() < 0.3
