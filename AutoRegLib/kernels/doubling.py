"""Linear interpolation to twice the voxels, and its transpose."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def doubled(image: Tensor) -> Tensor:
    """Linear interpolation to twice the voxels, axis by axis: on the CPU up to five times as fast as torch's kernel.

    Differentiable to any order.
    Shape: (B, C, *spatial) -> (B, C, *(2 spatial)), in the same layout.
    """
    if not (torch.is_grad_enabled() and image.requires_grad):
        return _by_axes(image, wider=True)
    result: Tensor = _Scaled.apply(image, True)
    return result


def gathered(image: Tensor) -> Tensor:
    """The transpose of :func:`doubled`, without a gradient. Shape: (B, C, *(2 spatial)) to (B, C, *spatial)."""
    return _by_axes(image, wider=False)


class _Scaled(torch.autograd.Function):
    """Doubling (``wider``), or its transpose; each is the gradient of the other."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, wider: bool) -> Tensor:
        ctx.wider = wider
        return _by_axes(image, wider=wider)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _Scaled.apply(grads[0], not ctx.wider), None


def _by_axes(image: Tensor, *, wider: bool) -> Tensor:
    rows = image.shape[1] > 1 and image.stride(1) == 1
    values = image.movedim(1, -1) if rows else image
    first = 1 if rows else 2
    axes = range(first, first + image.ndim - 2)
    # the last axis, whose halves interleave voxel by voxel, while there is little of it
    for axis in reversed(axes) if wider else axes:
        values = _double(values, axis) if wider else _gather(values, axis)
    return values.movedim(-1, 1) if rows else values


def _double(values: Tensor, axis: int) -> Tensor:
    count = values.shape[axis]
    wider = values.new_empty([2 * n if place == axis else n for place, n in enumerate(values.shape)])
    low, high = values.narrow(axis, 0, count - 1), values.narrow(axis, 1, count - 1)
    halves = wider.unflatten(axis, (count, 2))
    even, odd = halves.select(axis + 1, 0), halves.select(axis + 1, 1)
    # a fine voxel lies a quarter of a voxel from the centre of the coarse one that it is in
    torch.lerp(low, high, 0.75, out=even.narrow(axis, 1, count - 1))
    torch.lerp(low, high, 0.25, out=odd.narrow(axis, 0, count - 1))
    even.narrow(axis, 0, 1).copy_(values.narrow(axis, 0, 1))
    odd.narrow(axis, count - 1, 1).copy_(values.narrow(axis, count - 1, 1))
    return wider


def _gather(values: Tensor, axis: int) -> Tensor:
    """Every coarse voxel receives what its fine ones took from it."""
    count = values.shape[axis] // 2
    halves = values.unflatten(axis, (count, 2))
    even, odd = halves.select(axis + 1, 0), halves.select(axis + 1, 1)
    own = (even + odd).mul_(0.75)
    own.narrow(axis, 0, count - 1).add_(even.narrow(axis, 1, count - 1), alpha=0.25)
    own.narrow(axis, 1, count - 1).add_(odd.narrow(axis, 0, count - 1), alpha=0.25)
    own.narrow(axis, 0, 1).add_(even.narrow(axis, 0, 1), alpha=0.25)  # the border has no other neighbour
    own.narrow(axis, count - 1, 1).add_(odd.narrow(axis, count - 1, 1), alpha=0.25)
    return own
