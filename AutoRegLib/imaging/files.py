"""Images and displacement fields on disk, in the formats and conventions of ITK and 3D Slicer."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.records import write_whole
from AutoRegLib.imaging import nifti, opening, transforms
from AutoRegLib.imaging.displacement import DisplacementField, before_linear, chain
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.opening import brief, read_header, read_image, read_scalars
from AutoRegLib.imaging.points import read_points, write_points
from AutoRegLib.imaging.volume import Kind, Volume, geometry_of, image_to_array, to_sitk
from AutoRegLib.imaging.written import ends_whole

__all__ = ["file_sha256", "read_displacement", "read_geometry", "read_points", "read_transform", "read_volume",
           "write_displacement", "write_points", "write_volume"]

_IMAGES = (".nii.gz", ".nii", ".nrrd", ".mha")  # one file each, lossless, with a geometry
_LEAST_RANGE, _MOST_RANGE = 1e-20, 1e15  # beyond, local correlation was 0 in silence
_TRANSFORMS = (".h5", ".hdf5", ".tfm", ".txt", ".mat", ".xfm")


def read_volume(path: str | Path, kind: Kind, *, flat: bool = True) -> Volume:
    """Read one scalar image: NIfTI, NRRD, MetaImage, or a 2-D PNG, JPEG or TIFF.

    Trailing axes of one voxel are dropped, so a one-slice file is 2-D; with ``flat`` False it stays a volume of one
    slice. Labels come back as integers.
    Unit/Direction: mm LPS (a picture without a header has 1 mm pixels).
    Raises: InputError when the file is missing, is no image, has more than 3 axes or several values per
    voxel, a damaged geometry, voxels that are not finite, constant intensity, or labels that are not integers.
    """
    path = _existing(path, "an image")
    array, geometry = read_scalars(path, flat=flat)
    if array.dtype.kind == "c":
        raise InputError(f"{path} holds complex numbers", expected="real voxels", remedy="save its magnitude")
    lowest, highest = array.min(), array.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):  # one that is NaN makes both NaN
        wrong = int(array.size - np.isfinite(array).sum())
        raise InputError(f"{path} has voxels that are not finite", expected="finite numbers",
                         got=f"{wrong} voxels of {array.size} are NaN or infinite", remedy="replace them, e.g. by 0")
    if kind == "labels":
        array = _as_labels(array, path)
    elif lowest != highest and not _LEAST_RANGE < float(highest) - float(lowest) < _MOST_RANGE:
        raise InputError(f"{path} has voxels that 32 bits cannot compute with", got=f"{lowest:.6g} to {highest:.6g}",
                         expected=f"a range of values between {_LEAST_RANGE:g} and {_MOST_RANGE:g}",
                         remedy="scale the image, or replace the numbers that stand for no data, e.g. by 0")
    elif lowest == highest:
        raise InputError(f"{path} is constant", expected="an image with contrast",
                         got=f"every voxel is {array.flat[0]}", remedy="check that this is the right file")
    return Volume(array, geometry, kind)


def read_geometry(path: str | Path, *, flat: bool = True) -> Geometry:
    """The geometry that ``read_volume`` would give, from the header alone.

    Unit/Direction: mm LPS. Raises: InputError when the file is missing or is no image.
    """
    return read_header(_existing(path, "an image"), flat=flat)


def voxel_bytes(path: str | Path) -> int:
    """How many bytes a voxel takes in memory once :func:`read_volume` has it, from the header alone. Raises InputError.
    """
    return opening.voxel_bytes(_existing(path, "an image"))


def write_volume(volume: Volume, path: str | Path) -> None:
    """Write ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha``, or ``.png`` for 2-D whole numbers; compressed.

    Raises: InputError for another suffix or values a PNG cannot hold, DiskError when it cannot be written.
    """
    path = Path(path)
    image = to_sitk(volume)
    if path.name.lower().endswith(".png"):
        image = _as_picture(volume, path)
    elif not path.name.lower().endswith(_IMAGES):
        raise InputError(f"cannot write an image as {path.name}", expected=f"one of {', '.join(_IMAGES)}",
                         remedy="choose another suffix")
    _write_checked(path, volume.array.nbytes, lambda name: sitk.WriteImage(image, name, True),
                   lambda name: np.array_equal(image_to_array(sitk.ReadImage(name)), image_to_array(image)))


def read_transform(path: str | Path) -> sitk.Transform:
    """Read any transform of points from fixed to moving: ITK's files, or a displacement field image.

    Unit/Direction: mm LPS, resampling ("from parent" in Slicer).
    Raises: InputError when the file is missing, is no transform, or holds a modelling field ("to parent").
    """
    path = _existing(path, "a transform")
    transform = _read_itk(path) if path.name.lower().endswith(_TRANSFORMS) else sitk.DisplacementFieldTransform(
        _read_field_image(path))
    transforms.check_finite(transform, path)
    return transform


def _read_itk(path: Path) -> sitk.Transform:
    """A transform file of ITK. Raises: InputError."""
    transforms.check_file(path)
    try:
        return sitk.ReadTransform(str(path))
    except (RuntimeError, KeyError) as problem:  # the second of kinds that SimpleITK reads, but has no name for
        if "InverseDisplacementField" in str(problem):
            raise _modelling(path) from None
        raise InputError(f"{path} is not a transform that SimpleITK can read", expected="an ITK transform file",
                         got=brief(problem), remedy="export it again as .nrrd, .h5 or .tfm") from None


def read_displacement(path: str | Path) -> DisplacementField:
    """Read a displacement field with its own lattice. Unit/Direction: mm LPS, fixed to moving. Raises InputError."""
    transform = read_transform(path)
    if transform.GetName() != "DisplacementFieldTransform":
        raise InputError(f"{path} holds no displacement field", expected="a DisplacementFieldTransform",
                         got=transform.GetName(), remedy="sample it on a geometry with from_transform")
    image = sitk.DisplacementFieldTransform(transform).GetDisplacementField()
    return DisplacementField(image_to_array(image).astype(np.float32), geometry_of(image))


def write_linear(transform: sitk.AffineTransform, path: str | Path) -> None:
    """Write a linear transform as ``.tfm`` or ``.h5``: ITK's affine, which Slicer reads as from-parent.

    Unit/Direction: mm LPS, fixed to moving. Raises: DiskError when it cannot be written.
    """
    _write_checked(Path(path), 2**12, lambda name: sitk.WriteTransform(transform, name),
                   lambda name: sitk.ReadTransform(name).GetParameters() == transform.GetParameters())


def write_composite(field: DisplacementField, linear: sitk.AffineTransform, path: str | Path) -> None:
    """Write a field as a chain, ``.h5``: what it does before the linear map, then that map, which goes on beyond it.

    ITK, ANTs and Slicer read it. Unit/Direction: mm LPS, fixed to moving; ``field`` includes the linear map.
    Raises: DiskError.
    """
    whole = chain(before_linear(field, linear).to_transform(), linear)
    _write_checked(Path(path), 10 * field.vectors.nbytes, lambda name: sitk.WriteTransform(whole, name),
                   lambda name: sitk.ReadTransform(name).GetName() == whole.GetName())


def write_displacement(field: DisplacementField, path: str | Path, *, compress: bool = True) -> None:
    """Write a displacement field so that SimpleITK and Slicer move points alike; the suffix decides the format.

    ``.nrrd``: float32, marked as a resampling displacement field (Slicer 5.10 and newer read the mark); without
    ``compress`` it is read back twice as fast.
    ``.nii.gz``, ``.nii``: intent 1006, whose vectors are RAS-signed on disk (2-D: intent 1007, LPS).
    ``.h5``, ``.tfm``, ``.mat``: ITK's DisplacementFieldTransform.

    Raises: InputError for another suffix, DiskError when it cannot be written.
    """
    path = Path(path)

    def write_image(field: DisplacementField, name: str) -> None:
        _write_field_image(field, name, compress=compress)

    writers = {".nii": nifti.write_displacement, ".nii.gz": nifti.write_displacement, ".nrrd": write_image,
               ".mha": write_image} | dict.fromkeys(_TRANSFORMS, _write_field_transform)
    suffix = next((s for s in writers if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise InputError(f"cannot write a displacement field as {path.name}",
                         expected=f"one of {', '.join(writers)}", remedy="choose another suffix")
    _write_checked(path, 10 * field.vectors.nbytes, lambda name: writers[suffix](field, name),
                   lambda name: np.allclose(read_displacement(name).vectors, field.vectors, atol=1e-3))


def write_coordinates(field: DisplacementField, moving: Geometry, path: str | Path) -> None:
    """Write where each voxel of a field lies in the moving image as SciPy's ``map_coordinates`` takes it, ``.npy``.

    Shape: (d, z, y, x) float32, components in the order of the axes. Unit/Direction: voxels of ``moving``, fixed to
    moving. Raises: DiskError.
    """
    places = np.ascontiguousarray(np.moveaxis(field.landing(moving)[..., ::-1], -1, 0))

    def write(name: str) -> None:
        with open(name, "wb") as stream:
            np.save(stream, places)

    write_whole(path, write)


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal. Raises InputError."""
    with _existing(path, "a file").open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _existing(path: str | Path, what: str) -> Path:
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder", expected=f"{what} in one file",
                         remedy="convert a DICOM folder to NIfTI or NRRD first")
    if not path.is_file():
        raise InputError(f"no such file: {path}", expected=what, remedy="check the path")
    return path


