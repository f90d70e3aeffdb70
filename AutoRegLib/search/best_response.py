"""Weights that answer to lambda: the direct route to its hypergradient.

Lambda acts on the validation loss only through the trained weights. Unrolling a step or two of training sees a
sliver of that effect, and what it sees favours whatever pays off within those steps. Here the weights are a function of
lambda, trained on losses with lambda moved far about its present value; the derivative of that function is
the response of training itself, as far as it can be expressed by scaling the channels of every layer.
The moves have to be wide: what training gains over a twentyfold range each way outlasts its length, what it gains
nearby is mostly that an immature network profits from less smoothness. They have to go with lambda: weights trained
at mostly smaller lambdas say that small is good, and the other way round; only in the middle does that cancel.

Reference: docs/method.md, section 1.4; MacKay et al., Self-tuning networks, ICLR 2019, Sec. 3; Hoopes et al.,
HyperMorph, IPMI 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import torch
from torch import Tensor

from AutoRegLib.search.bilevel import Tensors

MARK = "|response"


def with_response(weights: Mapping[str, Tensor], count: int) -> Tensors:
    """The weights and, for each, how its output channels answer to ``count`` upper variables: nothing at first.

    Shape: (channels, 2 count), the straight and the bent part.
    """
    answers = {f"{name}{MARK}": value.new_zeros(len(value), 2 * count) for name, value in weights.items()}
    return {**weights, **answers}


def respond(weights: Mapping[str, Tensor], offset: Mapping[str, Tensor], *, spread: float) -> Tensors:
    """The network's weights at an upper variable ``offset`` away from the present one, at most ``spread`` each way.

    Kernels are scaled channel by channel, ``W (1 + R f)``; biases, which start at zero, are shifted, ``b + R f``,
    with ``f = (h, h^2 / spread - spread / 3)`` of the offset ``h``: both vanish on average over the range, and
    the second keeps what bends out of the first. Without responses the weights come back as they are.
    """
    moved = torch.stack([offset[name] for name in sorted(offset)])
    parts = torch.cat((moved, moved.square() / spread - spread / 3.0))
    answered: Tensors = {}
    for name, value in weights.items():
        if name.endswith(MARK):
            continue
        answer = weights.get(name + MARK)
        if answer is None:
            answered[name] = value
            continue
        change = (answer @ parts).view(-1, *[1] * (value.dim() - 1))
        answered[name] = value + change if value.dim() == 1 else value * (1.0 + change)
    return answered


def perturb(upper: Mapping[str, Tensor], rng: Random, *, spread: float) -> Tensors:
    """A random move of every entry of the upper variable, evenly up to ``spread`` each way."""
    return {
        name: torch.tensor([rng.uniform(-spread, spread) for _ in range(value.numel())]).view(value.shape).to(value)
        for name, value in upper.items()
    }
