"""Carrying other nodes along: copies are exact, originals stay, and what cannot be bent is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import oracle
import scenes
import SimpleITK as sitk
import slicer
import vtk

from AutoRegLib.core.errors import InputError
from AutoRegSlicerLib.logic import alignCenters, applyToNodes, previewOn
from AutoRegSlicerLib.scene import nodes, segmentations, transforms, volumes
from AutoRegSlicerLib.scene.grids import imageLattice, imageVoxels, ownLattice

IDENTITY = sitk.Transform(3, sitk.sitkIdentity)


@pytest.fixture
def pair(scene: Any) -> dict[str, Any]:
    """A pair with a warp that was registered to its fixed volume."""
    pair = scenes.addPair(scene, "oblique")
    pair["warp"] = scenes.addWarp(scene, "moving to fixed")
    transforms.gridOf(pair["warp"]).SetInverseTolerance(transforms.INVERSE_TOLERANCE)
    pair["warp"].SetNodeReferenceID("spatialRegistrationFixed", pair["fixedVolume"].GetID())
    pair["warp"].SetNodeReferenceID("spatialRegistrationMoving", pair["movingVolume"].GetID())
    pair["oracle"] = oracle.gridTransform(*transforms.gridVectors(transforms.gridOf(pair["warp"])))
    return pair


def addSphere(scene: Any, center: np.ndarray, radius: float = 9.0) -> Any:
    source = vtk.vtkSphereSource()
    source.SetCenter(*center)
    source.SetRadius(radius)
    source.SetThetaResolution(12)
    source.Update()
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", "ball")
    node.SetAndObservePolyData(source.GetOutput())
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetColor(0.1, 0.9, 0.4)
    return node


def modelPoints(node: Any) -> np.ndarray:
    from vtk.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(node.GetMesh().GetPoints().GetData()).astype(float)


def test_models_go_with_the_moving_image(scene: Any, pair: dict[str, Any]) -> None:
    """Every vertex, carried to the fixed image and back through the field, is where it was: < 0.01 mm."""
    ball = addSphere(scene, scenes.CENTER)
    ball.SetAndObserveTransformNodeID(scenes.addLinear(scene).GetID())
    before = modelPoints(ball).copy()
    shown = transforms.transformPoints(transforms.toWorld(ball), before)
    [copy] = applyToNodes(scene, pair["warp"], [ball])
    assert np.array_equal(modelPoints(ball), before) and copy.GetParentTransformNode() is None
    moved = modelPoints(copy)
    assert np.linalg.norm(moved - shown, axis=1).max() > 1
    assert np.linalg.norm(oracle.throughRAS(pair["oracle"], moved) - shown, axis=1).max() < 0.01
    assert copy.GetDisplayNode() is not ball.GetDisplayNode()
    assert copy.GetDisplayNode().GetColor() == pytest.approx((0.1, 0.9, 0.4))


@pytest.mark.parametrize("className", ["vtkMRMLMarkupsFiducialNode", "vtkMRMLMarkupsCurveNode"])
def test_the_inverse_direction_is_the_field_itself(scene: Any, pair: dict[str, Any], className: str) -> None:
    """Fixed to moving: points go exactly where SimpleITK sends them."""
    points = scenes.CENTER + np.random.default_rng(3).uniform(-10, 10, (12, 3))
    markups = scenes.addPoints(scene, "line", points, className)
    [copy] = applyToNodes(scene, pair["warp"], [markups], inverse=True)
    found = np.array([copy.GetNthControlPointPosition(i) for i in range(12)])
    assert np.abs(found - oracle.throughRAS(pair["oracle"], points)).max() < 1e-4
    assert np.abs(found - points).max() > 1
    assert copy.GetNthControlPointLabel(3) == "L4" and copy.GetClassName() == className
    unmoved = np.array([markups.GetNthControlPointPosition(i) for i in range(12)])
    assert np.abs(unmoved - points).max() < 1e-9


def test_overlapping_segments_stay_overlapping(scene: Any, pair: dict[str, Any]) -> None:
    """Two segments in layers of their own; each is what SimpleITK makes of it alone, names and colors included."""
    on = ownLattice(pair["movingVolume"])
    masks = [(scenes.labels(scenes.positions(on), (shift, 0, 0)) > 0).astype(np.uint8) for shift in (0.0, 5.0)]
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    images = [segmentations.orientedImage(on, mask) for mask in masks]
    tags = {"TerminologyEntry": "Segmentation category~SCT^1^Tissue~SCT^2^Bone"}
    segmentations.fillSegmentation(node, [
        (segmentations.Structure(f"s{i}", f"organ {i}", (0.2 * i, 0.5, 0.7), 1, image, tags), image)
        for i, image in enumerate(images)], None)
    [copy] = applyToNodes(scene, pair["warp"], [node])
    fixed = oracle.nodeImage(pair["fixedVolume"])
    for i, mask in enumerate(masks):
        segment = copy.GetSegmentation().GetSegment(f"s{i}")
        assert segment.GetName() == f"organ {i}" and segment.GetColor() == pytest.approx((0.2 * i, 0.5, 0.7))
        image = segment.GetRepresentation("Binary labelmap")
        found = oracle.resample(oracle.toSitk(imageVoxels(image), imageLattice(image)), fixed, IDENTITY, labels=True)
        expected = oracle.resample(oracle.toSitk(mask, on), fixed, pair["oracle"], labels=True)
        assert int((found != expected).sum()) == 0 and expected.any()
        text = vtk.reference("")
        assert segment.GetTag("TerminologyEntry", text) and str(text).endswith("Bone")


def test_label_maps_are_never_interpolated(scene: Any, pair: dict[str, Any]) -> None:
    on = ownLattice(pair["movingVolume"])
    voxels = 40 * scenes.labels(scenes.positions(on)).astype(np.int16)
    node = scenes.addVolume(scene, "map", on, voxels, labelMap=True)
    [copy] = applyToNodes(scene, pair["warp"], [node])
    expected = oracle.resample(oracle.toSitk(voxels, on), oracle.nodeImage(pair["fixedVolume"]), pair["oracle"],
                               labels=True)
    assert int((volumes.voxelsOf(copy) != expected).sum()) == 0 and set(np.unique(expected)) == {0, 40, 80}


def test_a_reference_decides_the_grid(scene: Any, pair: dict[str, Any]) -> None:
    """Given: its grid, with its transform. None known: the volume's own voxel size."""
    reference = scenes.addVolume(scene, "reference", scenes.lattice((20, 21, 22), (2.0, 2.1, 1.9)),
                                 np.zeros((22, 21, 20), np.int16))
    reference.SetAndObserveTransformNodeID(scenes.addLinear(scene).GetID())
    [copy] = applyToNodes(scene, pair["warp"], [pair["movingVolume"]], referenceVolume=reference)
    expected = ownLattice(reference).moved(transforms.worldMatrix(reference))
    assert np.allclose(ownLattice(copy).ijkToRAS, expected.ijkToRAS, atol=1e-9)
    assert ownLattice(copy).size == (20, 21, 22)
    expected = oracle.resample(oracle.nodeImage(pair["movingVolume"]), oracle.nodeImage(copy), pair["oracle"],
                             labels=False)
    inside = oracle.inner(expected > 0)
    assert np.abs(volumes.voxelsOf(copy) - expected)[inside].max() < 1e-3 * np.ptp(expected)
    free = scenes.addWarp(scene, "of unknown origin")
    [copy] = applyToNodes(scene, free, [pair["movingVolume"]])
    assert np.allclose(np.sort(ownLattice(copy).spacing), np.sort(ownLattice(pair["movingVolume"]).spacing), rtol=0.2)
    with pytest.raises(InputError, match="no grid for the warped copy of 'moving labels'"):
        applyToNodes(scene, free, [pair["movingSegmentation"]])


