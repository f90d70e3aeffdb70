"""Volumes of a single slice: registered in their plane, and what comes back means the same in Slicer and SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import oracle
import scenes
import SimpleITK as sitk
import slicer
from checking import check, said
from standins.fixtures import why

from AutoRegLib.core.recipe import Recipe, write_recipe
from AutoRegSlicerLib.jobs.jobs import Jobs
from AutoRegSlicerLib.logic import (
    RegistrationInputs,
    RegistrationOutputs,
    applyToNodes,
    computeMetrics,
    exportRegistration,
    registerVolumes,
)
from AutoRegSlicerLib.scene import display, transforms, volumes
from AutoRegSlicerLib.scene.grids import Lattice, vtkMatrix
from AutoRegSlicerLib.scene.tables import rowsOf

TURN = scenes.rotation(9, -14, 21)
LPS = np.array([-1.0, -1.0, 1.0])


def sliceLattice(axis: int, *, out: float = 0.0, size: int = 44, turn: np.ndarray = TURN) -> Lattice:
    """A slice of 5 mm through the blobs, ``out`` mm along its normal."""
    sizes, spacing = [size, size - 4, size + 2], [1.1, 1.2, 1.05]
    sizes[axis], spacing[axis] = 1, 5.0
    return scenes.lattice(tuple(sizes), tuple(spacing), turn, scenes.CENTER + out * turn[:, axis])


def inPlane(axis: int, along: tuple[float, ...] = (3.0, -2.5, 2.0)) -> np.ndarray:
    """A shift that stays in the plane. Unit: mm RAS."""
    return TURN @ np.where(np.arange(3) == axis, 0.0, along)


def moved(points: np.ndarray, axis: int) -> np.ndarray:
    """Where moving points came from: shifted and bent within the plane. Shape: (..., 3). Unit: mm RAS."""
    along = TURN[:, [a for a in range(3) if a != axis]]
    off = (points - scenes.CENTER) @ along
    bend = 1.8 * np.sin(off[..., ::-1] / 7.0)
    return np.asarray(points - inPlane(axis) - bend @ along.T)


def addSlices(scene: Any, axis: int = 2, **moving: Any) -> dict[str, Any]:
    """Two slices of the blobs, the second one moved in its plane."""
    here, there = sliceLattice(axis), sliceLattice(axis, **{"size": 48, **moving})
    seen = scenes.blobs(moved(scenes.positions(there), axis))
    return {"fixedVolume": scenes.addVolume(scene, "fixed", here, scenes.blobs(scenes.positions(here))),
            "movingVolume": scenes.addVolume(scene, "moving", there, seen)}


# ---- the checks

@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_slices_of_one_plane_have_nothing_to_say(scene: Any, axis: int) -> None:
    assert check(scene, addSlices(scene, axis)) == []


def test_slices_without_a_common_plane(scene: Any) -> None:
    pair = addSlices(scene)
    whole = scenes.addPair(scene)["movingVolume"]
    code, text = said(check(scene, {**pair, "movingVolume": whole}))
    assert code == "flat-image" and "single slice and a volume" in text and "30 x 32 x 29" in text
    assert text.endswith("extract from the moving image the slice that matches, with its place.")
    code, text = said(check(scene, {**pair, "movingVolume": addSlices(scene, 1)["movingVolume"]}))
    assert code == "flat-image" and "not parallel (90 degrees)" in text
    code, text = said(check(scene, addSlices(scene, out=30.0)), blocking=False)  # far along the normal alone
    assert code == "slices-apart" and "30 mm apart" in text
    line = scenes.addVolume(scene, "line", scenes.lattice((9, 1, 1), (1.0,) * 3), np.zeros((1, 1, 9), np.int16))
    assert "single line" in said(check(scene, {**pair, "movingVolume": line}))[1]
    pair["movingVolume"].SetAndObserveTransformNodeID(scenes.addWarp(scene).GetID())
    assert "bent-slice" in [message.code for message in check(scene, pair) if message.blocking]


def test_a_gap_is_one_within_the_plane(scene: Any) -> None:
    pair = addSlices(scene)
    far = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 200 * TURN[:, 0]
    far.SetMatrixTransformToParent(vtkMatrix(matrix))
    pair["movingVolume"].SetAndObserveTransformNodeID(far.GetID())
    assert [m.code for m in check(scene, pair, affine="none") if m.blocking] == ["no-overlap"]


def test_models_of_pictures_take_slices_and_no_others(scene: Any, tmp_path: Path) -> None:
    for dims in (2, 3):
        (tmp_path / str(dims)).mkdir()
        write_recipe(tmp_path / str(dims) / "recipe.json", Recipe(spatial_dims=dims))
    assert check(scene, addSlices(scene), model=str(tmp_path / "2")) == []
    code, text = said(check(scene, addSlices(scene), model=str(tmp_path / "3")))
    assert code == "model-dimension" and "single slices" in text and "no model" in text
    assert said(check(scene, scenes.addPair(scene), model=str(tmp_path / "2")))[0] == "model-dimension"


def test_a_region_of_a_slice_is_cropped_in_its_plane(scene: Any, tmp_path: Path) -> None:
    pair = addSlices(scene)
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "part")
    roi.SetCenter(*scenes.CENTER)
    roi.SetSize(16, 16, 16)
    assert check(scene, pair, roi=roi) == []
    exportRegistration(RegistrationInputs(**pair, model="none", roi=roi), tmp_path)
    cut = sitk.ReadImage(str(tmp_path / "in/fixed.nrrd"))
    whole = oracle.nodeImage(pair["fixedVolume"])
    assert cut.GetSize()[2] == 1 and 14 < min(cut.GetSize()[:2]) < 30
    again = sitk.Resample(whole, cut, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.array_equal(sitk.GetArrayFromImage(cut), sitk.GetArrayFromImage(again))
    roi.SetSize(1, 1, 1)
    assert said(check(scene, pair, roi=roi))[0] == "small-region"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_sheared_slice_stays_one_slice(scene: Any, tmp_path: Path, axis: int) -> None:
    """An affine parent that no image file can say: resampled within the plane that the scene shows."""
    pair, matrix = addSlices(scene, axis), np.eye(4)
    matrix[0, 1], matrix[2, 0], matrix[1, 2] = 0.3, -0.2, 0.25
    parent = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    parent.SetMatrixTransformToParent(vtkMatrix(matrix))
    pair["fixedVolume"].SetAndObserveTransformNodeID(parent.GetID())
    exportRegistration(RegistrationInputs(**pair, model="none"), tmp_path)
    image = sitk.ReadImage(str(tmp_path / "in/fixed.nrrd"))
    assert image.GetSize()[axis] == 1 and min(image.GetSize()[:axis] + image.GetSize()[axis + 1:]) > 30
    own = sitk.Cast(oracle.nodeImage(pair["fixedVolume"]), sitk.sitkFloat64)
    back = oracle.affineTransform(np.linalg.inv(matrix))
    expected = sitk.GetArrayFromImage(sitk.Resample(own, image, back, sitk.sitkLinear, -1.0))
    inside = expected > -0.5
    assert inside.sum() > 1000
    found = sitk.GetArrayFromImage(image)
    assert np.abs(found - expected)[inside].max() < 1e-3 * np.ptp(expected)


# ---- the whole way

class Done:
    """One registration of slices that ran, with all that can accompany it."""

    def __init__(self, axis: int, folder: Path) -> None:
        self.scene, self.axis = scenes.newScene(), axis
        self.pair = pair = addSlices(self.scene, axis)
        here, there = (volumes.ownLattice(pair[f"{role}Volume"]) for role in ("fixed", "moving"))
        off = TURN @ np.where(np.arange(3) == axis, 0.0, np.random.default_rng(0).uniform(-9, 9, (8, 3))).T
        self.there = scenes.CENTER + off.T
        self.points = moved(self.there, axis)
        for role, on, points in (("fixed", here, self.points), ("moving", there, self.there)):
            at = scenes.positions(on)
            drawn = scenes.labels(moved(at, axis) if role == "moving" else at)
            pair[f"{role}Segmentation"] = scenes.addSegmentation(self.scene, f"{role} labels", on, drawn)
            pair[f"{role}Landmarks"] = scenes.addPoints(self.scene, f"{role} points", points[:4])
            pair[f"{role}Guides"] = scenes.addPoints(self.scene, f"{role} guides", points[4:])
            pair[f"{role}Mask"] = scenes.addSegmentation(self.scene, f"{role} mask", on, np.ones_like(drawn),
                                                         ("all of it",))
        parent = scenes.addLinear(self.scene)
        for name in pair:  # moved together: the registration is that of before, elsewhere
            pair[name].SetAndObserveTransformNodeID(parent.GetID())
        matrix = transforms.matrixToWorld(parent)
        self.points, self.there = (at @ matrix[:3, :3].T + matrix[:3, 3] for at in (self.points, self.there))
        self.result = registerVolumes(
            model="none", refine="auto", **pair, jobs=Jobs(folder), device="cpu", timeoutSeconds=120,
            outputs=RegistrationOutputs(createSegmentation=True, createInverse=True, createAffine=True))
        self.folder = self.result.folder
        self.fixed, self.moving = (sitk.ReadImage(str(self.folder / f"in/{role}.nrrd")) for role in ("fixed", "moving"))
        self.field = oracle.fieldTransform(self.folder / "out/transform.nrrd")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return Done(2, tmp_path_factory.mktemp("jobs"))


def test_the_transform_moves_points_as_the_shape_was_moved(done: Done) -> None:
    """In Slicer as in SimpleITK, and back by the inverse; nothing leaves the plane."""
    expected = oracle.throughRAS(done.field, done.points)
    back = transforms.warpToWorld(done.result.transform, inverse=True)
    assert np.abs(transforms.transformPoints(back, done.points) - expected).max() < 1e-3
    forth = transforms.warpToWorld(done.result.transform)
    assert np.abs(transforms.transformPoints(forth, expected) - done.points).max() < 1e-3
    other = transforms.warpToWorld(done.result.inverseTransform)
    for found, wanted in ((expected, done.there), (transforms.transformPoints(other, done.points), done.there),
                          (oracle.throughRAS(oracle.fieldTransform(done.folder / "out/inverse_transform.nrrd"),
                                             done.there), done.points)):
        assert np.linalg.norm(found - wanted, axis=1).mean() < 0.7
    normal = volumes.worldLattice(done.pair["fixedVolume"]).directions[:, done.axis]
    assert np.abs((expected - done.points) @ normal).max() < 1e-4
    affine = transforms.warpToWorld(done.result.affineTransform, inverse=True)
    near = np.linalg.norm(transforms.transformPoints(affine, done.points) - done.there, axis=1).mean()
    apart, left = (np.linalg.norm(done.there - at, axis=1).mean() for at in (done.points, expected))
    assert done.result.affineTransform.IsLinear() and left < 0.8 * near < 0.5 * apart, (left, near, apart)


def test_the_warped_slice_lies_where_the_fixed_one_lies(done: Done) -> None:
    own, fixed = (volumes.worldLattice(node) for node in (done.result.volume, done.pair["fixedVolume"]))
    assert own.size == fixed.size and np.abs(own.ijkToRAS - fixed.ijkToRAS).max() < 1e-4
    expected = oracle.resample(done.moving, done.fixed, done.field, labels=False)
    assert np.abs(volumes.voxelsOf(done.result.volume) - expected).max() < 1e-3 * np.ptp(expected)
    labels = oracle.resample(sitk.ReadImage(str(done.folder / "in/moving_labels.nrrd")), done.fixed, done.field,
                             labels=True)
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(done.folder / "out/warped_labels.nii.gz")))
    assert np.array_equal(written, labels) and set(np.unique(labels)) == {0, 1, 2}
    assert sorted(done.result.segmentation.GetSegmentation().GetSegment(name).GetName()
                  for name in done.result.segmentation.GetSegmentation().GetSegmentIDs()) == sorted(scenes.NAMES)


def test_slicer_itself_warps_the_moving_slice_so(done: Done) -> None:
    """Put under the transform, and resampled by Slicer's own logic or carried along by the module."""
    [ours] = applyToNodes(done.scene, done.result.transform, [done.pair["movingVolume"]])
    scratch = slicer.vtkMRMLScene()
    node = volumes.inWorld(done.pair["movingVolume"], scratch)
    volumes.useFloat(node)
    fixed = volumes.inWorld(done.pair["fixedVolume"], scratch)
    parent = scratch.AddNewNodeByClass("vtkMRMLTransformNode")
    parent.SetAndObserveTransformToParent(transforms.warpToWorld(done.result.transform))
    node.SetAndObserveTransformNodeID(parent.GetID())
    theirs = slicer.vtkSlicerVolumesLogic.ResampleVolumeToReferenceVolume(node, fixed)
    warped = volumes.voxelsOf(done.result.volume)
    inside = warped > 0.02 * warped.max()
    assert inside.sum() > 300
    for other in (ours, theirs):
        assert np.abs(volumes.voxelsOf(other) - warped)[inside].max() < 5e-3 * np.ptp(warped)


