"""Named points (landmarks) on disk: tables, and the two markup formats of 3D Slicer."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.records import write_text
from AutoRegLib.core.strict_json import parse_object

_LPS = np.ones(3)
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
#: the coordinate columns of a table, and what turns them into LPS; Slicer's point tables use the last two
_AXES = ((("x", "y", "z"), _LPS), (("l", "p", "s"), _LPS), (("r", "a", "s"), _RAS_TO_LPS))
_MM = {"": 1.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "nm": 1e-6, "cm": 10.0, "m": 1000.0}  # UCUM's names
_COLUMNS = ["id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc", "associatedNodeID"]
_STATUS, _DEFINED = len(_COLUMNS), "2"  # .fcsv: the column after the named ones
_SCHEMA = ("https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
           "markups-schema-v1.0.3.json#")


def read_points(path: str | Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and points from a table, ``.fcsv`` or ``.mrk.json``, in the coordinate system and unit they say.

    A table (``.csv``; comma, semicolon or tab) has a header line with label,x,y,z (LPS), label,l,p,s or label,r,a,s,
    the last two as Slicer's point tables have them.

    Shape: points (n, d), d = 2 for a table without z. Unit/Direction: mm LPS.
    Raises: InputError when the file is missing, empty, cut short, or has a point that is not placed or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}", expected="points in .csv, .fcsv or .mrk.json",
                         remedy="check the path")
    read = next((read for suffix, read in _READERS.items() if path.name.lower().endswith(suffix)), _table)
    try:
        names, points, unset = read(path.read_text(encoding="utf-8-sig", errors="replace"), path)
        array = np.array(points, dtype=float)
    except (ValueError, csv.Error, OSError) as problem:
        raise InputError(f"{path} is no list of points", expected="points in .csv, .fcsv or .mrk.json, all of them "
                         "with as many coordinates", got=problem, remedy="check the file, or export it again") from None
    if unset:
        raise InputError(f"{path} has points that are not placed", expected="points with a defined position",
                         got=", ".join(unset[:5]), remedy="place them in Slicer, or remove them from both lists")
    if not names:
        raise InputError(f"{path} has no points", expected="at least one point", remedy="check the file")
    if not np.isfinite(array).all():
        raise InputError(f"{path} has a point that is not finite", expected="finite mm",
                         got=names[int(np.argmin(np.isfinite(array).all(axis=1)))])
    return tuple(names), array


def partners(fixed: Sequence[str], moving: Sequence[str]) -> list[int]:
    """The place of each fixed point's partner among the moving ones: by name where the names agree, else by order.

    Raises: InputError where only some names agree, in other places, or the numbers differ.
    """
    if len(set(fixed)) == len(fixed) and set(fixed) == set(moving) and len(moving) == len(fixed):
        return [moving.index(name) for name in fixed]
    if any(fixed.index(name) != moving.index(name) for name in {*fixed} & {*moving}):
        raise InputError("some landmarks' names agree, but not their order", remedy="name corresponding points alike",
                         expected="the same names in both files, or names that agree in their places",
                         got=", ".join(sorted({*fixed} ^ {*moving})[:6]) or "a name twice")
    if len(fixed) != len(moving):
        raise InputError("the landmarks do not correspond", expected="the same number and names in both files",
                         got=f"{len(fixed)} fixed, {len(moving)} moving", remedy="remove points that have no partner")
    return list(range(len(fixed)))


def write_points(names: Sequence[str], points: np.ndarray, path: str | Path) -> None:
    """Write ``.csv`` with the header label,x,y,z, or Slicer's ``.fcsv`` or ``.mrk.json``, as the suffix says.

    Shape: points (n, d); Slicer's formats take d = 3. Unit/Direction: mm LPS.
    Raises: InputError for another suffix or shape, DiskError.
    """
    points, path = np.asarray(points, dtype=float), Path(path)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or len(names) != len(points):
        raise InputError("points to write", expected="one name for each point of 2 or 3 coordinates",
                         got=f"{len(names)} names, points of shape {points.shape}")
    suffix = next((s for s in _WRITERS if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise InputError(f"cannot write points as {path.name}", expected=f"one of {', '.join(_WRITERS)}",
                         remedy="choose another suffix")
    if suffix != ".csv" and points.shape[1] != 3:
        raise InputError(f"cannot write points as {path.name}", expected="3-D points", got="2-D points",
                         remedy="write .csv instead")
    write_text(path, _WRITERS[suffix](names, points))


_Read = tuple[list[str], list[list[float]], list[str]]  # names, points in mm LPS, names of points that are not placed


def _table(text: str, path: Path) -> _Read:
    first = text.splitlines()[0] if text.strip() else ""
    rows = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count))
    header = [name.strip().lower() for name in next(rows, [])]
    found = next(((axes, sign) for axes, sign in _AXES if set(axes[:2] if axes[0] == "x" else axes) <= {*header}), None)
    if found is None:
        raise InputError(f"{path} is not a table of points", expected="a header line label,x,y,z (mm, LPS)",
                         got=",".join(header)[:80],
                         remedy="add the header: label,x,y,z if the numbers are LPS, label,r,a,s if they are RAS")
    used = [name for name in header if any(name in axes for axes, _ in _AXES)]
    if len(set(used)) < len(used) or not set(used) <= {*found[0]}:
        raise InputError(f"{path} has more than one position a point", expected="one column for each coordinate",
                         got=",".join(header)[:80], remedy="remove the columns that are not meant")
    axes, sign = [a for a in found[0] if a in header], found[1]
    names: list[str] = []
    points: list[list[float]] = []
    unset: list[str] = []
    decimals: list[int] = []  # of the last value of each line
    for values in rows:
        if not any(value.strip() for value in values):
            continue
        number = len(names) + 1
        if len(values) > len(header):
            raise InputError(f"{path}, point {number} has more values than the header", expected=len(header),
                             got=len(values), remedy="write decimal points, and quote names that hold a comma")
        row = dict(zip(header, values, strict=False))
        names.append((row.get("label") or str(number)).strip())
        position = _numbers([row.get(a) for a in axes], f"{path}, point {number}")
        points.append((np.array(position) * sign[:len(position)]).tolist())
        if row.get("defined", "1").strip().lower() in ("0", "false"):
            unset.append(names[-1])
        _check_end(text, values, header, path)
        decimals.append(len(values[-1].strip().partition(".")[2]))
    if len(decimals) > 1 and decimals[-1] < min(decimals[:-1]) and not text.endswith(("\n", "\r")):
        raise InputError(f"{path} may be cut short: its last line is not ended",
                         expected=f"{min(decimals[:-1])} decimals as in the other lines", got=decimals[-1],
                         remedy="copy the file again, or end its last line")
    return names, points, unset


def _fiducials(text: str, path: Path) -> _Read:
    """Slicer's older format: comment lines, then id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,..."""
    sign, columns = _RAS_TO_LPS, _COLUMNS[:4]
    names: list[str] = []
    points: list[list[float]] = []
    unset: list[str] = []
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
        values = next(csv.reader([line]))
        row = dict(zip(columns, values, strict=False))
        names.append(row.get("label") or row.get("id") or str(len(names) + 1))
        position = _numbers([row.get(a) for a in "xyz"], f"{path}, point {len(names)}")
        points.append((np.array(position) * sign).tolist())
        if values[_STATUS:_STATUS + 1] not in ([], [_DEFINED]):
            unset.append(names[-1])
        _check_end(text, values, columns, path)
    return names, points, unset


