"""Transform files of ITK, looked at before ITK reads them: one cut short would be another transform without a word, one
with the wrong count of numbers, or a number beyond measure, would end the process or never end."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.headers import FARTHEST, check_axes
from AutoRegLib.imaging.probe import check_readable
from AutoRegLib.imaging.reach import parts
from AutoRegLib.imaging.stored import damaged

_SIZES = {0: "f8", 1: "f4", 2: "i4", 3: "i2", 4: "u2", 5: "u1"}  # by the digit of MATLAB's type that says so
#: numbers of a transform (parameters; fixed ones) by its name, in d dimensions where that matters
_LINEAR = {
    "Translation": (lambda d: d, (0,)), "Scale": (lambda d: d, (0, 2, 3)), "ScaleLogarithmic": (lambda d: d, (0, 2, 3)),
    "Affine": (lambda d: d * d + d, (2, 3)), "MatrixOffsetTransformBase": (lambda d: d * d + d, (2, 3)),
    "Euler2D": (lambda d: 3, (2,)), "Rigid2D": (lambda d: 3, (2,)), "Similarity2D": (lambda d: 4, (2,)),
    "Euler3D": (lambda d: 6, (3, 4)), "Versor": (lambda d: 3, (3,)), "VersorRigid3D": (lambda d: 6, (3,)),
    "Rigid3D": (lambda d: 12, (3,)), "QuaternionRigid": (lambda d: 7, (3,)), "Similarity3D": (lambda d: 7, (3,)),
    "ScaleVersor3D": (lambda d: 9, (3,)), "ScaleSkewVersor3D": (lambda d: 15, (3,)), "Identity": (lambda d: 0, (0,)),
}
_GRIDS = {"BSpline": 4, "DisplacementField": 1}  # and the least number of grid points along an axis


@dataclass(frozen=True)
class _Part:
    """One transform of a file: its name with type and dimensions, and its numbers."""

    name: str
    parameters: np.ndarray
    fixed: np.ndarray


def check_file(path: Path) -> None:
    """Refuse ITK's text and MATLAB transforms that end too early or are damaged; try others in a process of their own.

    Raises: InputError.
    """
    suffix = path.suffix.lower()
    if suffix not in (".tfm", ".txt", ".mat"):
        check_readable(path, "ReadTransform")
        return
    data = path.read_bytes()
    if suffix != ".mat" and b"Transform:" not in data:
        raise InputError(f"{path} is not a transform", expected="an ITK transform file", got="no line Transform:",
                         remedy="export it again as .nrrd, .h5 or .tfm")
    whole = _whole_matlab(data) if suffix == ".mat" else _whole_text(data.decode("ascii", errors="replace"))
    if not whole:
        raise InputError(f"{path} is cut short", expected="a whole transform, its last line ended",
                         got=f"{len(data)} bytes", remedy="copy or export the file again")
    try:
        found = list(_matlab_parts(data) if suffix == ".mat" else _text_parts(data.decode("ascii"), path))
    except (ValueError, struct.error) as problem:  # also of letters that are none
        raise damaged(path, "its numbers", problem, "an ITK transform file") from None
    for part in found:
        if not _is_known(part, path):
            check_readable(path, "ReadTransform")
            return


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
        raise _not_finite(path, wrong)


def _is_known(part: _Part, path: Path) -> bool:
    """Whether the numbers of a transform are those of its kind; False for a kind that is not known here.

    Raises: InputError.
    """
    kind = re.fullmatch(r"(\w+?)(?:Transform)?_(?:double|float)_([23])_\2(?:_3)?", part.name)
    if not kind:
        return False
    name, dims = kind[1], int(kind[2])
    beyond = [numbers for numbers in (part.parameters, part.fixed) if not np.all(np.abs(numbers) <= FARTHEST)]
    if beyond:
        raise _not_finite(path, sum(int((~(np.abs(numbers) <= FARTHEST)).sum()) for numbers in beyond))
    if name in _GRIDS:
        _check_grid(part, path, dims, _GRIDS[name])
    elif name in _LINEAR:
        count, fixed = _LINEAR[name]
        if part.parameters.size != count(dims) or part.fixed.size not in fixed:
            raise damaged(path, part.name, f"{part.parameters.size} parameters, {part.fixed.size} fixed ones",
                          f"{count(dims)} and {' or '.join(map(str, fixed))}")
    else:
        return name == "Composite" and not part.parameters.size
    return True


def _check_grid(part: _Part, path: Path, dims: int, least: int) -> None:
    """Size, origin, spacing and direction of a grid, and as many vectors as it has points. Raises InputError."""
    if part.fixed.size != dims * (dims + 3):
        raise damaged(path, f"{part.name}, its grid", f"{part.fixed.size} numbers", f"{dims * (dims + 3)}")
    size, spacing = part.fixed[:dims], part.fixed[2 * dims:3 * dims]
    if (size < least).any() or (size != np.rint(size)).any() or dims * np.prod(size) != part.parameters.size:
        raise damaged(path, f"{part.name}, its grid", f"{size.tolist()} points, {part.parameters.size} numbers",
                      f"{dims} numbers a point, {least} points or more along an axis")
    check_axes((part.fixed[3 * dims:].reshape(dims, dims) * spacing[:, None]).tolist(), path, f"{part.name}, its grid")


def _whole_text(text: str) -> bool:
    """Every transform has both its lines of numbers, and the last line is ended: a number may be cut, too.

    How many transforms a chain has stands nowhere; one that ends between two of them looks whole.
    """
    def count(line: str) -> int:
        return len(re.findall(line, text, flags=re.M))

    named, chains = count("^Transform: "), count("^Transform: CompositeTransform")
    return (text.endswith("\n") and count("^#Transform ") in (0, named) and named > chains
            and count("^Parameters:") == count("^FixedParameters:") == named - chains)


def _text_parts(text: str, path: Path) -> Iterator[_Part]:
    """The transforms of ITK's text format. Raises InputError, ValueError (numbers that are none)."""
    name, known = "", dict[str, np.ndarray]()
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        key = key.strip()
        if line.startswith("#") or not line.strip():
            continue
        if not colon or key not in ("Transform", "Parameters", "FixedParameters"):
            raise damaged(path, "a line", line[:80], "Transform:, Parameters: or FixedParameters:")
        if key == "Transform":
            name, known = value.strip(), {}
            if name.startswith("CompositeTransform"):
                yield _Part(name, np.zeros(0), np.zeros(0))
        elif not name or key in known or name.startswith("CompositeTransform"):
            raise damaged(path, key, "numbers of no transform", "Transform: before them")
        else:
            known[key] = np.array(value.split(), dtype=float)
            if len(known) == 2:
                yield _Part(name, known["Parameters"], known["FixedParameters"])


