"""Which points and voxels a displacement field does not reach: ITK itself is asked whether it moves them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from lattices import LATTICES, OBLIQUE, OBLIQUE_2D, positions

from AutoRegLib.app.cli import main
from AutoRegLib.imaging.displacement import DisplacementField, chain, transform_points
from AutoRegLib.imaging.files import read_points, write_displacement, write_points, write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.reach import points_beyond, voxels_beyond
from AutoRegLib.imaging.volume import Volume

GEOMETRIES = pytest.mark.parametrize("lattice", [*LATTICES.values(), OBLIQUE_2D], ids=[*LATTICES, "2-D"])


def push(lattice: Geometry) -> sitk.Transform:
    """A field that moves everything it reaches."""
    return DisplacementField(np.ones((*lattice.shape, lattice.dims), np.float32), lattice).to_transform()


def unmoved(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    return np.all(transform_points(transform, points) == points, axis=1)


@GEOMETRIES
def test_points_beyond_the_field_are_those_that_itk_leaves(lattice: Geometry) -> None:
    low, high = lattice.bounding_box
    points = np.random.default_rng(0).uniform(low - 2, high + 2, (2000, lattice.dims))
    beyond = points_beyond(push(lattice), points)
    assert 0.1 < beyond.mean() < 0.95
    assert np.array_equal(beyond, unmoved(push(lattice), points))


@GEOMETRIES
def test_voxels_beyond_the_field_are_counted(lattice: Geometry) -> None:
    assert voxels_beyond(push(lattice), lattice) == 0
    larger = replace(lattice, size=tuple(n + 5 for n in lattice.size), spacing=tuple(1.3 * s for s in lattice.spacing))
    points = positions(larger).reshape(-1, lattice.dims)
    assert voxels_beyond(push(lattice), larger) == unmoved(push(lattice), points).sum() > 0


def test_a_linear_map_before_the_field_is_followed() -> None:
    shift = sitk.TranslationTransform(3, (20.0, 0.0, 0.0))
    turn = sitk.Euler3DTransform(OBLIQUE.centre.tolist(), 0.2, 0.1, 0.4)
    points = np.random.default_rng(0).uniform(*OBLIQUE.bounding_box, (500, 3))
    moved = transform_points(chain(shift, turn), points)
    expected = points_beyond(push(OBLIQUE), moved)
    assert 0 < expected.sum() < 500
    nested = chain(chain(shift, turn), chain(push(OBLIQUE), shift))
    assert np.array_equal(points_beyond(nested, points), expected)
    assert not points_beyond(chain(shift, turn), points).any()


def scene(folder: Path) -> list[str]:
    rng = np.random.default_rng(0)
    larger = replace(OBLIQUE, size=tuple(2 * n for n in OBLIQUE.size))
    write_displacement(DisplacementField(np.ones((*OBLIQUE.shape, 3), np.float32), OBLIQUE), folder / "t.nrrd")
    for name, grid in (("inside", OBLIQUE), ("larger", larger)):
        write_volume(Volume(rng.random(grid.shape).astype(np.float32), grid, "intensity"), folder / f"{name}.nrrd")
    write_points(("in", "far"), np.array([OBLIQUE.centre, OBLIQUE.centre + 500]), folder / "p.csv")
    return ["apply", "--transform", str(folder / "t.nrrd"), "--output"]


@pytest.mark.parametrize("as_json", [True, False])
def test_apply_says_what_the_field_does_not_reach(
    as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    apply = scene(tmp_path)
    flags = ["--json"] if as_json else []
    image = [*apply, str(tmp_path / "y.nrrd"), "--input", str(tmp_path / "inside.nrrd"), "--reference"]
    assert main([*image, str(tmp_path / "larger.nrrd"), *flags]) == 0
    said = capsys.readouterr()
    assert "(88 %) of the reference image lie outside the displacement field" in said.err
    if as_json:
        assert json.loads(said.out)["outside_field"] == 8 * 22 * 17 * 13 - 22 * 17 * 13
    points = [*apply, str(tmp_path / "q.csv"), "--input", str(tmp_path / "p.csv"), "--kind", "points"]
    assert main([*points, *flags]) == 0
    said = capsys.readouterr()
    assert "1 of 2 points lie outside the displacement field and were not moved: far" in said.err
    if as_json:
        assert json.loads(said.out)["outside_field"] == 1
    assert main([*image, str(tmp_path / "inside.nrrd"), "--overwrite", *flags]) == 0
    assert "outside" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.fcsv", "x.mrk.json"])
def test_apply_writes_the_format_that_the_name_asks_for(name: str, tmp_path: Path) -> None:
    apply = scene(tmp_path)
    assert main([*apply, str(tmp_path / name), "--input", str(tmp_path / "p.csv"), "--kind", "points"]) == 0
    assert not (tmp_path / name).read_text().startswith("label")
    assert np.allclose(read_points(tmp_path / name)[1][0], OBLIQUE.centre + 1, atol=1e-5)
    wrong = [*apply, str(tmp_path / "x.vtk"), "--input", str(tmp_path / "p.csv"), "--kind", "points"]
    assert main(wrong) == 2 and not (tmp_path / "x.vtk").exists()
