"""Features correlated at small moves, and several passes over the scales."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import Genotype
from AutoRegLib.core.recipe import Network, Recipe
from AutoRegLib.networks.autoreg import AutoRegNet
from AutoRegLib.networks.correlation import local_correlation
from AutoRegLib.networks.registry import build_network

SMALL = Network(features=(4, 6), decoder=(8, 6, 4))


@pytest.mark.parametrize("shape", [(7, 5), (4, 5, 6)])
def test_correlation_is_the_cosine_at_every_move(shape: tuple[int, ...]) -> None:
    made = np.random.default_rng(0)
    fixed, moving = 100.0 * made.normal(size=(2, 2, 3, *shape))  # far above the floor that keeps 0 finite
    dims, radius = len(shape), 1
    found = local_correlation(torch.tensor(fixed), torch.tensor(moving), radius=radius).numpy()
    around = np.pad(moving, [(0, 0), (0, 0)] + [(radius, radius)] * dims, mode="edge")
    for number, move in enumerate(itertools.product(range(2 * radius + 1), repeat=dims)):
        place = tuple(slice(at, at + size) for at, size in zip(move, shape, strict=True))
        there = around[(slice(None), slice(None), *place)]
        cosine = (fixed * there).sum(1) / np.sqrt((fixed**2).sum(1) * (there**2).sum(1))
        assert np.abs(found[:, number] - cosine).max() < 1e-3
    assert found.shape == (2, 3**dims, *shape)


def test_correlation_finds_a_shift() -> None:
    moving = torch.randn(1, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    fixed = torch.roll(moving, (1, -1), (2, 3))  # fixed(x) = moving(x + (-1, 1))
    best = local_correlation(fixed, moving, radius=1).argmax(dim=1)[0, 2:-2, 2:-2]
    assert (best == 2).all(), "the third of nine moves: -1 along the first axis, +1 along the last"


@pytest.mark.parametrize("dims", [2, 3])
def test_correlation_and_passes_start_as_the_identity_and_have_gradients(dims: int) -> None:
    recipe = Recipe(spatial_dims=dims, network=replace(SMALL, correlation=(1, 2), passes=2))
    network = build_network(recipe)
    made = torch.Generator().manual_seed(1)
    moving, fixed = torch.rand(2, 1, 1, *[18, 13, 16][:dims], generator=made)
    answer = network(moving, fixed)
    assert answer.displacement.shape[2:] == fixed.shape[2:]
    assert float(answer.displacement.detach().abs().max()) < 1e-2
    assert answer.velocity is not None
    ((answer.displacement - 1.0) ** 2).mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_a_pass_adds_to_where_the_last_one_ended() -> None:
    """Where the heads say the same everywhere, each pass adds that once: three passes are three times one."""
    velocities = []
    for passes in (1, 3):
        network = AutoRegNet(2, config=replace(SMALL, passes=passes), genotype=Genotype())
        with torch.no_grad():
            for head, value in ((network.head_quarter, 0.3), (network.head_half, -0.1)):
                head.weight.zero_()
                head.bias.fill_(value)
        velocities.append(network(*torch.rand(2, 1, 1, 16, 20)).velocity)
    torch.testing.assert_close(velocities[0], torch.full((1, 2, 8, 10), 2 * 0.3 - 0.1))
    torch.testing.assert_close(velocities[1], 3 * velocities[0])


def test_several_passes_need_a_velocity() -> None:
    with pytest.raises(InputError, match="passes"):
        Network(passes=2, update="compose")
