"""A whole registration on awkward grids, measured by SimpleITK alone: files in, files out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pipeline.synthetic import (
    FIXED_GRID,
    MOVING_GRID,
    PLANE_FIXED,
    PLANE_MOVING,
    blobs,
    grid_about,
    known_model,
    two_blobs,
)
from scipy import ndimage

from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.files import write_displacement, write_points, write_volume
from AutoRegLib.imaging.volume import to_sitk
from AutoRegLib.registration.metrics import coordinates
from AutoRegLib.registration.run import RegisterOptions, apply_transform, register

SHIFT = (3.0, -2.0, 2.0)
NAMES = ("a", "b", "c", "d")
POINTS = np.array([[10.0, -20, 30], [4, -14, 33], [15, -27, 25], [18.0, -10, 36]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An oblique, anisotropic fixed image and a left-handed, permuted moving one of another size, registered."""
    base = tmp_path_factory.mktemp("register")
    write_volume(blobs(FIXED_GRID), base / "fixed.nii.gz")
    write_volume(blobs(MOVING_GRID, shift=SHIFT), base / "moving.nii.gz")
    write_volume(two_blobs(FIXED_GRID), base / "fixed_labels.nii.gz")
    write_volume(two_blobs(MOVING_GRID, shift=SHIFT), base / "moving_labels.nii.gz")
    write_points(NAMES, POINTS, base / "fixed.csv")
    write_points(NAMES[::-1], (POINTS + SHIFT)[::-1], base / "moving.csv")  # another order, the same names
    options = RegisterOptions(
        moving_labels=base / "moving_labels.nii.gz", fixed_labels=base / "fixed_labels.nii.gz",
        fixed_landmarks=base / "fixed.csv", moving_landmarks=base / "moving.csv",
        fixed_mask=base / "fixed_labels.nii.gz", inverse=True, deliver="whole",
        transform_format=("nii.gz", "h5", "tfm", "composite.h5", "npy"),
    )
    register(known_model(3, 0.8, spacing=(2.0, 2.0, 2.0)), base / "fixed.nii.gz", base / "moving.nii.gz",
             output=base / "out", options=options)
    return base


def field_of(path: Path) -> sitk.DisplacementFieldTransform:
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))


def array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def report(base: Path) -> dict[str, Any]:
    return json.loads((base / "out" / "report.json").read_text())


def test_the_written_transform_makes_the_written_image(folder: Path) -> None:
    fixed, moving = (sitk.ReadImage(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving"))
    warped = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, field_of(folder / "out/transform.nrrd")))
    ours = array(folder / "out/warped.nii.gz")
    assert np.abs(ours - warped).max() < 1e-3 * np.ptp(warped)
    assert np.abs(ours - sitk.GetArrayFromImage(sitk.Resample(moving, fixed))).max() > 0.1 * np.ptp(warped)


def test_scipy_makes_the_written_image_and_finds_the_way_back(folder: Path) -> None:
    places, back = (np.load(folder / f"out/{name}.npy") for name in ("transform", "inverse_transform"))
    ours, moving = array(folder / "out/warped.nii.gz"), array(folder / "moving.nii.gz")
    inner = np.all([(p > 0.01) & (p < n - 1.01) for p, n in zip(places, moving.shape, strict=True)], axis=0)
    scipy = ndimage.map_coordinates(moving, places, order=1)
    assert inner.mean() > 0.3 and np.abs(scipy - ours)[inner].max() < 1e-3 * np.ptp(ours)
    loop = np.stack([ndimage.map_coordinates(part, places, order=1) for part in back])
    apart = np.linalg.norm((loop - np.indices(places.shape[1:]))[:, inner], axis=0)
    assert np.percentile(apart, 95) < 0.1


