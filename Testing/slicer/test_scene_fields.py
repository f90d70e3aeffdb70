"""Fields that are read back slab by slab are those that Slicer's own reader reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import scenes

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.files import write_displacement
from AutoRegLib.imaging.geometry import Geometry
from AutoRegSlicerLib import steps
from AutoRegSlicerLib.scene import fields, transforms


def writeField(path: Path, kind: str, **how: Any) -> None:
    """A smooth field of some millimeters on one of the lattices of the scenes."""
    lattice = scenes.LATTICES[kind][0]
    lps = np.diag([-1.0, -1, 1])
    geometry = Geometry(lattice.size, tuple(lattice.spacing), tuple(lps @ lattice.ijkToRAS[:3, 3]),
                        tuple((lps @ lattice.directions).ravel()))
    points = scenes.positions(lattice)
    write_displacement(DisplacementField((3 * np.sin(points / 9)).astype(np.float32), geometry), path, **how)


def read(scene: Any, path: Path) -> tuple[Any, int]:
    """The node, and how many steps it took."""
    node, count = scene.AddNewNodeByClass("vtkMRMLTransformNode"), 0
    for _ in fields.fillFromFieldSteps(node, path):
        count += 1
    return node, count


@pytest.mark.parametrize("kind", scenes.LATTICES)
def test_a_field_is_read_as_slicer_reads_it(
    scene: Any, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps, "AT_ONCE", 4000)
    writeField(tmp_path / "field.nrrd", kind, compress=False)
    own, count = read(scene, tmp_path / "field.nrrd")
    slicers = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transforms.fillFromFile(slicers, tmp_path / "field.nrrd")
    assert count > 3
    points = scenes.CENTER + np.random.default_rng(0).uniform(-12, 12, (200, 3))
    for inverse in (True, False):
        found, expected = (transforms.transformPoints(transforms.warpToWorld(node, inverse=inverse), points)
                           for node in (own, slicers))
        assert np.abs(found - expected).max() < (1e-9 if inverse else 2e-5) and np.abs(found - points).max() > 1
    assert own.GetAttribute(transforms.GRID_MARK) == "linear"


def test_a_compressed_field_is_left_to_slicer(scene: Any, tmp_path: Path) -> None:
    writeField(tmp_path / "field.nrrd", "oblique", compress=True)
    node, count = read(scene, tmp_path / "field.nrrd")
    assert count == 0 and transforms.gridOf(node) is not None


@pytest.mark.parametrize("keep", [0, 100, -5])
def test_a_field_that_is_not_whole_is_refused(scene: Any, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "field.nrrd"
    writeField(path, "oblique", compress=False)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="cannot read the transform"):
        read(scene, path)
    with pytest.raises(InputError, match="cannot read the transform"):
        read(scene, tmp_path / "none.nrrd")
