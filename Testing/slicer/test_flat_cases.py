"""Single slices in the case table: the search reads pictures, each in coordinates of its plane."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import oracle
import scenes
import SimpleITK as sitk

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.imaging.files import read_points
from AutoRegLib.learning.data import prepare
from AutoRegLib.learning.start_recipe import start_recipe
from AutoRegSlicerLib.logic import CaseRow, checkCases, exportScenario
from AutoRegSlicerLib.scene.grids import Lattice

LPS = np.array([-1.0, -1.0, 1.0])
TURN = scenes.rotation(9, -14, 21)


def lattice(axis: int, number: int) -> Lattice:
    """A slice across an axis and a structure; of every case another one, beside the others."""
    sizes, spacing = [20, 24, 22], [2.2, 2.0, 2.1]
    sizes[axis], spacing[axis] = 1, 5.0
    return scenes.lattice(tuple(sizes), tuple(spacing), TURN,
                          scenes.CENTER + (number + 7.0 * (axis == 0)) * TURN[:, axis])


def rows(scene: Any, axis: int, count: int = 4) -> list[CaseRow]:
    found = []
    for number in range(count):
        on = lattice(axis, number)
        volume = scenes.addVolume(scene, f"slice {number}", on, scenes.blobs(scenes.positions(on)).astype(np.float32))
        found.append(CaseRow(f"person {number}", volume, scenes.addSegmentation(
            scene, f"slice {number} labels", on, scenes.labels(scenes.positions(on)))))
    return found


def blocking(messages: list[Any]) -> list[str]:
    return [message.code for message in messages if message.blocking]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_become_pictures_with_their_labels_and_points(scene: Any, tmp_path: Path, axis: int) -> None:
    cases = rows(scene, axis)
    places = lattice(axis, 0).corners[[0, 2, 5]] + 1.5 * TURN[:, axis]  # a little off the plane
    cases[0] = replace(cases[0], landmarks=scenes.addPoints(scene, "points", places))
    assert blocking(checkCases(cases)[1]) == []
    scenario = read_scenario(exportScenario(cases, tmp_path / "data", validationPercent=50))
    assert scenario.spatial_dims == 2 and scenario.structures
    first = scenario.cases[0]
    picture, labels = sitk.ReadImage(first.image), sitk.ReadImage(str(first.labels))
    whole = oracle.nodeImage(cases[0].volume)  # the slice in space
    assert picture.GetDimension() == 2 and labels.GetSize() == picture.GetSize()
    flat = sitk.GetArrayFromImage(picture)
    assert np.array_equal(flat, sitk.GetArrayFromImage(whole).squeeze())
    assert len(np.unique(sitk.GetArrayFromImage(labels))) > 1
    # distances within the picture are those in space: of voxels, and of points from voxels
    _, points = read_points(str(first.landmarks))
    assert points.shape == (3, 2)
    inner = [n for n in range(3) if n != axis]
    for index in ((3, 5), (17, 9), (0, 0)):
        there = np.zeros(3, int)
        there[inner] = index
        place = np.array(whole.TransformIndexToPhysicalPoint(there.tolist()))
        off = places * LPS - place
        off -= np.outer(off @ (TURN[:, axis] * LPS), TURN[:, axis] * LPS)
        ours = points - np.array(picture.TransformIndexToPhysicalPoint(index))
        assert np.allclose(np.linalg.norm(ours, axis=1), np.linalg.norm(off, axis=1), atol=1e-4)
    dataset = prepare(scenario, start_recipe(scenario, preset="quick"), ("train", "val"), monitor=Monitor())
    assert dataset.grid.dims == 2 and dataset.labelled_pairs("val")


def test_slices_and_volumes_do_not_mix_and_a_warp_bends_a_slice(scene: Any) -> None:
    cases, whole = rows(scene, 2), scenes.caseRows(scene, 1)[0]
    messages = checkCases([*cases, whole])[1]
    assert blocking(messages) == ["mixed-dimensions"] and "'slice 0'" in messages[0].text
    assert blocking(checkCases(cases, 50, "atlas", whole.volume)[1]) == ["mixed-dimensions"]
    assert blocking(checkCases(cases, 50, "atlas", cases[1].volume)[1]) == []
    cases[2].volume.SetAndObserveTransformNodeID(scenes.addWarp(scene).GetID())
    assert blocking(checkCases(cases)[1]) == ["bent-slice"]
    line = scenes.addVolume(scene, "line", scenes.lattice((9, 1, 1), (1.0,) * 3), np.zeros((1, 1, 9), np.int16))
    assert "no-image" in blocking(checkCases([*rows(scene, 2), CaseRow("line", line)])[1])
