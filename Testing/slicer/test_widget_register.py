"""The first tab: what is enabled when and why, one click that registers, and what is in the scene afterwards."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import scenes
import slicer
import vtk
from standins.fixtures import why

from AutoRegLib.core.recipe import LossWeights, Recipe, write_recipe
from AutoRegLib.imaging.files import read_displacement


def change(desk: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(desk.parameters, name, value)
    desk.settle()


def test_an_empty_scene_says_what_to_do_first(desk: Any) -> None:
    assert "fixed volume" in why(desk.ui.applyButton)
    assert desk.ui.registerMessageLabel.text() == why(desk.ui.applyButton)
    assert "No model" in desk.ui.modelComboBox.currentText() and "no training" in desk.ui.compatibilityLabel.text()
    assert desk.ui.workflowTabWidget.currentWidget() is desk.ui.registerTab


def test_a_complete_choice_can_be_applied(full_desk: Any) -> None:
    assert why(full_desk.ui.applyButton) == ""
    assert full_desk.ui.modelComboBox.currentText() == "tiny"
    assert "2 × 2 × 2 mm" in full_desk.ui.compatibilityLabel.text().replace("\u00a0", " ")


def test_two_volumes_are_proposed(desk: Any) -> None:
    pair = scenes.addPair(desk.scene)
    desk.widget.exit()
    desk.widget.enter()
    assert desk.parameters.fixedVolume is pair["fixedVolume"]
    assert desk.ui.movingVolumeSelector.currentNode() is pair["movingVolume"]


def test_what_is_missing_disables_apply_and_is_said(full_desk: Any) -> None:
    """Each of these alone, with everything else in order."""
    p = full_desk.parameters
    existing = type(p.initialAlignment).Existing
    for values, words in (
        ({"fixedVolume": None}, "fixed volume"),
        ({"movingVolume": None}, "moving volume"),
        ({"movingVolume": p.fixedVolume}, "same volume"),
        ({"createTransform": False, "createVolume": False, "createJacobian": False}, "output"),
        ({"initialAlignment": existing}, "initial transform"),
        ({"movingLandmarks": None}, "landmark"),
    ):
        before = {name: getattr(p, name) for name in values}
        change(full_desk, **values)
        assert words in why(full_desk.ui.applyButton).lower()
        assert words in full_desk.ui.registerMessageLabel.text().lower()
        change(full_desk, **before)
        assert why(full_desk.ui.applyButton) == "", values


def test_a_device_that_is_not_there_is_told_before_the_start(full_desk: Any) -> None:
    from AutoRegSlicerLib.panels.choices import Device

    for device, there in ((Device.Gpu, False), (Device.AppleGpu, False), (Device.Cpu, True), (Device.Automatic, True)):
        full_desk.parameters.device = device
        full_desk.settle()
        assert full_desk.ui.applyButton.isEnabled() == there
        assert there or "Compute on" in full_desk.ui.applyButton.toolTip()


def test_environment_comes_first(full_desk: Any) -> None:
    from standins.fixtures import environment

    full_desk.session.environment = None
    full_desk.session.refresh()
    assert "looking for" in why(full_desk.ui.applyButton)
    full_desk.session.environment = environment(state="missing", torch="", missing=("torch",))
    full_desk.widget.environmentPanel.refresh()
    full_desk.session.refresh()
    assert "Set up" in why(full_desk.ui.applyButton)
    assert not full_desk.ui.setupEnvironmentButton.isHidden()
    assert "PyTorch" in full_desk.ui.environmentStatusLabel.text()
    assert full_desk.ui.registerActionButton.text() == "Set up…"
    full_desk.ui.registerActionButton.click()  # outside of Slicer: nothing is installed, it says how
    assert "torch" in full_desk.session.dialogs.questions[0]


def test_volumes_apart_are_brought_together(full_desk: Any) -> None:
    p = full_desk.parameters
    p.movingVolume.SetOrigin(500, 0, 0)
    full_desk.settle()
    full_desk.session.refresh()
    assert "overlap" in why(full_desk.ui.applyButton)
    assert full_desk.ui.registerActionButton.text() == "Align centers"
    full_desk.ui.registerActionButton.click()
    full_desk.settle()
    assert why(full_desk.ui.applyButton) == ""
    assert p.initialTransform is not None and p.initialAlignment.name == "Existing"
    matrix = vtk.vtkMatrix4x4()
    p.initialTransform.GetMatrixTransformToWorld(matrix)
    centers = []
    for volume in (p.fixedVolume, p.movingVolume):
        bounds = [0.0] * 6
        volume.GetRASBounds(bounds)
        centers.append(np.add(bounds[::2], bounds[1::2]) / 2)
    moved = np.array([matrix.MultiplyPoint([*centers[1], 1])[i] for i in range(3)])
    assert np.abs(moved - centers[0]).max() < 2.0  # boxes of oblique volumes are not quite their centers


def test_swap_exchanges_all_that_belongs_together(full_desk: Any) -> None:
    p = full_desk.parameters
    p.fixedMask = p.fixedSegmentation
    before = [getattr(p, f"{a}{b}") for a in ("fixed", "moving")
              for b in ("Volume", "Segmentation", "Landmarks", "Mask")]
    full_desk.ui.swapVolumesButton.click()
    after = [getattr(p, f"{a}{b}") for a in ("moving", "fixed")
             for b in ("Volume", "Segmentation", "Landmarks", "Mask")]
    assert all(a is b for a, b in zip(before, after, strict=True))
    assert full_desk.ui.fixedVolumeSelector.currentNode() is p.fixedVolume


def test_selectors_of_outputs_follow_their_boxes(full_desk: Any) -> None:
    ui = full_desk.ui
    assert ui.outputVolumeSelector.isEnabled() and not ui.outputInverseTransformSelector.isEnabled()
    ui.createInverseCheckBox.click()
    full_desk.settle()
    assert full_desk.parameters.createInverse and ui.outputInverseTransformSelector.isEnabled()


def test_the_similarity_is_chosen_without_a_model_only(full_desk: Any) -> None:
    ui, panel = full_desk.ui, full_desk.widget.registerPanel
    full_desk.parameters.similarity = type(full_desk.parameters.similarity).Mind
    full_desk.settle()
    assert ui.similarityComboBox.currentText().startswith("MIND") and "trained with" in why(ui.similarityComboBox)
    assert panel.inputs().similarity == "auto"
    ui.modelComboBox.setCurrentIndex(ui.modelComboBox.count() - 1)
    full_desk.settle()
    assert why(ui.similarityComboBox) == "" and panel.inputs().similarity == "mind"


def test_geodesic_shooting_is_a_method(full_desk: Any) -> None:
    """It needs no model; a refinement follows it only where it is asked for."""
    ui, panel = full_desk.ui, full_desk.widget.registerPanel
    assert panel.inputs().transformation == "svf"
    ui.modelComboBox.setCurrentIndex(ui.modelComboBox.count() - 2)
    full_desk.settle()
    assert ui.modelComboBox.currentText().startswith("Geodesic (LDDMM)")
    assert why(ui.applyButton) == "" and why(ui.similarityComboBox) == ""
    assert "takes about 8 s for this volume" in ui.compatibilityLabel.text().replace("\u00a0", " ")
    assert ui.refinementStepsSpinBox.text() == "0 steps"
    inputs = panel.inputs()
    assert (inputs.model, inputs.transformation, inputs.refine) == ("none", "lddmm", 0)
    assert full_desk.parameters.model == "lddmm"
    ui.applyButton.click()
    full_desk.wait(lambda: full_desk.state() in ("Done", "Failed"))
    full_desk.settle()
    assert full_desk.state() == "Done", full_desk.session.statuses[-1].error
    (velocity,) = [node for node in slicer.util.getNodesByClass("vtkMRMLTransformNode")
                   if node.GetName().endswith("initial velocity")]
    written = read_displacement(panel.own / "out" / "initial_velocity.nrrd")
    place, flip = np.array(written.geometry.centre), np.array([-1.0, -1.0, 1.0])
    there = written.warp_points(place[None])[0]
    assert np.abs(np.array(velocity.GetTransformFromParent().TransformPoint(*flip * place)) * flip - there).max() < 1e-3
    assert np.abs(there - place).max() > 0.01
    ui.modelComboBox.setCurrentIndex(ui.modelComboBox.count() - 1)
    full_desk.settle()
    assert panel.inputs().transformation == "svf" and full_desk.parameters.model == "none"


def test_a_refinement_may_run_until_it_converges(full_desk: Any) -> None:
    """Below 0 with a model too; 0 is what the model's validation liked, and lets it converge without one."""
    ui, panel = full_desk.ui, full_desk.widget.registerPanel
    for steps, asked, text in ((-1, "full", "Until it converges"), (0, None, "0 = as validated"), (30, 30, "30 steps")):
        ui.refinementStepsSpinBox.setValue(steps)
        full_desk.settle()
        assert panel.inputs().refine == asked and ui.refinementStepsSpinBox.text() == text
    ui.modelComboBox.setCurrentIndex(ui.modelComboBox.count() - 1)
    for steps, asked in ((-1, "auto"), (0, "auto"), (30, 30)):
        ui.refinementStepsSpinBox.setValue(steps)
        full_desk.settle()
        assert panel.inputs().refine == asked
    for steps, text in ((-1, "Until it converges"), (0, "0 = until it converges"), (30, "30 steps")):
        ui.refinementStepsSpinBox.setValue(steps)
        full_desk.settle()
        assert ui.refinementStepsSpinBox.text() == text
    ui.modelComboBox.setCurrentIndex(0)
    ui.refinementStepsSpinBox.setValue(0)
    full_desk.settle()
    assert ui.refinementStepsSpinBox.text() == "0 = as validated"


