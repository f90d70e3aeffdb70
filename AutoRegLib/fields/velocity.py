"""Stationary velocity fields: exponential, composition and inversion of displacements."""

from __future__ import annotations

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.jacobian import determinant, jacobian_columns
from AutoRegLib.fields.warp import warp


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
    Reference: Arsigny et al., MICCAI 2006; METHOD section 1.1 (7 squarings).
    """
    if squarings < 0:
        raise InputError("The number of squarings is negative", expected="0 or more", got=squarings)
    # three components are interpolated faster one by one, each in its own memory
    displacement = velocity.contiguous() * (0.5**squarings)
    for _ in range(squarings):
        displacement = compose(displacement, displacement)
    return displacement


def invert(
    displacement: Tensor, *, initial: Tensor | None = None, iterations: int = 30, tolerance: float = 1e-3
) -> Tensor:
    """The displacement that leads back: ``v(x) + u(x + v(x)) = 0``, by Newton's method in every voxel.

    A step that makes a voxel's error larger is taken back and halved. Stops when the largest error is at most
    ``tolerance``. ``initial`` (for instance the exponential of the negated velocity) spares iterations.

    Shape: (B, d, *spatial). Unit: voxels, ``tolerance`` too. Direction: pull-back.
    """
    inverse = -displacement if initial is None else initial
    error = compose(inverse, displacement)
    step = torch.ones_like(error[:, :1])
    with torch.no_grad():
        matrices = torch.cat([torch.stack(column, 1) for column in jacobian_columns(displacement)], 1)
    for _ in range(iterations):
        if not error.detach().abs().amax() > tolerance:  # also leaves on NaN
            break
        with torch.no_grad():
            here = warp(matrices, inverse).chunk(error.shape[1], 1)
        trial = inverse - step * _solve([list(column.unbind(1)) for column in here], error)
        trial_error = compose(trial, displacement)
        before, after = (part.detach().square().sum(1, keepdim=True) for part in (error, trial_error))
        worse = after > before
        inverse = torch.where(worse, inverse, trial)
        error = torch.where(worse, error, trial_error)
        step = torch.where(worse, step / 2, (2 * step).clamp_max(1))
    return inverse


def _solve(columns: list[list[Tensor]], right: Tensor) -> Tensor:
    """The vector that the matrices take to ``right`` (Cramer's rule); bounded where they are nearly singular."""
    whole = determinant(columns)
    whole = torch.where(whole.abs() < 0.1, torch.where(whole < 0, -0.1, 0.1), whole)
    other = list(right.unbind(1))
    return torch.stack(
        [
            determinant([other if place == axis else column for place, column in enumerate(columns)]) / whole
            for axis in range(len(columns))
        ],
        1,
    )
