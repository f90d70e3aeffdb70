"""Progress as plots: charts in the scene, made once and refilled while a search or a training runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from AutoRegSlicerLib.scene import tables
from AutoRegSlicerLib.scene.nodes import helper
from AutoRegSlicerLib.scene.values import Node

#: color and marker both differ, so that neither alone has to be told apart
_LOOKS = (((0.12, 0.47, 0.71), "MarkerStyleCircle"), ((0.89, 0.47, 0.07), "MarkerStyleSquare"),
          ((0.17, 0.63, 0.17), "MarkerStyleDiamond"), ((0.58, 0.40, 0.74), "MarkerStyleCross"),
          ((0.55, 0.34, 0.29), "MarkerStylePlus"))
_SCORES = ("val_dice", "dice", "score")
_FOLDS = ("val_folds", "val_fold_fraction", "folds_pct", "fold_fraction", "folds")
#: what users call the metrics of searches and trainings that share a plot; others have their own scale
_LABELS = {"lower_loss": "Training loss", "upper_loss": "Validation loss", "val_loss": "Validation loss",
           "val_similarity": "Validation similarity", "val_dice": "Validation Dice", "dice": "Dice", "score": "Score"}
_FONTS = {"Title": 10, "AxisTitle": 9, "AxisLabel": 8, "Legend": 8}  # Slicer's own are for plots four times as large


def updateSearchPlots(scene: Any, status: Any) -> tuple[Node, Node]:
    """Charts of a search, from a ``JobStatus``: convergence, and accuracy against folds.

    Convergence: where there are trials, their validation Dice and the best so far; else every metric as it came
    in. Accuracy against folds: one series per network family. Updated in place; call it at most once a second.
    Nodes are hidden, never saved with the scene, and made once.
    """
    trials = [_plainTrial(trial, number) for number, trial in enumerate(status.trials, start=1)]
    trials = [trial for trial in trials if trial["dice"] is not None]
    if trials:
        best = [max(t["dice"] for t in trials[:n + 1]) for n in range(len(trials))]
        columns = {"Trial": [t["number"] for t in trials], "Dice": [t["dice"] for t in trials], "Best so far": best}
        convergence = _chart(scene, "search convergence", "Search convergence", "Trial", "Validation Dice", [
            (columns, "Trial", "Dice", "scatter"), (columns, "Trial", "Best so far", "line")])
    else:
        convergence = _metricChart(scene, "search convergence", "Search convergence", status)
    families = dict.fromkeys(t["family"] for t in trials if t["folds"] is not None)
    series = []
    for family in families:
        chosen = [t for t in trials if t["family"] == family and t["folds"] is not None]
        columns = {"Folds": [t["folds"] for t in chosen], family: [t["dice"] for t in chosen]}
        series.append((columns, "Folds", family, "scatter"))
    if not series:
        score, folds = (next((n for n in names if n in status.metrics), None) for names in (_SCORES, _FOLDS))
        if score and folds:
            pairs = list(zip(status.metrics[folds], status.metrics[score], strict=False))
            label = _LABELS.get(score, score)
            series.append(({"Folds": [f[1] for f, _ in pairs], label: [s[1] for _, s in pairs]}, "Folds", label,
                           "scatter"))
    accuracy = _chart(scene, "accuracy and folds", "Accuracy and folds", "Folds", "Validation Dice", series)
    return convergence, accuracy


def updateTrainingPlots(scene: Any, status: Any) -> Node:
    """Chart of a training, losses and Dice against the step, updated in place from a ``JobStatus``."""
    return _metricChart(scene, "training", "Training", status)


def _metricChart(scene: Any, role: str, title: str, status: Any) -> Node:
    """One line per metric. Steps begin anew in every stage of a search: then the values are numbered instead.

    Only metrics about 1 in size: counts of folds, or millimeters, would flatten every other curve. A score that is the
    Dice, or minus the millimeters, is left out as well.
    """
    series, counted = [], False
    hidden = {"score"} if {"val_dice", "val_tre_mm"} & set(status.metrics) else set()
    metrics = {_LABELS[name]: samples for name, samples in status.metrics.items() if name in _LABELS.keys() - hidden}
    for samples in metrics.values():
        steps = [step for step, _ in samples]
        counted |= any(later <= earlier for earlier, later in itertools.pairwise(steps))
    for name, samples in metrics.items():
        kept = [(step, float(value)) for step, value in samples if math.isfinite(float(value))]
        xs = list(range(1, len(kept) + 1)) if counted else [step for step, _ in kept]
        if kept:
            series.append(({"Step": xs, name: [value for _, value in kept]}, "Step", name, "line"))
    return _chart(scene, role, title, "Check" if counted else "Step", "Value", series)


def _plainTrial(trial: Any, number: int) -> dict[str, Any]:
    """The figures of a trial, whatever of them is there; mappings and records alike."""
    read = trial.get if isinstance(trial, dict) else (lambda name, default=None: getattr(trial, name, default))
    family = read("arch") or read("network") or "network"
    return {"number": number, "dice": read("dice"), "folds": read("folds_pct"), "family": str(family).split(":")[0]}


def _chart(
    scene: Any, role: str, title: str, xTitle: str, yTitle: str,
    series: Sequence[tuple[dict[str, Sequence[float]], str, str, str]],
) -> Node:
    """The chart of this role with exactly these series: (columns, x column, y column, line or scatter)."""
    chart = helper(scene, role, "vtkMRMLPlotChartNode")
    modified = chart.StartModify()
    chart.SetTitle(title)
    chart.SetXAxisTitle(xTitle)
    chart.SetYAxisTitle(yTitle)
    for what, points in _FONTS.items():
        getattr(chart, f"Set{what}FontSize")(points)
    wanted = []
    for number, (columns, x, y, kind) in enumerate(series):
        node = _series(scene, f"{role} {y}", columns, x, y, kind, number)
        wanted.append(node.GetID())
        if not chart.HasPlotSeriesNodeID(node.GetID()):
            chart.AddAndObservePlotSeriesNodeID(node.GetID())
    for index in reversed(range(chart.GetNumberOfPlotSeriesNodes())):
        if chart.GetNthPlotSeriesNodeID(index) not in wanted:
            chart.RemoveNthPlotSeriesNodeID(index)
    chart.EndModify(modified)
    return chart


def _series(
    scene: Any, role: str, columns: dict[str, Sequence[float]], x: str, y: str, kind: str, number: int,
) -> Node:
    table = helper(scene, role, "vtkMRMLTableNode")
    names = list(columns)
    rows = [["", *values] for values in zip(*columns.values(), strict=True)]
    tables.fill(table, ["Label", *names], rows)
    node = helper(scene, role, "vtkMRMLPlotSeriesNode")
    modified = node.StartModify()
    color, marker = _LOOKS[number % len(_LOOKS)]
    node.SetName(y)
    node.SetAndObserveTableNodeID(table.GetID())
    node.SetXColumnName(x)
    node.SetYColumnName(y)
    node.SetPlotType(node.PlotTypeScatter)
    node.SetColor(*color)
    node.SetMarkerStyle(getattr(node, marker) if kind == "scatter" or len(rows) < 3 else node.MarkerStyleNone)
    node.SetLineStyle(node.LineStyleNone if kind == "scatter" else node.LineStyleSolid)
    node.EndModify(modified)
    return node
