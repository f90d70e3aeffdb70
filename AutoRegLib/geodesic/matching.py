"""How far the warped image is from the fixed one: ``Dist / (2 sigma^2)`` with its gradient by the displacement."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.resample import downsample
from AutoRegLib.fields.warp import warp
from AutoRegLib.losses.lncc import lncc_loss
from AutoRegLib.losses.mind import mind_loss

Measure = Literal["ssd", "lncc", "mind"]

#: noise by measure, of images with values of 0 to 1: the paper's for the squared difference
SIGMAS: dict[str, float] = {"ssd": 0.03, "lncc": 0.1, "mind": 0.1}


class Matching:
    """The negative logarithm of the likelihood of a fixed image, but for a constant.

    ``Dist`` is the sum over the voxels of the grid of the squared difference, of ``1 - LNCC`` or of the mean squared
    difference of MIND descriptors. ``factor``: the images are averaged over blocks of so many voxels per axis, and the
    mean over blocks stands for the mean over voxels. Masks weigh the mean, as in refinement; they carry no gradient.

    Shape: images (B, 1, *shape); masks (1 or B, 1, *shape). Raises: InputError.
    """

    def __init__(
        self, moving: Tensor, fixed: Tensor, *, measure: Measure = "ssd", sigma: float | None = None, factor: int = 1,
        window: int = 9, moving_mask: Tensor | None = None, fixed_mask: Tensor | None = None,
    ) -> None:
        if moving.shape != fixed.shape or moving.ndim not in (4, 5) or moving.shape[1] != 1:
            raise InputError("images to match", expected="two of the same shape (B, 1, *spatial)",
                             got=f"{tuple(moving.shape)} and {tuple(fixed.shape)}")
        sigma = SIGMAS.get(measure, math.nan) if sigma is None else sigma
        if measure not in get_args(Measure) or not sigma > 0:
            raise InputError("how images are matched", expected=f"{', '.join(SIGMAS)}, sigma above 0",
                             got=f"{measure}, sigma {sigma:g}")
        self.shape, self.factor, self.measure, self.window = tuple(fixed.shape[2:]), factor, measure, window
        self.scale = math.prod(self.shape) / (2 * sigma**2)
        self.moving, self.fixed = _coarse(moving, factor), _coarse(fixed, factor)
        self.masks = tuple(None if mask is None else _coarse(mask, factor) for mask in (moving_mask, fixed_mask))

    def value_and_gradient(self, displacement: Tensor, *, gradient: bool = True) -> tuple[Tensor, Tensor]:
        """The value of each item and its gradient by the displacement at the block centres, in voxels of the grid.

        Shape: (B, d, *blocks) to (B,), float64, and (B, d, *blocks).
        """
        moved = displacement.detach() / self.factor
        with torch.enable_grad():
            moved.requires_grad_(gradient)
            value = self.value(moved)
        if not gradient:
            return value.detach(), torch.zeros_like(moved)
        return value.detach(), torch.autograd.grad(value.sum(), moved)[0] / self.factor

    def value(self, displacement: Tensor) -> Tensor:
        """The value of each item at a displacement in voxels of its blocks. Shape: (B, d, *blocks) to (B,), float64."""
        warped, weights = warp(self.moving, displacement), self._weights(displacement)
        return self.scale * _MEASURES[self.measure](warped, self.fixed, weights, self.window)

    def _weights(self, displacement: Tensor) -> Tensor | None:
        moving_mask, fixed_mask = self.masks
        if moving_mask is None:
            return fixed_mask
        with torch.no_grad():
            weights = warp(moving_mask.expand(len(displacement), *moving_mask.shape[1:]), displacement)
            return weights if fixed_mask is None else weights * fixed_mask


def _squared(warped: Tensor, fixed: Tensor, mask: Tensor | None, window: int) -> Tensor:
    squares = (warped - fixed).square()
    if mask is None:
        return squares.flatten(1).sum(1, dtype=torch.float64) / squares[0].numel()
    weights = mask.to(squares.dtype).expand_as(squares).flatten(1)
    total = weights.sum(1, dtype=torch.float64).clamp_min(torch.finfo(weights.dtype).tiny)
    return (squares.flatten(1) * weights).sum(1, dtype=torch.float64) / total


def _each(loss: Callable[..., Tensor]) -> Callable[[Tensor, Tensor, Tensor | None, int], Tensor]:
    """A loss of the house, which is a mean over the batch, item by item."""

    def value(warped: Tensor, fixed: Tensor, mask: Tensor | None, window: int) -> Tensor:
        masks = [None] * len(fixed) if mask is None else mask.expand_as(fixed).split(1)
        return torch.stack([loss(own, other, window, weights).double() for own, other, weights in
                            zip(warped.split(1), fixed.split(1), masks, strict=True)])

    return value


_MEASURES: dict[str, Callable[[Tensor, Tensor, Tensor | None, int], Tensor]] = {
    "ssd": _squared,
    "lncc": _each(lambda warped, fixed, window, mask: lncc_loss(fixed, warped, window=window, mask=mask)),
    "mind": _each(lambda warped, fixed, _window, mask: mind_loss(warped, fixed, mask=mask)),
}


def _coarse(image: Tensor, factor: int) -> Tensor:
    """The image averaged over blocks; its border is repeated where they do not fit."""
    pads = [amount for size in reversed(image.shape[2:]) for amount in (0, -size % factor)]
    return downsample(F.pad(image, pads, mode="replicate") if any(pads) else image, factor)
