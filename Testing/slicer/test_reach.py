"""Nothing is reached of a widget that PythonQt does not show: the source against the table made from the headers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import reaching
from standins import reach


@pytest.mark.parametrize("path", reaching.SOURCES, ids=lambda p: p.stem)
def test_the_source_reaches_what_pythonqt_shows(path: Path) -> None:
    assert reaching.faults(path) == []


def test_the_forms_set_properties_that_exist() -> None:
    assert list(reaching.faults_in_forms()) == []


def test_enough_is_looked_at() -> None:
    """A reader that loses the widgets finds no fault either."""
    reader = reaching.Reader()
    for path in reaching.SOURCES:
        reader.read(ast.parse(path.read_text(encoding="utf-8")), {})
    assert reader.seen > 200


@pytest.mark.parametrize("source", [
    # the three that once kept the module from opening
    "self.ui.applyTargetsTreeView.setNodeTypes(TARGETS)",
    "self.ui.workspaceDirectoryButton.setDirectory(str(folder))",
    "for name, value in (('setMinimum', 1.0), ('setMaximum', 9.0)):\n"
    "    getattr(self.ui.gridSpacingDisplaySliderWidget, name)(value)",
    # the same by other ways
    "slider = self.ui.gridSpacingDisplaySliderWidget\nslider.setMinimum(1.0)",
    "ids, tree = [], ui.applyTargetsTreeView\ntree.setNodeTypes(TARGETS)",
    "getattr(ui, 'workspaceDirectoryButton').setDirectory('x')",
    "for name in ('fadeSliderWidget', 'applyButton'):\n    getattr(self.ui, name).setMaximum(2)",
    "for button, action in {'jobCancelButton': 1}.items():\n    qtbits.on(getattr(self.ui, button), 'pushed', action)",
    "qtbits.on(self.ui.fadeSliderWidget, 'valuesChanged', f)",
    "qtbits.read(self.ui.applyButton, 'caption')", "qtbits.write(self.ui.fadeSliderWidget, 'low', 1)",
    "self.ui.fadeSliderWidget.value()",  # a property: calling its value fails
    "self.ui.fadeSliderWidget.low = 1", "self.ui.fadeSliderWidget.setProperty('low', 1)",
    "self.ui.applyButton.isTooHigh()", "slicer.app.quitNow()", "slicer.app.connect('started()', f)",
    "slicer.app.extensionsManagerModel().install('x')",
])
def test_what_is_out_of_reach_is_found(source: str) -> None:
    assert reaching.faults_in(source), source


@pytest.mark.parametrize("source", [
    "self.ui.fadeSliderWidget.setValue(0.5)", "self.ui.fadeSliderWidget.value = 0.5", "x = ui.fadeSliderWidget.value",
    "qtbits.write(self.ui.applyTargetsTreeView, 'nodeTypes', TARGETS)", "self.ui.fixedVolumeSelector.currentNode()",
    "self.ui.workspaceDirectoryButton.setEnabled(False)", "qtbits.on(self.ui.jacobianRangeWidget, 'valuesChanged', f)",
])
def test_what_is_in_reach_passes(source: str) -> None:
    assert reaching.faults_in(source) == []


def test_the_table_knows_the_difference() -> None:
    assert reach.kind("ctkDirectoryButton", "directory") == "property"
    assert reach.kind("ctkDirectoryButton", "setDirectory") == ""
    assert reach.kind("ctkDirectoryButton", "setText") == ""  # derives from QWidget, not from a button
    assert reach.kind("qMRMLPlotWidget", "setMRMLScene") == "method"  # of its base's base
    assert reach.kind("ctkRangeWidget", "setValues") == "method"
    assert reach.kind("QPushButton", "text") == "property" and reach.kind("QPushButton", "clicked") == "signal"


def test_the_scene_is_used_by_what_the_oldest_slicer_has() -> None:
    """slicer-core is newer than Slicer 5.10: a method that came since would pass every other test."""
    newer = set((Path(__file__).parent / "newer_names.txt").read_text(encoding="utf-8").split())
    used = reaching.capital_names()
    assert len(newer) > 200 and "GetNodeByID" in used and "GetNodeByID" not in newer
    assert used & newer == set()
