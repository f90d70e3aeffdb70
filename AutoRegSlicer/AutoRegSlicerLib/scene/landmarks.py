"""Landmarks: control points in world coordinates, as files and back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from AutoRegLib.core.records import write_text
from AutoRegSlicerLib.scene.transforms import lpsPoints
from AutoRegSlicerLib.scene.values import Node


def worldPoints(markups: Node) -> tuple[list[str], np.ndarray]:
    """Labels and world positions of the control points that are placed. Shape: (n, 3). Unit: mm RAS."""
    names, points = [], []
    for index in range(markups.GetNumberOfControlPoints()):
        if markups.GetNthControlPointPositionStatus(index) != markups.PositionDefined:
            continue
        position = [0.0] * 3
        markups.GetNthControlPointPositionWorld(index, position)
        names.append(markups.GetNthControlPointLabel(index) or str(index + 1))
        points.append(position)
    return names, np.array(points, dtype=float).reshape(-1, 3)


def write(markups: Node, path: Path) -> int:
    """Write the points as a CSV (label, x, y, z; mm LPS); returns how many. Raises DiskError."""
    names, points = worldPoints(markups)
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["label", "x", "y", "z"])
    table.writerows([name, *(repr(float(v)) for v in point)]
                    for name, point in zip(names, lpsPoints(points), strict=True))
    write_text(path, stream.getvalue())
    return len(names)


def partners(fixed: Node, moving: Node) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Corresponding points, by name where the names agree, else by order; as the library matches them.

    Shape: names, (n, 3), (n, 3). Unit: mm RAS. The shorter list decides n.
    """
    return _matched(worldPoints(fixed), worldPoints(moving))


def errorsOfFiles(fixed: Path, moving: Path) -> dict[str, float]:
    """Distance of corresponding points of two exported files by name, mm; empty when one is missing."""
    if not (fixed.is_file() and moving.is_file()):
        return {}
    names, target, source = _matched(_read(fixed), _read(moving))
    return dict(zip(names, np.linalg.norm(target - source, axis=1).tolist(), strict=True))


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    lines = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    points = np.array([[float(line[axis]) for axis in "xyz"] for line in lines]).reshape(-1, 3)
    return [line["label"] for line in lines], lpsPoints(points)


def _matched(
    fixed: tuple[list[str], np.ndarray], moving: tuple[list[str], np.ndarray],
) -> tuple[list[str], np.ndarray, np.ndarray]:
    (fixedNames, fixedPoints), (movingNames, movingPoints) = fixed, moving
    order = list(range(len(movingNames)))
    if len(set(fixedNames)) == len(fixedNames) and set(fixedNames) == set(movingNames):
        order = [movingNames.index(name) for name in fixedNames]
    count = min(len(fixedNames), len(order))
    return fixedNames[:count], fixedPoints[:count], movingPoints[order[:count]]
