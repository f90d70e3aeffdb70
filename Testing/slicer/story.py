"""The whole way of a user through the module, by clicks and with real processes: each step leaves what the next needs.

Everything is real but the outermost edge: the executable ``PythonSlicer`` is a script which, until pip was asked for
the packages, hides what is installed; and there are no slice views on a screen, only their nodes.
"""

from __future__ import annotations

import importlib
import json
import sys
import unittest
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import scenes
import slicer
import vtk
from standins import MODULE, application, pythonqt

COMPUTE_MINUTES = 0.1
#: hides what is installed until it was "installed"
PYTHON = """#!/bin/sh
case "$*" in
  *"-m pip"*) echo "$@" > "{folder}/asked"; exit 0;;
esac
if [ -f "{folder}/asked" ]; then exec "{python}" "$@"; fi
exec "{python}" -S "$@"
"""


def fakeInstallation(folder: Path) -> Path:
    """The folder for PATH with a PythonSlicer in it; what pip was asked for comes into ``asked``."""
    folder.mkdir()
    script = folder / "PythonSlicer"
    script.write_text(PYTHON.format(folder=folder, python=sys.executable), encoding="utf-8")
    script.chmod(0o755)
    return folder


def done(desk: Any, verb: str, seconds: float = 90) -> Any:
    """Wait for the newest job of a kind."""
    desk.wait(lambda: desk.session.statuses and desk.session.statuses[-1].verb == verb
              and desk.session.statuses[-1].state.over, seconds)
    desk.settle()
    status = desk.session.statuses[-1]
    assert status.state.name == "Done", (status.error, status.logTail[-500:])
    return status


def enabled(*buttons: Any) -> None:
    for button in buttons:
        assert button.isEnabled(), (button.objectName(), button.toolTip())


def show(desk: Any, tab: str) -> None:
    desk.ui.workflowTabWidget.setCurrentWidget(getattr(desk.ui, tab))
    desk.settle()


def setUp(desk: Any, installation: Path) -> None:
    """Nothing is installed; one click, one question, and this computer can compute."""
    ui = desk.ui
    type(desk.widget.environmentPanel).check(desk.widget.environmentPanel)
    desk.wait(lambda: desk.session.environment is not None, 60)
    desk.settle()
    assert "torch" in desk.session.environment.missing and not ui.setupEnvironmentButton.isHidden()
    del desk.widget.environmentPanel.check  # from here on the real one
    ui.setupEnvironmentButton.click()
    desk.wait(lambda: desk.session.environment is not None and desk.session.environment.ready, 60)
    desk.settle()
    assert "torch" in (installation / "asked").read_text(encoding="utf-8")
    assert "PyTorch" in ui.environmentStatusLabel.text() and ui.setupEnvironmentButton.isHidden()


def register(desk: Any) -> None:
    """Two volumes with labels and landmarks, one click, every output."""
    for name, node in scenes.addPair(desk.scene).items():
        setattr(desk.parameters, name, node)
    apply(desk, 90)


def apply(desk: Any, seconds: float) -> None:
    """Register what is chosen, with every output."""
    p, ui = desk.parameters, desk.ui
    show(desk, "registerTab")
    for box in (ui.createSegmentationCheckBox, ui.createInverseCheckBox):
        box.click()
    desk.settle()
    ui.swapVolumesButton.click()
    ui.swapVolumesButton.click()
    desk.settle()
    enabled(ui.applyButton, ui.modelInfoButton)
    ui.applyButton.click()
    done(desk, "register", seconds)
    assert all((p.outputTransform, p.outputVolume, p.outputJacobian, p.outputSegmentation, p.outputInverseTransform))
    ui.previewOnMovingCheckBox.click()
    desk.settle()
    assert p.movingVolume.GetParentTransformNode() is p.outputTransform
    ui.previewOnMovingCheckBox.click()
    desk.settle()
    assert p.movingVolume.GetParentTransformNode() is None


