"""Gaussian smoothing of images and fields."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.core.errors import InputError

_CONVOLVE = {2: F.conv2d, 3: F.conv3d}


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
    reach = max(1, round(2 * sigma))
    offsets = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = values.reshape(-1, 1, *values.shape[2:])
    for axis in range(dims):
        pads = [0] * (2 * dims)  # F.pad counts axes from the last
        pads[2 * (dims - 1 - axis)] = pads[2 * (dims - 1 - axis) + 1] = reach
        shape = [1] * (dims + 2)
        shape[2 + axis] = 2 * reach + 1
        channels = _CONVOLVE[dims](F.pad(channels, pads, mode="replicate"), kernel.view(shape))
    return channels.view(values.shape)