def test_both_masks_reach_the_job(full_desk: Any) -> None:
    p, panel = full_desk.parameters, full_desk.widget.registerPanel
    full_desk.ui.movingMaskSelector.setCurrentNode(p.movingSegmentation)
    full_desk.ui.fixedMaskSelector.setCurrentNode(p.fixedSegmentation)
    full_desk.settle()
    inputs = panel.inputs()
    assert (inputs.fixedMask, inputs.movingMask) == (p.fixedSegmentation, p.movingSegmentation)
    assert "does not look at masks" in full_desk.ui.registerMessageLabel.text() and why(full_desk.ui.applyButton) == ""


def test_a_region_is_chosen_in_the_panel(full_desk: Any) -> None:
    roi = full_desk.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "tumor")
    full_desk.ui.roiSelector.setCurrentNode(roi)
    full_desk.settle()
    assert "'tumor' is not drawn yet" in why(full_desk.ui.applyButton)
    roi.SetCenter(*scenes.CENTER)
    roi.SetSize(20, 20, 20)
    full_desk.session.refresh()
    assert why(full_desk.ui.applyButton) == "" and full_desk.widget.registerPanel.inputs().roi is roi


def test_a_model_for_planes_is_refused(full_desk: Any, tmp_path: Any) -> None:
    path = tmp_path / "models" / "tiny" / "recipe.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"spatial_dims": 3', '"spatial_dims": 2'), "utf-8")
    full_desk.session.modelsChanged()
    full_desk.settle()
    assert "2-D" in why(full_desk.ui.applyButton)


