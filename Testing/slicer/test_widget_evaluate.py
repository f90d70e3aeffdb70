"""The third tab: seeing, measuring and carrying other nodes along, on the result of a real registration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import slicer
import vtk
from standins.fixtures import Desk, why


def add_slice_view(scene: Any, name: str = "Red") -> tuple[Any, Any]:
    node = scene.AddNewNodeByClass("vtkMRMLSliceNode", name)
    node.SetLayoutName(name)
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", name)
    composite.SetLayoutName(name)
    return node, composite


@pytest.fixture
def result(full_desk: Desk) -> Desk:
    """A registration with an inverse was run by click; the Evaluate tab is open on one slice view."""
    desk = full_desk
    desk.view, desk.composite = add_slice_view(desk.scene)
    desk.parameters.createInverse = True
    desk.settle()
    desk.ui.applyButton.click()
    desk.wait(lambda: desk.state() in ("Done", "Failed"))
    assert desk.state() == "Done"
    desk.ui.workflowTabWidget.setCurrentWidget(desk.ui.evaluateTab)
    desk.settle()
    return desk


def select(desk: Desk, *nodes: Any) -> None:
    tree, ids = desk.ui.applyTargetsTreeView, vtk.vtkIdList()
    for node in nodes:
        ids.InsertNextId(tree.subjectHierarchyNode().GetItemByDataNode(node))
    tree.setCurrentItems(ids)
    desk.settle()


def test_without_a_result_every_control_says_so(desk: Desk) -> None:
    ui = desk.ui
    assert "fixed and a moving volume" in why(ui.compareModeComboBox)
    for name in ("transformDisplayComboBox", "computeMetricsButton", "previewApplyButton", "hardenCopiesButton"):
        assert "register first" in why(getattr(ui, name)), name
    for name in ("jacobianOverlayCheckBox", "foldsOnlyCheckBox", "nextFoldButton", "jacobianRangeWidget"):
        assert "no Jacobian map" in why(getattr(ui, name)), name
    assert "Compute the metrics first" in why(ui.exportMetricsButton)
    assert ui.metricsTableView.isHidden() and ui.landmarksTableView.isHidden()


def test_what_metrics_need(full_desk: Desk) -> None:
    p, ui = full_desk.parameters, full_desk.ui
    p.outputTransform = full_desk.scene.AddNewNodeByClass("vtkMRMLTransformNode", "t")
    full_desk.settle()
    assert why(ui.computeMetricsButton) == ""
    p.fixedSegmentation = None
    p.movingLandmarks.RemoveNthControlPoint(0)
    full_desk.settle()
    full_desk.session.refresh()
    assert "6 and 5 points" in why(ui.computeMetricsButton)
    p.fixedLandmarks = None
    full_desk.settle()
    assert "labels" in why(ui.computeMetricsButton) and "landmarks" in why(ui.computeMetricsButton)


def test_opening_the_module_leaves_the_views_alone(full_desk: Desk) -> None:
    _view, composite = add_slice_view(full_desk.scene)
    for _ in range(2):
        full_desk.widget.exit()
        full_desk.widget.enter()
        full_desk.settle()
    assert composite.GetBackgroundVolumeID() is None and composite.GetForegroundVolumeID() is None


def test_seeing_measuring_and_carrying_along(result: Desk, tmp_path: Path) -> None:
    """One story on one result: compare, deformation, metrics, export, preview, copies."""
    ui, p, composite = result.ui, result.parameters, result.composite
    scene = result.scene

    # compare: the fixed volume below, the warped above; before shows the moving volume; the fade is the opacity
    ui.compareModeComboBox.setCurrentIndex(1)
    result.settle()
    ui.compareModeComboBox.setCurrentIndex(0)
    result.settle()
    shown = {composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()}
    assert shown == {p.fixedVolume.GetID(), p.outputVolume.GetID()}
    ui.fadeSliderWidget.setValue(0.25)
    result.settle()
    assert composite.GetForegroundOpacity() == pytest.approx(0.25) and p.fade == pytest.approx(0.25)
    ui.beforeAfterButton.click()
    result.settle()
    assert p.movingVolume.GetID() in {composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()}
    assert ui.beforeAfterButton.text() == "Before / after" and ui.beforeAfterLabel.text().startswith("Before: moving,")
    ui.beforeAfterButton.click()
    result.settle()
    assert ui.beforeAfterLabel.text() == "After: moving registered to fixed."
    ui.flickerCheckBox.click()
    result.widget.slicesPanel.animate()
    assert p.fade == 1.0
    ui.rockCheckBox.click()
    assert not ui.flickerCheckBox.isChecked()
    result.widget.exit()
    assert not result.widget.slicesPanel._timer.isActive() and p.fade == 0.25  # the user's own
    result.widget.enter()

    # deformation
    ui.transformDisplayComboBox.setCurrentIndex(1)
    result.settle()
    display = p.outputTransform.GetDisplayNode()
    assert display.GetVisibility() and display.GetVisualizationMode() == display.VIS_MODE_GRID
    ui.gridSpacingDisplaySliderWidget.setValue(4)
    result.settle()
    assert display.GetGridSpacingMm() == pytest.approx(4)
    ui.jacobianOverlayCheckBox.click()
    result.settle()
    assert p.outputJacobian.GetID() in {
        composite.GetForegroundVolumeID(), composite.GetLabelVolumeID(), composite.GetBackgroundVolumeID()}
    assert ui.foldSummaryLabel.text() == "No folds" and "Nothing is folded" in why(ui.nextFoldButton)
    array = slicer.util.arrayFromVolume(p.outputJacobian)
    array[3:5, 3:5, 3:5] = -0.5
    slicer.util.arrayFromVolumeModified(p.outputJacobian)
    result.session.refresh()
    assert ui.foldSummaryLabel.text() == "1 folded region"
    ui.nextFoldButton.click()
    result.settle()
    assert ui.foldSummaryLabel.text() == "1 folded region, at number 1"

    # metrics: those of the registration's report are there at once
    assert "2 structures: Dice" in ui.metricsSummaryLabel.text() and not ui.landmarksTableView.isHidden()
    ui.computeMetricsButton.click()
    assert ui.metricsSummaryLabel.text() == "Computing…"
    result.wait(lambda: "Computing" not in ui.metricsSummaryLabel.text(), 20)
    result.settle()
    figures = r"2 structures: Dice 0\.\d\d → 0\.\d\d\. 6 landmarks: Error \d\.\d\d → \d\.\d\d mm\."
    assert re.fullmatch(figures, ui.metricsSummaryLabel.text())
    assert not ui.metricsTableView.isHidden() and ui.metricsTableView.model().rowCount() == 3  # and the mean
    assert ui.landmarksTableView.model().rowCount() == 7
    result.session.dialogs.paths = [str(tmp_path / "figures.csv")]
    ui.exportMetricsButton.click()
    assert "blob" in (tmp_path / "figures.csv").read_text(encoding="utf-8")
    assert (tmp_path / "figures-landmarks.csv").is_file()

    # apply to
    assert "Select volumes" in why(ui.hardenCopiesButton)
    select(result, p.movingVolume, p.movingLandmarks)
    before = slicer.util.arrayFromVolume(p.movingVolume).copy()
    points = slicer.util.arrayFromMarkupsControlPoints(p.movingLandmarks)
    ui.previewApplyButton.click()
    assert p.movingVolume.GetParentTransformNode() is p.outputTransform
    ui.previewApplyButton.click()
    assert p.movingVolume.GetParentTransformNode() is None and p.movingLandmarks.GetParentTransformNode() is None
    count = scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode")
    ui.hardenCopiesButton.click()
    result.wait(lambda: "Made:" in ui.evaluateMessageLabel.text(), 20)
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == count + 1
    copy = scene.GetNthNodeByClass(count, "vtkMRMLMarkupsFiducialNode")
    moved = slicer.util.arrayFromMarkupsControlPoints(copy)
    assert np.abs(moved - points).max() > 0.1
    assert np.array_equal(slicer.util.arrayFromVolume(p.movingVolume), before)
    assert np.array_equal(slicer.util.arrayFromMarkupsControlPoints(p.movingLandmarks), points)

    # a scene that is closed leaves nothing behind
    scene.Clear(False)
    result.settle()
    assert ui.metricsTableView.isHidden() and ui.metricsSummaryLabel.text() == ""
    assert "register first" in why(ui.computeMetricsButton)
