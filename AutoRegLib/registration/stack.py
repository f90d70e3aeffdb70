"""Refinement of a stack of few slices: each in its own plane, since across them there is no pyramid to go down."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.losses.guides import Guides
from AutoRegLib.registration.refine import Level, Refined, refine_prediction


def refine_slices(
    moving: Tensor, fixed: Tensor, *, across: int, moving_mask: Tensor | None = None, fixed_mask: Tensor | None = None,
    guides: Guides | None = None, **options: Any,
) -> Refined:
    """:func:`refine_prediction` from nothing of every slice as a 2-D pair; nothing moves across the slices.

    Slices in which the masks have no voxel in common stay as they are.

    Shape: images and masks (1, 1, z, y, x); ``across``: the axis of these tensors across the slices.
    Unit/Direction: voxels, pull-back. Raises: as :func:`refine_prediction`.
    """
    began, count = time.perf_counter(), fixed.shape[across]
    displacement = fixed.new_zeros(1, 3, *fixed.shape[2:])
    inside = [component for component in range(3) if component != across - 2]
    done: list[Refined] = []
    for place in range(count):
        one, other = (image.select(across, place).contiguous() for image in (moving, fixed))
        masks = [None if mask is None else mask.select(across, place).contiguous()
                 for mask in (moving_mask, fixed_mask)]
        counted = [mask for mask in masks if mask is not None]
        if counted and not bool(torch.stack(counted).amin(0).any()):
            continue
        shape = other.shape[2:]
        start = Prediction(other.new_zeros(1, 2, *shape), other.new_zeros(1, 2, *(-(-size // 2) for size in shape)))
        found = refine_prediction(start, one, other, moving_mask=masks[0], fixed_mask=masks[1], guides=(
            None if guides is None else guides.of_slice(across - 2, place)), **options)
        displacement.select(across, place)[:, inside] = found.displacement
        done.append(found)
    levels = tuple(_together(levels) for levels in zip(*(found.levels for found in done), strict=True))
    before, after = (fmean(values or [0.0]) for values in (
        [found.loss_before for found in done], [found.loss_after for found in done]))
    return Refined(None, displacement, levels, before, after, time.perf_counter() - began)


def _together(levels: Sequence[Level]) -> Level:
    """The same level of all slices: the most iterations, the mean losses, the sum of seconds."""
    return Level(levels[0].factor, max(level.iterations for level in levels), all(level.converged for level in levels),
                 fmean(level.loss_before for level in levels), fmean(level.loss_after for level in levels),
                 sum(level.seconds for level in levels))
