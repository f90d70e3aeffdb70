"""Mean squared difference: the similarity of images on one scale of intensities."""

from __future__ import annotations

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError


def mse_loss(fixed: Tensor, moving: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """The mean over voxels of the squared difference; ``mask``: weights of that mean.

    Shape: both (B, 1, *spatial), mask (B or 1, 1, *spatial) -> scalar.
    By hand: 0 1 2 against 0 3 2 is 4/3; where the mask is 1 on the middle voxel alone, 4.
    Raises: InputError if the shapes differ.
    """
    if fixed.shape != moving.shape:
        raise InputError("The images do not fit each other", expected=tuple(fixed.shape), got=tuple(moving.shape))
    difference = (fixed - moving).square()
    if mask is None:
        return difference.mean()
    weights = mask.to(difference.dtype).expand_as(difference)
    return (difference * weights).sum() / weights.sum().clamp_min(torch.finfo(difference.dtype).tiny)
