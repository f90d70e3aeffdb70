"""Exponential, composition and inverse against flows known in closed form."""

from __future__ import annotations

import pytest
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.velocity import compose, exponentiate
from AutoRegLib.fields.warp import identity_grid, warp
from AutoRegLib.kernels.flow import plain_flow


def smooth_velocity(shape: tuple[int, ...], *, size: float) -> torch.Tensor:
    """One swirl of low frequency per component, vanishing at the border; its largest value is `size`."""
    components = []
    for component in range(len(shape)):
        wave = torch.ones((), dtype=torch.float64)
        for axis, side in enumerate(shape):
            phase = torch.linspace(0, torch.pi, side, dtype=torch.float64)
            profile = torch.sin(2 * phase) if (axis + component) % 2 else torch.sin(phase)
            wave = wave[..., None] * profile * torch.sin(phase)
        components.append(wave)
    velocity = torch.stack(components)[None]
    return velocity * (size / velocity.abs().max())


@pytest.mark.parametrize("shape", [(12, 13), (10, 11, 12)])
def test_a_constant_velocity_is_a_translation(shape: tuple[int, ...]) -> None:
    vector = torch.tensor([1.5, -2.25, 0.75][: len(shape)])
    velocity = vector.view(1, -1, *[1] * len(shape)).expand(1, -1, *shape)
    assert (exponentiate(velocity) - velocity).abs().max() < 1e-5


def test_a_linear_velocity_is_the_matrix_exponential() -> None:
    shape = (25, 27, 29)
    matrix = torch.tensor([[0.05, -0.15, 0.0], [0.15, 0.02, 0.04], [0.03, -0.05, -0.06]], dtype=torch.float64)
    centre = torch.tensor([12.0, 13.0, 14.0], dtype=torch.float64)
    offsets = identity_grid(shape, dtype=torch.float64)[0].movedim(0, -1) - centre
    velocity = (offsets @ matrix.T).movedim(-1, 0)[None]
    growth = torch.linalg.matrix_exp(matrix) - torch.eye(3, dtype=torch.float64)
    expected = (offsets @ growth.T).movedim(-1, 0)
    interior = (slice(None), slice(8, -8), slice(8, -8), slice(8, -8))
    found = exponentiate(velocity, squarings=10)[0]
    assert expected[interior].abs().max() > 0.5
    # Euler at the smallest step: |A^2 x| / 2^11
    assert (found - expected)[interior].abs().max() < 2e-3
    assert (velocity[0] - expected)[interior].abs().max() > 0.05


@pytest.mark.parametrize("shape", [(40, 44), (32, 36, 40)])
def test_the_negated_velocity_is_the_inverse(shape: tuple[int, ...]) -> None:
    velocity = smooth_velocity(shape, size=3)
    there, back = exponentiate(velocity), exponentiate(-velocity)
    assert there.abs().max() > 2
    assert compose(there, back).abs().max() < 0.05
    assert compose(back, there).abs().max() < 0.05


def test_compose_applies_the_first_first() -> None:
    shape = (9, 9)
    first = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, *shape)
    stretch = torch.zeros(1, 2, *shape)
    # moves along the second axis by half the first coordinate
    stretch[0, 1] = torch.arange(9.0)[:, None] * 0.5
    composed = compose(first, stretch)
    assert composed[0, :, 3, 1].tolist() == [2.0, 2.5]  # the stretch is read at row 5
    assert compose(stretch, first)[0, :, 3, 1].tolist() == [2.0, 1.5]
    image = torch.rand(1, 1, *shape)
    twice = warp(warp(image, stretch), first)
    assert (warp(image, composed) - twice)[..., :6, :4].abs().max() < 1e-6


def test_negative_squarings_are_refused() -> None:
    with pytest.raises(InputError, match="squarings"):
        exponentiate(torch.zeros(1, 2, 4, 4), squarings=-1)


@pytest.mark.parametrize("shape", [(9, 11), (6, 5, 7), (1, 5, 6)])
def test_small_velocities_flow_as_the_plain_formula_says(shape: tuple[int, ...]) -> None:
    """The value, its gradient and the gradient's, where torch's own sampling makes the flow."""
    torch.manual_seed(3)
    velocity = (2 * torch.randn(2, len(shape), *shape, dtype=torch.float64)).requires_grad_()
    weights = torch.randn(2, len(shape), *shape, dtype=torch.float64)
    found, expected = exponentiate(velocity, squarings=3), plain_flow(velocity, 3)
    assert (found - expected).abs().max() < 1e-10
    assert (expected - velocity).abs().max() > 0.5
    assert torch.equal(exponentiate(velocity.detach(), squarings=3), found)
    slopes = [torch.autograd.grad((value * weights).sum(), velocity, create_graph=True)[0]
              for value in (found, expected)]
    assert (slopes[0] - slopes[1]).abs().max() < 1e-10
    fast = torch.autograd.grad((exponentiate(velocity, squarings=3) * weights).sum(), velocity)[0]
    assert (fast - slopes[1]).abs().max() < 1e-10
    second = [torch.autograd.grad(slope.square().sum(), velocity)[0] for slope in slopes]
    assert (second[0] - second[1]).abs().max() < 1e-8 * second[1].abs().max()


def test_a_diverged_velocity_shows_in_its_displacement() -> None:
    velocity = torch.zeros(1, 3, 4, 4, 4)
    velocity[0, 1, 2, 2, 2] = float("nan")
    assert exponentiate(velocity)[0, 1, 2, 2, 2].isnan()
