"""Many pairs: one model over a table of pairs, with results in a folder of the user's."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import scenes
from standins.fixtures import Desk, why


def shown(desk: Desk) -> list[list[str]]:
    model = desk.ui.pairsTableView.model()
    return [[model.index(row, column).data() for column in range(5)] for row in range(model.rowCount())]


def select(desk: Desk, *numbers: int) -> None:
    from PySide6.QtCore import QItemSelectionModel

    view = desk.ui.pairsTableView
    view.clearSelection()
    for number in numbers:
        view.selectionModel().select(view.model().index(number, 0), QItemSelectionModel.SelectionFlag.Select
                                     | QItemSelectionModel.SelectionFlag.Rows)
    desk.settle()


def test_what_is_missing_is_said_one_after_the_other(desk: Desk, tmp_path: Path) -> None:
    ui = desk.ui
    assert "Choose the fixed volume" in why(ui.addPairsButton) and "no pairs" in why(ui.registerPairsButton)
    for button, words in ((ui.removePairsButton, "Select the rows"), (ui.stopPairsButton, "No pairs are being"),
                          (ui.loadPairsButton, "Select pairs that are done")):
        assert words in why(button)
    desk.parameters.fixedVolume = scenes.addPair(desk.scene)["fixedVolume"]
    desk.settle()
    ui.addPairsButton.click()
    desk.settle()
    assert [line[0] for line in shown(desk)] == ["moving"]
    assert why(ui.registerPairsButton) == ui.pairsMessageLabel.text() == "Choose a folder for the results."
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "summary.csv").write_text("name\n")
    desk.session.dialogs.paths = [str(tmp_path / "old"), str(tmp_path / "new")]
    ui.pairsFolderButton.click()
    desk.settle()
    assert "never overwritten" in why(ui.registerPairsButton) and "old" in ui.pairsFolderLabel.text()
    ui.pairsFolderButton.click()
    desk.settle()
    assert why(ui.registerPairsButton) == "" and ui.pairsMessageLabel.text() == ""
    select(desk, 0)
    ui.removePairsButton.click()
    desk.settle()
    assert shown(desk) == [] and "no pairs" in why(ui.registerPairsButton)


def test_pairs_are_registered_as_the_choice_above_says(
    full_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a model too: by geodesic shooting, or by the loss of the last search."""
    from AutoRegSlicerLib.panels import pairs as module
    from AutoRegSlicerLib.panels.trials import Found

    desk, panel = full_desk, full_desk.widget.pairsPanel
    asked: list[dict[str, object]] = []

    def launch(_verb: str, _title: str, prepare: Any) -> Path:
        steps = prepare(tmp_path / "job")
        while True:
            try:
                next(steps)
            except StopIteration as end:
                asked.append(end.value.arguments)
                return tmp_path / "job"

    monkeypatch.setattr(desk.session, "launch", launch)
    guided: list[bool] = []

    def export(_pairs: Any, folder: Path, *, guided: bool, told: list[bool] = guided) -> Any:
        told.append(guided)
        return iter_of(folder / "pairs.csv")

    monkeypatch.setattr(module, "exportPairsSteps", export)
    found = Found(tmp_path, "autoreg", tmp_path / "recipe.json", tmp_path / "scenario.json")
    for model, search, words in (("lddmm", None, ("none", "lddmm", None)), ("none", None, ("none", "svf", None)),
                                 ("found-loss", found, ("none", "svf", str(found.recipe)))):
        monkeypatch.setattr(module, "last_found", lambda statuses, search=search: search)
        desk.parameters.model = model
        panel.start()
        assert tuple(asked[-1].get(name) for name in ("model", "transformation", "loss")) == words
    desk.ui.landmarksGuideCheckBox.click()
    panel.start()
    assert guided == [False, False, False, True]
    monkeypatch.setattr(module, "last_found", lambda statuses: None)
    assert any("No search has found a loss here" in reason for reason in panel.reasons())


def iter_of(value: Path) -> Any:
    """Steps that do nothing and return the value."""
    yield "pairs"
    return value


