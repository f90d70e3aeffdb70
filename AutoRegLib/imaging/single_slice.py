"""Volumes of a single slice: registered as 2-D images in coordinates of their planes, given back as volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.geometry import MOST_TILT, Geometry, apply, lattice_points
from AutoRegLib.imaging.volume import Volume

_WITHIN = 0.499  # of the moving slice's thickness: so far from its middle it still has the voxels of the fixed plane


def is_single_slice(geometry: Geometry) -> bool:
    """Whether a volume has one axis of one voxel, and no more."""
    return geometry.dims == 3 and sum(size == 1 for size in geometry.size) == 1


@dataclass(frozen=True, eq=False)
class Slice:
    """A plane of a volume of one slice, with coordinates of its own.

    ``axis``: the one of one voxel. ``flat``: the slice's lattice in the plane's coordinates. A point ``p`` of the plane
    lies at ``basis @ p + offset``.
    Shape: ``basis`` (3, 2), ``offset`` (3,). Unit: mm, LPS for volumes.
    """

    geometry: Geometry
    axis: int
    flat: Geometry
    basis: np.ndarray
    offset: np.ndarray

    @property
    def normal(self) -> np.ndarray:
        """The unit vector out of the plane. Shape: (3,)."""
        return np.cross(self.basis[:, 0], self.basis[:, 1])

    def volume(self, volume: Volume) -> Volume:
        """The slice as a 2-D image."""
        return Volume(volume.array.squeeze(2 - self.axis), self.flat, volume.kind)

    def mask(self, mask: np.ndarray | None) -> np.ndarray | None:
        """A mask of the slice as one of the 2-D image."""
        return None if mask is None else mask.squeeze(2 - self.axis)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points, straight onto the plane, in its coordinates. Shape: (..., 3) to (..., 2)."""
        return (np.asarray(points, float) - self.offset) @ self.basis

    def turned(self, field: DisplacementField) -> DisplacementField:
        """A field within the plane, on any lattice of it, as one of space on a slice as thick as this one."""
        flat, direction = field.geometry, self.geometry.direction_matrix.copy()
        direction[:, [axis for axis in range(3) if axis != self.axis]] = self.basis @ flat.direction_matrix
        size, spacing = list(flat.size), list(flat.spacing)
        size.insert(self.axis, 1)
        spacing.insert(self.axis, self.geometry.spacing[self.axis])
        origin = self.basis @ np.array(flat.origin) + self.offset
        lattice = Geometry(tuple(size), tuple(spacing), tuple(origin.tolist()), tuple(direction.ravel().tolist()))
        vectors = (field.vectors.astype(float) @ self.basis.T).astype(np.float32)
        return DisplacementField(np.expand_dims(vectors, 2 - self.axis), lattice)

    def lifted(self, volume: Volume) -> Volume:
        """What lies on :attr:`flat` as a volume of the slice's own shape and place."""
        return Volume(np.expand_dims(volume.array, 2 - self.axis), self.geometry, volume.kind)


@dataclass(frozen=True, eq=False)
class SlicePair:
    """Two volumes of a single slice each, of nearly parallel planes, and the way to 2-D and back.

    Where both lie in one plane, by less than half of the moving slice's thickness, what is lifted moves nothing out of
    it; ``apart`` is then 0, else how far the planes lie from one another at most (mm), and what is lifted carries the
    fixed plane onto the moving one.
    Direction: transforms and fields map fixed points to moving points.
    """

    fixed: Slice
    moving: Slice
    apart: float

    def transform(self, transform: sitk.Transform) -> sitk.Transform:
        """A transform of points in space as one between the planes' coordinates; what leaves the plane is dropped.

        Raises: InputError (another dimension).
        """
        if transform.GetDimension() != 3:
            raise InputError("a transform of another dimension", expected="3-D, as the slices are volumes",
                             got=f"{transform.GetDimension()}-D", remedy="give the transform of the volumes")

        def carried(points: np.ndarray) -> np.ndarray:
            there = points @ self.fixed.basis.T + self.fixed.offset
            return self.moving.points(np.array([transform.TransformPoint(point) for point in there.tolist()]))

        if transform.IsLinear():
            origin, *axes = carried(np.concatenate([np.zeros((1, 2)), np.eye(2)]))
            return sitk.AffineTransform(np.subtract(axes, origin).T.ravel().tolist(), origin.tolist())
        grid = self.fixed.flat
        points = lattice_points(grid.size, grid.index_to_physical).reshape(-1, 2).astype(float)
        vectors = (carried(points) - points).reshape(*grid.shape, 2)
        return DisplacementField(vectors.astype(np.float32), grid).to_transform()

    def affine(self, transform: sitk.AffineTransform) -> sitk.AffineTransform:
        """A linear map between the planes as one of space; along the normal it changes nothing."""
        there = self.fixed if self.apart == 0 else self.moving
        ours, theirs = self.fixed.normal, there.normal
        matrix, centre = np.array(transform.GetMatrix()).reshape(2, 2), np.array(transform.GetCenter())
        shift = centre - matrix @ centre + np.array(transform.GetTranslation())
        whole = there.basis @ matrix @ self.fixed.basis.T + np.outer(theirs, ours)
        middle = self.fixed.geometry.centre
        moved = there.basis @ (matrix @ self.fixed.points(middle) + shift) + there.offset
        return sitk.AffineTransform(whole.ravel().tolist(), (moved - whole @ middle).tolist())

    def field(self, field: DisplacementField, *, inverse: bool = False) -> DisplacementField:
        """A field on the fixed slice's lattice, or of the inverse on the moving one's, as a field of the volume."""
        start, end = (self.moving, self.fixed) if inverse else (self.fixed, self.moving)
        turned = field.vectors.astype(float) @ (start if self.apart == 0 else end).basis.T
        if self.apart > 0:
            points = lattice_points(field.geometry.size, field.geometry.index_to_physical).astype(float)
            turned += points @ (end.basis - start.basis).T + end.offset - start.offset
        return DisplacementField(np.expand_dims(turned.astype(np.float32), 2 - start.axis), start.geometry)

    @property
    def words(self) -> tuple[str, ...]:
        """What to tell the user of planes that are not the same."""
        return () if self.apart == 0 else (
            f"the two slices lie up to {self.apart:.3g} mm apart: the transform carries the one plane onto the other",)


