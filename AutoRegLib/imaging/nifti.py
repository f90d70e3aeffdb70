"""What SimpleITK cannot do with NIfTI files, or does wrongly without a word."""

from __future__ import annotations

import gzip
import math
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.leftovers import private_prefix
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.headers import FARTHEST, no_spacing
from AutoRegLib.imaging.stored import Form, Stored, damaged
from AutoRegLib.imaging.unpacking import check_rest, is_packed, link, unpack
from AutoRegLib.imaging.volume import array_to_image, geometry_of

DISPLACEMENT = 1006  # the intent code of a displacement field
_HALVES = {".hdr": (".img", ".img.gz"), ".hdr.gz": (".img", ".img.gz"),
           ".img": (".hdr", ".hdr.gz"), ".img.gz": (".hdr", ".hdr.gz")}
_BLOCK = 2**20  # bytes


@dataclass(frozen=True)
class _Layout:
    """Where the voxels of a file lie, as its header says. Unit: bytes; spacing, and numbers that place it, in mm."""

    offset: int
    count: int
    dtype: np.dtype
    spacing: tuple[float, ...]
    place: tuple[float, ...]
    slope: float
    intercept: float
    unit: int  # of length, a code
    header: bytes  # without extensions
    single: bool  # it is NIfTI's, and says that the voxels follow in the same file

    @property
    def size(self) -> int:
        """The length of the unpacked file that holds the voxels, at least."""
        return self.offset + self.count * self.dtype.itemsize


def is_nifti(path: str | Path) -> bool:
    """Whether the name is that of a NIfTI or Analyze file."""
    return str(path).lower().endswith((".nii", ".nii.gz", *_HALVES))


def describe(path: Path) -> Stored | None:
    """Where the voxels of a NIfTI image in one file lie; None for what ITK reads under a private name (:func:`opened`).

    Raises: InputError (no header, spacing 0, a place that is none).
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    packed = is_packed(path)
    layout = _checked(path, path, pair=False)
    if not layout.single or layout.dtype.names or layout.dtype.kind not in "iuf":
        return None
    if not packed:
        check_rest(path, path.stat().st_size - layout.size, layout.size)
    packing, start, skip = ("gzip", 0, layout.offset) if packed else ("raw", layout.offset, 0)
    return Stored(layout.header, Form((".nii", "")), path, start, layout.count, layout.dtype, packing, skip,
                  layout.slope, layout.intercept)


def _checked(path: Path, header: Path, *, pair: bool) -> _Layout:
    """What a header says, of voxels that have a size and a place. Raises: InputError."""
    layout = _layout(header, pair=pair)
    if layout is None:
        raise InputError(f"{path} is not an image that can be read", expected="a NIfTI or Analyze header",
                         remedy="check the file, or export the image again")
    _check_place(path, layout)
    return layout


@contextmanager
def opened(path: Path, *, voxels: bool = True) -> Iterator[Path]:
    """A name under which ITK reads the voxels of this very file, which are all there and finite.

    Without ``voxels`` for its header alone, of which nothing but spacing and place is looked at.

    ITK repairs without a word: missing voxels and NaN become 0, a spacing of 0 becomes 1 mm; and it looks for the
    voxels by the name without its suffix, so that a neighbouring ``x.nii`` answers for ``x.nii.gz``. Therefore a
    compressed file is unpacked first, its checksum verified, into a private folder.

    Raises: InputError (cut short, damaged, not finite, spacing 0, half of a pair missing), DiskError (no room).
    """
    header, data = _parts(path)
    layout = _checked(path, header, pair=header != data)
    if not voxels:
        yield path
        return
    if not (is_packed(data) or is_packed(header) or path.name.lower().endswith(".gz")):
        _check_voxels(path, data, layout)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix=private_prefix()) as folder:
        names = {header: Path(folder) / ("image.hdr" if header != data else "image.nii"),
                 data: Path(folder) / ("image.img" if header != data else "image.nii")}
        for source, target in names.items():
            if is_packed(source):
                unpack(source, target, name=path, most=layout.size if source == data else 1000 * source.stat().st_size)
            else:
                link(source, target)
        _check_voxels(path, names[data], layout)
        yield names[header]


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


def _layout(header: Path, *, pair: bool) -> _Layout | None:
    """What the header says of the voxels; None where it is no header."""
    import nibabel

    try:
        with (gzip.open(header) if is_packed(header) else header.open("rb")) as stream:
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
        named = [f"srow_{axis}" for axis in "xyz"] if fields["sform_code"] > 0 else []
        named += ["quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"]
        place = np.concatenate([np.ravel(fields[name]) for name in named]).astype(float)
        slope, intercept = (float(fields[name]) for name in ("scl_slope", "scl_inter"))
        if math.isnan(slope):  # so some programs say that there are none
            slope, intercept = 0.0, 0.0 if math.isnan(intercept) else intercept
        if abs(slope) < np.finfo(float).eps:  # as ITK takes it
            slope = 1.0
        return _Layout(max(offset, 0), count, fields.get_data_dtype(), tuple(spacing.tolist()), tuple(place.tolist()),
                       slope, intercept, int(fields["xyzt_units"]) & 7, start[:length] + bytes(4),
                       fields["magic"].tobytes().startswith(b"n+"))
    except (nibabel.spatialimages.HeaderDataError, OSError, EOFError, ValueError, KeyError, OverflowError, zlib.error):
        return None


def _check_place(path: Path, layout: _Layout) -> None:
    """Refuse voxels without a size, and a place that is none, at which ITK may compute for ever. Raises InputError."""
    if not np.all(np.isfinite(layout.spacing)) or 0 in layout.spacing:
        raise no_spacing(path, layout.spacing)
    if not math.isfinite(layout.slope) or not math.isfinite(layout.intercept):
        raise damaged(path, "scl_slope or scl_inter", (layout.slope, layout.intercept), "finite numbers, or none")
    if layout.unit > 3:
        raise damaged(path, "xyzt_units", layout.unit, "1, 2 or 3 for m, mm or um, or 0")
    if not all(abs(number) <= FARTHEST for number in layout.place):
        raise damaged(path, "qform or sform", max(layout.place, key=abs), "finite numbers")


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
