"""The parameter node: two-way binding, several sets, saving and loading; and the module's own test."""

from __future__ import annotations

import enum
import re
import sys
import unittest
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import scenes
import slicer
from standins.fixtures import Desk, environment

from AutoRegSlicerLib import settings


def values(parameters: Any) -> dict[str, Any]:
    """Every parameter as something that can be compared between scenes."""
    found = {}
    for name in parameters.allParameters:
        value = getattr(parameters, name)
        found[name] = value.GetName() if hasattr(value, "GetName") else value
    return found


def other(value: Any, limits: Any) -> Any:
    """A value that is not the given one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, enum.Enum):
        return list(type(value))[-1] if value is not list(type(value))[-1] else next(iter(type(value)))
    if isinstance(value, str):
        return "something"
    return type(value)(limits[1] if limits else value + 1)


def test_every_parameter_survives_saving_and_loading(full_desk: Desk, tmp_path: Path) -> None:
    p = full_desk.parameters
    for name, parameter in p.allParameters.items():
        if not parameter.is_node and name not in ("model", "cases"):
            setattr(p, name, other(getattr(p, name), parameter.limits))
    full_desk.settle()
    wanted = values(p)
    path = str(tmp_path / "scene.mrml")
    full_desk.scene.SetURL(path)
    full_desk.scene.Commit(path)
    loaded = scenes.newScene()
    loaded.SetURL(path)
    loaded.Import()
    nodes = [loaded.GetNthNodeByClass(i, "vtkMRMLScriptedModuleNode")
             for i in range(loaded.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode"))]
    again = full_desk.module.AutoRegSlicerParameterNode(
        next(n for n in nodes if n.GetAttribute("ModuleName") == "AutoRegSlicer"))
    assert values(again) == wanted
    assert again.fixedVolume is not None and again.movingLandmarks is not None


def test_widgets_and_parameters_follow_each_other(desk: Desk) -> None:
    ui, p = desk.ui, desk.parameters
    ui.refinementStepsSpinBox.setValue(50)
    ui.deviceComboBox.setCurrentIndex(2)
    ui.createInverseCheckBox.click()
    ui.modelNameLineEdit.setText("abc")
    ui.validationPercentSliderWidget.setValue(30)
    assert (p.refinementSteps, p.device.value, p.createInverse, p.modelName, p.validationPercent) == (
        50, "cpu", True, "abc", 30.0)
    p.refinementSteps, p.createInverse, p.modelName = 7, False, ""
    assert (ui.refinementStepsSpinBox.value(), ui.createInverseCheckBox.isChecked()) == (7, False)
    assert ui.modelNameLineEdit.text() == ""
    with pytest.raises(ValueError):
        p.refinementSteps = 501


def test_defaults_are_those_of_the_specification(desk: Desk) -> None:
    p = desk.parameters
    assert (p.createTransform, p.createVolume, p.createSegmentation, p.createInverse) == (True, True, False, False)
    assert (p.previewOnMoving, p.refinementSteps, p.device.name, p.initialAlignment.name) == (
        False, 0, "Automatic", "Affine")
    assert (p.searchPreset.name, p.searchMinutes, p.validationPercent, p.pairing.name) == ("Quick", 20, 20, "AllPairs")
    assert (p.compareMode.name, p.transformDisplay.name, p.linkViews, p.jacobianMinimum, p.jacobianMaximum) == (
        "Fade", "Nothing", True, 0.5, 2.0)


def test_two_parameter_sets_in_one_scene(desk: Desk) -> None:
    first = desk.parameters
    first.refinementSteps = 11
    second = desk.scene.AddNode(desk.widget.logic.createParameterNode())
    desk.ui.parameterNodeSelector.setCurrentNode(second)
    desk.settle()
    assert desk.parameters.parameterNode is second and desk.ui.refinementStepsSpinBox.value() == 0
    desk.ui.refinementStepsSpinBox.setValue(22)
    assert first.refinementSteps == 11
    desk.ui.parameterNodeSelector.setCurrentNode(first.parameterNode)
    desk.settle()
    assert desk.ui.refinementStepsSpinBox.value() == 11


def test_nothing_follows_while_the_module_is_closed(desk: Desk) -> None:
    p = desk.parameters
    desk.widget.exit()
    p.refinementSteps = 33
    assert desk.ui.refinementStepsSpinBox.value() == 0
    desk.widget.enter()
    assert desk.ui.refinementStepsSpinBox.value() == 33


def test_other_python_workspace_and_wheels_are_settings_of_the_application(desk: Desk, tmp_path: Path) -> None:
    desk.ui.externalPythonPathEdit.setCurrentPath(sys.executable)
    assert settings.read(settings.PYTHON) == sys.executable
    desk.ui.externalPythonPathEdit.setCurrentPath(str(tmp_path / "absent"))
    desk.session.refresh()  # twice a second: what is said stays
    assert "There is no Python" in desk.ui.environmentStatusLabel.text()
    assert settings.read(settings.PYTHON) == sys.executable
    desk.ui.externalPythonPathEdit.setCurrentPath("")
    assert "There is no Python" not in desk.ui.environmentStatusLabel.text()
    folder = tmp_path / "other place"
    desk.ui.workspaceDirectoryButton.setProperty("directory", str(folder))
    assert str(desk.session.jobs.create("search", "x")).startswith(str(folder))
    desk.ui.wheelFolderPathEdit.setCurrentPath(str(tmp_path))
    assert slicer.app.userSettings().value("AutoReg/WheelFolder") == str(tmp_path)


def test_setup_reads_nothing_heavy_and_starts_nothing(desk: Desk) -> None:
    assert "torch" not in vars(desk.module) and desk.session.jobs.running() == []


def test_the_modules_own_test_passes(desk: Desk) -> None:
    case = desk.module.AutoRegSlicerTest("runTest")
    result = unittest.TestResult()
    case.run(result)
    assert result.wasSuccessful() and not result.skipped, result.errors + result.failures


def test_the_modules_own_test_says_what_it_skipped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without PyTorch, as Slicer's build machines are, green must not look as if it had registered."""
    case = desk.module.AutoRegSlicerTest
    monkeypatch.setattr(case, "environment", lambda self: environment(state="missing", torch="", missing=("torch",)))
    suite, result = unittest.TestLoader().loadTestsFromTestCase(case), unittest.TestResult()
    suite.run(result)
    assert result.wasSuccessful(), result.errors + result.failures
    assert result.testsRun == 4 and [why for _test, why in result.skipped] == ["Not installed: torch"]
    told: list[str] = []
    monkeypatch.setattr(case, "delayDisplay", lambda self, text, milliseconds=0: told.append(text))
    case("runTest").runTest()  # as Reload and Test calls it
    assert told[-1] == "Skipped: Not installed: torch"


def test_help_has_links_a_tutorial_and_a_citation(desk: Desk) -> None:
    from AutoRegSlicerLib import about

    parent = type("Parent", (), {})()
    module = desk.module.AutoRegSlicer(parent)
    links = re.findall(r'href="([^"]+)"', module.parent.helpText)
    assert len(links) == 4 and all(link.startswith(about.HOMEPAGE) for link in links)
    guides = [link.split("/blob/main/")[1] for link in links if "/blob/main/" in link]
    root = Path(desk.module.__file__).parents[1]
    assert guides and all((root / guide).is_file() for guide in guides)
    assert "## In 3D Slicer" in (root / "README.md").read_text(encoding="utf-8")  # where the tutorial's link leads
    assert "Tutorial" in (root / "README.md").read_text(encoding="utf-8")
    assert about.CITATION in module.parent.acknowledgementText and "AutoRegBrainPair" in module.parent.helpText