def _as_labels(array: np.ndarray, path: Path) -> np.ndarray:
    if array.dtype.kind in "iu":
        if array.dtype.itemsize > 4 or array.dtype == np.uint32:
            _check_label(max(int(array.max()), -int(array.min())), path)
        return array
    rounded = np.rint(array)
    # a scale factor in 32 bits leaves a whole number by a little; interpolation by more
    allowed = np.maximum(1e-3, 4 * np.finfo(np.float32).eps * np.abs(rounded))
    wrong = np.abs(array - rounded) > allowed
    if wrong.any():
        raise InputError(f"{path} is not a label map", expected="whole numbers",
                         got=f"a voxel of {float(array[wrong].flat[0]):.9g}",
                         remedy="save it without interpolation, or name a label map")
    largest = float(rounded.flat[np.abs(rounded).argmax()])
    _check_label(largest, path)
    return rounded.astype(np.int32)


def _check_label(largest: float, path: Path) -> None:
    """Refuse a number that does not go through every computation unchanged. Raises InputError."""
    if abs(largest) > np.iinfo(np.int32).max:
        raise InputError(f"{path} has labels that are too large", expected="whole numbers of 32 bits, up to 2147483647",
                         got=f"a voxel of {largest:.12g}", remedy="number the structures anew, e.g. from 1")


