"""Stationary velocity fields: exponential and composition of displacements."""

from __future__ import annotations

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.warp import warp
from AutoRegLib.kernels.flow import SMALL, flow_for


def compose(first: Tensor, then: Tensor) -> Tensor:
    """One displacement for two: ``r(x) = first(x) + then(x + first(x))``.

    A point is moved by ``first`` and from there by ``then``; an image warped by the result equals the image
    warped by ``then``, warped by ``first``.

    Shape: both (B, d, *spatial), as the result. Unit: voxels. Direction: pull-back.
    """
    return first + warp(then, first)


def exponentiate(velocity: Tensor, *, squarings: int = 7) -> Tensor:
    """The displacement at time 1 of the flow of a stationary velocity, by scaling and squaring.

    Negating the velocity gives the inverse displacement.

    Shape: (B, d, *spatial). Unit: voxels per unit time -> voxels. Direction: pull-back.
    Raises: InputError if ``squarings`` is negative.
    Reference: Arsigny et al., MICCAI 2006; docs/method.md, section 1.1 (7 squarings).
    """
    if squarings < 0:
        raise InputError("The number of squarings is negative", expected="0 or more", got=squarings)
    if velocity.device.type == "cpu":
        recorded = velocity.ndim == 5 and torch.is_grad_enabled() and velocity.requires_grad
        if recorded or velocity.numel() <= SMALL[velocity.ndim - 2]:
            small: Tensor = flow_for(velocity).apply(velocity, squarings)
            return small
    # three components are interpolated faster one by one, each in its own memory
    displacement = velocity.contiguous() * (0.5**squarings)
    for _ in range(squarings):
        displacement = compose(displacement, displacement)
    return displacement
