"""Helper volumes of the compare modes: hidden nodes that are made once and refilled, never saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer

from AutoRegLib.core.folds import folded
from AutoRegSlicerLib.scene import transforms, volumes
from AutoRegSlicerLib.scene.colors import EDGE_COLOR, showAsFolds, showInOneColor
from AutoRegSlicerLib.scene.grids import Lattice, ownLattice, vtkMatrix
from AutoRegSlicerLib.scene.nodes import helper
from AutoRegSlicerLib.scene.values import Node
from AutoRegSlicerLib.scene.volumes import worldLattice
from AutoRegSlicerLib.steps import Steps, slabs

_SCALAR = "vtkMRMLScalarVolumeNode"
_MADE_FROM = "AutoReg.MadeFrom"
_ENOUGH = 1.5e6  # voxels
_STEEP = 0.25  # of the steepest slope: less is texture, not an edge


def colored(scene: Any, role: str, volume: Node, colorNodeID: str) -> Node:
    """The volume's own voxels shown in another color, so that the volume's display stays as it is."""
    node = helper(scene, role, _SCALAR)
    node.SetName(volume.GetName())
    node.SetAndObserveImageData(volume.GetImageData())
    node.SetIJKToRASMatrix(vtkMatrix(ownLattice(volume).ijkToRAS))
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    display, shown = node.GetDisplayNode(), volume.GetDisplayNode()
    display.SetAndObserveColorNodeID(colorNodeID)
    if shown is not None:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(shown.GetWindow(), shown.GetLevel())
    return node


def checkerboardSteps(scene: Any, fixed: Node, other: Node, tiles: int, variant: str = "") -> Steps:
    """Tiles of one volume between tiles of the other, both scaled to their window. Values 0 to 1."""
    width = max(max(ownLattice(fixed).size) / max(tiles, 1), 1)

    def board(first: np.ndarray, second: np.ndarray, slab: slice) -> np.ndarray:
        odd = np.zeros(first.shape, bool)
        for axis, count in enumerate(first.shape):
            index = np.arange(count) + (slab.start if axis == 0 else 0)
            odd ^= ((index // width).astype(int) % 2 == 1).reshape([-1 if a == axis else 1 for a in range(3)])
        return np.where(odd, second, first)

    return (yield from _madeOfBoth(helper(scene, f"checkerboard{variant}", _SCALAR), fixed, other, board, (0.0, 1.0),
                                   tiles))


def differenceSteps(scene: Any, fixed: Node, other: Node, variant: str = "") -> Steps:
    """Second minus first, both scaled to their window. Values -1 to 1; middle gray is equal."""
    return (yield from _madeOfBoth(helper(scene, f"difference{variant}", _SCALAR), fixed, other,
                                   lambda first, second, slab: second - first, (-1.0, 1.0)))


def _madeOfBoth(
    node: Node, fixed: Node, other: Node, combine: Callable[[np.ndarray, np.ndarray, slice], np.ndarray],
    window: tuple[float, float], *settings: int,
) -> Steps:
    """A gray volume on the fixed grid, made of both volumes slab by slab; nothing is done where it is made already."""
    key = _madeFrom(fixed, other, *settings)
    if node.GetAttribute(_MADE_FROM) == key:
        return node
    lattice = worldLattice(fixed)
    first, second = _Shown(fixed, lattice), _Shown(other, lattice)
    yield node.GetName()
    voxels = np.empty(lattice.size[::-1], np.float32)
    for slab in slabs(lattice.size):
        voxels[slab] = combine(first.planes(slab), second.planes(slab), slab)
        yield node.GetName()
    volumes.fill(node, lattice, voxels)
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*window)
    node.SetAttribute(_MADE_FROM, key)
    return node


def edges(scene: Any, other: Node, fixed: Node, variant: str = "") -> Node:
    """Label map of ``other``'s edges, one voxel thin, on the fixed grid or one that is a little coarser."""
    node = helper(scene, f"edges{variant}", "vtkMRMLLabelMapVolumeNode")
    key = _madeFrom(fixed, other)
    if node.GetAttribute(_MADE_FROM) == key:
        return node
    lattice = worldLattice(fixed)
    lattice = lattice.thinned(int(np.ceil((np.prod(lattice.size) / _ENOUGH) ** (1 / 3))))  # the views would wait
    voxels = _Shown(other, lattice).planes(slice(0, lattice.size[2]))
    slopes = np.stack([np.gradient(voxels, step, axis=axis) if voxels.shape[axis] > 1 else np.zeros_like(voxels)
                       for axis, step in enumerate(lattice.spacing[::-1])])
    steepness = np.sqrt((slopes**2).sum(axis=0))
    across = np.abs(slopes).argmax(axis=0)
    crest = np.zeros(voxels.shape, bool)
    for axis in range(3):  # steeper than both neighbors across the edge
        higher = (steepness >= np.roll(steepness, 1, axis)) & (steepness > np.roll(steepness, -1, axis))
        crest |= higher & (across == axis)
    crest &= steepness > _STEEP * float(steepness.max())
    volumes.fill(node, lattice, crest.astype(np.uint8))
    showInOneColor(node, "AutoReg edges", "edge", EDGE_COLOR)
    node.SetAttribute(_MADE_FROM, key)
    return node


