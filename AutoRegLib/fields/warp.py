"""Sampling images at displaced voxels.

Conventions used by every function of this package: a displacement has shape (B, d, *spatial), is measured in
voxels, lists its components in axis order (z, y, x) and is pull-back, ``warped(x) = image(x + u(x))``. Voxel
centres lie on whole coordinates 0 .. n-1 along each axis (``align_corners=True`` in torch's words).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.kernels.planes import PlaneSample
from AutoRegLib.kernels.sampling import LinearSample, positions, sum_rows

Mode = Literal["linear", "nearest"]
Padding = Literal["border", "zeros"]



def identity_grid(
    shape: Sequence[int], *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The voxel coordinates of a grid.

    Shape: (1, d, *shape). Unit: voxels, components in axis order.
    """
    axes = [torch.arange(size, device=device, dtype=dtype) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def warp(image: Tensor, displacement: Tensor, *, mode: Mode = "linear", padding: Padding = "border") -> Tensor:
    """The image pulled back through a displacement: ``warped(x) = image(x + u(x))``.

    Linear warps are differentiable twice in both tensors. Integer images keep their type when the mode is
    nearest and become float when it is linear.

    Shape: image (B, C, *spatial), displacement (B, d, *spatial) -> (B, C, *spatial).
    Unit: voxels. Direction: pull-back, from the output grid into the image.
    Raises: InputError if the shapes do not belong together.
    """
    dims = image.ndim - 2
    expected = (image.shape[0], dims, *image.shape[2:])
    if dims not in (2, 3) or tuple(displacement.shape) != expected:
        raise InputError(
            "The displacement does not fit the image",
            expected=f"a displacement of shape {expected} for an image of shape {tuple(image.shape)}",
            got=tuple(displacement.shape),
            remedy="resize the displacement to the image grid first (resize_displacement)",
        )
    return _sample(image, displacement, mode=mode, padding=padding, relative=True)


def sample_at(image: Tensor, points: Tensor, *, mode: Mode = "linear", padding: Padding = "border") -> Tensor:
    """The image's values at scattered positions.

    Shape: image (B, C, *spatial), points (B, N, d) -> (B, C, N).
    Unit: voxels of the image, components in axis order.
    Raises: InputError if the shapes do not belong together.
    """
    dims = image.ndim - 2
    if dims not in (2, 3) or points.ndim != 3 or points.shape[0] != image.shape[0] or points.shape[2] != dims:
        raise InputError(
            "The points do not fit the image",
            expected=f"points of shape ({image.shape[0]}, N, {dims})",
            got=tuple(points.shape),
        )
    return _sample(image, points.transpose(1, 2), mode=mode, padding=padding, relative=False)


def _sample(image: Tensor, where: Tensor, *, mode: Mode, padding: Padding, relative: bool) -> Tensor:
    """Sample at ``where`` (B, d, *out): offsets from the own voxel if ``relative``, positions otherwise."""
    if mode not in ("linear", "nearest") or padding not in ("border", "zeros"):
        raise InputError(
            "Unknown way to sample",
            expected="mode linear or nearest, padding border or zeros",
            got=f"mode {mode}, padding {padding}",
        )
    # at least single precision: a half-precision coordinate is wrong by up to a voxel
    dtype = torch.promote_types(where.dtype, torch.float32)
    if image.is_floating_point():
        dtype = torch.promote_types(dtype, image.dtype)
    where = where.to(dtype)
    if mode == "nearest":
        return _nearest(image, where, zeros=padding == "zeros", relative=relative)
    values = image.to(dtype)
    if padding == "zeros":  # one voxel of zeros around, beyond which the border rule repeats zeros
        values, where = F.pad(values, (1, 1) * (image.ndim - 2)), where + 1
    recorded = torch.is_grad_enabled() and (values.requires_grad or where.requires_grad)
    rows = values.device.type == "cpu" and values.shape[1] > 1 and values[:, 0, ..., :2].stride(-1) > 1
    if rows and not recorded:
        return sum_rows(values, where, relative=relative)
    if recorded and relative and values.device.type == "cpu":  # constants and fine places are not kept to the last bit
        quick: Tensor = PlaneSample.apply(values, where)
        return quick
    result: Tensor = LinearSample.apply(values, where, relative)
    return result


def _nearest(image: Tensor, where: Tensor, *, zeros: bool, relative: bool) -> Tensor:
    """The value of the closest voxel; no gradient with respect to the positions exists."""
    shape = image.shape[2:]
    index = torch.zeros(where[:, 0].shape, dtype=torch.int64, device=image.device)
    inside = torch.ones_like(index, dtype=torch.bool)
    for axis, size in enumerate(shape):
        voxel = positions(where.detach(), axis, relative=relative).round()
        inside &= (voxel >= 0) & (voxel <= size - 1)
        index = index * size + voxel.clamp(0, size - 1).long().clamp(0, size - 1)
    channels = image.shape[1]
    rows = index.flatten(1)[:, None].expand(-1, channels, -1)
    values = image.flatten(2).gather(2, rows).view(image.shape[0], channels, *where.shape[2:])
    return values * inside[:, None].to(values.dtype) if zeros else values
