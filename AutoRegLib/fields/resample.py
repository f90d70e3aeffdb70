"""Changing the resolution of images and displacements.

All three follow half-pixel centres: with a factor of 2 the coarse voxel i covers the fine voxels 2i and 2i
+ 1 and its centre lies at 2i + 0.5, which is where average pooling puts it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.kernels.doubling import doubled

_LINEAR = {2: "bilinear", 3: "trilinear"}


def _check_axes(image: Tensor, shape: Sequence[int]) -> None:
    dims = image.ndim - 2
    if len(shape) != dims or dims not in _LINEAR:
        raise InputError("The new shape has another number of axes", expected=f"{dims} sizes", got=tuple(shape))


def resize_image(image: Tensor, shape: Sequence[int]) -> Tensor:
    """The image at another number of voxels over the same field of view, linearly interpolated.

    Shape: (B, C, *spatial) -> (B, C, *shape).
    Raises: InputError if the number of axes differs.
    """
    _check_axes(image, shape)
    if tuple(shape) == tuple(image.shape[2:]):
        return image
    twice = all(new == 2 * old for new, old in zip(shape, image.shape[2:], strict=True))
    if twice and not image.is_cuda:
        return doubled(image)
    return F.interpolate(image, size=tuple(shape), mode=_LINEAR[len(shape)], align_corners=False)


def resize_displacement(displacement: Tensor, shape: Sequence[int]) -> Tensor:
    """The same displacement on a grid of another size: interpolated linearly, vectors scaled.

    Shape: (B, d, *spatial) -> (B, d, *shape). Unit: voxels of the old grid -> voxels of the new grid.
    Raises: InputError if the number of axes differs.
    """
    _check_axes(displacement, shape)
    ratios = [new / old for new, old in zip(shape, displacement.shape[2:], strict=True)]
    if math.prod(ratios) > 1:  # the smaller grid is the cheaper one to scale
        return resize_image(_scaled(displacement, ratios), shape)
    return _scaled(resize_image(displacement, shape), ratios)


def _scaled(displacement: Tensor, ratios: Sequence[float]) -> Tensor:
    """Every component times its ratio."""
    if all(ratio == ratios[0] for ratio in ratios):
        return displacement * ratios[0] if ratios[0] != 1 else displacement
    scale = torch.tensor(ratios, dtype=displacement.dtype, device=displacement.device)
    return displacement * scale.view(1, -1, *[1] * len(ratios))


def downsample(image: Tensor, factor: int) -> Tensor:
    """The image averaged over blocks of ``factor`` voxels per axis.

    Shape: (B, C, *spatial) -> (B, C, *spatial / factor).
    Raises: InputError if a size is no multiple of the factor: the blocks would not cover the field of view,
        and fields of the coarse grid would no longer fit.
    """
    dims = image.ndim - 2
    if dims not in _LINEAR or factor < 1 or any(size % factor for size in image.shape[2:]):
        raise InputError(
            "The image cannot be averaged in whole blocks",
            expected=f"sizes that are multiples of {factor}",
            got=tuple(image.shape[2:]),
            remedy="pad the image first",
        )
    if factor == 1:
        return image
    return F.avg_pool2d(image, factor) if dims == 2 else F.avg_pool3d(image, factor)
