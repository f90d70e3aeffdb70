"""Linear interpolation at displaced voxels on the CPU by torch's sampling of planes.

torch samples planes in whole vectors, but volumes one number after the other. A volume in memory is a plane of Z Y
rows, and so is what begins one slice later. A sample at (z, y, x) lies at the row floor(z) Y + y in both, once in the
slice before it, once in the one behind it, and is interpolated between the two; the difference is the slope along z.

torch counts places from -1 to 1. Planes are said to be 2^k + 1 rows and columns large, so that whole voxels are met
exactly; other places are rounded as their row's number is, by 0.00006 voxels among 2,000 rows. A large volume is
therefore sampled slab by slab, from no more rows than each slab needs; its vectors then stay in the cache too. Nor do
four weights always add up to 1 in the last digit. So this is for what is optimised, not for answers and masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from AutoRegLib.kernels.replay import replay
from AutoRegLib.kernels.sampling import plain_linear

_BILINEAR, _ZEROS = 0, 0  # torch's numbers of an interpolation, of a padding (which no sample reaches)
_AT_ONCE = 1 << 17  # samples of a slab that has more than one slice
_ROWS = 1 << 11  # of a plane that needs no slabs


class Slab(NamedTuple):
    """Where the samples of ``length`` slices from ``start`` on lie.

    Shape: ``grid`` (1, rows, columns, 2), torch's places in planes that begin at slice ``first`` and have ``plane``
    rows and columns, in which samples lie behind the first ``slices`` slices; ``between`` (rows, columns): how far from
    the slice before to the one behind, None in 2-D; ``voxel``, by axis (count, ...): one in the unit of the places, or
    0 beyond the border, where the value stays as the place moves. Empty where no slopes are wanted.
    """

    start: int
    length: int
    first: int
    slices: int
    plane: tuple[int, int]
    grid: Tensor
    between: Tensor | None
    voxel: tuple[Tensor, ...]


class Sampled(NamedTuple):
    """What the gradients of a slab's samples need. Shape: ``planes`` (1 or 2, C, rows, columns) the two of a slab, with
    one channel (1, 1 or 2, ...): their places are then worked out once; ``across`` (C, rows, columns): slopes along z.
    """

    slab: Slab
    planes: Tensor
    across: Tensor


def sample(image: Tensor, where: Tensor, *, slopes: bool) -> tuple[Tensor, list[list[Sampled]]]:
    """The image at displaced voxels, its border repeated, and by image of the batch what the gradients need.

    Shape: image (B, C, *spatial), where (B, d, *out) to (B, C, *out). ``slopes``: whether places will have a gradient.
    """
    value, kept = image.new_empty(*image.shape[:2], *where.shape[2:]), []
    for own, offsets, result in zip(image, where, value, strict=True):
        slabs = _slabs(offsets, own.shape[1:], slopes)
        wide = _continued(own, slabs)
        kept.append([_sample(wide, slab, result) for slab in slabs])
    return value, kept


def add_gradients(
    grad: Tensor, kept: Sequence[Sequence[Sampled]], grad_image: Tensor | None, grad_where: Tensor | None
) -> None:
    """Add the gradient of the image, and write that of the places, where they are wanted; see :func:`sample`."""
    for batch, parts in enumerate(kept):
        for part in parts:
            _add_gradients(grad[batch], part, None if grad_image is None else grad_image[batch],
                           None if grad_where is None else grad_where[batch])


def _slabs(where: Tensor, shape: Sequence[int], slopes: bool) -> list[Slab]:
    """Where all samples lie in an image of this shape. Shape: ``where`` (d, *out)."""
    out = where.shape[1:]
    whole = len(shape) == 2 or ((shape[0] - 1) * shape[1] <= _ROWS and math.prod(out) <= _AT_ONCE)
    thickness = out[0] if whole else max(1, min(_AT_ONCE // math.prod(out[1:]), _ROWS // (2 * shape[1])))
    return [_slab(where.narrow(1, start, min(thickness, out[0] - start)), shape, start, whole, slopes)
            for start in range(0, out[0], thickness)]


def _slab(where: Tensor, shape: Sequence[int], start: int, whole: bool, slopes: bool) -> Slab:
    *across, by_row, by_column = where
    first, slices, between, voxel = 0, 1, None, []
    if across:
        place = torch.empty_like(by_row)
        voxel += _place(across[0], shape, 0, 1.0, slopes, place, start)
        before = place.floor().clamp_(-1, max(shape[0] - 3, -1))  # places begin at -1
        between = place.sub_(before).flatten(0, 1)
        slices = max(shape[0] - 1, 1)
        if not whole:  # a place that is no number is in no slice
            first, end = (int(edge.nan_to_num(-1)) + 1 for edge in before.aminmax())
            slices = end - first + 1
    plane = (_exact(slices * (shape[-2] + 1)), _exact(shape[-1] + 1))
    row, column = (2 / (size - 1) for size in plane)
    grid = by_row.new_empty(2, *by_row.shape)
    voxel += _place(by_row, shape, len(shape) - 2, row, slopes, grid[1], 0 if across else start)
    voxel += _place(by_column, shape, len(shape) - 1, column, slopes, grid[0])
    if across:
        grid[1].add_(before.sub_(first - 1), alpha=row * (shape[1] + 1))
        grid = grid.flatten(1, 2)
    return Slab(start, where.shape[1], first, slices, plane, grid.movedim(0, -1)[None], between, tuple(voxel))


def _place(
    where: Tensor, shape: Sequence[int], axis: int, step: float, slopes: bool, place: Tensor, start: int = 0
) -> list[Tensor]:
    """Write the places along one axis, from -1 on in ``step`` a voxel, within the image; the slab's ``voxel`` of it."""
    own = _line(where.shape[axis], step, start, where.dtype)
    torch.add(own.view([-1 if other == axis else 1 for other in range(where.ndim)]), where, alpha=step, out=place)
    free = [place.clone()] if slopes else []
    place.clamp_(-1, (shape[axis] - 1) * step - 1)
    return [one.eq_(place).mul_(step) for one in free]


