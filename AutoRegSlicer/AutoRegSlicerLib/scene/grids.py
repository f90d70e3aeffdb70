"""Where voxels lie: matrices between numpy and VTK, and the voxel lattice of a volume in world coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # its own inverse
_ORTHOGONAL = 1e-4  # cosine between two axes that still count as perpendicular


def numpyMatrix(matrix: Any) -> np.ndarray:
    """A vtkMatrix4x4 as an array (4, 4)."""
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def vtkMatrix(matrix: np.ndarray) -> Any:
    """An array (4, 4) as a vtkMatrix4x4."""
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, dtype=float).ravel().tolist())
    return result


@dataclass(frozen=True, eq=False)
class Lattice:
    """A voxel lattice: ``size`` (nx, ny, nz) and the matrix from voxel index to RAS mm (4, 4)."""

    size: tuple[int, int, int]
    ijkToRAS: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Voxel sides, mm."""
        return np.linalg.norm(self.ijkToRAS[:3, :3], axis=0)

    @property
    def directions(self) -> np.ndarray:
        """Unit vectors of the voxel axes, as columns (RAS)."""
        return self.ijkToRAS[:3, :3] / self.spacing

    @property
    def sheared(self) -> bool:
        """Whether the axes are not perpendicular: image files cannot say so."""
        products = self.directions.T @ self.directions
        return bool(np.abs(products - np.eye(3)).max() > _ORTHOGONAL)

    @property
    def corners(self) -> np.ndarray:
        """The outer corners, half a voxel beyond the voxel centers. Shape: (8, 3). Unit: mm RAS."""
        index = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in self.size], indexing="ij")).reshape(3, -1).T
        return index @ self.ijkToRAS[:3, :3].T + self.ijkToRAS[:3, 3]

    def moved(self, matrix: np.ndarray) -> Lattice:
        """The lattice after a linear transform of RAS points."""
        return Lattice(self.size, matrix @ self.ijkToRAS)

    def padded(self, fraction: float) -> Lattice:
        """The lattice with a margin of a fraction of its size on every side."""
        margin = [int(np.ceil(fraction * n)) for n in self.size]
        matrix = self.ijkToRAS.copy()
        matrix[:3, 3] -= matrix[:3, :3] @ np.array(margin, dtype=float)
        return Lattice(tuple(n + 2 * m for n, m in zip(self.size, margin, strict=True)), matrix)

    def thinned(self, step: int) -> Lattice:
        """The lattice of every ``step``-th voxel along each axis."""
        matrix = self.ijkToRAS.copy()
        matrix[:3, :3] *= step
        return Lattice(tuple(-(-n // step) for n in self.size), matrix)

    def planes(self, slab: slice) -> Lattice:
        """The lattice of these planes of the last axis."""
        matrix = self.ijkToRAS.copy()
        matrix[:3, 3] += matrix[:3, 2] * slab.start
        return Lattice((*self.size[:2], slab.stop - slab.start), matrix)

    def straightened(self) -> Lattice:
        """The nearest lattice with perpendicular axes that holds the whole field of view; a slice keeps its plane."""
        matrix = self.ijkToRAS.copy()
        if self.size.count(1) == 1:
            axis = self.size.index(1)
            one, other = np.delete(matrix[:3, :3], axis, axis=1).T
            normal = np.cross(one, other) / np.linalg.norm(np.cross(one, other))
            matrix[:3, axis] = normal * (normal @ matrix[:3, axis])
        upright = Lattice(self.size, matrix)
        left, _, right = np.linalg.svd(upright.directions)
        axes, spacing = left @ right, upright.spacing
        along = (upright.corners @ axes) / spacing
        lowest, highest = along.min(axis=0), along.max(axis=0)
        size = np.maximum(np.rint(highest - lowest), 1)
        matrix = np.eye(4)
        matrix[:3, :3] = axes * spacing
        matrix[:3, 3] = axes @ (((lowest + highest - size + 1) / 2) * spacing)
        return Lattice(tuple(int(n) for n in size), matrix)


def ownLattice(volume: Any) -> Lattice:
    """The lattice of a volume node without its parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return Lattice(tuple(volume.GetImageData().GetDimensions()), numpyMatrix(matrix))


def imageLattice(image: Any) -> Lattice:
    """The lattice of a vtkOrientedImageData; index 0 is the first voxel of its extent."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    result = numpyMatrix(matrix)
    extent = image.GetExtent()
    result[:3, 3] += result[:3, :3] @ np.array(extent[::2], dtype=float)
    return Lattice(tuple(image.GetDimensions()), result)


def orientedImage(lattice: Lattice, voxels: np.ndarray | None = None, slab: slice | None = None) -> Any:
    """A vtkOrientedImageData on the lattice; ``voxels`` (z, y, x) are copied, None: an empty geometry.

    ``slab``: of these planes of the last axis alone.
    """
    image = slicer.vtkOrientedImageData()
    nx, ny, nz = lattice.size
    first, last = (0, nz) if slab is None else (slab.start, slab.stop)
    image.SetExtent(0, nx - 1, 0, ny - 1, first, last - 1)
    image.SetImageToWorldMatrix(vtkMatrix(lattice.ijkToRAS))
    if voxels is None:
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        image.GetPointData().GetScalars().Fill(0)
    else:
        image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(voxels).ravel(), deep=1))
    return image


def imageVoxels(image: Any) -> np.ndarray:
    """The scalars of an image as an array (z, y, x); a view."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
