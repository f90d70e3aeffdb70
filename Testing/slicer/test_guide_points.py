"""Guide points: what is refused and why, where they lie in the job, and what they do to its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import oracle
import scenes
from checking import check, said

from AutoRegLib.core.jobs import read_request
from AutoRegLib.imaging.points import read_points
from AutoRegSlicerLib.logic import (
    RegistrationInputs,
    exportRegistration,
)
from AutoRegSlicerLib.scene.previews import Previews

SHIFT = (2.0, -1.5, 1.0)  # of scenes.addPair
AT = scenes.CENTER + np.array([[-8.0, 3, 4], [7, -6, 2], [1, 9, -7], [-4, -5, -6]])
LPS = (-1, -1, 1)


def addGuides(scene: Any, pair: dict[str, Any], points: np.ndarray = AT, *, off: Any = SHIFT) -> dict[str, Any]:
    """The pair with guide points and no landmarks."""
    return {**pair, "fixedLandmarks": None, "movingLandmarks": None,
            "fixedGuides": scenes.addPoints(scene, "fixed guides", points),
            "movingGuides": scenes.addPoints(scene, "moving guides", points + np.array(off))}


def test_lists_that_do_not_belong_together(scene: Any) -> None:
    pair = addGuides(scene, scenes.addPair(scene))
    fixed, moving = pair["fixedGuides"], pair["movingGuides"]
    assert check(scene, pair) == []
    assert said(check(scene, pair, movingGuides=None)) == (
        "one-guide-list", "Guide points are given for one volume only; give both lists or neither.")
    moving.SetNthControlPointLabel(0, "L3")
    code, text = said(check(scene, pair))
    assert code == "guide-names" and "name corresponding points alike" in text and "L1" in text
    for index in range(4):
        moving.SetNthControlPointLabel(index, f"L{4 - index}")  # by name, in another order
    assert check(scene, pair) == []
    fixed.UnsetNthControlPointPosition(1)
    code, text = said(check(scene, pair))
    assert code == "unplaced-guides" and "'fixed guides'" in text and "(L2)" in text
    fixed.RemoveNthControlPoint(1)
    code, text = said(check(scene, pair))
    assert code == "guide-count" and "3 fixed and 4 moving" in text
    fixed.RemoveAllControlPoints()
    assert said(check(scene, pair))[0] == "empty-guides"


def test_landmarks_that_are_not_placed_are_told_too(scene: Any) -> None:
    """Left out, one of each list at different places, they would shift the pairing of the others."""
    pair = scenes.addPair(scene)
    assert check(scene, pair) == []
    pair["fixedLandmarks"].UnsetNthControlPointPosition(1)
    pair["movingLandmarks"].UnsetNthControlPointPosition(4)
    assert said(check(scene, pair))[0] == "unplaced-landmarks"


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_points_outside_are_named_as_the_job_would(scene: Any, tmp_path: Path, role: str) -> None:
    """Just within and just beyond the border of the exported image: the check and the library agree."""
    from AutoRegLib.core.errors import InputError
    from AutoRegLib.registration.pair import RegisterOptions, read_pair

    pair = addGuides(scene, scenes.addPair(scene))
    for node in (pair["movingVolume"], pair["movingGuides"]):
        node.SetAndObserveTransformNodeID(scenes.addLinear(scene).GetID())
    on, node = scenes.LATTICES["oblique"][role == "moving"], pair[f"{role}Guides"]

    def job(name: str) -> Any:
        made = exportRegistration(RegistrationInputs(**pair, model="none"), tmp_path / name).arguments
        files = [tmp_path / name / file for file in made["guide_landmarks"]]
        return read_pair(*(tmp_path / name / made[which] for which in ("fixed", "moving")),
                         RegisterOptions(guide_landmarks=tuple(files)))

    for index, kept in ((-0.45, True), (-0.55, False)):
        node.SetNthControlPointPosition(2, *(on.ijkToRAS @ [index, 5, 5, 1])[:3])
        if kept:
            assert check(scene, pair) == [] and job("kept").guides.names == ("L1", "L2", "L3", "L4")
            continue
        code, text = said(check(scene, pair))
        assert code == "outside-guides" and f"outside the {role} volume (L3)" in text
        with pytest.raises(InputError, match=f"outside the {role} image.*L3"):
            job("gone")


def test_points_outside_the_region_are_told(scene: Any) -> None:
    pair = addGuides(scene, scenes.addPair(scene))
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "part")
    roi.SetCenter(*AT[0])
    roi.SetSize(12, 12, 12)
    code, text = said(check(scene, pair, roi=roi))
    assert code == "outside-guides" and "region of the fixed volume (L2, L3, L4)" in text


def test_what_gives_points_no_say_is_told(scene: Any) -> None:
    pair = addGuides(scene, scenes.addPair(scene))
    code, text = said(check(scene, pair, model="some-model", refine=None), blocking=False)
    assert code == "guides-unseen" and "affine alignment alone" in text
    assert "no influence" in said(check(scene, pair, model="some-model", refine=0, affine="none"), blocking=False)[1]
    code, text = said(check(scene, pair, transformation="lddmm", refine=0), blocking=False)
    assert code == "guides-unseen" and text.startswith("Geodesic shooting")
    assert check(scene, pair, model="some-model", refine=20) == []
    assert said(check(scene, pair, movingGuides=pair["fixedGuides"]), blocking=False)[0] == "same-guides"
    bent = scenes.addWarp(scene)
    code, text = said(check(scene, pair, initialTransform=bent, affine="none"))
    assert code == "guides-initial" and "'bent'" in text
    assert check(scene, pair, initialTransform=scenes.addLinear(scene), affine="none") == []


@pytest.mark.parametrize("placement", ["none", "linear", "warp", "previewed"])
def test_the_job_has_them_where_the_scene_shows_them(scene: Any, tmp_path: Path, placement: str) -> None:
    """In LPS, through every transform but that of a preview; the nodes stay as they are."""
    pair = addGuides(scene, scenes.addPair(scene))
    node = pair["movingGuides"]
    if placement != "none":
        parent = scenes.addLinear(scene)
        if placement == "warp":
            parent.SetAndObserveTransformNodeID(scenes.addWarp(scene).GetID())
        node.SetAndObserveTransformNodeID(parent.GetID())
    shown = np.array([node.GetNthControlPointPositionWorld(index) for index in range(4)])
    if placement == "previewed":
        Previews(scene).show("test", [node], scenes.addWarp(scene, "preview", size=8.0))
        assert np.abs(np.array(node.GetNthControlPointPositionWorld(0)) - shown[0]).max() > 1
    before = [node.GetNthControlPointPosition(index) for index in range(4)], node.GetTransformNodeID()
    made = exportRegistration(RegistrationInputs(**pair, model="none"), tmp_path).arguments
    assert made["guide_landmarks"] == ["in/fixed_guides.csv", "in/moving_guides.csv"]
    names, points = read_points(tmp_path / "in/moving_guides.csv")
    assert names == ("L1", "L2", "L3", "L4") and np.abs(points * LPS - shown).max() < 1e-9
    assert np.abs(read_points(tmp_path / "in/fixed_guides.csv")[1] * LPS - AT).max() < 1e-9
    assert ([node.GetNthControlPointPosition(index) for index in range(4)], node.GetTransformNodeID()) == before


def test_the_panel_registers_with_them(full_desk: Any) -> None:
    """A real job: points that say otherwise than the images pull the result, and the line below says how far."""
    desk, p, ui, panel = full_desk, full_desk.parameters, full_desk.ui, full_desk.widget.registerPanel
    made = addGuides(desk.scene, {}, off=np.array(SHIFT) + (0, 6.0, 0))
    for role in ("fixed", "moving"):
        getattr(ui, f"{role}GuidesSelector").setCurrentNode(made[f"{role}Guides"])
    p.model, p.createVolume, p.createJacobian = "none", False, False
    desk.settle()
    assert (panel.inputs().fixedGuides, panel.inputs().movingGuides) == (made["fixedGuides"], made["movingGuides"])
    ui.applyButton.click()
    desk.wait(lambda: desk.state() in ("Done", "Failed"))
    desk.settle()
    assert desk.state() == "Done", desk.session.statuses[-1].error
    assert read_request(panel.own).arguments["guide_landmarks"] == ["in/fixed_guides.csv", "in/moving_guides.csv"]
    field = oracle.fieldTransform(panel.own / "out" / "transform.nrrd")
    apart = np.linalg.norm(oracle.throughRAS(field, AT) - AT - SHIFT - (0, 6.0, 0), axis=1).mean()
    assert apart < 3.0  # the images alone would leave six
    assert (f"Guide points {np.linalg.norm(np.array(SHIFT) + (0, 6.0, 0)):.2f} → {apart:.2f} mm."
            in ui.registerMessageLabel.text())
    again = [node.GetNthControlPointPosition(0) for node in (made["fixedGuides"], made["movingGuides"])]
    assert np.abs(np.array(again) - [AT[0], AT[0] + SHIFT + (0, 6.0, 0)]).max() < 1e-9
    ui.swapVolumesButton.click()
    desk.settle()
    assert (p.fixedGuides, p.movingGuides) == (made["movingGuides"], made["fixedGuides"])


def test_frames_of_a_sequence_go_without_them_and_it_is_said(full_desk: Any) -> None:
    from test_sequences import addSequence, choose

    p, ui, panel = full_desk.parameters, full_desk.ui, full_desk.widget.registerPanel
    for name, node in addGuides(full_desk.scene, {}).items():
        setattr(p, name, node)
    assert ui.movingGuidesSelector.isEnabled() and "corresponding" in ui.movingGuidesSelector.toolTip()
    choose(full_desk, addSequence(full_desk.scene, 1))
    for selector in (ui.fixedGuidesSelector, ui.movingGuidesSelector):
        assert not selector.isEnabled() and "frames of a sequence" in selector.toolTip()
    assert panel.inputs().movingGuides is None is panel.inputs().fixedGuides


def test_landmarks_of_many_pairs_guide_where_that_is_wanted(full_desk: Any, tmp_path: Path) -> None:
    """The table of the job says so; the panel says which lists are meant, and what stands against them."""
    from AutoRegLib.core.pair_table import read_pair_table
    from AutoRegSlicerLib.registration.pairs import exportPairsSteps
    from AutoRegSlicerLib.steps import finish

    desk, ui, panel = full_desk, full_desk.ui, full_desk.widget.pairsPanel
    ui.addPairsButton.click()
    desk.settle()
    for guided in (False, True):
        [line] = read_pair_table(finish(exportPairsSteps(panel.pairs, tmp_path / str(guided), guided=guided)))
        files = [line.files.get(f"{role}_{'guides' if guided else 'landmarks'}") for role in ("fixed", "moving")]
        assert line.arguments.get("guide_landmarks") == (tuple(files) if guided else None)
        for file, node in zip(files, (desk.parameters.fixedLandmarks, desk.parameters.movingLandmarks), strict=True):
            shown = [node.GetNthControlPointPositionWorld(index) for index in range(6)]
            assert np.abs(read_points(file)[1] * LPS - shown).max() < 1e-9
    assert "Landmarks: fixed points (fixed), moving points (moving)" in panel.model.item(0, 0).toolTip()
    ui.landmarksGuideCheckBox.click()
    desk.settle()
    assert desk.parameters.landmarksGuide
    assert "Guide points: fixed points (fixed), moving points (moving)" in panel.model.item(0, 0).toolTip()
    assert not any("not placed" in reason for reason in panel.reasons())
    desk.parameters.movingLandmarks.UnsetNthControlPointPosition(2)
    assert any("'moving points' has points that are not placed" in reason for reason in panel.reasons())
