"""MIND-SSC: self-similarity descriptors, comparable between modalities."""

from __future__ import annotations

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.resample import downsample
from AutoRegLib.kernels.mind import FastMind

_MOST_VOXELS = 2e7


def mind_ssc(image: Tensor, *, radius: int = 2, dilation: int = 2) -> Tensor:
    """The descriptor ``exp(-(D - min D) / V)`` of the patch distances D around each voxel.

    D compares two neighbours of the voxel, ``dilation`` voxels away along two different axes, by the mean
    squared difference of their patches of ``2 radius + 1`` voxels; V is the mean of the voxel's own
    ``D - min D``, kept within 1/1000 and 1000 times its mean over the image (a constant in the gradient). The
    image is continued by its border value over ``dilation`` voxels, beyond which patches count nothing. Flat
    regions and constant images give 1 in every channel.

    Shape: (B, 1, *spatial) -> (B, 12, *spatial) in 3-D (twelve pairs of the six neighbours), (B, 4, *spatial)
    in 2-D. Unit: radius, dilation in voxels.
    Raises: InputError if the image has more than one channel.
    Reference: Heinrich et al., MICCAI 2013, eq. 3-5; docs/method.md, section 1.3.
    """
    dims = image.ndim - 2
    if dims not in (2, 3) or image.shape[1] != 1:
        raise InputError("MIND needs an image of one channel", expected="(B, 1, *spatial)", got=tuple(image.shape))
    if image.dtype != torch.float64:
        image = image.float()
    result: Tensor = FastMind.apply(image, radius, dilation)
    return result


def pooled_mind(image: Tensor, factor: int, radius: int, dilation: int) -> Tensor:
    """Descriptors of the image as fine as it is, averaged over ``factor`` voxels per axis, without a gradient.

    They keep what an image that is averaged first has lost, and can be warped instead of being computed again. An image
    of more than twenty million voxels is averaged first: its descriptors would take a gigabyte.

    Shape: (B, 1, *spatial) -> (B, C, *spatial / factor). Unit: voxels.
    """
    before = factor if image.numel() > _MOST_VOXELS else 1
    with torch.no_grad():
        found = mind_ssc(downsample(image, before), radius=radius, dilation=dilation)
        return downsample(found, factor // before)


def mind_loss(a: Tensor, b: Tensor, *, radius: int = 2, dilation: int = 2, mask: Tensor | None = None) -> Tensor:
    """The mean squared difference of both images' descriptors; ``mask``: weights of the mean over voxels.

    Shape: both (B, 1, *spatial), mask (B or 1, 1, *spatial) -> scalar.
    By hand: where the mask is 1 on one voxel and 0 elsewhere, the mean over the channels of that voxel.
    Raises: InputError if the shapes differ.
    """
    if a.shape != b.shape:
        raise InputError("The images do not fit each other", expected=tuple(a.shape), got=tuple(b.shape))
    first, second = (mind_ssc(image, radius=radius, dilation=dilation) for image in (a, b))
    return descriptor_loss(first, second, mask=mask)


def descriptor_loss(first: Tensor, second: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """The mean squared difference of descriptors; ``mask``: weights of the mean over voxels.

    Shape: both (B, C, *spatial), mask (B or 1, 1, *spatial) -> scalar.
    """
    if mask is not None:
        weights = mask.to(first.dtype).expand(first.shape[0], 1, *first.shape[2:])
        weights = weights / weights.sum().clamp_min(torch.finfo(first.dtype).tiny)
        return ((first - second).square().mean(1, keepdim=True) * weights).sum()
    difference = (first - second).flatten()
    return torch.dot(difference, difference) / difference.numel()
