"""Normalised mutual information, of whole images or of blocks: the similarity of images of any two contrasts."""

from __future__ import annotations

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError

_EMPTY = 1e-12  # keeps the logarithm of an empty bin finite; it weighs nothing


def nmi(
    fixed: Tensor, moving: Tensor, *, bins: int = 32, block: int | None = None, mask: Tensor | None = None
) -> Tensor:
    """``(H(fixed) + H(moving)) / H(fixed, moving)``, between 1 (independent) and 2 (one tells the other).

    Entropies are those of histograms over the range of each image, with cubic B-splines as Parzen windows, so the value
    has two continuous derivatives; the windows keep it below 2. ``block``: histograms of blocks of so many voxels along
    each axis (smaller ones at the end of an axis), whose values are averaged by their voxels. ``mask``: weights of
    the voxels.

    Shape: both (B, 1, *spatial), mask (B or 1, 1, *spatial) -> scalar, the mean over the batch.
    Raises: InputError if the shapes differ, there are several channels, or fewer than 5 bins.
    Reference: Studholme et al., Pattern Recognition 32 (1999) 71; the windows: Mattes et al., IEEE TMI 22 (2003) 120.
    """
    if fixed.shape != moving.shape or fixed.ndim not in (4, 5) or fixed.shape[1] != 1 or bins < 5:
        raise InputError("The images do not fit each other", expected="two images (B, 1, *spatial), 5 bins or more",
                         got=f"{tuple(fixed.shape)} and {tuple(moving.shape)}, {bins} bins")
    counted = torch.ones_like(fixed) if mask is None else mask.to(fixed.dtype).expand_as(fixed)
    cells, count = _cells(fixed, block)
    (first, of_first), (second, of_second) = (_windows(image, bins) for image in (fixed, moving))
    # every voxel adds 4 x 4 products to the joint histogram of its block
    place = (cells * bins + first[:, :, None]) * bins + second[:, None, :]
    amount = of_first[:, :, None] * of_second[:, None, :] * counted.reshape(-1, 1, 1)
    joint = fixed.new_zeros(count * bins * bins).index_add(0, place.flatten(), amount.flatten()).view(-1, bins, bins)
    mass = joint.sum((1, 2))
    joint = joint / mass.clamp_min(_EMPTY)[:, None, None]
    both, one, other = (_entropy(p) for p in (joint.flatten(1), joint.sum(2), joint.sum(1)))
    value: Tensor = ((one + other) / both.clamp_min(_EMPTY) * mass).sum() / mass.sum().clamp_min(_EMPTY)
    return value


def nmi_loss(
    fixed: Tensor, moving: Tensor, *, bins: int = 32, block: int | None = None, mask: Tensor | None = None
) -> Tensor:
    """2 - nmi: 1 for images that say nothing of each other."""
    return 2.0 - nmi(fixed, moving, bins=bins, block=block, mask=mask)


def _cells(image: Tensor, block: int | None) -> tuple[Tensor, int]:
    """Which histogram each voxel belongs to, (voxels, 1, 1), and how many there are."""
    shape, found = image.shape[2:], torch.arange(len(image), device=image.device)
    found = found.view(-1, *[1] * len(shape))
    count = len(image)
    for axis, size in enumerate(shape, start=1):
        parts = 1 if block is None else -(-size // block)
        own = torch.arange(size, device=image.device) // (size if block is None else block)
        found = found * parts + own.view([-1 if a == axis else 1 for a in range(len(shape) + 1)])
        count *= parts
    return found.expand(len(image), *shape).reshape(-1, 1, 1), count


def _windows(image: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """The four bins that each voxel falls into, and how much of it falls there; both (voxels, 4)."""
    axes = tuple(range(1, image.ndim))
    with torch.no_grad():
        low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
        scale = torch.where(high > low, (bins - 3) / (high - low), 0.0)  # a constant image fills one bin
    position = ((image - low) * scale + 1.0).flatten()
    index = position.detach().floor().clamp(1, bins - 3).long()
    t = position - index
    shares = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return index[:, None] + torch.arange(-1, 3, device=image.device), torch.stack(shares, dim=1) / 6.0


def _entropy(shares: Tensor) -> Tensor:
    """Of each row. Unit: nats."""
    return -(shares * (shares + _EMPTY).log()).sum(1)
