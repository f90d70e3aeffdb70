"""Metrics are computed in small steps: the same figures, and no step that works on a whole volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import scenes

from AutoRegSlicerLib import metrics, segmentations, steps, tables, transforms
from AutoRegSlicerLib.lattices import ownLattice


def addEverything(scene: Any) -> dict[str, Any]:
    pair = scenes.addPair(scene, "oblique")
    lattice = ownLattice(pair["fixedVolume"])
    values = np.random.default_rng(0).normal(0.8, 0.5, lattice.size[::-1]).astype(np.float32)
    return {"fixedSegmentation": pair["fixedSegmentation"], "movingSegmentation": pair["movingSegmentation"],
            "jacobian": scenes.addVolume(scene, "Jacobian", lattice, values), "referenceVolume": pair["fixedVolume"]}


def test_slabs_cover_a_lattice_once() -> None:
    for size in ((3, 4, 5), (600, 600, 3), (1, 1, 1)):
        planes = [plane for slab in steps.slabs(size) for plane in range(size[2])[slab]]
        assert planes == list(range(size[2]))


def test_labels_by_slabs_are_those_of_the_whole(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every voxel: nearest neighbors must not change where a slab begins."""
    given = addEverything(scene)
    moving, lattice = given["movingSegmentation"], ownLattice(given["referenceVolume"])
    structures = segmentations.structuresOf(moving)
    for warp in (None, transforms.warpToWorld(scenes.addLinear(scene)), transforms.warpToWorld(scenes.addWarp(scene))):
        whole = segmentations.voxelsOn(lattice, structures, lambda s: s.value, warp)
        with monkeypatch.context() as patch:
            patch.setattr(steps, "AT_ONCE", 2000)
            parts = segmentations.voxelsOn(lattice, structures, lambda s: s.value, warp)
        assert whole.any() and np.array_equal(whole, parts)


def test_no_step_of_the_metrics_works_on_a_whole_volume(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given, warp = addEverything(scene), scenes.addWarp(scene)
    whole = tables.rowsOf(metrics.computeMetrics(scene, warp, **given)[0])
    sizes = []
    moved = segmentations.moved

    def watched(*arguments: Any) -> Any:
        image = moved(*arguments)
        sizes[-1] += image.GetNumberOfPoints()
        return image

    monkeypatch.setattr(segmentations, "moved", watched)
    monkeypatch.setattr(steps, "AT_ONCE", 2000)
    work = metrics.computeMetricsSteps(scene, warp, **given)
    found = None
    while found is None:
        sizes.append(0)
        try:
            next(work)
        except StopIteration as end:
            found = end.value
    assert max(sizes) <= 2000 < sum(sizes)
    assert tables.rowsOf(found[0]) == whole and whole[1][0][-1] > 0  # folds, too
