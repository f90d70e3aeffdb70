"""The most probable initial velocity of a pair, and with it the regularity: MAP by descent with monotone energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from AutoRegLib.core.errors import CancelledError, DivergedError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.geodesic.descent import RANGE, Memory, Place, bounded, line_search
from AutoRegLib.geodesic.posterior import Point, Posterior
from AutoRegLib.geodesic.shooting import Geodesic

_FIRST, _LONGEST = 0.5, 4.0  # voxels that a first and any other step may change the velocity by


@dataclass(frozen=True)
class Stopping:
    """When a descent ends. The defaults are the paper's (Alg. 1): a variable stands still once its squared gradient is
    not above ``gradient``; all ends after ``patience`` iterations that lowered the energy by less than ``change`` of
    it.
    """

    most: int = 300
    change: float = 1e-6
    patience: int = 30
    gradient: float = 1e-6


#: what registering is done with: the rest changes a result by less than a hundredth of a voxel
QUICK = Stopping(most=60, change=1e-3, patience=3)


@dataclass(frozen=True, eq=False)
class Estimate:
    """What was found. Shape: ``velocity`` (B, d, *coordinates), ``alpha`` (B,); ``energies``, ``alphas``: of the start
    and after each iteration, (iterations + 1, B), float64. ``converged``: which ended by rule. ``geodesic``: from it.
    """

    velocity: Tensor
    alpha: Tensor
    energies: Tensor
    alphas: Tensor
    converged: Tensor
    geodesic: Geodesic

    @property
    def iterations(self) -> int:
        return len(self.energies) - 1


def estimate(
    posterior: Posterior, *, alpha: float | Tensor, velocity: Tensor | None = None, estimate_alpha: bool = False,
    stopping: Stopping = QUICK, monitor: Monitor | None = None, progress: Callable[[float], None] | None = None,
) -> Estimate:
    """Descend from a velocity (zero) and a regularity, which stays unless it is to be estimated.

    The direction is that of limited-memory BFGS in the metric of the prior; velocity and ``ln alpha`` move together, as
    their gradients are of one function. No step raises the energy of any item of the batch.

    Shape: ``alpha`` a number or (B,). Raises: CancelledError, DivergedError (the start has no finite energy).
    """
    monitor, batch = monitor or Monitor(), len(posterior.matching.fixed)
    velocity = posterior.space.zeros(batch) if velocity is None else velocity
    alpha = torch.as_tensor(alpha, dtype=velocity.dtype, device=velocity.device).reshape(-1).expand(batch)
    place = Place(velocity, alpha.log())
    point = posterior.at(place.velocity, place.alpha)
    if not bool(point.energy.isfinite().all()):
        raise DivergedError("the energy has no value at the start", expected="finite images and velocity",
                            got=str(point.energy.tolist()))
    energies, alphas = [point.energy], [place.alpha.double()]
    quiet = torch.zeros(batch, dtype=torch.long, device=velocity.device)
    done = torch.zeros(batch, dtype=torch.bool, device=velocity.device)
    longest = torch.ones_like(place.log_alpha)
    memory, slope = Memory(posterior.space, batch), _slope(posterior, point, place, estimate_alpha, stopping.gradient)
    point = point.light()
    while len(energies) <= stopping.most and not bool(done.all()) and monitor.wish() != "finish":
        if monitor.wish() == "cancel":
            raise CancelledError("stopped during the registration")
        fresh = memory.empty
        direction = bounded(posterior.space, memory.direction(slope, point.geodesic.metric),
                            torch.where(fresh, _FIRST, _LONGEST).to(velocity.dtype))
        falling = memory.inner(slope, direction)
        done = done | ~(falling < 0)
        earlier = place
        # after steps that had to be short, at a fold's edge for instance, the next one is tried no longer than twice so
        place, point, length = line_search(posterior, place, point, direction.times(~done), falling, longest)
        moved = length > 0
        longest = torch.where(moved, (2 * length).clamp_max(1.0), 1.0)
        done = done | (~moved & fresh)  # not even steepest descent helps
        new = _slope(posterior, point, place, estimate_alpha, stopping.gradient)
        memory.add(place.minus(earlier), new.minus(slope), keep=moved)
        slope, point = new, point.light()  # or two trails would be held while the next step is tried
        energies.append(point.energy)
        alphas.append(place.alpha.double())
        quiet += (energies[-2] - energies[-1] < stopping.change * energies[-1].abs()) & moved
        done = done | (quiet >= stopping.patience)
        if progress is not None:
            progress((len(energies) - 1) / stopping.most)
    return Estimate(place.velocity, place.alpha, torch.stack(energies), torch.stack(alphas), done, point.geodesic)


def _slope(posterior: Posterior, point: Point, place: Place, estimate_alpha: bool, least: float) -> Place:
    """The gradient by velocity and ln alpha; 0 for what stands still, or at the end of its range."""
    by_velocity, by_alpha = posterior.gradient(point)
    steep = posterior.space.inner(by_velocity, by_velocity) > least
    by_log = by_alpha * place.alpha
    free = (by_alpha.square() > least) & ~((place.alpha <= RANGE[0]) & (by_log > 0)) & ~(
        (place.alpha >= RANGE[1]) & (by_log < 0))
    return Place(by_velocity, by_log).where(steep, free if estimate_alpha else torch.zeros_like(free))
