"""The diffusion regulariser: how fast a field changes from voxel to voxel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.kernels.replay import replay


def diffusion(displacement: Tensor, *, spacing: float | Sequence[float] = 1.0) -> Tensor:
    """The mean over axes of the mean squared forward difference.

    With the field in voxels and spacing 1 the differences are strains, which mean the same at every scale;
    give the grid's spacing when the vectors are in another unit (mm).

    Shape: (B, d, *spatial) -> scalar. Unit: that of ``spacing`` (one, or one per axis in axis order) -> none.
    By hand: the field u(x) = 0, 1, 3 along one of two axes (constant along the other, other component 0)
        has squared differences 1 and 4, mean 2.5 in one of two components: 1.25; mean over the two axes:
        0.625.
    Raises: InputError if there is not one spacing per axis.
    Reference: docs/method.md, section 1.3.
    """
    dims = displacement.ndim - 2
    steps = [float(spacing)] * dims if isinstance(spacing, (int, float)) else [float(s) for s in spacing]
    if len(steps) != dims:
        raise InputError("The spacing does not fit the field", expected=f"{dims} values", got=steps)
    result: Tensor = Diffusion.apply(displacement, steps)
    return result


def plain_diffusion(displacement: Tensor, steps: Sequence[float]) -> Tensor:
    """The same value in plain differentiable operations; reference and second derivative."""
    total = displacement.new_zeros(())
    for axis, step in enumerate(steps, start=2):
        size = displacement.shape[axis]
        if size > 1:
            slope = displacement.narrow(axis, 1, size - 1) - displacement.narrow(axis, 0, size - 1)
            total = total + slope.square().mean() / step**2
    return total / len(steps)


class Diffusion(torch.autograd.Function):
    """The gradient of a slope's square is the slope at one end and its opposite at the other: found with the value."""

    @staticmethod
    def forward(ctx: Any, displacement: Tensor, steps: Sequence[float]) -> Tensor:
        total, found = displacement.new_zeros(()), []
        gradient = torch.zeros_like(displacement) if ctx.needs_input_grad[0] else None
        for axis, step in enumerate(steps, start=2):
            size = displacement.shape[axis]
            if size == 1:
                continue
            slope = displacement.narrow(axis, 1, size - 1) - displacement.narrow(axis, 0, size - 1)
            share = 1 / (slope.numel() * step**2 * len(steps))
            flat = slope.flatten()
            total = total + torch.dot(flat, flat) * share
            if gradient is not None:
                gradient.narrow(axis, 1, size - 1).add_(slope, alpha=2 * share)
                gradient.narrow(axis, 0, size - 1).sub_(slope, alpha=2 * share)
        if gradient is not None:
            found.append(gradient)
        ctx.steps = steps
        ctx.save_for_backward(displacement, *found)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None]:
        displacement, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():
            (found,) = replay(lambda u: plain_diffusion(u, ctx.steps), (displacement,), (True,), grads[0])
            return found, None
        return gradient * grads[0], None
