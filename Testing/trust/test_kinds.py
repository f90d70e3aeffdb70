"""Faults of a kind, each found by looking for more of one that was known: what was taken in silence is told."""

from __future__ import annotations

import gzip
import itertools
import json
import resource
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import Recipe, read_recipe, write_recipe
from AutoRegLib.imaging.files import read_points, read_volume
from AutoRegLib.registration.pair import read_landmarks

IMAGE = np.random.default_rng(0).integers(0, 1000, (40, 41, 42)).astype(np.int16)
TWO = np.stack([IMAGE, 2 * IMAGE], axis=-1)


def changed(path: Path, place: int, form: str, *values: float, array: np.ndarray = IMAGE) -> Path:
    """A NIfTI image whose header says something else at a place."""
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    packed = path.name.endswith(".gz")
    data = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    struct.pack_into(form, data, place, *values)
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("place", "form", "values", "why"), [
    (112, "<f", (np.inf,), "scl_slope"), (112, "<ff", (1, np.nan), "scl_slope"), (116, "<f", (-np.inf,), "scl_slope"),
    (123, "<B", (7,), "xyzt_units")])
def test_fields_of_nifti_are_obeyed_or_refused(place: int, form: str, values: tuple[float, ...], why: str, suffix: str,
                                               tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        read_volume(changed(tmp_path / f"a{suffix}", place, form, *values), "intensity")


@pytest.mark.parametrize(("code", "size"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001), (8 + 2, 1.0)])
def test_units_of_nifti_are_obeyed(code: int, size: float, tmp_path: Path) -> None:
    path = changed(tmp_path / "a.nii", 123, "<B", code)
    assert read_volume(path, "intensity").geometry.spacing == pytest.approx((size,) * 3)


@pytest.mark.parametrize("field", ["space units", "units"])
def test_units_of_nrrd_are_obeyed_or_refused(field: str, tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(IMAGE), str(path))
    plain = path.read_bytes()
    for unit, right in (("mm", True), ("cm", False), ("um", False), ("m", False)):
        path.write_bytes(plain.replace(b"\nspace", f'\n{field}: "{unit}" "{unit}" "{unit}"\nspace'.encode(), 1))
        if right:
            assert read_volume(path, "intensity").geometry.spacing == (1, 1, 1)
        else:
            with pytest.raises(InputError, match="not in mm"):
                read_volume(path, "intensity")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_leaves_out_half_of_the_voxels_is_refused(suffix: str, tmp_path: Path) -> None:
    path = changed(tmp_path / f"a{suffix}", 40, "<5h", 3, *IMAGE.shape, 1, array=TWO)
    with pytest.raises(InputError, match="more voxels than its header says"):
        read_volume(path, "intensity")


@pytest.mark.parametrize("field", ["ElementToIntensityFunctionSlope = 2", "ElementToIntensityFunctionOffset = -1024"])
def test_a_scale_factor_that_itk_leaves_out_is_refused(field: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(IMAGE), str(path))
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", b"NDims = 3\n" + field.encode(), 1))
    with pytest.raises(InputError, match="scale factor"):
        read_volume(path, "intensity")


@pytest.mark.parametrize(("kind", "value"), [(np.uint64, 2**63 + 1), (np.int64, 2**53 + 1), (np.int64, -2**40),
                                             (np.uint32, 2**31)])
def test_labels_of_whole_numbers_beyond_32_bits_are_refused(kind: type, value: int, tmp_path: Path) -> None:
    array = np.zeros((4, 4, 4), kind)
    array[1] = 1
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.nrrd"))
    assert read_volume(tmp_path / "a.nrrd", "labels").array.dtype == kind
    array[2, 2, 2] = value
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match="too large"):
        read_volume(tmp_path / "a.nrrd", "labels")


@pytest.mark.parametrize(("text", "why"), [
    ("label,x,y,z,x\na,1,2,3,9\n", "more than one position"), ("label,x,y,z,r,a,s\na,1,2,3,4,5,6\n", "more than one"),
    ("label,x,y,z\na,1_5,2,3\n", "no position"), ("label;x;y;z\na;1,5;2;3\n", "no position")])
def test_tables_that_can_be_read_two_ways_are_refused(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=why):
        read_points(tmp_path / "p.csv")


def test_landmarks_whose_names_agree_in_part(tmp_path: Path) -> None:
    def written(name: str, *names: str) -> Path:
        path = tmp_path / f"{name}.csv"
        path.write_text("label,x,y,z\n" + "".join(f"{n},{i},0,0\n" for i, n in enumerate(names)))
        return path

    fixed = written("f", "a", "b", "c")
    for others, order in ((("c", "a", "b"), [1, 2, 0]), (("x", "y", "z"), [0, 1, 2]), (("a", "b", "z"), [0, 1, 2])):
        found = read_landmarks(fixed, written("m", *others), dims=3)
        assert found is not None and found.moving[:, 0].tolist() == order
    for others in (("b", "a", "z"), ("z", "a", "b"), ("b", "a", "a")):
        with pytest.raises(InputError, match="not their order"):
            read_landmarks(fixed, written("m", *others), dims=3)


def jpeg(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray((IMAGE[0] // 4).astype(np.uint8)), str(path))
    data = bytearray(path.read_bytes())
    frame = next(i for i, two in enumerate(itertools.pairwise(data)) if two[0] == 255 and 192 <= two[1] <= 194)
    data[frame + 5:frame + 9] = b"\xff" * 4
    path.write_bytes(data)


def tiff(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray((IMAGE[0] // 4).astype(np.uint8)), str(path))
    data = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", data, 4)[0]
    for i in range(struct.unpack_from("<H", data, start)[0]):
        if struct.unpack_from("<H", data, start + 2 + 12 * i)[0] in (256, 257):
            struct.pack_into("<HII", data, start + 4 + 12 * i, 4, 1, 60_000)
    path.write_bytes(data)


@pytest.mark.parametrize(("suffix", "written"), [(".jpg", jpeg), (".tif", tiff)])
def test_a_picture_that_claims_gigabytes_takes_no_memory(suffix: str, written: Callable[[Path], None],
                                                         tmp_path: Path) -> None:
    written(tmp_path / f"a{suffix}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="cut short"):
        read_volume(tmp_path / f"a{suffix}", "intensity")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_json_with_half_of_a_letter_or_a_number_as_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_recipe(path, Recipe(structures={1: "\U0001f9e0 é"}))
    good = json.loads(path.read_text())
    assert read_recipe(path).structures == {1: "\U0001f9e0 é"}
    for name, value in (("structures", {"1": "\ud800"}), ("structures", {"1": "a\udfff"}), ("seed", "7"), ("seed", 7.)):
        path.write_text(json.dumps({**good, name: value}))
        with pytest.raises(InputError):
            read_recipe(path)


def test_a_message_of_a_long_key_is_short(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_recipe(path, Recipe())
    path.write_text(json.dumps({**json.loads(path.read_text()), "k" * 10_000: 1}))
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    assert len(str(caught.value)) < 600