def test_volumes_of_the_scene_and_files_are_registered_and_loaded(full_desk: Desk, tmp_path: Path) -> None:
    """A real run: two volumes of the scene and a pair of files, one of which is missing."""
    desk, ui = full_desk, full_desk.ui
    third = scenes.LATTICES["oblique"][1]
    scenes.addVolume(desk.scene, "third", third, scenes.blobs(scenes.positions(third), (1.0, 0.5, 0.0)))
    (tmp_path / "table.csv").write_text("name,fixed,moving\nfrom files,a.nrrd,b.nrrd\n")
    desk.session.dialogs.paths = [str(tmp_path / "table.csv"), str(tmp_path / "results")]
    ui.addPairsButton.click()
    ui.addPairsTableButton.click()
    ui.pairsFolderButton.click()
    desk.settle()
    assert [line[0] for line in shown(desk)] == ["moving", "third", "from files"]
    ui.registerPairsButton.click()
    desk.wait(lambda: desk.state() == "Running", 60)
    desk.settle()
    assert "being registered" in why(ui.registerPairsButton) and why(ui.stopPairsButton) == ""
    desk.wait(lambda: desk.session.statuses[-1].state.over, 180)
    desk.settle()
    assert desk.state() == "Done", desk.session.statuses[-1].error
    assert [line[1] for line in shown(desk)] == ["Done", "Done", "Failed"]
    assert "→" in shown(desk)[0][2] and shown(desk)[1][2] == "" and "→" in shown(desk)[1][3]  # one has labels
    assert "a.nrrd" in desk.widget.pairsPanel.model.item(2, 1).toolTip()
    assert "2 of 3 pairs done" in ui.pairsMessageLabel.text()
    lines = list(csv.DictReader((tmp_path / "results" / "summary.csv").read_text().splitlines()))
    assert [line["state"] for line in lines] == ["done", "done", "failed"]
    assert (tmp_path / "results" / "third" / "transform.nrrd").is_file()
    assert "never overwritten" in why(ui.registerPairsButton)

    before = desk.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    select(desk, 2)
    assert "Select pairs that are done" in why(ui.loadPairsButton)
    select(desk, 0, 1)
    ui.loadPairsButton.click()
    desk.wait(lambda: "2 results are in the scene" in ui.pairsMessageLabel.text())
    assert desk.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == before + 2
    warp = desk.scene.GetFirstNodeByName("moving transform")
    assert warp.GetNodeReference("spatialRegistrationFixed") is desk.parameters.fixedVolume
    assert desk.scene.GetFirstNodeByName("moving labels registered").GetSegmentation().GetNumberOfSegments() == 2
    desk.scene.RemoveNode(desk.scene.GetFirstNodeByName("third"))  # its result is still there to be loaded
    desk.settle()
    select(desk, 1)
    ui.loadPairsButton.click()
    desk.wait(lambda: "1 result is in the scene" in ui.pairsMessageLabel.text())
    count = len(shown(desk))
    ui.addPairsButton.click()
    desk.settle()
    assert len(shown(desk)) == count  # results are not proposed, nor what is listed already


def test_stop_after_this_pair_asks_the_job_to_finish(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from AutoRegSlicerLib.jobs.jobs import JobState, JobStatus

    finished: list[Path] = []
    monkeypatch.setattr(desk.session.jobs, "finish", finished.append)
    monkeypatch.setattr(desk.session, "poll", lambda: None)
    desk.widget.pairsPanel.job = Path("job")
    desk.session.statuses = [JobStatus(Path("job"), "batch", "x", JobState.Running)]
    desk.session.refresh()
    desk.ui.stopPairsButton.click()
    assert finished == [Path("job")]


def test_a_batch_of_an_earlier_session_can_be_looked_at_and_loaded_from(desk: Desk, tmp_path: Path) -> None:
    """The pairs were of another scene: they stand in the table by their names."""
    from AutoRegLib.core.jobs import JobRequest, write_request
    from AutoRegSlicerLib.jobs.jobs import JobState, JobStatus

    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "summary.csv").write_text(
        "name,state,dice_before,dice,folds,error\na,done,0.5,0.75,3,\nb,running,,,,\n")
    arguments = {"output": str(tmp_path / "results"), "table": "t", "model": "m"}
    write_request(tmp_path / "job", JobRequest("batch", arguments))
    desk.session.importers["batch"](JobStatus(tmp_path / "job", "batch", "Register 2 pairs", JobState.Importing))
    desk.session.refresh()
    desk.settle()
    assert shown(desk) == [["a", "Done", "0.50 → 0.75", "", "3"], ["b", "Cancelled", "", "", ""]]
    assert not desk.ui.pairsCollapsibleButton.property("collapsed")
    select(desk, 0)
    assert why(desk.ui.loadPairsButton) == ""
    desk.ui.loadPairsButton.click()
    desk.wait(lambda: "No complete result" in desk.ui.pairsMessageLabel.text())
