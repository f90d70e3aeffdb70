"""Whether a file that was just written is all there, where its writer does not tell."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path


def ends_whole(path: Path) -> bool:
    """Whether a NIfTI file that this process has just written has all the bytes that its header promises. Quick: of a
    compressed one only the header and the length that stands at its end are read."""
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else open(path, "rb") as stream:
            header = stream.read(352)
        with open(path, "rb") as stream:
            length = stream.seek(-4 if packed else 0, 2)
            length = int.from_bytes(stream.read(4), "little") if packed else length
        size, *dims = struct.unpack_from("=i", header)[0], *struct.unpack_from("=8h", header, 40)
        bits, offset = struct.unpack_from("=h", header, 72)[0], struct.unpack_from("=f", header, 108)[0]
    except (OSError, EOFError, struct.error, zlib.error):
        return False
    if size != 348:  # another version: not written by us
        return True
    promised = int(offset) + math.prod(dims[1 : dims[0] + 1]) * bits // 8
    return length == promised % 2**32 if packed else length >= promised
