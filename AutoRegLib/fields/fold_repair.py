"""Taking folds out of a flow: its velocity is mended where, and only where, the sampled map folds.

The flow of a smooth velocity does not fold; what is sampled from it and interpolated between voxels may, at a few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.prediction import integrate_within
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.velocity import compose

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
    padded = [2 * size for size in velocity.shape[2:]]
    pads = [amount for own, size in zip(reversed(shape), reversed(padded), strict=True) for amount in (0, size - own)]
    pool = F.max_pool2d if len(shape) == 2 else F.max_pool3d
    first = 0
    for attempt in range(_REPAIRS + 1):
        displacement = integrate_within(velocity, shape, squarings=squarings)
        if before is not None:
            displacement = compose(displacement, before)
        folded = nearly_folded(displacement)
        count = int(folded.sum())
        first = count if attempt == 0 else first
        if attempt == _REPAIRS or count == 0:
            break
        # wider after some rounds: what narrow ones leave folded, at the image's border above all, more of them may too
        wider = attempt // _ROUNDS
        near = pool(pool(F.pad(folded.to(velocity.dtype), pads), 2), 1 + 2 * wider, stride=1, padding=wider)
        near = gaussian(near, 0.5 * (1 + wider)).clamp_max(1.0)
        if before is None:
            velocity = torch.lerp(velocity, gaussian(velocity, 1.0 + attempt / 2), near)
        else:
            velocity = velocity * (1.0 - 0.5 * near)
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
        found.append(_nearly_folded(slab).narrow(2, before, min(rows, size - first)))
    return torch.cat(found, 2)


def _nearly_folded(displacement: Tensor) -> Tensor:
    folded = ~(jacobian_determinant(displacement)[:, None] >= _SMALLEST)
    for axis in range(2, displacement.ndim):
        size, own = displacement.shape[axis], displacement[:, axis - 2 : axis - 1]
        step = 1 + own.narrow(axis, 1, size - 1) - own.narrow(axis, 0, size - 1)
        folded.narrow(axis, 0, size - 1).logical_or_(step < _SMALLEST)
    return folded
