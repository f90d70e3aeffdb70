"""Taking folds out of a flow: its velocity is smoothed where, and only where, the sampled map folds.

The flow of a smooth velocity does not fold; what is sampled from it and interpolated between voxels may, at a few.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.prediction import integrate_within
from AutoRegLib.fields.smooth import gaussian

_SMALLEST = 0.02  # determinants below this are smoothed away: the field is sampled again on the fixed grid
_REPAIRS = 20


def repair_folds(velocity: Tensor, shape: Sequence[int], *, squarings: int) -> tuple[Tensor, Tensor, int]:
    """The velocity smoothed where its map folds until it does not, that map, and how many voxels folded at first.

    A velocity whose map does not fold comes back as it is. What still folds after twenty rounds stays.

    Shape: ``velocity (B, d, *half the padded grid)``; the displacement (B, d, *shape). Unit: voxels of each grid.
    """
    padded = [2 * size for size in velocity.shape[2:]]
    pads = [amount for own, size in zip(reversed(shape), reversed(padded), strict=True) for amount in (0, size - own)]
    pool = F.max_pool2d if len(shape) == 2 else F.max_pool3d
    first = 0
    for attempt in range(_REPAIRS + 1):
        displacement = integrate_within(velocity, shape, squarings=squarings)
        folded = nearly_folded(displacement)
        count = int(folded.sum())
        first = count if attempt == 0 else first
        if attempt == _REPAIRS or count == 0:
            break
        near = pool(pool(F.pad(folded.to(velocity.dtype), pads), 2), 7, stride=1, padding=3)
        # wider each time: what one narrow pass leaves folded, at the image's border above all, repeating it may too
        velocity = torch.lerp(velocity, gaussian(velocity, 1.0 + attempt / 2), gaussian(near, 1.0))
    return velocity, displacement, first


def nearly_folded(displacement: Tensor) -> Tensor:
    """Where the map folds or nearly does, whichever lattice it is sampled on.

    Central differences skip the voxel between; on the fixed image's lattice, at whose border the differences are
    one-sided, such a place folds all the same. So no step along an axis may turn back either.

    Shape: (B, d, *spatial) to (B, 1, *spatial).
    """
    folded = ~(jacobian_determinant(displacement)[:, None] >= _SMALLEST)
    for axis in range(2, displacement.ndim):
        size, own = displacement.shape[axis], displacement[:, axis - 2 : axis - 1]
        step = 1 + own.narrow(axis, 1, size - 1) - own.narrow(axis, 0, size - 1)
        folded.narrow(axis, 0, size - 1).logical_or_(step < _SMALLEST)
    return folded
