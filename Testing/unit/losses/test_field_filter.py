"""The penalty of a learnt filter: zero where it is symmetric, the paper's formula, its groups, its gradient."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import torch

from AutoRegLib.core.recipe import Objective
from AutoRegLib.losses.field_filter import asymmetry, diagonals, filter_penalty


def drawn(dims: int, width: int = 5) -> torch.Tensor:
    return torch.randn([width] * dims, generator=torch.Generator().manual_seed(dims), dtype=torch.float64)


def images(kernel: torch.Tensor, group: str) -> list[torch.Tensor]:
    """The filter under every symmetry of the group, listed one by one."""
    axes = range(kernel.dim())
    flips = product((False, True), repeat=kernel.dim()) if group == "reflections" else ([False], [True])
    turns = [[axis for axis, turn in zip(axes, list(flip) * (kernel.dim() if len(flip) == 1 else 1), strict=True)
              if turn] for flip in flips]
    return [kernel.permute(order).flip(turn) for order in permutations(axes) for turn in turns]


@pytest.mark.parametrize(("dims", "group", "order"), [
    (2, "transpose", 4), (3, "transpose", 12), (2, "reflections", 8), (3, "reflections", 48)])
def test_zero_on_the_mean_over_its_group_alone(dims: int, group: str, order: int) -> None:
    found = images(drawn(dims), group)
    assert len(found) == order
    symmetric = torch.stack(found).mean(0)
    assert float(asymmetry(symmetric, group=group)) < 1e-28
    assert float(asymmetry(drawn(dims), group=group)) > 1
    if group == "transpose":
        assert float(asymmetry(symmetric, group="reflections")) > 1e-2, "it has not the symmetries of the larger group"


@pytest.mark.parametrize("dims", [2, 3])
def test_exactly_zero_on_a_gaussian(dims: int) -> None:
    profile = (-torch.arange(-6.0, 7.0).square() / 8).exp()
    kernel = profile
    for _ in range(dims - 1):
        kernel = kernel[..., None] * profile
    whole = Objective(filter_symmetry=1000.0, filter_trace=0.0)
    assert float(filter_penalty((kernel + kernel.transpose(0, -1)) / 2, whole)) < 1e-9
    exact = torch.ones([13] * dims)
    assert float(filter_penalty(exact, whole)) == 0.0


def test_in_two_dimensions_it_is_the_paper_s() -> None:
    kernel = drawn(2, 13)
    k, j = kernel.numpy(), np.fliplr(np.eye(13))
    expected = 3.0 * (np.square(k - k.T).sum() + np.square(k @ j - j @ k).sum()) - 0.2 * (np.trace(k) + np.trace(j @ k))
    found = filter_penalty(kernel, Objective(filter_symmetry=3.0, filter_trace=0.2))
    assert float(found) == pytest.approx(expected, rel=1e-12)
    assert float(asymmetry(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))) == 4.0


@pytest.mark.parametrize("dims", [2, 3])
def test_the_delta_filter_does_not_have_the_largest_trace_of_its_norm(dims: int) -> None:
    delta, cross = torch.zeros([13] * dims), torch.zeros([13] * dims)
    delta[(6,) * dims] = 1.0
    cross.requires_grad_()
    gradient = torch.autograd.grad(diagonals(cross), cross)[0]  # linear: the gradient is the best direction
    best = gradient / gradient.norm()
    assert float(diagonals(delta)) == 2 ** (dims - 1)
    assert float(diagonals(best)) > 2.5 * float(diagonals(delta)) / (dims - 1)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("group", ["transpose", "reflections"])
def test_gradient(dims: int, group: str) -> None:
    objective = Objective(filter_symmetry=0.7, filter_trace=0.3, filter_group=group)  # type: ignore[arg-type]
    kernel = drawn(dims, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda k: filter_penalty(k, objective), kernel)
    assert torch.autograd.gradgradcheck(lambda k: filter_penalty(k, objective), kernel)
