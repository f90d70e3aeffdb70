"""NRRD and MetaImage files for ITK, whose own readers end the process or never end on a header that is damaged.

The header is read here first, field by field, by :mod:`AutoRegLib.imaging.nrrd` or :mod:`AutoRegLib.imaging.metaimage`;
ITK gets one that was written anew from the values that were understood, under a private name.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.leftovers import private_prefix
from AutoRegLib.imaging.stored import Stored, check_size, damaged, from_text, raw_offset
from AutoRegLib.imaging.unpacking import link, unpack

_LONGEST_HEADER = 16_000_000  # bytes; the words of a segmentation of hundreds of structures have some 100,000
_LONGEST_AXIS = 2**31 - 1
FARTHEST = 1e9  # mm
_DATA = "voxels.raw"
MOST_AXES = 5
MARK = "displacement field type"  # the key that says which way a field maps


Describe = Callable[[Path], Stored]


@contextmanager
def opened(path: Path, stored: Stored) -> Iterator[Path]:
    """A name under which ITK reads this file, voxels and all, safely.

    Raises: InputError (cut short, damaged voxels), DiskError (no room to unpack).
    """
    assert stored.form.detached is not None
    with tempfile.TemporaryDirectory(prefix=private_prefix()) as folder:
        target, offset = Path(folder) / _DATA, 0
        if stored.packing == "raw":
            offset = raw_offset(path, stored)
            link(stored.data, target)
        else:
            if stored.packing in ("ascii", "hex"):
                target.write_bytes(from_text(path, stored))
            else:
                unpack(stored.data, target, name=path, most=stored.size, start=stored.offset, packing=stored.packing)
            check_size(path, target.stat().st_size, stored.size)
        suffix, lines = stored.form.detached
        header = Path(folder) / f"image{suffix}"
        header.write_bytes(stored.header + lines.replace("{offset}", str(offset)).encode())
        yield header


@contextmanager
def alone(stored: Stored) -> Iterator[Path]:
    """A name under which ITK reads the header of this file safely, and nothing else."""
    suffix, lines = stored.form.attached
    # one file, no folder: some file systems take milliseconds to remove a folder
    number, name = tempfile.mkstemp(suffix, private_prefix())
    try:
        with open(number, "wb") as stream:
            stream.write(stored.header + lines.encode())
        yield Path(name)
    finally:
        os.unlink(name)


def read_lines(path: Path) -> Iterator[tuple[str, int]]:
    """The lines of a header, and the byte behind each. Raises InputError (an endless header)."""
    end = 0
    with path.open("rb") as stream:
        while line := stream.readline(_LONGEST_HEADER):
            end += len(line)
            if end >= _LONGEST_HEADER:
                raise InputError(f"{path} has no readable header", expected=f"less than {_LONGEST_HEADER} bytes",
                                 remedy="check that this is the right file")
            yield line.decode("utf-8", errors="replace").rstrip("\r\n"), end


def numbers(text: str, path: Path, field: str, count: int | None = None) -> list[float]:
    """Finite numbers of a field, none beyond 1e9. Raises InputError."""
    try:
        found = [float(word) for word in text.replace("_", "x").split()]  # Python takes 1_5 for 15
    except ValueError:
        found = [math.nan]
    if not found or (count is not None and len(found) != count) or not all(abs(x) <= FARTHEST for x in found):
        raise damaged(path, field, text, f"{count or 'some'} finite numbers")
    return found


def sizes(text: str, path: Path, field: str, count: int) -> list[int]:
    """Voxels along each axis. Raises InputError."""
    words = text.split()
    if len(words) != count or not all(re.fullmatch(r"[0-9]{1,10}", w) and 0 < int(w) <= _LONGEST_AXIS for w in words):
        raise damaged(path, field, text, f"{count} whole numbers above 0")
    return [int(word) for word in words]


def whole(text: str, path: Path, field: str, low: int, high: int) -> int:
    """One whole number within limits. Raises InputError."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()) or not low <= int(text) <= high:
        raise damaged(path, field, text, f"a whole number from {low} to {high}")
    return int(text)


def plain_mark(text: str) -> bool:
    """Whether the value of :data:`MARK` is one that a header may be given again."""
    return re.fullmatch(r"[A-Za-z -]{1,40}", text) is not None


def check_axes(axes: Sequence[Sequence[float]], path: Path, field: str) -> None:
    """Refuse axes of no length, and such as do not span the space. Raises InputError."""
    matrix = np.array(axes, dtype=float)
    lengths = np.linalg.norm(matrix, axis=1)
    if (lengths == 0).any():
        raise no_spacing(path, axes)
    if matrix.shape[0] != matrix.shape[1] or (lengths < 1e-12).any() or (
            abs(np.linalg.det(matrix / lengths[:, None])) < 1e-6):
        raise damaged(path, field, axes, "axes that span the space")


def no_spacing(path: Path, got: object) -> InputError:
    """The error for voxels without a size."""
    return InputError(f"{path} has a voxel spacing of zero", expected="mm above 0", got=got,
                      remedy="repair the image header")


def beside(path: Path, name: str, field: str) -> Path:
    """The file with the voxels that a header names. Raises InputError."""
    try:
        data = path.parent / name
        there = data.is_file()
    except (OSError, ValueError):  # a name that no file can have
        there = False
    if not there:
        raise InputError(f"{path} names a file of voxels that is not there", expected=f"{field} beside it", got=name,
                         remedy="put both files into one folder" if "%" not in name and name != "LIST" else
                         "save the image in one file")
    return data
