"""The fold penalty: how far the Jacobian determinant falls below zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from AutoRegLib.fields.jacobian import determinant, jacobian_columns, jacobian_determinant
from AutoRegLib.kernels.replay import replay


def fold_penalty(displacement: Tensor, *, margin: float = 0.0) -> Tensor:
    """The mean over voxels of ``max(0, margin - det(I + grad u))``; with margin 0 it is 0 without folds.

    Shape: (B, d, *spatial) -> scalar. Unit: voxels -> none.
    By hand: u(x) = -3 x along one axis of three has determinant 1 - 3 = -2 inside: it counts 2 there.
    Reference: docs/method.md, section 2.
    """
    result: Tensor = FoldPenalty.apply(displacement, margin)
    return result


def plain_fold_penalty(displacement: Tensor, margin: float) -> Tensor:
    """The same value in plain differentiable operations; reference and second derivative."""
    return (margin - jacobian_determinant(displacement)).clamp_min(0).mean()


class FoldPenalty(torch.autograd.Function):
    """With its gradient in closed form, which costs nothing where, as nearly always, no voxel counts.

    The determinant's derivative by a column is the cross product of the others.
    """

    @staticmethod
    def forward(ctx: Any, displacement: Tensor, margin: float) -> Tensor:
        columns = jacobian_columns(displacement)
        below = margin - determinant(columns)
        ctx.margin = margin
        counted = below > 0
        kept = [part for column in columns for part in column] if bool(counted.any()) else []
        ctx.save_for_backward(displacement, counted, *kept)
        return below.clamp_min_(0).mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None]:
        displacement, counted, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():
            (found,) = replay(lambda u: plain_fold_penalty(u, ctx.margin), (displacement,), (True,), grads[0])
            return found, None
        result = torch.zeros_like(displacement)
        if not kept:
            return result, None
        scale = counted * (-grads[0] / counted.numel())
        dims = displacement.shape[1]
        columns = [kept[dims * axis : dims * (axis + 1)] for axis in range(dims)]
        for axis in range(dims):
            by_column = torch.stack(_cofactors(columns, axis), 1).mul_(scale[:, None] * 0.5)
            _spread_difference(by_column, 2 + axis, result)
        return result, None


def _cofactors(columns: list[list[Tensor]], axis: int) -> list[Tensor]:
    """The derivative of the determinant by each entry of one column."""
    if len(columns) == 2:
        a, b = columns[1 - axis]
        return [b, -a] if axis == 0 else [-b, a]
    (a, b, c), (d, e, f) = columns[(axis + 1) % 3], columns[(axis + 2) % 3]
    return [b * f - c * e, c * d - a * f, a * e - b * d]


def _spread_difference(values: Tensor, axis: int, result: Tensor) -> None:
    """Add the transpose of the central difference whose border voxel stands in for the neighbour it lacks."""
    size = values.shape[axis]
    if size > 1:
        result.narrow(axis, 1, size - 1).add_(values.narrow(axis, 0, size - 1))
        result.narrow(axis, 0, size - 1).sub_(values.narrow(axis, 1, size - 1))
        result.narrow(axis, size - 1, 1).add_(values.narrow(axis, size - 1, 1))
        result.narrow(axis, 0, 1).sub_(values.narrow(axis, 0, 1))
