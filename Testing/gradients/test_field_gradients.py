"""First and second derivatives of the fields, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.resample import downsample, resize_displacement
from AutoRegLib.fields.velocity import compose, exponentiate
from AutoRegLib.fields.warp import sample_at, warp


def field(*shape: int, size: float = 1.0) -> torch.Tensor:
    torch.manual_seed(3)
    return (size * torch.randn(1, len(shape), *shape, dtype=torch.float64)).requires_grad_()


def image(*shape: int) -> torch.Tensor:
    torch.manual_seed(4)
    return torch.rand(1, 2, *shape, dtype=torch.float64, requires_grad=True)


SHAPES = [(4, 5), (2, 3, 3)]


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("shape", SHAPES)
def test_warp(shape: tuple[int, ...], padding: str) -> None:
    def warped(values: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
        return warp(values, displacement, padding=padding)  # type: ignore[arg-type]

    assert gradcheck(warped, (image(*shape), field(*shape)))
    assert gradgradcheck(warped, (image(*shape), field(*shape)))


@pytest.mark.parametrize("which", [0, 1])
def test_warp_with_one_constant_input(which: int) -> None:
    inputs = [image(4, 5), field(4, 5)]
    inputs[which] = inputs[which].detach()
    assert gradcheck(warp, inputs)
    assert gradgradcheck(warp, inputs)


def test_sample_at() -> None:
    points = (3 * torch.rand(1, 6, 3, dtype=torch.float64)).requires_grad_()
    assert gradcheck(sample_at, (image(3, 3, 3), points))


@pytest.mark.parametrize("shape", SHAPES)
def test_velocity(shape: tuple[int, ...]) -> None:
    assert gradcheck(lambda v: exponentiate(v, squarings=3), (field(*shape),))
    assert gradgradcheck(lambda v: exponentiate(v, squarings=2), (field(*shape, size=0.5),))
    assert gradcheck(compose, (field(*shape), field(*shape, size=0.5)))


@pytest.mark.parametrize("shape", SHAPES)
def test_jacobian_and_resolution(shape: tuple[int, ...]) -> None:
    assert gradcheck(jacobian_determinant, (field(*shape),))
    assert gradgradcheck(jacobian_determinant, (field(*shape),))
    double = [2 * side for side in shape]
    assert gradcheck(lambda u: resize_displacement(u, double), (field(*shape),))
    assert gradcheck(lambda u: downsample(u, 2), (field(*double),))
