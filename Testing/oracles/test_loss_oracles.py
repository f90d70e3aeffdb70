"""LNCC, Dice and the diffusion term against MONAI."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from AutoRegLib.losses.dice import one_hot, soft_dice
from AutoRegLib.losses.lncc import lncc_loss


@pytest.fixture
def monai_losses() -> Any:
    return pytest.importorskip("monai.losses", reason="MONAI is not installed")


@pytest.mark.parametrize("window", [5, 7, 9])
@pytest.mark.parametrize("dims", [2, 3])
def test_lncc_is_monai_lncc(monai_losses: Any, dims: int, window: int) -> None:
    """MONAI fills windows with zeros beyond the border and counts them; we count the voxels of the image.

    On images with a zero margin of window - 1 voxels both see the same windows wherever there is texture.
    """
    torch.manual_seed(window)
    margin = (window - 1,) * (2 * dims)
    fixed, moving = (F.pad(torch.rand(2, 1, *[8] * dims, dtype=torch.float64), margin) for _ in range(2))
    moving = (0.6 * fixed + 0.4 * moving).requires_grad_()
    peer = monai_losses.LocalNormalizedCrossCorrelationLoss(dims, window, smooth_nr=0, smooth_dr=1e-10)
    expected, found = 1 + peer(moving, fixed), lncc_loss(fixed, moving, window=window, floor=1e-12)
    assert 0.1 < expected < 0.9
    assert abs(found - expected) < 1e-6
    gradient, peer_gradient = (torch.autograd.grad(value, moving)[0] for value in (found, expected))
    textured = (slice(None), slice(None), *[slice(window - 1, 1 - window)] * dims)
    assert (gradient - peer_gradient)[textured].abs().max() < 1e-5 * peer_gradient[textured].abs().max()


def test_dice_is_monai_dice(monai_losses: Any) -> None:
    a = torch.rand(2, 3, 6, 7, 8, dtype=torch.float64)
    b = one_hot(torch.randint(0, 4, (2, 1, 6, 7, 8)), (1, 2, 3)).double()
    expected = monai_losses.DiceLoss(smooth_nr=0, smooth_dr=0)(a, b)
    assert abs(1 - soft_dice(a, b) - expected) < 1e-12


def test_hard_dice_is_monai_metric() -> None:
    metrics = pytest.importorskip("monai.metrics", reason="MONAI is not installed")
    a, b = (one_hot(torch.randint(0, 4, (1, 1, 9, 9, 9)), (1, 2, 3)) for _ in range(2))
    expected = metrics.compute_dice(a, b, include_background=True).mean()
    assert abs(soft_dice(a, b) - expected) < 1e-6
