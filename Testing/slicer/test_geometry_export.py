"""What is exported is what the scene shows: every transform flattened, nothing of the scene touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import oracle
import scenes
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegSlicerLib.logic import RegistrationInputs, exportRegistration
from AutoRegSlicerLib.scene import transforms, volumes
from AutoRegSlicerLib.scene.grids import imageLattice, imageVoxels, ownLattice, vtkMatrix

KINDS = list(scenes.LATTICES)


def fingerprint(scene: Any) -> dict[str, tuple[Any, ...]]:
    """Everything a user would notice about the nodes of a scene."""
    found = {}
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        state: tuple[Any, ...] = (node.GetName(), tuple(node.GetAttributeNames()))
        if node.IsA("vtkMRMLStorableNode"):
            state += (node.GetModifiedSinceRead(), node.GetStorageNodeID())
        if node.IsA("vtkMRMLTransformableNode"):
            state += (node.GetTransformNodeID(),)
        if node.IsA("vtkMRMLSegmentationNode"):
            image = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
            state += (imageVoxels(image).tobytes(), imageLattice(image).ijkToRAS.tobytes())
        if node.IsA("vtkMRMLMarkupsNode"):
            state += tuple(tuple(node.GetNthControlPointPosition(i)) for i in range(node.GetNumberOfControlPoints()))
        if node.IsA("vtkMRMLVolumeNode"):
            state += (volumes.voxelsOf(node).tobytes(), ownLattice(node).ijkToRAS.tobytes())
        found[node.GetID()] = state
    return found


def place(scene: Any, pair: dict[str, Any], placement: str) -> dict[str, Any]:
    """Put the moving nodes under a transform; returns what is needed to check the export."""
    if placement == "none":
        return {"toWorld": sitk.Transform(3, sitk.sitkIdentity)}
    node = scenes.addLinear(scene)
    pair["movingVolume"].SetAndObserveTransformNodeID(node.GetID())
    placed: sitk.Transform = oracle.affineTransform(transforms.worldMatrix(pair["movingVolume"]))
    backward = placed.GetInverse()
    if placement == "warp":
        outer = scenes.addWarp(scene)
        vectors, on = transforms.gridVectors(transforms.gridOf(outer))
        node.SetAndObserveTransformNodeID(outer.GetID())
        # world to node: the warp's from-parent grid first, then the linear one's inverse
        backward = sitk.CompositeTransform([backward, oracle.gridTransform(vectors, on)])
        placed = None
    for name in ("movingVolume", "movingSegmentation", "movingLandmarks"):
        pair[name].SetAndObserveTransformNodeID(node.GetID())
    return {"toWorld": placed, "fromWorld": backward}


def export(pair: dict[str, Any], folder: Path, **more: Any) -> dict[str, Any]:
    return dict(exportRegistration(RegistrationInputs(**pair, model="model", **more), folder).arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_volumes_keep_their_voxels_and_their_place(scene: Any, tmp_path: Path, kind: str) -> None:
    """Linear transforms cost no interpolation: the very voxels, where the scene shows them."""
    pair = scenes.addPair(scene, kind)
    placed = place(scene, pair, "linear")
    export(pair, tmp_path)
    for role, toWorld in (("fixed", sitk.Transform(3, sitk.sitkIdentity)), ("moving", placed["toWorld"])):
        node, image = pair[f"{role}Volume"], sitk.ReadImage(str(tmp_path / f"in/{role}.nrrd"))
        assert np.array_equal(sitk.GetArrayFromImage(image), volumes.voxelsOf(node))
        assert image.GetPixelID() == oracle.nodeImage(node).GetPixelID()
        corners = [(0, 0, 0), tuple(n - 1 for n in image.GetSize()), (3, 0, 5)]
        expected = [toWorld.TransformPoint(oracle.nodeImage(node).TransformIndexToPhysicalPoint(c)) for c in corners]
        found = [image.TransformIndexToPhysicalPoint(c) for c in corners]
        assert np.abs(np.array(found) - expected).max() < 1e-9


@pytest.mark.parametrize("kind", ["axis-aligned", "oblique", "left-handed"])
def test_a_volume_under_a_warp_is_resampled_as_simpleitk_does(scene: Any, tmp_path: Path, kind: str) -> None:
    pair = scenes.addPair(scene, kind)
    placed = place(scene, pair, "warp")
    before = sitk.Image(oracle.nodeImage(pair["movingVolume"]))
    export(pair, tmp_path)
    image = sitk.ReadImage(str(tmp_path / "in/moving.nrrd"))
    expected = oracle.resample(before, image, placed["fromWorld"], labels=False)
    inside = oracle.resample(sitk.Cast(before > -1, sitk.sitkFloat64), image, placed["fromWorld"], labels=False) > 0.999
    voxels = sitk.GetArrayFromImage(image)
    inside = oracle.inner(inside)
    assert inside.sum() > 10000
    assert np.abs(voxels - expected)[inside].max() < 1e-3 * np.ptp(expected)


@pytest.mark.parametrize("placement", ["none", "linear", "warp"])
@pytest.mark.parametrize("kind", KINDS)
def test_segments_are_looked_up_once(scene: Any, tmp_path: Path, kind: str, placement: str) -> None:
    """Drawn on the fixed lattice, wanted on the moving one: what SimpleITK's nearest neighbor finds, to the voxel."""
    pair = scenes.addPair(scene, kind)
    fixedLattice, _ = scenes.LATTICES[kind]
    drawn = scenes.labels(scenes.positions(fixedLattice), (1.0, -1.0, 0.5))
    pair["movingSegmentation"] = scenes.addSegmentation(scene, "drawn elsewhere", fixedLattice, drawn)
    placed = place(scene, pair, placement)
    export(pair, tmp_path)
    image = sitk.ReadImage(str(tmp_path / "in/moving_labels.nrrd"))
    volume = sitk.ReadImage(str(tmp_path / "in/moving.nrrd"))
    assert image.GetSize() == volume.GetSize() and np.allclose(image.GetOrigin(), volume.GetOrigin(), atol=1e-9)
    fromWorld = placed.get("fromWorld", sitk.Transform(3, sitk.sitkIdentity))
    expected = oracle.resample(oracle.toSitk(drawn, fixedLattice), image, fromWorld, labels=True)
    found = sitk.GetArrayFromImage(image)
    assert set(np.unique(found)) == {0, 1, 2}
    assert int((found != expected).sum()) == 0


