"""Metrics and compared volumes are made in small steps: the same figures, and no step that works on a whole volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import scenes

from AutoRegSlicerLib import steps
from AutoRegSlicerLib.registration import metrics
from AutoRegSlicerLib.scene import display, segmentations, tables, transforms, volumes
from AutoRegSlicerLib.scene.grids import ownLattice


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


@pytest.mark.parametrize("mode", ["checkerboard", "difference"])
@pytest.mark.parametrize("before", [False, True])
def test_volumes_are_compared_slab_by_slab(
    scene: Any, monkeypatch: pytest.MonkeyPatch, mode: str, before: bool,
) -> None:
    """The fixed grid is shared by the warped volume; the moving one lies on another grid, here bent as well."""
    pair = scenes.addPair(scene, "oblique")
    fixed, moving = pair["fixedVolume"], pair["movingVolume"]
    warped = scenes.addVolume(scene, "warped", ownLattice(fixed), volumes.voxelsOf(fixed) * 0.5 + 100)
    moving.SetAndObserveTransformNodeID(scenes.addWarp(scene).GetID())
    for volume in (fixed, moving, warped):
        volume.GetDisplayNode().SetAutoWindowLevel(False)
        volume.GetDisplayNode().SetWindowLevelMinMax(0, 1000)
    scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red").SetLayoutName("Red")
    scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", "Red").SetLayoutName("Red")
    [node] = display.setCompareMode(scene, mode, fixed, warped, moving, before=before)
    whole = volumes.voxelsOf(node).copy()
    fixed.GetImageData().Modified()  # so that it is made again
    monkeypatch.setattr(steps, "AT_ONCE", 2000)
    count = len(list(display.compareSteps(scene, mode, fixed, warped, moving, before=before)))
    assert count > 10 and np.abs(volumes.voxelsOf(node) - whole).max() < 1e-4 and np.ptp(whole) > 0.3
