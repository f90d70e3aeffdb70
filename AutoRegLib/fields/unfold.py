"""Taking folds out of a flow: its velocity is smoothed where, and only where, the sampled map folds.

The flow of a smooth velocity does not fold; what is sampled from it and interpolated between voxels may, at a few.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.prediction import integrate
from AutoRegLib.fields.smooth import gaussian

_SMALLEST = 0.01  # determinants below this are smoothed away: the field is sampled again on the fixed grid
_REPAIRS = 12


def unfold(velocity: Tensor, shape: Sequence[int], *, squarings: int) -> tuple[Tensor, Tensor, int]:
    """The velocity smoothed where its map folds until it does not, that map, and how many voxels folded at first.

    A velocity whose map does not fold comes back as it is. What still folds after a dozen rounds stays.

    Shape: ``velocity (B, d, *half the padded grid)``; the displacement (B, d, *shape). Unit: voxels of each grid.
    """
    padded = [2 * size for size in velocity.shape[2:]]
    inner = (slice(None), slice(None), *(slice(size) for size in shape))
    pool = F.max_pool2d if len(shape) == 2 else F.max_pool3d
    first = 0
    for attempt in range(_REPAIRS + 1):
        displacement = integrate(velocity, padded, squarings=squarings)
        folded = jacobian_determinant(displacement)[:, None] < _SMALLEST
        count = int(folded[inner].sum())
        first = count if attempt == 0 else first
        if attempt == _REPAIRS or count == 0:
            break
        near = pool(pool(folded.to(velocity.dtype), 2), 7, stride=1, padding=3)
        velocity = torch.lerp(velocity, gaussian(velocity, 1.0), gaussian(near, 1.0))
    return velocity, displacement[inner].contiguous(), first