def test_measures_are_those_of_the_report(done: Done) -> None:
    report = done.result.report
    assert report["dice"]["mean"] > 0.85 > report["dice_before"]["mean"] and report["folds"] == 0
    metrics, points = computeMetrics(
        done.scene, done.result.transform, referenceVolume=done.pair["fixedVolume"], jacobian=done.result.jacobian,
        **{name: done.pair[name] for name in ("fixedSegmentation", "movingSegmentation", "fixedLandmarks",
                                             "movingLandmarks")})
    table = {row[0]: row for row in rowsOf(metrics)[1]}
    for value, name in enumerate(scenes.NAMES, start=1):
        assert table[name][2] == pytest.approx(report["dice"][str(value)], abs=0.02)
        assert table[name][6] == 0.0
    assert rowsOf(points)[1][-1][2] == pytest.approx(report["tre_mm"], abs=1e-3)
    guides = report["guide_landmarks"]
    assert guides["before_mm"] == pytest.approx(
        np.linalg.norm(done.there[4:] - done.points[4:], axis=1).mean(), abs=1e-3)
    apart = np.linalg.norm(oracle.throughRAS(done.field, done.points[4:]) - done.there[4:], axis=1)
    assert guides["after_mm"] == pytest.approx(apart.mean(), abs=1e-3) and apart.mean() < 0.7


