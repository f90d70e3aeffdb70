"""Landmarks: control points in world coordinates, as files and back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from AutoRegLib.core.records import write_text
from AutoRegLib.imaging.points import partners
from AutoRegSlicerLib.scene.previews import ownTransform
from AutoRegSlicerLib.scene.transforms import lpsPoints, transformPoints, warpToWorld
from AutoRegSlicerLib.scene.values import Node


def worldPoints(markups: Node) -> tuple[list[str], np.ndarray]:
    """Labels and world positions of the control points that are placed, whatever they are previewed under.

    Shape: (n, 3). Unit: mm RAS.
    """
    names, points = [], []
    for index in range(markups.GetNumberOfControlPoints()):
        if markups.GetNthControlPointPositionStatus(index) != markups.PositionDefined:
            continue
        names.append(markups.GetNthControlPointLabel(index) or str(index + 1))
        points.append(markups.GetNthControlPointPosition(index))
    own = ownTransform(markups)
    array = np.array(points, dtype=float).reshape(-1, 3)
    return names, array if own is None else transformPoints(warpToWorld(own), array)


def unplaced(markups: Node) -> list[str]:
    """Labels of the control points that wait to be placed, or were left out; not the one that follows the mouse."""
    waiting = (markups.PositionUndefined, markups.PositionMissing)
    return [markups.GetNthControlPointLabel(index) or str(index + 1) for index in range(
        markups.GetNumberOfControlPoints()) if markups.GetNthControlPointPositionStatus(index) in waiting]


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


def errorsOfFiles(fixed: Path, moving: Path) -> dict[str, float]:
    """Distance of corresponding points of two exported files by name, mm; empty when one is missing."""
    if not (fixed.is_file() and moving.is_file()):
        return {}
    (names, target), (other, source) = _read(fixed), _read(moving)
    source = source[partners(names, other)]
    return dict(zip(names, np.linalg.norm(target - source, axis=1).tolist(), strict=True))


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    lines = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    points = np.array([[float(line[axis]) for axis in "xyz"] for line in lines]).reshape(-1, 3)
    return [line["label"] for line in lines], lpsPoints(points)
