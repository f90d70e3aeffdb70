"""Compressed voxels unpacked with their checksums verified, and never more of them than a header says."""

from __future__ import annotations

import bz2
import importlib
import itertools
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from AutoRegLib.core.errors import DiskError, InputError

try:  # more than twice as fast, and as fast as ITK's own, which is the same
    codec: Any = importlib.import_module("zlib_ng.zlib_ng")
except ImportError:  # as in Slicer's own Python
    codec = zlib

_BLOCK, _PACKED_BLOCK = 2**20, 2**18  # bytes
_LEAST_REST = 2**16  # bytes; fewer may fill up a block of a tape or a disk
_MOST_RATIO = {"gzip": 1100, "bzip2": 50_000}  # nothing packs closer than that; deflate's own limit is 1032


def is_packed(path: Path) -> bool:
    """Whether the content is that of gzip, whatever the name."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def link(source: Path, target: Path) -> None:
    """``target`` shows the bytes of ``source``. Raises OSError."""
    try:
        os.symlink(source.resolve(), target)
    except (OSError, NotImplementedError):  # Windows allows it to few
        shutil.copyfile(source, target)


def unpack(source: Path, target: Path, *, name: Path, most: int, start: int = 0, packing: str = "gzip") -> None:
    """The content of ``source`` from byte ``start`` on, unpacked into ``target``, its checksum verified.

    ``name``: what the user calls the file. ``most``: bytes that its header asks for; what is packed behind them is read
    (the checksum is the last of it), but not kept.
    Raises: InputError (cut short, damaged, asks for more than can be packed in it), DiskError (no room).
    """
    try:
        with target.open("wb") as plain:
            for block in _kept(source, name, most, start, packing):
                plain.write(block)
    except OSError as problem:
        raise DiskError(f"cannot unpack {name}", expected=f"room in {target.parent.parent}", got=problem.strerror,
                        remedy="make room there, or set TMPDIR to a folder with room") from None


def unpacked(source: Path, *, name: Path, dtype: np.dtype, count: int, start: int = 0, skip: int = 0,
             packing: str = "gzip") -> np.ndarray:
    """``count`` values behind the first ``skip`` bytes of what :func:`unpack` would write, in memory at once.

    Raises: InputError (cut short, damaged, asks for more than can be packed in it).
    """
    blocks = _kept(source, name, skip + count * dtype.itemsize, start, packing)
    first = next(blocks, b"")  # before memory is taken
    array = np.empty(count, dtype)
    room = array.view(np.uint8)
    place = -skip
    for block in itertools.chain([first], blocks):
        part = block[-place:] if place < 0 else block
        room[max(place, 0):max(place, 0) + len(part)] = np.frombuffer(part, np.uint8)
        place += len(block)
    if place < array.nbytes:
        raise InputError(f"{name} is cut short", expected=f"{array.nbytes} bytes of voxels, as its header says",
                         got=f"{max(place, 0)} bytes", remedy="copy or download the file again")
    return array


def _kept(source: Path, name: Path, most: int, start: int, packing: str) -> Iterator[bytes]:
    """The first ``most`` bytes of the content, all of which is read. Raises: InputError, OSError."""
    packed = source.stat().st_size - start
    if most > _MOST_RATIO[packing] * packed + _BLOCK:  # before room or memory is taken for it
        raise InputError(f"{name} is cut short", expected=f"{most} bytes of voxels, as its header says",
                         got=f"{packed} compressed bytes, which cannot hold as many",
                         remedy="copy or download the file again")
    inflate = inflated if packing == "gzip" else _bunzipped
    try:
        with source.open("rb") as stream:
            stream.seek(start)
            left, more = most, 0
            for block in inflate(stream):
                if left:
                    yield block[:left]
                more += max(0, len(block) - left)
                left -= min(left, len(block))
        check_rest(name, more, most)
    except (EOFError, codec.error, ValueError) as problem:
        raise _damaged(name, problem) from None
    except OSError as problem:
        if problem.errno is None:  # bz2 says so of damaged data
            raise _damaged(name, problem) from None
        raise


def check_rest(path: Path, rest: int, expected: int) -> None:
    """Refuse so much behind the voxels of a header that it is another image. Unit: bytes. Raises InputError."""
    if rest >= 0.9 * max(expected, _LEAST_REST):
        raise InputError(f"{path} holds more voxels than its header says", expected=f"{expected} bytes",
                         got=f"{expected + rest} bytes", remedy="repair the header, or export the image again")


def inflated(packed: BinaryIO) -> Iterator[bytes]:
    """The content of gzip or zlib data of one or more members, each checksum verified.

    Raises: EOFError (cut short), ``codec.error`` (damaged).
    """
    decoder = codec.decompressobj(47)
    while block := packed.read(_PACKED_BLOCK):
        while block:
            if decoder.eof:  # another member, or zeros that fill up the last block
                block = block.lstrip(b"\0")
                if not block:
                    break
                decoder = codec.decompressobj(47)
            yield decoder.decompress(block, _BLOCK)
            while decoder.unconsumed_tail:  # a block may hold a thousand times its size
                yield decoder.decompress(decoder.unconsumed_tail, _BLOCK)
            block = decoder.unused_data
    if not decoder.eof:
        raise EOFError


def _bunzipped(packed: BinaryIO) -> Iterator[bytes]:
    with bz2.open(packed) as stream:
        while block := stream.read(_BLOCK):
            yield block


def _damaged(name: Path, problem: Exception) -> InputError:
    cut = isinstance(problem, EOFError)
    return InputError(f"{name} is {'cut short' if cut else 'damaged'}", expected="whole compressed data",
                      got="an end before its time" if cut else problem, remedy="copy or download the file again")
