"""Named points (landmarks) on disk: CSV, and the two markup formats of 3D Slicer."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.records import write_text

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def read_points(path: str | Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and points from ``.csv`` (header label,x,y,z; LPS), ``.fcsv`` or ``.mrk.json`` (LPS or RAS, as they say).

    Shape: points (n, d), d = 2 for a CSV without z. Unit/Direction: mm LPS.
    Raises: InputError when the file is missing, empty, or has a point that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}", expected="points in .csv, .fcsv or .mrk.json",
                         remedy="check the path")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if path.name.lower().endswith(".json"):
        names, points = _markups(text, path)
    elif path.name.lower().endswith(".fcsv"):
        names, points = _fiducials(text, path)
    else:
        names, points = _table(text, path)
    if not names:
        raise InputError(f"{path} has no points", expected="at least one point", remedy="check the file")
    array = np.array(points, dtype=float)
    if not np.isfinite(array).all():
        raise InputError(f"{path} has a point that is not finite", expected="finite mm",
                         got=names[int(np.argmin(np.isfinite(array).all(axis=1)))])
    return tuple(names), array


def write_points(names: Sequence[str], points: np.ndarray, path: str | Path) -> None:
    """Write a CSV with the header label,x,y,z. Shape: points (n, d). Unit/Direction: mm LPS. Raises DiskError."""
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or len(names) != len(points):
        raise InputError("points to write", expected="one name for each point of 2 or 3 coordinates",
                         got=f"{len(names)} names, points of shape {points.shape}")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["label", *"xyz"[:points.shape[1]]])
    writer.writerows([name, *(repr(float(v)) for v in point)] for name, point in zip(names, points, strict=True))
    write_text(path, stream.getvalue())


def _table(text: str, path: Path) -> tuple[list[str], list[list[float]]]:
    rows = csv.DictReader(io.StringIO(text))
    header = {name.strip().lower(): name for name in rows.fieldnames or ()}
    axes = [header[a] for a in "xyz" if a in header]
    if "x" not in header or "y" not in header:
        raise InputError(f"{path} is not a table of points", expected="a header line label,x,y,z (mm, LPS)",
                         got=",".join(rows.fieldnames or ())[:80], remedy="add the header")
    names, points = [], []
    for number, row in enumerate(rows, start=1):
        names.append((row.get(header.get("label", "")) or str(number)).strip())
        points.append(_numbers([row[a] for a in axes], f"{path}, point {number}"))
    return names, points


def _fiducials(text: str, path: Path) -> tuple[list[str], list[list[float]]]:
    """Slicer's older format: comment lines, then id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,..."""
    sign, columns = _RAS_TO_LPS, ["id", "x", "y", "z"]
    names: list[str] = []
    points: list[list[float]] = []
    for line in text.splitlines():
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip().lower() == "coordinatesystem":
                sign = _sign(value.strip(), path)
            elif key.strip().lower() == "columns":
                columns = [c.strip() for c in value.split(",")]
            continue
        if not line.strip():
            continue
        row = dict(zip(columns, next(csv.reader([line])), strict=False))
        names.append(row.get("label") or row.get("id") or str(len(names) + 1))
        position = _numbers([row.get(a) for a in "xyz"], f"{path}, point {len(names)}")
        points.append((np.array(position) * sign).tolist())
    return names, points


def _markups(text: str, path: Path) -> tuple[list[str], list[list[float]]]:
    try:
        markups = json.loads(text)["markups"]
        names: list[str] = []
        points: list[list[float]] = []
        for markup in markups:
            sign = _sign(str(markup.get("coordinateSystem", "LPS")), path)
            for point in markup.get("controlPoints", ()):
                names.append(str(point.get("label") or point.get("id") or len(names) + 1))
                position = _numbers(point.get("position"), f"{path}, point {names[-1]}")
                points.append((np.array(position) * sign).tolist())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is not a markups file", expected="3D Slicer's .mrk.json with control points",
                         remedy="save the points from Slicer again, or use a CSV label,x,y,z") from None
    return names, points


def _sign(system: str, path: Path) -> np.ndarray:
    """What turns the file's coordinates into LPS; older files number the systems."""
    if system.upper() in ("RAS", "0"):
        return _RAS_TO_LPS
    if system.upper() in ("LPS", "1"):
        return np.ones(3)
    raise InputError(f"coordinate system of {path}", expected="LPS or RAS", got=system,
                     remedy="save the points in LPS")


def _numbers(values: object, where: str) -> list[float]:
    try:
        numbers = [float(v) for v in values]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (2, 3):
        raise InputError(f"{where} has no position", expected="numbers in mm", got=values,
                         remedy="complete or remove the point")
    return numbers
