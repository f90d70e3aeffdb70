"""Overlap of labelled structures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError


def one_hot(labels: Tensor, structures: Sequence[int]) -> Tensor:
    """One map of zeros and ones per structure; labels that are not listed (background) appear nowhere.

    Shape: labels (B, 1, *spatial) of integers -> (B, structures, *spatial) float32.
    Raises: InputError if there is more than one channel or no structure.
    """
    if labels.ndim < 3 or labels.shape[1] != 1 or not structures:
        raise InputError(
            "Labels need one channel and at least one structure",
            expected="(B, 1, *spatial)",
            got=f"{tuple(labels.shape)} with structures {tuple(structures)}",
        )
    values = torch.tensor(list(structures), device=labels.device).view(1, -1, *[1] * (labels.ndim - 2))
    return (labels == values).float()


def soft_dice(a: Tensor, b: Tensor, *, eps: float = 1e-5) -> Tensor:
    """The mean Dice ``2 sum(a b) / (sum(a) + sum(b))`` over the structures present in either.

    On one-hot maps this is the usual Dice. A structure absent from both (sums below ``eps`` voxels) does
    not count; if none is present the result is 1.

    Shape: both (B, structures, *spatial) with values 0 .. 1 -> scalar.
    By hand: a = 1 1 0 0 and b = 0 1 1 0 share one voxel of two and two: 2 * 1 / 4 = 0.5.
    Raises: InputError if the shapes differ.
    Reference: docs/method.md, section 1.3.
    """
    if a.shape != b.shape or a.ndim < 3:
        raise InputError("The label maps do not fit each other", expected=tuple(a.shape), got=tuple(b.shape))
    a, b = a.flatten(2), b.flatten(2)
    shared = torch.einsum("bsv,bsv->bs", a, b)
    total = a.sum(2) + b.sum(2)
    present = total > eps
    dice = 2 * shared / torch.where(present, total, 1)
    missing = (~present.any()).to(dice.dtype)
    return (dice * present).sum() / present.sum().clamp_min(1) + missing
