"""The volume penalty: how far volumes change, shrinking and growing alike."""

from __future__ import annotations

from torch import Tensor

from AutoRegLib.fields.jacobian import jacobian_determinant

_LEAST = 0.01  # determinants below this count as this: the logarithm of a fold is not defined


def volume_change(displacement: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """The mean over voxels of ``log(det(I + grad u))^2``; ``mask``: weights of the mean.

    Shape: (B, d, *spatial), mask (B or 1, 1, *spatial) -> scalar. Unit: voxels -> none.
    By hand: u(x) = x along one axis doubles volumes: it counts ``log(2)^2`` inside.
    Reference: Rohlfing et al., IEEE TMI 22 (2003) 730.
    """
    squares = jacobian_determinant(displacement)[:, None].clamp_min(_LEAST).log().square()
    if mask is None:
        return squares.mean()
    return (squares * mask).sum() / mask.expand_as(squares).sum().clamp_min(1e-12)
