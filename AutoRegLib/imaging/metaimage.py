"""The header of a MetaImage file, checked and written anew."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.headers import (
    MARK,
    MOST_AXES,
    beside,
    check_axes,
    no_spacing,
    numbers,
    plain_mark,
    read_lines,
    sizes,
    whole,
)
from AutoRegLib.imaging.stored import Form, Stored, damaged

_FORM = Form((".mha", "ElementDataFile = LOCAL\n"), (".mhd", "HeaderSize = {offset}\nElementDataFile = voxels.raw\n"))

_TYPES = {"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
          "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
          "MET_FLOAT": "f4", "MET_DOUBLE": "f8"}
_POSITIONS, _MATRICES = ("Offset", "Position", "Origin"), ("TransformMatrix", "Rotation", "Orientation")
_MOST_CHANNELS = 1000


def is_metaimage(path: Path) -> bool:
    """Whether the name is that of a MetaImage file."""
    return path.name.lower().endswith((".mha", ".mhd"))


def describe(path: Path) -> Stored:
    """The header of a MetaImage file. Raises InputError (damaged, or not an image of one file)."""
    fields, end = _fields(path)
    for name in ("NDims", "DimSize", "ElementType", "ElementDataFile"):
        if name not in fields:
            raise damaged(path, name, "nothing", f"a line '{name} = ...'")
    if fields.get("ObjectType", "Image") != "Image":
        raise damaged(path, "ObjectType", fields["ObjectType"], "Image")
    dims = whole(fields["NDims"], path, "NDims", 1, MOST_AXES)
    shape = sizes(fields["DimSize"], path, "DimSize", dims)
    channels = whole(fields.get("ElementNumberOfChannels", "1"), path, "ElementNumberOfChannels", 1, _MOST_CHANNELS)
    kind = fields["ElementType"]
    if kind not in _TYPES:
        raise damaged(path, "ElementType", kind, "a type of numbers, such as MET_SHORT or MET_FLOAT")
    big = _truth(fields, path, "BinaryDataByteOrderMSB", _truth(fields, path, "ElementByteOrderMSB", False))
    packed = _truth(fields, path, "CompressedData", False)
    packing = "gzip" if packed else "raw" if _truth(fields, path, "BinaryData", False) else "ascii"
    data, start = _place(path, fields, end)
    skip = whole(fields.get("HeaderSize", "0"), path, "HeaderSize", -1, 2**31 - 1)
    if skip and packing != "raw":
        raise damaged(path, "HeaderSize", skip, "no bytes to skip in compressed voxels")
    if fields.get("DistanceUnits", "mm").strip() not in ("mm", "?"):
        raise InputError(f"{path} is not in mm", expected="DistanceUnits = mm", got=fields["DistanceUnits"],
                         remedy="scale its axes to mm and write that into the header")
    if [float(fields.get(f"ElementToIntensityFunction{name}", default)) for name, default in (
            ("Slope", 1), ("Offset", 0))] != [1, 0]:
        raise InputError(f"{path} has a scale factor, which ITK and Slicer leave out", expected="values as they are",
                         got="ElementToIntensityFunctionSlope or -Offset", remedy="apply it, and remove both fields")
    big = big and packing != "ascii"
    lines = ["ObjectType = Image", f"NDims = {dims}", "BinaryData = True", f"BinaryDataByteOrderMSB = {big}",
             "CompressedData = False", *_geometry(path, fields, dims), f"DimSize = {' '.join(map(str, shape))}",
             f"ElementNumberOfChannels = {channels}", f"ElementType = {kind}"]
    mark = fields.get(MARK, "")
    if plain_mark(mark):
        lines.append(f"{MARK} = {mark}")
    dtype = np.dtype((">" if big else "<") + _TYPES[kind])
    # a size of the header counts from the start of the file that holds the voxels
    return Stored("\n".join([*lines, ""]).encode(), _FORM, data, skip or start, math.prod(shape) * channels, dtype,
                  packing)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Field to text, and the byte where the header ends: behind ElementDataFile."""
    fields: dict[str, str] = {}
    for line, end in read_lines(path):
        if not line.strip():
            continue
        pair = re.match(r"\s*([^=:]*?)\s*[=:]\s*(.*?)\s*$", line)
        if not pair:
            raise damaged(path, "a line", line[:80], "a line 'Field = value'")
        if pair[1] in fields and pair[1] != "Comment":
            raise damaged(path, pair[1], "two of them", f"one line '{pair[1]} = ...'")
        fields[pair[1]] = pair[2]
        if pair[1] == "ElementDataFile":
            return fields, end
    return fields, 0


def _truth(fields: dict[str, str], path: Path, name: str, default: bool) -> bool:
    text = fields.get(name, str(default)).lower()
    if text not in ("true", "false", "1", "0"):
        raise damaged(path, name, fields[name], "True or False")
    return text in ("true", "1")


def _place(path: Path, fields: dict[str, str], end: int) -> tuple[Path, int]:
    name = fields["ElementDataFile"]
    if name.lower() == "local":
        return path, end
    if name.startswith("LIST") or "%" in name:
        raise InputError(f"{path} lies in several files", expected="an image in one file, or a header with one",
                         got=name[:80], remedy="load it in 3D Slicer and save it as .nrrd or .mha")
    return beside(path, name, "ElementDataFile"), 0


def _geometry(path: Path, fields: dict[str, str], dims: int) -> list[str]:
    """The lines that place the voxels."""
    lines = []
    matrix = next((name for name in _MATRICES if name in fields), None)
    if matrix:
        values = numbers(fields[matrix], path, matrix, dims * dims)
        check_axes(np.reshape(values, (dims, dims)).tolist(), path, matrix)
        lines.append(f"TransformMatrix = {_written(values)}")
    position = next((name for name in _POSITIONS if name in fields), None)
    if position:
        lines.append(f"Offset = {_written(numbers(fields[position], path, position, dims))}")
    spacing = next((name for name in ("ElementSpacing", "ElementSize") if name in fields), None)
    if spacing:
        values = numbers(fields[spacing], path, spacing, dims)
        if 0 in values:
            raise no_spacing(path, fields[spacing])
        lines.append(f"ElementSpacing = {_written(values)}")
    return lines


def _written(values: list[float]) -> str:
    return " ".join(repr(value) for value in values)
