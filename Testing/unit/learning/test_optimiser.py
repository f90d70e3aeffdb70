"""Momentum made orthogonal: held against torch's own for matrices, and resumed as it was left."""

from __future__ import annotations

import copy

import pytest
import torch

from AutoRegLib.core.recipe import Training
from AutoRegLib.learning.optimiser import build_optimiser, orthogonal

MUON = Training(optimiser="muon", learning_rate=0.03)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)])
def test_all_directions_become_alike(shape: tuple[int, int]) -> None:
    """The singular vectors stay, as those of the orthogonal factor of a polar decomposition."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonal(matrix)
    inner = left.T @ found @ right.T
    assert float(inner.diagonal().min()) > 0.6 and float(inner.diagonal().max()) < 1.3
    assert float((inner - torch.diag(inner.diagonal())).abs().max()) < 1e-9
    assert float(values.max() / values.min()) > 1.5, "they were not alike before"


def test_the_step_is_torchs_own_for_a_matrix() -> None:
    """torch.optim.Muon takes matrices only; with its own options set alike, one step differs by its half precision."""
    start = torch.randn(6, 10, generator=torch.Generator().manual_seed(1))
    gradient = torch.randn(6, 10, generator=torch.Generator().manual_seed(2))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    reference = torch.optim.Muon([theirs], lr=0.03, weight_decay=0.0, momentum=0.95, nesterov=True)
    mine = build_optimiser([ours], MUON)
    for weight, optimiser in ((ours, mine), (theirs, reference)):
        weight.grad = gradient.clone()
        optimiser.step()
    moved, wanted = ours.detach() - start, theirs.detach() - start
    assert float((moved - wanted).abs().max()) < 0.05 * float(wanted.abs().max())


def test_kernels_and_biases_move_and_a_restored_state_goes_on_alike() -> None:
    network = torch.nn.Conv3d(2, 3, 3)
    optimiser = build_optimiser(network.parameters(), MUON)
    images = torch.rand(1, 2, 5, 5, 5)

    def step(module: torch.nn.Module, by: torch.optim.Optimizer) -> None:
        by.zero_grad()
        module(images).square().mean().backward()
        by.step()

    before = copy.deepcopy(network.state_dict())
    step(network, optimiser)
    assert all(float((value - before[name]).abs().max()) > 1e-4 for name, value in network.state_dict().items())
    other = torch.nn.Conv3d(2, 3, 3)
    other.load_state_dict(network.state_dict())
    again = build_optimiser(other.parameters(), MUON)
    again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    step(network, optimiser)
    step(other, again)
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