def test_the_written_transform_makes_the_written_labels(folder: Path) -> None:
    fixed, labels = (sitk.ReadImage(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving_labels"))
    warped = sitk.Resample(labels, fixed, field_of(folder / "out/transform.nrrd"), sitk.sitkNearestNeighbor)
    ours = array(folder / "out/warped_labels.nii.gz")
    assert np.count_nonzero(ours != sitk.GetArrayFromImage(warped)) == 0
    assert set(np.unique(ours)) == {0, 1, 2}


@pytest.mark.parametrize("suffix", ["nii.gz", "h5", "tfm", "composite.h5"])
def test_every_transform_format_holds_the_same_map(folder: Path, suffix: str) -> None:
    path = folder / f"out/transform.{suffix}"
    other = field_of(path) if suffix == "nii.gz" else sitk.ReadTransform(str(path))
    reference = field_of(folder / "out/transform.nrrd")
    points = coordinates(FIXED_GRID)[1:-1:3, 1:-1:4, 1:-1:4].reshape(-1, 3).astype(float)
    apart = [np.subtract(other.TransformPoint(p), reference.TransformPoint(p)) for p in points.tolist()]
    assert np.abs(apart).max() < 1e-4


def test_landmarks_go_through_the_written_transform(folder: Path, tmp_path: Path) -> None:
    transform = field_of(folder / "out/transform.nrrd")
    mapped = np.array([transform.TransformPoint(p) for p in POINTS.tolist()])
    errors = np.linalg.norm(mapped - (POINTS + SHIFT), axis=1)
    found = report(folder)
    assert abs(found["tre_mm"] - errors.mean()) < 0.01
    assert abs(found["tre_max_mm"] - errors.max()) < 0.01
    assert max(abs(found["tre_by_landmark_mm"][n] - e) for n, e in zip(NAMES, errors, strict=True)) < 0.01
    assert abs(found["tre_before_mm"] - np.linalg.norm(SHIFT)) < 1e-6
    apply_transform(folder / "out/transform.nrrd", reference=folder / "fixed.nii.gz", input=folder / "fixed.csv",
                    output=tmp_path / "mapped.csv", kind="points")
    table = np.genfromtxt(tmp_path / "mapped.csv", delimiter=",", skip_header=1)[:, 1:]
    assert np.abs(table - mapped).max() < 1e-3


def test_apply_repeats_the_registration(folder: Path, tmp_path: Path) -> None:
    for kind, moving, made in (("image", "moving", "warped"), ("labels", "moving_labels", "warped_labels")):
        apply_transform(folder / "out/transform.nrrd", reference=folder / "fixed.nii.gz",
                        input=folder / f"{moving}.nii.gz", output=tmp_path / f"{made}.nii.gz", kind=kind)
        ours, again = array(folder / f"out/{made}.nii.gz"), array(tmp_path / f"{made}.nii.gz")
        assert np.abs(ours.astype(float) - again).max() < 1e-3


def test_the_inverse_undoes_the_transform(folder: Path) -> None:
    forward, inverse = (field_of(folder / f"out/{name}transform.nrrd") for name in ("", "inverse_"))
    # inside both images: near the edges points leave the lattice on which one of the fields is known
    moving = coordinates(MOVING_GRID)
    inner = np.linalg.norm(moving - (POINTS[0] + SHIFT), axis=-1) < 14
    points = moving[inner].astype(float)
    loop = np.array([forward.TransformPoint(inverse.TransformPoint(p)) for p in points.tolist()])
    assert len(points) > 500
    assert np.abs(loop - points).max() < 0.02
    assert np.linalg.norm(np.array([inverse.TransformPoint(p) for p in points.tolist()]) - points, axis=1).min() > 1
    found = report(folder)
    mask = array(folder / "fixed_labels.nii.gz") > 0
    starts = coordinates(FIXED_GRID)[mask].astype(float)
    error = np.linalg.norm(
        np.array([inverse.TransformPoint(forward.TransformPoint(p)) for p in starts.tolist()]) - starts, axis=1)
    assert abs(found["inverse_consistency_mm"] - error.mean()) < 1e-3
    assert abs(found["inverse_consistency_max_mm"] - error.max()) < 1e-3
    assert error.mean() < 0.05


def test_dice_of_the_report_is_that_of_the_files(folder: Path) -> None:
    fixed, before = (sitk.ReadImage(str(folder / f"{n}_labels.nii.gz")) for n in ("fixed", "moving"))
    after = sitk.ReadImage(str(folder / "out/warped_labels.nii.gz"))
    found = report(folder)
    for key, labels in (("dice_before", sitk.Resample(before, fixed, sitk.Transform(), sitk.sitkNearestNeighbor)),
                        ("dice", after)):
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(fixed, labels)
        values = [overlap.GetDiceCoefficient(s) for s in (1, 2)]
        assert max(abs(found[key][str(s)] - v) for s, v in zip((1, 2), values, strict=True)) < 1e-6
        assert abs(found[key]["mean"] - np.mean(values)) < 1e-6


def test_the_jacobian_is_simpleitks_where_the_grid_is_straight(tmp_path: Path) -> None:
    straight = grid_about((10, -20, 30), (24, 20, 22), (1.5, 2.0, 1.7), np.eye(3))
    write_volume(blobs(straight), tmp_path / "fixed.nii.gz")
    write_volume(blobs(MOVING_GRID, shift=SHIFT), tmp_path / "moving.nii.gz")
    found = register(known_model(3, 2.5), tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz",
                     output=tmp_path / "out", options=RegisterOptions(deliver="whole"))
    field = sitk.ReadImage(str(tmp_path / "out/transform.nrrd"), sitk.sitkVectorFloat64)
    theirs = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field, True))
    ours = array(tmp_path / "out/jacobian.nii.gz")
    assert np.abs(ours - theirs).max() < 1e-4
    assert np.abs(theirs - 1).max() > 0.1
    assert found["folds"] == np.count_nonzero(theirs <= 0)
    assert abs(found["jacobian_min"] - theirs.min()) < 1e-4


