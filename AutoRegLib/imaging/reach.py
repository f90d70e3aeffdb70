"""How far a transform's displacement field reaches: beyond its lattice nothing is moved, and that must be said."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from AutoRegLib.imaging.geometry import Geometry, apply, lattice_points, linear_matrix, within
from AutoRegLib.imaging.volume import geometry_of


def points_beyond(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """Which points the transform's displacement field does not reach; none where it has no field.

    Shape: (n, d) to (n,). Unit/Direction: mm LPS, points as they enter the transform.
    """
    found = _field(transform)
    if found is None:
        return np.zeros(len(points), dtype=bool)
    before, lattice = found
    return ~within(lattice, apply(lattice.physical_to_index @ before, points))


def voxels_beyond(transform: sitk.Transform, grid: Geometry) -> int:
    """How many voxels of a grid the transform's displacement field does not reach; 0 where it has no field.

    Counted slice by slice, and only when a corner lies outside. Direction: grid to moving.
    """
    found = _field(transform)
    if found is None:
        return 0
    before, lattice = found
    to_index = lattice.physical_to_index @ before @ grid.index_to_physical
    last = np.array(grid.size) - 1.0
    corners = np.stack(np.meshgrid(*[(0.0, n) for n in last]), axis=-1)
    if within(lattice, apply(to_index, corners)).all():  # both are convex
        return 0
    count, step = 0, to_index.copy()
    for plane in range(grid.size[-1]):
        step[:-1, -1] = to_index[:-1, -1] + plane * to_index[:-1, -2]
        inside = within(lattice, lattice_points((*grid.size[:-1], 1), step))
        count += int(inside.size - inside.sum())
    return count


def _field(transform: sitk.Transform) -> tuple[np.ndarray, Geometry] | None:
    """The first displacement field on the way of a point: the linear map before it, and its lattice.

    None when there is no field, or what stands before it is not linear.
    """
    before = np.eye(transform.GetDimension() + 1)
    for part in parts(transform):
        if part.GetName() == "DisplacementFieldTransform":
            return before, geometry_of(sitk.DisplacementFieldTransform(part).GetDisplacementField())
        if not part.IsLinear():
            return None
        before = linear_matrix(part) @ before
    return None


def parts(transform: sitk.Transform) -> list[sitk.Transform]:
    """The transforms of a chain in the order in which a point meets them: the one added last comes first."""
    if transform.GetName() != "CompositeTransform":
        return [transform]
    chain = sitk.CompositeTransform(transform)
    inner = [chain.GetNthTransform(i) for i in reversed(range(chain.GetNumberOfTransforms()))]
    return [part for one in inner for part in parts(one)]
