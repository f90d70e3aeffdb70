"""A sequence registered frame by frame: sequences come out, with the same index values, played together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import oracle
import scenes
import SimpleITK as sitk
import slicer

from AutoRegSlicerLib.scene import transforms, volumes

SHIFTS = ((2.0, -1.5, 1.0), (-1.0, 2.0, 0.5), (0.5, 0.5, -2.0))
TIMES = ("0.5", "1.25", "4")


def addSequence(scene: Any, count: int = 3) -> Any:
    """The blobs at different places, one frame each."""
    node = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "beating")
    node.SetIndexName("time")
    node.SetIndexUnit("s")
    on = scenes.LATTICES["oblique"][1]
    for shift, time in list(zip(SHIFTS, TIMES, strict=True))[:count]:
        frame = volumes.nodeOn(slicer.vtkMRMLScene(), on, scenes.blobs(scenes.positions(on), shift).astype(np.float32))
        node.SetDataNodeAtValue(frame, time)
    return node


def addBrowser(scene: Any, sequence: Any) -> Any:
    scene.RegisterNodeClass(slicer.vtkMRMLSequenceBrowserNode())
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return browser


def choose(desk: Any, sequence: Any) -> None:
    desk.ui.movingSequenceSelector.setCurrentNode(sequence)
    desk.settle()


def outputs(scene: Any) -> dict[str, Any]:
    found = [scene.GetNthNodeByClass(i, "vtkMRMLSequenceNode")
             for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode"))]
    return {node.GetDataNodeClassName(): node for node in found if node.GetName() != "beating"}


def test_every_frame_is_registered(full_desk: Any) -> None:
    desk, ui, scene = full_desk, full_desk.ui, full_desk.scene
    sequence = addSequence(scene)
    browser = addBrowser(scene, sequence)
    choose(desk, sequence)
    assert not ui.movingVolumeSelector.isEnabled() and "Every frame" in ui.movingVolumeSelector.toolTip()
    fixed = desk.parameters.fixedVolume
    before = volumes.voxelsOf(fixed).copy()
    ui.applyButton.click()
    desk.wait(lambda: desk.state() == "Running")
    assert ui.applyButton.text() == "Cancel" and "Frame 1 of 3" in ui.registerMessageLabel.text()
    volumes.voxelsOf(fixed)[:] = 0  # somebody browses on: the frames to come keep the volume of the start
    fixed.GetImageData().Modified()
    desk.wait(lambda: ui.applyButton.text() == "Apply", 120)
    assert "3 of 3 frames registered" in ui.registerMessageLabel.text()
    made = outputs(scene)
    assert set(made) == {"vtkMRMLScalarVolumeNode", "vtkMRMLTransformNode"}
    for node in made.values():
        assert [node.GetNthIndexValue(i) for i in range(node.GetNumberOfDataNodes())] == list(TIMES)
        assert (node.GetIndexName(), node.GetIndexUnit()) == ("time", "s")
        assert browser.IsSynchronizedSequenceNode(node, True)
    warped, found = made["vtkMRMLScalarVolumeNode"], made["vtkMRMLTransformNode"]
    assert warped.GetName() == "beating registered to fixed" and found.GetName() == "beating to fixed"
    folders = [status.folder for status in desk.session.statuses]
    for number, folder in enumerate(folders):
        exported = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "in/fixed.nrrd")))
        assert np.array_equal(exported, before)
        image = oracle.nodeImage(warped.GetNthDataNode(number))
        moving = oracle.nodeImage(sequence.GetNthDataNode(number))
        field = oracle.fieldTransform(folder / "out/transform.nrrd")
        expected = oracle.resample(moving, image, field, labels=False)
        assert np.abs(sitk.GetArrayFromImage(image) - expected).max() < 1e-3 * np.ptp(expected)
        points = scenes.CENTER + np.random.default_rng(number).uniform(-8, 8, (20, 3))
        moved = transforms.transformPoints(transforms.warpToWorld(found.GetNthDataNode(number), inverse=True), points)
        assert np.abs(moved - oracle.throughRAS(field, points)).max() < 1e-4
    assert sequence.GetNumberOfDataNodes() == 3 and desk.parameters.outputVolume is None


def test_stopping_keeps_the_finished_frames(full_desk: Any) -> None:
    desk, ui = full_desk, full_desk.ui
    desk.parameters.createTransform = desk.parameters.keepJobFiles = False
    choose(desk, addSequence(desk.scene))
    ui.applyButton.click()
    desk.wait(lambda: "Frame 2 of 3" in ui.registerMessageLabel.text(), 120)
    ui.applyButton.click()
    desk.wait(lambda: ui.applyButton.text() == "Apply", 30)
    assert "1 of 3 frames registered" in ui.registerMessageLabel.text()
    [(kind, node)] = outputs(desk.scene).items()
    assert kind == "vtkMRMLScalarVolumeNode" and node.GetNumberOfDataNodes() == 1
    assert node.GetNthIndexValue(0) == TIMES[0]


def test_a_frame_that_fails_does_not_stop_the_rest(full_desk: Any) -> None:
    desk, ui = full_desk, full_desk.ui
    sequence = addSequence(desk.scene, 2)
    volumes.voxelsOf(sequence.GetNthDataNode(0))[:] = 5  # a constant image
    choose(desk, sequence)
    ui.applyButton.click()
    desk.wait(lambda: "frames registered" in ui.registerMessageLabel.text(), 120)
    text = ui.registerMessageLabel.text()
    assert "1 of 2 frames registered" in text and "Failed: 1;" in text
    assert outputs(desk.scene)["vtkMRMLScalarVolumeNode"].GetNthIndexValue(0) == TIMES[1]


def test_a_sequence_of_something_else_is_refused(full_desk: Any) -> None:
    sequence = full_desk.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "moves")
    sequence.SetDataNodeAtValue(slicer.vtkMRMLTransformNode(), "1")
    choose(full_desk, sequence)
    assert "holds no scalar volumes" in full_desk.ui.applyButton.toolTip()
    choose(full_desk, None)
    assert full_desk.ui.applyButton.isEnabled()


def test_transforms_of_a_sequence_are_linear_again_after_loading(scene: Any) -> None:
    """No file tells the interpolation: what Slicer reads as cubic is made linear by the mark on the sequence."""
    from AutoRegSlicerLib.logic import restoreResults

    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "moves")
    node = scenes.addWarp(slicer.vtkMRMLScene())
    transforms.gridOf(node).SetInterpolationModeToCubic()
    sequence.SetDataNodeAtValue(node, "1")
    assert restoreResults(scene) == 0
    sequence.SetAttribute(transforms.GRID_MARK, "linear")
    assert restoreResults(scene) == 1
    grid = transforms.gridOf(sequence.GetNthDataNode(0))
    assert grid.GetInterpolationModeAsString() == "Linear"


def test_a_script_registers_a_sequence(scene: Any, tmp_path: Any) -> None:
    """Onto a region, without a model; the frame that fails is named and those before it stay."""
    from AutoRegLib.core.errors import AutoRegError, InputError
    from AutoRegSlicerLib.jobs.jobs import Jobs
    from AutoRegSlicerLib.logic import registerSequence

    fixed, sequence = scenes.addPair(scene)["fixedVolume"], addSequence(scene, 2)
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    roi.SetCenter(*scenes.CENTER)
    roi.SetSize(24, 22, 20)
    choices = {"refine": 1, "roi": roi, "jobs": Jobs(tmp_path), "device": "cpu", "timeoutSeconds": 120}
    made = registerSequence(fixed, sequence, "none", **choices)
    warped = made["volume"]
    assert warped.GetNumberOfDataNodes() == made["transform"].GetNumberOfDataNodes() == 2
    size = warped.GetNthDataNode(0).GetImageData().GetDimensions()
    assert size < fixed.GetImageData().GetDimensions()
    assert size == warped.GetNthDataNode(1).GetImageData().GetDimensions()
    volumes.voxelsOf(sequence.GetNthDataNode(1))[:] = 5
    with pytest.raises(AutoRegError, match="constant"):
        registerSequence(fixed, sequence, "none", **choices)
    assert outputs(scene)["vtkMRMLScalarVolumeNode"].GetNumberOfDataNodes() == 1
    with pytest.raises(InputError, match="moving volume"):
        registerSequence(fixed, scene.AddNewNodeByClass("vtkMRMLSequenceNode", "empty"), "none")
