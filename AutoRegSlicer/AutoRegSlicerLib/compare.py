"""Helper volumes of the compare modes: hidden nodes that are made once and refilled, never saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from AutoRegSlicerLib import transforms, volumes
from AutoRegSlicerLib.apply import worldLattice
from AutoRegSlicerLib.colors import EDGE_COLOR, showAsFolds, showInOneColor
from AutoRegSlicerLib.lattices import Lattice, ownLattice, vtkMatrix
from AutoRegSlicerLib.nodes import helper
from AutoRegSlicerLib.values import Node

_SCALAR = "vtkMRMLScalarVolumeNode"
_MADE_FROM = "AutoReg.MadeFrom"
_ENOUGH = 1.5e6  # voxels
_STEEP = 0.25  # of the steepest slope: less is texture, not an edge


def colored(scene: Any, role: str, volume: Node, colorNodeID: str) -> Node:
    """The volume's own voxels shown in another color, so that the volume's display stays as it is."""
    node = helper(scene, role, _SCALAR)
    node.SetAndObserveImageData(volume.GetImageData())
    node.SetIJKToRASMatrix(vtkMatrix(ownLattice(volume).ijkToRAS))
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    display, shown = node.GetDisplayNode(), volume.GetDisplayNode()
    display.SetAndObserveColorNodeID(colorNodeID)
    if shown is not None:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(shown.GetWindow(), shown.GetLevel())
    return node


def checkerboard(scene: Any, fixed: Node, other: Node, tiles: int, variant: str = "") -> Node:
    """Tiles of one volume between tiles of the other, both scaled to their window. Values 0 to 1."""
    node = helper(scene, f"checkerboard{variant}", _SCALAR)
    if not _outdated(node, fixed, other, tiles):
        return node
    lattice = worldLattice(fixed)
    first, second = (_shownVoxels(volume, lattice) for volume in (fixed, other))
    board = np.zeros(first.shape, bool)
    for axis, count in enumerate(first.shape):
        width = max(max(first.shape) / max(tiles, 1), 1)
        index = (np.arange(count) // width).astype(int) % 2 == 1
        board ^= index.reshape([-1 if a == axis else 1 for a in range(3)])
    return _gray(node, lattice, np.where(board, second, first), (0.0, 1.0))


def difference(scene: Any, fixed: Node, other: Node, variant: str = "") -> Node:
    """Second minus first, both scaled to their window. Values -1 to 1; middle gray is equal."""
    node = helper(scene, f"difference{variant}", _SCALAR)
    if not _outdated(node, fixed, other):
        return node
    lattice = worldLattice(fixed)
    first, second = (_shownVoxels(volume, lattice) for volume in (fixed, other))
    return _gray(node, lattice, second - first, (-1.0, 1.0))


def edges(scene: Any, other: Node, fixed: Node, variant: str = "") -> Node:
    """Label map of ``other``'s edges, one voxel thin, on the fixed grid or one that is a little coarser."""
    node = helper(scene, f"edges{variant}", "vtkMRMLLabelMapVolumeNode")
    if not _outdated(node, fixed, other):
        return node
    lattice = worldLattice(fixed)
    voxels = _shownVoxels(other, lattice)
    step = int(np.ceil((voxels.size / _ENOUGH) ** (1 / 3)))  # finer would make the views wait
    voxels, lattice = voxels[::step, ::step, ::step], lattice.thinned(step)
    slopes = np.stack(np.gradient(voxels, *lattice.spacing[::-1]))
    steepness = np.sqrt((slopes**2).sum(axis=0))
    across = np.abs(slopes).argmax(axis=0)
    crest = np.zeros(voxels.shape, bool)
    for axis in range(3):  # steeper than both neighbors across the edge
        higher = (steepness >= np.roll(steepness, 1, axis)) & (steepness > np.roll(steepness, -1, axis))
        crest |= higher & (across == axis)
    crest &= steepness > _STEEP * float(steepness.max())
    volumes.fill(node, lattice, crest.astype(np.uint8))
    showInOneColor(node, "AutoReg edges", "edge", EDGE_COLOR)
    return node


def folds(scene: Any, jacobian: Node) -> Node:
    """Label map of the voxels of a Jacobian map that fold, where the map lies."""
    node = helper(scene, "folds", "vtkMRMLLabelMapVolumeNode")
    if _outdated(node, jacobian):
        volumes.fill(node, ownLattice(jacobian), (volumes.voxelsOf(jacobian) <= 0).astype(np.uint8))
        showAsFolds(node)
    node.SetAndObserveTransformNodeID(jacobian.GetTransformNodeID())
    return node


def _shownVoxels(volume: Node, lattice: Lattice) -> np.ndarray:
    """The volume on a world lattice, its window scaled to 0..1."""
    scratch = slicer.vtkMRMLScene()
    if transforms.isLinearlyPlaced(volume):
        own = worldLattice(volume)
        same = own.size == lattice.size and np.allclose(own.ijkToRAS, lattice.ijkToRAS, atol=1e-4)
        copy = volumes.inWorld(volume, scratch)
        voxels = volumes.voxelsOf(copy if same else volumes.resampled(copy, lattice))
    else:
        voxels = volumes.voxelsOf(volumes.resampled(
            volumes.sharedCopy(volume, scratch), lattice, transforms.toWorld(volume)))
    voxels = voxels.astype(np.float32)
    shown = volume.GetDisplayNode()
    if shown is not None and shown.GetWindow() > 0:
        lowest, highest = shown.GetWindowLevelMin(), shown.GetWindowLevelMax()
    else:
        lowest, highest = np.percentile(voxels, (0.5, 99.5))
    return np.clip((voxels - lowest) / max(highest - lowest, 1e-6), 0, 1)


def _outdated(node: Node, *made_from: Any) -> bool:
    """Whether a helper must be made again: flicker asks for the same picture twice a second."""
    parts = [str(part) for part in made_from if isinstance(part, int)]
    for volume in (part for part in made_from if not isinstance(part, int)):
        shown, parent = volume.GetDisplayNode(), volume.GetParentTransformNode()
        parts += [volume.GetID(), str(volume.GetImageData().GetMTime()), repr(ownLattice(volume).ijkToRAS.tolist()),
                  "" if shown is None else f"{shown.GetWindow()} {shown.GetLevel()}",
                  "" if parent is None else f"{parent.GetID()} {parent.GetTransformToWorldMTime()}"]
    key = "|".join(parts)
    if node.GetAttribute(_MADE_FROM) == key:
        return False
    node.SetAttribute(_MADE_FROM, key)
    return True


def _gray(node: Node, lattice: Lattice, voxels: np.ndarray, window: tuple[float, float]) -> Node:
    volumes.fill(node, lattice, voxels.astype(np.float32))
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*window)
    return node