def slice_pair(fixed: Geometry, moving: Geometry) -> SlicePair | None:
    """The way to 2-D for two volumes of one slice; None where none of them is one.

    Coordinates of the fixed plane are those of LPS that it is nearest to, so that an axial slice keeps its x and y. Of
    the moving plane they are the same ones, seen straight through the fixed plane.

    Raises: InputError (one of them has several slices, planes that are not parallel within 10 degrees).
    """
    flat = [is_single_slice(geometry) for geometry in (fixed, moving)]
    if not any(flat):
        return None
    if not all(flat):
        role, size = ("moving", moving.size) if flat[0] else ("fixed", fixed.size)
        raise InputError("a single slice and a volume do not register", expected="two single slices, or two volumes",
                         got=f"a {role} image of {' x '.join(map(str, size))} voxels",
                         remedy=f"extract from the {role} image the slice that matches, with its place")
    axes = [geometry.size.index(1) for geometry in (fixed, moving)]
    normals = [geometry.direction_matrix[:, axis] for geometry, axis in zip((fixed, moving), axes, strict=True)]
    tilt = math.degrees(math.acos(min(abs(float(normals[0] @ normals[1])), 1.0)))
    if tilt > MOST_TILT:
        raise InputError("the planes of the two slices are not parallel",
                         expected=f"at most {MOST_TILT:g} degrees apart", got=f"{tilt:.0f} degrees",
                         remedy="take slices of one orientation, or reformat one of them")
    basis = _basis(fixed.direction_matrix, axes[0])
    own = fixed.centre - basis @ (basis.T @ fixed.centre)
    here = _slice(fixed, axes[0], basis, own)
    # the nearest rotation of the basis into the moving plane, and the moving point straight below the fixed middle
    turned = basis - np.outer(normals[1], normals[1] @ basis)
    left, _, right = np.linalg.svd(turned, full_matrices=False)
    below = fixed.centre - normals[1] * (normals[1] @ (fixed.centre - moving.centre))
    there = _slice(moving, axes[1], left @ right, below - left @ right @ here.points(fixed.centre))
    corners = np.concatenate([_corners(fixed, axes[0]), _corners(moving, axes[1])])
    apart = max(float(np.abs((corners - plane.geometry.centre) @ plane.normal).max()) for plane in (here, there))
    return SlicePair(here, there, 0.0 if apart <= _WITHIN * moving.spacing[axes[1]] else apart)


def _basis(direction: np.ndarray, axis: int) -> np.ndarray:
    """The plane's two axes in the order and sign nearest to LPS. Shape: (3, 2)."""
    columns = np.delete(direction, axis, axis=1)
    nearest = np.abs(columns).argmax(axis=0)
    columns = columns[:, np.argsort(nearest, kind="stable")]
    signs = np.sign([column[np.abs(column).argmax()] for column in columns.T])
    return np.asarray(columns * signs)


def _slice(geometry: Geometry, axis: int, basis: np.ndarray, offset: np.ndarray) -> Slice:
    def kept(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(value for place, value in enumerate(values) if place != axis)

    matrix = basis.T @ np.delete(geometry.direction_matrix, axis, axis=1)
    left, _, right = np.linalg.svd(matrix)  # tilted planes: the nearest perpendicular axes
    origin = basis.T @ (np.array(geometry.origin) - offset)
    flat = Geometry(tuple(int(n) for n in kept(geometry.size)), kept(geometry.spacing), tuple(origin.tolist()),
                    tuple((left @ right).ravel().tolist()))
    return Slice(geometry, axis, flat, basis, offset)


def _corners(geometry: Geometry, axis: int) -> np.ndarray:
    """The corners of the slice's middle plane. Shape: (4, 3). Unit: mm LPS."""
    last = np.array([n - 1.0 for n in geometry.size])
    index = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]]) * last
    return apply(geometry.index_to_physical, np.unique(index, axis=0))
