"""What the slice views show, looked at through Slicer's own renderer."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import scenes

from AutoRegLib.core.errors import InputError
from AutoRegSlicerLib.scene import colors, display, surfaces, views, volumes
from AutoRegSlicerLib.scene import compare as compareVolumes
from AutoRegSlicerLib.scene.grids import ownLattice

_TRIAL = "import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.Render(); print(w.GetClassName())"


@pytest.fixture(scope="session")
def renderer() -> None:
    """Skips where nothing can be rendered; tried in another process, since a missing library ends it."""
    tried = subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, text=True, timeout=120,
                           env={**os.environ, "QT_QPA_PLATFORM": "offscreen"})
    if tried.returncode or "RenderWindow" not in tried.stdout:
        pytest.skip(f"nothing can be rendered here (no EGL or OSMesa library): {tried.stderr.strip()[-200:]}")


@pytest.fixture
def stage(scene: Any, renderer: None) -> dict[str, Any]:
    """A pair with fixed windows in three slice views."""
    import rendering  # needs a renderer

    pair = scenes.addPair(scene, "oblique")
    for name in ("fixedVolume", "movingVolume"):
        pair[name].GetDisplayNode().SetAutoWindowLevel(False)
        pair[name].GetDisplayNode().SetWindowLevelMinMax(0, 1000)
    for name in ("fixedSegmentation", "movingSegmentation"):
        pair[name].GetDisplayNode().SetVisibility(False)
    pair["views"] = rendering.SliceViews(scene, 160)
    display.fitSlices(scene, pair["fixedVolume"])
    return pair


def compare(scene: Any, stage: dict[str, Any], mode: str, **more: Any) -> np.ndarray:
    display.setCompareMode(scene, mode, stage["fixedVolume"], stage["movingVolume"], **more)
    return np.asarray(stage["views"].picture("Red")).astype(int)


def test_fade_goes_from_one_to_the_other(scene: Any, stage: dict[str, Any]) -> None:
    first, half, last = (compare(scene, stage, "fade", opacity=share) for share in (0.0, 0.5, 1.0))
    assert first.max() > 100 and np.abs(first - last).max() > 40
    shown = last.max(axis=-1) > 0  # the moving image ends inside the fixed one
    assert np.abs(half - (first + last) / 2)[shown].max() <= 6
    assert np.array_equal(first[..., 0], first[..., 2])  # gray


def test_before_shows_the_moving_volume(scene: Any, stage: dict[str, Any]) -> None:
    fixed = stage["fixedVolume"]
    display.setCompareMode(scene, "fade", fixed, fixed, stage["movingVolume"], opacity=1.0, before=True)
    before = stage["views"].picture("Red").astype(int)
    display.setCompareMode(scene, "fade", fixed, fixed, stage["movingVolume"], opacity=1.0)
    assert np.abs(before - stage["views"].picture("Red")).max() > 40
    with pytest.raises(InputError, match="nothing to compare"):
        display.setCompareMode(scene, "fade", fixed, fixed, None, before=True)


def test_red_and_cyan_make_gray_where_volumes_agree(scene: Any, stage: dict[str, Any]) -> None:
    apart = compare(scene, stage, "red-cyan")
    assert np.abs(apart[..., 0] - apart[..., 1]).max() > 40
    display.setCompareMode(scene, "red-cyan", stage["fixedVolume"], stage["fixedVolume"])
    equal = stage["views"].picture("Red").astype(int)
    assert equal.max() > 100 and np.abs(equal[..., 0] - equal[..., 1]).max() <= 3
    color = stage["fixedVolume"].GetDisplayNode().GetColorNodeID()
    assert color == "vtkMRMLColorTableNodeGrey"  # the user's volume keeps its own display


def test_difference_is_middle_gray_where_volumes_agree(scene: Any, stage: dict[str, Any]) -> None:
    apart = compare(scene, stage, "difference")
    assert apart.min() < 100 or apart.max() > 155
    display.setCompareMode(scene, "difference", stage["fixedVolume"], stage["fixedVolume"])
    equal = stage["views"].picture("Red").astype(int)
    assert np.abs(equal[40:120, 40:120] - 127).max() <= 2


def test_checkerboard_takes_turns(scene: Any, stage: dict[str, Any]) -> None:
    """Every voxel is one of the two volumes', and both occur about equally often."""
    fixed = stage["fixedVolume"]
    other = scenes.addVolume(scene, "other", ownLattice(fixed), np.full((28, 30, 32), 800, np.int16))
    other.GetDisplayNode().SetAutoWindowLevel(False)
    other.GetDisplayNode().SetWindowLevelMinMax(0, 1000)
    [board] = display.setCompareMode(scene, "checkerboard", fixed, other, tiles=8)
    voxels = volumes.voxelsOf(board)
    own = np.clip(volumes.voxelsOf(fixed) / 1000.0, 0, 1)
    fromOther = np.isclose(voxels, 0.8)
    assert np.allclose(voxels[~fromOther], own[~fromOther], atol=1e-6)
    assert 0.4 < fromOther.mean() < 0.6
    assert fromOther[0, 0, :4].tolist() == [False] * 4 and fromOther[0, 0, 4:8].tolist() == [True] * 4
    [again] = display.setCompareMode(scene, "checkerboard", fixed, other, tiles=4)
    assert again is board and not board.GetSaveWithScene() and board.GetHideFromEditors()
    made = board.GetImageData().GetMTime()
    display.setCompareMode(scene, "checkerboard", fixed, other, tiles=4)
    assert board.GetImageData().GetMTime() == made  # nothing changed: nothing is made again
    volumes.voxelsOf(other)[:] = 600
    other.GetImageData().Modified()
    display.setCompareMode(scene, "checkerboard", fixed, other, tiles=4)
    assert np.isclose(volumes.voxelsOf(board), 0.6).mean() > 0.4


