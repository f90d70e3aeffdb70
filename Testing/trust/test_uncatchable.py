"""What would end the process, hang it or fill the memory in C++: refused before, by its name."""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from AutoRegLib.core.arguments import check_arguments
from AutoRegLib.core.errors import InputError, OutOfMemoryProblem
from AutoRegLib.core.failures import explain
from AutoRegLib.core.pair_table import read_pair_table
from AutoRegLib.core.tables import read_table
from AutoRegLib.core.verbs import ApplyArguments, BatchArguments
from AutoRegLib.imaging.files import read_volume
from AutoRegLib.registration.run import register

BALL = np.exp(-4 * sum(axis**2 for axis in np.meshgrid(*(np.linspace(-1, 1, 16),) * 3))).astype(np.float32)


def written(path: Path, array: np.ndarray = BALL, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


def bitmap(path: Path) -> None:
    """40,000 x 40,000 pixels of colour in 70 bytes."""
    path.write_bytes(b"BM" + struct.pack("<IHHI", 70, 0, 0, 54)
                     + struct.pack("<IiiHHIIiiII", 40, 40_000, -40_000, 1, 24, 0, 0, 0, 0, 0, 0) + b"\0" * 16)


def vtk(path: Path) -> None:
    """10^15 voxels in 200 bytes."""
    path.write_text("# vtk DataFile Version 3.0\nx\nBINARY\nDATASET STRUCTURED_POINTS\n"
                    "DIMENSIONS 100000 100000 100000\nSPACING 1 1 1\nORIGIN 0 0 0\n"
                    "POINT_DATA 1000000000000000\nSCALARS s float 1\nLOOKUP_TABLE default\n")


@pytest.mark.parametrize(("name", "write"), [("b.bmp", bitmap), ("v.vtk", vtk)])
def test_a_rare_format_that_claims_gigabytes_is_refused_by_the_child_that_tries_it(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    write(tmp_path / name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="asks for more memory"):
        read_volume(tmp_path / name, "intensity")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.skipif(os.name == "nt", reason="no pipes with names, no /dev/zero")
def test_a_pipe_or_a_device_is_refused_wherever_a_file_is_asked_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "endless.csv").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe.csv", tmp_path / "endless.csv"):
        for arguments in (BatchArguments(table=str(path), model="none", output="o"),
                          ApplyArguments(transform=str(path), input=str(path), output="o")):
            with pytest.raises(InputError, match="no ordinary file"):
                check_arguments(arguments)
        for read in (read_pair_table, lambda path: read_table(path, "the table")):
            with pytest.raises(InputError, match="cannot read"):
                read(path)


@pytest.mark.parametrize("scale", [1e16, 1e30, 1e38, 1e-24, 1e-42])
def test_numbers_that_32_bits_cannot_square_are_refused(scale: float, tmp_path: Path) -> None:
    """Local correlation was 0, and not a number in places, without a word."""
    with pytest.raises(InputError, match="32 bits"):
        read_volume(written(tmp_path / "a.nrrd", (BALL * np.float64(scale)).astype(np.float32)), "intensity")


def test_images_in_different_units_are_refused(tmp_path: Path) -> None:
    """The coarser one was padded to 10^18 voxels."""
    fixed = written(tmp_path / "f.nrrd")
    for size in (1e-3, 1e3, 1e6):
        moving = written(tmp_path / "m.nrrd", spacing=(size,) * 3)
        for pair in ((fixed, moving), (moving, fixed)):
            with pytest.raises(InputError, match="very different extent"):
                register(None, *pair, output=tmp_path / "out")


def test_voxels_flat_beyond_measure_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sides of a voxel"):
        read_volume(written(tmp_path / "a.nrrd", spacing=(1e-6, 2, 2)), "intensity")


@pytest.mark.parametrize("text", [
    "Exception thrown in SimpleITK ...:\nITK ERROR: Failed to allocate memory for image.", "std::bad_alloc",
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate",
    "Storage size calculation overflowed with sizes=[1, 1, 2000000, 2000000, 2000000]"])
def test_memory_that_libraries_in_other_languages_do_not_get_is_told_as_such(text: str) -> None:
    assert isinstance(explain(RuntimeError(text)), OutOfMemoryProblem)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_tables_of_pairs_are_read_as_spreadsheets_write_them(mark: str, tmp_path: Path) -> None:
    name = "a, b.nii" if mark != "," else '"a, b.nii"'
    rows = [["name", "fixed", "moving"], ["p 1", name, "m.nii"], ["p2", "f.nii", "g"]]
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(mark.join(row) for row in rows).encode())
    first, second = read_pair_table(tmp_path / "t.csv")
    assert first.name == "p 1" and first.files["fixed"] == str(tmp_path.resolve() / "a, b.nii")
    assert second.files["moving"] == str(tmp_path.resolve() / "g")
