"""Files whose header promises more than is there, and names that ITK resolves to another file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from lattices import LATTICES, OBLIQUE, OBLIQUE_2D, smooth_field, smooth_image

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.imaging import nifti, unpacking
from AutoRegLib.imaging.files import read_displacement, read_geometry, read_volume, write_displacement, write_volume
from AutoRegLib.imaging.volume import geometry_of

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
IMAGE = np.random.default_rng(0).integers(1, 1000, (9, 8, 7))
NAMES = ("x.nii", "x.nii.gz", "x.hdr", "x.img", "x.img.gz")


def save(path: Path, array: np.ndarray = IMAGE, dtype: type = np.int16) -> Path:
    """An image whose voxels lie in the file that is returned: that named, or the other half of the pair."""
    kind = nibabel.Nifti1Pair if ".nii" not in path.name else nibabel.Nifti1Image
    nibabel.save(kind(array.astype(dtype), RAS), path)
    return path.with_suffix(".img") if path.suffix == ".hdr" else path


def with_nan() -> np.ndarray:
    array = IMAGE.astype(np.float32)
    array[3, 4, 5] = np.nan
    return array


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_an_image_cut_short_is_refused(name: str, dtype: type, share: float, tmp_path: Path) -> None:
    voxels = save(tmp_path / name, dtype=dtype)
    data = voxels.read_bytes()
    voxels.write_bytes(data[:int(len(data) * share)])
    with pytest.raises(InputError, match=f"{name} is cut short") as caught:
        read_volume(tmp_path / name, "intensity")
    assert caught.value.remedy


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".h5", ".tfm"])
def test_a_field_cut_short_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"t{suffix}"
    write_displacement(smooth_field(OBLIQUE), path)
    data = path.read_bytes()
    for share in (0.6, 0.95):
        path.write_bytes(data[:int(len(data) * share)])
        with pytest.raises(InputError):
            read_displacement(path)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_a_picture_cut_short_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"p{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(IMAGE[0].astype(np.uint8)), str(path))
    read_volume(path, "intensity")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cut short"):
        read_volume(path, "intensity")


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii.gz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"x\.nii\.gz is (damaged|cut short)"):
        read_volume(path, "intensity")


@pytest.mark.parametrize("name", ["x.nii.gz", "x.hdr", "x.img", "x.NII.GZ"])
def test_a_neighbour_with_the_same_stem_does_not_answer(name: str, tmp_path: Path) -> None:
    if name != "x.NII.GZ":
        save(tmp_path / name)
    else:
        save(tmp_path / "x.nii.gz").rename(tmp_path / name)
    save(tmp_path / "x.nii", 2 * IMAGE)
    assert np.array_equal(read_volume(tmp_path / name, "intensity").array.T, IMAGE)


def test_a_plain_file_with_the_name_of_a_packed_one(tmp_path: Path) -> None:
    save(tmp_path / "y.nii").rename(tmp_path / "x.nii.gz")
    save(tmp_path / "x.nii", 2 * IMAGE)
    assert np.array_equal(read_volume(tmp_path / "x.nii.gz", "intensity").array.T, IMAGE)


def test_two_files_for_one_half_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "x.img")
    (tmp_path / "x.img.gz").write_bytes(gzip.compress((tmp_path / "x.img").read_bytes()))
    with pytest.raises(InputError, match="half of an image") as caught:
        read_volume(tmp_path / "x.hdr", "intensity")
    assert "x.img, x.img.gz" in str(caught.value)
    (tmp_path / "x.img").unlink()
    assert np.array_equal(read_volume(tmp_path / "x.hdr", "intensity").array.T, IMAGE)
    (tmp_path / "x.img.gz").unlink()
    with pytest.raises(InputError, match="half of an image"):
        read_geometry(tmp_path / "x.hdr")


@pytest.mark.parametrize("name", [*NAMES, "plain.nii.gz"])
def test_nan_is_told_whatever_the_suffix(name: str, tmp_path: Path) -> None:
    save(tmp_path / name.replace("plain.nii.gz", "plain.nii"), with_nan(), np.float32)
    if name == "plain.nii.gz":
        (tmp_path / "plain.nii").rename(tmp_path / name)
    with pytest.raises(InputError, match="not finite") as caught:
        read_volume(tmp_path / name, "intensity")
    assert "1 voxels" in str(caught.value)


def several_members(path: Path) -> None:
    data = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(data[:1000]) + gzip.compress(data[1000:]))


def longer(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"more than the header says"))


def padded(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(512))


@pytest.mark.parametrize("change", [several_members, longer, padded])
def test_unusual_but_whole_files_are_read(change: Callable[[Path], None], tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii.gz")
    change(path)
    assert np.array_equal(read_volume(path, "intensity").array.T, IMAGE)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".hdr"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64, ">i2", ">f4"])
@pytest.mark.parametrize("geometry", [*LATTICES.values(), OBLIQUE_2D], ids=[*LATTICES, "2-D"])
def test_ordinary_files_are_read_to_the_bit_as_itk_reads_them(
    geometry: object, dtype: type, suffix: str, tmp_path: Path,
) -> None:
    """One file alone in its folder, named so that ITK finds its own voxels: nothing may differ."""
    written = tmp_path / f"a{suffix}"
    image = smooth_image(geometry)  # type: ignore[arg-type]
    sitk.WriteImage(sitk.GetImageFromArray((100 * image.array).astype(np.dtype(dtype).newbyteorder("="))),
                    str(written))
    stored = nibabel.load(written)
    kind = nibabel.Nifti1Pair if suffix == ".hdr" else nibabel.Nifti1Image
    affine = np.eye(4)
    affine[:geometry.dims, :geometry.dims] = image.geometry.index_to_physical[:-1, :-1]  # type: ignore[attr-defined]
    affine[:geometry.dims, 3] = image.geometry.origin  # type: ignore[attr-defined]
    header = stored.header.copy()
    header.set_data_dtype(dtype)
    turned = kind(np.asarray(stored.dataobj).astype(dtype), np.diag([-1.0, -1, 1, 1]) @ affine, header)
    turned.header.set_slope_inter(0.25, 3.0)
    nibabel.save(turned, written)
    expected = sitk.ReadImage(str(written))
    found = read_volume(written, "intensity")
    assert found.geometry == geometry_of(expected)
    assert found.array.dtype == sitk.GetArrayViewFromImage(expected).dtype
    assert found.array.tobytes() == sitk.GetArrayFromImage(expected).tobytes()
    assert read_geometry(written) == found.geometry


def test_the_private_folder_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "private").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "private"))
    read_volume(save(tmp_path / "x.nii.gz"), "intensity")
    write_volume(smooth_image(OBLIQUE), tmp_path / "y.nii.gz")
    read_volume(tmp_path / "y.nii.gz", "intensity")
    assert list((tmp_path / "private").iterdir()) == []


def test_no_room_for_unpacking_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.nii.gz"
    write_displacement(smooth_field(OBLIQUE), path)  # vectors are ITK's to read

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unpacking, "inflated", full)
    with pytest.raises(DiskError, match=r"cannot unpack .*x\.nii\.gz") as caught:
        read_displacement(path)
    assert "TMPDIR" in caught.value.remedy


def test_the_names_that_are_looked_into() -> None:
    assert all(nifti.is_nifti(name) for name in (*NAMES, "X.NII.GZ"))
    assert not any(nifti.is_nifti(name) for name in ("x.nrrd", "x.nhdr", "x.mha", "x"))


@pytest.mark.parametrize("value", [3e9, -3e9, 1e300])
def test_labels_beyond_32_bits_are_refused(value: float, tmp_path: Path) -> None:
    array = np.zeros((4, 4, 4))
    array[1, 1, 1] = value
    nibabel.save(nibabel.Nifti1Image(array, RAS), tmp_path / "a.nii")
    with pytest.raises(InputError, match="too large") as caught:
        read_volume(tmp_path / "a.nii", "labels")
    assert f"{value:.12g}" in str(caught.value)


def test_labels_that_a_scale_factor_moves_a_little_are_rounded(tmp_path: Path) -> None:
    labels = np.arange(64).reshape(4, 4, 4) * 1000.0
    for shift in (0.0, 5e-5, -5e-5):
        nibabel.save(nibabel.Nifti1Image(labels + shift, RAS), tmp_path / "a.nii")
        assert np.array_equal(read_volume(tmp_path / "a.nii", "labels").array.T, labels)
