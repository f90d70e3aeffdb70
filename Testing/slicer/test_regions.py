"""A region of interest: the very voxels of the fixed volume that it covers, where the scene shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import oracle
import scenes
import SimpleITK as sitk
import vtk

from AutoRegLib.core.errors import InputError
from AutoRegSlicerLib.jobs.jobs import Jobs
from AutoRegSlicerLib.logic import (
    RegistrationInputs,
    RegistrationOutputs,
    checkRegistration,
    exportRegistration,
    registerVolumes,
)
from AutoRegSlicerLib.scene import transforms, volumes
from AutoRegSlicerLib.scene.grids import RAS_LPS, ownLattice, vtkMatrix

SIZE = (21.0, 17.0, 14.0)


def addRegion(
    scene: Any, *, size: tuple[float, ...] = SIZE, offset: Any = (2.0, -1.0, 3.0), turned: bool = False,
) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    node.SetCenter(*(scenes.CENTER + offset))
    node.SetSize(*size)
    if turned:
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = scenes.rotation(20, -15, 30), scenes.CENTER + offset
        node.SetAndObserveObjectToNodeMatrix(vtkMatrix(matrix))
    return node


def inside(roi: Any, points: np.ndarray) -> np.ndarray:
    """Whether points (n, 3; mm RAS) lie in the region, by the planes that Slicer gives it."""
    planes = vtk.vtkPlanes()
    roi.GetPlanesWorld(planes)
    return np.array([planes.EvaluateFunction(point) <= 0 for point in points.tolist()])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("kind", ["axis-aligned", "oblique", "left-handed", "permuted"])
def test_the_crop_is_the_smallest_box_around_the_region(
    scene: Any, tmp_path: Path, kind: str, placed: bool, turned: bool,
) -> None:
    pair = scenes.addPair(scene, kind)
    fixed = pair["fixedVolume"]
    roi = addRegion(scene, turned=turned)
    if placed:
        fixed.SetAndObserveTransformNodeID(scenes.addLinear(scene, "fixed moved").GetID())
        roi.SetAndObserveTransformNodeID(scenes.addLinear(scene, "region moved").GetID())
    before = (volumes.voxelsOf(fixed).copy(), ownLattice(fixed).ijkToRAS, roi.GetSize())
    exportRegistration(RegistrationInputs(**pair, model="m", roi=roi), tmp_path)
    image = sitk.ReadImage(str(tmp_path / "in/fixed.nrrd"))
    whole = ownLattice(fixed).moved(transforms.worldMatrix(fixed))
    corner = RAS_LPS[:3, :3] @ np.array(image.GetOrigin())
    first = np.linalg.inv(whole.ijkToRAS) @ [*corner, 1]
    start = np.rint(first[:3]).astype(int)
    assert np.abs(first[:3] - start).max() < 1e-3  # on the fixed volume's own voxels
    box = tuple(slice(a, a + n) for a, n in zip(start[::-1], image.GetSize()[::-1], strict=True))
    assert np.array_equal(sitk.GetArrayFromImage(image), before[0][box])
    covered = inside(roi, scenes.positions(whole).reshape(-1, 3)).reshape(whole.size[::-1])
    places = np.argwhere(covered)
    low, high = places.min(axis=0), places.max(axis=0)
    assert covered.any() and covered.sum() == covered[box].sum()
    # no voxel center outside it counts, and no more than the half voxels that the region touches are added
    assert all(b.start >= a - 2 and b.stop <= c + 3 for b, a, c in zip(box, low, high, strict=True))
    if not turned and not placed and kind in ("axis-aligned", "permuted"):
        assert all(b.start >= a - 1 and b.stop <= c + 2 for b, a, c in zip(box, low, high, strict=True))
    labels = sitk.ReadImage(str(tmp_path / "in/fixed_labels.nrrd"))
    assert labels.GetSize() == image.GetSize() and np.allclose(labels.GetOrigin(), image.GetOrigin())
    assert np.array_equal(volumes.voxelsOf(fixed), before[0]) and roi.GetSize() == before[2]


def test_faces_on_faces_take_in_no_further_voxel(scene: Any, tmp_path: Path) -> None:
    fixed = scenes.addPair(scene, "axis-aligned")["fixedVolume"]
    on = ownLattice(fixed)
    low = np.array([4, 6, 8]) - 0.5
    middle = on.ijkToRAS @ [*(low + np.array([10, 9, 8]) / 2), 1]
    roi = addRegion(scene, size=tuple(on.spacing * (10, 9, 8)), offset=middle[:3] - scenes.CENTER)
    exportRegistration(RegistrationInputs(fixed, fixed, "m", roi=roi), tmp_path)
    assert sitk.ReadImage(str(tmp_path / "in/fixed.nrrd")).GetSize() == (10, 9, 8)


def test_what_the_region_must_be(scene: Any, tmp_path: Path) -> None:
    pair = scenes.addPair(scene, "axis-aligned")

    def codes(roi: Any) -> list[str]:
        inputs = RegistrationInputs(**pair, model="some-model", roi=roi)
        return [message.code for message in checkRegistration(scene, inputs, RegistrationOutputs())]

    assert codes(None) == codes(addRegion(scene)) == []
    assert codes(scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "not drawn")) == ["no-region"]
    far, thin = addRegion(scene, offset=(500.0, 0.0, 0.0)), addRegion(scene, size=(20.0, 20.0, 1.0))
    assert codes(far) == codes(thin) == ["small-region"]
    with pytest.raises(InputError, match="covers too little"):
        exportRegistration(RegistrationInputs(**pair, model="m", roi=far), tmp_path)


def test_results_lie_on_the_region(scene: Any, tmp_path: Path) -> None:
    pair = scenes.addPair(scene)
    roi = addRegion(scene)
    outputs = RegistrationOutputs(createSegmentation=True)
    result = registerVolumes(**pair, model="none", refine=2, roi=roi, outputs=outputs, jobs=Jobs(tmp_path),
                             device="cpu", timeoutSeconds=120)
    image = sitk.ReadImage(str(result.folder / "in/fixed.nrrd"))
    for node in (result.volume, result.jacobian):
        found = oracle.nodeImage(node)
        assert found.GetSize() == image.GetSize() and np.allclose(found.GetOrigin(), image.GetOrigin(), atol=1e-3)
    assert image.GetSize() < oracle.nodeImage(pair["fixedVolume"]).GetSize()
    field = oracle.fieldTransform(result.folder / "out/transform.nrrd")
    points = scenes.CENTER + np.array((2.0, -1.0, 3.0)) + np.random.default_rng(1).uniform(-5, 5, (50, 3))
    found = transforms.transformPoints(transforms.warpToWorld(result.transform, inverse=True), points)
    assert np.abs(found - oracle.throughRAS(field, points)).max() < 1e-4
    axis = ownLattice(result.volume).directions[:, 0]
    outside = scenes.CENTER + np.outer((60.0, 80.0), axis)  # as the tooltip says, the border's displacement goes on
    moved = transforms.transformPoints(transforms.warpToWorld(result.transform, inverse=True), outside) - outside
    assert np.abs(moved[0] - moved[1]).max() < 1e-6 < np.abs(moved[0]).max()