def test_a_label_map_node_is_as_good_as_a_segmentation(scene: Any, tmp_path: Path) -> None:
    pair = scenes.addPair(scene)
    fixedLattice, movingLattice = scenes.LATTICES["oblique"]
    voxels = 7 * scenes.labels(scenes.positions(movingLattice)).astype(np.int16)
    pair["movingSegmentation"] = scenes.addVolume(scene, "map", movingLattice, voxels, labelMap=True)
    pair["fixedSegmentation"] = scenes.addVolume(
        scene, "map 2", fixedLattice, scenes.labels(scenes.positions(fixedLattice)), labelMap=True)
    export(pair, tmp_path)
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "in/moving_labels.nrrd")))
    assert np.array_equal(found, voxels)  # label maps keep their values


def test_equal_names_get_equal_values(scene: Any, tmp_path: Path) -> None:
    """The fixed segmentation lists its segments the other way round, and one of them was not chosen."""
    pair = scenes.addPair(scene, "axis-aligned")
    on, _ = scenes.LATTICES["axis-aligned"]
    drawn = scenes.labels(scenes.positions(on))
    pair["fixedSegmentation"] = scenes.addSegmentation(scene, "other order", on, drawn, names=scenes.NAMES[::-1])
    export(pair, tmp_path)
    values = {role: sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"in/{role}_labels.nrrd")))
              for role in ("fixed", "moving")}
    assert np.array_equal(values["fixed"], np.choose(drawn, (0, 2, 1)))
    export(pair, tmp_path / "again", movingSegmentIDs=("Segment_2",))
    chosen = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "again/in/moving_labels.nrrd")))
    assert np.array_equal(chosen == 1, values["moving"] == 2) and set(np.unique(chosen)) == {0, 1}
    with pytest.raises(InputError, match="no segment 'nose'"):
        export(pair, tmp_path / "third", movingSegmentIDs=("nose",))


@pytest.mark.parametrize("placement", ["none", "linear", "warp"])
def test_landmarks_are_where_the_scene_shows_them(scene: Any, tmp_path: Path, placement: str) -> None:
    pair = scenes.addPair(scene)
    place(scene, pair, placement)
    markups = pair["movingLandmarks"]
    markups.SetNthControlPointLabel(2, 'says "x, y"')
    markups.UnsetNthControlPointPosition(4)
    export(pair, tmp_path)
    from AutoRegLib.imaging.points import read_points

    names, points = read_points(tmp_path / "in/moving_landmarks.csv")
    assert names == ("L1", "L2", 'says "x, y"', "L4", "L6")
    shown = []
    for index in (0, 1, 2, 3, 5):
        position = [0.0] * 3
        markups.GetNthControlPointPositionWorld(index, position)
        shown.append(position)
    assert np.abs(points * (-1, -1, 1) - shown).max() < 1e-9
    own = [markups.GetNthControlPointPosition(i) for i in (0, 1, 2, 3, 5)]
    assert (np.abs(np.array(own) - shown).max() > 1) == (placement != "none")