def evaluate(desk: Any, folder: Path) -> None:
    """Every way of looking, the metrics and their export, warped copies."""
    p, ui = desk.parameters, desk.ui
    for name in ("Red", "Yellow", "Green"):
        for kind in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
            desk.scene.AddNewNodeByClass(kind, name).SetLayoutName(name)
    show(desk, "evaluateTab")
    for index in (*range(1, ui.compareModeComboBox.count()), 0):
        ui.compareModeComboBox.setCurrentIndex(index)
        desk.settle()
        assert ui.evaluateMessageLabel.text() == "", ui.compareModeComboBox.currentText()
    ui.fadeSliderWidget.setValue(0.25)
    for button in (ui.beforeAfterButton, ui.beforeAfterButton, ui.linkViewsCheckBox):
        button.click()
        desk.settle()
    for box in (ui.rockCheckBox, ui.flickerCheckBox):
        before = p.fade
        box.click()
        desk.wait(lambda before=before: p.fade != before, 5)
        box.click()
    for index in (*range(1, ui.transformDisplayComboBox.count()), 1):
        ui.transformDisplayComboBox.setCurrentIndex(index)
        desk.settle()
    assert ui.gridSpacingDisplaySliderWidget.property("maximum") < 100  # its limits follow the volume
    ui.gridSpacingDisplaySliderWidget.setValue(4)
    ui.jacobianOverlayCheckBox.click()
    ui.jacobianRangeWidget.setValues(0.6, 1.6)
    desk.settle()
    slicer.util.arrayFromVolume(p.outputJacobian)[3:5, 3:5, 3:5] = -0.5
    slicer.util.arrayFromVolumeModified(p.outputJacobian)
    ui.foldsOnlyCheckBox.click()
    desk.session.refresh()
    enabled(ui.nextFoldButton)
    ui.nextFoldButton.click()
    ui.computeMetricsButton.click()
    desk.wait(lambda: "structures: Dice" in ui.metricsSummaryLabel.text(), 30)
    desk.settle()
    desk.session.dialogs.paths = [str(folder / "figures.csv")]
    ui.exportMetricsButton.click()
    assert (folder / "figures.csv").is_file()
    tree, ids = ui.applyTargetsTreeView, vtk.vtkIdList()
    ids.InsertNextId(tree.subjectHierarchyNode().GetItemByDataNode(p.movingLandmarks))
    tree.setCurrentItems(ids)
    desk.settle()
    for button in (ui.previewApplyButton, ui.previewApplyButton):
        button.click()
        desk.settle()
    ui.hardenCopiesButton.click()
    desk.wait(lambda: "Made:" in ui.evaluateMessageLabel.text(), 30)


def searchAndTrain(desk: Any) -> None:
    """Cases from the scene, a search of some seconds, a model trained of what it found."""
    from PySide6.QtCore import Qt

    from AutoRegSlicerLib.panels.choices import SearchPreset

    p, ui = desk.parameters, desk.ui
    scenes.caseRows(desk.scene, 6)
    show(desk, "trainTab")
    ui.addFromSceneButton.click()
    ui.checkDataButton.click()
    desk.settle()
    assert len(json.loads(p.cases)) == 8  # six cases and the pair, and no result of a registration
    p.searchPreset, p.searchMinutes = SearchPreset.Custom, COMPUTE_MINUTES
    for row in range(2):
        ui.casesTableView.model().item(row, 0).setCheckState(Qt.CheckState.Unchecked)
    desk.settle()
    enabled(ui.autoSearchButton)
    ui.autoSearchButton.click()
    done(desk, "search")
    ui.trialsTableView.selectRow(0)
    desk.settle()
    ui.copyTrialSettingsButton.click()
    ui.trainSelectedTrialButton.click()
    ui.modelNameLineEdit.setText("my model")
    p.trainingMinutes = COMPUTE_MINUTES / 2
    desk.settle()
    enabled(ui.startTrainingButton)
    ui.startTrainingButton.click()
    done(desk, "train")
    assert ui.modelComboBox.currentText() == "my model"


