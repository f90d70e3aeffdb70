"""The deformation as users get it: a displacement in mm on a lattice, pulling back from fixed to moving."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.geometry import Geometry, apply, lattice_points, linear_matrix
from AutoRegLib.imaging.volume import Volume, array_to_image, image_to_array, resample

_AT_ONCE = 1 << 22  # voxels of a field that SimpleITK gets


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """Displacement vectors on a lattice.

    Shape: ``vectors`` (z, y, x, d) or (y, x, d), float32.
    Unit/Direction: mm, LPS components in the order (x, y, z) whatever the lattice's direction; pull-back: the
    fixed point x lies in the moving image at ``x + u(x)``. Beyond the lattice the displacement is zero.
    Raises: InputError when vectors and geometry disagree or a vector is not finite.
    """

    vectors: np.ndarray
    geometry: Geometry

    def __post_init__(self) -> None:
        expected = (*self.geometry.shape, self.geometry.dims)
        if self.vectors.shape != expected:
            raise InputError("vectors and geometry disagree", expected=f"vectors of shape {expected}",
                             got=self.vectors.shape)
        if not np.isfinite(self.vectors).all():
            raise InputError("a displacement field with values that are not finite", expected="finite mm")
        object.__setattr__(self, "vectors", np.ascontiguousarray(self.vectors, dtype=np.float32))

    def __repr__(self) -> str:
        longest = float(np.linalg.norm(self.vectors, axis=-1).max())
        return f"DisplacementField({'x'.join(map(str, self.geometry.size))} vectors, longest {longest:.4g} mm)"

    def to_image(self) -> sitk.Image:
        """The vectors as a SimpleITK vector image (float32)."""
        return array_to_image(self.vectors, self.geometry, vectors=True)

    def to_transform(self) -> sitk.DisplacementFieldTransform:
        """The SimpleITK transform of points, fixed to moving, linear between the lattice points."""
        # SimpleITK wants float64 and empties the image it is given.
        return sitk.DisplacementFieldTransform(sitk.Cast(self.to_image(), sitk.sitkVectorFloat64))

    def landing(self, geometry: Geometry) -> np.ndarray:
        """Where the field sends its voxels, in voxels of another lattice.

        Shape: (z, y, x, d) float32, components (x, y, z). Direction: fixed to moving.
        """
        to_index = geometry.physical_to_index
        found = lattice_points(self.geometry.size, to_index @ self.geometry.index_to_physical)
        found += self.vectors @ to_index[:-1, :-1].T.astype(np.float32)
        return found

    def warp_points(self, points: np.ndarray) -> np.ndarray:
        """Where fixed points lie in the moving image. Shape: (n, d). Unit: mm LPS."""
        return transform_points(self._about(points).to_transform(), points)

    def cropped(self, first: Sequence[int], behind: Sequence[int]) -> DisplacementField:
        """The field on a part of its lattice; voxels (z, y, x) from ``first`` to before ``behind``, not copied."""
        lattice, part = self.geometry, tuple(slice(a, b) for a, b in zip(first, behind, strict=True))
        origin = lattice.index_to_physical[:-1] @ [*first[::-1], 1.0]
        vectors = self.vectors[part]
        return DisplacementField(vectors, Geometry(vectors.shape[-2::-1], lattice.spacing, tuple(origin.tolist()),
                                                   lattice.direction))

    def slabs(self, most: int = _AT_ONCE, *, halo: int = 0) -> Iterator[tuple[slice, DisplacementField]]:
        """The field in slabs of at most so many voxels, with ``halo`` rows more on either side where there are any."""
        shape = self.geometry.shape
        rows = max(1, most * shape[0] // math.prod(shape))
        for first in range(0, shape[0], rows):
            behind = min(first + rows, shape[0])
            ends = max(first - halo, 0), min(behind + halo, shape[0])
            yield slice(first, behind), self.cropped((ends[0], *(0,) * (len(shape) - 1)), (ends[1], *shape[1:]))

    def _about(self, points: np.ndarray) -> DisplacementField:
        """The part of the field that some points see: SimpleITK takes five times the memory of what it is given."""
        points = np.asarray(points, dtype=float)
        if points.ndim != 2 or points.shape[1] != self.geometry.dims or not len(points):
            return self
        index = apply(self.geometry.physical_to_index, points)[:, ::-1]
        last = np.array(self.geometry.shape) - 1
        low, high = np.floor(index.min(axis=0)) - 1, np.ceil(index.max(axis=0)) + 1
        return self.cropped(np.clip(low, 0, last).astype(int).tolist(), np.clip(high, 0, last).astype(int) + 1)


def pull_back(volume: Volume, field: DisplacementField, *, most: int = _AT_ONCE) -> Volume:
    """The volume through the field on the field's lattice, as :func:`AutoRegLib.imaging.volume.resample` does it.

    A lattice of more than ``most`` voxels is done in slabs: SimpleITK takes five times the memory of a field.
    """
    grid = field.geometry
    if math.prod(grid.size) <= most:
        return resample(volume, grid, field.to_transform())
    found = np.empty(grid.shape, volume.array.dtype if volume.kind == "labels" else np.float32)
    # a row more on either side: no point of a slab counts as outside for the sake of rounding
    for (rows, own), (_, wider) in zip(field.slabs(most), field.slabs(most, halo=1), strict=True):
        found[rows] = resample(volume, own.geometry, wider.to_transform()).array
    return Volume(found, grid, volume.kind)


def transform_points(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """Points through any transform. Shape: (n, d). Unit/Direction: mm LPS, the transform's own direction."""
    points = np.asarray(points, dtype=float)
    dims = transform.GetDimension()
    if points.ndim != 2 or points.shape[1] != dims:
        raise InputError("points to transform", expected=f"shape (n, {dims})", got=points.shape)
    moved = [transform.TransformPoint(point) for point in points.tolist()]
    return np.array(moved, dtype=float).reshape(-1, dims)


