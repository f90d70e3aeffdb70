"""Transform nodes: flattening chains, grids between files and nodes, and the interpolation that files forget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegSlicerLib.scene.grids import RAS_LPS, Lattice, numpyMatrix, vtkMatrix
from AutoRegSlicerLib.scene.values import Node

GRID_MARK = "AutoReg.Interpolation"  # attribute of transforms whose grid is linear between its points
#: mm; how exactly a grid is inverted. Takes no more time than VTK's own 0.01: Newton steps converge fast
INVERSE_TOLERANCE = 1e-5


def toWorld(node: Node) -> Any:
    """The node's parent transforms as one vtkGeneralTransform to world; None without any."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return None
    general = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(general)
    return general


def isLinearlyPlaced(node: Node) -> bool:
    """Whether the node's parent transforms are all linear (or there are none)."""
    parent = node.GetParentTransformNode()
    return parent is None or bool(parent.IsTransformToWorldLinear())


def worldMatrix(node: Node) -> np.ndarray:
    """The node's linear parent transforms as one matrix to world (4, 4); identity without any."""
    parent = node.GetParentTransformNode()
    return np.eye(4) if parent is None else matrixToWorld(parent)


def matrixToWorld(transformNode: Node) -> np.ndarray:
    """What a linear transform node does to points of a node put under it, in world (4, 4)."""
    matrix = vtk.vtkMatrix4x4()
    transformNode.GetMatrixTransformToWorld(matrix)
    return numpyMatrix(matrix)


def warpToWorld(transformNode: Node, *, inverse: bool = False) -> Any:
    """What the transform node does to points of a node put under it, in world; ``inverse``: what undoes it."""
    general = vtk.vtkGeneralTransform()
    if inverse:
        transformNode.GetTransformFromWorld(general)
    else:
        transformNode.GetTransformToWorld(general)
    return general


def chain(first: Any, then: Any) -> Any:
    """Two transforms as one, ``first`` applied first; either may be None."""
    result = vtk.vtkGeneralTransform()
    result.PostMultiply()
    for part in (first, then):
        if part is not None:
            result.Concatenate(part)
    return result


def transformPoints(transform: Any, points: np.ndarray) -> np.ndarray:
    """Points through a VTK transform. Shape: (n, 3). Unit: mm RAS."""
    return np.array([transform.TransformPoint(point) for point in np.asarray(points, dtype=float)]).reshape(-1, 3)


def gridOf(transformNode: Node) -> Any:
    """The node's own displacement grid (from parent), or None when it is something else."""
    return transformNode.GetTransformFromParentAs("vtkOrientedGridTransform", False, True)


def makeGrid(vectors: np.ndarray, lattice: Lattice) -> Any:
    """A displacement grid as VTK transform. Shape: vectors (z, y, x, 3). Unit: mm RAS."""
    grid, own = emptyGrid(lattice, vtk.VTK_DOUBLE)
    own[:] = vectors
    return grid


def emptyGrid(lattice: Lattice, scalarType: int = vtk.VTK_FLOAT) -> tuple[Any, np.ndarray]:
    """A displacement grid as VTK transform, and its vectors, still to be filled. Shape: (z, y, x, 3). Unit: mm RAS."""
    image = vtk.vtkImageData()
    image.SetDimensions(lattice.size)
    image.AllocateScalars(scalarType, 3)
    image.SetOrigin(lattice.ijkToRAS[:3, 3])
    image.SetSpacing(lattice.spacing)
    directions = np.eye(4)
    directions[:3, :3] = lattice.directions
    grid = slicer.vtkOrientedGridTransform()
    grid.SetDisplacementGridData(image)
    grid.SetGridDirectionMatrix(vtkMatrix(directions))
    grid.SetInterpolationModeToLinear()
    return grid, gridVectors(grid)[0]


def gridVectors(grid: Any) -> tuple[np.ndarray, Lattice]:
    """Vectors (z, y, x, 3; mm RAS) and lattice of a displacement grid."""
    image = grid.GetDisplacementGrid()
    matrix = np.eye(4)
    directions = grid.GetGridDirectionMatrix()
    if directions is not None:
        matrix = numpyMatrix(directions)
    matrix[:3, :3] = matrix[:3, :3] * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    size = image.GetDimensions()
    vectors = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(*size[::-1], 3)
    return vectors, Lattice(size, matrix)


def fillFromFile(node: Node, path: str | Path) -> None:
    """Put the transform of a file into the node. The node keeps no link to the file. Raises InputError."""
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(path))
    if not Path(path).is_file() or not storage.ReadData(node):
        raise unreadable(path)
    useLinearInterpolation(node)


def unreadable(path: str | Path) -> InputError:
    """What to say of a transform file that is not there, or not whole."""
    return InputError(f"cannot read the transform {path}", expected="a transform file",
                      remedy="run the registration again")


def useLinearInterpolation(node: Node) -> bool:
    """Make a grid linear between its points, as it was computed: Slicer reads every file as cubic.

    Also sharpens VTK's search for the inverse. Returns whether the node holds a grid.
    """
    grid = gridOf(node)
    if grid is None:
        return False
    grid.SetInterpolationModeToLinear()
    grid.SetInverseTolerance(INVERSE_TOLERANCE)
    node.SetAttribute(GRID_MARK, "linear")
    node.Modified()
    return True


def writeInitial(transformNode: Node, folder: Path, fixed: Lattice) -> str:
    """Write the node's whole chain to world as ``initial.tfm`` (linear) or ``initial.nrrd``; returns the file name.

    Direction: from parent, fixed points to moving points. A chain that is not linear is sampled on the fixed
    lattice with a wide margin, since beyond its grid a field is zero. Raises DiskError.
    """
    scratch = slicer.vtkMRMLScene()
    copy = scratch.AddNewNodeByClass("vtkMRMLTransformNode")
    if transformNode.IsTransformToWorldLinear():
        matrix = vtk.vtkMatrix4x4()
        transformNode.GetMatrixTransformToWorld(matrix)
        copy.SetMatrixTransformToParent(matrix)
        name = "initial.tfm"
    else:
        lattice = fixed.padded(0.3)
        back = warpToWorld(transformNode, inverse=True)
        copy.SetAndObserveTransformFromParent(makeGrid(_sampled(back, lattice), lattice))
        name = "initial.nrrd"
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(folder / name))
    if not storage.WriteData(copy):
        raise DiskError(f"cannot write {folder / name}", remedy="choose a job folder on a disk with space left")
    return name


def _sampled(transform: Any, lattice: Lattice) -> np.ndarray:
    """Displacement of a transform at every lattice point. Shape: (z, y, x, 3). Unit: mm RAS."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in lattice.size[::-1]], indexing="ij")[::-1], axis=-1)
    points = index.reshape(-1, 3) @ lattice.ijkToRAS[:3, :3].T + lattice.ijkToRAS[:3, 3]
    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    before.SetDataTypeToDouble()
    after.SetDataTypeToDouble()
    before.SetData(numpy_to_vtk(np.ascontiguousarray(points), deep=1))
    transform.TransformPoints(before, after)
    moved = vtk_to_numpy(after.GetData())
    return (moved - points).reshape(*lattice.size[::-1], 3)


def lpsPoints(points: np.ndarray) -> np.ndarray:
    """RAS points as LPS, or back. Shape: (n, 3)."""
    return np.asarray(points) @ RAS_LPS[:3, :3]