def _markups(text: str, path: Path) -> _Read:
    names: list[str] = []
    points: list[list[float]] = []
    unset: list[str] = []
    try:
        for markup in _parsed(text)["markups"]:
            scale = _sign(str(markup.get("coordinateSystem", "LPS")), path) * _unit(markup, path)
            for point in markup.get("controlPoints", ()):
                names.append(str(point.get("label") or point.get("id") or len(names) + 1))
                if point.get("positionStatus", "defined") != "defined":
                    unset.append(names[-1])
                    continue
                position = _numbers(point.get("position"), f"{path}, point {names[-1]}")
                points.append((np.array(position) * scale).tolist())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is not a markups file", expected="3D Slicer's .mrk.json with control points",
                         remedy="save the points from Slicer again, or use a CSV label,x,y,z") from None
    return names, points, unset


def _parsed(text: str) -> dict[str, Any]:
    """The JSON object. Raises ValueError, for the message of the format to be the one."""
    try:
        return parse_object(text, where="the file")
    except InputError as problem:
        raise ValueError(problem.got) from None


def _unit(markup: dict[str, Any], path: Path) -> float:
    """Millimetres in the unit of the coordinates, which is a UCUM code or a coded entry that starts with one."""
    unit = markup.get("coordinateUnits", "mm")
    code = unit[0] if isinstance(unit, list) and unit else unit
    if str(code) not in _MM:
        raise InputError(f"unit of the coordinates in {path}", expected=", ".join(name for name in _MM if name),
                         got=code, remedy="save the points in mm")
    return _MM[str(code)]