def chain(*transforms: sitk.Transform) -> sitk.Transform:
    """Transforms as one. Direction: the first one given is applied to the point first."""
    # SimpleITK applies the transform that was added last first.
    return sitk.CompositeTransform(list(reversed(transforms)))


def compose_on(geometry: Geometry, *transforms: sitk.Transform) -> DisplacementField:
    """A chain of transforms as one field on ``geometry``, so that the image is interpolated once.

    Direction: the first transform given is applied to the fixed point first.
    Unit: mm LPS.
    Raises: InputError when a transform has another dimension.
    """
    for transform in transforms:
        if transform.GetDimension() != geometry.dims:
            raise InputError("a transform of another dimension", expected=f"{geometry.dims}-D",
                             got=f"{transform.GetDimension()}-D")
    whole = chain(*transforms) if transforms else sitk.Transform(geometry.dims, sitk.sitkIdentity)
    image = sitk.TransformToDisplacementField(
        whole, sitk.sitkVectorFloat32, geometry.size, geometry.origin, geometry.spacing, geometry.direction)
    return DisplacementField(image_to_array(image), geometry)


def affine_of(*transforms: sitk.Transform) -> sitk.AffineTransform:
    """A chain of linear transforms as one. Unit: mm LPS. Raises: InputError when one is not linear, or flat."""
    whole = chain(*transforms)
    if not whole.IsLinear():
        raise InputError("a transform is not linear", expected="a rigid or affine transform",
                         got=", ".join(part.GetName() for part in transforms),
                         remedy="leave out the format composite.h5")
    matrix, shift = np.split(linear_matrix(whole)[:-1], [-1], axis=1)
    if abs(np.linalg.det(matrix)) < 1e-9:
        raise InputError("a linear transform has no inverse", expected="a determinant other than 0",
                         got=matrix.tolist())
    return sitk.AffineTransform(matrix.ravel().tolist(), shift.ravel().tolist())


def before_linear(field: DisplacementField, linear: sitk.AffineTransform) -> DisplacementField:
    """The part of a field before a linear map: ``x + field(x)`` = linear(``x`` + result(``x``)). Unit: mm LPS."""
    dims = field.geometry.dims
    matrix = np.array(linear.GetMatrix()).reshape(dims, dims)
    points = lattice_points(field.geometry.size, field.geometry.index_to_physical).astype(np.float64)
    there = (points + field.vectors - np.array(linear.GetTranslation())) @ np.linalg.inv(matrix).T
    return DisplacementField((there - points).astype(np.float32), field.geometry)


def from_transform(transform: sitk.Transform, geometry: Geometry) -> DisplacementField:
    """One transform sampled on ``geometry``. Unit/Direction: mm LPS, fixed to moving. Raises InputError."""
    return compose_on(geometry, transform)


def jacobian_determinant(field: DisplacementField) -> Volume:
    """Determinant of the map ``x + u(x)`` in physical space; a fold is a value of 0 or less.

    SimpleITK's filter differentiates along the index axes but takes the vectors' components as they stand,
    which is right only for an identity direction. So the vectors are turned into the lattice's own axes and
    the filter sees a lattice without direction. Central differences; the border value is repeated beyond the
    border, as in the filter.

    Shape: the field's lattice. Unit: 1.
    Reference: itk::DisplacementFieldJacobianDeterminantFilter.
    """
    geometry = field.geometry
    along_axes = field.vectors.astype(np.float64) @ geometry.direction_matrix  # rows: D^T u
    straight = Geometry(geometry.size, geometry.spacing, (0.0,) * geometry.dims,
                        tuple(np.eye(geometry.dims).ravel().tolist()))
    image = array_to_image(along_axes, straight, vectors=True)
    determinant = image_to_array(sitk.DisplacementFieldJacobianDeterminant(image, True))
    return Volume(determinant.astype(np.float32), geometry, "intensity")
