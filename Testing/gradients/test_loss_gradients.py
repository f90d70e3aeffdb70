"""First and second derivatives of the losses, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from AutoRegLib.kernels.box import box_sum
from AutoRegLib.losses.dice import soft_dice
from AutoRegLib.losses.diffusion import diffusion
from AutoRegLib.losses.folding import fold_penalty
from AutoRegLib.losses.lncc import lncc
from AutoRegLib.losses.mind import mind_loss

SHAPES = [(4, 5), (3, 4, 3)]


def images(*shape: int, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    first, second = torch.rand(2, 1, channels, *shape, dtype=torch.float64)
    return first.requires_grad_(), second.requires_grad_()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
def test_lncc(shape: tuple[int, ...], masked: bool) -> None:
    mask = torch.rand(1, 1, *shape, dtype=torch.float64) if masked else None

    def value(fixed: torch.Tensor, moving: torch.Tensor) -> torch.Tensor:
        return lncc(fixed, moving, window=3, mask=mask)

    assert gradcheck(value, images(*shape))
    assert gradgradcheck(value, images(*shape))


def test_lncc_of_one_image_only() -> None:
    fixed, moving = images(5, 6)
    assert gradcheck(lambda m: lncc(fixed.detach(), m, window=5), (moving,))
    assert gradgradcheck(lambda f: lncc(f, moving.detach(), window=5), (fixed,))


@pytest.mark.parametrize("shape", SHAPES)
def test_box_sum(shape: tuple[int, ...]) -> None:
    assert gradcheck(lambda x: box_sum(x, 3), images(*shape)[:1])
    assert gradgradcheck(lambda x: box_sum(x, 3).square(), images(*shape)[:1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
def test_mind(shape: tuple[int, ...], masked: bool) -> None:
    mask = torch.rand(1, 1, *shape, dtype=torch.float64) if masked else None

    def value(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return mind_loss(a, b, radius=1, dilation=1, mask=mask)

    assert gradcheck(value, images(*shape))
    assert gradgradcheck(value, images(*shape), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_regularity(shape: tuple[int, ...]) -> None:
    displacement = (2 * torch.randn(1, len(shape), *shape, dtype=torch.float64)).requires_grad_()
    assert fold_penalty(displacement) > 0
    assert gradcheck(lambda u: diffusion(u, spacing=0.7), (displacement,))
    assert gradgradcheck(lambda u: diffusion(u, spacing=0.7), (displacement,))
    assert gradcheck(fold_penalty, (displacement,))


@pytest.mark.parametrize("shape", SHAPES)
def test_dice(shape: tuple[int, ...]) -> None:
    assert gradcheck(soft_dice, images(*shape, channels=2))
    assert gradgradcheck(soft_dice, images(*shape, channels=2))
