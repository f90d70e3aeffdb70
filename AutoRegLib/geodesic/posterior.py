"""The negative logarithm of the posterior of an initial velocity and its regularity, and its gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from AutoRegLib.geodesic.matching import Matching
from AutoRegLib.geodesic.metric import Metric, Space
from AutoRegLib.geodesic.shooting import STEPS, Geodesic, pull_back_gradient, shoot

_LEAST = 0.01  # of the determinant: what is sampled between the points of the lattice stays above 0


@dataclass(frozen=True, eq=False)
class Point:
    """The energy somewhere, and all that its gradient needs. Shape: ``energy``, ``matching`` (B,), float64;
    ``by_displacement`` at the voxels.
    """

    energy: Tensor
    matching: Tensor
    geodesic: Geodesic
    by_displacement: Tensor

    def light(self) -> Point:
        """Where the gradient is known: without what it needed."""
        return replace(self, geodesic=self.geodesic.light())


@dataclass(frozen=True, eq=False)
class Posterior:
    """``E(v, alpha) = Dist / (2 sigma^2) + 1/2 (L v, v) - 1/2 ln|L|``, the displacement shot from v by the same L.

    What the paper's Eq. 6 calls the negative log posterior, but for terms in sigma alone. Unlike there the trajectory's
    own dependence on alpha is part of the derivative by alpha, so that both gradients are those of one function.

    ``stationary``: of a velocity that stays as it is, with the same prior. ``amplitude``: where the prior's variance
    without regularity is not one squared voxel but so many, E is multiplied by it, sigma squared included: so the most
    probable velocity at an alpha stays what it is, and alpha alone is judged by another prior.

    Geodesics do not fold, but too few steps of a long one may: there the energy is infinite, so that no descent ends in
    a map that is none.

    Shape: velocities (B, d, *coordinates of the space), alpha (B,).
    Reference: docs/method.md, section 7; Wang and Zhang (2021), Eq. 3 to 9.
    """

    space: Space
    matching: Matching
    steps: int = STEPS
    stationary: bool = False
    amplitude: float = 1.0

    def at(self, velocity: Tensor, alpha: Tensor, *, gradient: bool = True) -> Point:
        """The energy of each item; without ``gradient`` it is all there is."""
        metric = Metric.of(self.space, alpha)
        geodesic = shoot(velocity, metric, steps=self.steps, keep=gradient, stationary=self.stationary)
        moved = geodesic.on_grid(self.matching.factor)
        value, by_displacement = self.matching.value_and_gradient(moved, gradient=gradient)
        energy = value + metric.prior(velocity, self.amplitude).double()
        least = geodesic.determinants().flatten(1).amin(1)
        return Point(torch.where(least > _LEAST, energy, torch.inf), value, geodesic, by_displacement)

    def gradient(self, point: Point) -> tuple[Tensor, Tensor]:
        """By the velocity (dual to the inner product of the space) and by alpha: the adjoint of the shooting."""
        geodesic = point.geodesic
        velocity, metric = geodesic.velocities[0], geodesic.metric
        incoming = self.space.motion.onto_grid_transposed(point.by_displacement, self.matching.factor)
        by_velocity, by_alpha = pull_back_gradient(geodesic, incoming)
        return by_velocity + metric.lower(velocity), by_alpha + metric.prior_slope(velocity, self.amplitude)

    def by_autograd(self, velocity: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The energies and both gradients by automatic differentiation, which judges :meth:`gradient`; much memory."""
        with torch.enable_grad():
            velocity, alpha = velocity.detach().requires_grad_(), alpha.detach().requires_grad_()
            metric = Metric(self.space, alpha)
            geodesic = shoot(velocity, metric, steps=self.steps, stationary=self.stationary)
            moved = geodesic.on_grid(self.matching.factor) / self.matching.factor
            energy = self.matching.value(moved) + metric.prior(velocity, self.amplitude)
            by_velocity, by_alpha = torch.autograd.grad(energy.sum(), (velocity, alpha))
        return energy.detach(), by_velocity, by_alpha
