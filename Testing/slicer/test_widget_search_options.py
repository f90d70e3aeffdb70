"""What a search, a training and a comparison are asked, as chosen in the panel, and how a comparison is shown."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import scenes
from standins.fixtures import Desk, why

from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.records import from_plain
from AutoRegLib.core.verbs import VERBS


@pytest.fixture
def data(desk: Desk, tinyModel: Path, tmp_path: Path) -> Desk:
    """Eight volumes with segmentations in the table, and one installed model."""
    shutil.copytree(tinyModel, tmp_path / "models" / "tiny")
    desk.session.modelsChanged()
    scenes.caseRows(desk.scene, 8)
    desk.ui.addFromSceneButton.click()
    desk.settle()
    return desk


@pytest.fixture
def asked(data: Desk, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], dict[str, Any]]:
    """Press a button; the arguments of the job it starts, which the command line must know, too."""
    requests: list[Any] = []
    monkeypatch.setattr(data.session.jobs, "submit", lambda folder, request, **_: requests.append((folder, request)))

    def press(button: Any) -> dict[str, Any]:
        count = len(requests)
        assert why(button) == ""
        button.click()
        data.wait(lambda: len(requests) > count)
        folder, request = requests[-1]
        data.session.jobs.discard(folder)
        data.settle()
        from_plain(VERBS[request.verb].arguments, {"output": "out", **request.arguments}, where="the panel")
        return dict(request.arguments)

    return press


def test_validation_speed_and_start_reach_the_search(data: Desk, asked: Any) -> None:
    """As they are by themselves, and as the user chose them."""
    from AutoRegSlicerLib.panels.choices import ValidationObjective

    plain = asked(data.ui.autoSearchButton)
    assert (plain["judge"], plain["max_seconds"], plain["speed_weight"]) == ("auto", None, 0.0)
    assert "start" not in plain
    p, ui = data.parameters, data.ui
    p.judge, p.maxSeconds, p.speedWeight = ValidationObjective.Images, 0.5, 0.2
    assert why(ui.searchStartComboBox) == ""
    ui.searchStartComboBox.setCurrentIndex(1)
    data.settle()
    chosen = asked(ui.autoSearchButton)
    assert (chosen["judge"], chosen["max_seconds"], chosen["speed_weight"]) == ("images", 0.5, 0.2)
    assert Path(chosen["start"]).name == "tiny"
    ui.networkComboBox.setCurrentText("voxelmorph1")  # has no operators to choose, and no model
    data.settle()
    for name, facts in NETWORKS.items():
        ui.networkComboBox.setCurrentText(name)
        data.settle()
        assert facts.title in ui.networkComboBox.toolTip() and facts.needs in ui.networkComboBox.toolTip()
    ui.networkComboBox.setCurrentText("voxelmorph1")
    data.settle()
    for widget in (ui.maxSecondsSpinBox, ui.speedWeightSpinBox):
        assert "has operators to choose" in why(widget)
    assert "No model of this network" in why(ui.searchStartComboBox)
    other = asked(ui.autoSearchButton)
    assert other["network"] == "voxelmorph1" and not {"max_seconds", "speed_weight", "start"} & set(other)


def test_a_validation_objective_without_data_is_said_before(data: Desk) -> None:
    from AutoRegSlicerLib.panels.choices import ValidationObjective

    data.parameters.judge = ValidationObjective.Landmarks
    data.settle()
    assert "No validation case has landmarks" in why(data.ui.autoSearchButton)
    data.parameters.judge = ValidationObjective.Labels
    data.settle()
    assert why(data.ui.autoSearchButton) == ""


def test_training_can_start_from_a_model_that_fits(data: Desk, asked: Any, tmp_path: Path) -> None:
    """Models of another network are not offered, and where none fits the list says why."""
    from AutoRegLib.core.recipe import read_recipe, write_recipe
    from AutoRegSlicerLib.panels.trials import Found

    ui, panel = data.ui, data.widget.trainPanel
    assert "no recipe yet" in why(ui.trainingStartComboBox)
    recipe = read_recipe(tmp_path / "models" / "tiny")
    for name, one in (("same", recipe), ("wider", replace(recipe, network=replace(recipe.network, features=(8, 8))))):
        write_recipe(tmp_path / f"{name}.json", one)
        panel.searches.recipes.append(Found(tmp_path / name, name, tmp_path / f"{name}.json", tmp_path / "s.json"))
    data.parameters.modelName = "new"
    data.session.refresh()
    data.settle()
    assert [ui.trainingStartComboBox.itemText(i) for i in range(2)] == ["Random weights", "tiny"]
    assert "start" not in asked(ui.startTrainingButton)
    ui.trainingStartComboBox.setCurrentIndex(1)
    data.parameters.modelName = "newer"
    data.settle()
    assert Path(asked(ui.startTrainingButton)["start"]).name == "tiny"
    ui.trainingRecipeComboBox.setCurrentIndex(1)
    data.settle()
    assert "No installed model has the network" in why(ui.trainingStartComboBox)


def test_a_comparison_needs_cases_to_test_on_and_says_how_long_it_takes(data: Desk, asked: Any) -> None:
    ui = data.ui
    assert "role to “Test”" in why(ui.startStudyButton) and "role to “Test”" in ui.studyEstimateLabel.text()
    assert "no report yet" in why(ui.openStudyFolderButton)
    for row in data.widget.trainPanel.data.cases.rows[:2]:
        row.role = "test"
    data.widget.trainPanel.data.casesChanged()
    ui.studyTableComboBox.setCurrentIndex(4)  # VoxelMorph: two trainings and one search
    data.parameters.studyMinutes, data.parameters.studySeeds = 20.0, 2
    data.settle()
    assert "2 ways to a model, together about 2 h 0 min" in ui.studyEstimateLabel.text()
    arguments = asked(ui.startStudyButton)
    assert (arguments["rows"], arguments["minutes"], arguments["seeds"]) == (["voxelmorph"], 20.0, 2)


def test_the_report_of_a_comparison_is_shown_and_its_table_is_in_the_scene(desk: Desk, tmp_path: Path) -> None:
    from AutoRegSlicerLib.jobs.jobs import JobState, JobStatus

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.csv").write_text("row,seed,dice\nautoreg,0,0.8\nmanual-medium,0,0.7\n")
    (tmp_path / "out" / "study.md").write_text("# Study of blobs\n")
    desk.ui.workflowTabWidget.setCurrentWidget(desk.ui.trainTab)
    desk.session.importers["study"](JobStatus(tmp_path, "study", "Comparison on 8 cases", JobState.Importing))
    desk.settle()
    table = desk.scene.GetFirstNodeByName("Comparison on 8 cases").GetTable()
    assert (table.GetNumberOfRows(), table.GetColumnName(2), table.GetValue(1, 2).ToString()) == (2, "dice", "0.7")
    assert "Study of blobs" in desk.ui.studyReportTextBrowser.toPlainText() and why(desk.ui.openStudyFolderButton) == ""
    assert not desk.ui.studyCollapsibleButton.property("collapsed")
