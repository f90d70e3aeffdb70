"""Where the voxels of an image file lie, and reading them straight into an array."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.unpacking import unpacked

_BLOCK = 2**16  # values; a scale factor works on blocks that stay in the processor's cache


@dataclass(frozen=True)
class Form:
    """How the header of a format says where its voxels lie: ``attached`` right behind it; ``detached`` in a file
    ``voxels.raw`` beside it, from ``{offset}`` on. Each: the suffix of such a file, the last lines of its header."""

    attached: tuple[str, str]
    detached: tuple[str, str] | None = None


@dataclass(frozen=True)
class Stored:
    """An image file as its header describes it.

    ``header``: that of the file, or one written anew in its format; without the last lines, which ``form`` has.
    ``packing``: raw, gzip, bzip2, ascii or hex. ``offset``: where the voxels, packed or not, begin in ``data``; -1
    where they are its end. ``skip``: bytes before the voxels in what is unpacked. ``count``: values, of ``dtype``;
    they mean ``slope`` times what is there plus ``intercept``.
    """

    header: bytes
    form: Form
    data: Path
    offset: int
    count: int
    dtype: np.dtype
    packing: str = "raw"
    skip: int = 0
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of all voxels."""
        return self.count * self.dtype.itemsize

    @property
    def scaled(self) -> bool:
        """Whether a scale factor changes the values, as ITK decides it."""
        near = np.finfo(float).eps
        return not (abs(self.slope - 1) <= near and abs(self.intercept) <= near)


def read_voxels(path: Path, stored: Stored, kind: np.dtype) -> np.ndarray:
    """The voxels in memory's order, one axis, as numbers of ``kind``, scaled; checksums are verified.

    ``path``: what the user calls the file. Raises: InputError (cut short, damaged).
    """
    if stored.packing == "raw":
        offset = raw_offset(path, stored)
        array = np.fromfile(stored.data, stored.dtype, stored.count, offset=offset)
        check_size(path, array.nbytes, stored.size)  # it may have been cut meanwhile
    elif stored.packing in ("ascii", "hex"):
        content = from_text(path, stored)
        check_size(path, len(content), stored.size)
        array = np.frombuffer(bytearray(content), stored.dtype, stored.count)
    else:
        array = unpacked(stored.data, name=path, dtype=stored.dtype, count=stored.count, start=stored.offset,
                         skip=stored.skip, packing=stored.packing)
    if stored.scaled:
        return _scaled(array, kind, stored.slope, stored.intercept)
    return array.astype(kind, copy=False)


def _scaled(array: np.ndarray, kind: np.dtype, slope: float, intercept: float) -> np.ndarray:
    """Values first become numbers of ``kind``, then are scaled in 64 bits, as ITK does it."""
    out = np.empty(array.size, kind)
    with np.errstate(all="ignore"):  # what is not finite any more is found by who asks for finite numbers
        for start in range(0, array.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            exact = array[block].astype(kind).astype(np.float64)
            exact *= slope
            exact += intercept
            out[block] = exact
    return out


def raw_offset(path: Path, stored: Stored) -> int:
    """Where the voxels begin. Raises InputError where not all are there."""
    length = stored.data.stat().st_size
    offset = length - stored.size if stored.offset < 0 else stored.offset
    check_size(path, length - max(offset, 0) if offset >= 0 else length, stored.size)
    return offset


def check_size(path: Path, size: int, expected: int) -> None:
    """Refuse voxels that are not all there. Unit: bytes. Raises InputError."""
    if size < expected:
        raise InputError(f"{path} is cut short", expected=f"{expected} bytes of voxels, as its header says",
                         got=f"{max(size, 0)} bytes", remedy="copy or download the file again")


def damaged(path: Path, field: str, got: object, expected: str) -> InputError:
    """The error for a field of a header that cannot be."""
    return InputError(f"{path} has a damaged header: {field}", expected=expected, got=got,
                      remedy="repair the header, or export the image again")


def from_text(path: Path, stored: Stored) -> bytes:
    """The bytes of voxels that are written out. Raises InputError."""
    if stored.size > 4 * (stored.data.stat().st_size + 1) * stored.dtype.itemsize:
        check_size(path, stored.data.stat().st_size, stored.size)
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