def _sign(system: str, path: Path) -> np.ndarray:
    """What turns the file's coordinates into LPS; older files number the systems."""
    if system.upper() in ("RAS", "0"):
        return _RAS_TO_LPS
    if system.upper() in ("LPS", "1"):
        return _LPS
    raise InputError(f"coordinate system of {path}", expected="LPS or RAS", got=system,
                     remedy="save the points in LPS")


def _numbers(values: object, where: str) -> list[float]:
    try:
        # Python takes 1_5 for 15
        numbers = [float("x" if "_" in str(v) else v) for v in values]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (2, 3):
        comma = isinstance(values, list) and any("," in str(value) for value in values)
        raise InputError(f"{where} has no position", expected="numbers in mm", got=values,
                         remedy="write decimal points, not commas" if comma else "complete or remove the point")
    return numbers


def _check_end(text: str, values: Sequence[str], columns: Sequence[str], path: Path) -> None:
    """A last line without its end and with values missing was cut off. Raises InputError."""
    if len(values) < len(columns) and not text.endswith(("\n", "\r")) and text.endswith(values[-1]):
        raise InputError(f"{path} is cut short", expected=f"{len(columns)} values in the last line", got=len(values),
                         remedy="copy or export the file again")


def _table_text(names: Sequence[str], points: np.ndarray) -> str:
    return _lines([["label", *"xyz"[:points.shape[1]]], *([name, *map(repr, point)] for name, point in
                                                          zip(names, points.tolist(), strict=True))])


def _fiducials_text(names: Sequence[str], points: np.ndarray) -> str:
    head = f"# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n# columns = {','.join(_COLUMNS)}\n"
    # one line a point: this format knows no line breaks in names
    return head + _lines([[i, *map(repr, point), 0, 0, 0, 1, 1, 1, 0, " ".join(name.splitlines()), "", "", _DEFINED, 0]
                          for i, (name, point) in enumerate(zip(names, points.tolist(), strict=True), start=1)])


def _lines(rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _markups_text(names: Sequence[str], points: np.ndarray) -> str:
    placed = [{"id": str(i), "label": name, "position": point, "positionStatus": "defined"}
              for i, (name, point) in enumerate(zip(names, points.tolist(), strict=True), start=1)]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": placed}
    return json.dumps({"@schema": _SCHEMA, "markups": [markup]}, indent=1, ensure_ascii=False) + "\n"


_READERS = {".fcsv": _fiducials, ".json": _markups}
_WRITERS = {".fcsv": _fiducials_text, ".csv": _table_text, ".json": _markups_text}
