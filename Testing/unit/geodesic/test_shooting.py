"""Shooting in the band against the whole grid, against finer steps, and there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

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


class Exact(WholeGrid):
    """Every voxel, with the derivatives of ``torch.fft``."""

    def derivative(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        waves = torch.fft.fftfreq(self.shape[axis], dtype=torch.float64)
        waves = waves.view([-1 if place == axis else 1 for place in range(self.dims)])
        place = axis - self.dims
        return torch.fft.ifft(2j * torch.pi * waves * torch.fft.fft(values, dim=place), dim=place).real


def inside(field: torch.Tensor | np.ndarray, margin: int = 6) -> float:
    """The largest component away from the grid's border, where a warp repeats what on the torus goes on."""
    return float(abs(field[(..., *[slice(margin, -margin)] * (field.ndim - 2))]).max())


def followed(first: torch.Tensor, then: torch.Tensor) -> np.ndarray:
    """Both displacements one after the other, the second read on the torus by cubic splines."""
    own, other = first[0].double().numpy(), then[0].double().numpy()
    points = np.stack(np.meshgrid(*[np.arange(size) for size in own.shape[1:]], indexing="ij")) + own
    read = [map_coordinates(component, points, order=3, mode="grid-wrap") for component in other]
    return (own + np.stack(read))[None]


@pytest.mark.parametrize("shape", [(24, 20), (20, 22, 18)])
def test_the_band_shoots_what_the_whole_grid_shoots(shape: tuple[int, ...]) -> None:
    """Three steps of velocities of frequency 1 reach frequency 8 at most: a band of 17 truncates nothing."""
    low, band = Band(shape, 3, torch.float64), Band(shape, 17, torch.float64)
    whole = Exact(shape, weight=band.weight, dtype=torch.float64)
    velocity = low.to_grid(drawn(low, 2.0, size=1.5)[0])
    ours = shoot(band.from_grid(velocity), Metric.of(band, 2.0), steps=3)
    theirs = shoot(velocity, Metric.of(whole, 2.0), steps=3)
    assert float((ours.on_grid() - theirs.on_grid()).abs().max()) < 1e-11
    assert float((band.to_grid(ours.velocities[-1]) - theirs.velocities[-1]).abs().max()) < 1e-11
    assert float((theirs.velocities[-1] - velocity).abs().max()) > 1e-3  # it does turn
    energies = [geodesic.metric.energy(geodesic.velocities[0]) for geodesic in (ours, theirs)]
    assert abs(float(energies[0] / energies[1]) - 1) < 1e-12


@pytest.mark.parametrize(("shape", "alpha", "detail"), [
    ((100, 100), 3.0, 2.0), ((100, 100), 10.0, 2.0), ((64, 64, 64), 3.0, 2.0), ((36, 48, 40), 1.0, 2.0),
    ((100, 100), 1.0, 3.0), ((64, 64, 64), 1.0, 3.0)])
def test_there_and_back(shape: tuple[int, ...], alpha: float, detail: float) -> None:
    """Sixteen bands per axis: nothing folds, the way back ends within a tenth of a voxel of the start."""
    velocity, metric = drawn(Band(shape, 16, detail=detail), alpha)
    geodesic = shoot(velocity, metric)
    there, back = geodesic.on_grid(), geodesic.way_back()
    assert inside(there) > 0.8
    assert inside(followed(there, back)) < 0.1
    assert inside(followed(back, there)) < 0.1
    assert inside(compose(there, back)) < (0.1 if alpha > 1 else 0.25)  # linear reading adds an error of its own
    assert float(jacobian_determinant(there).min()) > 0.1
    assert float(geodesic.least_determinant()) > 0.1
    assert float((shoot(-geodesic.velocities[-1], metric).velocities[-1] + velocity).abs().max()) < 0.02


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