@pytest.mark.parametrize("grids", [(FIXED_GRID, MOVING_GRID), (PLANE_FIXED, PLANE_MOVING)])
def test_no_motion_reproduces_the_moving_image_by_its_header(tmp_path: Path, grids: Any) -> None:
    fixed, moving = blobs(grids[0]), blobs(grids[1], shift=SHIFT)
    write_volume(fixed, tmp_path / "fixed.nii.gz")
    write_volume(moving, tmp_path / "moving.nii.gz")
    register(known_model(grids[0].dims, 0.0), tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz",
             output=tmp_path / "out", options=RegisterOptions(affine="none"))
    by_header = sitk.GetArrayFromImage(sitk.Resample(to_sitk(moving), to_sitk(fixed)))
    assert np.abs(array(tmp_path / "out/warped.nii.gz") - by_header).max() < 1e-3 * np.ptp(by_header)
    assert np.abs(by_header - fixed.array).max() > 0.05 * np.ptp(by_header)
    jacobian = array(tmp_path / "out/jacobian.nii.gz")
    assert np.abs(jacobian - 1).max() < 1e-5


def test_an_initial_transform_comes_last_on_the_way_to_moving_points(tmp_path: Path) -> None:
    """With no affine and no motion the delivered map is the initial transform, linear or a field."""
    linear = sitk.AffineTransform(3)
    linear.SetMatrix([1.02, 0.05, 0, -0.04, 0.98, 0.02, 0, 0.03, 1.01])
    linear.SetTranslation([2.0, -1.5, 1.0])
    linear.SetCenter([10.0, -20, 30])
    sitk.WriteTransform(linear, str(tmp_path / "initial.tfm"))
    image = sitk.TransformToDisplacementField(
        linear, sitk.sitkVectorFloat32, FIXED_GRID.size, FIXED_GRID.origin, FIXED_GRID.spacing, FIXED_GRID.direction)
    write_displacement(DisplacementField(sitk.GetArrayFromImage(image), FIXED_GRID), tmp_path / "initial.nrrd")
    write_volume(blobs(FIXED_GRID), tmp_path / "fixed.nii.gz")
    write_volume(blobs(MOVING_GRID, shift=SHIFT), tmp_path / "moving.nii.gz")
    expected = sitk.GetArrayFromImage(image)
    for name in ("initial.tfm", "initial.nrrd"):
        found = register(known_model(3, 0.0), tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz",
                         output=tmp_path / "out", options=RegisterOptions(
                             affine="none", initial_transform=tmp_path / name, inverse=True))
        assert np.abs(array(tmp_path / "out/transform.nrrd") - expected).max() < 1e-3
        assert found["inverse_consistency_mm"] < 0.05
    assert np.abs(expected).max() > 1


def test_a_network_without_velocity_gets_an_inverse_too(tmp_path: Path) -> None:
    write_volume(blobs(FIXED_GRID), tmp_path / "fixed.nii.gz")
    write_volume(blobs(MOVING_GRID, shift=SHIFT), tmp_path / "moving.nii.gz")
    model = known_model(3, 0.8, velocity=False)
    for inverse in (True, False):
        found = register(model, tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz", output=tmp_path / "out",
                         options=RegisterOptions(inverse=inverse))
        assert ("inverse_consistency_mm" in found) is inverse  # no inverse: no measurement
        assert (tmp_path / "out/inverse_transform.nrrd").exists() is inverse  # an old one does not stay
        assert not inverse or found["inverse_consistency_p95_mm"] < 0.2  # of voxels of 1.5 to 2.7 mm


def test_a_quarter_turn_between_headers_is_followed(tmp_path: Path) -> None:
    """The same object written on a grid turned by 90 degrees: headers alone put it in place."""
    fixed = blobs(FIXED_GRID)
    turned = sitk.PermuteAxes(to_sitk(fixed), (2, 0, 1))[::-1, :, ::-1]
    write_volume(fixed, tmp_path / "fixed.nrrd")
    sitk.WriteImage(turned, str(tmp_path / "moving.nrrd"))
    register(known_model(3, 0.0), tmp_path / "fixed.nrrd", tmp_path / "moving.nrrd", output=tmp_path / "out",
             options=RegisterOptions(affine="none"))
    assert np.abs(array(tmp_path / "out/warped.nii.gz") - fixed.array).max() < 1e-2
