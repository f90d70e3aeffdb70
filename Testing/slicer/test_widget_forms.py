"""The forms: what Qt Designer and Slicer expect of them, and the names that the specification gives."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

MODULE = Path(__file__).resolve().parents[2] / "AutoRegSlicer"
FORMS = sorted((MODULE / "Resources" / "UI").glob("*.ui"))
PANELS = sorted((MODULE / "AutoRegSlicerLib" / "panels").glob("*.py"))
#: classes for which Slicer or CTK has a Designer plugin; another class would come out as a plain QWidget
WITH_PLUGIN = {
    "qMRMLWidget", "qMRMLNodeComboBox", "qMRMLTableView", "qMRMLPlotWidget", "qMRMLSubjectHierarchyTreeView",
    "ctkCollapsibleButton", "ctkCollapsibleGroupBox", "ctkSliderWidget", "ctkRangeWidget", "ctkPathLineEdit",
    "ctkDirectoryButton",
}
SPECIFIED = """
environmentStatusLabel setupEnvironmentButton refreshEnvironmentButton parameterNodeSelector workflowTabWidget
registerTab trainTab evaluateTab modelsTab jobFrame inputsCollapsibleButton fixedVolumeSelector movingVolumeSelector
swapVolumesButton modelComboBox modelInfoButton compatibilityLabel optionalInputsCollapsibleButton fixedMaskSelector
fixedSegmentationSelector movingSegmentationSelector fixedLandmarksSelector movingLandmarksSelector
outputsCollapsibleButton outputTransformSelector outputVolumeSelector outputSegmentationSelector
outputInverseTransformSelector outputJacobianSelector previewOnMovingCheckBox showResultCheckBox
advancedCollapsibleButton
initialAlignmentComboBox initialTransformSelector refinementStepsSpinBox deviceComboBox externalPythonPathEdit
workspaceDirectoryButton keepJobFilesCheckBox applyButton dataCollapsibleButton casesTableView addFromSceneButton
addFolderButton importCsvButton removeCasesButton pairingComboBox templateVolumeSelector
validationPercentSliderWidget datasetSummaryLabel checkDataButton searchCollapsibleButton searchPresetComboBox
searchMinutesSpinBox networkComboBox caseSubjectLineEdit caseRoleComboBox caseLandmarksComboBox caseInfoLabel
learnFromLabelsCheckBox randomSeedSpinBox autoSearchButton
finishSearchButton searchPlotView trialsTableView trainSelectedTrialButton copyTrialSettingsButton
trainingCollapsibleButton trainingRecipeComboBox
modelNameLineEdit startTrainingButton trainingPlotView compareModeComboBox fadeSliderWidget beforeAfterButton
beforeAfterLabel show3DCheckBox rockCheckBox flickerCheckBox linkViewsCheckBox transformDisplayComboBox
gridSpacingDisplaySliderWidget
jacobianOverlayCheckBox jacobianRangeWidget foldsOnlyCheckBox nextFoldButton foldSummaryLabel computeMetricsButton
metricsTableView landmarksTableView metricsSummaryLabel exportMetricsButton applyTargetsTreeView directionComboBox
previewApplyButton hardenCopiesButton modelFilterLineEdit modelsTableView modelCardTextBrowser importModelButton
exportModelButton renameModelButton deleteModelButton storageUsageLabel openModelsFolderButton cleanJobsButton
jobTitleLabel jobProgressBar stageProgressBar jobEtaLabel jobMemoryLabel jobCancelButton jobResumeButton
openJobFolderButton copyDiagnosticsButton jobLogGroupBox jobLogTextEdit jobHistoryComboBox
"""


def roots() -> list[tuple[Path, ElementTree.Element]]:
    return [(path, ElementTree.parse(path).getroot()) for path in FORMS]


def text_of(widget: ElementTree.Element, name: str) -> str:
    return widget.findtext(f"property[@name='{name}']/string", "")


def test_every_widget_of_the_specification_is_there_once() -> None:
    names = [widget.get("name") for _, root in roots() for widget in root.iter("widget")]
    assert len(names) == len(set(names))
    assert not set(SPECIFIED.split()) - set(names)


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_a_form_opens_in_designer_and_in_slicer(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    assert root.get("version") == "4.0" and root.findtext("class") == path.stem
    top = root.find("widget")
    assert (top.get("class"), top.get("name")) == ("qMRMLWidget", path.stem)
    used = {w.get("class") for w in root.iter("widget") if not w.get("class").startswith("Q")}
    declared = {item.findtext("class") for item in root.iter("customwidget")}
    assert used == declared and used <= WITH_PLUGIN


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_every_mrml_widget_gets_the_scene(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    need = {w.get("name") for w in root.iter("widget") if w.get("class").startswith("qMRML")} - {path.stem}
    made = [(c.findtext("sender"), c.findtext("signal"), c.findtext("slot"), c.findtext("receiver"))
            for c in root.iter("connection")]
    assert {c[3] for c in made} == need
    assert {c[:3] for c in made} <= {
        (path.stem, "mrmlSceneChanged(vtkMRMLScene*)", "setMRMLScene(vtkMRMLScene*)")}


def test_no_two_widgets_share_a_cell() -> None:
    """Qt shows one of them, and where the other one is left is chance."""
    for path, root in roots():
        for layout in root.iter("layout"):
            cells = [(item.get("row"), item.get("column")) for item in layout.findall("item") if item.get("row")]
            assert len(cells) == len(set(cells)), (path.name, layout.get("name"))


def test_wording_of_the_forms() -> None:
    """Sentence case, and everything that can be pressed or chosen says what it is for."""
    silent = ("QLabel", "QWidget", "QTabWidget", "QFrame", "qMRMLWidget", "ctkCollapsibleButton", "qMRMLPlotWidget",
              "ctkCollapsibleGroupBox", "QPlainTextEdit", "QTextBrowser")
    set_in_code = {"applyButton", "registerActionButton", "autoSearchButton", "finishSearchButton", "jobCancelButton",
                   "trainSelectedTrialButton", "startTrainingButton", "computeMetricsButton", "exportMetricsButton",
                   "previewApplyButton", "hardenCopiesButton", "exportModelButton", "renameModelButton",
                   "deleteModelButton", "startStudyButton", "addPairsButton", "removePairsButton", "pairsFolderButton",
                   "registerPairsButton", "stopPairsButton", "loadPairsButton"}
    for path, root in roots():
        for widget in root.iter("widget"):
            for name in ("text", "title"):
                words = re.findall(r"[A-Za-z/]+", text_of(widget, name))
                known = ("PyTorch", "GPU", "CPU", "CSV", "Python", "Slicer", "D")
                odd = [w for w in words[1:] if w[0].isupper() and w not in known]
                assert not odd, (path.name, text_of(widget, name))
            if widget.get("class") not in silent and widget.get("name") not in set_in_code:
                assert text_of(widget, "toolTip"), (path.name, widget.get("name"))
            assert widget.find("property[@name='styleSheet']") is None


def test_every_parameter_named_in_a_form_can_be_bound(desk: Any) -> None:
    """Slicer binds few pairs of widget and type; the stand-in refuses the others, too."""
    named = {w.property("SlicerParameterName") for w in vars(desk.ui).values() if w.property("SlicerParameterName")}
    unnamed = {"model", "cases", "jacobianMinimum", "jacobianMaximum"}  # set by the panels
    assert named | unnamed == set(desk.parameters.allParameters) and not named & unnamed
    in_files = {text_of(w, "SlicerParameterName") for _, root in roots() for w in root.iter("widget")} - {""}
    assert in_files == named


def property_reads() -> Iterator[str]:
    """Calls that mean one thing in PySide6 and raise in PythonQt, where properties are attributes."""
    names = ("text|value|checked|currentIndex|currentText|count|title|collapsed|toolTip|enabled|visible|minimum|"
             "maximum|currentPath|directory|isCheckable|plainText|width|height|name")
    for path in [*PANELS, MODULE / "AutoRegSlicer.py"]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(rf"(\bui\.\w+|\bbutton|\bcombo|\bwidget)\.({names})\(\)", line):
                yield f"{path.name}:{number}: {line.strip()}"


def test_panels_read_properties_in_the_way_that_pythonqt_knows_too() -> None:
    assert list(property_reads()) == []


def test_files_stay_small_and_texts_can_be_translated() -> None:
    assert len((MODULE / "AutoRegSlicer.py").read_text(encoding="utf-8").splitlines()) < 600
    for path in PANELS:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 300, path.name
        assert not re.search(r"\b_\(f[\"']", text), f"{path.name}: an f-string cannot be translated"
        assert not re.search(r"\.set(Text|ToolTip|Title)\(f?\"[A-Z]", text), f"{path.name}: text not through _()"
