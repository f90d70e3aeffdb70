"""Whether a map of voxels keeps the orientation of everything between them: the tetrahedra of every cell.

Determinants at voxels take differences across two steps and so miss cells that turn over in between. A cell has eight
voxels as corners and is filled by five tetrahedra in two ways, four at corners and one in the middle; a map that keeps
the orientation of all ten folds nowhere, and turns nothing over, however it is interpolated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.volume import Volume

_AT_ONCE = 1 << 18  # voxels; what fits into the processor's cache is twice as fast


@dataclass(frozen=True, eq=False)
class Orientation:
    """What a map does to the volumes at each voxel.

    ``jacobian``: the determinants, with the values of SimpleITK's filter on a lattice without direction.
    ``least``: the least relative volume of the simplices at each voxel: that of the moved simplex, in parts of its
    own, negative where it is turned over. ``turned``: the non-diffeomorphic volume, as a share of all: what both ways
    of filling the cells turn over, halved, by the number of voxels.
    Shape: the field's lattice, float32, twice. Unit: 1.
    """

    jacobian: Volume
    least: np.ndarray
    turned: float


def orientation(field: DisplacementField) -> Orientation:
    """Jacobian determinants and tetrahedra of a field in one pass; in 2-D the four triangles at a pixel.

    Of the tetrahedra, eight lie at a voxel's corners (the determinant by central differences is their mean, as a
    determinant is linear in each axis) and two are middles of its cells. Beyond the border displacements repeat.

    By hand: mirroring one axis turns everything over but what reaches beyond the border.
    Reference: Liu et al., On Finite Difference Jacobian Computation in Deformable Image Registration, IJCV 2024;
    itk::DisplacementFieldJacobianDeterminantFilter.
    """
    geometry = field.geometry
    shape, dims = geometry.shape, geometry.dims
    to_voxels = (geometry.direction_matrix / np.array(geometry.spacing)).astype(np.float32)
    jacobian, least, turned = np.zeros(shape, np.float32), np.full(shape, np.inf, np.float32), 0.0
    rows = max(1, _AT_ONCE * shape[0] // int(np.prod(shape)))
    for first in range(0, shape[0], rows):
        part, behind = slice(first, first + rows), min(first + rows, shape[0])
        moved = field.vectors[max(first - 1, 0) : behind + 1] @ to_voxels
        ends = (int(first == 0), int(behind == shape[0]))
        padded = np.pad(np.moveaxis(moved, -1, 0)[::-1], ((0, 0), ends, *((1, 1),) * (dims - 1)), mode="edge")
        for volume, whole in _simplices(padded):
            turned -= float(np.minimum(volume, 0).sum(dtype=np.float64))
            if whole == 1:
                jacobian[part] += volume
            else:
                volume /= np.float32(whole)
            np.minimum(least[part], volume, out=least[part])
    jacobian /= 2**dims
    return Orientation(Volume(jacobian, geometry, "intensity"), least, turned / (12 if dims == 3 else 4) / least.size)


def _simplices(padded: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    """Determinants of the edges of every kind of simplex, and what the identity has. Shape: (d, *spatial + 2)."""
    dims = len(padded)

    def at(offset: Sequence[int]) -> np.ndarray:
        inner = tuple(slice(1 + o, n - 1 + o) for o, n in zip(offset, padded.shape[1:], strict=True))
        return padded[(slice(None), *inner)]

    def edge(end: Sequence[int], start: Sequence[int]) -> np.ndarray:
        found = at(end) - at(start)
        for component, (e, s) in enumerate(zip(end, start, strict=True)):
            if e != s:
                found[component] += e - s
        return found

    zero = (0,) * dims
    units = [tuple(int(axis == other) for other in range(dims)) for axis in range(dims)]
    ways = [(edge(unit, zero), edge(zero, [-step for step in unit])) for unit in units]
    if dims == 2:
        for a, b in product(*ways):
            yield a[0] * b[1] - a[1] * b[0], 1.0
        return
    for b, c in product(*ways[1:]):
        normal = _cross(b, c)
        for a in ways[0]:
            yield _dot(a, normal), 1.0
    for sign, axes in ((-1, ((1, 1, 0), (1, 0, 1), (0, 1, 1))), (1, ((1, 1, 0), (0, 1, 1), (1, 0, 1)))):
        a, b, c = (edge([sign * step for step in diagonal], zero) for diagonal in axes)
        yield _dot(a, _cross(b, c)), 2.0


def _cross(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    return [a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3] for i in range(3)]


def _dot(a: np.ndarray, b: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])