@lru_cache(maxsize=256)
def _line(count: int, step: float, start: int, dtype: torch.dtype) -> Tensor:
    """The own places of voxels along an axis."""
    with torch.inference_mode(False), torch.no_grad():
        return (torch.arange(start, start + count, dtype=dtype) * step).sub_(1)


def _exact(size: int) -> int:
    """2^k + 1, at least this size: on so many voxels torch's arithmetic of whole places is exact."""
    return (1 << max(size - 2, 1).bit_length()) + 1


def _continued(image: Tensor, slabs: Sequence[Slab]) -> Tensor:
    """An image with a row and a column more, in which it goes on as it ends, and room for the slabs' planes behind it.

    So a place on the border has a slope, that of the last voxels. What lies in the room is not read.
    Shape: (C, ..., rows, columns) to (C, ..., rows + 1, columns + 1).
    """
    *outer, height, width = image.shape
    last, a_slice = (outer[0] - 1) * math.prod(outer[1:]), (height + 1) * (width + 1)  # slices before the last channel
    room = max((last + slab.first + 1) * a_slice + slab.plane[0] * (width + 1) + slab.plane[1] for slab in slabs)
    size = math.prod(outer) * a_slice
    wide = image.new_empty(max(room, size))[:size].view(*outer, height + 1, width + 1)
    wide[..., :height, :width].copy_(image)
    wide[..., :height, width] = torch.lerp(image[..., max(width - 2, 0)], image[..., width - 1], 2.0)
    wide[..., height, :] = torch.lerp(wide[..., max(height - 2, 0), :], wide[..., height - 1, :], 2.0)
    return wide


