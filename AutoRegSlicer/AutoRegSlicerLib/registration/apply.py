"""Carry other nodes along: warped copies of volumes, label maps, segmentations, models and markups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import slicer
import vtk

from AutoRegLib.core.errors import InputError
from AutoRegSlicerLib.scene import segmentations, transforms, volumes
from AutoRegSlicerLib.scene.grids import Lattice, ownLattice, vtkMatrix
from AutoRegSlicerLib.scene.nodes import FIXED, MOVING, WARPED_BY, placeBeside
from AutoRegSlicerLib.scene.values import Node

#: markups that stay boxes and planes; they say that they can be warped, and then are not
_STRAIGHT = ("vtkMRMLMarkupsROINode", "vtkMRMLMarkupsPlaneNode")


def applyToNodes(
    scene: Any, transformNode: Node, nodes: Sequence[Node], referenceVolume: Node = None, inverse: bool = False,
) -> list[Node]:
    """Warped copies of volumes, label maps, segmentations, models and markups; inputs stay as they are.

    Each copy lies in world coordinates, under no transform: parent transforms and the warp are applied in one go,
    so that voxels are interpolated once (labels: nearest). Volumes and segmentations come on ``referenceVolume``'s
    grid, by default that of the volume the transform was registered to (``inverse``: the moving one); a volume
    without any reference keeps its voxel size. Raises InputError, before anything is made, naming the node that
    cannot be warped.
    """
    reference = referenceVolume or transformNode.GetNodeReference(MOVING if inverse else FIXED)
    warp = transforms.warpToWorld(transformNode, inverse=inverse)
    for node in nodes:
        _check(node, reference)
    lattice = None if reference is None or reference.GetImageData() is None else volumes.worldLattice(reference)
    copies = [_warped(scene, node, warp, lattice, reference) for node in nodes]
    for copy in copies:
        copy.SetAttribute(WARPED_BY, transformNode.GetName() or transformNode.GetID())
    return copies


def _check(node: Node, reference: Node) -> None:
    if node.IsA("vtkMRMLSegmentationNode"):
        if reference is None or reference.GetImageData() is None:
            raise InputError(f"no grid for the warped copy of '{node.GetName()}'", expected="a reference volume",
                             remedy="choose the volume on whose grid the labels are wanted")
    elif node.IsA("vtkMRMLVolumeNode"):
        if node.GetImageData() is None:
            raise InputError(f"the volume '{node.GetName()}' has no image data", remedy="leave it out")
    elif any(node.IsA(name) for name in _STRAIGHT):
        raise InputError(f"'{node.GetName()}' cannot be bent: boxes and planes take only linear transforms",
                         expected="points, lines, curves, models, volumes or segmentations", remedy="leave it out")
    elif not (node.IsA("vtkMRMLModelNode") or node.IsA("vtkMRMLMarkupsNode")):
        raise InputError(f"'{node.GetName()}' cannot be warped", got=node.GetClassName(),
                         expected="a volume, label map, segmentation, model or markups node", remedy="leave it out")


def _warped(scene: Any, node: Node, warp: Any, lattice: Lattice | None, reference: Node) -> Node:
    copy = scene.AddNewNodeByClass(node.GetClassName(), scene.GenerateUniqueName(f"{node.GetName()} warped"))
    if node.IsA("vtkMRMLSegmentationNode"):
        _fillSegmentation(copy, node, warp, lattice, reference)
    elif node.IsA("vtkMRMLVolumeNode"):
        _fillVolume(copy, node, warp, lattice)
    elif node.IsA("vtkMRMLModelNode"):
        mesh = node.GetMesh().NewInstance()
        mesh.DeepCopy(node.GetMesh())
        copy.SetAndObserveMesh(mesh)
        copy.ApplyTransform(transforms.chain(transforms.toWorld(node), warp))
    else:
        copy.CopyContent(node)
        copy.ApplyTransform(transforms.chain(transforms.toWorld(node), warp))
    _lookLike(copy, node)
    placeBeside(copy, node)
    return copy


def _fillVolume(copy: Node, node: Node, warp: Any, lattice: Lattice | None) -> None:
    scratch = slicer.vtkMRMLScene()
    if lattice is None:
        result = volumes.inWorld(node, scratch, extra=warp)
    else:
        total = transforms.chain(transforms.toWorld(node), warp)
        result = volumes.resampled(volumes.sharedCopy(node, scratch), lattice, total)
    copy.SetAndObserveImageData(result.GetImageData())
    copy.SetIJKToRASMatrix(vtkMatrix(ownLattice(result).ijkToRAS))


def _fillSegmentation(copy: Node, node: Node, warp: Any, lattice: Lattice | None, reference: Node) -> None:
    """Segments that share voxels are warped together; overlapping ones stay overlapping."""
    total = transforms.chain(transforms.toWorld(node), warp)
    done: dict[Any, Any] = {}
    filled = []
    for structure in segmentations.structuresOf(node, None, lattice):
        if structure.image not in done:
            done[structure.image] = segmentations.moved(structure.image, lattice, total)
        filled.append((replace(structure, image=done[structure.image]), done[structure.image]))
    segmentations.fillSegmentation(copy, filled, reference)


def _lookLike(copy: Node, node: Node) -> None:
    """The display of the original, in a display node of its own."""
    shown = node.GetDisplayNode()
    if copy.GetDisplayNode() is None:
        copy.CreateDefaultDisplayNodes()
    if shown is None or copy.GetDisplayNode() is None:
        return
    display = copy.GetDisplayNode()
    if display.GetClassName() == shown.GetClassName():
        display.CopyContent(shown)
    if shown.IsA("vtkMRMLDisplayNode") and shown.GetColorNodeID():
        display.SetAndObserveColorNodeID(shown.GetColorNodeID())


def previewOn(node: Node, transformNode: Node | None) -> Node | None:
    """Put a node under the transform (or back under ``None`` or its former one); returns the former parent."""
    before = node.GetParentTransformNode()
    node.SetAndObserveTransformNodeID(None if transformNode is None else transformNode.GetID())
    return before


def alignCenters(scene: Any, fixedVolume: Node, movingVolume: Node) -> Node:
    """A new linear transform that puts the moving volume's center on the fixed one's, as initial transform.

    Nothing is put under it. Raises nothing of its own.
    """
    shift = volumes.worldCorners(fixedVolume).mean(axis=0) - volumes.worldCorners(movingVolume).mean(axis=0)
    matrix = vtk.vtkMatrix4x4()
    for axis in range(3):
        matrix.SetElement(axis, 3, float(shift[axis]))
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", scene.GenerateUniqueName("Aligned centers"))
    node.SetMatrixTransformToParent(matrix)
    return node
