"""What ITK reads of transform files without a word: another transform from one cut short, numbers that are none."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.reach import parts

_SIZES = {0: 8, 1: 4, 2: 4, 3: 2, 4: 2, 5: 1}  # bytes of a number by the digit of MATLAB's type that says so


def check_whole(path: Path) -> None:
    """Refuse ITK's text and MATLAB transforms that end too early. Raises InputError."""
    data = path.read_bytes()
    if data.startswith(b"#Insight Transform File"):
        whole = _whole_text(data.decode("ascii", errors="replace"))
    elif path.suffix.lower() == ".mat":
        whole = _whole_matlab(data)
    else:
        return
    if not whole:
        raise InputError(f"{path} is cut short", expected="a whole transform, its last line ended",
                         got=f"{len(data)} bytes", remedy="copy or export the file again")


def check_finite(transform: sitk.Transform, path: Path) -> None:
    """Refuse a transform with NaN or infinite numbers, whose warped images would be noise. Raises InputError."""
    wrong = 0
    for part in parts(transform):
        if part.GetName() == "DisplacementFieldTransform":
            numbers = sitk.GetArrayViewFromImage(sitk.DisplacementFieldTransform(part).GetDisplacementField())
        else:
            numbers = np.array((*part.GetParameters(), *part.GetFixedParameters()))
        wrong += numbers.size - int(np.isfinite(numbers).sum())
    if wrong:
        raise InputError(f"{path} has numbers that are not finite", expected="finite mm",
                         got=f"{wrong} are NaN or infinite", remedy="make the transform again")


def _whole_text(text: str) -> bool:
    """Every transform has both its lines of numbers, and the last line is ended: a number may be cut, too.

    How many transforms a chain has stands nowhere; one that ends between two of them looks whole.
    """
    def count(line: str) -> int:
        return len(re.findall(line, text, flags=re.M))

    named, chains = count("^Transform: "), count("^Transform: CompositeTransform")
    return (text.endswith("\n") and count("^#Transform ") in (0, named) and named > chains
            and count("^Parameters:") == count("^FixedParameters:") == named - chains)


def _whole_matlab(data: bytes) -> bool:
    """Matrices of MATLAB's level 4 follow one another to the end of the file, two for each transform."""
    place, count = 0, 0
    while place + 20 <= len(data):
        order = "<" if 0 <= struct.unpack_from("<i", data, place)[0] < 5000 else ">"
        kind, rows, columns, imaginary, name = struct.unpack_from(order + "5i", data, place)
        size = _SIZES.get(kind // 10 % 10)
        if size is None or min(rows, columns, name) < 0:
            return True  # not of this kind: ITK's own message is the better one
        place += 20 + name + rows * columns * size * (2 if imaginary else 1)
        count += 1
    return place == len(data) and count % 2 == 0