def _whole_matlab(data: bytes) -> bool:
    """Matrices of MATLAB's level 4 follow one another to the end of the file, two for each transform."""
    ends = [end for _, _, _, end in _matrices(data)]
    return bool(ends) and ends[-1] == len(data) and len(ends) % 2 == 0


def _matrices(data: bytes) -> Iterator[tuple[str, np.dtype, bytes, int]]:
    """Name, type, bytes and end of each matrix that has a header."""
    place = 0
    while place + 20 <= len(data):
        order = "<" if 0 <= struct.unpack_from("<i", data, place)[0] < 5000 else ">"
        kind, rows, columns, imaginary, length = struct.unpack_from(order + "5i", data, place)
        code = _SIZES.get(kind // 10 % 10)
        if code is None or min(rows, columns) < 0 or not 0 < length < 1000 or imaginary or columns != 1:
            return
        name = data[place + 20:place + 20 + length]
        start = place + 20 + length
        dtype = np.dtype(order + code)
        place = start + rows * dtype.itemsize
        yield name.rstrip(b"\0").decode("ascii", errors="replace"), dtype, data[start:place], place


def _matlab_parts(data: bytes) -> Iterator[_Part]:
    """The transforms of ITK's MATLAB format: two matrices each, the first with its name."""
    found = [(name, np.frombuffer(body, dtype).astype(float)) for name, dtype, body, _ in _matrices(data)]
    for (name, parameters), (_, fixed) in zip(found[::2], found[1::2], strict=True):
        yield _Part(name, parameters, fixed)


def _not_finite(path: Path, count: int) -> InputError:
    return InputError(f"{path} has numbers that are not finite", expected=f"finite numbers, up to {FARTHEST:g}",
                      got=f"{count} are NaN, infinite or larger", remedy="make the transform again")


def translation(shift: np.ndarray) -> sitk.AffineTransform:
    """The linear transform that adds a shift. Unit: mm LPS."""
    found = sitk.AffineTransform(len(shift))
    found.SetTranslation([float(value) for value in shift])
    return found
