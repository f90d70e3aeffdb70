"""Geodesic shooting: the flow of the velocity by EPDiff, the map it makes, and the exact adjoint of these very steps.

With ``m = L v`` and truncated products

    dv/dt = -K [(Dv)^T m + div(m (x) v)]        du/dt = -(v + Du v)

where u is the displacement of the pull-back. A map has finer detail than the velocities that make it: u is kept in a
band of twice as many frequencies. In the velocity's own band it was up to a voxel off, however short the steps.

Reference: docs/method.md, section 7; Zhang and Fletcher, IJCV 127 (2019); Wang and Zhang (2021), Eq. 1, 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from AutoRegLib.fields.jacobian import determinant
from AutoRegLib.geodesic.metric import Metric, Space

STEPS = 10


@dataclass(frozen=True, eq=False)
class Geodesic:
    """A geodesic that was shot.

    Shape: ``velocities``: one (B, d, *coordinates) per time 0 .. steps; ``displacement``: of the pull-back at the end,
    in coordinates of the space's ``motion``. Unit/Direction: voxels of the grid; pull-back. ``forces``: minus dv/dt of
    each step; ``spreads``, ``flows``: what it multiplied on its product lattices, where the adjoint is wanted.
    """

    metric: Metric
    velocities: tuple[Tensor, ...]
    displacement: Tensor
    forces: tuple[Tensor, ...] = ()
    spreads: tuple[Tensor, ...] = ()
    flows: tuple[Tensor, ...] = ()

    @property
    def steps(self) -> int:
        return len(self.velocities) - 1

    def on_grid(self, factor: int = 1) -> Tensor:
        """The pull-back's displacement at the voxels, or at the centres of blocks of voxels. Unit: voxels."""
        return self.metric.space.motion.to_grid(self.displacement, factor)

    def determinants(self) -> Tensor:
        """det(I + Du) on the product lattice of the motion; not above 0 the map folds. Shape: (B, *lattice)."""
        return determinants(self.metric.space.motion, self.displacement)

    def least_determinant(self) -> Tensor:
        """The least of them. Shape: (B,)."""
        return self.determinants().flatten(1).amin(1)

    def light(self) -> Geodesic:
        """Without what its gradient needs, which is most of its memory."""
        return replace(self, spreads=(), flows=())

    def way_back(self) -> Tensor:
        """The displacement of the inverse map at the voxels: the geodesic shot backwards from its end."""
        return shoot(-self.velocities[-1], self.metric, steps=self.steps, stationary=not self.forces).on_grid()


def shoot(
    velocity: Tensor, metric: Metric, *, steps: int = STEPS, keep: bool = False, stationary: bool = False
) -> Geodesic:
    """The geodesic that starts at the identity with a velocity. Differentiable by autograd where nothing is kept.

    ``stationary``: the cheap relative, no geodesic: the velocity stays what it is, and so does its prior.

    The steps are Euler's first and then those of Adams and Bashforth: second order at the price of Euler's.
    ``keep``: remember what :func:`pull_back_gradient` needs. Shape: (B, d, *coordinates).
    """
    space, dims = metric.space, metric.space.dims
    velocities, spreads, forces = [velocity], [], []
    for _ in range(0 if stationary else steps):
        velocity = velocities[-1]
        seen = space.spread(torch.cat([velocity, metric.lower(velocity), jacobian(space, velocity)], dim=1))
        own, momentum, slopes = seen[:, :dims], seen[:, dims : 2 * dims], _matrix(seen[:, 2 * dims :], dims)
        gathered = space.gather(torch.cat([
            (slopes * momentum[:, :, None]).sum(1), (momentum[:, :, None] * own[:, None]).flatten(1, 2)], dim=1))
        forces.append(metric.raise_(gathered[:, :dims] + divergence(space, gathered[:, dims:])))
        velocities.append(_step(velocity, forces, steps))
        if keep:
            spreads.append(seen)
    if stationary:
        velocities *= steps + 1
    displacement, flows = transport(velocities[:-1], space, keep=keep)
    return Geodesic(metric, tuple(velocities), displacement, tuple(forces), tuple(spreads), tuple(flows))


