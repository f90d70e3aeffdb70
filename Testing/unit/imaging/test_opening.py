"""Voxels that come into memory without ITK, beside the same file opened by SimpleITK alone: nothing may differ."""

from __future__ import annotations

import gzip
import itertools
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging import opening, unpacking
from AutoRegLib.imaging.files import read_geometry, read_volume
from AutoRegLib.imaging.opening import read_scalars, squeezed_geometry

TYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
SCALES = [(1, 0), (0, 0), (0, 5), (np.nan, 1), (np.nan, np.nan), (1, -3), (1 + 2**-23, 0), (-2.5, 1e-3), (1e-20, 0),
          (1e30, 7), (0.1, 1e5)]
CODECS = ["zlib", "zlib_ng.zlib_ng"]


@pytest.fixture(params=CODECS, autouse=True)
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "codec", pytest.importorskip(request.param, reason="zlib-ng is not installed"))


@pytest.fixture
def never_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """ITK is not asked for voxels."""
    monkeypatch.setattr(opening, "_read", None)


def alike(path: Path) -> None:
    expected = sitk.ReadImage(str(path))
    array, geometry = read_scalars(path)
    assert geometry == squeezed_geometry(expected, path, flat=True) == read_geometry(path)
    whole = sitk.GetArrayFromImage(expected).reshape(geometry.shape)
    assert array.dtype == whole.dtype and array.shape == whole.shape
    assert array.tobytes() == whole.tobytes() and array.flags.writeable and array.flags.aligned


def voxels(kind: str, shape: tuple[int, ...] = (3, 4, 5)) -> np.ndarray:
    """Of the whole range of a type, its ends too."""
    drawn = np.random.default_rng(1).integers(0, 256, (*shape, np.dtype(kind).itemsize), dtype=np.uint8)
    if kind[0] == "f":
        return np.random.default_rng(2).normal(0, 1e3, shape).astype(kind)
    values = drawn.view(f"<{kind}")[..., 0].copy()
    values.flat[:2] = np.iinfo(kind).min, np.iinfo(kind).max
    return values


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", TYPES)
def test_types_orders_and_scales_of_nifti(kind: str, order: str, suffix: str, tmp_path: Path,
                                          never_whole: None) -> None:
    path = tmp_path / f"a{suffix}"
    affine = np.diag([-1.5, -2.0, 3.0, 1.0])
    for slope, intercept in SCALES:
        array = voxels(kind)
        header = nibabel.Nifti1Header(endianness=order)
        header.set_data_dtype(np.dtype(kind).newbyteorder(order))
        header.set_data_shape(array.shape)
        header.set_qform(affine, 1)
        header["magic"], header["vox_offset"] = b"n+1", 352
        header["scl_slope"], header["scl_inter"] = slope, intercept
        data = header.binaryblock + bytes(4) + array.astype(header.get_data_dtype()).tobytes("F")
        path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
        alike(path)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (3, 4, 5, 1), (4, 5, 1, 1)])
def test_axes_of_nifti(shape: tuple[int, ...], tmp_path: Path, never_whole: None) -> None:
    for suffix in (".nii", ".nii.gz"):
        image = nibabel.Nifti1Image(voxels("i2", shape), np.diag([-1.5, -2, 3, 1]))
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 100))  # voxels begin later
        nibabel.save(image, tmp_path / f"a{suffix}")
        alike(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(("suffix", "kind", "packed"),
                         list(itertools.product((".nrrd", ".mha"), TYPES, (False, True))))
def test_types_of_nrrd_and_metaimage(suffix: str, kind: str, packed: bool, tmp_path: Path, never_whole: None) -> None:
    path = tmp_path / f"a{suffix}"
    for shape in ((3, 4, 5), (4, 5)):
        image = sitk.GetImageFromArray(voxels(kind, shape))
        image.SetSpacing((1.25, 2.0, 3.5)[:len(shape)])
        sitk.WriteImage(image, str(path), packed)
        alike(path)


def big_endian_nrrd(body: bytes) -> bytes:
    return b"NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nendian: big\nencoding: gzip\n\n" + gzip.compress(body)


def big_endian_metaimage(body: bytes) -> bytes:
    packed = zlib.compress(body)
    return (b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\nCompressedData = True\n"
            b"CompressedDataSize = %d\nDimSize = 5 4 3\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
            % len(packed)) + packed


@pytest.mark.parametrize(("suffix", "written"), [(".nrrd", big_endian_nrrd), (".mha", big_endian_metaimage)])
def test_big_endian_packed_voxels(suffix: str, written: object, tmp_path: Path, never_whole: None) -> None:
    body = voxels("i2").astype(">i2").tobytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(written(body))  # type: ignore[operator]
    alike(path)
    for place in (-1, -3, -20):
        data = bytearray(written(body))  # type: ignore[operator]
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"damaged|cut short"):
            read_volume(path, "intensity")


def test_more_than_a_block_is_put_together(tmp_path: Path, never_whole: None) -> None:
    array = np.random.default_rng(3).integers(0, 9, (15, 300, 301), dtype=np.int16)  # 3 MB
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"a{suffix}"), True)
        assert np.array_equal(read_volume(tmp_path / f"a{suffix}", "intensity").array, array)