def models(desk: Any, folder: Path) -> None:
    """Export, import, rename, delete, clean."""
    ui, panel, dialogs = desk.ui, desk.widget.modelsPanel, desk.session.dialogs
    show(desk, "registerTab")
    ui.modelInfoButton.click()
    desk.settle()
    show(desk, "modelsTab")
    ui.modelsTableView.selectRow([bundle.name for bundle in panel.shown].index("my model"))
    desk.settle()
    dialogs.paths = [str(folder / "given.zip"), str(folder / "given.zip"), "another name"]
    for button in (ui.exportModelButton, ui.importModelButton, ui.renameModelButton):
        enabled(button)
        button.click()
        desk.settle()
    assert len(zipfile.ZipFile(folder / "given.zip").namelist()) == 6
    names = {bundle.name for bundle in panel.shown}
    assert {"given", "another name"} <= names and "my model" not in names
    ui.modelFilterLineEdit.setText("given")
    desk.settle()
    ui.deleteModelButton.click()
    ui.modelFilterLineEdit.setText("")
    ui.cleanJobsButton.click()
    desk.settle()
    assert "given" not in {bundle.name for bundle in panel.shown}
    ui.jobHistoryComboBox.setCurrentIndex(1)
    ui.copyDiagnosticsButton.click()
    ui.jobLogGroupBox.setProperty("collapsed", False)
    desk.settle()
    assert "autoreg" in slicer.app.clipboard().text().lower()


def leaveAndReturn(desk: Any) -> None:
    """Another module, this one again, a second parameter set, another scene."""
    p = desk.parameters
    before = p.outputVolume
    desk.widget.exit()
    desk.settle()
    desk.widget.enter()
    desk.settle()
    assert desk.parameters.outputVolume is before
    second = desk.scene.AddNode(desk.widget.logic.createParameterNode())
    desk.ui.parameterNodeSelector.setCurrentNode(second)
    desk.settle()
    desk.ui.parameterNodeSelector.setCurrentNode(p.parameterNode)
    desk.settle()
    desk.scene.Clear(False)
    desk.settle()
    assert desk.parameters is not None and desk.parameters.outputVolume is None
    assert "fixed volume" in desk.ui.applyButton.toolTip()


def moduleItself(desk: Any, samples: list[dict[str, Any]]) -> None:
    """What Slicer shows of the module, its sample data and its own test."""
    parent: Any = pythonqt.wrap(application.qSlicerScriptedLoadableModule(MODULE / "AutoRegSlicer.py"))
    desk.module.AutoRegSlicer(parent)
    assert parent.title and parent.categories and parent.helpText
    desk.module.registerSampleData()
    assert samples and len(samples[-1]["uris"]) == len(samples[-1]["fileNames"])
    result = unittest.TestResult()
    desk.module.AutoRegSlicerTest("runTest").run(result)
    assert result.wasSuccessful(), result.errors + result.failures


def fakeSampleData(samples: list[dict[str, Any]]) -> ModuleType:
    """The module SampleData where there is none."""
    module: Any = ModuleType("SampleData")
    module.SampleDataLogic = SimpleNamespace(registerCustomSampleDataSource=lambda **facts: samples.append(facts))
    return module


def tell(desk: Any, folder: Path, installation: Path, samples: list[dict[str, Any]]) -> None:
    """The whole story; afterwards nothing was refused and nothing raised."""
    assert np.isfinite(COMPUTE_MINUTES)
    setUp(desk, installation)
    register(desk)
    evaluate(desk, folder)
    searchAndTrain(desk)
    models(desk, folder)
    leaveAndReturn(desk)
    moduleItself(desk, samples)
    assert not desk.raised, desk.raised[0]
    assert not pythonqt.refused, pythonqt.refused
    importlib.invalidate_caches()
