"""The scene around the module: volumes that come, results that wait, and Slicer's own widgets as they are shown."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

from standins.fixtures import Desk


def test_new_parameter_sets_have_a_name_of_their_own(desk: Desk) -> None:
    assert desk.ui.parameterNodeSelector.nodeTypeLabel("vtkMRMLScriptedModuleNode") == "AutoReg settings"


def test_embedded_plots_are_plots_alone(desk: Desk) -> None:
    """No bar that would choose another chart, and no second view of it in Slicer's own layout."""
    from AutoRegSlicerLib.panels import trials

    assert trials.plot_view(desk.scene, "x").GetParentLayoutNode() is not None
    desk.widget.trainPanel._plot("trainingPlotView", SimpleNamespace(
        folder=Path("job"), metrics={"val_loss": [(1, 0.5)]}, trials=()), lambda scene, status: chart(scene))
    assert desk.ui.trainingPlotView.plotController().isHidden()


def chart(scene: Any) -> Any:
    return scene.AddNewNodeByClass("vtkMRMLPlotChartNode")


def test_the_key_of_before_and_after_is_free_in_the_slice_views(full_desk: Desk) -> None:
    """Keys that a slice view of Slicer 5.10 takes for itself, without and with modifiers."""
    taken = {*"GTFBVR[]{}", "Left", "Right", "Up", "Down", "Shift+V", "Ctrl+B"}
    full_desk.parameters.outputVolume = full_desk.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "warped")
    full_desk.settle()
    key = full_desk.widget.slicesPanel._shortcut.key.toString()
    assert key not in taken and key in full_desk.ui.beforeAfterButton.toolTip()


def test_the_tree_of_nodes_shows_names_alone(desk: Desk) -> None:
    for column in ("color", "transform", "visibility"):
        assert desk.ui.applyTargetsTreeView.property(f"{column}ColumnVisible") is False


def test_two_volumes_are_proposed_when_they_appear(desk: Desk) -> None:
    p, scene = desk.parameters, desk.scene
    first = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "first")
    desk.settle()
    assert p.fixedVolume is None and p.movingVolume is None
    second = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "second")
    desk.settle()
    assert (p.fixedVolume, p.movingVolume) == (first, second)
    p.fixedVolume = p.movingVolume = None  # the user's choice, too
    scene.AddNewNodeByClass("vtkMRMLModelNode", "something else")
    desk.settle()
    assert p.fixedVolume is None and p.movingVolume is None


def test_a_choice_is_never_overridden_by_a_proposal(desk: Desk) -> None:
    p, scene = desk.parameters, desk.scene
    first = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "first")
    p.movingVolume = first
    second = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "second")
    desk.settle()
    assert (p.fixedVolume, p.movingVolume) == (second, first)
    p.fixedVolume = None
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "third")
    desk.settle()
    assert p.fixedVolume is None and p.movingVolume is first


def test_volumes_that_are_loaded_together_are_proposed_at_the_end(desk: Desk) -> None:
    p, scene = desk.parameters, desk.scene
    scene.StartState(scene.BatchProcessState)
    for name in ("first", "second"):
        scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    desk.settle()
    assert p.fixedVolume is None
    scene.EndState(scene.BatchProcessState)
    desk.settle()
    assert p.fixedVolume.GetName() == "first" and p.movingVolume.GetName() == "second"


def test_results_wait_while_a_scene_is_loaded_or_a_dialog_is_open(desk: Desk) -> None:
    from PySide6.QtWidgets import QDialog

    from AutoRegSlicerLib.jobs.jobs import JobState

    taken = []
    status = SimpleNamespace(state=JobState.Importing, folder=Path("job"), verb="register", title="x")
    desk.session.jobs.poll = lambda: [status]
    desk.session._take = taken.append
    for panel in desk.session.panels:
        if hasattr(panel, "follow"):
            panel.follow = lambda statuses: None
    desk.scene.StartState(desk.scene.ImportState)
    desk.session.poll()
    desk.scene.EndState(desk.scene.ImportState)
    dialog = QDialog()
    dialog.setModal(True)
    dialog.show()
    desk.session.poll()
    assert taken == []
    dialog.close()
    desk.session.poll()
    assert taken == [status]
    desk.session.statuses, desk.session.jobs.poll = [], lambda: []
