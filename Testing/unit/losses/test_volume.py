"""The volume penalty: by hand, symmetric, with the right gradient."""

from __future__ import annotations

import math

import torch

from AutoRegLib.losses.volume import volume_change


def stretched(factor: float, dims: int = 3) -> torch.Tensor:
    """Volumes change by ``factor``, along the first axis alone."""
    shape = (9, 8, 7)[:dims]
    field = torch.zeros(1, dims, *shape, dtype=torch.float64)
    field[:, 0] = (factor - 1) * torch.arange(9.0, dtype=torch.float64).view(-1, *[1] * (dims - 1))
    return field


def test_by_hand() -> None:
    inside = torch.zeros(1, 1, 9, 8, 7)
    inside[:, :, 1:-1] = 1  # at the border the stencil sees half a slope
    for factor in (2.0, 0.5):
        assert abs(float(volume_change(stretched(factor), mask=inside)) - math.log(2) ** 2) < 1e-12
    assert float(volume_change(stretched(1.0, 2))) == 0
    assert math.isfinite(float(volume_change(stretched(-1.0))))


def test_gradient() -> None:
    field = 0.1 * torch.randn(1, 2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(volume_change, field.requires_grad_())
