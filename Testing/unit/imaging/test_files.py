"""Image and transform files: what goes out comes back, and every kind of bad file is refused with a reason."""

from __future__ import annotations

import hashlib
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from lattices import LATTICES, LEFT_HANDED, OBLIQUE, OBLIQUE_2D, blocks, smooth_field, smooth_image

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.imaging.files import (
    file_sha256,
    read_displacement,
    read_geometry,
    read_transform,
    read_volume,
    write_displacement,
    write_volume,
)
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume

RANDOM = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("geometry", [*LATTICES.values(), OBLIQUE_2D], ids=[*LATTICES, "2-D"])
def test_volumes_come_back(geometry: Geometry, suffix: str, tmp_path: Path) -> None:
    for volume in (smooth_image(geometry), blocks(geometry)):
        path = tmp_path / f"{volume.kind}{suffix}"
        write_volume(volume, path)
        back = read_volume(path, volume.kind)
        assert np.array_equal(back.array, volume.array)
        assert back.array.dtype == volume.array.dtype
        assert back.geometry.close_to(geometry), back.geometry.difference(geometry)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"intensity{suffix}", f"labels{suffix}"]


def test_a_picture_comes_back(tmp_path: Path) -> None:
    plain = Geometry((7, 5), (1.0, 1.0), (0.0, 0.0), (1, 0, 0, 1))
    for top in (255, 60000):
        picture = Volume(np.linspace(0, top, 35).reshape(5, 7), plain, "intensity")
        write_volume(picture, tmp_path / "a.png")
        assert np.array_equal(read_volume(tmp_path / "a.png", "intensity").array, np.rint(picture.array))


def test_trailing_axes_of_one_voxel_are_dropped(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(RANDOM[..., None], RAS), tmp_path / "series.nii")
    assert read_volume(tmp_path / "series.nii", "intensity").array.shape == (7, 6, 5)
    nibabel.save(nibabel.Nifti1Image(RANDOM[:, :, :1], RAS), tmp_path / "slice.nii")
    flat = read_volume(tmp_path / "slice.nii", "intensity")
    assert flat.geometry.size == (5, 6)
    assert np.array_equal(flat.array, RANDOM[:, :, 0].T)


def test_a_tilted_slice_keeps_coordinates_in_its_own_plane(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(RANDOM[:1])
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))  # sagittal: x runs along P, y along S
    image.SetOrigin((50.0, -20.0, 30.0))
    sitk.WriteImage(image, str(tmp_path / "slice.nrrd"))
    geometry = read_volume(tmp_path / "slice.nrrd", "intensity").geometry
    assert geometry.direction == (1, 0, 0, 1)
    assert geometry.origin == (-20.0, 30.0)


def test_whole_numbers_in_a_float_file_are_labels(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.rint(3 * RANDOM), RAS), tmp_path / "labels.nii")
    labels = read_volume(tmp_path / "labels.nii", "labels")
    assert labels.array.dtype == np.int32
    assert np.array_equal(labels.array.T, np.rint(3 * RANDOM))


def nifti(array: np.ndarray, affine: np.ndarray = RAS) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        image = nibabel.Nifti1Image(array, None)
        image.set_sform(affine, code=1)
        nibabel.save(image, path)
    return write


def zero_spacing_nifti(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(RANDOM, RAS), path)
    data = bytearray(path.read_bytes())
    data[84:88] = struct.pack("<f", 0.0)  # pixdim[2]
    path.write_bytes(data)


def zero_spacing_nrrd(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(RANDOM), str(path))
    path.write_bytes(path.read_bytes().replace(b"(0,1,0)", b"(0,0,0)"))


def with_value(value: float) -> np.ndarray:
    array = RANDOM.copy()
    array[1, 2, 3] = value
    return array


def sheared(path: Path) -> None:
    affine = RAS.copy()
    affine[0, 1] = 0.4
    nifti(RANDOM, affine)(path)


def colour(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8), True),
                    str(path))


