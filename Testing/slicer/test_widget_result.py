"""From two volumes to a seen result: what the user does, and what is then on the screen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import scenes
import slicer
from standins.fixtures import Desk, make_desk
from test_widget_round_trips import addViews, looking, openEvaluate, shown  # noqa: F401 - a fixture, too

MOST_ACTIONS = 4


def volumeNames(desk: Desk) -> list[tuple[str, str]]:
    """Names of the background and the foreground volume of every view."""
    scene = desk.scene
    nodes = [[scene.GetNodeByID(view[layer] or "") for layer in ("background", "foreground")]
             for view in shown(desk.views)]
    return [tuple(node.GetName() if node is not None else "" for node in layers) for layers in nodes]


def test_from_a_fresh_slicer_to_a_seen_result(
    scene: Any, tmp_path: Path, tinyModel: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two volumes are loaded and PyTorch is there: at most four actions, and no question.

    Slicer's menu of modules takes three of them (menu, category, module): here the module is opened directly.
    """
    monkeypatch.setenv("AUTOREG_MODELS", str(tmp_path / "models"))
    shutil.copytree(tinyModel, tmp_path / "models" / "tiny")
    pair = scenes.addPair(scene)
    for name in set(pair) - {"fixedVolume", "movingVolume"}:
        scene.RemoveNode(pair[name])
    views = addViews(scene)

    actions = ["Modules", "Registration", "AutoReg"]
    desk = make_desk(scene, tmp_path)
    desk.views = views
    desk.settle()

    actions.append("Apply")
    desk.ui.applyButton.click()
    desk.wait(lambda: desk.state() in ("Done", "Failed"))
    assert desk.state() == "Done", desk.session.statuses[-1].error

    assert desk.session.dialogs.questions == []
    fixed, warped = pair["fixedVolume"], desk.parameters.outputVolume
    view = shown(views)[0]
    assert volumeNames(desk) == [("fixed", "moving registered to fixed")] * 3
    assert view["opacity"] == 0.5 and scene.GetNodeByID(view["foreground"]) is warped
    bounds = [0.0] * 6
    fixed.GetRASBounds(bounds)
    for node, _composite in views:  # seen whole, and its middle in the middle
        width, height, _depth = node.GetFieldOfView()
        assert min(width, height) > 30
        matrix = node.GetSliceToRAS()
        center = [(bounds[2 * i] + bounds[2 * i + 1]) / 2 for i in range(3)]
        assert [matrix.GetElement(i, 3) for i in range(3)] == pytest.approx(center, abs=2)
    assert len(actions) <= MOST_ACTIONS

    openEvaluate(desk)  # two more, and it is seen what the registration has changed
    desk.ui.beforeAfterButton.click()
    desk.settle()
    assert volumeNames(desk) == [("fixed", "moving")] * 3 and desk.ui.beforeAfterLabel.text().startswith("Before")
    desk.widget.cleanup()


def test_the_result_is_shown_once_and_stays(looking: Desk) -> None:  # noqa: F811 - the fixture
    """It is the user's own view from then on: comparing comes and goes over it."""
    desk, session = looking, looking.session
    labels = [view["label"] for view in shown(desk.views)]
    session.showResult()
    assert volumeNames(desk) == [("fixed", "warped")] * 3
    after = shown(desk.views)
    assert [view["label"] for view in after] == labels
    openEvaluate(desk)
    desk.ui.compareModeComboBox.setCurrentIndex(5)
    desk.settle()
    assert shown(desk.views) != after
    desk.widget.exit()
    assert shown(desk.views) == after


def test_the_result_is_shown_only_where_it_is_wanted(looking: Desk) -> None:  # noqa: F811
    desk, before = looking, shown(looking.views)
    desk.ui.showResultCheckBox.click()
    assert desk.parameters.showResult is False
    desk.session.showResult()
    assert shown(desk.views) == before


def test_a_result_that_comes_while_another_module_is_shown_waits(looking: Desk) -> None:  # noqa: F811
    desk, before = looking, shown(looking.views)
    desk.widget.exit()
    desk.session.showResult()
    assert shown(desk.views) == before
    desk.widget.enter()
    desk.settle()
    assert volumeNames(desk) == [("fixed", "warped")] * 3


def test_a_result_that_comes_while_comparing_is_compared(looking: Desk) -> None:  # noqa: F811
    desk = looking
    openEvaluate(desk)
    desk.ui.compareModeComboBox.setCurrentIndex(1)
    desk.ui.beforeAfterButton.click()
    desk.settle()
    desk.session.showResult()
    desk.settle()
    assert not desk.ui.beforeAfterButton.isChecked()
    assert all("checkerboard" in background for background, _ in volumeNames(desk))
    desk.widget.exit()
    assert volumeNames(desk) == [("fixed", "warped")] * 3