def transport(
    velocities: Sequence[Tensor], space: Space, *, keep: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """The displacement of the pull-back that velocities at equal times make, and v and Du of each step if wanted.

    Shape: each (B, d, *coordinates) of the space to (B, d, *coordinates) of its ``motion``. A stationary velocity is
    the same one, repeated.
    """
    motion, dims = space.motion, space.dims
    displacement = motion.zeros(len(velocities[0]))
    changes: list[Tensor] = []
    kept = []
    for velocity in velocities:
        own = space.spread(velocity, motion.lattice)
        slopes = motion.spread(jacobian(motion, displacement), motion.lattice)
        changes.append(motion.gather(own + (_matrix(slopes, dims) * own[:, None]).sum(2), motion.lattice))
        displacement = _step(displacement, changes, len(velocities))
        if keep:
            kept.append(torch.cat([own, slopes], dim=1))
    return displacement, kept


def pull_back_gradient(geodesic: Geodesic, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """From the gradient by the displacement at the end, those by the initial velocity and by alpha.

    The adjoint of the steps themselves, not steps of the adjoint equations: it is exact for the energy that is
    computed, whatever the number of steps. Its limit are the adjoint equations of the paper (Eq. 9): with ``g = K v^``
    ``dg/dt = ad_v g - ad+_g v`` and the source that the flow of the map feeds in.

    Shape: (B, d, *coordinates of the motion) to (B, d, *coordinates) and (B,). Gradients are dual to the inner
    products.
    """
    metric, space, dims = geodesic.metric, geodesic.metric.space, geodesic.metric.space.dims
    sources, slope = _transport_gradient(geodesic, gradient), metric.slope()
    if not geodesic.forces:  # stationary: one velocity carries the map all the time
        return sum(sources[1:], sources[0]), torch.zeros_like(metric.alpha)
    result, later = torch.zeros_like(geodesic.velocities[0]), torch.zeros_like(geodesic.velocities[0])
    by_alpha = torch.zeros_like(metric.alpha)
    for time in reversed(range(geodesic.steps)):
        velocity, force, seen = geodesic.velocities[time], geodesic.forces[time], geodesic.spreads[time]
        own, momentum, slopes = seen[:, :dims], seen[:, dims : 2 * dims], _matrix(seen[:, 2 * dims :], dims)
        dual = metric.raise_(_adjoint_step(result, later, time, geodesic.steps))
        pushed = space.spread(torch.cat([dual, jacobian(space, dual)], dim=1))
        push, pushes = pushed[:, :dims], _matrix(pushed[:, dims:], dims)
        gathered = space.gather(torch.cat([
            (slopes * push[:, None]).sum(2) - (pushes * own[:, None]).sum(2),  # ad_v g
            (pushes * momentum[:, :, None]).sum(1), (momentum[:, :, None] * push[:, None]).flatten(1, 2)], dim=1))
        bracket = gathered[:, :dims]
        by_alpha = by_alpha + space.inner(bracket, space.multiply(velocity, slope)) - space.inner(
            dual, space.multiply(force, slope))
        twisted = gathered[:, dims : 2 * dims] + divergence(space, gathered[:, 2 * dims :])
        result, later = result + metric.lower(bracket) - twisted + sources[time], result
    return result, by_alpha


def _transport_gradient(geodesic: Geodesic, gradient: Tensor) -> list[Tensor]:
    """The gradients by each of the velocities that carry the map."""
    space, motion, dims = geodesic.metric.space, geodesic.metric.space.motion, geodesic.metric.space.dims
    result, later, sources = gradient, torch.zeros_like(gradient), []
    for time in reversed(range(geodesic.steps)):
        own, slopes = geodesic.flows[time][:, :dims], _matrix(geodesic.flows[time][:, dims:], dims)
        source = motion.spread(_adjoint_step(result, later, time, geodesic.steps), motion.lattice)
        sources.append(space.gather(source + (slopes * source[:, :, None]).sum(1), motion.lattice)
                       * (motion.weight / space.weight))
        carried = motion.gather((source[:, :, None] * own[:, None]).flatten(1, 2), motion.lattice)
        result, later = result - divergence(motion, carried), result
    return sources[::-1]


def _step(value: Tensor, changes: Sequence[Tensor], steps: int) -> Tensor:
    """One step down the last of the changes."""
    if len(changes) == 1:
        return value - changes[-1] / steps
    return value - (1.5 * changes[-1] - 0.5 * changes[-2]) / steps


def _adjoint_step(after: Tensor, later: Tensor, time: int, steps: int) -> Tensor:
    """The gradient by the change at a time, from those by the values one and two steps later."""
    return (later / 2 - (after if time == 0 else 1.5 * after)) / steps


def determinants(motion: Space, displacement: Tensor) -> Tensor:
    """det(I + Du) on the product lattice. Shape: (B, d, *coordinates) to (B, *lattice)."""
    slopes = _matrix(motion.spread(jacobian(motion, displacement), motion.lattice), motion.dims)
    return determinant([[slopes[:, row, column] + (row == column) for row in range(motion.dims)]
                        for column in range(motion.dims)])


def jacobian(space: Space, field: Tensor) -> Tensor:
    """All derivatives: component i, then axis j. Shape: (B, d, *coordinates) to (B, d * d, *coordinates)."""
    return torch.stack([space.derivative(field, axis) for axis in range(space.dims)], dim=2).flatten(1, 2)


def divergence(space: Space, tensor: Tensor) -> Tensor:
    """The rows' divergence of a (B, d * d, ...) tensor, component i, then axis j. Shape: to (B, d, ...)."""
    columns = _matrix(tensor, space.dims).unbind(2)
    return sum((space.derivative(column, axis) for axis, column in enumerate(columns)), torch.zeros_like(columns[0]))


def _matrix(tensor: Tensor, dims: int) -> Tensor:
    """(B, d * d, ...) to (B, d, d, ...)."""
    return tensor.unflatten(1, (dims, dims))
