"""NRRD and MetaImage files for ITK, whose own readers end the process or never end on a header that is damaged.

The header is read here first, field by field, by :mod:`AutoRegLib.imaging.nrrd` or :mod:`AutoRegLib.imaging.metaimage`;
ITK gets one that was written anew from the values that were understood, under a private name.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.unpacking import link, unpack

_LONGEST_HEADER = 16_000_000  # bytes; the words of a segmentation of hundreds of structures have some 100,000
_LONGEST_AXIS = 2**31 - 1
FARTHEST = 1e9  # mm
_DATA = "voxels.raw"
MOST_AXES = 5
MARK = "displacement field type"  # the key that says which way a field maps


@dataclass(frozen=True)
class Stored:
    """An image file as its header describes it.

    ``header``: written anew in its format, for raw voxels in a file ``voxels.raw`` beside it, from ``{offset}`` on.
    ``packing``: raw, gzip, bzip2, ascii or hex. ``offset``: where the voxels, packed or not, begin in ``data``; -1
    where they are its end. ``suffix``: that of a header with a file beside it. ``count``: values, of ``dtype``.
    """

    header: str
    suffix: str
    data: Path
    offset: int
    count: int
    dtype: np.dtype
    packing: str = "raw"

    @property
    def size(self) -> int:
        """Bytes of all voxels."""
        return self.count * self.dtype.itemsize


Describe = Callable[[Path], Stored]


@contextmanager
def opened(path: Path, describe: Describe, *, voxels: bool = True) -> Iterator[Path]:
    """A name under which ITK reads this file safely; without ``voxels`` for its header alone.

    Raises: InputError (damaged header, cut short, damaged voxels), DiskError (no room to unpack).
    """
    stored = describe(path)
    with tempfile.TemporaryDirectory(prefix="autoreg-") as folder:
        target, offset = Path(folder) / _DATA, 0
        if not voxels:
            target.touch()  # ITK opens it all the same
        elif stored.packing == "raw":
            offset = _raw_offset(path, stored)
            link(stored.data, target)
        else:
            if stored.packing in ("ascii", "hex"):
                target.write_bytes(_from_text(path, stored))
            else:
                unpack(stored.data, target, name=path, most=stored.size, start=stored.offset, packing=stored.packing)
            _check_size(path, target.stat().st_size, stored.size)
        header = Path(folder) / f"image{stored.suffix}"
        header.write_text(stored.header.replace("{offset}", str(offset)), encoding="ascii", newline="\n")
        yield header


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
        found = [float(word) for word in text.split()]
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


def damaged(path: Path, field: str, got: object, expected: str) -> InputError:
    """The error for a field of a header that cannot be."""
    return InputError(f"{path} has a damaged header: {field}", expected=expected, got=got,
                      remedy="repair the header, or export the image again")


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


def _raw_offset(path: Path, stored: Stored) -> int:
    """Where the voxels begin. Raises InputError where not all are there."""
    length = stored.data.stat().st_size
    offset = length - stored.size if stored.offset < 0 else stored.offset
    _check_size(path, length - max(offset, 0) if offset >= 0 else length, stored.size)
    return offset


def _check_size(path: Path, size: int, expected: int) -> None:
    if size < expected:
        raise InputError(f"{path} is cut short", expected=f"{expected} bytes of voxels, as its header says",
                         got=f"{size} bytes", remedy="copy or download the file again")


def _from_text(path: Path, stored: Stored) -> bytes:
    """The bytes of voxels that are written out. Raises InputError."""
    if stored.size > 4 * (stored.data.stat().st_size + 1) * stored.dtype.itemsize:
        _check_size(path, stored.data.stat().st_size, stored.size)
    with stored.data.open("rb") as stream:
        stream.seek(max(stored.offset, 0))
        text = stream.read()
    try:
        if stored.packing == "hex":
            return bytes.fromhex(text.decode("ascii"))
        words = text.split(None, stored.count)[:stored.count]
        if stored.dtype.kind == "f":
            return np.array([float(w) for w in words], dtype=stored.dtype).tobytes()
        return np.array([int(w) for w in words], dtype=stored.dtype).tobytes()
    except (ValueError, OverflowError) as problem:
        raise damaged(path, "voxels", problem, f"numbers of {stored.dtype}") from None