@pytest.mark.parametrize("mode", [1, 2, 3, 4])
def test_every_view_tells_before_from_after(looking: Desk, mode: int) -> None:  # noqa: F811
    """Slicer writes the names of the volumes into the corner of a view; fading shows the volumes themselves."""
    desk = looking
    openEvaluate(desk)
    desk.ui.compareModeComboBox.setCurrentIndex(mode)
    for begin in ("After: warped", "Before: moving", "After: warped"):
        desk.settle()
        for view in shown(desk.views):
            layers = [desk.scene.GetNodeByID(view[name] or "") for name in ("background", "foreground", "label")]
            assert [node for node in layers if node is not None and node.GetName().startswith(begin)], begin
        assert desk.ui.beforeAfterLabel.text().startswith(begin)
        desk.ui.beforeAfterButton.click()


def test_a_previewed_volume_is_not_said_to_be_the_one_before(looking: Desk) -> None:  # noqa: F811
    desk = looking
    openEvaluate(desk)
    desk.ui.beforeAfterButton.click()
    desk.settle()
    assert desk.ui.beforeAfterLabel.text() == "Before: moving, not registered."
    desk.parameters.previewOnMoving = True
    desk.settle()
    assert "previewed under the result" in desk.ui.beforeAfterLabel.text()


def test_what_was_chosen_last_is_shown(looking: Desk, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """The volume of the mode before is still being made."""
    from AutoRegSlicerLib import steps

    desk = looking
    openEvaluate(desk)
    monkeypatch.setattr(steps, "AT_ONCE", 1000)  # one plane at a time
    desk.ui.compareModeComboBox.setCurrentIndex(1)
    slicer.app.processEvents()
    desk.ui.compareModeComboBox.setCurrentIndex(3)
    desk.wait(lambda: "difference" in volumeNames(desk)[0][0], 20)
    for _ in range(20):
        desk.settle()
    assert "difference" in volumeNames(desk)[0][0]
    desk.ui.compareModeComboBox.setCurrentIndex(1)
    slicer.app.processEvents()
    desk.widget.exit()  # and nothing comes after that
    for _ in range(20):
        desk.settle()
    assert volumeNames(desk)[0][0] == "the user's volume"


# ---- in 3-D


@pytest.fixture
def in3D(looking: Desk) -> Desk:  # noqa: F811
    """Warped labels as a registration leaves them: voxels alone."""
    desk, p = looking, looking.parameters
    lattice = scenes.LATTICES["oblique"][0]
    p.outputSegmentation = scenes.addSegmentation(
        desk.scene, "warped labels", lattice, scenes.labels(scenes.positions(lattice)))
    p.outputSegmentation.CreateDefaultDisplayNodes()
    p.outputSegmentation.GetDisplayNode().SetVisibility3D(False)
    desk.settle()
    openEvaluate(desk)
    return desk


def test_transform_and_labels_are_shown_in_3d_and_taken_off(in3D: Desk) -> None:
    desk, p = in3D, in3D.parameters
    labels = p.outputSegmentation
    display = labels.GetDisplayNode()
    before = (display.GetVisibility3D(), display.GetPreferredDisplayRepresentationName3D(),
              labels.GetSegmentation().ContainsRepresentation("Closed surface"), labels.GetAttributeNames())
    desk.ui.show3DCheckBox.click()
    desk.wait(lambda: display.GetVisibility3D(), 20)
    assert display.GetPreferredDisplayRepresentationName3D() == "Closed surface"
    for name in labels.GetSegmentation().GetSegmentIDs():
        surface = labels.GetSegmentation().GetSegment(name).GetRepresentation("Closed surface")
        assert surface.GetNumberOfPolys() > 50
    grid = p.outputTransform.GetDisplayNode()
    assert grid.GetVisibility() and grid.GetVisibility3D() and not grid.GetVisibility2D()
    assert grid.GetRegionNode() is p.fixedVolume
    desk.ui.transformDisplayComboBox.setCurrentIndex(1)
    desk.settle()
    assert grid.GetVisibility2D() and grid.GetVisibility3D()
    desk.ui.show3DCheckBox.click()
    desk.settle()
    assert before == (display.GetVisibility3D(), display.GetPreferredDisplayRepresentationName3D(),
                      labels.GetSegmentation().ContainsRepresentation("Closed surface"), labels.GetAttributeNames())
    assert grid.GetVisibility2D() and not grid.GetVisibility3D()


def test_a_change_of_mind_while_surfaces_are_made(in3D: Desk) -> None:
    desk, labels = in3D, in3D.parameters.outputSegmentation
    desk.ui.show3DCheckBox.click()
    slicer.app.processEvents()
    desk.ui.show3DCheckBox.click()
    desk.wait(lambda: not desk.widget.evaluatePanel._meshing, 20)
    desk.settle()
    assert not labels.GetDisplayNode().GetVisibility3D()
    assert not labels.GetSegmentation().ContainsRepresentation("Closed surface")
