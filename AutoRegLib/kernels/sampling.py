"""Linear interpolation at displaced voxels: whole vectors on the CPU, torch's kernel on the GPU, plain for a graph.

torch's ``grid_sample`` is a scalar loop for volumes on the CPU and has no second derivative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.kernels.replay import replay

_GROUP_SIZE = 1 << 16  # samples of all channels treated at once on the CPU
_KEPT_CHANNELS = 4
_SLAB_SIZE = 1 << 15  # samples whose corners are held at once where rows of channels are summed


def positions(where: Tensor, axis: int, *, relative: bool, start: int = 0) -> Tensor:
    """Voxel coordinates along one axis, (B, *out); the first of them is ``start`` along the first axis."""
    offsets = where[:, axis]
    if not relative:
        return offsets
    size, first = where.shape[2 + axis], start if axis == 0 else 0
    own = torch.arange(first, first + size, device=where.device, dtype=where.dtype)
    return offsets + own.view([size if other == axis else 1 for other in range(where.ndim - 2)])


def _locate(
    where: Tensor, shape: Sequence[int], *, relative: bool, start: int = 0
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Where each sample falls: index of its low corner, fraction along each axis, whether it moved freely.

    Shape: all (B * N,). The index runs over a table in which the B images follow each other. A sample beyond
    the border is clamped to it and no longer depends on its position there.
    """
    batch = where.shape[0]
    index = torch.arange(batch, device=where.device).view(batch, *[1] * (where.ndim - 2))
    index = index.expand(batch, *where.shape[2:]).contiguous()
    fractions, free = [], []
    # in place where it can be: on the CPU a fresh vector costs more than the arithmetic on it
    for axis, size in enumerate(shape):
        position = positions(where, axis, relative=relative, start=start)
        fraction = position.clamp(0, size - 1)
        free.append((fraction.detach() == position.detach()).flatten())
        low = fraction.detach().floor().clamp_(max=max(size - 2, 0))
        fraction -= low
        fractions.append(fraction.flatten())
        index.mul_(size).add_(low.long())
    # NaN positions would index outside the table: keep them inside, their NaN fraction marks the result
    last = batch * math.prod(shape) - 1 - sum(_steps(shape))
    return index.flatten().clamp_(0, last), fractions, free


def _steps(shape: Sequence[int]) -> list[int]:
    """Distance in the flat table to the high corner along each axis (0 where there is only one voxel)."""
    return [math.prod(shape[axis + 1 :]) if size > 1 else 0 for axis, size in enumerate(shape)]


def _table(image: Tensor) -> Tensor:
    """(B, C, *spatial) -> (C, B * voxels), without a copy when B is 1."""
    return image.transpose(0, 1).reshape(image.shape[1], -1)


def _untable(table: Tensor, batch: int, shape: Sequence[int]) -> Tensor:
    """(C, B * voxels) -> (B, C, *shape), without a copy when B is 1."""
    return table.view(table.shape[0], batch, *shape).transpose(0, 1).contiguous()


