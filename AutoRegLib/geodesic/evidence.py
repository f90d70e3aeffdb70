"""The regularity by its evidence: the velocity is integrated out instead of set to its most probable value.

Jointly with the velocity, alpha has no most probable value that means anything: coordinates of which the images say
nothing are most probable at 0, and each of them, being 0, speaks for a larger alpha. Integrated out, they say nothing.
By Laplace's approximation

    F(alpha) = E(v^, alpha) + 1/2 ln|G + L|        with v^ = argmin E(., alpha), G the data's Gauss-Newton curvature

is the negative logarithm of ``p(fixed | moving, alpha)`` but for a constant, and its slope is E's own and
``1/2 tr((G + L)^-1 dL/dalpha)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.fields.warp import warp
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.descent import RANGE
from AutoRegLib.geodesic.estimate import Estimate, Stopping, estimate
from AutoRegLib.geodesic.metric import Metric
from AutoRegLib.geodesic.posterior import Posterior

_FIRST, _NEXT = Stopping(most=60, change=1e-5, patience=3), Stopping(most=20, change=1e-5, patience=3)
_LONGEST = 1.0  # step of ln alpha
_SHARE = 0.5  # of a velocity's Fisher information, that the first step takes the images to have
_TOLERANCE = 1e-2  # of ln alpha
_RESIDUAL = 0.1  # of the right side; a trace is wrong by about its square
_SOLVING = 200  # most iterations of conjugate gradients


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was found. Shape: ``alpha`` (B,); ``deviation``: the standard deviation of ln alpha where F is a parabola in
    it, (B,), infinite where F does not curve upwards; ``alphas``: those that were tried, (rounds, B). ``estimate``: the
    velocity at the last of them.
    """

    alpha: Tensor
    deviation: Tensor
    alphas: Tensor
    estimate: Estimate


def estimate_by_evidence(
    posterior: Posterior, *, alpha: float | Tensor = 3.0, rounds: int = 8, probes: int = 4, seed: int = 0,
    monitor: Monitor | None = None,
) -> Evidence:
    """Find the regularity at which the slope of F by ln alpha is 0, by secants; the velocity follows.

    The trace is estimated from ``probes`` random signs per item, the same ones in every round.

    Shape: ``alpha``, from which it starts, a number or (B,). Raises: InputError (another measure than the squared
    difference, another space than a band), CancelledError, DivergedError.
    Reference: MacKay, Neural Computation 4 (1992); docs/method.md, section 7.
    """
    if posterior.matching.measure != "ssd" or not isinstance(posterior.space, Band):
        raise InputError("the evidence of a regularity", expected="the squared difference, in a band of frequencies",
                         got=posterior.matching.measure, remedy="choose ssd, or estimate alpha with the velocity")
    batch, space = len(posterior.matching.fixed), posterior.space
    like = space.zeros(batch)
    place = torch.as_tensor(alpha, dtype=like.dtype, device=like.device).reshape(-1).expand(batch).log().clone()
    signs = _signs(like, probes, seed)
    low, high = (torch.full_like(place, math.log(end)) for end in RANGE)
    earlier: tuple[Tensor, Tensor] | None = None
    curving = torch.full_like(place, math.inf)
    tried, found = [], None
    for number in range(rounds):
        tried.append(place.exp())
        start = like if found is None else usable(posterior, found.velocity, place.exp())
        found = estimate(posterior, alpha=place.exp(), velocity=start, stopping=_NEXT if number else _FIRST,
                         monitor=monitor)
        slope = slope_of_evidence(posterior, found, signs)
        low, high = torch.where(slope < 0, place, low), torch.where(slope > 0, place, high)
        if earlier is not None:
            run = place - earlier[0]
            curving = torch.where(run.abs() > 1e-4, (slope - earlier[1]) / run, curving)
        expected = _SHARE * found.geodesic.metric.information()
        # where two slopes do not tell of a minimum, a step downhill as if the images told half of what there is to know
        step = -slope / torch.where((curving > 1e-3) & curving.isfinite(), curving, expected)
        earlier = (place, slope)
        there = place + step.clamp(-_LONGEST, _LONGEST)
        outside = (there <= low) | (there >= high)
        there = torch.where(outside, torch.where(step > 0, (place + high.minimum(place + _LONGEST)) / 2,
                                                 (place + low.maximum(place - _LONGEST)) / 2), there)
        if bool(((there - place).abs() < _TOLERANCE).all()):
            place = there
            break
        place = there
    assert found is not None
    known = (curving > 0) & curving.isfinite()
    deviation = torch.where(known, curving.clamp_min(1e-12).rsqrt(), math.inf)
    return Evidence(place.exp().clamp(*RANGE), deviation, torch.stack(tried), found)