def truncated(path: Path) -> None:
    nifti(RANDOM)(path)
    path.write_bytes(path.read_bytes()[:200])


BAD: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "missing": ("a.nii", lambda path: None, "no such file"),
    "folder": ("a.nii", lambda path: path.mkdir(), "is a folder"),
    "text": ("a.nii", lambda path: path.write_text("hello"), "not an image"),
    "empty": ("a.nrrd", lambda path: path.write_bytes(b""), "not an image"),
    "truncated": ("a.nii", truncated, "not an image"),
    "unknown suffix": ("a.xyz", lambda path: path.write_text("hello"), "not an image"),
    "4-D": ("a.nii", nifti(np.stack([RANDOM] * 2, axis=-1)), "4 axes"),
    "colour": ("a.png", colour, "several values per voxel"),
    "vectors": ("a.nrrd", lambda path: write_displacement(smooth_field(OBLIQUE), path), "several values per voxel"),
    "NaN": ("a.nii", nifti(with_value(np.nan)), "not finite"),
    "infinite": ("a.nii.gz", nifti(with_value(np.inf)), "not finite"),
    "NaN, NRRD": ("a.nrrd", lambda path: sitk.WriteImage(sitk.GetImageFromArray(with_value(np.nan)), str(path)),
                  "not finite"),
    "constant": ("a.nii", nifti(np.full((4, 4, 4), 3.0, np.float32)), "constant"),
    "zero spacing": ("a.nii", zero_spacing_nifti, "spacing of zero"),
    "zero spacing, NRRD": ("a.nrrd", zero_spacing_nrrd, "spacing of zero"),
    "sheared": ("a.nii", sheared, "sheared"),
    "complex": ("a.nrrd", lambda path: sitk.WriteImage(
        sitk.GetImageFromArray(RANDOM.astype(np.complex64)), str(path.with_suffix(".mha"))) or path.with_suffix(
        ".mha").rename(path), "not an image|complex"),
}