def _groups(table: Tensor, index: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Channels to treat at once, and the index of their samples in the flat table of these channels.

    Several where a channel is small (fewer calls), one where it is large (its vectors stay in the cache).
    """
    channels, size = table.shape
    group = max(1, min(channels, _GROUP_SIZE // max(index.numel(), 1)))
    starts = torch.arange(group, device=index.device)[:, None] * size
    together = (index + starts).flatten() if group > 1 else index
    for start in range(0, channels, group):
        count = min(group, channels - start)
        yield slice(start, start + count), together[: count * index.numel()]


def _interpolate(
    table: Tensor, index: Tensor, fractions: list[Tensor], steps: list[int], *, slopes: bool, offset: int = 0
) -> list[Tensor]:
    """Nested linear interpolation of (channels, M), slowest axis outermost.

    Returns the value and, if asked, its slope along the last axis, ..., along the first; (channels, N) each.
    """
    if not fractions:
        # no corner lies beyond the table; shifting the table spares an addition to every index
        values = table.reshape(-1).narrow(0, offset, table.numel() - offset).index_select(0, index)
        return [values.view(table.shape[0], -1)]
    low = _interpolate(table, index, fractions[1:], steps[1:], slopes=slopes, offset=offset)
    high = _interpolate(table, index, fractions[1:], steps[1:], slopes=slopes, offset=offset + steps[0])
    if not slopes:  # may be recorded by autograd
        return [torch.lerp(low[0], high[0], fractions[0])]
    across = high[0].sub_(low[0])
    low[0].addcmul_(across, fractions[0])
    for inner, other in zip(low[1:], high[1:], strict=True):
        inner.lerp_(other, fractions[0])
    return [*low, across]


def sum_rows(image: Tensor, where: Tensor, *, relative: bool) -> Tensor:
    """Linear interpolation of a channels-last image on the CPU where no gradient is wanted.

    A sample is the weighted sum of its corners' rows of channels, which is what an embedding bag computes, in
    one vectorised pass over memory; slab by slab, so that indices and weights stay in the cache.

    Shape: (B, C, *spatial) and (B, d, *out) to (B, C, *out), channels last too.
    """
    shape, steps = image.shape[2:], _steps(image.shape[2:])
    rows = image.movedim(1, -1).flatten(1, -2)
    corners = torch.zeros(1, dtype=torch.int64)
    for step in steps:
        corners = (corners[:, None] + torch.tensor([0, step])).flatten()
    value = rows.new_empty(len(where), *where.shape[2:], image.shape[1])
    thickness = max(1, _SLAB_SIZE // math.prod(where.shape[3:]))
    for own, table, result in zip(where.split(1), rows, value, strict=True):
        for start in range(0, where.shape[2], thickness):
            slab = own.narrow(2, start, min(thickness, where.shape[2] - start))
            index, fractions, _ = _locate(slab, shape, relative=relative, start=start)
            weights = fractions[0].new_ones(1, 1)
            for fraction in fractions:
                weights = (weights[:, None] * torch.stack((1 - fraction, fraction))).flatten(0, 1)
            summed = F.embedding_bag(index[:, None] + corners, table, per_sample_weights=weights.T, mode="sum")
            result.narrow(0, start, slab.shape[2]).view(-1, image.shape[1]).copy_(summed)
    return value.movedim(-1, 1)


def _spread(
    flat: Tensor, index: Tensor, fractions: list[Tensor], steps: list[int], values: Tensor, offset: int = 0
) -> None:
    """The transpose of interpolation: add each value (channels, N) to its corners in the flat table."""
    if not fractions:
        flat.narrow(0, offset, flat.numel() - offset).scatter_add_(0, index, values.flatten())
        return
    high = values * fractions[0]
    _spread(flat, index, fractions[1:], steps[1:], values - high, offset)
    _spread(flat, index, fractions[1:], steps[1:], high, offset + steps[0])


class LinearSample(torch.autograd.Function):
    """Linear interpolation with the border repeated.

    On the CPU it is gathers and lerps on whole vectors, because torch's grid_sample is a scalar loop for
    volumes there. torch has no second derivative of grid_sample: asked for a graph of the gradient, the
    pass is replayed in plain operations.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, where: Tensor, relative: bool) -> Tensor:
        ctx.relative = relative
        if image.is_cuda:
            ctx.save_for_backward(image, where)
            return grid_sample_linear(image, where, relative=relative)
        needs_where = ctx.needs_input_grad[1]
        steps, table = _steps(image.shape[2:]), _table(image)
        index, fractions, free = _locate(where, image.shape[2:], relative=relative)
        # the slopes of few channels are cheaper kept than found again, those of many would fill the memory
        keep = needs_where and len(table) <= _KEPT_CHANNELS
        value = table.new_empty(len(table), index.numel())
        kept = []
        for channels, together in _groups(table, index):
            value[channels], *slopes = _interpolate(table[channels], together, fractions, steps, slopes=keep)
            kept += slopes
        ctx.save_for_backward(image, where, index, *fractions, *(free if needs_where else ()), *kept)
        return _untable(value, image.shape[0], where.shape[2:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        image, where, *rest = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled() or image.is_cuda:
            plain = plain_linear if torch.is_grad_enabled() else grid_sample_linear
            first, second = replay(partial(plain, relative=ctx.relative), (image, where), needed, grads[0])
            return first, second, None
        shape, dims, batch = image.shape[2:], image.ndim - 2, image.shape[0]
        steps, table, grad = _steps(shape), _table(image), _table(grads[0])
        index, fractions = rest[0], rest[1 : 1 + dims]
        free, kept = rest[1 + dims : 1 + 2 * dims], rest[1 + 2 * dims :]
        grad_table = torch.zeros_like(table, memory_format=torch.contiguous_format) if needed[0] else None
        grad_where = grad.new_zeros(dims, index.numel()) if needed[1] else None
        for channels, together in _groups(table, index):
            incoming = grad[channels]
            if grad_table is not None:
                _spread(grad_table[channels].view(-1), together, fractions, steps, incoming)
            if grad_where is not None:
                slopes = kept[:dims]
                if not slopes:
                    slopes = _interpolate(table[channels], together, fractions, steps, slopes=True)[1:]
                del kept[:dims]
                for axis, slope in zip(reversed(range(dims)), slopes, strict=True):
                    for part, weight in zip(slope, incoming, strict=True):
                        grad_where[axis].addcmul_(part, weight)
        grad_image = None if grad_table is None else _untable(grad_table, batch, shape)
        if grad_where is not None:
            grad_where = _untable(grad_where.mul_(torch.stack(free)), batch, where.shape[2:])
        return grad_image, grad_where, None


def grid_sample_linear(image: Tensor, where: Tensor, *, relative: bool) -> Tensor:
    """The same by torch's kernel, which wants the last axis (x, y, z) and -1 .. 1 from centre to centre."""
    shape = image.shape[2:]
    axes = [positions(where, axis, relative=relative) * (2 / max(size - 1, 1)) - 1 for axis, size in enumerate(shape)]
    scattered = [1] * (len(shape) + 2 - where.ndim)
    grid = torch.stack(axes[::-1], dim=-1).view(len(where), *scattered, *where.shape[2:], len(shape))
    value = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return value.view(*image.shape[:2], *where.shape[2:])


def plain_linear(image: Tensor, where: Tensor, *, relative: bool) -> Tensor:
    """The same in plain differentiable operations; carries the second derivative."""
    table = _table(image)
    index, fractions, _ = _locate(where, image.shape[2:], relative=relative)
    starts = torch.arange(len(table), device=index.device)[:, None] * table.shape[1]
    value = _interpolate(table, (index + starts).flatten(), fractions, _steps(image.shape[2:]), slopes=False)[0]
    return _untable(value, len(image), where.shape[2:])
