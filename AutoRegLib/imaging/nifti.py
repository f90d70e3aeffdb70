"""What SimpleITK cannot do with NIfTI files, or does wrongly without a word."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.volume import array_to_image, geometry_of

DISPLACEMENT = 1006  # the intent code of a displacement field
_HALVES = {".hdr": (".img", ".img.gz"), ".hdr.gz": (".img", ".img.gz"),
           ".img": (".hdr", ".hdr.gz"), ".img.gz": (".hdr", ".hdr.gz")}
_BLOCK = 2**20  # bytes


@dataclass(frozen=True)
class _Layout:
    """Where the voxels of a file lie, as its header says. Unit: bytes; spacing in mm."""

    offset: int
    count: int
    dtype: np.dtype
    spacing: tuple[float, ...]

    @property
    def size(self) -> int:
        """The length of the unpacked file that holds the voxels, at least."""
        return self.offset + self.count * self.dtype.itemsize


def is_nifti(path: str | Path) -> bool:
    """Whether the name is that of a NIfTI or Analyze file."""
    return str(path).lower().endswith((".nii", ".nii.gz", *_HALVES))


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """A name under which ITK reads the voxels of this very file, which are all there and finite.

    ITK repairs without a word: missing voxels and NaN become 0, a spacing of 0 becomes 1 mm; and it looks for the
    voxels by the name without its suffix, so that a neighbouring ``x.nii`` answers for ``x.nii.gz``. Therefore a
    compressed file is unpacked first, its checksum verified, into a private folder; ITK then reads it faster.

    Raises: InputError (cut short, damaged, not finite, spacing 0, half of a pair missing), DiskError (no room).
    """
    header, voxels = _parts(path)
    layout = _layout(header, pair=header != voxels)
    if layout is None:  # not a readable header: ITK's own message is the better one
        yield path
        return
    _check_spacing(path, layout.spacing)
    packed = _is_packed(voxels)
    if not packed and not _is_packed(header) and not path.name.lower().endswith(".gz"):
        _check_voxels(path, voxels, layout)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="autoreg-") as folder:
        names = {header: Path(folder) / ("image.hdr" if header != voxels else "image.nii"),
                 voxels: Path(folder) / ("image.img" if header != voxels else "image.nii")}
        for source, target in names.items():
            _unpack(source, target, path)
        _check_voxels(path, names[voxels], layout)
        yield names[header]


def check_header(path: Path) -> None:
    """Refuse a spacing of 0, which ITK takes for 1 mm, and half of a pair. Raises InputError."""
    header, voxels = _parts(path)
    layout = _layout(header, pair=header != voxels)
    if layout is not None:
        _check_spacing(path, layout.spacing)


def _parts(path: Path) -> tuple[Path, Path]:
    """The file with the header and the one with the voxels: the same for NIfTI in one file. Raises InputError."""
    suffix = next((s for s in _HALVES if path.name.lower().endswith(s)), None)
    if suffix is None:
        return path, path
    stem = path.name[:-len(suffix)]
    halves = [half for half in path.parent.iterdir()
              if half.name.startswith(stem) and half.name[len(stem):].lower() in _HALVES[suffix]]
    if len(halves) != 1:
        raise InputError(f"{path} is half of an image", expected=f"{stem} with one of {', '.join(_HALVES[suffix])}",
                         got=", ".join(sorted(half.name for half in halves)) or "neither",
                         remedy="put both files into one folder" if not halves else "remove the one that is not its")
    return (path, halves[0]) if suffix.startswith(".hdr") else (halves[0], path)


def _is_packed(path: Path) -> bool:
    """Whether the content is that of gzip, whatever the name."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _layout(header: Path, *, pair: bool) -> _Layout | None:
    """What the header says of the voxels; None where it is no header."""
    import nibabel

    try:
        with (gzip.open(header) if _is_packed(header) else header.open("rb")) as stream:
            start = stream.read(540)
        length = next((n for n in (348, 540) if n in (int.from_bytes(start[:4], "little"),
                                                      int.from_bytes(start[:4], "big"))), None)
        if length is None or len(start) < length:
            return None
        kind = nibabel.Nifti1Header if length == 348 else nibabel.Nifti2Header
        fields = kind(start[:length], check=False)
        axes = int(fields["dim"][0])
        count = int(np.prod(np.maximum(fields["dim"][1:axes + 1].astype(object), 1)))
        # a header in one file with the voxels ends before them, whatever it says
        offset = int(fields["vox_offset"]) if pair else max(int(fields["vox_offset"]), length)
        spacing = np.asarray(fields["pixdim"][1:4], dtype=float)[:axes]
        return _Layout(max(offset, 0), count, fields.get_data_dtype(), tuple(spacing.tolist()))
    except (nibabel.spatialimages.HeaderDataError, OSError, EOFError, ValueError, OverflowError, zlib.error):
        return None