@pytest.mark.parametrize("placement", ["linear", "warp"])
def test_exporting_touches_nothing(scene: Any, tmp_path: Path, placement: str) -> None:
    pair = scenes.addPair(scene)
    pair["fixedMask"] = pair["fixedSegmentation"]
    pair["initialTransform"] = scenes.addWarp(scene, "initial")
    place(scene, pair, placement)
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / "mine.nrrd"))
    pair["movingVolume"].SetAndObserveStorageNodeID(storage.GetID())
    assert storage.WriteData(pair["movingVolume"]) and not pair["movingVolume"].GetModifiedSinceRead()
    count, before = scene.GetNumberOfNodes(), fingerprint(scene)
    export(pair, tmp_path)
    assert fingerprint(scene) == before
    assert scene.GetNumberOfNodes() == count
    assert storage.GetFileName() == str(tmp_path / "mine.nrrd")


@pytest.mark.parametrize("linear", [True, False])
def test_the_initial_transform_maps_fixed_points_to_moving_ones(scene: Any, tmp_path: Path, linear: bool) -> None:
    """What one would put on the moving volume, chain and all, goes out as fixed-to-moving points."""
    pair = scenes.addPair(scene, "axis-aligned")
    inner = scenes.addLinear(scene)
    if not linear:
        inner.SetAndObserveTransformNodeID(scenes.addWarp(scene).GetID())
    arguments = export(pair, tmp_path, initialTransform=inner)
    from AutoRegLib.imaging.files import read_transform

    points = scenes.CENTER + np.random.default_rng(0).uniform(-20, 20, (50, 3))
    found = oracle.throughRAS(read_transform(tmp_path / arguments["initial_transform"]), points)
    back = transforms.warpToWorld(inner, inverse=True)
    expected = transforms.transformPoints(back, points)
    assert np.abs(expected - points).max() > 2
    assert np.abs(found - expected).max() < (1e-9 if linear else 0.05)


def test_a_sheared_volume_is_straightened(scene: Any, tmp_path: Path) -> None:
    """No image file can say shear; the export shows the same object on a perpendicular lattice."""
    pair = scenes.addPair(scene, "oblique")
    matrix = np.eye(4)
    matrix[0, 1] = 0.3
    shear = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    shear.SetMatrixTransformToParent(vtkMatrix(matrix))
    node = pair["movingVolume"]
    node.SetAndObserveTransformNodeID(shear.GetID())
    export(pair | {"movingSegmentation": None, "fixedSegmentation": None}, tmp_path)
    image = sitk.ReadImage(str(tmp_path / "in/moving.nrrd"))
    expected = oracle.resample(oracle.nodeImage(node), image, oracle.affineTransform(np.linalg.inv(matrix)),
                               labels=False)
    full = sitk.Image(oracle.nodeImage(node)) * 0 + 1
    inside = oracle.inner(oracle.resample(full, image, oracle.affineTransform(np.linalg.inv(matrix)),
                                          labels=False) > 0.999)
    assert inside.sum() > 10000
    assert np.abs(sitk.GetArrayFromImage(image) - expected)[inside].max() < 1e-3 * np.ptp(expected)


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_a_mask_is_the_union_of_its_segments(scene: Any, tmp_path: Path, role: str) -> None:
    pair = scenes.addPair(scene, "oblique")
    place(scene, pair, "linear")
    arguments = export(pair, tmp_path, **{f"{role}Mask": pair[f"{role}Segmentation"]})
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / arguments[f"{role}_mask"])))
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"in/{role}_labels.nrrd")))
    assert np.array_equal(mask, labels > 0) and mask.any()
    far = scenes.addSegmentation(scene, "far", scenes.lattice((8, 8, 8), (1.0,) * 3, center=scenes.CENTER + 500),
                                 np.ones((8, 8, 8), np.uint8))
    with pytest.raises(InputError, match="mask has no voxels inside"):
        export(pair, tmp_path / "far", **{f"{role}Mask": far})
    with pytest.raises(InputError, match="moving segmentation has no voxels"):
        export(pair | {"movingSegmentation": far}, tmp_path / "far2")


def test_surfaces_become_voxels_on_the_volume(scene: Any, tmp_path: Path) -> None:
    """A segmentation of surfaces only: close to what was drawn, and the node keeps its representations."""
    pair = scenes.addPair(scene, "axis-aligned")
    node = pair["movingSegmentation"]
    drawn = pair["movingVolume"]
    assert node.CreateClosedSurfaceRepresentation()
    node.SetSourceRepresentationToClosedSurface()
    node.RemoveBinaryLabelmapRepresentation()
    export(pair, tmp_path)
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "in/moving_labels.nrrd")))
    expected = scenes.labels(scenes.positions(ownLattice(drawn)), (2.0, -1.5, 1.0))
    for value in (1, 2):
        both = ((found == value) & (expected == value)).sum()
        assert 2 * both / ((found == value).sum() + (expected == value).sum()) > 0.9
