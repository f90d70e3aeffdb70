"""A region of interest as the box of voxels that it covers."""

from __future__ import annotations

from typing import Any

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegSlicerLib.scene import volumes
from AutoRegSlicerLib.scene.grids import Lattice, numpyMatrix, ownLattice
from AutoRegSlicerLib.scene.values import Node

FEWEST = 4  # voxels along an axis, where the volume has as many
_TOUCHING = 1e-4  # voxels; a face of the region that lies on one between two voxels takes in none of the further one


def corners(roi: Node) -> np.ndarray:
    """The corners of a markups ROI after its transforms. Shape: (8, 3). Unit: mm RAS."""
    signs = np.array(np.meshgrid((-0.5, 0.5), (-0.5, 0.5), (-0.5, 0.5), indexing="ij")).reshape(3, -1).T
    matrix = numpyMatrix(roi.GetObjectToWorldMatrix())
    return np.asarray((signs * np.array(roi.GetSize())) @ matrix[:3, :3].T + matrix[:3, 3])


def isPlaced(roi: Node) -> bool:
    """Whether the region has been drawn."""
    return roi.GetNumberOfDefinedControlPoints() > 0 and min(roi.GetSize()) > 0


def voxelBox(lattice: Lattice, roi: Node) -> tuple[np.ndarray, np.ndarray]:
    """First voxel of the smallest box that holds the region, and the box's size (x, y, z); 0 where they do not meet.

    The lattice is in world coordinates. A region turned against the lattice lies within the box.
    """
    inverse = np.linalg.inv(lattice.ijkToRAS)
    index = corners(roi) @ inverse[:3, :3].T + inverse[:3, 3]
    first = np.floor(index.min(axis=0) + 0.5 + _TOUCHING).astype(int).clip(0)
    last = np.minimum(np.ceil(index.max(axis=0) - 0.5 - _TOUCHING).astype(int), np.array(lattice.size) - 1)
    return first, np.maximum(last - first + 1, 0)


def isSmall(size: np.ndarray, lattice: Lattice) -> bool:
    """Whether a box of the lattice holds too little to be registered; of a few slices it must hold all."""
    return bool((size < np.minimum(FEWEST, lattice.size)).any())


def part(lattice: Lattice, roi: Node) -> Lattice:
    """The lattice of the voxels of :func:`voxelBox`."""
    first, size = voxelBox(lattice, roi)
    matrix = lattice.ijkToRAS.copy()
    matrix[:3, 3] += matrix[:3, :3] @ first
    return Lattice(tuple(size.tolist()), matrix)


def cropped(world: Node, roi: Node, scratch: Any) -> Node:
    """The part of a volume in world coordinates that the region covers, as a node of the scratch scene.

    Voxels are kept as they are: nothing is resampled. Raises InputError when hardly any are left.
    """
    lattice = ownLattice(world)
    first, size = voxelBox(lattice, roi)
    if isSmall(size, lattice):
        raise InputError("the region of interest covers too little of the fixed volume",
                         expected=f"{FEWEST} voxels or more along each axis", got=" x ".join(map(str, size)),
                         remedy="enlarge or move the region")
    box = tuple(slice(start, start + count) for start, count in zip(first[::-1], size[::-1], strict=True))
    node = volumes.nodeOn(scratch, part(lattice, roi), volumes.voxelsOf(world)[box], world.GetClassName())
    node.SetName(world.GetName() or "")
    return node