def _check_spacing(path: Path, spacing: tuple[float, ...]) -> None:
    if not np.all(np.isfinite(spacing)) or 0 in spacing:
        raise InputError(f"{path} has a voxel spacing of zero", expected="mm above 0", got=spacing,
                         remedy="repair the image header")


def _check_voxels(path: Path, voxels: Path, layout: _Layout) -> None:
    """All voxels are there, and finite. ``path``: what the user calls the file."""
    size = voxels.stat().st_size
    if size < layout.size:
        raise InputError(f"{path} is cut short", expected=f"{layout.size} bytes, as its header says",
                         got=f"{size} bytes", remedy="copy or download the file again")
    if layout.dtype.kind != "f":
        return
    wrong, step = 0, _BLOCK // layout.dtype.itemsize
    with voxels.open("rb") as stream:
        stream.seek(layout.offset)
        for start in range(0, layout.count, step):
            block = np.fromfile(stream, layout.dtype, min(step, layout.count - start))
            wrong += int(block.size - np.isfinite(block).sum())
    if wrong:
        raise InputError(f"{path} has voxels that are not finite", expected="finite numbers",
                         got=f"{wrong} voxels are NaN or infinite", remedy="replace them, e.g. by 0")


def _unpack(source: Path, target: Path, path: Path) -> None:
    """The content of ``source`` without gzip, its checksum verified, as ``target``. Raises InputError, DiskError."""
    try:
        if not _is_packed(source):
            try:
                os.symlink(source.resolve(), target)
            except (OSError, NotImplementedError):  # Windows allows it to few
                shutil.copyfile(source, target)
            return
        with source.open("rb") as packed, target.open("wb") as plain:
            for block in _inflated(packed):
                plain.write(block)
    except (EOFError, zlib.error) as problem:
        cut = isinstance(problem, EOFError)
        raise InputError(f"{path} is {'cut short' if cut else 'damaged'}", expected="a whole gzip file",
                         got="an end before its time" if cut else problem,
                         remedy="copy or download the file again") from None
    except OSError as problem:
        raise DiskError(f"cannot unpack {path}", expected=f"room in {target.parent.parent}", got=problem.strerror,
                        remedy="make room there, or set TMPDIR to a folder with room") from None


def _inflated(packed: BinaryIO) -> Iterator[bytes]:
    """The content of a gzip file of one or more members, each checksum verified; a third faster than ``gzip``.

    Raises: EOFError (cut short), zlib.error (damaged).
    """
    decoder = zlib.decompressobj(31)
    while block := packed.read(_BLOCK):
        while block:
            if decoder.eof:  # another member, or zeros that fill up the last block
                block = block.lstrip(b"\0")
                if not block:
                    break
                decoder = zlib.decompressobj(31)
            yield decoder.decompress(block)
            block = decoder.unused_data
    if not decoder.eof:
        raise EOFError


def write_displacement(field: DisplacementField, name: str) -> None:
    """A field as (x, y, z, 1, 3) with intent 1006, which SimpleITK cannot set; its vectors are in RAS.

    In 2-D SimpleITK's own intent 1007 (vector, LPS) is written: ITK misreads 1006 there.
    """
    if field.geometry.dims == 2:
        sitk.WriteImage(field.to_image(), name, True)
        return
    import nibabel

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ field.geometry.index_to_physical
    vectors = field.vectors.transpose(2, 1, 0, 3) * np.array([-1.0, -1.0, 1.0], dtype=np.float32)
    image = nibabel.Nifti1Image(vectors[:, :, :, None, :], affine)
    image.header.set_intent(DISPLACEMENT)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nibabel.save(image, name)


def reread_flat_displacement(image: sitk.Image, path: Path) -> sitk.Image:
    """The vectors of a 2-D field with intent 1006, in LPS: ITK negates two of three numbers whatever their count."""
    import nibabel

    with opened(path) as name:
        stored: Any = nibabel.load(name)
        on_disk = stored.get_fdata().reshape(*image.GetSize(), 2)
        return array_to_image(-on_disk.transpose(1, 0, 2), geometry_of(image), vectors=True)
