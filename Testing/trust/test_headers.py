"""NRRD and MetaImage: what ITK reads alone, read the same through our look at the header; what ends ITK, refused."""

from __future__ import annotations

import bz2
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.files import read_displacement, read_geometry, read_transform, read_volume
from AutoRegLib.imaging.volume import geometry_of

DIRECTION = (0.0, 1.0, 0.0, -0.6, 0.0, 0.8, 0.8, 0.0, 0.6)
TYPES = [sitk.sitkInt8, sitk.sitkUInt8, sitk.sitkInt16, sitk.sitkUInt16, sitk.sitkInt32, sitk.sitkUInt32,
         sitk.sitkInt64, sitk.sitkUInt64, sitk.sitkFloat32, sitk.sitkFloat64]


def picture(kind: int = sitk.sitkInt16, dims: int = 3) -> sitk.Image:
    array = np.random.default_rng(0).integers(0, 100, (4, 5, 6)[:dims])
    image = sitk.Cast(sitk.GetImageFromArray(array), kind)
    image.SetSpacing((1.0, 1.5, 2.25)[:dims])
    image.SetOrigin((3.0, -4.5, 5.125)[:dims])
    if dims == 3:
        image.SetDirection(DIRECTION)
    return image


def check(path: Path, image: sitk.Image) -> None:
    volume = read_volume(path, "intensity")
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(image))
    alone, expected = geometry_of(sitk.ReadImage(str(path))), geometry_of(image)
    for found in (volume.geometry, read_geometry(path), alone):
        assert found.size == expected.size
        error = np.abs(found.index_to_physical - expected.index_to_physical).max()
        assert error < 1e-9, (found, expected)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_files_of_itk_mean_what_they_mean_to_itk(suffix: str, compressed: bool, tmp_path: Path) -> None:
    for dims in (2, 3):
        for kind in TYPES:
            path = tmp_path / f"a {dims} ü{suffix}"
            sitk.WriteImage(picture(kind, dims), str(path), compressed)
            check(path, picture(kind, dims))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("mark", ["resampling", "modelling"])
def test_the_mark_of_a_field_is_kept(suffix: str, mark: str, tmp_path: Path) -> None:
    field = sitk.GetImageFromArray(np.random.default_rng(1).random((4, 5, 6, 3)), isVector=True)
    field.SetMetaData("displacement field type", mark)
    path = tmp_path / f"field{suffix}"
    sitk.WriteImage(field, str(path), True)
    if mark == "modelling":
        with pytest.raises(InputError, match="modelling"):
            read_transform(path)
    else:
        assert np.abs(read_displacement(path).vectors - sitk.GetArrayFromImage(field)).max() < 1e-7


BODY = np.arange(24, dtype="<i2")
HEAD = ["NRRD0004", "# comment", "type: short", "dimension: 3", "sizes: 2 3 4", "space: RAS",
        "space directions: (2,0,0) (0,1.5,0) (0,0,3)", "space origin: (1,2,3)", "kinds: domain domain domain",
        "endian: little"]


@pytest.mark.parametrize(("encoding", "extra", "body"), [
    ("ascii", [], b" ".join(b"%d" % v for v in BODY)), ("hex", [], BODY.tobytes().hex().encode()),
    ("bzip2", [], bz2.compress(BODY.tobytes())), ("raw", ["line skip: 2"], b"one\ntwo\n" + BODY.tobytes()),
    ("raw", ["byte skip: 5"], b"12345" + BODY.tobytes()), ("raw", ["byte skip: -1"], b"123" + BODY.tobytes()),
    ("raw", ["space units: \"mm\" \"mm\" \"mm\"", "a key:=" + "x" * 100_000], BODY.tobytes()),
])
def test_what_the_format_allows_beside(encoding: str, extra: list[str], body: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.nrrd"
    path.write_bytes("\n".join([*HEAD, f"encoding: {encoding}", *extra, "", ""]).encode() + body)
    volume = read_volume(path, "intensity")
    assert np.array_equal(volume.array.ravel(), BODY)
    assert volume.geometry.origin == (-1.0, -2.0, 3.0) and volume.geometry.spacing == (2.0, 1.5, 3.0)
    (tmp_path / "v.raw").write_bytes(b"\n" * 2 + body)
    path = tmp_path / "y.nhdr"
    if not extra:  # the same from a file of its own
        path.write_text("\n".join([*HEAD, f"encoding: {encoding}", "line skip: 2", "data file: v.raw", ""]))
        assert np.array_equal(read_volume(path, "intensity").array.ravel(), BODY)


def wrong(path: Path, old: str, new: str) -> None:
    data = path.read_bytes()
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode(), 1))


