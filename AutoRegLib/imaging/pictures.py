"""JPEG, TIFF and PNG files that were cut short, which ITK fills up without a word, or claim more than they hold."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

from AutoRegLib.core.errors import InputError

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes by TIFF's types
_MOST_RATIO = 1100  # deflate's own limit is 1032
_AXES = (256, 257)  # tags: width and height
_STRIPS = ((273, 279), (324, 325))  # tags: where the strips or tiles lie, and how many bytes each has


def is_picture(path: str | Path) -> bool:
    """Whether the name is that of a JPEG, TIFF or PNG file."""
    return str(path).lower().endswith((".jpg", ".jpeg", ".tif", ".tiff", ".png"))


def check_whole(path: Path) -> None:
    """Refuse a JPEG, TIFF or PNG that is cut short, and a PNG of more pixels than can be packed in it.

    Raises: InputError.
    """
    data = path.read_bytes()
    whole = True
    if data[:2] == b"\xff\xd8":  # after the start of the last scan stands the mark of the end
        whole = data.rfind(b"\xff\xda") < data.rfind(b"\xff\xd9")
        _check_claim(path, _jpeg_pixels(data), len(data))
    elif data[:4] in (b"II*\0", b"MM\0*"):
        try:
            end, pixels = _tiff_claim(data, "<" if data[:2] == b"II" else ">")
            whole = end <= len(data)
            _check_claim(path, pixels, len(data))
        except struct.error:  # the directory itself is not there
            whole = False
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        whole = _whole_png(path, data)
    if not whole:
        raise InputError(f"{path} is cut short", expected="a whole picture", got=f"{len(data)} bytes",
                         remedy="copy or download the file again")


def _check_claim(path: Path, pixels: int, size: int) -> None:
    """Refuse more pixels than can be packed in a file, before memory is taken for them. Raises: InputError."""
    if pixels > _MOST_RATIO * 8 * size:  # 8 pixels a byte where they are black or white
        raise InputError(f"{path} is cut short", expected=f"{pixels} pixels, as its header says",
                         got=f"{size} bytes, which cannot hold as many", remedy="copy or download the file again")


def _jpeg_pixels(data: bytes) -> int:
    """Width times height, from the header of the frame; 0 where there is none."""
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        kind, (length,) = data[place + 1], struct.unpack_from(">H", data, place + 2)
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, place + 5)
            return int(height * width)
        place += 1 if kind == 0xFF else 2 + length
    return 0


def _tiff_claim(data: bytes, order: str) -> tuple[int, int]:
    """The end of the last thing that the first directory of a TIFF names, and its pixels. Raises struct.error."""
    place = struct.unpack_from(order + "I", data, 4)[0]
    ends, numbers = [place], {}
    for i in range(struct.unpack_from(order + "H", data, place)[0]):
        tag, kind, count = struct.unpack_from(order + "HHI", data, place + 2 + 12 * i)
        start, size = place + 10 + 12 * i, count * _SIZES.get(kind, 1)
        if size > 4:
            start = struct.unpack_from(order + "I", data, start)[0]
        ends.append(start + size)
        if kind in (3, 4) and (tag in _AXES or any(tag in pair for pair in _STRIPS)):
            numbers[tag] = struct.unpack_from(f"{order}{count}{'H' if kind == 3 else 'I'}", data, start)
    for offsets, lengths in _STRIPS:
        pairs = zip(numbers.get(offsets, ()), numbers.get(lengths, ()), strict=False)
        ends += [start + length for start, length in pairs]
    return max(ends), math.prod(sum(numbers.get(tag, (0,))[:1]) for tag in _AXES)


def _whole_png(path: Path, data: bytes) -> bool:
    """Every chunk is there with its checksum, up to the last. Raises: InputError (claims more pixels than it holds)."""
    place, kind = 8, b""
    while kind != b"IEND":
        if place + 12 > len(data):
            return False
        length, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 4:place + 8 + length]
        if place + 12 + length > len(data) or zlib.crc32(body) != struct.unpack_from(">I", data, place + 8 + length)[0]:
            return False
        if place == 8:
            if kind != b"IHDR" or length != 13:
                return False
            width, height = struct.unpack_from(">II", data, 16)
            _check_claim(path, width * height, len(data))
        place += 12 + length
    return True