def test_slices_can_be_looked_at_in_every_way(done: Done) -> None:
    from rendering import SliceViews

    views = SliceViews(done.scene, 120)
    fixed, warped, moving = done.pair["fixedVolume"], done.result.volume, done.pair["movingVolume"]
    for mode in display.COMPARE_MODES:
        made = display.setCompareMode(done.scene, mode, fixed, warped, moving, sliceNodes=views.nodes)
        if mode == "edges":
            crest = volumes.voxelsOf(made[0])
            assert 20 < crest.sum() < 0.4 * crest.size
        if mode == "difference":
            before = display.setCompareMode(done.scene, mode, fixed, warped, moving, before=True,
                                            sliceNodes=views.nodes)
            assert np.abs(volumes.voxelsOf(made[0])).mean() < 0.5 * np.abs(volumes.voxelsOf(before[0])).mean()
    display.showJacobian(done.scene, done.result.jacobian, sliceNodes=views.nodes)
    for mode in display.TRANSFORM_MODES:
        display.setTransformDisplay(done.result.transform, mode)
    assert display.foldCenters(done.result.jacobian) == []


def test_the_panel_registers_slices_by_a_model_of_pictures(full_desk: Any, tmp_path: Path) -> None:
    desk, p, ui = full_desk, full_desk.parameters, full_desk.ui
    scenes.tinyBundle(tmp_path / "models" / "flat", dims=2)
    desk.session.modelsChanged()
    for name in ("fixedSegmentation", "movingSegmentation", "fixedLandmarks", "movingLandmarks"):
        setattr(p, name, None)
    for name, node in addSlices(desk.scene).items():
        setattr(p, name, node)
    p.model = "tiny"
    desk.settle()
    assert "single slices" in why(ui.applyButton) and "2-D" in ui.registerMessageLabel.text()
    p.model = "flat"
    desk.settle()
    assert why(ui.applyButton) == ""
    ui.applyButton.click()
    desk.wait(lambda: desk.state() in ("Done", "Failed"))
    desk.settle()
    assert desk.state() == "Done", desk.session.statuses[-1].error
    assert p.outputVolume.GetImageData().GetDimensions() == p.fixedVolume.GetImageData().GetDimensions()
    field = oracle.fieldTransform(desk.widget.registerPanel.own / "out" / "transform.nrrd")
    points = scenes.CENTER + np.array([[5.0, -7], [-4, 2]]) @ TURN[:, :2].T
    back = transforms.warpToWorld(p.outputTransform, inverse=True)
    assert np.abs(transforms.transformPoints(back, points) - oracle.throughRAS(field, points)).max() < 1e-3
    assert np.abs(oracle.throughRAS(field, points) - points).max() > 0.1


def test_pairs_of_slices_leave_volumes_out(desk: Any, tmp_path: Path) -> None:
    whole, pair = scenes.addPair(desk.scene), addSlices(desk.scene)
    for dims in (2, 3):
        scenes.tinyBundle(tmp_path / "models" / f"of {dims}", dims=dims)
    desk.session.modelsChanged()
    panel = desk.widget.pairsPanel
    for fixed, count, wrong in ((pair["fixedVolume"], 1, 3), (whole["fixedVolume"], 1, 2)):
        panel.pairs, desk.parameters.fixedVolume = [], fixed
        desk.settle()
        desk.ui.addPairsButton.click()
        desk.settle()
        assert len(panel.pairs) == count
        assert [p.moving.volume is (pair if wrong == 3 else whole)["movingVolume"] for p in panel.pairs] == [True]
        for dims in (2, 3):
            desk.parameters.model = f"of {dims}"
            assert any(f"model is for {dims}-D images" in reason for reason in panel.reasons()) == (dims == wrong)