def folds(scene: Any, jacobian: Node) -> Node:
    """Label map of the voxels of a Jacobian map that fold, where the map lies."""
    node, key = helper(scene, "folds", "vtkMRMLLabelMapVolumeNode"), _madeFrom(jacobian)
    if node.GetAttribute(_MADE_FROM) != key:
        volumes.fill(node, ownLattice(jacobian), folded(volumes.voxelsOf(jacobian)).astype(np.uint8))
        showAsFolds(node)
        node.SetAttribute(_MADE_FROM, key)
    node.SetAndObserveTransformNodeID(jacobian.GetTransformNodeID())
    return node


class _Shown:
    """A volume on a world lattice as it is shown, its window scaled to 0..1; made plane by plane."""

    def __init__(self, volume: Node, lattice: Lattice) -> None:
        self._lattice = lattice
        self._scene = scratch = slicer.vtkMRMLScene()  # lives as long as its nodes are needed
        if transforms.isLinearlyPlaced(volume):
            own = worldLattice(volume)
            self._same = own.size == lattice.size and np.allclose(own.ijkToRAS, lattice.ijkToRAS, atol=1e-4)
            self._node = volumes.inWorld(volume, scratch)
        else:
            self._same, self._node = False, volumes.sharedCopy(volume, scratch)
            parent = scratch.AddNewNodeByClass("vtkMRMLTransformNode")
            parent.SetAndObserveTransformToParent(transforms.toWorld(volume))
            self._node.SetAndObserveTransformNodeID(parent.GetID())
        shown = volume.GetDisplayNode()
        if shown is not None and shown.GetWindow() > 0:
            self._window = shown.GetWindowLevelMin(), shown.GetWindowLevelMax()
        else:
            self._window = tuple(np.percentile(volumes.voxelsOf(volume)[::2, ::2, ::2], (0.5, 99.5)).tolist())
        if not self._same:
            volumes.useFloat(self._node)

    def planes(self, slab: slice) -> np.ndarray:
        """Planes of the last axis. Shape: (z, y, x)."""
        if self._same:
            return self._scaled(volumes.voxelsOf(self._node)[slab])
        part = volumes.resampled(self._node, self._lattice.planes(slab))
        scaled = self._scaled(volumes.voxelsOf(part))
        self._scene.RemoveNode(part)
        return scaled

    def _scaled(self, voxels: np.ndarray) -> np.ndarray:
        lowest, highest = self._window
        return np.clip((voxels.astype(np.float32) - lowest) / max(highest - lowest, 1e-6), 0, 1)


def _madeFrom(*parts: Any) -> str:
    """What a helper is made from: while it stays the same, so does the helper. Flicker asks twice a second."""
    found = [str(part) for part in parts if isinstance(part, int)]
    for volume in (part for part in parts if not isinstance(part, int)):
        shown, parent = volume.GetDisplayNode(), volume.GetParentTransformNode()
        found += [volume.GetID(), str(volume.GetImageData().GetMTime()), repr(ownLattice(volume).ijkToRAS.tolist()),
                  "" if shown is None else f"{shown.GetWindow()} {shown.GetLevel()}",
                  "" if parent is None else f"{parent.GetID()} {parent.GetTransformToWorldMTime()}"]
    return "|".join(found)