def test_one_click_registers(full_desk: Any) -> None:
    """Apply, a real process, and the results in the scene: chosen as outputs, inputs untouched."""
    desk, p, ui = full_desk, full_desk.parameters, full_desk.ui
    moving = slicer.util.arrayFromVolume(p.movingVolume).copy()
    ui.createSegmentationCheckBox.click()
    ui.applyButton.click()
    desk.wait(lambda: desk.state() in ("Launching", "Running", "Importing"))
    assert ui.applyButton.text() == "Cancel"
    desk.wait(lambda: desk.state() in ("Done", "Failed"))
    desk.settle()
    assert ui.jobTitleLabel.text() == "moving to fixed: Done"
    assert ui.applyButton.text() == "Apply" and why(ui.applyButton) == ""
    for name in ("outputTransform", "outputVolume", "outputSegmentation", "outputJacobian"):
        assert getattr(p, name) is not None, name
    assert ui.outputVolumeSelector.currentNode() is p.outputVolume
    assert p.outputVolume.GetImageData().GetDimensions() == p.fixedVolume.GetImageData().GetDimensions()
    warped = slicer.util.arrayFromVolume(p.outputVolume)
    assert np.abs(warped).max() > 0
    assert np.array_equal(slicer.util.arrayFromVolume(p.movingVolume), moving)
    assert p.movingVolume.GetParentTransformNode() is None
    text = ui.registerMessageLabel.text()
    assert "Done in" in text and "Dice" in text and "Landmarks" in text and "fold" in text

    ui.previewOnMovingCheckBox.click()
    desk.settle()
    assert p.movingVolume.GetParentTransformNode() is p.outputTransform
    ui.previewOnMovingCheckBox.click()
    desk.settle()
    assert p.movingVolume.GetParentTransformNode() is None


