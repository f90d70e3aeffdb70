"""The energy's gradients against differences and autograd; the descent never climbs and finds what was shot."""

from __future__ import annotations

import pytest
import torch

from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.velocity import compose
from AutoRegLib.fields.warp import warp
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.estimate import Stopping, estimate
from AutoRegLib.geodesic.matching import Matching
from AutoRegLib.geodesic.metric import Metric
from AutoRegLib.geodesic.posterior import Posterior
from AutoRegLib.geodesic.shooting import shoot


def textured(*shape: int, batch: int = 1, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    noise = torch.rand(batch, 1, *shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    image = gaussian(noise, 2.0)
    low, high = image.min(), image.max()
    return (image - low) / (high - low)


@pytest.mark.parametrize("measure", ["ssd", "lncc", "mind"])
@pytest.mark.parametrize("shape", [(24, 21), (12, 13, 14)])
def test_gradients_against_differences_and_autograd(shape: tuple[int, ...], measure: str) -> None:
    band = Band(shape, 5, torch.float64)
    moving, fixed = (textured(*shape, batch=2, dtype=torch.float64, seed=seed) for seed in (0, 1))
    posterior = Posterior(band, Matching(moving, fixed, measure=measure, window=5), amplitude=2.5)  # type: ignore[arg-type]
    alpha = torch.tensor([2.0, 5.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    velocity = 0.5 * band.zeros(2).normal_(generator=generator) * Metric.of(band, alpha).operator(-0.5)
    point = posterior.at(velocity, alpha)
    by_velocity, by_alpha = posterior.gradient(point)
    energy, auto_velocity, auto_alpha = posterior.by_autograd(velocity, alpha)
    assert float((point.energy - energy).abs().max()) < 1e-9
    assert float((by_velocity - auto_velocity).norm() / auto_velocity.norm()) < 1e-12
    assert float(((by_alpha - auto_alpha) / auto_alpha).abs().max()) < 1e-10
    step, along = 1e-7, torch.zeros_like(velocity).normal_(generator=generator)  # a linear warp has kinks
    difference = (posterior.at(velocity + step * along, alpha).energy - posterior.at(velocity - step * along, alpha)
                  .energy) / (2 * step)
    assert float((difference / (by_velocity * along).flatten(1).sum(1) - 1).abs().max()) < 1e-4
    step = 1e-6
    more, less = (posterior.at(velocity, alpha + shift).energy for shift in (step, -step))
    difference = (more - less) / (2 * step)
    assert float((difference / by_alpha - 1).abs().max()) < 1e-4


def test_the_gradient_of_a_stationary_velocity_and_its_way_back() -> None:
    band = Band((30, 28), 7, torch.float64)
    matching = Matching(*(textured(30, 28, dtype=torch.float64, seed=seed) for seed in (0, 1)))
    alpha = torch.tensor([3.0], dtype=torch.float64)
    velocity = band.zeros().normal_(generator=torch.Generator().manual_seed(1)) * Metric.of(band, alpha).operator(-0.5)
    still, geodesic = (Posterior(band, matching, stationary=choice) for choice in (True, False))
    point = still.at(velocity, alpha)
    found, truth = still.gradient(point), still.by_autograd(velocity, alpha)
    assert float((found[0] - truth[1]).norm() / truth[1].norm()) < 1e-12
    assert float((found[1] / truth[2] - 1).abs()) < 1e-12
    there, back = point.geodesic.on_grid(), point.geodesic.way_back()
    assert float(compose(there, back)[..., 5:-5, 5:-5].abs().max()) < 0.1 < float(there.abs().max())
    assert not torch.allclose(there, geodesic.at(velocity, alpha).geodesic.on_grid(), atol=1e-3)


@pytest.mark.parametrize("factor", [1, 2])
def test_it_finds_the_map_that_was_shot(factor: int) -> None:
    shape = (48, 44)
    band = Band(shape, 9)
    metric = Metric.of(band, torch.tensor([4.0, 12.0]))
    velocity = 2 * band.zeros(2).normal_(generator=torch.Generator().manual_seed(3)) * metric.operator(-0.5)
    truth = shoot(velocity, metric).on_grid()
    moving = textured(*shape, batch=2)
    posterior = Posterior(band, Matching(moving, warp(moving, truth), factor=factor))
    found = estimate(posterior, alpha=metric.alpha)
    error = (found.geodesic.on_grid() - truth).norm(dim=1)[:, 6:-6, 6:-6].mean((1, 2))
    size = truth.norm(dim=1)[:, 6:-6, 6:-6].mean((1, 2))
    assert float(size.min()) > 0.5
    assert float((error / size).max()) < (0.25 if factor == 1 else 0.35)
    assert bool((found.energies.diff(dim=0) <= 0).all())
    assert bool((found.energies[-1] < 0.1 * found.energies[0]).all())
    assert torch.equal(found.alpha, metric.alpha)


def test_alpha_goes_to_where_its_own_gradient_ends() -> None:
    shape = (48, 44)
    band = Band(shape, 9, torch.float64)
    velocity = band.zeros().normal_(generator=torch.Generator().manual_seed(3)) * Metric.of(band, 4.0).operator(-0.5)
    moving = textured(*shape, dtype=torch.float64)
    posterior = Posterior(band, Matching(moving, warp(moving, shoot(velocity, Metric.of(band, 4.0)).on_grid())))
    ends = []
    for start in (1.0, 30.0):
        found = estimate(posterior, alpha=start, estimate_alpha=True, stopping=Stopping(most=120, change=1e-7))
        assert bool((found.energies.diff(dim=0) <= 0).all())
        ends.append(float(found.alpha))
        for factor in (1.3, 1 / 1.3):
            assert posterior.at(found.velocity, found.alpha * factor).energy > found.energies[-1]
    assert abs(ends[0] / ends[1] - 1) < 0.05
    assert 1.0 < ends[0] < 16.0  # a MAP of both is biased upwards: what the images do not tell shrinks


def test_images_that_agree_stay_and_a_user_may_stop() -> None:
    image = textured(30, 28)
    posterior = Posterior(Band((30, 28), 7), Matching(image, image))
    found = estimate(posterior, alpha=3.0)
    assert float(found.geodesic.on_grid().abs().max()) < 1e-4
    assert bool(found.converged.all())

    class Impatient(Monitor):
        def wish(self) -> str:
            return "cancel"

    other = Posterior(Band((30, 28), 7), Matching(image, textured(30, 28, seed=5)))
    with pytest.raises(CancelledError):
        estimate(other, alpha=3.0, monitor=Impatient())


def test_what_lies_outside_the_masks_has_no_influence() -> None:
    moving, fixed = textured(40, 40), textured(40, 40, seed=1)
    mask = torch.zeros_like(fixed)
    mask[..., 5:25, 5:25] = 1
    spoiled = torch.where(mask > 0, fixed, torch.rand_like(fixed))
    band = Band((40, 40), 7)
    plain, other = (estimate(Posterior(band, Matching(moving, image, fixed_mask=mask)), alpha=3.0).velocity
                    for image in (fixed, spoiled))
    assert torch.equal(plain, other)
    assert float(plain.abs().max()) > 0.05


def test_bad_input_is_named() -> None:
    image = textured(20, 20)
    with pytest.raises(InputError, match="match"):
        Matching(image, image, measure="nmi")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="same shape"):
        Matching(image, textured(20, 21))
