"""The second tab: the table of cases, one click that searches to Done, and the training of what was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import scenes
import slicer
from standins.fixtures import Desk, rows, why


@pytest.fixture
def data(desk: Desk) -> Desk:
    """Six volumes with segmentations in the scene, added by the button."""
    scenes.caseRows(desk.scene, 6)
    desk.ui.workflowTabWidget.setCurrentWidget(desk.ui.trainTab)
    desk.ui.addFromSceneButton.click()
    desk.settle()
    return desk


def test_without_data_the_search_says_what_it_needs(desk: Desk) -> None:
    assert "at least 4" in why(desk.ui.autoSearchButton)
    assert "No data yet" in desk.ui.datasetSummaryLabel.text()
    assert "no rows" in why(desk.ui.checkDataButton)
    assert "nothing to train" in why(desk.ui.startTrainingButton)
    assert "No search is running" in why(desk.ui.finishSearchButton)
    assert desk.ui.trialsTableView.isHidden() and desk.ui.searchPlotView.isHidden()


def test_add_from_scene_finds_the_labels_that_belong(data: Desk) -> None:
    assert [row.subject for row in rows(data)] == [f"case {i}" for i in range(6)]
    assert [row.labels.GetName() for row in rows(data)] == [f"case {i} labels" for i in range(6)]
    model = data.widget.trainPanel.data.cases.model
    assert model.item(0, 1).text() == "case 0"
    assert "6 cases" in data.ui.datasetSummaryLabel.text()
    assert why(data.ui.autoSearchButton) == ""
    data.ui.addFromSceneButton.click()
    assert len(rows(data)) == 6  # nothing twice


def test_check_data_says_row_by_row_what_is_wrong(data: Desk) -> None:
    cases = data.widget.trainPanel.data.cases
    cases.rows[3].volume.SetAndObserveImageData(None)
    cases.rows[5].use = False
    data.ui.checkDataButton.click()
    data.settle()
    remarks = [cases.model.item(row, 1).toolTip() for row in range(6)]
    assert [r for i, r in enumerate(remarks) if i not in (3, 5)] == ["Checked: nothing is missing."] * 4
    assert "case 3" in remarks[3] and remarks[5] == "Not used."
    assert [row for row in range(6) if "⚠" in cases.model.item(row, 1).text()] == [3]
    assert "case 3" in data.ui.caseInfoLabel.text()  # the first fault is selected and said
    assert "case 3" in why(data.ui.autoSearchButton)


def select(desk: Desk, *numbers: int) -> None:
    from PySide6.QtCore import QItemSelectionModel

    view = desk.ui.casesTableView
    view.clearSelection()
    for number in numbers:
        view.selectionModel().select(view.model().index(number, 0), QItemSelectionModel.SelectionFlag.Select
                                     | QItemSelectionModel.SelectionFlag.Rows)
    desk.settle()


def test_rows_can_be_switched_off_given_labels_and_removed(data: Desk) -> None:
    from PySide6.QtCore import Qt

    cases = data.widget.trainPanel.data.cases
    cases.view.indexWidget(cases.model.index(2, 2)).setCurrentIndex(0)
    assert rows(data)[2].labels is None
    for row in (3, 4, 5):
        cases.model.item(row, 0).setCheckState(Qt.CheckState.Unchecked)
    data.settle()
    assert "3 cases" in why(data.ui.autoSearchButton)
    assert "Select the rows" in why(data.ui.removeCasesButton)
    select(data, 0)
    data.ui.removeCasesButton.click()
    data.settle()
    assert [row.subject for row in rows(data)] == [f"case {number}" for number in range(1, 6)]


def test_the_table_fits_a_narrow_panel_and_the_rest_stands_below_it(data: Desk) -> None:
    """At the width of an ordinary module panel everything that is edited in the table is in sight."""
    ui = data.ui
    window = data.window
    window.show()
    window.resize(480, 900)
    data.settle()
    assert window.width() == 480
    header = ui.casesTableView.horizontalHeader()
    assert [header.model().headerData(i, header.orientation()) for i in range(header.count())] == [
        "Use", "Volume", "Labels"]
    assert header.length() <= ui.casesTableView.viewport().width() and min(
        header.sectionSize(i) for i in (1, 2)) > 150
    assert "Select one or more rows" in why(ui.caseSubjectLineEdit) and "Select a row" in ui.caseInfoLabel.text()

    points = scenes.addPoints(data.scene, "marks", scenes.CENTER[None])
    select(data, 1)
    assert why(ui.caseSubjectLineEdit) == "" and ui.caseSubjectLineEdit.text() == "case 1"
    assert ui.caseInfoLabel.text() == "16 × 16 × 16 voxels of 3 × 3 × 3 mm."
    ui.caseLandmarksComboBox.setCurrentIndex(1)
    assert rows(data)[1].landmarks is points
    select(data, 1, 2)  # two scans of one person
    assert ui.caseSubjectLineEdit.text() == "" and "2 rows" in ui.caseInfoLabel.text()
    assert "Select one row" in why(ui.caseLandmarksComboBox)
    ui.caseSubjectLineEdit.setText("somebody")
    ui.caseSubjectLineEdit.editingFinished.emit()
    ui.caseRoleComboBox.setCurrentIndex(2)
    data.settle()
    assert [(row.subject, row.role) for row in rows(data)[1:3]] == [("somebody", "val")] * 2
    assert "6 cases of 5 subjects" in ui.datasetSummaryLabel.text()
    assert [item["subject"] for item in json.loads(data.parameters.cases)][:4] == [
        "case 0", "somebody", "somebody", "case 3"]
    select(data, 0)
    assert ui.caseSubjectLineEdit.text() == "case 0" and ui.caseRoleComboBox.currentText() == "Automatic"


def test_one_is_not_said_like_many(data: Desk) -> None:
    data.widget.trainPanel.data.cases.rows = rows(data)[:1]
    data.widget.trainPanel.data.cases.fill()
    data.settle()
    assert "1 case of 1 subject," in data.ui.datasetSummaryLabel.text()
    assert why(data.ui.autoSearchButton).startswith("1 case is in use")


def test_training_is_folded_until_there_is_something_to_train(desk: Desk) -> None:
    assert desk.ui.trainingCollapsibleButton.property("collapsed")
    assert "run Auto-search first" in desk.ui.trainingRecipeComboBox.currentText()
    assert why(desk.ui.trainingRecipeComboBox)


def test_cases_are_kept_with_the_scene_and_forgotten_with_their_nodes(data: Desk) -> None:
    text = data.parameters.cases
    assert len(json.loads(text)) == 6
    panel = data.widget.trainPanel
    panel.data.cases.rows = []
    panel.parametersChanged()
    assert [row.labels.GetName() for row in rows(data)] == [f"case {i} labels" for i in range(6)]
    data.scene.RemoveNode(rows(data)[0].volume)
    data.scene.RemoveNode(rows(data)[1].labels)
    data.settle()
    assert len(rows(data)) == 5 and rows(data)[0].labels is None


def test_cases_from_a_table_and_a_table_that_is_none(desk: Desk, tmp_path: Path) -> None:
    import numpy as np
    import SimpleITK as sitk

    for number in range(2):
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4, 4), np.float32)), str(tmp_path / f"v{number}.nrrd"))
    (tmp_path / "cases.csv").write_text("subject,volume,role\na,v0.nrrd,train\nb,v1.nrrd,val\n", encoding="utf-8")
    (tmp_path / "other.csv").write_text("x\n1\n", encoding="utf-8")
    desk.session.dialogs.paths = [str(tmp_path / "other.csv"), str(tmp_path / "cases.csv"), ""]
    desk.ui.importCsvButton.click()
    assert "other.csv" in desk.ui.datasetSummaryLabel.text() and not rows(desk)
    desk.ui.importCsvButton.click()
    assert [(r.subject, r.role) for r in rows(desk)] == [("a", "train"), ("b", "val")]
    desk.ui.importCsvButton.click()  # the dialog was closed
    assert len(rows(desk)) == 2


def test_template_and_time_are_offered_when_they_matter(data: Desk) -> None:
    from AutoRegSlicerLib.panels.choices import Pairing, SearchPreset

    assert "To template" in why(data.ui.templateVolumeSelector)
    assert "Custom time" in why(data.ui.searchMinutesSpinBox)
    data.parameters.pairing = Pairing.Template
    data.settle()
    assert "emplate" in why(data.ui.autoSearchButton)
    data.parameters.templateVolume = rows(data)[0].volume
    data.settle()
    assert why(data.ui.autoSearchButton) == ""
    data.ui.searchPresetComboBox.setCurrentIndex(1)
    data.settle()
    assert data.parameters.searchMinutes == 180.0 and data.ui.searchMinutesSpinBox.value() == 180.0
    data.parameters.searchPreset = SearchPreset.Custom
    data.settle()
    assert why(data.ui.searchMinutesSpinBox) == ""


def test_labels_can_be_learnt_from_where_training_cases_have_them(data: Desk) -> None:
    assert why(data.ui.learnFromLabelsCheckBox) == "" and not data.ui.learnFromLabelsCheckBox.isChecked()
    for row in rows(data)[1:]:
        row.labels = None
    data.widget.trainPanel.data.casesChanged()
    data.settle()
    assert "Two training cases with labels" in why(data.ui.learnFromLabelsCheckBox)


def test_one_click_searches_to_done_and_what_it_found_is_trained_and_used(data: Desk) -> None:
    """The whole story of a user, with real processes: search, train, and the model waits in Register."""
    from AutoRegSlicerLib.panels.choices import SearchPreset

    ui, p = data.ui, data.parameters
    p.searchPreset, p.searchMinutes = SearchPreset.Custom, 0.2
    ui.learnFromLabelsCheckBox.click()
    data.settle()
    assert p.learnFromLabels
    ui.autoSearchButton.click()
    data.wait(lambda: data.state() == "Running", 30)
    data.wait(lambda: why(ui.finishSearchButton) == "", 5)
    assert ui.dataCollapsibleButton.property("collapsed")
    assert ui.autoSearchButton.text() == "Queue auto-search"
    data.wait(lambda: data.state() in ("Done", "Failed"), 120)
    data.settle()
    assert data.state() == "Done", data.session.statuses[-1].error
    status = data.session.statuses[-1]
    assert json.loads((status.folder / "out" / "recipe.json").read_text())["objective"]["label_weight"] == 3.0
    assert data.widget.trainPanel.searches.trialsModel.rowCount() == 1
    assert data.widget.trainPanel.searches.trialsModel.item(0, 2).text() == "Done"
    assert any("Left out" in text for _, text in status.warnings)  # twelve seconds: too short for stages and finals

    assert "Select one finished search" in why(ui.trainSelectedTrialButton)
    ui.trialsTableView.selectRow(0)
    data.settle()
    assert why(ui.trainSelectedTrialButton) == ""
    ui.copyTrialSettingsButton.click()
    assert json.loads(slicer.app.clipboard().text())["schema"].startswith("autoreg-recipe/")

    assert not ui.trainingCollapsibleButton.property("collapsed")
    assert ui.modelComboBox.findText("No model: the loss of the last search") >= 0
    assert ui.trainingRecipeComboBox.currentText().startswith("Last search")
    assert "Enter a name" in why(ui.startTrainingButton)
    ui.modelNameLineEdit.setText("my/model")
    data.settle()
    assert "name" in why(ui.startTrainingButton)
    ui.modelNameLineEdit.setText("my model")
    p.trainingMinutes = 0.05
    data.settle()
    assert why(ui.startTrainingButton) == ""
    ui.startTrainingButton.click()
    data.wait(lambda: data.session.statuses[-1].verb == "train" and data.state() in ("Done", "Failed"), 120)
    data.settle()
    assert data.state() == "Done", data.session.statuses[-1].error
    assert p.model == "my model" and ui.modelComboBox.currentText() == "my model"
    assert data.widget.modelsPanel.model.item(0, 0).text() == "my model"
    assert not ui.trainingPlotView.isHidden()


def test_stop_and_keep_best(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The button is for a search that runs, and asks the job to finish (what that does: test_jobs_*)."""
    from AutoRegSlicerLib.jobs.jobs import JobState, JobStatus

    finished: list[Path] = []
    monkeypatch.setattr(desk.session.jobs, "finish", finished.append)
    monkeypatch.setattr(desk.session, "poll", lambda: None)
    for verb, state, offered in (("train", "Running", False), ("search", "Queued", False), ("search", "Running", True)):
        desk.session.statuses = [JobStatus(Path("job"), verb, "x", JobState[state])]
        desk.session.refresh()
        assert desk.ui.finishSearchButton.isEnabled() is offered, (verb, state)
    desk.ui.finishSearchButton.click()
    assert finished == [Path("job")]


def test_a_trial_that_is_scored_again_is_drawn_again(desk: Desk) -> None:
    from AutoRegSlicerLib.jobs.jobs import JobState, JobStatus

    def seen(*dice: float) -> list[float]:
        trials = tuple({"id": i, "name": str(i), "dice": value} for i, value in enumerate(dice))
        desk.widget.trainPanel.follow([JobStatus(Path("job"), "search", "x", JobState.Running, trials=trials)])
        return [y for name, points, _ in desk.ui.searchPlotView.curves() if name == "Dice" for _, y in points]

    assert seen(0.3, 0.4) == [0.3, 0.4]
    assert seen(0.3, 0.6) == [0.3, 0.6]  # the next round, as many trials as before