@pytest.mark.parametrize(("suffix", "old", "new", "why"), [
    (".nrrd", "space directions: (", "space directions: (nan,", "space directions"),
    (".nrrd", "dimension: 3", "dimension: 17", "dimension"),
    (".nrrd", "sizes: 6 5 4", "sizes: 6 5 400000000", "cut short"),
    (".nrrd", "sizes: 6 5 4", "sizes: 6 5 -4", "sizes"),
    (".nrrd", "type: short", "type: block", "type"),
    (".nrrd", "kinds: domain domain domain", "kinds: domain domain domain domain", "kinds"),
    (".nrrd", "NRRD0004", "NRRD0004" + "9" * 5000, "not an image"),
    (".nrrd", "space origin: (", "space origin: (1e308,", "space origin"),
    (".nrrd", "endian: little", 'space units: "um" "um" "um"\nendian: little', "not in mm"),
    (".nrrd", "endian: little", "endian: little\ndata file: x%d.raw 1 9 1", "several files"),
    (".nrrd", "endian: little", "endian: little\ndata file: nobody.raw", "not there"),
    (".nrrd", "endian: little", "endian: little\n" + "x" * 70_000, "a line"),
    (".mha", "TransformMatrix = 0", "TransformMatrix = 1e308", "TransformMatrix"),
    (".mha", "TransformMatrix = 0", "TransformMatrix = 9 9 9 0", "TransformMatrix"),
    (".mha", "NDims = 3", "NDims = 12", "NDims"),
    (".mha", "DimSize = 6 5 4", "DimSize = 6 5 4000000", "cut short"),
    (".mha", "DimSize = 6 5 4", "DimSize = 6 5", "DimSize"),
    (".mha", "ElementType = MET_SHORT", "ElementType = MET_SHORT_ARRAY", "ElementType"),
    (".mha", "ElementDataFile = LOCAL", "ElementDataFile = a%03d.raw 1 3 1", "several files"),
    (".mha", "NDims = 3", "NDims = 3\nElementNumberOfChannels = 70000", "ElementNumberOfChannels"),
    (".mha", "NDims = 3", "NDims = 3\nDistanceUnits = um", "not in mm"),
    (".mha", "NDims = 3", "NDims = 3\nNDims = 3", "two of them"),
    (".mha", "ElementSpacing = 1", "ElementSpacing = 0", "spacing of zero"),
    (".mha", "ObjectType = Image", "ObjectType = Tube", "ObjectType"),
])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_header_is_refused_by_field(suffix: str, old: str, new: str, why: str, compressed: bool,
                                              tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    sitk.WriteImage(picture(), str(path), compressed)
    wrong(path, old, new)
    with pytest.raises(InputError, match=why):
        read_volume(path, "intensity")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz", ".nii", ".nhdr", ".mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_no_beginning_of_a_file_is_taken_for_the_file(suffix: str, compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    sitk.WriteImage(picture(), str(path), compressed)
    data = next((p for p in tmp_path.iterdir() if "raw" in p.suffix), path)
    whole = data.read_bytes()
    for length in range(0, len(whole), 7):
        data.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_volume(path, "intensity")


def test_a_claim_of_terabytes_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.nrrd"
    sitk.WriteImage(picture(), str(path), True)
    wrong(path, "sizes: 6 5 4", "sizes: 60000 60000 60000")
    text = ("import resource, sys\nresource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
            "from AutoRegLib.imaging.files import read_volume\nfrom AutoRegLib.core.errors import InputError\n"
            "try: read_volume(sys.argv[1], 'intensity')\nexcept InputError as problem: print(problem)\n")
    done = subprocess.run([sys.executable, "-c", text, str(path)], capture_output=True, text=True, check=False)
    assert "cannot hold as many" in done.stdout, done.stderr


@pytest.mark.parametrize("spot", [280, 256, 268])  # srow_x, quatern_b, qoffset_x
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_a_nifti_image_that_lies_nowhere_is_refused(spot: int, value: float, tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    sitk.WriteImage(picture(), str(path))
    data = bytearray(path.read_bytes())
    data[spot:spot + 4] = np.float32(value).tobytes()
    path.write_bytes(data)
    for read in (lambda: read_volume(path, "intensity"), lambda: read_geometry(path)):
        with pytest.raises(InputError, match="qform or sform"):
            read()


def test_a_png_is_whole_and_claims_no_more_than_it_holds(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (20, 30), dtype=np.uint8))
    path = tmp_path / "x.png"
    sitk.WriteImage(image, str(path))
    assert np.array_equal(read_volume(path, "intensity").array, sitk.GetArrayFromImage(image))
    whole = path.read_bytes()
    header = whole[16:29]
    huge = (10**6).to_bytes(4, "big") * 2 + header[8:]
    bomb = whole[:16] + huge + zlib.crc32(b"IHDR" + huge).to_bytes(4, "big") + whole[33:]
    bent = whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]
    for data in (bomb, bent, *(whole[:length] for length in range(0, len(whole), 11))):
        path.write_bytes(data)
        with pytest.raises(InputError):
            read_volume(path, "intensity")
