"""How far random features are from their prior, the standard normal distribution."""

from __future__ import annotations

from torch import Tensor


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """The mean over all components of ``(variance + mean^2 - 1 - log variance) / 2``.

    Shape: both (B, m, *spatial) -> scalar; times m it is the divergence by voxel.
    By hand: mean 2, variance 1 gives 2; mean 0, variance 1 gives 0.
    Reference: MultiPropReg paper, Eq. 11, with the square that the print lacks; docs/method.md, section 2.
    """
    return 0.5 * (log_variance.exp() + mean.square() - 1.0 - log_variance).mean()