def test_without_a_model_the_pair_alone_is_optimized(full_desk: Any) -> None:
    desk, p, ui = full_desk, full_desk.parameters, full_desk.ui
    ui.modelComboBox.setCurrentIndex(ui.modelComboBox.count() - 1)
    desk.settle()
    assert p.model == "none" and "no training" in ui.compatibilityLabel.text() and why(ui.applyButton) == ""
    assert not ui.modelInfoButton.isEnabled()
    ui.createAffineCheckBox.click()
    desk.settle()
    ui.applyButton.click()
    desk.wait(lambda: desk.state() in ("Done", "Failed"))
    desk.settle()
    assert desk.state() == "Done" and p.outputTransform.GetAttribute("AutoReg.Model") == "none"
    assert p.outputAffineTransform.IsLinear()
    assert "Compared by local correlation, chosen by how alike the images are." in ui.registerMessageLabel.text()
    before, after = map(float, re.findall(r"Dice (\S+) → (\S+)\. ", ui.registerMessageLabel.text())[0])
    assert after > before + 0.05
    ui.modelComboBox.setCurrentIndex(0)
    desk.settle()
    assert p.model == "tiny" and ui.compatibilityLabel.text().startswith("Trained on")


def test_the_loss_of_the_last_search_refines_the_pair(
    full_desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AutoRegSlicerLib.panels.trials import Found

    desk, p, ui, panel = full_desk, full_desk.parameters, full_desk.ui, full_desk.widget.registerPanel
    change(desk, model="found-loss")  # as in a scene of another computer
    assert "No search has found a loss here" in why(ui.applyButton) and ui.modelComboBox.currentIndex() == -1
    write_recipe(tmp_path / "recipe.json", Recipe(loss_weights=LossWeights(similarity_mix=1.0, smoothness=0.5)))
    monkeypatch.setattr(panel.models, "follow", lambda statuses: None)
    panel.models.found = Found(tmp_path, "autoreg", tmp_path / "recipe.json", tmp_path / "scenario.json")
    change(desk, model="tiny")
    ui.modelComboBox.setCurrentIndex(ui.modelComboBox.count() - 3)
    desk.settle()
    assert ui.modelComboBox.currentText() == "No model: the loss of the last search" and p.model == "found-loss"
    assert "last search" in ui.compatibilityLabel.text() and why(ui.applyButton) == ""
    assert "search found" in why(ui.similarityComboBox) and panel.inputs().similarity == "auto"
    ui.applyButton.click()
    desk.wait(lambda: desk.state() in ("Done", "Failed"))
    desk.settle()
    assert desk.state() == "Done", desk.session.statuses[-1].error
    assert "Compared by local correlation, with the loss that a search found." in ui.registerMessageLabel.text()
    report = json.loads((panel.own / "out" / "report.json").read_text())
    assert report["inputs"]["loss"]["path"] == str(tmp_path / "recipe.json")
    change(desk, model="none")
    assert panel.inputs().loss is None and ui.modelComboBox.currentText().startswith("No model: optimize")


def test_cancel_from_the_same_button(full_desk: Any) -> None:
    ui = full_desk.ui
    ui.applyButton.click()
    full_desk.wait(lambda: full_desk.state() in ("Launching", "Running"))
    ui.applyButton.click()
    full_desk.wait(lambda: full_desk.state() in ("Cancelled", "Done"), 15)
    full_desk.settle()
    assert full_desk.state() == "Cancelled" and full_desk.parameters.outputVolume is None
    assert ui.applyButton.text() == "Apply"


def test_an_export_that_fails_says_why(full_desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from AutoRegLib.core.errors import DiskError
    from AutoRegSlicerLib import logic

    def full(*_: Any) -> Any:
        yield "fixed volume"
        raise DiskError("cannot write in/moving.nrrd", got="No space left on device", remedy="free disk space")

    monkeypatch.setattr(logic, "exportRegistrationSteps", full)
    full_desk.ui.applyButton.click()
    full_desk.wait(lambda: full_desk.state() == "Failed", 5)
    full_desk.settle()
    text = full_desk.ui.jobMessageLabel.text()
    assert "No space left on device" in text and "ree disk space" in text