def test_what_cannot_be_bent_is_refused_before_anything_is_made(scene: Any, pair: dict[str, Any]) -> None:
    box = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    count = scene.GetNumberOfNodes()
    with pytest.raises(InputError, match="'box' cannot be bent"):
        applyToNodes(scene, pair["warp"], [pair["movingVolume"], box])
    with pytest.raises(InputError, match="cannot be warped"):
        applyToNodes(scene, pair["warp"], [scene.AddNewNodeByClass("vtkMRMLTextNode", "note")])
    assert scene.GetNumberOfNodes() == count + 1


def test_preview_and_back(scene: Any, pair: dict[str, Any]) -> None:
    former = scenes.addLinear(scene)
    node = pair["movingVolume"]
    node.SetAndObserveTransformNodeID(former.GetID())
    assert previewOn(node, pair["warp"]) is former and node.GetParentTransformNode() is pair["warp"]
    assert previewOn(node, former) is pair["warp"] and node.GetParentTransformNode() is former


def test_aligned_centers(scene: Any, pair: dict[str, Any]) -> None:
    from AutoRegSlicerLib.scene.volumes import worldCorners

    pair["movingVolume"].SetAndObserveTransformNodeID(scenes.addLinear(scene).GetID())
    node = alignCenters(scene, pair["fixedVolume"], pair["movingVolume"])
    moved = transforms.transformPoints(transforms.warpToWorld(node), worldCorners(pair["movingVolume"]))
    assert moved.mean(axis=0) == pytest.approx(worldCorners(pair["fixedVolume"]).mean(axis=0))


def test_copies_lie_beside_their_originals(scene: Any, pair: dict[str, Any]) -> None:
    """In the subject hierarchy, where the scene has one."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    hierarchy.CreateItem(patient, pair["movingVolume"])
    new = scene.AddNewNodeByClass("vtkMRMLModelNode", "new")
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), new)  # the application does this for every node
    nodes.placeBeside(new, pair["movingVolume"])
    assert hierarchy.GetItemParent(item) == patient
