"""Taking folds out of a flow: its velocity is mended where, and only where, the sampled map folds.

The flow of a smooth velocity does not fold; what is sampled from it and interpolated between voxels may, at a few.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.fields.jacobian import determinant
from AutoRegLib.fields.prediction import integrate_within
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.velocity import compose
from AutoRegLib.fields.warp import sample_at

_AT_ONCE = 1 << 19  # voxels of a large grid that are looked at together
_SMALLEST = 0.02  # determinants below this are mended: the field is sampled again on the fixed grid
_REPAIRS = 24
_ROUNDS = 4  # of each width: mending further around than it has to be costs overlap (docs/results.md, asked again)


def repair_folds(
    velocity: Tensor, shape: Sequence[int], *, squarings: int, before: Tensor | None = None
) -> tuple[Tensor, Tensor, int]:
    """The velocity mended where its map folds until it does not, that map, and how many voxels folded at first.

    A velocity whose map does not fold comes back as it is. It is smoothed there, narrowly at first. With a map
    ``before`` it, which does not fold, the map is that of both and the velocity is damped: without it nothing folds.
    What still folds in the end stays.

    Shape: ``velocity (B, d, *half the padded grid)``; displacements (B, d, *shape). Unit: voxels of each grid.
    """
    pool = F.max_pool2d if len(shape) == 2 else F.max_pool3d
    flow = integrate_within(velocity, shape, squarings=squarings)
    displacement = flow if before is None else compose(flow, before).contiguous()
    folded = nearly_folded(displacement)
    first = int(folded.sum())
    for attempt in range(_REPAIRS):
        if not bool(folded.any()):
            break
        # wider after some rounds: what narrow ones leave folded, at the image's border above all, more of them may too
        wider = attempt // _ROUNDS
        near = torch.zeros_like(velocity[:, :1])
        sample, _, *axes = folded.nonzero(as_tuple=True)
        near[(sample, 0 * sample, *(axis // 2 for axis in axes))] = 1.0
        for axis in range(len(shape)):  # one by one: the largest of a cube is the largest of its lines' largest
            along = [int(other == axis) for other in range(len(shape))]
            near = pool(near, [1 + 2 * wider * one for one in along], stride=1, padding=[wider * one for one in along])
        near = gaussian(near, 0.5 * (1 + wider)).clamp_max(1.0)
        if before is None:
            velocity = torch.lerp(velocity, gaussian(velocity, 1.0 + attempt / 2), near)
        else:
            velocity = velocity * (1.0 - 0.5 * near)
        last, flow = flow, integrate_within(velocity, shape, squarings=squarings)
        places = _touched(flow != last)  # elsewhere all is as it was
        moved = _at(flow, places)
        if before is not None:
            there = moved + torch.stack(torch.unravel_index(places, shape)).to(moved)
            moved = moved + sample_at(before, there.transpose(1, 2))
        displacement.flatten(2).index_copy_(2, places, moved)
        folded.flatten(2).index_copy_(2, places, _folded_at(displacement, places))
    return velocity, displacement, first


def nearly_folded(displacement: Tensor) -> Tensor:
    """Where the map folds or nearly does, whichever lattice it is sampled on.

    Central differences skip the voxel between; on the fixed image's lattice, at whose border the differences are
    one-sided, such a place folds all the same. So no step along an axis may turn back either. A large grid is looked at
    in slabs: all derivatives at once are six times the field.

    Shape: (B, d, *spatial) to (B, 1, *spatial).
    """
    size = displacement.shape[2]
    rows, found = max(1, _AT_ONCE * size // math.prod(displacement.shape[2:])), []
    for first in range(0, size, rows):
        before = int(first > 0)  # a row more on either side: no inner row is taken for the border
        slab = displacement.narrow(2, first - before, min(rows + 1, size - first) + before)
        found.append(_folds(slab, _neighbours(slab)).narrow(2, before, min(rows, size - first)))
    return torch.cat(found, 2)


def _folded_at(displacement: Tensor, places: Tensor) -> Tensor:
    """The same at some places (K,) of the flattened grid. Shape: (B, 1, K)."""
    shape = displacement.shape[2:]

    def beside(part: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for axis, size in enumerate(shape):
            step = math.prod(shape[axis + 1 :])
            along = part // step % size
            yield _at(displacement, part - step * (along > 0)), _at(displacement, part + step * (along < size - 1))

    return torch.cat([_folds(_at(displacement, part), beside(part)) for part in places.split(_AT_ONCE)], 2)


def _folds(own: Tensor, beside: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Where the map folds, from its displacement and those before and after along every axis."""
    columns, turned = [], torch.zeros_like(own[:, 0], dtype=torch.bool)
    for axis, (before, after) in enumerate(beside):
        column = list(((after - before) * 0.5).unbind(1))
        column[axis] = column[axis] + 1
        columns.append(column)
        turned |= 1 + after[:, axis] - own[:, axis] < _SMALLEST
    return (turned | ~(determinant(columns) >= _SMALLEST))[:, None]


def _neighbours(field: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The field a voxel before and a voxel after along every axis; the border is repeated."""
    for axis in range(2, field.ndim):
        size = field.shape[axis]
        first, last = field.narrow(axis, 0, 1), field.narrow(axis, size - 1, 1)
        yield (torch.cat([first, field.narrow(axis, 0, size - 1)], axis),
               torch.cat([field.narrow(axis, 1, size - 1), last], axis))


def _at(field: Tensor, places: Tensor) -> Tensor:
    """(B, d, *spatial) to (B, d, K); as a matrix, which torch reads thirty times faster."""
    return field.flatten(0, 1).flatten(1).index_select(1, places).unflatten(0, field.shape[:2])


def _touched(changed: Tensor) -> Tensor:
    """The places (K,) of the flattened grid that changed, or whose neighbours did. ``changed``: (B, d, *spatial)."""
    own = changed.flatten(0, 1).any(0)
    touched = own.clone()
    for axis, size in enumerate(own.shape):
        touched.narrow(axis, 0, size - 1).logical_or_(own.narrow(axis, 1, size - 1))
        touched.narrow(axis, 1, size - 1).logical_or_(own.narrow(axis, 0, size - 1))
    return touched.flatten().nonzero()[:, 0]
