"""Which optimiser moves a network's weights: Adam, or momentum made orthogonal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn, optim

from AutoRegLib.core.recipe import Training

_MOMENTUM, _ITERATIONS = 0.95, 5
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of the reference: singular values end between 0.7 and 1.2
_OTHERS = 0.1  # of the rate: for biases and other single values, which Adam moves by about their rate a step


def build_optimiser(weights: Iterable[nn.Parameter] | Iterable[Tensor], settings: Training) -> optim.Optimizer:
    """The optimiser that the recipe asks for."""
    if settings.optimiser == "adam":
        return optim.Adam(weights, lr=settings.learning_rate)
    return Muon(weights, rate=settings.learning_rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest orthogonal matrix, roughly: all singular values brought to about 1, the vectors kept.

    Shape: (rows, columns), as the result. By hand: diag(2, 1) to about diag(1, 1).
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp_min(1e-12)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(_ITERATIONS):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Muon(optim.Optimizer):
    """Momentum, made orthogonal for every kernel as a matrix of outputs by all that each reads; Adam for the rest.

    A plain gradient of a convolution is almost of rank one: the few directions it holds are learnt at once and the
    others hardly ever. Here all of them move alike.

    Reference: Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024).
    """

    def __init__(self, weights: Iterable[nn.Parameter] | Iterable[Tensor], *, rate: float) -> None:
        super().__init__(list(weights), {"lr": rate})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step along the gradients that there are."""
        for group in self.param_groups:
            for weight in group["params"]:
                gradient = weight.grad
                if gradient is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["mean"] = torch.zeros_like(weight)
                if weight.dim() > 1:
                    self._turn(weight, gradient, state["mean"], group["lr"])
                else:
                    self._adapt(weight, gradient, state, _OTHERS * group["lr"])

    @staticmethod
    def _turn(weight: Tensor, gradient: Tensor, mean: Tensor, rate: float) -> None:
        mean.mul_(_MOMENTUM).add_(gradient)
        ahead = (gradient + _MOMENTUM * mean).flatten(1)
        tall = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
        weight.sub_(rate * tall * orthogonal(ahead).view_as(weight))

    @staticmethod
    def _adapt(weight: Tensor, gradient: Tensor, state: dict[str, Any], rate: float) -> None:
        if "square" not in state:
            state["square"], state["steps"] = torch.zeros_like(weight), 0
        state["steps"] += 1
        state["mean"].lerp_(gradient, 0.1)
        state["square"].lerp_(gradient.square(), 0.01)
        first, second = 1.0 - 0.9 ** state["steps"], 1.0 - 0.99 ** state["steps"]
        weight.sub_(rate * (state["mean"] / first) / ((state["square"] / second).sqrt() + 1e-8))