def usable(posterior: Posterior, velocity: Tensor, alpha: Tensor) -> Tensor:
    """The velocities; those of which another regularity makes a map that folds from nothing again."""
    finite = posterior.at(velocity, alpha, gradient=False).energy.isfinite()
    return torch.where(finite.view(-1, *[1] * (velocity.ndim - 1)), velocity, torch.zeros_like(velocity))


def slope_of_evidence(
    posterior: Posterior, found: Estimate, signs: Tensor, *, tolerance: float = _RESIDUAL
) -> Tensor:
    """``dF / d ln alpha`` at a velocity that minimises E for its alpha.

    Shape: signs (P, B, d, *coordinates) to (B,).
    """
    metric = found.geodesic.metric
    point = posterior.at(found.velocity, found.alpha)
    own = posterior.gradient(point)[1]
    root = metric.slope().sqrt()
    curvature = Curvature(posterior, found, metric)
    solved = curvature.solve((root * signs).flatten(0, 1), tolerance=tolerance).unflatten(0, signs.shape[:2])
    trace = (root * signs * solved).flatten(2).sum(2).mean(0)
    return found.alpha * (own + 0.5 * trace)


class Curvature:
    """``G + L`` as an operator: of the data, what remains of their second derivative where residuals are small.

    A change of the initial velocity is taken to move the warped image by its opposite, as it does for small motions.
    """

    def __init__(self, posterior: Posterior, found: Estimate, metric: Metric) -> None:
        matching, self.space, self.metric = posterior.matching, posterior.space, metric
        self.factor = matching.factor
        with torch.no_grad():
            moved = found.geodesic.on_grid(self.factor)
            warped = warp(matching.moving, moved / self.factor)
            axes = tuple(range(2, warped.ndim))
            slopes = torch.cat(torch.gradient(warped, dim=axes), dim=1) / self.factor  # per voxel of the grid
            # Dist / (2 sigma^2) as a sum over blocks: twice the weight of one square
            weight = 2.0 * matching.scale / warped[0].numel()
            self.slopes = slopes * math.sqrt(weight)

    def apply(self, velocity: Tensor) -> Tensor:
        """Shape: (P * B, d, *coordinates), item after item of each probe."""
        moved = self.space.to_grid(velocity, self.factor)
        slopes = self.slopes.repeat(len(velocity) // len(self.slopes), *[1] * (self.slopes.ndim - 1))
        along = (slopes * moved).sum(1, keepdim=True)
        operator = self.metric.operator()
        operator = operator.expand(len(self.slopes), *operator.shape[1:]).repeat(
            len(velocity) // len(self.slopes), *[1] * (operator.ndim - 1))
        return self.space.onto_grid_transposed(slopes * along, self.factor) + operator * velocity

    def solve(self, right: Tensor, *, tolerance: float = _RESIDUAL) -> Tensor:
        """``(G + L)^-1`` by conjugate gradients with about the diagonal, to a residual of so much of the right."""
        mean = self.slopes.square().flatten(2).sum(2) / math.prod(right.shape[2:])  # of G's diagonal
        inverse = 1 / (self.metric.operator() + mean.view(*mean.shape, *[1] * (right.ndim - 2)))
        inverse = inverse.repeat(len(right) // len(inverse), *[1] * (inverse.ndim - 1))
        inner, wide = self.space.inner, (-1, *[1] * (right.ndim - 1))
        found, residual = torch.zeros_like(right), right
        seen = inverse * residual
        along, size = seen, inner(residual, seen)
        first = size
        for _ in range(_SOLVING):
            image = self.apply(along)
            length = size / inner(along, image).clamp_min(1e-30)
            found = found + length.view(wide) * along
            residual = residual - length.view(wide) * image
            seen = inverse * residual
            new = inner(residual, seen)
            if bool((new <= tolerance**2 * first).all()):
                break
            along, size = seen + (new / size.clamp_min(1e-30)).view(wide) * along, new
        return found


def _signs(like: Tensor, probes: int, seed: int) -> Tensor:
    """Random signs, the same for every item. Shape: (P, B, d, *coordinates)."""
    maker = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (probes, 1, *like.shape[1:]), generator=maker) * 2 - 1
    return signs.to(like).expand(probes, *like.shape)
