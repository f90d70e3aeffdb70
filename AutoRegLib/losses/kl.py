"""How far what a network draws is from its prior: features from the standard normal, a velocity from smoothness."""

from __future__ import annotations

from torch import Tensor


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """The mean over all components of ``(variance + mean^2 - 1 - log variance) / 2``.

    Shape: both (B, m, *spatial) -> scalar; times m it is the divergence by voxel.
    By hand: mean 2, variance 1 gives 2; mean 0, variance 1 gives 0.
    Reference: MultiPropReg paper, Eq. 11, with the square that the print lacks; docs/method.md, section 2.
    """
    return 0.5 * (log_variance.exp() + mean.square() - 1.0 - log_variance).mean()


def velocity_spread(log_variance: Tensor, *, precision: Tensor | float) -> Tensor:
    """The part of a random velocity's divergence that its mean has no share in, by component and voxel.

    The prior of each component is normal with the precision matrix ``precision * (D - A)``, D the number of a voxel's
    neighbors and A who they are. To a constant the divergence from it is, by component and voxel,
    ``mean(precision * D * variance - log variance) / 2 + precision * axes * diffusion(mean) / 2``; this is the first
    term. Weighed by ``w``, with ``precision = 2 s / (w axes)``, the second is ``s * diffusion(mean)``: the
    smoothness with its weight s.

    Shape: (B, d, *spatial) -> scalar.
    Reference: Dalca et al., MICCAI 2018, Eq. 8; docs/method.md, section 3.
    """
    shape = log_variance.shape[2:]
    neighbors = log_variance.new_zeros(shape)
    for axis, size in enumerate(shape):
        own = log_variance.new_full((size,), 2.0)
        own[0] -= 1.0
        own[-1] -= 1.0
        neighbors = neighbors + own.view([-1 if a == axis else 1 for a in range(len(shape))])
    return 0.5 * (precision * neighbors * log_variance.exp() - log_variance).mean()
