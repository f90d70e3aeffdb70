"""Gaussian smoothing of images and fields."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.core.errors import InputError

_CONVOLVE = {2: F.conv2d, 3: F.conv3d}
_SHORT = 192  # voxels of an axis, up to which a matrix takes less time than a convolution


def gaussian(values: Tensor, sigma: float) -> Tensor:
    """Every channel smoothed by a Gaussian cut off at two standard deviations; the border is repeated.

    Shape: (B, C, *spatial), as the result. Unit: ``sigma`` in voxels; 0 changes nothing.
    Raises: InputError if ``sigma`` is negative or the tensor has neither 2 nor 3 spatial axes.
    """
    dims = values.ndim - 2
    if sigma < 0 or dims not in _CONVOLVE:
        raise InputError("smoothing", expected="sigma of 0 or more, 2 or 3 spatial axes",
                         got=f"sigma {sigma}, shape {tuple(values.shape)}")
    if sigma == 0:
        return values
    if max(values.shape[2:]) <= _SHORT and values.device.type == "cpu":
        return _by_matrices(values, sigma)
    kernel = _kernel(sigma, values)
    reach = len(kernel) // 2
    channels = values.reshape(-1, 1, *values.shape[2:])
    for axis in range(dims):
        pads = [0] * (2 * dims)  # F.pad counts axes from the last
        pads[2 * (dims - 1 - axis)] = pads[2 * (dims - 1 - axis) + 1] = reach
        shape = [1] * (dims + 2)
        shape[2 + axis] = 2 * reach + 1
        channels = _CONVOLVE[dims](F.pad(channels, pads, mode="replicate"), kernel.view(shape))
    return channels.view(values.shape)


def _kernel(sigma: float, like: Tensor) -> Tensor:
    reach = max(1, round(2 * sigma))
    offsets = torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return kernel / kernel.sum()


def _by_matrices(values: Tensor, sigma: float) -> Tensor:
    """The same as one product with a matrix for every axis."""
    shape, many = values.shape[2:], values.shape[0] * values.shape[1]
    first, last = (_matrix(size, sigma, values.dtype) for size in (shape[0], shape[-1]))
    found = values.reshape(-1, shape[-1]) @ last.T
    if len(shape) == 3:
        found = _matrix(shape[1], sigma, values.dtype) @ found.view(-1, *shape[1:])
    return (first @ found.reshape(many, shape[0], -1)).view(values.shape)


@lru_cache(maxsize=64)
def _matrix(size: int, sigma: float, dtype: torch.dtype) -> Tensor:
    """What every voxel of a row receives from every other one; beyond the border stands the border voxel."""
    with torch.inference_mode(False), torch.no_grad():
        matrix = torch.zeros(size, size, dtype=dtype)
        kernel, own = _kernel(sigma, matrix), torch.arange(size)
        reach = len(kernel) // 2
        for offset, weight in enumerate(kernel, start=-reach):
            matrix[own, (own + offset).clamp(0, size - 1)] += weight
    return matrix
