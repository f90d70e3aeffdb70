"""The one bilevel algorithm: all three searches are calls of it with another upper variable.

Lower variable omega (network weights) on training batches, upper variable (alpha or lambda) on validation
batches. The problem's two losses are pure functions of (weights, upper, batch): nothing is cloned, nothing is
left behind between stages.

Reference: docs/method.md, section 1.4; AutoReg paper, Eq. 7, 8 and Algorithm 1; DARTS, Sec. 2.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError

Tensors = dict[str, Tensor]
Loss = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Any], Tensor]
Method = Literal["exact", "difference", "first"]


@dataclass(frozen=True)
class BilevelProblem:
    """``lower_loss`` is what training minimises, ``upper_loss`` the validation objective."""

    lower_loss: Loss
    upper_loss: Loss


@dataclass(frozen=True)
class Hypergradient:
    """The upper loss at the unrolled weights and its total derivative with respect to the upper variable.

    ``lower_loss`` and ``slope``: the first unrolled step's loss and gradient with respect to the weights, for
    the caller's own step, which would compute them again.
    """

    loss: Tensor
    gradient: Tensors
    lower_loss: Tensor
    slope: Tensors


def hypergradient(
    problem: BilevelProblem,
    weights: Mapping[str, Tensor],
    upper: Mapping[str, Tensor],
    *,
    train: Sequence[Any],
    validation: Sequence[Any],
    rate: float,
    method: Method = "difference",
    epsilon: Literal["normalised", "rate"] = "normalised",
) -> Hypergradient:
    """d upper_loss(w'(upper), upper) / d upper after unrolled gradient steps of size ``rate``.

    One step per batch in ``train``; the upper loss is averaged over ``validation``. ``exact`` differentiates
    through every step; ``difference`` replaces the Hessian-vector product of each step by a central difference, which
    needs no graph of a gradient; ``first`` drops the second term. ``epsilon``: the step of the difference, 0.01/||g||
    (DARTS) or the inner rate (AutoReg).
    Raises: InputError on an unknown method.
    Reference: docs/method.md, section 1.4.
    """
    if method == "exact":
        return _exact(problem, weights, upper, train=train, validation=validation, rate=rate)
    if method not in ("difference", "first"):
        raise InputError("unknown hypergradient", expected="exact, difference or first", got=method)
    # forward: w_0 -> w_1 -> ... -> w_K, keeping each (K is 1 to 3)
    path = [{name: value.detach() for name, value in weights.items()}]
    fixed_upper = {name: value.detach() for name, value in upper.items()}
    steps: list[tuple[Tensor, Tensors]] = []
    for batch in train:
        lower, slope, _ = value_and_gradients(problem.lower_loss, path[-1], fixed_upper, batch)
        steps.append((lower, slope))
        path.append(_shifted(path[-1], slope, -rate))
    loss: Tensor | float = 0.0
    adjoint, direct = None, None
    for batch in validation:
        value, by_weights, by_upper = value_and_gradients(problem.upper_loss, path[-1], fixed_upper, batch)
        loss = loss + value / len(validation)
        adjoint = _added(adjoint, by_weights, 1.0 / len(validation))
        direct = _added(direct, by_upper, 1.0 / len(validation))
    assert adjoint is not None and direct is not None
    total = dict(direct)
    path.pop()  # a copy of all weights that nobody needs any more
    if method == "difference":
        # backward through the steps: each adds -rate * (d^2 L / d upper d w) g and maps g to g - rate * H g
        for at, batch in zip(reversed(path), reversed(train), strict=True):
            size = torch.sqrt(sum((g.square().sum() for g in adjoint.values()), torch.zeros(())))
            step = rate if epsilon == "rate" else float(0.01 / size.clamp_min(1e-12))
            further = at is not path[0]  # only an earlier step needs the product with the weights' own Hessian
            ahead, behind = (
                gradients(problem.lower_loss, _shifted(at, adjoint, way), fixed_upper, batch, weights_too=further)
                for way in (step, -step)
            )
            for name in total:
                total[name] = total[name] - rate * (ahead[1][name] - behind[1][name]) / (2.0 * step)
            if further:
                adjoint = {
                    name: g - rate * (ahead[0][name] - behind[0][name]) / (2.0 * step) for name, g in adjoint.items()
                }
    return Hypergradient(torch.as_tensor(loss), total, *steps[0])


def value_and_gradients(
    loss: Loss, weights: Mapping[str, Tensor], upper: Mapping[str, Tensor], batch: Any, *, weights_too: bool = True
) -> tuple[Tensor, Tensors, Tensors]:
    """The loss and its gradients with respect to both variables; an unused variable has gradient zero.

    ``weights_too`` False: the upper variable only, which spares a third of the arithmetic and a copy of the weights.
    """
    held = {name: value.detach() for name, value in weights.items()}
    leaves = {name: value.requires_grad_() for name, value in held.items()} if weights_too else {}
    upper_leaves = {name: value.detach().requires_grad_() for name, value in upper.items()}
    with torch.enable_grad():
        value = loss(held, upper_leaves, batch)
        found = torch.autograd.grad(value, [*leaves.values(), *upper_leaves.values()], allow_unused=True)
    filled = [
        torch.zeros_like(leaf) if g is None else g
        for g, leaf in zip(found, [*leaves.values(), *upper_leaves.values()], strict=True)
    ]
    return (
        value.detach(),
        dict(zip(leaves, filled[: len(leaves)], strict=True)),
        dict(zip(upper_leaves, filled[len(leaves):], strict=True)),
    )


def gradients(
    loss: Loss, weights: Mapping[str, Tensor], upper: Mapping[str, Tensor], batch: Any, *, weights_too: bool = True
) -> tuple[Tensors, Tensors]:
    """Gradients with respect to the weights (none unless ``weights_too``) and the upper variable."""
    return value_and_gradients(loss, weights, upper, batch, weights_too=weights_too)[1:]


def _exact(
    problem: BilevelProblem,
    weights: Mapping[str, Tensor],
    upper: Mapping[str, Tensor],
    *,
    train: Sequence[Any],
    validation: Sequence[Any],
    rate: float,
) -> Hypergradient:
    """Autograd through every unrolled step: the reference the difference is held against; costs memory."""
    leaves = {name: value.detach().requires_grad_() for name, value in upper.items()}
    with torch.enable_grad():
        current: Mapping[str, Tensor] = {name: value.detach().requires_grad_() for name, value in weights.items()}
        steps = []
        for batch in train:
            lower = problem.lower_loss(current, leaves, batch)
            slopes = torch.autograd.grad(lower, list(current.values()), create_graph=True, allow_unused=True)
            steps.append((lower.detach(), slopes))
            current = {
                name: value if g is None else value - rate * g
                for (name, value), g in zip(current.items(), slopes, strict=True)
            }
        losses = [problem.upper_loss(current, leaves, batch) for batch in validation]
        value = torch.stack(losses).mean()
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    gradient = {
        name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in zip(leaves.items(), found, strict=True)
    }
    lower, slopes = steps[0]
    slope = {
        n: torch.zeros_like(w) if g is None else g.detach() for (n, w), g in zip(weights.items(), slopes, strict=True)
    }
    return Hypergradient(value.detach(), gradient, lower, slope)


def _shifted(point: Mapping[str, Tensor], direction: Mapping[str, Tensor], step: float) -> Tensors:
    """``point + step * direction``."""
    return {name: value + step * direction[name] for name, value in point.items()}


def _added(total: Tensors | None, more: Tensors, weight: float) -> Tensors:
    """``total + weight * more``."""
    if total is None:
        return more if weight == 1.0 else {name: weight * value for name, value in more.items()}
    return {name: value + weight * more[name] for name, value in total.items()}
