"""Slices of a volume as a radiologist expects them: axial, coronal, sagittal; distances in mm."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import label_values


@dataclass(frozen=True)
class Plane:
    """One slice through a volume: which axis is cut where, and what lies at the picture's edges.

    ``across`` and ``down`` are the anatomical axes (0 left, 1 posterior, 2 superior) of the columns and rows;
    ``upward`` pictures have their row axis pointing up. ``edges``: letters at left, right, top, bottom.
    """

    name: str
    cut: int | None
    across: int
    down: int
    upward: bool
    edges: tuple[str, str, str, str]


# Radiological convention: the patient's left on the picture's right; profiles look to the left.
VOLUME_PLANES = (
    Plane("axial", 2, 0, 1, False, ("R", "L", "A", "P")),
    Plane("coronal", 1, 0, 2, True, ("R", "L", "S", "I")),
    Plane("sagittal", 0, 1, 2, True, ("A", "P", "S", "I")),
)
PICTURE_PLANES = (Plane("", None, 0, 1, False, ("", "", "", "")),)


class Views:
    """Cuts any array of one lattice into planes along the anatomical axes closest to its own.

    Nothing is interpolated or rotated: an oblique volume is shown along its own axes, turned and flipped.
    ``matter``: labels or a mask (z, y, x) through which the planes should pass; else they pass through the middle.
    """

    def __init__(self, geometry: Geometry, matter: np.ndarray | None = None) -> None:
        matrix, dims = geometry.direction_matrix, geometry.dims
        self.dims = dims
        self.order = max(itertools.permutations(range(dims)),
                         key=lambda p: sum(abs(matrix[i, p[i]]) for i in range(dims)))
        self.flipped = [matrix[i, self.order[i]] < 0 for i in range(dims)]
        #: columns: unit vectors of the picture's axes in LPS
        self.axes = matrix[:, self.order] * np.where(self.flipped, -1.0, 1.0)
        self.spacing = tuple(geometry.spacing[axis] for axis in self.order)
        self.size = tuple(geometry.size[axis] for axis in self.order)
        self.planes = VOLUME_PLANES if dims == 3 else PICTURE_PLANES
        self.centre = tuple(n // 2 for n in self.size)
        if matter is not None and matter.any():
            oriented = self._turn(_numbered(matter))
            self.centre = tuple(_fullest(oriented, dims - 1 - axis) for axis in range(dims))

    def _turn(self, array: np.ndarray) -> np.ndarray:
        """(z, y, x, ...) as (superior, posterior, left, ...)."""
        rest = range(self.dims, array.ndim)
        oriented = array.transpose(*(self.dims - 1 - axis for axis in reversed(self.order)), *rest)
        for axis, flip in enumerate(self.flipped):
            if flip:
                oriented = np.flip(oriented, axis=self.dims - 1 - axis)
        return oriented

    def cut(self, array: np.ndarray, plane: Plane) -> np.ndarray:
        """The slice, first row at the picture's top. Shape: (rows, columns, ...)."""
        oriented = self._turn(array)
        if plane.cut is not None:
            oriented = np.moveaxis(oriented, self.dims - 1 - plane.cut, 0)[self.centre[plane.cut]]
        return oriented[::-1] if plane.upward else oriented

    def extent(self, plane: Plane) -> tuple[float, float]:
        """Width and height of the picture. Unit: mm."""
        return (self.size[plane.across] * self.spacing[plane.across], self.size[plane.down] * self.spacing[plane.down])

    def centres(self, plane: Plane) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the columns from the left and of the rows from the top. Unit: mm."""
        across, down = (self.spacing[a] * (np.arange(self.size[a]) + 0.5) for a in (plane.across, plane.down))
        return across, down

    def moved(self, vectors: np.ndarray, plane: Plane) -> tuple[np.ndarray, np.ndarray]:
        """Where each voxel of the slice is sent: mm along its columns' and rows' axes, from the picture's corner.

        Shape: ``vectors`` (z, y, x, d), mm LPS.
        """
        across, down = self.centres(plane)
        components = self.cut(vectors, plane) @ self.axes
        sign = -1.0 if plane.upward else 1.0
        return across[None, :] + components[..., plane.across], down[:, None] + sign * components[..., plane.down]


def _numbered(labels: np.ndarray) -> np.ndarray:
    """The structures numbered from 1 in the order of their values, background 0, in as few bytes as hold them."""
    values = np.array([value for value in label_values(labels) if value != 0])
    numbered = np.empty(labels.shape, np.min_scalar_type(len(values)))
    for row, found in zip(labels, numbered, strict=True):
        found[...] = np.where(row != 0, np.searchsorted(values, row) + 1, 0)
    return numbered


def _fullest(labels: np.ndarray, axis: int) -> int:
    """The slice that shows most of most structures: each counts by its area over its own largest area.

    Shape: structures numbered from 1, background 0.
    """
    count = int(labels.max()) + 1
    areas = np.stack([np.bincount(piece.ravel(), minlength=count) for piece in np.moveaxis(labels, axis, 0)])
    largest = areas.max(axis=0)
    present = largest > 0
    present[0] = False
    return int((areas[:, present] / largest[present]).sum(axis=1).argmax())
