"""Memory: what is done in parts is the same, a limit is kept, and what cannot keep it is refused before it begins."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lattices import LATTICES, LEFT_HANDED, blocks, inner_points, smooth_field, smooth_image

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.displacement import pull_back, transform_points
from AutoRegLib.imaging.files import write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume, resample
from AutoRegLib.losses.lncc import lncc, lncc_by_rows
from AutoRegLib.registration.footprint import coarser, working_voxels_within
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pair import RegisterOptions
from AutoRegLib.registration.pipeline import working_geometry

CUBE = Geometry((96, 96, 96), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
GEOMETRIES = pytest.mark.parametrize("geometry", LATTICES.values(), ids=LATTICES.keys())


@GEOMETRIES
def test_an_image_is_warped_in_slabs_as_in_one_piece(geometry: Geometry) -> None:
    field = smooth_field(geometry)
    for volume in (smooth_image(LEFT_HANDED), blocks(LEFT_HANDED)):
        whole = resample(volume, geometry, field.to_transform())
        found = pull_back(volume, field, most=700)
        assert found.array.dtype == whole.array.dtype and found.geometry == whole.geometry
        assert np.abs(found.array.astype(float) - whole.array).max() < 1e-4
        assert np.abs(whole.array.astype(float) - resample(volume, geometry).array).max() > 0


@GEOMETRIES
def test_points_see_the_part_of_the_field_about_them(geometry: Geometry) -> None:
    field, points = smooth_field(geometry), inner_points(geometry, 40)
    corner = np.array(geometry.origin) - 0.4 * geometry.index_to_physical[:3, 0]  # ITK takes half a voxel beyond
    for some in (points, points[:1], points + 300, np.concatenate([points[:2], [corner], points[:1] - 500])):
        assert np.abs(field.warp_points(some) - transform_points(field.to_transform(), some)).max() < 1e-9


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_local_correlation_by_rows_is_that_of_the_whole(rows: int) -> None:
    rng = np.random.default_rng(0)
    fixed = (50 * rng.normal(size=(23, 18, 15)) + 300).astype(np.float32)
    moving, mask = (fixed + 30 * rng.normal(size=fixed.shape)).astype(np.float32), rng.uniform(size=fixed.shape) > 0.4

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.float32))[None, None]

    for inside in (None, mask):
        whole = float(lncc(tensor(fixed), tensor(moving), mask=None if inside is None else tensor(inside)))
        assert 0.1 < whole < 0.9
        assert lncc_by_rows(fixed, moving, mask=inside, rows=rows) == pytest.approx(whole, abs=1e-6)
    assert lncc_by_rows(np.full_like(fixed, 3), moving, rows=rows) == 0


def images(folder: Path) -> tuple[Path, Path]:
    index = np.stack(np.meshgrid(*(np.linspace(-1, 1, 96),) * 3, indexing="ij"))
    for name, shift in (("fixed", 0.0), ("moving", 0.08)):
        array = np.exp(-3 * ((index - shift) ** 2).sum(axis=0)).astype(np.float32)
        write_volume(Volume(array, CUBE, "intensity"), folder / f"{name}.nrrd")
    return folder / "fixed.nrrd", folder / "moving.nrrd"


def test_less_memory_is_a_coarser_grid_and_too_little_is_refused(tmp_path: Path) -> None:
    fixed, moving = images(tmp_path)
    plain = RegisterOptions()

    def most(limit: float, options: RegisterOptions = plain) -> int:
        return working_voxels_within(limit, fixed, moving, model=None, options=options)

    assert most(0.8) < most(1.2) < most(4)
    assert most(0.82, replace(plain, inverse=True)) < most(0.82)
    assert most(0.8, replace(plain, transform_format=("nrrd", "composite.h5"))) < most(0.8)
    assert most(1.2, replace(plain, refine="auto")) < most(1.2) == most(
        1.2, replace(plain, refine="auto", similarity="lncc"))
    with_labels = replace(plain, fixed_labels=fixed, moving_labels=moving)
    assert most(0.75, with_labels) < most(0.75)
    with pytest.raises(InputError, match="need more memory") as caught:
        most(0.5)
    needed = float(str(caught.value.expected).split()[1])
    assert most(needed) > 0 and 0.6 < needed < 1
    model = no_network(CUBE, CUBE)
    assert coarser(model, CUBE, 10**7) is model
    for limit in (100_000, 300_000):
        grid = working_geometry(coarser(model, CUBE, limit).recipe, CUBE)
        assert 0.5 * limit < math.prod(grid.size) <= limit


def test_a_registration_stays_below_its_limit(tmp_path: Path) -> None:
    fixed, moving = images(tmp_path)
    code = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    command = [sys.executable, "-m", "AutoRegLib", "register", str(fixed), str(moving), "--model", "none", "--quiet",
               "--refine", "1", "--memory", "0.75", "--threads", "1", "--output", str(tmp_path / "out")]
    told = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(told.stdout.split()[-1]) * unit < 0.75e9
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert any("below 0.75 GB" in text for text in report["warnings"])
    assert report["lncc"] > report["lncc_before"]
