"""The convolution of each channel by itself, 3-D, with its gradients as further convolutions.

On the CPU torch's backward pass of it takes at least ten times its forward pass: for volumes oneDNN has a fast
depthwise kernel forwards only, for planes also one of the weights' gradient if the kernel is 3 wide. So the gradient
of the values is computed as a forward convolution with the mirrored kernel, that of the weights plane by plane.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_ALL = (0, 2, 3, 4)  # the axes that a bias is constant on


def depthwise_convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1) -> Tensor:
    """``torch.nn.functional.conv3d`` with as many groups as channels and zeros around the volume.

    Differentiable to any order.
    Shape: x (B, C, *spatial), weight (C, 1, k, k, k) with k odd and above 1, bias (C,) -> (B, C, *spatial / stride).
    """
    result: Tensor = _Depthwise.apply(x, weight, bias, stride)
    return result


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.stride = stride
        ctx.save_for_backward(x, weight)
        return F.conv3d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad = _spread(grads[0], x, ctx.stride)
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        return (
            depthwise_convolution(grad, weight.flip(2, 3, 4)) if needs_x else None,
            _Correlation.apply(x, grad, weight.shape[-1]) if needs_weight else None,
            grads[0].sum(_ALL) if needs_bias else None,
            None,
        )


class _Correlation(torch.autograd.Function):
    """The gradient of the weights: ``sum over n of x(n + offset) grad(n)`` for every offset of the kernel.

    Shape: x and grad (B, C, *spatial) -> (C, 1, k, k, k).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, grad: Tensor, kernel: int) -> Tensor:
        ctx.save_for_backward(x, grad)
        return _correlate(x, grad, kernel)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, grad = ctx.saved_tensors
        (weight,) = grads
        return (
            depthwise_convolution(grad, weight.flip(2, 3, 4)) if ctx.needs_input_grad[0] else None,
            depthwise_convolution(x, weight) if ctx.needs_input_grad[1] else None,
            None,
        )


def _spread(values: Tensor, like: Tensor, stride: int) -> Tensor:
    """The values at every ``stride``-th voxel of each axis, zeros between them; shape and layout of ``like``."""
    if stride == 1:
        return values
    every = slice(None, None, stride)
    result = torch.zeros_like(like, dtype=values.dtype)
    result[..., every, every, every] = values
    return result


def _correlate(x: Tensor, grad: Tensor, kernel: int) -> Tensor:
    """See :class:`_Correlation`; on planes, in windows of three columns that overlap by one."""
    radius, channels = kernel // 2, x.shape[1]
    grad = _planes(grad, (0, 0, 0, 0, radius, radius))
    count = len(grad) - 2 * radius
    grad = grad.narrow(0, radius, count)
    like = x.new_empty(channels, 1, kernel, 3).contiguous(memory_format=torch.channels_last)
    parts = []
    for first in range(0, kernel - 1, 2):
        planes = _planes(x, (radius - first, first + 2 - radius, 0, 0, radius, radius))
        columns = [
            torch.ops.aten.convolution_backward(
                grad, planes.narrow(0, depth, count), like, None, (1, 1), (radius, 0), (1, 1), False, (0, 0), channels,
                (False, True, False),
            )[1]
            for depth in range(kernel)
        ]
        parts.append(torch.stack(columns, 2).narrow(-1, 0, 2 if first < kernel - 3 else 3))
    return torch.cat(parts, -1)


def _planes(volumes: Tensor, pads: tuple[int, ...]) -> Tensor:
    """The padded volumes as a batch of planes, channels last: neighbouring planes are neighbours in the batch.

    The zeros between one volume and the next keep them apart.
    """
    layers = F.pad(volumes, pads).permute(0, 2, 1, 3, 4).flatten(0, 1)
    return layers.contiguous(memory_format=torch.channels_last)
