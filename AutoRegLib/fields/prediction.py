"""What every registration network returns: one type; ``velocity`` and ``scales`` where the network has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from AutoRegLib.fields.resample import resize_displacement
from AutoRegLib.fields.velocity import exponentiate


@dataclass(frozen=True)
class Prediction:
    """Fields from fixed to moving (pull-back), components in axis order (z, y, x), in voxels of their own grid.

    Shape: ``displacement (B, d, *spatial)``; ``velocity (B, d, *spatial / 2)`` or None where the network has
    none; ``scales``: displacements at 1/2, 1/4 ... as far as the network has them; ``velocities``: theirs;
    ``latents``: mean and logarithm of the variance of random features, each ``(2 B, m, *spatial / 2^k)``; ``law``:
    those of the velocity where it is drawn, each of its shape. ``filter``: the learnt filter that smoothed its finest
    field. ``local``: the answer without the affine part that a network found in front of it.
    ``inverse``: the displacement of the inverse map, where it is known without a velocity. ``initial``: the velocity
    that a geodesic starts with, of the displacement's shape.
    """

    displacement: Tensor
    velocity: Tensor | None
    scales: tuple[Tensor, ...] = ()
    velocities: tuple[Tensor, ...] = ()
    latents: tuple[tuple[Tensor, Tensor], ...] = ()
    law: tuple[Tensor, Tensor] | None = None
    filter: Tensor | None = None
    local: Prediction | None = None
    inverse: Tensor | None = None
    initial: Tensor | None = None


def integrate(velocity: Tensor, shape: Sequence[int], *, squarings: int) -> Tensor:
    """The full-grid displacement of a stationary velocity; of its negative: the inverse displacement.

    Shape: ``velocity (B, d, *coarse)`` to ``(B, d, *shape)``. Unit: voxels of each grid.
    """
    return resize_displacement(exponentiate(velocity, squarings=squarings), shape)


def integrate_within(velocity: Tensor, shape: Sequence[int], *, squarings: int) -> Tensor:
    """The displacement on a grid of ``shape``, of a velocity on half of that grid as networks pad it.

    Shape: ``velocity (B, d, *half of the padded grid)`` to ``(B, d, *shape)``. Unit: voxels of each grid.
    """
    whole = integrate(velocity, [2 * size for size in velocity.shape[2:]], squarings=squarings)
    return whole[(slice(None), slice(None), *(slice(size) for size in shape))].contiguous()


def way_back(answer: Prediction, *, squarings: int) -> Tensor | None:
    """The displacement of the inverse map, where the answer tells it: that of the negative velocity, or its own."""
    if answer.velocity is None:
        return answer.inverse
    return integrate_within(-answer.velocity, answer.displacement.shape[2:], squarings=squarings)