def test_edges_lie_on_the_step(scene: Any, stage: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge of a box is one voxel thin and in its place."""
    fixed = stage["fixedVolume"]
    voxels = np.zeros((28, 30, 32), np.int16)
    voxels[8:20, 8:22, 8:24] = 1000
    box = scenes.addVolume(scene, "box", ownLattice(fixed), voxels)
    [edges] = display.setCompareMode(scene, "edges", fixed, box)
    found = volumes.voxelsOf(edges)
    line = np.flatnonzero(found[14, 15])
    assert len(line) == 2 and abs(line[0] - 7.5) <= 1 and abs(line[1] - 23.5) <= 1
    picture = stage["views"].picture("Red").astype(int)
    assert (picture[..., 0] - picture[..., 2]).max() > 80  # the edge color
    monkeypatch.setattr(compareVolumes, "_ENOUGH", 5000)  # a large volume: every second voxel will do
    display.setCompareMode(scene, "edges", fixed, scenes.addVolume(scene, "same", ownLattice(fixed), voxels))
    line = np.flatnonzero(volumes.voxelsOf(edges)[7, 7])
    points = ownLattice(edges).ijkToRAS[:3, :3] @ [line[0], 7, 7] + ownLattice(edges).ijkToRAS[:3, 3]
    index = np.linalg.inv(ownLattice(fixed).ijkToRAS) @ [*points, 1]
    assert abs(index[0] - 7.5) <= 2 and abs(index[2] - 14) <= 1e-6


def test_side_by_side_shows_the_same_slice(scene: Any, stage: dict[str, Any]) -> None:
    display.setCompareMode(scene, "side-by-side", stage["fixedVolume"], stage["movingVolume"])
    red, yellow = stage["views"].nodes[:2]
    ids = [views.compositeOf(scene, node).GetBackgroundVolumeID() for node in (red, yellow)]
    assert ids == [stage["fixedVolume"].GetID(), stage["movingVolume"].GetID()]
    for i in range(4):
        assert [red.GetSliceToRAS().GetElement(i, j) for j in range(4)] == [
            yellow.GetSliceToRAS().GetElement(i, j) for j in range(4)]
    with pytest.raises(InputError, match="no compare mode 'mirror'"):
        compare(scene, stage, "mirror")


def test_the_warp_is_drawn_and_taken_off(scene: Any, stage: dict[str, Any]) -> None:
    warp = scenes.addWarp(scene, size=4.0)
    warp.SetNodeReferenceID("spatialRegistrationFixed", stage["fixedVolume"].GetID())
    plain = compare(scene, stage, "fade", opacity=0.0)
    drawn = {}
    for mode in ("grid", "glyphs", "contours"):
        display.setTransformDisplay(warp, mode)
        drawn[mode] = stage["views"].picture("Red").astype(int)
        assert (np.abs(drawn[mode] - plain).max(axis=-1) > 30).mean() > 0.005, mode
    assert np.abs(drawn["grid"] - drawn["glyphs"]).max() > 30
    display.setTransformDisplay(warp, "grid", spacingMm=12.0)
    coarse = stage["views"].picture("Red").astype(int)
    assert (np.abs(coarse - plain) > 30).sum() < 0.8 * (np.abs(drawn["grid"] - plain) > 30).sum()
    display.setTransformDisplay(warp, "none")
    assert np.abs(stage["views"].picture("Red").astype(int) - plain).max() == 0
    least, most, sensible = display.gridSpacingRange(stage["fixedVolume"])
    assert least <= sensible <= most and least == pytest.approx(1.5)
    with pytest.raises(InputError, match="no transform display"):
        display.setTransformDisplay(warp, "arrows")


def addJacobian(scene: Any, like: Any) -> tuple[Any, np.ndarray]:
    """A map of 1 with a part of 0.5, a part of 2, and two fold regions of 8 and 2 voxels."""
    voxels = np.ones((28, 30, 32), np.float32)
    voxels[:, :, :10], voxels[:, :, 22:] = 0.5, 2.0
    voxels[13:15, 14:16, 15:17], voxels[20, 20, 20:22] = -0.3, 0.0
    return scenes.addVolume(scene, "Jacobian", ownLattice(like), voxels), voxels


def test_folds_are_found_largest_first(scene: Any, stage: dict[str, Any]) -> None:
    node, voxels = addJacobian(scene, stage["fixedVolume"])
    node.SetAndObserveTransformNodeID(scenes.addLinear(scene).GetID())
    centers = display.foldCenters(node)
    assert len(centers) == 2
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(matrix)
    back = vtk.vtkGeneralTransform()
    node.GetParentTransformNode().GetTransformFromWorld(back)
    values, places = [], []
    for center in centers:
        index = np.rint(matrix.MultiplyPoint((*back.TransformPoint(center), 1))[:3]).astype(int)
        places.append(index.tolist())
        values.append(float(voxels[tuple(index[::-1])]))
    assert values == pytest.approx([-0.3, 0.0]) and places[1] in ([20, 20, 20], [21, 20, 20])
    assert display.foldCenters(scenes.addVolume(scene, "none", ownLattice(node), np.ones((28, 30, 32)))) == []


def test_jumping_centers_the_views(scene: Any, stage: dict[str, Any]) -> None:
    crosshair = scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    point = tuple((scenes.CENTER + (5, -4, 3)).tolist())
    display.jumpTo(scene, point)
    for node, axis in zip(stage["views"].nodes, (2, 0, 1), strict=True):  # axial, sagittal, coronal
        assert node.GetSliceToRAS().GetElement(axis, 3) == pytest.approx(point[axis])
    assert tuple(crosshair.GetCrosshairRAS()) == pytest.approx(point)


def test_the_jacobians_colors_mean_what_they_say(scene: Any, stage: dict[str, Any]) -> None:
    """At 0.5 blue, at 1 white, at 2 red, folds (0 included) magenta; values just above 0 are not folds."""
    node, voxels = addJacobian(scene, stage["fixedVolume"])
    voxels = voxels.copy()
    voxels[13:15, 14:16, 15] = 0.02
    volumes.fill(node, ownLattice(node), voxels)
    colors.showAsJacobian(node, 0.5, 2.0)
    display_ = node.GetDisplayNode()
    display_.GetImageDataConnection()
    from vtk.util.numpy_support import vtk_to_numpy

    producer = display_.GetImageDataConnection().GetProducer()
    producer.Update()
    shown = vtk_to_numpy(producer.GetOutputDataObject(0).GetPointData().GetScalars()).reshape(28, 30, 32, -1)

    def color(value: float) -> list[int]:
        return shown[np.isclose(voxels, value)][0, :3].astype(int).tolist()

    assert color(-0.3) == [255, 0, 255] and color(0.0) == [255, 0, 255]
    assert color(0.02) != [255, 0, 255]
    blue, white, red = color(0.5), color(1.0), color(2.0)
    assert blue[2] == 255 and blue[0] < 10
    assert min(white) > 245
    assert red[0] == 255 and red[2] < 10


def test_the_overlay_comes_and_goes(scene: Any, stage: dict[str, Any]) -> None:
    node, _ = addJacobian(scene, stage["fixedVolume"])
    plain = compare(scene, stage, "fade", opacity=0.3)
    display.showJacobian(scene, node, opacity=1.0)
    over = stage["views"].picture("Red").astype(int)
    assert np.abs(over[..., 0] - over[..., 2]).max() > 200  # blue and red
    display.showJacobian(scene, node, foldsOnly=True)
    folds = stage["views"].picture("Red").astype(int)
    changed = np.abs(folds - plain).max(axis=-1) > 20
    assert 0 < changed.mean() < 0.1
    assert (folds[changed][:, 1] < 60).all() and (folds[changed][:, 0] > 150).all()  # magenta alone
    display.showJacobian(scene, node, visible=False)
    assert np.abs(stage["views"].picture("Red").astype(int) - plain).max() == 0


def test_surfaces_and_grid_are_seen_in_3d(scene: Any, stage: dict[str, Any]) -> None:
    """On Slicer's own background, in the segments' colors; the grid where the fixed volume is."""
    import rendering

    view = rendering.ThreeDView(stage["views"])
    view.look(scenes.CENTER, (0, 1, 0.3), reach=60)
    empty = view.picture().astype(int)
    assert empty[0, 0].sum() > empty[-1, 0].sum() + 60  # lighter above
    node = stage["fixedSegmentation"]
    node.GetDisplayNode().SetVisibility(True)
    assert len(list(surfaces.showSteps(node))) == 2
    with_surfaces = view.picture().astype(int)
    seen = with_surfaces[np.abs(with_surfaces - empty).max(axis=-1) > 40]
    red, blue = seen[:, 0] > seen[:, 2] + 60, seen[:, 2] > seen[:, 0] + 60
    assert red.sum() > 50 and blue.sum() > 50  # both blobs
    surfaces.hide(node)
    warp = scenes.addWarp(scene)
    display.setTransformDisplay(warp, "grid", region=stage["fixedVolume"], visible3D=True)
    changed = np.abs(view.picture().astype(int) - empty).max(axis=-1) > 40
    assert 0.01 < changed.mean() < 0.9
    display.setTransformDisplay(warp, "none")
    assert np.abs(view.picture().astype(int) - empty).max() <= 2