@pytest.mark.parametrize(("name", "make", "said"), BAD.values(), ids=BAD.keys())
def test_bad_images_are_refused(name: str, make: Callable[[Path], Any], said: str, tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises(InputError, match=said) as caught:
        read_volume(tmp_path / name, "intensity")
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    assert name in str(caught.value)  # which of the user's files


def test_interpolated_labels_are_refused(tmp_path: Path) -> None:
    nifti(with_value(0.5))(tmp_path / "a.nii")
    with pytest.raises(InputError, match="not a label map"):
        read_volume(tmp_path / "a.nii", "labels")


def test_an_empty_mask_is_a_label_map(tmp_path: Path) -> None:
    nifti(np.zeros((4, 4, 4), np.uint8))(tmp_path / "a.nii")
    assert not read_volume(tmp_path / "a.nii", "labels").array.any()


def test_names_that_cannot_be_written(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.dcm", "a", "a.hdr"):
        with pytest.raises(InputError, match="cannot write an image"):
            write_volume(smooth_image(OBLIQUE), tmp_path / name)
        with pytest.raises(InputError, match="cannot write a displacement"):
            write_displacement(smooth_field(OBLIQUE), tmp_path / name)
    with pytest.raises(InputError, match="cannot write this image"):
        write_volume(smooth_image(OBLIQUE), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_a_folder_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="cannot write") as caught:
        write_volume(smooth_image(OBLIQUE), tmp_path / "no" / name)
    assert caught.value.exit_code == 7
    with pytest.raises(DiskError, match="cannot write"):
        write_displacement(smooth_field(OBLIQUE), tmp_path / "no" / name)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.tfm"])
def test_a_full_disk_is_noticed_and_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ITK writes half a NIfTI or text file to a full disk and reports success."""
    real = {"image": sitk.WriteImage, "transform": sitk.WriteTransform, "nibabel": nibabel.save}

    def cut(path: str) -> None:
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[: len(whole) // 2])

    monkeypatch.setattr(sitk, "WriteImage", lambda i, p, *a: (real["image"](i, p, *a), cut(p)))
    monkeypatch.setattr(sitk, "WriteTransform", lambda t, p: (real["transform"](t, p), cut(p)))
    monkeypatch.setattr(nibabel, "save", lambda i, p: (real["nibabel"](i, p), cut(p)))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    (tmp_path / name).write_bytes(b"the result of before")
    with pytest.raises(DiskError, match="no space left"):
        write_displacement(smooth_field(OBLIQUE), tmp_path / name)
    if not name.endswith(".tfm"):
        with pytest.raises(DiskError, match="no space left"):
            write_volume(smooth_image(OBLIQUE), tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"the result of before"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_little_room_is_enough_for_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    write_volume(smooth_image(OBLIQUE), tmp_path / "a.nii.gz")
    for suffix in (".nrrd", ".nii.gz", ".h5", ".tfm"):
        write_displacement(smooth_field(LEFT_HANDED), tmp_path / f"t{suffix}")


def test_any_itk_transform_is_read(tmp_path: Path) -> None:
    affine = sitk.AffineTransform(3)
    affine.SetTranslation((1.0, 2.0, 3.0))
    chain = sitk.CompositeTransform([smooth_field(OBLIQUE).to_transform(), affine])
    for name, transform in (("a.tfm", affine), ("a.mat", affine), ("a.txt", affine), ("c.h5", chain)):
        sitk.WriteTransform(transform, str(tmp_path / name))
        point = OBLIQUE.centre.tolist()
        assert np.abs(np.subtract(read_transform(tmp_path / name).TransformPoint(point),
                                  transform.TransformPoint(point))).max() < 1e-9
        with pytest.raises(InputError, match="no displacement field"):
            read_displacement(tmp_path / name)


def test_modelling_fields_are_refused(tmp_path: Path) -> None:
    image = smooth_field(OBLIQUE).to_image()
    image.SetMetaData("displacement field type", "modeling")
    sitk.WriteImage(image, str(tmp_path / "t.nrrd"))
    text = "#Insight Transform File V1.0\n#Transform 0\nTransform: InverseDisplacementFieldTransform_double_3_3\n" \
        "Parameters: 0 0 0\nFixedParameters: 0 0 0\n"
    (tmp_path / "t.tfm").write_text(text)
    for name in ("t.nrrd", "t.tfm"):
        with pytest.raises(InputError, match="modelling"):
            read_transform(tmp_path / name)


@pytest.mark.parametrize(("name", "make", "said"), [
    ("t.tfm", lambda path: path.write_text("hello"), "not a transform"),
    ("t.h5", lambda path: path.write_bytes(b"hello"), "not a transform"),
    ("t.nrrd", lambda path: None, "no such file"),
    ("t.nii.gz", nifti(RANDOM), "not a displacement field"),
    ("t.nii.gz", nifti(np.zeros((4, 4, 4, 1, 3), np.float32)), "not a displacement field"),
])
def test_bad_transforms_are_refused(name: str, make: Callable[[Path], Any], said: str, tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises(InputError, match=said):
        read_transform(tmp_path / name)


def test_sha256_is_hashlibs(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 1000)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 1000).hexdigest()
    with pytest.raises(InputError, match="no such file"):
        file_sha256(tmp_path / "b")


@pytest.mark.parametrize("size", [(5, 6, 7), (5, 6, 1)])
def test_geometry_from_the_header_is_that_of_the_volume(tmp_path: Path, size: tuple[int, ...]) -> None:
    tilted = sitk.GetImageFromArray(np.random.default_rng(0).random(size[::-1]).astype(np.float32))
    tilted.SetDirection((0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    tilted.SetSpacing((0.5, 2.0, 3.0))
    tilted.SetOrigin((1.0, -2.0, 30.0))
    sitk.WriteImage(tilted, str(tmp_path / "tilted.nrrd"))
    assert read_geometry(tmp_path / "tilted.nrrd") == read_volume(tmp_path / "tilted.nrrd", "intensity").geometry
