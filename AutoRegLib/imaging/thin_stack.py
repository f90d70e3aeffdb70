"""Stacks of so few slices that nothing tells how they moved across: their alignment stays in plane."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from AutoRegLib.imaging.geometry import MOST_TILT, Geometry
from AutoRegLib.imaging.volume import Volume

_SLICES = 5  # at most; on fewer than 4 voxels a level has no shape to follow
_WIDE = 16  # voxels along both other axes, at least
#: the parameters of ITK's transforms that may change while the last axis stands still, by stage
STILL = {"rigid": (0.0, 0, 1, 1, 1, 0), "similarity": (0.0, 0, 1, 1, 1, 0, 1),
         "affine": (1.0, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0)}


def thin_axis(fixed: Geometry, moving: Geometry) -> int | None:
    """The fixed image's axis across its slices, where both images are stacks of 2 to 5 nearly parallel slices."""
    ours, theirs = _thin(fixed), _thin(moving)
    if ours is None or theirs is None:
        return None
    across = float(abs(fixed.direction_matrix[:, ours] @ moving.direction_matrix[:, theirs]))
    return ours if across >= math.cos(math.radians(MOST_TILT)) else None


def _thin(geometry: Geometry) -> int | None:
    if geometry.dims != 3:
        return None
    axis = int(np.argmin(geometry.size))
    wide = min(size for place, size in enumerate(geometry.size) if place != axis) >= _WIDE
    return axis if wide and 2 <= geometry.size[axis] <= _SLICES else None


def stack_axes(geometry: Geometry, axis: int) -> np.ndarray:
    """Coordinates whose last one goes across the slices. Shape: (3, 3), columns are the unit vectors in LPS."""
    order = [place for place in range(3) if place != axis] + [axis]
    return geometry.direction_matrix[:, order]


def turned(volume: Volume, axes: np.ndarray) -> Volume:
    """The volume in other coordinates of the same origin."""
    grid = volume.geometry
    direction, origin = axes.T @ grid.direction_matrix, axes.T @ np.array(grid.origin)
    return replace(volume, geometry=replace(grid, direction=tuple(direction.ravel()), origin=tuple(origin)))


def turned_back(transform: sitk.AffineTransform, axes: np.ndarray) -> sitk.AffineTransform:
    """A transform between such coordinates as one of LPS."""
    matrix = axes @ np.array(transform.GetMatrix()).reshape(3, 3) @ axes.T
    shift, centre = (axes @ np.array(values) for values in (transform.GetTranslation(), transform.GetCenter()))
    return sitk.AffineTransform(matrix.ravel().tolist(), shift.tolist(), centre.tolist())


def in_plane(transform: sitk.AffineTransform, start: sitk.AffineTransform) -> sitk.AffineTransform:
    """The transform with the last axis as ``start`` moves it, along itself alone."""
    matrix, shift = np.array(transform.GetMatrix()).reshape(3, 3), np.array(transform.GetTranslation())
    matrix[2, :2], matrix[:2, 2], matrix[2, 2] = 0, 0, 1
    shift[2] = start.GetTranslation()[2]
    return sitk.AffineTransform(matrix.ravel().tolist(), shift.tolist(), transform.GetCenter())
