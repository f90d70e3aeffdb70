"""What the table of cases takes from the scene, and what it reads of it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import scenes
from standins.fixtures import Desk, rows, why


def test_what_autoreg_made_is_never_proposed_as_data(full_desk: Desk) -> None:
    """Register, look at it, carry a copy along, then press the button: the two volumes of the user, with their labels.

    A network trained on what a network did, or on a map of determinants, is worthless, and nothing would show it.
    """
    from AutoRegSlicerLib import logic

    desk, p = full_desk, full_desk.parameters
    p.createSegmentation = p.createInverse = True
    desk.settle()
    desk.ui.applyButton.click()
    desk.wait(lambda: desk.state() in ("Done", "Failed"))
    assert desk.state() == "Done", desk.session.statuses[-1].error
    desk.ui.workflowTabWidget.setCurrentWidget(desk.ui.evaluateTab)
    for mode in type(p.compareMode):
        p.compareMode = mode
        desk.settle()
    logic.applyToNodes(desk.scene, p.outputTransform, [p.movingVolume, p.movingSegmentation, p.movingLandmarks])
    p.outputVolume.SetName("a better scan")  # the name does not tell
    assert desk.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") > 4

    desk.ui.workflowTabWidget.setCurrentWidget(desk.ui.trainTab)
    desk.ui.addFromSceneButton.click()
    desk.settle()
    assert [row.volume.GetName() for row in rows(desk)] == ["fixed", "moving"]
    assert [row.labels.GetName() for row in rows(desk)] == ["fixed labels", "moving labels"]
    assert [row.landmarks.GetName() for row in rows(desk)] == ["fixed points", "moving points"]

    kept = json.loads(p.cases)  # a scene saved before results were told apart
    kept.append({**kept[0], "volume": {"node": p.outputVolume.GetID()}, "subject": "x", "labels": None})
    desk.widget.trainPanel.data.cases.restore(json.dumps(kept))
    desk.settle()
    desk.ui.checkDataButton.click()
    assert "made by AutoReg" in rows(desk)[2].remark


def test_voxels_of_label_maps_are_read_once_and_again_only_when_they_change(
    desk: Desk, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The panel looks twice a second: with 24 label maps it must not search 24 images each time."""
    import numpy as np

    from AutoRegSlicerLib.scene import volumes

    on = scenes.lattice((8,) * 3, (3.0,) * 3)
    read: list[str] = []
    original = volumes.voxelsOf
    monkeypatch.setattr(volumes, "voxelsOf", lambda node: read.append(node.GetName()) or original(node))
    for number in range(24):
        scenes.addVolume(desk.scene, f"case {number:02d}", on, np.zeros((8,) * 3, np.float32))
        drawn = np.zeros((8,) * 3, np.uint8)
        drawn[2:4, 2:6], drawn[5] = 3, 7
        scenes.addVolume(desk.scene, f"case {number:02d} labels", on, drawn, labelMap=True)
    desk.ui.addFromSceneButton.click()
    desk.wait(lambda: "2 structures" in desk.ui.datasetSummaryLabel.text() and len(read) > 23)
    assert sorted(read) == [f"case {number:02d} labels" for number in range(24)]
    for _ in range(5):
        desk.session.poll()
        desk.session.refresh()
        desk.settle()
    assert len(read) == 24

    changed = rows(desk)[3].labels
    original(changed)[0, 0, 0] = 9
    changed.GetImageData().GetPointData().GetScalars().Modified()
    desk.session.changed()
    desk.wait(lambda: "3 structures" in desk.ui.datasetSummaryLabel.text())
    assert read[24:] == ["case 03 labels"]

    rows(desk)[5].labels.SetAndObserveImageData(rows(desk)[5].volume.GetImageData())
    original(rows(desk)[5].volume)[:] = 0.5
    rows(desk)[5].volume.GetImageData().GetPointData().GetScalars().Modified()
    desk.session.changed()
    desk.wait(lambda: "is no label map" in why(desk.ui.autoSearchButton))
    desk.settle()
    assert read[25:] == ["case 05 labels"] and "case 05" in why(desk.ui.autoSearchButton)
