"""Scaling and squaring of a velocity on the CPU, with its gradient: one call of torch's a step, or planes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.kernels.planes import add_gradients, sample
from AutoRegLib.kernels.replay import replay
from AutoRegLib.kernels.sampling import plain_linear

#: most numbers of a velocity, by its axes: above, the many calls of whole vectors take less time
SMALL = {2: 1 << 15, 3: 1 << 13}
_LINEAR, _BORDER = 0, 1  # torch's numbers of an interpolation, of a padding


class SmallFlow(torch.autograd.Function):
    """The displacement of a velocity after so many squarings, as :func:`plain_flow` has it, by torch's own sampling."""

    @staticmethod
    def forward(ctx: Any, velocity: Tensor, squarings: int) -> Tensor:
        displacement, steps, places = velocity * 0.5**squarings, [], []
        for _ in range(squarings):
            steps.append(displacement)
            places.append(_places(displacement))
            displacement = displacement + torch.grid_sampler(
                displacement.transpose(2, -1), places[-1], _LINEAR, _BORDER, True)
        ctx.squarings = squarings
        ctx.save_for_backward(velocity, *steps, *places)
        return displacement

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        velocity, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():
            (found,) = replay(lambda v: plain_flow(v, ctx.squarings), (velocity,), (True,), grads[0])
            return found, None  # type: ignore[return-value]
        gradient, dims = grads[0], velocity.ndim - 2
        back = torch.ops.aten.grid_sampler_2d_backward if dims == 2 else torch.ops.aten.grid_sampler_3d_backward
        scale = _grid(tuple(velocity.shape[2:]), velocity.dtype, velocity.device)[1]
        for step, place in zip(reversed(kept[: ctx.squarings]), reversed(kept[ctx.squarings :]), strict=True):
            image, where = back(gradient, step.transpose(2, -1), place, _LINEAR, _BORDER, True, [True, True])
            gradient = (gradient + image.transpose(2, -1)).add_((where * scale).movedim(-1, 1))
        return gradient * 0.5**ctx.squarings, None


def flow_for(velocity: Tensor) -> type[SmallFlow] | type[PlaneFlow]:
    """What takes less time on the CPU, with its gradient."""
    return SmallFlow if velocity.numel() <= SMALL[velocity.ndim - 2] else PlaneFlow


class PlaneFlow(torch.autograd.Function):
    """The same in planes: what takes less time for volumes that are not small, while a gradient is wanted."""

    @staticmethod
    def forward(ctx: Any, velocity: Tensor, squarings: int) -> Tensor:
        displacement, ctx.kept = velocity.contiguous() * 0.5**squarings, []
        for _ in range(squarings):
            value, kept = sample(displacement, displacement, slopes=ctx.needs_input_grad[0])
            if ctx.needs_input_grad[0]:
                ctx.kept.append(kept)
            displacement = value.add_(displacement)
        ctx.save_for_backward(velocity)
        ctx.squarings = squarings
        return displacement

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (velocity,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            (found,) = replay(lambda v: plain_flow(v, ctx.squarings), (velocity,), (True,), grads[0])
            return found, None  # type: ignore[return-value]
        gradient = grads[0]
        for kept in reversed(ctx.kept):
            whole, by_place = gradient.clone(), torch.empty_like(gradient)
            add_gradients(gradient, kept, whole, by_place)
            gradient = whole.add_(by_place)
        return gradient * 0.5**ctx.squarings, None


def plain_flow(velocity: Tensor, squarings: int) -> Tensor:
    """The same in plain differentiable operations; reference and second derivative."""
    displacement = velocity * 0.5**squarings
    for _ in range(squarings):
        displacement = displacement + plain_linear(displacement, displacement, relative=True)
    return displacement


def _places(displacement: Tensor) -> Tensor:
    """Where torch shall sample: from -1 to 1 along every axis, the first one first, as of an image turned around."""
    start, scale = _grid(tuple(displacement.shape[2:]), displacement.dtype, displacement.device)
    return torch.addcmul(start, displacement.movedim(1, -1), scale)


@lru_cache(maxsize=32)
def _grid(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The own place of every voxel (1, *shape, d), and what a voxel is in its unit."""
    with torch.inference_mode(False), torch.no_grad():
        scale = 2 / torch.tensor([max(size - 1, 1) for size in shape], dtype=dtype, device=device)
        axes = [torch.arange(size, dtype=dtype, device=device) for size in shape]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)[None] * scale - 1, scale
