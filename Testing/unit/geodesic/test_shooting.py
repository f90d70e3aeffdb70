"""Shooting in the band against the whole grid, against finer steps, and there and back."""

from __future__ import annotations

import pytest
import torch

from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.velocity import compose, exponentiate
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.metric import Metric, Space
from AutoRegLib.geodesic.shooting import pull_back_gradient, shoot, transport
from AutoRegLib.geodesic.whole_grid import WholeGrid


def drawn(space: Band, alpha: float, *, seed: int = 0, size: float = 1.0) -> tuple[torch.Tensor, Metric]:
    """A velocity of the prior."""
    metric = Metric.of(space, alpha)
    noise = torch.randn(1, space.dims, *space.sizes, dtype=space.dtype, generator=torch.Generator().manual_seed(seed))
    return size * noise * metric.operator(-0.5), metric


@pytest.mark.parametrize("shape", [(24, 20), (20, 22, 18)])
def test_the_band_shoots_what_the_whole_grid_shoots(shape: tuple[int, ...]) -> None:
    """Three steps of velocities of frequency 1 reach frequency 8 at most: a band of 17 truncates nothing."""
    low, band = Band(shape, 3, torch.float64), Band(shape, 17, torch.float64)
    whole = WholeGrid(shape, weight=band.weight, dtype=torch.float64)
    velocity = low.to_grid(drawn(low, 2.0, size=1.5)[0])
    ours = shoot(band.from_grid(velocity), Metric.of(band, 2.0), steps=3)
    theirs = shoot(velocity, Metric.of(whole, 2.0), steps=3)
    assert float((ours.on_grid() - theirs.on_grid()).abs().max()) < 1e-11
    assert float((band.to_grid(ours.velocities[-1]) - theirs.velocities[-1]).abs().max()) < 1e-11
    assert float((theirs.velocities[-1] - velocity).abs().max()) > 1e-3  # it does turn
    energies = [geodesic.metric.energy(geodesic.velocities[0]) for geodesic in (ours, theirs)]
    assert abs(float(energies[0] / energies[1]) - 1) < 1e-12


@pytest.mark.parametrize(("shape", "alpha"), [((100, 100), 3.0), ((100, 100), 10.0), ((64, 64, 64), 3.0)])
def test_there_and_back(shape: tuple[int, ...], alpha: float) -> None:
    """Sixteen bands per axis: nothing folds, the way back ends within a tenth of a voxel of the start."""
    velocity, metric = drawn(Band(shape, 16), alpha)
    geodesic = shoot(velocity, metric)
    there, back = geodesic.on_grid(), geodesic.way_back()
    inside = (..., *[slice(6, -6)] * len(shape))  # beyond the grid's border a warp repeats it, the torus does not
    assert float(there.abs().max()) > 0.8
    assert float(compose(there, back)[inside].abs().max()) < 0.1
    assert float(compose(back, there)[inside].abs().max()) < 0.1
    assert float(jacobian_determinant(there).min()) > 0.2
    assert float((shoot(-geodesic.velocities[-1], metric).velocities[-1] + velocity).abs().max()) < 0.01


def test_steps_are_of_second_order_and_keep_the_energy() -> None:
    velocity, metric = drawn(Band((50, 60), 12, torch.float64), 5.0, size=1.5)
    fine = shoot(velocity, metric, steps=640)
    errors = [float((shoot(velocity, metric, steps=n).displacement - fine.displacement).abs().max()) for n in (10, 20)]
    assert errors[1] < 0.3 * errors[0]
    assert abs(float(metric.energy(fine.velocities[-1]) / metric.energy(velocity)) - 1) < 1e-4


def test_a_stationary_velocity_flows_as_its_exponential() -> None:
    band = Band((64, 60), 8, torch.float64)
    velocity, _ = drawn(band, 10.0, size=2.0)
    ours = band.motion.to_grid(transport([velocity] * 20, band)[0])
    theirs = exponentiate(-band.to_grid(velocity), squarings=8)
    assert float(theirs.abs().max()) > 2
    assert float((ours - theirs)[..., 8:-8, 8:-8].abs().max()) < 0.06  # eight linear interpolations


@pytest.mark.parametrize("space", [Band((20, 17), 6, torch.float64), Band((11, 13, 12), 5, torch.float64),
                                   WholeGrid((8, 7, 9), 25, torch.float64)], ids=["2-D", "3-D", "whole"])
def test_the_adjoint_is_that_of_autograd(space: Space) -> None:
    generator = torch.Generator().manual_seed(0)
    alpha = torch.tensor([2.0, 5.0], dtype=torch.float64, requires_grad=True)
    start = space.zeros(2).normal_(generator=generator)
    velocity = (0.5 * space.multiply(start, Metric(space, alpha.detach()).operator(-0.5))).requires_grad_()
    geodesic = shoot(velocity, Metric(space, alpha))
    along = torch.zeros_like(geodesic.displacement).normal_(generator=generator)
    truth = torch.autograd.grad(space.motion.inner(geodesic.displacement, along).sum(), (velocity, alpha))
    kept = shoot(velocity.detach(), Metric(space, alpha.detach()), keep=True)
    by_velocity, by_alpha = pull_back_gradient(kept, along)
    scale = 1 if isinstance(space, Band) else space.weight / velocity[0, 0].numel()  # dual to the inner product
    assert float((scale * by_velocity - truth[0]).abs().max()) < 1e-12 * max(1.0, float(truth[0].abs().max()))
    assert float((by_alpha - truth[1]).abs().max()) < 1e-12
    assert float(truth[1].abs().min()) > 1e-9
