"""The header of an NRRD file, checked and written anew."""

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

_FORM = Form((".nrrd", "\n"), (".nhdr", "byte skip: {offset}\ndata file: voxels.raw\n"))

_TYPES = {kind: dtype for dtype, kinds in {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",), "f8": ("double",)}.items() for kind in kinds}
_NAMES = {"i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32", "i8": "int64",
          "u8": "uint64", "f4": "float", "f8": "double"}
_PACKINGS = {"raw": "raw", "txt": "ascii", "text": "ascii", "ascii": "ascii", "hex": "hex", "gz": "gzip",
             "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2"}
_SPACES = {"ras": "right-anterior-superior", "las": "left-anterior-superior", "lps": "left-posterior-superior",
           "scanner-xyz": "scanner-xyz", "3d-right-handed": "3D-right-handed", "3d-left-handed": "3D-left-handed"}
_KINDS = {kind.lower(): kind for kind in (
    "domain", "space", "time", "list", "point", "vector", "covariant-vector", "normal", "stub", "scalar", "complex",
    "2-vector", "3-color", "RGB-color", "4-color", "RGBA-color", "3-vector", "3-gradient", "3-normal", "4-vector")}


def is_nrrd(path: Path) -> bool:
    """Whether the name is that of an NRRD file."""
    return path.name.lower().endswith((".nrrd", ".nhdr"))


def describe(path: Path) -> Stored:
    """The header of an NRRD file. Raises InputError (damaged, or of a kind that is not an image of one file)."""
    fields, end = _fields(path)
    for name in ("dimension", "type", "sizes", "encoding"):
        if name not in fields:
            raise damaged(path, name, "nothing", f"a line '{name}: ...'")
    dims = whole(fields["dimension"], path, "dimension", 1, MOST_AXES)
    shape = sizes(fields["sizes"], path, "sizes", dims)
    code = _TYPES.get(fields["type"].lower())
    if code is None:
        raise damaged(path, "type", fields["type"], "a type of numbers, such as short or float")
    packing = _PACKINGS.get(fields["encoding"].lower())
    if packing is None:
        raise damaged(path, "encoding", fields["encoding"], "raw, gzip, bzip2, ascii or hex")
    data, offset = _place(path, fields, end, packing)
    lines = ["NRRD0005", f"type: {_NAMES[code]}", f"dimension: {dims}", f"sizes: {' '.join(map(str, shape))}"]
    kinds = _words(fields.get("kinds", ""), path, "kinds", dims, _KINDS)
    lines += _geometry(path, fields, dims, kinds)
    if any(kind != "???" for kind in kinds):
        lines.append(f"kinds: {' '.join(kinds)}")
    order = fields.get("endian", "little").lower()
    if order not in ("little", "big"):
        raise damaged(path, "endian", order, "little or big")
    if packing == "ascii":
        order = "little"
    lines += [f"endian: {order}", "encoding: raw"]
    mark = fields.get(f"={MARK}", "")
    if plain_mark(mark):
        lines.append(f"{MARK}:={mark}")
    dtype = np.dtype(("<" if order == "little" else ">") + code)
    return Stored("\n".join([*lines, ""]).encode(), _FORM, data, offset, math.prod(shape), dtype, packing)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Field to text, keys of key/value pairs with '=' before them, and the byte where the header ends."""
    fields: dict[str, str] = {}
    end = 0
    for line, behind in read_lines(path):
        end = behind
        if not fields:
            if not re.fullmatch(r"NRRD000[1-6]", line):
                raise _no_nrrd(path, line)
            fields[""] = line
        elif not line.strip():
            break
        elif line.startswith("#"):
            continue
        elif pair := re.match(r"([^:]*):=(.*)", line):
            fields[f"={pair[1]}"] = pair[2].strip()
        elif pair := re.match(r"([^:]*): *(.*)", line):
            name = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip",
                    "centers": "centerings"}.get(pair[1].strip().lower(), pair[1].strip().lower())
            if name in fields:
                raise damaged(path, name, "two of them", f"one line '{name}: ...'")
            fields[name] = pair[2].strip()
            if name == "data file" and fields[name].split(" ")[0] == "LIST":
                break
        else:
            raise damaged(path, "a line", line[:80], "a line 'field: value' or 'key:=value'")
    if not fields:
        raise _no_nrrd(path, "nothing")
    return fields, end


def _no_nrrd(path: Path, line: str) -> InputError:
    return InputError(f"{path} is not an image that can be read", expected="an NRRD file, NRRD0004 or so first",
                      got=line[:40], remedy="check the file, or export the image again")


def _place(path: Path, fields: dict[str, str], end: int, packing: str) -> tuple[Path, int]:
    """The file of the voxels, and the byte where they begin; -1 where they fill its end."""
    lines = whole(fields.get("line skip", "0"), path, "line skip", 0, 10**6)
    skip = whole(fields.get("byte skip", "0"), path, "byte skip", -1, 10**15)
    data, start = path, end
    if "data file" in fields:
        name = fields["data file"]
        if name.split(" ")[0] == "LIST" or re.search(r"%[0-9]*d", name):
            raise InputError(f"{path} lies in several files", expected="an image in one file, or a header with one",
                             got=name[:80], remedy="load it in 3D Slicer and save it as .nrrd")
        data, start = beside(path, name, "data file"), 0
    if skip == -1 and packing == "raw":
        return data, -1
    if skip and packing != "raw":
        raise damaged(path, "byte skip", skip, "no bytes to skip in compressed voxels")
    if lines:
        with data.open("rb") as stream:
            stream.seek(start)
            for _ in range(lines):
                start += len(stream.readline())
    return data, start + max(skip, 0)


def _geometry(path: Path, fields: dict[str, str], dims: int, kinds: list[str]) -> list[str]:
    """The lines that place the voxels."""
    if "space" not in fields and "space dimension" not in fields:
        return _plain_axes(path, fields, dims)
    lines = []
    if "space" in fields:
        name = fields["space"].lower()
        space = next((long for short, long in _SPACES.items() if name in (short, long.lower())), None)
        if space is None:
            raise damaged(path, "space", fields["space"], ", ".join(_SPACES.values()))
        length = 3
        lines.append(f"space: {space}")
    else:
        length = whole(fields["space dimension"], path, "space dimension", 1, MOST_AXES)
        lines.append(f"space dimension: {length}")
    for name in ("space units", "units"):  # of the axes the second, where the image has a space too
        _check_units(path, fields.get(name, ""))
    vectors = re.findall(r"none|\([^()]*\)", fields.get("space directions", ""))
    if vectors:
        if len(vectors) != dims or re.sub(r"none|\([^()]*\)|\s", "", fields["space directions"]):
            raise damaged(path, "space directions", fields["space directions"], f"{dims} vectors, or none for an axis")
        axes = [_vector(text, path, "space directions", length) for text in vectors if text != "none"]
        check_axes(axes, path, "space directions")
        found = iter(axes)
        lines.append("space directions: " + " ".join(
            "none" if text == "none" else _written(next(found)) for text in vectors))
    if "space origin" in fields:
        lines.append(f"space origin: {_written(_vector(fields['space origin'], path, 'space origin', length))}")
    return lines


def _plain_axes(path: Path, fields: dict[str, str], dims: int) -> list[str]:
    """Spacings and positions of an image without a space; 'nan' for an axis that has none."""
    lines = []
    for name in ("spacings", "axis mins", "axis maxs"):
        if name in fields:
            words = fields[name].lower().split()
            values = numbers(" ".join(w for w in words if w != "nan") or "1", path, name)
            if name == "spacings" and 0 in values:
                raise no_spacing(path, fields[name])
            if len(words) != dims:
                raise damaged(path, name, fields[name], f"{dims} finite numbers")
            lines.append(f"{name}: {' '.join(words)}")
    if "centerings" in fields:
        known = _words(fields["centerings"], path, "centerings", dims, {"cell": "cell", "node": "node"})
        lines.append(f"centerings: {' '.join(known)}")
    _check_units(path, fields.get("units", ""))
    return lines


def _check_units(path: Path, text: str) -> None:
    wrong = [unit for unit in re.findall(r'"([^"]*)"', text)
             if unit.strip().lower() not in ("", "mm", "millimeter", "millimeters", "millimetre", "millimetres", "???",
                                             "none", "unknown", "s", "sec", "second", "seconds", "ms")]
    if wrong:
        raise InputError(f"{path} is not in mm", expected="space units of mm", got=wrong[0],
                         remedy="scale its axes to mm and write that into the header")


def _words(text: str, path: Path, field: str, count: int, known: dict[str, str]) -> list[str]:
    """One word an axis, as the format spells it; '???' for none."""
    words = text.lower().split() or ["???"] * count
    found = ["???" if word in ("???", "none") else known.get(word, "") for word in words]
    if len(words) != count or "" in found:
        raise damaged(path, field, text, f"{count} of {', '.join(known.values())}")
    return found


def _vector(text: str, path: Path, field: str, length: int) -> list[float]:
    if not re.fullmatch(r"\([^()]*\)", text.strip()):
        raise damaged(path, field, text, "(x,y,z)")
    return numbers(text.strip()[1:-1].replace(",", " "), path, field, length)


def _written(vector: list[float]) -> str:
    return "(" + ",".join(repr(value) for value in vector) + ")"
