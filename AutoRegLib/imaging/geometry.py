"""Where voxels lie in the patient: size, spacing, origin, direction; and the grid a network works on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from AutoRegLib.core.errors import InputError

_FLOAT32 = float(np.finfo(np.float32).eps)
_FLATTEST = 1e5  # times as long as wide a voxel may be; what is computed from its gradients is finite until then

#: degrees between slices that count as parallel: lengths along one plane are then off by 1.5 % along the other
MOST_TILT = 10.0


@dataclass(frozen=True)
class Geometry:
    """A 2-D or 3-D lattice in physical space.

    Shape: every field in SimpleITK order (x, y, z); ``shape`` is the array's order (z, y, x). ``direction``
    is the row-major matrix whose columns are the unit vectors of the index axes; it may be oblique,
    permuted or left-handed.
    Unit/Direction: mm, LPS (x to the patient's left, y to the back, z to the head).
    Raises: InputError for anything that is not such a lattice.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    def __post_init__(self) -> None:
        size = tuple(int(n) for n in self.size)
        if len(size) not in (2, 3):
            raise InputError("a geometry has 2 or 3 axes", expected="2 or 3", got=f"size {size}",
                             remedy="extract one volume of a time series")
        dims = len(size)
        object.__setattr__(self, "size", size)
        for name, length in (("spacing", dims), ("origin", dims), ("direction", dims * dims)):
            values = tuple(float(v) for v in getattr(self, name))
            if len(values) != length or not np.all(np.isfinite(values)):
                raise InputError(f"{name} of a {dims}-D geometry", expected=f"{length} finite numbers", got=values,
                                 remedy="repair the image header")
            object.__setattr__(self, name, values)
        if min(size) < 1:
            raise InputError("an image needs voxels on every axis", expected="sizes of at least 1", got=size)
        if min(self.spacing) <= 0:
            raise InputError("voxel spacing must be positive", expected="mm above 0", got=self.spacing,
                             remedy="repair the image header")
        if max(self.spacing) > _FLATTEST * min(self.spacing):
            raise InputError("the sides of a voxel differ beyond measure", got=f"{self.spacing} mm",
                             expected=f"the longest at most {_FLATTEST:g} times the shortest",
                             remedy="repair the image header")
        matrix = self.direction_matrix
        if np.abs(matrix.T @ matrix - np.eye(dims)).max() > 1e-3:
            raise InputError("the image axes are not perpendicular unit vectors", expected="an orthonormal direction",
                             got=self.direction, remedy="resample the sheared image to a regular grid")

    @property
    def dims(self) -> int:
        """Number of axes: 2 or 3."""
        return len(self.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that lies on this lattice, (z, y, x) or (y, x)."""
        return self.size[::-1]

    @property
    def direction_matrix(self) -> np.ndarray:
        """Columns are the index axes in LPS. Shape: (d, d)."""
        return np.array(self.direction).reshape(self.dims, self.dims)

    @cached_property
    def index_to_physical(self) -> np.ndarray:
        """Homogeneous matrix from index (x, y, z) to LPS mm. Shape: (d + 1, d + 1)."""
        matrix = np.eye(self.dims + 1)
        matrix[:-1, :-1] = self.direction_matrix * np.array(self.spacing)
        matrix[:-1, -1] = self.origin
        return matrix

    @cached_property
    def physical_to_index(self) -> np.ndarray:
        """Homogeneous matrix from LPS mm to index (x, y, z). Shape: (d + 1, d + 1)."""
        return np.linalg.inv(self.index_to_physical)

    @property
    def centre(self) -> np.ndarray:
        """Physical centre of the field of view. Shape: (d,). Unit: mm LPS."""
        return apply(self.index_to_physical, (np.array(self.size) - 1.0) / 2)

    @property
    def corners(self) -> np.ndarray:
        """Outer corners of the corner voxels (half a voxel beyond their centres). Shape: (2^d, d). Unit: mm LPS."""
        index = np.array(list(itertools.product(*[(-0.5, n - 0.5) for n in self.size])))
        return apply(self.index_to_physical, index)

    @property
    def bounding_box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest LPS coordinates of the field of view. Unit: mm."""
        return self.corners.min(axis=0), self.corners.max(axis=0)

    def close_to(self, other: Geometry, *, tolerance: float = 1e-4) -> bool:
        """Whether voxel i of one lies on voxel i of the other.

        ``tolerance`` is a fraction of the largest voxel side. The rounding of 32-bit headers (NIfTI) is
        always allowed: without it an oblique image far from the origin differs from its own copy.
        """
        if self.size != other.size:
            return False
        ours, theirs = self.corners, other.corners
        allowed = tolerance * max(self.spacing) + 8 * _FLOAT32 * np.abs(ours).max()
        return bool(np.abs(ours - theirs).max() <= allowed)

    def difference(self, other: Geometry) -> str:
        """What differs, with both values; empty when nothing does."""
        parts = []
        for name in ("size", "spacing", "origin", "direction"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if len(ours) != len(theirs) or not np.allclose(ours, theirs, rtol=1e-5, atol=1e-5):
                parts.append(f"{name} {_readable(ours)} against {_readable(theirs)}")
        return "; ".join(parts)

    def overlap_fraction(self, other: Geometry, transform: Any = None) -> float:
        """Fraction of this field of view that falls into ``other``'s, through ``transform`` if one is given.

        Direction: ``transform`` (SimpleITK) maps points of this space to points of the other.
        """
        if self.dims != other.dims:
            return 0.0
        axes = [np.linspace(0, n - 1, min(n, 10)) for n in self.size]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dims)
        points = apply(self.index_to_physical, index)
        if transform is not None and transform.IsLinear():  # a thousand points one by one take longer than all else
            points = apply(linear_matrix(transform), points)
        elif transform is not None:
            points = np.array([transform.TransformPoint(point) for point in points.tolist()])
        found = apply(other.physical_to_index, points)
        inside = np.all((found >= -0.5) & (found <= np.array(other.size) - 0.5), axis=1)
        return float(inside.mean())


def linear_matrix(transform: Any) -> np.ndarray:
    """The homogeneous matrix of a linear SimpleITK transform, or chain of them. Shape: (d + 1, d + 1). Unit: mm LPS."""
    dims = transform.GetDimension()
    matrix = np.eye(dims + 1)
    matrix[:-1, -1] = transform.TransformPoint([0.0] * dims)
    for axis, unit in enumerate(np.eye(dims).tolist()):
        matrix[:-1, axis] = np.array(transform.TransformPoint(unit)) - matrix[:-1, -1]
    return matrix


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a homogeneous matrix. Shape: matrix (d + 1, d + 1), points (..., d)."""
    return np.asarray(points) @ matrix[:-1, :-1].T + matrix[:-1, -1]


def within(geometry: Geometry, index: np.ndarray) -> np.ndarray:
    """Which positions on a lattice lie in its field of view. Shape: (..., d), (x, y, z), to (...). Unit: voxels."""
    found = np.ones(index.shape[:-1], dtype=bool)
    for axis, count in enumerate(geometry.size):
        found &= (index[..., axis] >= -0.5) & (index[..., axis] <= count - 0.5)
    return found


def lattice_points(size: Sequence[int], matrix: np.ndarray) -> np.ndarray:
    """A homogeneous matrix applied to every index of a lattice.

    Made of whole rows that are added up, which is quicker than multiplying every index by the matrix.

    Shape: ``size`` (x, y, z), matrix (d + 1, d + 1) for indices (x, y, z), to (z, y, x, d) float32.
    """
    *columns, offset = matrix[:-1].T
    points = (np.multiply.outer(np.arange(size[0]), columns[0]) + offset).reshape(-1)
    for axis in range(1, len(size)):
        steps = np.tile(np.multiply.outer(np.arange(size[axis]), columns[axis]), size[0])
        points = steps.reshape(size[axis], *[1] * (axis - 1), -1).astype(np.float32) + points.astype(np.float32)
    return points.reshape(*reversed(size), len(size)).astype(np.float32, copy=False)


def working_grid(geometry: Geometry, *, spacing: float | Sequence[float], multiple: int = 4) -> Geometry:
    """The same field of view on a grid a network can work on.

    The image's own axes, permuted and flipped so that they lie closest to LPS x, y, z; nothing is rotated,
    so an oblique image keeps its sharpness. The size is rounded up to ``multiple``, about the same centre; an
    axis whose spacing is kept is padded so that its voxels still lie on the image's own (half a voxel off
    would blur it).

    Unit: ``spacing`` in mm, one number or one per new axis (x, y, z).
    Raises: InputError for a spacing or multiple that is not positive.
    """
    dims = geometry.dims
    wanted = np.broadcast_to(np.asarray(spacing, dtype=float), (dims,)) if np.size(spacing) in (1, dims) else None
    if wanted is None or not np.all(np.isfinite(wanted)) or wanted.min() <= 0 or multiple < 1:
        raise InputError("working grid", expected=f"1 or {dims} spacings above 0 mm and a multiple of at least 1",
                         got=f"spacing {spacing}, multiple {multiple}")
    matrix, order = geometry.direction_matrix, nearest_axes(geometry)
    own = np.array(geometry.spacing)[order]
    count = np.array(geometry.size)[order]
    axes = matrix[:, order]
    axes = axes * np.where(np.diag(axes) < 0, -1.0, 1.0)

    kept = np.abs(own - wanted) <= 1e-4 * own
    needed = np.where(kept, count, np.ceil(count * own / wanted - 1e-3)).astype(int)
    size = np.maximum(-(-needed // multiple) * multiple, multiple)
    spacing_mm = np.where(kept, own, wanted)
    shift = np.where(kept & ((size - count) % 2 == 1), 0.5, 0.0)
    origin = geometry.centre + axes @ (spacing_mm * (shift - (size - 1) / 2))
    return Geometry(tuple(size.tolist()), tuple(spacing_mm.tolist()), tuple(origin.tolist()),
                    tuple((axes + 0.0).ravel().tolist()))  # + 0.0 turns -0.0 into 0.0


def nearest_axes(geometry: Geometry) -> np.ndarray:
    """The image's axes in the order nearest to LPS x, y, z. Shape: (d,)."""
    matrix, rows = geometry.direction_matrix, np.arange(geometry.dims)
    orders = [np.array(order) for order in itertools.permutations(range(geometry.dims))]
    return max(orders, key=lambda order: float(np.abs(matrix[rows, order]).sum()))


def _readable(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