def _sample(image: Tensor, slab: Slab, value: Tensor) -> Sampled:
    """Write the values of a slab's samples in a :func:`_continued` image. Shape: ``value`` (C, *out)."""
    pair, channels, width = 1 if slab.between is None else 2, len(image), image.shape[-1]
    a_slice = image.stride(1) if pair == 2 else 0
    shape, strides = (pair, channels), (a_slice if image.shape[1] > 1 else 0, image.stride(0))
    turn = -1 if channels == 1 else 1
    planes = image.as_strided((*shape[::turn], *slab.plane), (*strides[::turn], width, 1),
                              image.storage_offset() + slab.first * a_slice)
    found = torch.grid_sampler_2d(planes, slab.grid.expand(len(planes), -1, -1, -1), _BILINEAR, _ZEROS, True)
    found = found.view(pair, channels, *found.shape[2:])
    target = value.narrow(1, slab.start, slab.length).view(found.shape[1:])
    if slab.between is None:
        target.copy_(found[0])
        return Sampled(slab, planes, found[0])
    torch.lerp(found[0], found[1], slab.between, out=target)
    return Sampled(slab, planes, found[1].sub_(found[0]))


def _add_gradients(grad: Tensor, part: Sampled, grad_image: Tensor | None, grad_where: Tensor | None) -> None:
    """The same of one slab. Shape: ``grad`` (C, *out), the image's (C, *spatial), that of the places (d, *out)."""
    slab, planes, across = part
    incoming = grad.narrow(1, slab.start, slab.length).reshape(across.shape)
    spread = incoming[None]
    if slab.between is not None:
        spread = incoming.new_empty(2, *across.shape)
        torch.mul(incoming, slab.between, out=spread[1])
        torch.sub(incoming, spread[1], out=spread[0])
    by_plane, by_place = torch.ops.aten.grid_sampler_2d_backward(
        spread.view(*planes.shape[:2], *across.shape[1:]), planes, slab.grid.expand(len(planes), -1, -1, -1),
        _BILINEAR, _ZEROS, True, (grad_image is not None, grad_where is not None))
    if grad_image is not None:
        height, width = grad_image.shape[-2:]
        inner = by_plane.view(len(spread), -1, *slab.plane)[:, :, : slab.slices * (height + 1), :width]
        inner = inner.unflatten(2, (slab.slices, -1))[:, :, :, :height]
        if slab.between is None:
            grad_image += inner[0, :, 0]
        else:
            behind = min(slab.first + 1, grad_image.shape[1] - slab.slices)  # of one slice alone it is that slice
            for first, own in zip((slab.first, behind), inner, strict=True):
                grad_image.narrow(1, first, slab.slices).add_(own)
    if grad_where is not None:
        by_place = by_place[0] if len(by_place) == 1 else by_place.sum(0)
        slopes = [by_place[..., 1], by_place[..., 0]]
        if slab.between is not None:
            by_slice = across * incoming
            slopes.insert(0, by_slice[0] if len(by_slice) == 1 else by_slice.sum(0))
        for slope, voxel, result in zip(slopes, slab.voxel, grad_where.narrow(1, slab.start, slab.length), strict=True):
            torch.mul(slope.view(result.shape), voxel, out=result)


class PlaneSample(torch.autograd.Function):
    """The image at displaced voxels, ``image(x + where(x))`` with its border repeated."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, where: Tensor) -> Tensor:
        value, kept = sample(image, where, slopes=ctx.needs_input_grad[1])
        ctx.kept = kept if any(ctx.needs_input_grad) else []
        ctx.save_for_backward(image, where)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        image, where = ctx.saved_tensors
        if torch.is_grad_enabled():
            return replay(partial(plain_linear, relative=True), (image, where), ctx.needs_input_grad, grads[0])
        by_image, by_where = ctx.needs_input_grad
        first, second = torch.zeros_like(image) if by_image else None, torch.empty_like(where) if by_where else None
        add_gradients(grads[0], ctx.kept, first, second)
        return first, second
