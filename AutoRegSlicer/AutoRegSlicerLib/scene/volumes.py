"""Volumes between scene and files: world coordinates out, results in, inputs never touched.

Work is done on nodes of a private scene that share the voxels, so that nothing of the user's scene changes:
no transform, no storage node, no undo step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegSlicerLib.scene.grids import Lattice, imageVoxels, ownLattice, vtkMatrix
from AutoRegSlicerLib.scene.previews import ownTransform
from AutoRegSlicerLib.scene.transforms import (
    chain,
    isLinearlyPlaced,
    matrixToWorld,
    toWorld,
    transformPoints,
    worldMatrix,
)
from AutoRegSlicerLib.scene.values import Node


def inWorld(volume: Node, scratch: Any, extra: Any = None) -> Node:
    """The volume in world coordinates as a node of the ``scratch`` scene, under no transform.

    Linear transforms only move the lattice (the voxels are shared); a shear or a warp is resampled.
    ``extra``: a further warp of world points (vtkGeneralTransform).
    """
    node = sharedCopy(volume, scratch)
    if extra is None and isLinearlyPlaced(volume):
        lattice = ownLattice(volume).moved(worldMatrix(volume))
        node.SetIJKToRASMatrix(vtkMatrix(lattice.ijkToRAS))
        return resampled(node, lattice.straightened()) if lattice.sheared else node
    useFloat(node)
    parent = scratch.AddNewNodeByClass("vtkMRMLTransformNode")
    parent.SetAndObserveTransformToParent(chain(toWorld(volume), extra))
    node.SetAndObserveTransformNodeID(parent.GetID())
    node.HardenTransform()
    lattice = ownLattice(node)
    return resampled(node, lattice.straightened()) if lattice.sheared else node


def sharedCopy(volume: Node, scratch: Any) -> Node:
    """A node of the scratch scene that shares the voxels and has the same own lattice, under no transform."""
    node = scratch.AddNewNodeByClass(volume.GetClassName())
    node.SetAndObserveImageData(volume.GetImageData())
    node.SetIJKToRASMatrix(vtkMatrix(ownLattice(volume).ijkToRAS))
    node.SetName(volume.GetName() or "")
    return node


def resampled(node: Node, lattice: Lattice, transform: Any = None) -> Node:
    """A scratch node's voxels on another lattice: linear, label maps nearest; 0 where there are no data.

    ``transform``: to world, of the node (vtkGeneralTransform). The result is a node of the same scene.
    """
    scene = node.GetScene()
    useFloat(node)
    reference = nodeOn(scene, lattice, np.zeros(lattice.size[::-1], np.uint8))
    if transform is not None:
        parent = scene.AddNewNodeByClass("vtkMRMLTransformNode")
        parent.SetAndObserveTransformToParent(transform)
        node.SetAndObserveTransformNodeID(parent.GetID())
    result = slicer.vtkSlicerVolumesLogic.ResampleVolumeToReferenceVolume(node, reference)
    if result is None:
        raise InputError(f"cannot resample '{node.GetName()}'", expected="a scalar or label volume")
    result.SetAndObserveTransformNodeID(None)  # the result is warped already and would be warped again
    scene.RemoveNode(reference)
    return result


def useFloat(node: Node) -> None:
    """Let a scratch image of whole numbers be interpolated without rounding: half a gray value shows in 8 bits.

    Label maps and colors stay as they are.
    """
    image = node.GetImageData()
    if (node.IsA("vtkMRMLLabelMapVolumeNode") or image.GetNumberOfScalarComponents() != 1
            or image.GetScalarType() in (vtk.VTK_FLOAT, vtk.VTK_DOUBLE)):
        return
    cast = vtk.vtkImageCast()
    cast.SetInputData(image)
    cast.SetOutputScalarTypeToFloat()
    cast.Update()
    node.SetAndObserveImageData(cast.GetOutput())


def nodeOn(scene: Any, lattice: Lattice, voxels: np.ndarray, className: str = "vtkMRMLScalarVolumeNode") -> Node:
    """A new volume node with these voxels (z, y, x; copied) on the lattice."""
    node = scene.AddNewNodeByClass(className)
    fill(node, lattice, voxels)
    return node


def fill(node: Node, lattice: Lattice, voxels: np.ndarray) -> None:
    """Replace lattice and voxels (z, y, x; copied) of a volume node."""
    image = vtk.vtkImageData()
    image.SetDimensions(lattice.size)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(voxels).ravel(), deep=1))
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(vtkMatrix(lattice.ijkToRAS))


def write(node: Node, path: Path) -> None:
    """Write a scratch volume without compression: it is read back at once. Raises DiskError."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(0)
    if not storage.WriteData(node):
        raise DiskError(f"cannot write {path}", remedy="choose a job folder on a disk with space left")


def read(node: Node, path: str | Path) -> None:
    """Fill a volume node from an image file. The node keeps no link to the file. Raises InputError."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not Path(path).is_file() or not storage.ReadData(node):
        raise InputError(f"cannot read the volume {path}", expected="a complete image file",
                         remedy="run the registration again")


def voxelsOf(node: Node) -> np.ndarray:
    """The voxels of a volume node (z, y, x); a view."""
    return imageVoxels(node.GetImageData())


def worldLattice(volume: Node) -> Lattice:
    """The lattice on which the volume is exported: its own after all transforms, axes perpendicular."""
    if isLinearlyPlaced(volume):
        lattice = ownLattice(volume).moved(worldMatrix(volume))
        return lattice.straightened() if lattice.sheared else lattice
    return ownLattice(inWorld(volume, slicer.vtkMRMLScene()))


def exportLattice(volume: Node) -> Lattice | None:
    """:func:`worldLattice` whatever the volume is previewed under; None under a warp, which has to be resampled."""
    own = ownTransform(volume)
    if own is not None and not own.IsTransformToWorldLinear():
        return None
    lattice = ownLattice(volume).moved(np.eye(4) if own is None else matrixToWorld(own))
    return lattice.straightened() if lattice.sheared else lattice


def worldCorners(volume: Node) -> np.ndarray:
    """Outer corners of the volume after its  Shape: (8, 3). Unit: mm RAS."""
    corners = ownLattice(volume).corners
    parent = toWorld(volume)
    return corners if parent is None else transformPoints(parent, corners)
