"""The evidence of a regularity: its parts against dense algebra, its slope against differences, what it finds back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.warp import warp
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.estimate import Stopping, estimate
from AutoRegLib.geodesic.evidence import Curvature, estimate_by_evidence, slope_of_evidence, usable
from AutoRegLib.geodesic.matching import Matching
from AutoRegLib.geodesic.metric import Metric
from AutoRegLib.geodesic.posterior import Posterior
from AutoRegLib.geodesic.sampling import random_bulls_eye, sample_velocities
from AutoRegLib.geodesic.shooting import shoot


def sampled(alphas: list[float], *, size: int = 40, bands: int = 8, dtype: torch.dtype = torch.float32,
            seed: int = 0) -> Posterior:
    """Bull's-eyes and what velocities of the prior make of them."""
    band = Band((size, size), bands, dtype=dtype)
    metric = Metric.of(band, torch.tensor(alphas, dtype=dtype))
    velocity = sample_velocities(metric, [seed + place for place in range(len(alphas))])
    moving = torch.cat([random_bulls_eye((size, size), seed=seed, index=i) for i in range(len(alphas))]).to(dtype)
    return Posterior(band, Matching(moving, warp(moving, shoot(velocity, metric).on_grid())))


def dense(curvature: Curvature, like: Tensor) -> Tensor:
    """The operator as a matrix, column by column."""
    unit = torch.eye(like[0].numel(), dtype=like.dtype).reshape(-1, *like.shape[1:])
    return curvature.apply(unit).flatten(1)


def test_the_curvature_is_that_of_small_motions() -> None:
    """Gauss and Newton by hand: the Jacobian of the warped image at the identity, by central differences in float64."""
    posterior = sampled([3.0], size=24, bands=4, dtype=torch.float64)
    found = estimate(posterior, alpha=3.0, stopping=Stopping(most=0))  # no motion
    metric = found.geodesic.metric
    curvature = Curvature(posterior, found, metric)
    like, image, step = posterior.space.zeros(), posterior.matching.moving, 1e-3
    columns = []
    for unit in torch.eye(like.numel(), dtype=torch.float64):
        moved = [image_of(posterior, sign * step * unit.view_as(like), image) for sign in (1.0, -1.0)]
        columns.append((moved[0] - moved[1]).flatten() / (2 * step))
    jacobian = torch.stack(columns, 1)
    wanted = jacobian.T @ jacobian / 0.03**2 + torch.diag(metric.operator().expand(1, 2, -1, -1).flatten())
    found_matrix = dense(curvature, like)
    assert (found_matrix - found_matrix.T).abs().max() < 1e-9 * found_matrix.abs().max()
    assert (found_matrix - wanted).abs().max() < 1e-2 * wanted.abs().max()


def image_of(posterior: Posterior, velocity: Tensor, image: Tensor) -> Tensor:
    """The warped image of small motions, differences of voxels in place of the gaps that linear sampling has."""
    shift = posterior.space.to_grid(velocity)
    slopes = torch.cat(torch.gradient(image, dim=(2, 3)), dim=1)
    return image - (slopes * shift).sum(1, keepdim=True)


def test_solving_agrees_with_dense_algebra() -> None:
    posterior = sampled([1.0, 6.0], size=24, bands=6, dtype=torch.float64)
    found = estimate(posterior, alpha=2.0, stopping=Stopping(most=5))
    curvature = Curvature(posterior, found, found.geodesic.metric)
    right = torch.randn(2 * 2, 2, *posterior.space.sizes, dtype=torch.float64,
                        generator=torch.Generator().manual_seed(0))
    solved = curvature.solve(right, tolerance=1e-9)
    assert (curvature.apply(solved) - right).abs().max() < 1e-5
    one = sampled([1.0, 6.0], size=24, bands=6, dtype=torch.float64)
    single = Posterior(one.space, Matching(one.matching.moving[:1], one.matching.fixed[:1]))
    alone = estimate(single, alpha=2.0, stopping=Stopping(most=5))
    matrix = dense(Curvature(single, alone, alone.geodesic.metric), single.space.zeros())
    wanted = torch.linalg.solve(matrix, right[0].flatten())
    assert (solved[0].flatten() - wanted).abs().max() < 1e-5


def test_the_slope_is_the_energys_and_the_determinants() -> None:
    """The determinant's by torch's own, differentiated through a dense matrix; the trace from every unit vector."""
    posterior = sampled([3.0], size=24, bands=6, dtype=torch.float64)
    size = posterior.space.zeros().numel()
    every = torch.eye(size, dtype=torch.float64).reshape(size, 1, 2, 5, 5) * size**0.5  # their mean is the whole trace
    found = estimate(posterior, alpha=2.0, stopping=Stopping(most=5))
    data = dense(Curvature(posterior, found, found.geodesic.metric), posterior.space.zeros()) - torch.diag(
        found.geodesic.metric.operator().expand(1, 2, 5, 5).flatten())
    alpha = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    operator = Metric(posterior.space, alpha).operator().expand(1, 2, 5, 5).flatten()
    by_determinant = torch.autograd.grad(0.5 * torch.logdet(data + torch.diag(operator)), alpha)[0]
    by_energy = posterior.by_autograd(found.velocity, found.alpha)[2]
    slope = slope_of_evidence(posterior, found, every, tolerance=1e-10)
    assert float(slope) == pytest.approx(2.0 * float(by_energy + by_determinant), rel=1e-6)


def test_finds_regularities_back_where_the_joint_estimate_does_not() -> None:
    truth = [3.0, 12.0]
    posterior = sampled(truth, size=40, bands=10, seed=4)
    found = estimate_by_evidence(posterior, alpha=5.0, rounds=5)
    joint = estimate(posterior, alpha=5.0, estimate_alpha=True, stopping=Stopping(most=100))
    wanted = torch.tensor(truth).log()
    error, jointly = ((alpha.log() - wanted).abs().mean() for alpha in (found.alpha, joint.alpha))
    assert float(error) < 0.35 and float(jointly) > 2 * float(error)
    assert bool((found.deviation[:1] < 1.0).all())


def test_a_velocity_that_folds_under_another_regularity_starts_anew() -> None:
    posterior = sampled([3.0, 3.0], size=24, bands=6)
    metric = Metric.of(posterior.space, 3.0)
    velocity = sample_velocities(metric, [0, 1]) * torch.tensor([100.0, 1.0]).view(2, 1, 1, 1)
    kept = usable(posterior, velocity, torch.tensor([0.01, 3.0]))
    assert not kept[0].any() and torch.equal(kept[1], velocity[1])


def test_what_it_is_not_made_for_is_refused() -> None:
    posterior = sampled([3.0], size=24, bands=4)
    other = Posterior(posterior.space, Matching(posterior.matching.moving, posterior.matching.fixed, measure="lncc"))
    with pytest.raises(InputError, match="evidence"):
        estimate_by_evidence(other)
