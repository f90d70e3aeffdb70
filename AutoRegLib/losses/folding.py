"""The fold penalty: how far the Jacobian determinant falls below zero."""

from __future__ import annotations

from torch import Tensor

from AutoRegLib.fields.jacobian import jacobian_determinant


def fold_penalty(displacement: Tensor, *, margin: float = 0.0) -> Tensor:
    """The mean over voxels of ``max(0, margin - det(I + grad u))``; with margin 0 it is 0 without folds.

    Shape: (B, d, *spatial) -> scalar. Unit: voxels -> none.
    By hand: u(x) = -3 x along one axis of three has determinant 1 - 3 = -2 inside: it counts 2 there.
    Reference: docs/method.md, section 2.
    """
    return (margin - jacobian_determinant(displacement)).clamp_min(0).mean()
