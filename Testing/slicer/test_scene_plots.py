"""Charts and tables: filled from what a job says, in place, and never saved with the scene."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

from AutoRegSlicerLib.logic import exportTable, updateSearchPlots, updateTrainingPlots
from AutoRegSlicerLib.scene import tables

NAN = float("nan")


def status(**more: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"metrics": {}, "trials": (), **more})


def shown(chart: Any) -> dict[str, list[tuple[float, float]]]:
    """The points of every series of a chart, by its name."""
    found = {}
    for index in range(chart.GetNumberOfPlotSeriesNodes()):
        node = chart.GetNthPlotSeriesNode(index)
        columns, rows = tables.rowsOf(node.GetTableNode())
        x, y = columns.index(node.GetXColumnName()), columns.index(node.GetYColumnName())
        found[node.GetName()] = [(row[x], row[y]) for row in rows]
    return found


def test_training_curves_grow_in_place(scene: Any) -> None:
    chart = updateTrainingPlots(scene, status(metrics={"val_loss": [(10, 0.4), (20, NAN)], "val_dice": [(10, 0.5)],
                                                       "score": [(10, 0.5)], "val_folds": [(10, 5000)]}))
    assert shown(chart) == {"Validation loss": [(10, 0.4)], "Validation Dice": [(10, 0.5)]}
    count = scene.GetNumberOfNodes()
    again = updateTrainingPlots(scene, status(metrics={"val_loss": [(10, 0.4), (20, 0.5), (30, 0.6)], "val_dice": []}))
    assert again is chart and scene.GetNumberOfNodes() == count
    assert shown(chart) == {"Validation loss": [(10, 0.4), (20, 0.5), (30, 0.6)]}
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        if node.GetName().startswith("AutoReg training") or node is chart:
            assert not node.GetSaveWithScene()


def test_a_plot_holds_only_what_shares_its_scale(scene: Any) -> None:
    """Fractions of folds, millimeters and names nobody knows would flatten it, or say nothing."""
    chart = updateTrainingPlots(scene, status(metrics={
        "val_loss": [(10, 0.4)], "val_fold_fraction": [(10, 1e-5)], "val_tre_mm": [(10, 30.0)], "score": [(10, -30.0)],
        "some_new_measure": [(10, 1e6)]}))
    assert shown(chart) == {"Validation loss": [(10, 0.4)]}


def test_a_small_plot_has_small_letters(scene: Any) -> None:
    chart = updateTrainingPlots(scene, status(metrics={"val_loss": [(10, 0.4)]}))
    assert (chart.GetTitleFontSize(), chart.GetAxisTitleFontSize(), chart.GetAxisLabelFontSize(),
            chart.GetLegendFontSize()) == (10, 9, 8, 8)


def test_search_stages_begin_anew(scene: Any) -> None:
    """Steps start at 0 in every stage; the curve must go on, not back."""
    metrics = {"lower_loss": [(20, 3.0), (40, 2.0), (20, 1.8), (40, 1.5)]}
    chart, _ = updateSearchPlots(scene, status(metrics=metrics))
    assert shown(chart)["Training loss"] == [(1, 3.0), (2, 2.0), (3, 1.8), (4, 1.5)]


def test_trials_and_the_best_so_far(scene: Any) -> None:
    trials = ({"arch": "autoreg:a", "dice": 0.5, "folds_pct": 0.2}, {"arch": "voxelmorph1", "dice": 0.4,
                                                                     "folds_pct": 0.0},
              {"arch": "autoreg:b", "dice": 0.6, "folds_pct": 0.1}, {"arch": "autoreg:c", "status": "failed"})
    convergence, accuracy = updateSearchPlots(scene, status(trials=trials))
    assert shown(convergence)["Best so far"] == [(1, 0.5), (2, 0.5), (3, 0.6)]
    assert shown(accuracy) == {"autoreg": [(0.2, 0.5), (0.1, 0.6)], "voxelmorph1": [(0.0, 0.4)]}
    series = [accuracy.GetNthPlotSeriesNode(i) for i in range(2)]
    assert series[0].GetMarkerStyle() != series[1].GetMarkerStyle() and series[0].GetColor() != series[1].GetColor()


def test_nothing_said_yet_is_an_empty_chart(scene: Any) -> None:
    convergence, accuracy = updateSearchPlots(scene, status())
    assert shown(convergence) == {} and shown(accuracy) == {}


def test_tables_are_read_not_typed_and_never_say_nan(scene: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", "metrics")
    tables.fill(node, ["Structure", "Dice after", "HD95 after (mm)", "Folds (%)"],
                [["a", 0.8712349, 12.3456789, 0.000123456], ["b", NAN, 1.0, 0.0]])
    assert node.GetLocked()
    assert tables.rowsOf(node)[1][0] == ["a", 0.8712349, 12.3456789, 0.000123456]
    assert math.isnan(tables.rowsOf(node)[1][1][1])
    readable = tables.readable(scene, "view", node)
    assert readable.GetLocked() and not readable.GetSaveWithScene() and readable.GetHideFromEditors()
    for table, first in ((node, None), (readable, ["a", "0.871", "12.35", "0.000123"])):
        cells = [[table.GetTable().GetValue(r, c).ToString() for c in range(4)] for r in range(2)]
        assert "nan" not in str(cells) and cells[1][1] == "" and first in (None, cells[0])
    assert tables.readable(scene, "view", None) is None


def test_a_table_as_a_file(scene: Any, tmp_path: Path) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", "metrics")
    tables.fill(node, ["Structure", "Dice", "Never measured"], [['says "a, b"', 0.25, NAN], ["c", NAN, NAN]])
    node.SetAttribute("AutoReg.Model", "tiny")
    path = exportTable(node, tmp_path / "figures")
    assert path.name == "figures.csv"
    assert list(csv.reader(path.read_text().splitlines())) == [["Structure", "Dice"], ['says "a, b"', "0.25"],
                                                               ["c", ""]]
    assert json.loads((tmp_path / "figures.json").read_text())["attributes"]["AutoReg.Model"] == "tiny"