def _as_picture(volume: Volume, path: Path) -> sitk.Image:
    values = np.rint(volume.array.astype(np.float64))  # rint of 8-bit integers would give 16-bit floats
    if volume.geometry.dims != 2 or values.min() < 0 or values.max() > 65535:
        raise InputError(f"cannot write this image as {path.name}", expected="2-D values from 0 to 65535",
                         got=repr(volume), remedy="write .nii.gz instead")
    return sitk.GetImageFromArray(values.astype(np.uint8 if values.max() < 256 else np.uint16))


def _read_field_image(path: Path) -> sitk.Image:
    image = read_image(path)
    keys = image.GetMetaDataKeys()
    mark = image.GetMetaData("displacement field type").strip().lower() if "displacement field type" in keys else ""
    if mark.startswith("model"):
        raise _modelling(path)
    dims, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if dims not in (2, 3) or components != dims:
        raise InputError(f"{path} is not a displacement field", expected="one vector of 2 or 3 components per voxel",
                         got=f"{dims} axes with {components} components",
                         remedy="a NIfTI field needs intent code 1006 (displacement) or 1007 (vector)")
    if dims == 2 and nifti.is_nifti(path) and int(image.GetMetaData("intent_code")) == nifti.DISPLACEMENT:
        return nifti.reread_flat_displacement(image, path)
    return sitk.Cast(image, sitk.sitkVectorFloat64)


def _write_field_image(field: DisplacementField, name: str, *, compress: bool) -> None:
    image = field.to_image()
    image.SetMetaData("intent_code", str(nifti.DISPLACEMENT))
    image.SetMetaData("displacement field type", "resampling")
    # a field hardly compresses: the fastest level is twice as fast as the usual one, and a sixth larger
    sitk.WriteImage(image, name, compress, 1)


def _write_field_transform(field: DisplacementField, name: str) -> None:
    sitk.WriteTransform(field.to_transform(), name)


def _write_checked(path: Path, size: int, write: Callable[[str], Any], same: Callable[[str], bool]) -> None:
    """Write in one step; ``size`` bounds the bytes, ``same`` tells whether the file reads back as it should.

    ITK's NIfTI and text writers do not notice a full disk, so with little room left the file is read back. A quota or
    a limit on the size of files shows in neither: the end of a NIfTI file is always looked at.
    """
    def attempt(name: str) -> None:
        try:
            write(name)
        except RuntimeError as problem:
            raise OSError(brief(problem)) from None
        if shutil.disk_usage(Path(name).parent).free < size + 2**20:
            try:
                whole = same(name)
            except (InputError, RuntimeError):
                whole = False
            if not whole:
                raise OSError("no space left on the disk")
        if name.lower().endswith((".nii", ".nii.gz")) and not ends_whole(Path(name)):
            raise OSError("the file was cut short: no space left, or a limit on its size")

    write_whole(path, attempt)


def _modelling(path: Path) -> InputError:
    return InputError(f"{path} is a modelling field: it maps moving points to fixed ones",
                      expected="a resampling field (fixed to moving, 'from parent' in Slicer)", got="modelling",
                      remedy="in Slicer invert the transform, convert it to a grid, and save that")
