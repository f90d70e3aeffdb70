"""Images as ITK means them, from files that ITK alone would crash on, fill up or mistake for others.

The header is looked at here first. One value a voxel: ITK reads the header, and the voxels come into memory once,
without ITK. What is left (vectors, colours, complex numbers, pairs of files, pictures) ITK reads whole, under a private
name where it needs one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging import headers, metaimage, nifti, nrrd, pictures
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.probe import check_readable
from AutoRegLib.imaging.stored import Stored, read_voxels
from AutoRegLib.imaging.volume import image_to_array

_TYPES = {sitk.sitkInt8: np.int8, sitk.sitkUInt8: np.uint8, sitk.sitkInt16: np.int16, sitk.sitkUInt16: np.uint16,
          sitk.sitkInt32: np.int32, sitk.sitkUInt32: np.uint32, sitk.sitkInt64: np.int64, sitk.sitkUInt64: np.uint64,
          sitk.sitkFloat32: np.float32, sitk.sitkFloat64: np.float64}


def read_scalars(path: Path, *, flat: bool = True) -> tuple[np.ndarray, Geometry]:
    """Voxels (z, y, x) and geometry of an image of one value a voxel, to the bit as ITK reads them.

    Raises: InputError (no image, damaged, cut short, several values a voxel, more than 3 axes), DiskError.
    """
    stored = _described(path)
    if stored is not None:
        with headers.alone(stored) as name:
            reader = _information(path, name)
        kind = np.dtype(_TYPES.get(reader.GetPixelID(), np.void))
        if kind.kind != "V" and math.prod(reader.GetSize()) == stored.count and (
                stored.scaled or kind == stored.dtype.newbyteorder("=")):
            geometry = squeezed_geometry(reader, path, flat=flat)
            return read_voxels(path, stored, kind).reshape(geometry.shape), geometry
    image = _read(path, stored)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path} has several values per voxel", expected="one value per voxel",
                         got=f"{image.GetNumberOfComponentsPerPixel()} components",
                         remedy="convert colour to grey, or name the image instead of a displacement field")
    geometry = squeezed_geometry(image, path, flat=flat)
    return image_to_array(image).reshape(geometry.shape), geometry


def read_image(path: Path) -> sitk.Image:
    """An image of any kind as ITK reads it. Raises: InputError, DiskError."""
    return _read(path, _described(path))


def read_header(path: Path, *, flat: bool = True) -> Geometry:
    """The geometry of an image from its header alone. Raises: InputError."""
    return squeezed_geometry(_header(path), path, flat=flat)


def voxel_bytes(path: Path) -> int:
    """How many bytes a voxel takes once it is read, from the header alone. Raises: InputError."""
    return np.dtype(_TYPES.get(_header(path).GetPixelID(), np.float64)).itemsize


def _header(path: Path) -> sitk.ImageFileReader:
    stored = _described(path)
    with headers.alone(stored) if stored is not None else _opened(path, voxels=False) as name:
        return _information(path, name)


def _described(path: Path) -> Stored | None:
    """What a header of one of three formats says; None where ITK is asked. Raises: InputError."""
    if nifti.is_nifti(path):
        return nifti.describe(path)
    if nrrd.is_nrrd(path):
        return nrrd.describe(path)
    if metaimage.is_metaimage(path):
        return metaimage.describe(path)
    return None


def _read(path: Path, stored: Stored | None) -> sitk.Image:
    written = stored is not None and stored.form.detached is not None
    with headers.opened(path, stored) if written and stored else _opened(path) as name:
        return _guarded(path, lambda: sitk.ReadImage(str(name)))


@contextmanager
def _opened(path: Path, *, voxels: bool = True) -> Iterator[Path]:
    """A name under which ITK reads this very file, looked at first; without ``voxels`` for its header alone.

    Raises: InputError, DiskError.
    """
    if nifti.is_nifti(path):
        with nifti.opened(path, voxels=voxels) as name:
            yield name
        return
    if pictures.is_picture(path):
        pictures.check_whole(path)
    else:
        check_readable(path, "ReadImage")
    yield path


def _information(path: Path, name: Path) -> sitk.ImageFileReader:
    """ITK's reading of a header. Raises: InputError."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(name))
    _guarded(path, reader.ReadImageInformation)
    return reader


def _guarded(path: Path, read: Callable[[], Any]) -> Any:
    """What ``read`` returns; SimpleITK's failures as errors that say what to do."""
    try:
        return read()
    except RuntimeError as problem:
        text = str(problem)
        if "spacing" in text.lower():
            raise headers.no_spacing(path, brief(problem)) from None
        if "orthonormal" in text:
            raise InputError(f"{path} has sheared axes", expected="perpendicular image axes",
                             remedy="resample it to a regular grid (in Slicer: harden its transform)") from None
        raise InputError(f"{path} is not an image that can be read", expected="NIfTI, NRRD, MetaImage, PNG or JPEG",
                         got=brief(problem), remedy="check the file, or convert it to NIfTI") from None


def squeezed_geometry(image: sitk.Image | sitk.ImageFileReader, path: Path, *, flat: bool) -> Geometry:
    """The geometry of an image or a header without trailing axes of one voxel, of three axes unless ``flat``."""
    size, dims = image.GetSize(), image.GetDimension()
    kept = dims
    while kept > (2 if flat else 3) and size[kept - 1] == 1:
        kept -= 1
    if kept > 3:
        raise InputError(f"{path} has {dims} axes", expected="one 2-D or 3-D image", got=f"size {size}",
                         remedy="extract one volume of the series")
    direction = np.array(image.GetDirection()).reshape(dims, dims)
    inner, origin = direction[:kept, :kept], np.array(image.GetOrigin())
    if kept < dims and np.abs(inner.T @ inner - np.eye(kept)).max() > 1e-3:
        # A slice that is tilted in space has no 2-D direction: use coordinates within its own plane.
        inner, origin = np.eye(kept), direction.T @ origin
    return Geometry(size[:kept], image.GetSpacing()[:kept], tuple(origin[:kept]), tuple(inner.ravel()))


def brief(problem: Exception) -> str:
    """The last line of ITK's message, which says what went wrong."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[-1] if lines else type(problem).__name__
