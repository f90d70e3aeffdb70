"""Figures as table nodes, and table nodes as files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import vtk

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.records import write_json, write_text
from AutoRegSlicerLib.scene.nodes import helper
from AutoRegSlicerLib.scene.values import Node

STRUCTURE = ("Structure", "Dice before", "Dice after", "HD95 before (mm)", "HD95 after (mm)", "Volume change (%)",
             "Folds (%)")
LANDMARK = ("Point", "Error before (mm)", "Error after (mm)")
_NAN = float("nan")


def fill(node: Node, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Replace the contents of a table node: the first column is text, the others numbers (NaN: not measured).

    Columns in which nothing was measured are left out. Slicer shows a missing number as "nan": a column in which some
    are missing is text, with the digits of the numbers and with empty cells.
    """
    table = vtk.vtkTable()
    for number, name in enumerate(columns):
        values = [row[number] for row in rows]
        missing = [isinstance(value, float) and math.isnan(value) for value in values]
        if number and all(missing):
            continue
        text = number == 0 or any(missing)
        column: Any = vtk.vtkStringArray() if text else vtk.vtkDoubleArray()
        column.SetName(name)
        for value, absent in zip(values, missing, strict=True):
            column.InsertNextValue(("" if absent else str(value)) if text else float(value))
        table.AddColumn(column)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)  # figures are read, not typed


def rowsOf(node: Node) -> tuple[list[str], list[list[Any]]]:
    """Column names and rows of a table node that was filled here; numbers as numbers, NaN where one is missing."""
    table = node.GetTable()
    columns = [table.GetColumn(i) for i in range(table.GetNumberOfColumns())]
    rows = [[_number(c.GetValue(r)) if number else c.GetValue(r) for number, c in enumerate(columns)]
            for r in range(table.GetNumberOfRows())]
    return [c.GetName() for c in columns], rows


def _number(value: Any) -> Any:
    try:
        return float(value) if value != "" else _NAN
    except ValueError:
        return value


def readable(scene: Any, role: str, node: Node) -> Node:
    """A hidden table of the same figures, rounded for the eye; None for None."""
    if node is None:
        return None
    columns, rows = rowsOf(node)
    shown = helper(scene, role, "vtkMRMLTableNode")
    table = vtk.vtkTable()
    for number, name in enumerate(columns):
        column = vtk.vtkStringArray()
        column.SetName(name)
        for row in rows:
            column.InsertNextValue(_rounded(name, row[number]))
        table.AddColumn(column)
    shown.SetAndObserveTable(table)
    shown.SetUseColumnTitleAsColumnHeader(True)
    shown.SetLocked(True)
    return shown


def _rounded(column: str, value: Any) -> str:
    """A figure with the digits that can be meant: hundredths of a millimeter, thousandths of an overlap."""
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return ""
    return f"{value:.3g}" if "(%)" in column else f"{value:.2f}" if "(mm)" in column else f"{value:.3f}"


def make(scene: Any, name: str, node: Node = None) -> Node:
    """The given table node, or a new one of this name."""
    return node or scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))


def fromFile(scene: Any, path: Path, name: str) -> Node:
    """A new table node of a CSV file, cell by cell as text. Raises InputError."""
    try:
        header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError, csv.Error) as problem:
        raise InputError(f"cannot read the table {path}", got=problem, remedy="see the log of its job") from None
    table = vtk.vtkTable()
    for number, title in enumerate(header):
        column = vtk.vtkStringArray()
        column.SetName(title)
        for row in rows:
            column.InsertNextValue(row[number] if number < len(row) else "")
        table.AddColumn(column)
    node = make(scene, name)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node


def fromReport(scene: Any, report: Mapping[str, Any], name: str, names: Mapping[str, str]) -> Node:
    """The overlap table of a registration's report; None where no overlap was measured."""
    after = report.get("dice", {})
    if not after:
        return None
    before = report.get("dice_before", {})
    distance = report.get("hd95_by_structure_mm", {})
    distanceBefore = report.get("hd95_before_by_structure_mm", {})
    values = [key for key in after if key != "mean"]
    rows = [[names.get(v, v), before.get(v, _NAN), after[v], distanceBefore.get(v, _NAN), distance.get(v, _NAN), _NAN,
             _NAN] for v in values]
    rows.append(_mean(rows))
    node = make(scene, name)
    fill(node, STRUCTURE, rows)
    return node


def landmarksFromReport(scene: Any, report: Mapping[str, Any], name: str, before: Mapping[str, float]) -> Node:
    """The landmark table of a registration's report; None without landmarks. ``before``: error by name, mm."""
    after = report.get("tre_by_landmark_mm", {})
    if not after:
        return None
    rows = [[point, before.get(point, _NAN), error] for point, error in after.items()]
    rows.append(["Mean", report.get("tre_before_mm", _NAN), report["tre_mm"]])
    node = make(scene, name)
    fill(node, LANDMARK, rows)
    return node


def _mean(rows: Sequence[Sequence[Any]]) -> list[Any]:
    """A last row with the mean of what was measured, column by column."""
    means: list[Any] = ["Mean"]
    for number in range(1, len(rows[0])):
        known = [row[number] for row in rows if not math.isnan(row[number])]
        means.append(sum(known) / len(known) if known else _NAN)
    return means


def withMean(rows: list[list[Any]]) -> list[list[Any]]:
    """The rows and, where there are any, their mean."""
    return [*rows, _mean(rows)] if rows else rows


def exportTable(tableNode: Node, path: str | Path) -> Path:
    """Write a table node as CSV and its settings (attributes, references) as JSON beside it; returns the CSV's path.

    Raises DiskError.
    """
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".csv")
    columns, rows = rowsOf(tableNode)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if isinstance(v, float) and math.isnan(v) else v for v in row] for row in rows)
    write_text(path, stream.getvalue())
    settings: dict[str, Any] = {"table": tableNode.GetName()}
    for role in ("spatialRegistrationFixed", "spatialRegistrationMoving"):
        node = tableNode.GetNodeReference(role)
        if node is not None:
            settings[role] = node.GetName()
    settings["attributes"] = {name: tableNode.GetAttribute(name) for name in tableNode.GetAttributeNames()}
    write_json(path.with_suffix(".json"), settings)
    return path
