"""Weights that answer to lambda: the direct route to its hypergradient.

Lambda acts on the validation loss only through the trained weights. Unrolling a step or two of training sees a
sliver of that effect, and what it sees favours whatever pays off within those steps. Here the weights are a function of
lambda, trained on losses with lambda moved at random about its present value; the derivative of that function is
the response of training itself, as far as it can be expressed by scaling the channels of every layer.

Reference: METHOD 1.4; MacKay et al., Self-tuning networks, ICLR 2019, Sec. 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import torch
from torch import Tensor

from AutoRegLib.learning.bilevel import Tensors

MARK = "|response"


def with_response(weights: Mapping[str, Tensor], count: int) -> Tensors:
    """The weights and, for each, how its output channels answer to ``count`` upper variables: nothing at first."""
    answers = {f"{name}{MARK}": value.new_zeros(len(value), count) for name, value in weights.items()}
    return {**weights, **answers}


def respond(weights: Mapping[str, Tensor], offset: Mapping[str, Tensor]) -> Tensors:
    """The network's weights at an upper variable ``offset`` away from where the search began.

    Kernels are scaled channel by channel, ``W (1 + R h)``; biases, which start at zero, are shifted, ``b + R h``.
    Without responses the weights come back as they are.
    """
    moved = torch.stack([offset[name] for name in sorted(offset)])
    answered: Tensors = {}
    for name, value in weights.items():
        if name.endswith(MARK):
            continue
        answer = weights.get(name + MARK)
        if answer is None:
            answered[name] = value
            continue
        change = (answer @ moved).view(-1, *[1] * (value.dim() - 1))
        answered[name] = value + change if value.dim() == 1 else value * (1.0 + change)
    return answered


def nudge(upper: Mapping[str, Tensor], rng: Random, *, spread: float) -> Tensors:
    """A random move of every entry of the upper variable, normal with standard deviation ``spread``."""
    return {
        name: torch.tensor([rng.gauss(0.0, spread) for _ in range(value.numel())]).view(value.shape).to(value)
        for name, value in upper.items()
    }
