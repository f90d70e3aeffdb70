"""Limited-memory BFGS on velocity and ln alpha for every item of a batch, with a line search that never climbs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from AutoRegLib.geodesic.metric import Metric, Space
from AutoRegLib.geodesic.posterior import Point, Posterior

RANGE = (1e-3, 1e4)  # of alpha; beyond, L is the identity or all but the mean is still
_PAIRS = 8  # of steps and changes of the gradient that stand for the curvature
_HALVINGS = 8
_SUFFICIENT = 1e-4  # part of the slope that a step must gain
_RELATIVE = 0.5  # the most that a step changes ln alpha by


@dataclass(frozen=True, eq=False)
class Place:
    """A velocity and the logarithm of alpha, or a step or a gradient of both. Shape: (B, d, *coordinates), (B,)."""

    velocity: Tensor
    log_alpha: Tensor

    @property
    def alpha(self) -> Tensor:
        return self.log_alpha.exp().clamp(*RANGE)

    def minus(self, other: Place) -> Place:
        return Place(self.velocity - other.velocity, self.log_alpha - other.log_alpha)

    def plus(self, other: Place, factor: Tensor) -> Place:
        """This and so much of another, item by item."""
        return Place(self.velocity + self._wide(factor) * other.velocity, self.log_alpha + factor * other.log_alpha)

    def times(self, factor: Tensor) -> Place:
        return Place(self.velocity * self._wide(factor), self.log_alpha * factor)

    def where(self, velocity: Tensor, log_alpha: Tensor) -> Place:
        """0 where the masks of items are False."""
        return Place(self.velocity * self._wide(velocity), self.log_alpha * log_alpha)

    def _wide(self, factor: Tensor) -> Tensor:
        return factor.view(-1, *[1] * (self.velocity.ndim - 1))


class Memory:
    """What the last steps told of the curvature, for each item. Reference: Nocedal and Wright, algorithm 7.4."""

    def __init__(self, space: Space, batch: int) -> None:
        self._space = space
        self._pairs: list[tuple[Place, Place, Tensor]] = []
        self.empty = torch.ones(batch, dtype=torch.bool, device=space.device)

    def inner(self, first: Place, second: Place) -> Tensor:
        return self._space.inner(first.velocity, second.velocity) + first.log_alpha * second.log_alpha

    def add(self, step: Place, change: Place, *, keep: Tensor) -> None:
        """Learn from a step; items that could not move (not ``keep``) forget all."""
        curved = self.inner(step, change)
        rate = torch.where(curved > 0, 1 / curved.clamp_min(torch.finfo(curved.dtype).tiny), 0.0)
        kept = [*self._pairs, (step, change, rate)][-_PAIRS:]
        self._pairs = [(one, other, weight * keep) for one, other, weight in kept]
        self.empty = torch.stack([weight == 0 for _, _, weight in self._pairs]).all(0)

    def direction(self, slope: Place, metric: Metric) -> Place:
        """Downhill: along ``-K`` of the gradient at first, where ln alpha has its Fisher information."""
        along, shares = slope, []
        for step, change, rate in reversed(self._pairs):
            shares.append(rate * self.inner(step, along))
            along = along.plus(change, -shares[-1])
        along = self._preconditioned(along, metric)
        if self._pairs:
            step, change, rate = self._pairs[-1]
            size = self.inner(change, self._preconditioned(change, metric))
            along = along.times(torch.where(rate > 0, self.inner(step, change) / size.clamp_min(1e-30), 1.0))
        for (step, change, rate), share in zip(self._pairs, reversed(shares), strict=True):
            along = along.plus(step, share - rate * self.inner(change, along))
        return along.times(torch.full_like(slope.log_alpha, -1.0))

    @staticmethod
    def _preconditioned(slope: Place, metric: Metric) -> Place:
        return Place(metric.raise_(slope.velocity), slope.log_alpha / metric.information().clamp_min(1.0))


def bounded(space: Space, direction: Place, longest: Tensor) -> Place:
    """The direction, shortened where it moves a voxel by more than ``longest`` or ln alpha by more than is sensible."""
    reach = space.spread(direction.velocity).flatten(1).abs().amax(1)
    shrink = torch.minimum(longest / reach.clamp_min(1e-30), _RELATIVE / direction.log_alpha.abs().clamp_min(1e-30))
    return direction.times(shrink.clamp_max(1.0))


def line_search(
    posterior: Posterior, place: Place, point: Point, direction: Place, slope: Tensor, length: Tensor
) -> tuple[Place, Point, Tensor]:
    """Halve the step of every item, at first ``length``, until its energy falls enough; where it never does, stay.

    Last: the length of the step that was made, 0 for who stayed.
    """
    for attempt in range(_HALVINGS + 1):
        there = place.plus(direction, length)
        trial = posterior.at(there.velocity, there.alpha)
        gained = trial.energy <= point.energy + _SUFFICIENT * (length * slope).double()
        if bool(gained.all()):
            break
        # in the end whoever has not gained goes nowhere
        length = torch.where(gained, length, length / 2 if attempt < _HALVINGS - 1 else torch.zeros_like(length))
        if attempt < _HALVINGS:
            del trial  # the next is computed without this one in memory
    return there, trial, torch.where(_moves(direction), length, torch.zeros_like(length))


def _moves(direction: Place) -> Tensor:
    return (direction.velocity.flatten(1) != 0).any(1) | (direction.log_alpha != 0)
