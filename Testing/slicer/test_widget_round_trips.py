"""What the module borrows it gives back: parameters, slice views, parent transforms."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import scenes
import slicer
from standins.fixtures import Desk

MODES = range(6)


def parameters(desk: Desk) -> dict[str, Any]:
    """Every parameter; nodes by their ID."""
    found = {name: getattr(desk.parameters, name) for name in desk.parameters.allParameters}
    return {name: value.GetID() if hasattr(value, "GetID") else value for name, value in found.items()}


def alter(desk: Desk, name: str) -> None:
    """Give a parameter a value that is not its present one, and that no widget has to round."""
    value = getattr(desk.parameters, name)
    others: list[Any] = [f"{value} changed"] if isinstance(value, str) else []
    if isinstance(value, bool):
        others = [not value]
    elif isinstance(value, enum.Enum):
        others = [member for member in type(value) if member is not value]
    elif isinstance(value, (int, float)):
        others = [value + 1, value - 0.25 if isinstance(value, float) else value - 1]
    for other in others:
        try:
            setattr(desk.parameters, name, other)
        except ValueError:
            continue
        return
    assert value is None or hasattr(value, "GetID"), name


def addViews(scene: Any) -> list[tuple[Any, Any]]:
    """Three slice views as a user has them: own orientations, a label layer, opacities, not all linked."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "the user's labels")
    other = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "the user's volume")
    other.SetAttribute("AutoReg.Helper", "none of the two volumes to register")
    views = []
    for name, orientation in (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal")):
        node = scene.AddNewNodeByClass("vtkMRMLSliceNode", name)
        node.SetLayoutName(name)
        node.SetOrientation(orientation)
        node.SetDimensions(100, 80, 1)
        node.SetFieldOfView(150, 120, 1)
        composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", name)
        composite.SetLayoutName(name)
        composite.SetBackgroundVolumeID(other.GetID())
        if name != "Yellow":
            composite.SetLabelVolumeID(labels.GetID())
        composite.SetLabelOpacity(0.4)
        composite.SetForegroundOpacity(0.1)
        composite.SetLinkedControl(name == "Red")
        views.append((node, composite))
    return views


def shown(views: list[tuple[Any, Any]]) -> list[dict[str, Any]]:
    """All that can be seen of the slice views."""
    found = []
    for node, composite in views:
        matrix = node.GetSliceToRAS()
        found.append({
            "name": node.GetName(), "orientation": node.GetOrientation(), "view": node.GetFieldOfView(),
            "matrix": [matrix.GetElement(i, j) for i in range(4) for j in range(4)],
            "background": composite.GetBackgroundVolumeID(), "foreground": composite.GetForegroundVolumeID(),
            "label": composite.GetLabelVolumeID(), "opacity": composite.GetForegroundOpacity(),
            "label opacity": composite.GetLabelOpacity(), "compositing": composite.GetCompositing(),
            "linked": composite.GetLinkedControl(), "notes": composite.GetAttributeNames() + node.GetAttributeNames(),
        })
    return found


@pytest.fixture
def looking(full_desk: Desk) -> Desk:
    """A pair and what a registration made of it, three slice views of the user's, the first tab open."""
    desk, p = full_desk, full_desk.parameters
    desk.views = addViews(desk.scene)
    p.outputVolume = scenes.addVolume(desk.scene, "warped", *like(p.fixedVolume))
    p.outputJacobian = scenes.addVolume(desk.scene, "Jacobian", *like(p.fixedVolume))
    p.outputTransform = scenes.addWarp(desk.scene)
    p.outputTransform.SetNodeReferenceID("spatialRegistrationFixed", p.fixedVolume.GetID())
    desk.settle()
    return desk


def like(volume: Any) -> tuple[Any, Any]:
    from AutoRegSlicerLib.scene.grids import ownLattice
    from AutoRegSlicerLib.scene.volumes import voxelsOf

    return ownLattice(volume), voxelsOf(volume) - 200


def openEvaluate(desk: Desk) -> None:
    desk.ui.workflowTabWidget.setCurrentWidget(desk.ui.evaluateTab)
    desk.settle()


# ---- parameters


def test_binding_and_unbinding_change_no_parameter(looking: Desk) -> None:
    """Every parameter has a value that is not its default; the model is one that this computer does not have."""
    desk, p = looking, looking.parameters
    desk.ui.addFromSceneButton.click()
    desk.settle()
    assert p.cases
    for name in p.allParameters:
        if name not in ("cases", "gridSpacing"):
            alter(desk, name)
    p.gridSpacing = 99.0  # wider than the volume
    p.jacobianMinimum, p.jacobianMaximum = 0.7, 1.5
    desk.settle()
    wanted = parameters(desk)
    for _ in range(2):
        desk.widget.exit()
        desk.settle()
        desk.widget.enter()
        desk.settle()
        assert parameters(desk) == wanted
    assert desk.ui.jacobianRangeWidget.minimumValue == 0.7 and desk.ui.jacobianRangeWidget.maximumValue == 1.5
    assert desk.ui.gridSpacingDisplaySliderWidget.value == 99.0
    assert "“tiny changed” is not on this computer" in desk.ui.applyButton.toolTip()


def test_one_end_of_the_jacobian_range_leaves_the_other(desk: Desk) -> None:
    """5 is beyond the widget: it cannot show it, and must not shorten it."""
    desk.parameters.jacobianMaximum = 5.0
    desk.widget.exit()
    desk.widget.enter()
    desk.ui.jacobianRangeWidget.setMinimumValue(0.25)
    desk.settle()
    assert (desk.parameters.jacobianMinimum, desk.parameters.jacobianMaximum) == (0.25, 5.0)


def test_the_chosen_parameter_set_is_kept(desk: Desk) -> None:
    second = desk.scene.AddNode(desk.widget.logic.createParameterNode())
    desk.ui.parameterNodeSelector.setCurrentNode(second)
    desk.settle()
    desk.widget.exit()
    desk.widget.enter()
    desk.settle()
    assert desk.parameters.parameterNode is second and desk.ui.parameterNodeSelector.currentNode() is second
    desk.scene.RemoveNode(second)
    desk.widget.exit()
    desk.widget.enter()
    assert desk.parameters.parameterNode.GetScene() is desk.scene


# ---- slice views


@pytest.mark.parametrize("mode", MODES)
def test_every_compare_mode_gives_the_views_back(looking: Desk, mode: int) -> None:
    desk = looking
    before = shown(desk.views)
    openEvaluate(desk)
    desk.ui.compareModeComboBox.setCurrentIndex(mode)
    desk.ui.jacobianOverlayCheckBox.setChecked(True)
    desk.ui.foldsOnlyCheckBox.setChecked(mode % 2 == 0)
    desk.settle()
    during = shown(desk.views)
    assert during != before
    assert [view["label"] for view in during][:2] == [view["label"] for view in before][:2]  # the user's stay
    assert {view["label opacity"] for view in during[:2]} == {0.4} and all(view["linked"] for view in during)
    desk.ui.compareModeComboBox.setCurrentIndex(0)  # and back
    desk.ui.jacobianOverlayCheckBox.setChecked(False)
    desk.ui.foldsOnlyCheckBox.setChecked(False)
    desk.settle()
    same = ("orientation", "matrix", "view", "label", "label opacity")
    assert [[view[name] for name in same] for view in shown(desk.views)] == [
        [view[name] for name in same] for view in before]
    desk.ui.compareModeComboBox.setCurrentIndex(mode)
    desk.settle()
    desk.widget.exit()
    assert shown(desk.views) == before
    desk.widget.enter()
    desk.settle()
    assert shown(desk.views) != before  # the tab is open and shows what it says
    desk.scene.InvokeEvent(desk.scene.StartCloseEvent)
    assert shown(desk.views) == before


def test_what_the_user_changes_meanwhile_stays(looking: Desk) -> None:
    openEvaluate(looking)
    composite = looking.views[0][1]
    composite.SetForegroundOpacity(0.9)
    looking.widget.exit()
    assert composite.GetForegroundOpacity() == 0.9
    assert composite.GetBackgroundVolumeID() == shown(looking.views)[2]["background"]


def test_opening_the_tab_shows_what_it_says(looking: Desk) -> None:
    p = looking.parameters
    openEvaluate(looking)
    view = shown(looking.views)[0]
    assert (view["background"], view["foreground"], view["opacity"]) == (
        p.fixedVolume.GetID(), p.outputVolume.GetID(), p.fade)
    looking.views[0][1].SetForegroundVolumeID(None)
    looking.ui.compareModeComboBox.activated.emit(0)  # the same mode, chosen again
    looking.settle()
    assert looking.views[0][1].GetForegroundVolumeID() == p.outputVolume.GetID()


def test_a_scene_saved_while_comparing_opens_with_the_users_views(looking: Desk, tmp_path: Path) -> None:
    """Slicer sends no event before it saves; the notes on the nodes put it right when the scene is opened."""
    from AutoRegSlicerLib.logic import restoreResults

    desk, p = looking, looking.parameters
    before = shown(desk.views)
    openEvaluate(desk)
    desk.ui.compareModeComboBox.setCurrentIndex(1)
    p.previewOnMoving = True
    desk.settle()
    assert p.movingVolume.GetParentTransformNode() is p.outputTransform
    path = str(tmp_path / "scene.mrml")
    desk.scene.SetURL(path)
    desk.scene.Commit(path)
    loaded = scenes.newScene()
    loaded.SetURL(path)
    loaded.Import()
    restoreResults(loaded)
    moving = loaded.GetFirstNodeByName("moving")
    assert moving.GetParentTransformNode() is None
    views = [tuple(loaded.GetNthNodeByClass(i, f"vtkMRMLSlice{kind}Node") for kind in ("", "Composite"))
             for i in range(3)]
    again = shown(views)
    assert [view["orientation"] for view in again] == [view["orientation"] for view in before]
    assert [(view["label"], view["linked"]) for view in again] == [(v["label"], v["linked"]) for v in before]


# ---- previews


def parents(desk: Desk) -> dict[str, Any]:
    """The transform of every node that can have one."""
    nodes = [desk.scene.GetNthNode(i) for i in range(desk.scene.GetNumberOfNodes())]
    return {node.GetID(): node.GetTransformNodeID() for node in nodes if node.IsA("vtkMRMLTransformableNode")}


@pytest.fixture
def previewing(looking: Desk) -> Desk:
    """Two previews are on: of the moving volume, and of its landmarks, which lie under a transform of their own."""
    desk, p = looking, looking.parameters
    p.movingLandmarks.SetAndObserveTransformNodeID(scenes.addLinear(desk.scene).GetID())
    desk.before = parents(desk)
    p.previewOnMoving = True
    desk.settle()
    openEvaluate(desk)
    import vtk

    tree, ids = desk.ui.applyTargetsTreeView, vtk.vtkIdList()
    ids.InsertNextId(tree.subjectHierarchyNode().GetItemByDataNode(p.movingLandmarks))
    tree.setCurrentItems(ids)
    desk.settle()
    desk.ui.previewApplyButton.click()
    desk.settle()
    desk.during = parents(desk)
    assert p.movingVolume.GetParentTransformNode() is p.outputTransform
    assert p.movingLandmarks.GetParentTransformNode() is p.outputTransform
    return desk


def test_leaving_the_module_takes_previews_off(previewing: Desk) -> None:
    previewing.widget.exit()
    assert parents(previewing) == previewing.before
    previewing.widget.enter()
    previewing.settle()
    assert parents(previewing) == previewing.during
    previewing.ui.previewApplyButton.click()
    previewing.parameters.previewOnMoving = False
    previewing.settle()
    assert parents(previewing) == previewing.before


def test_saving_takes_previews_off_and_puts_them_back(previewing: Desk) -> None:
    from PySide6.QtWidgets import QDialog, QMessageBox

    desk, views = previewing, shown(previewing.views)
    desk.scene.InvokeEvent(desk.scene.StartSaveEvent)
    assert parents(desk) == desk.before and shown(desk.views) != views
    desk.scene.InvokeEvent(desk.scene.EndSaveEvent)
    assert parents(desk) == desk.during and shown(desk.views) == views
    dialog = QDialog()
    dialog.setObjectName("qSlicerSaveDataDialog")
    dialog.setModal(True)
    dialog.show()
    desk.session.poll()
    assert parents(desk) == desk.before
    question = QMessageBox(dialog)
    question.setModal(True)
    question.show()
    desk.session.poll()
    assert parents(desk) == desk.before
    question.close()
    dialog.close()
    desk.session.poll()
    assert parents(desk) == desk.during


def test_closing_the_scene_takes_previews_off(previewing: Desk) -> None:
    previewing.scene.InvokeEvent(previewing.scene.StartCloseEvent)
    assert parents(previewing) == previewing.before and not previewing.ui.previewApplyButton.isChecked()


def test_what_is_computed_is_not_previewed(previewing: Desk) -> None:
    """Copies of previewed nodes are warped once; a preview is no obstacle for the next registration."""
    desk, p = previewing, previewing.parameters
    assert desk.ui.applyButton.isEnabled(), desk.ui.applyButton.toolTip()
    points = slicer.util.arrayFromMarkupsControlPoints(p.movingLandmarks, world=False)
    desk.ui.hardenCopiesButton.click()
    desk.wait(lambda: "Made:" in desk.ui.evaluateMessageLabel.text(), 20)
    assert parents(desk)[p.movingVolume.GetID()] == p.outputTransform.GetID()
    copy = desk.scene.GetFirstNodeByName("moving points warped")
    from AutoRegSlicerLib.scene import transforms

    own = desk.scene.GetNodeByID(desk.before[p.movingLandmarks.GetID()])
    total = transforms.chain(transforms.warpToWorld(own), transforms.warpToWorld(p.outputTransform))
    expected = transforms.transformPoints(total, points)
    assert abs(slicer.util.arrayFromMarkupsControlPoints(copy) - expected).max() < 1e-6
