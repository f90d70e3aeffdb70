"""What autograd does with a kernel, without it: its plain formula for a graph of the gradient, or no graph at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def replay(
    plain: Callable[..., Tensor], inputs: Sequence[Tensor], needed: Sequence[bool], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of ``plain(*inputs)`` by autograd, None where they are not needed.

    Differentiable themselves if gradients are recorded; then ``inputs`` are part of the graph. Else they are taken out
    of it first.
    """
    graph = torch.is_grad_enabled()
    if not graph:
        inputs = [tensor.detach().requires_grad_(need) for tensor, need in zip(inputs, needed, strict=True)]
    with torch.enable_grad():
        value = plain(*inputs)
        wanted = [tensor for tensor, need in zip(inputs, needed, strict=True) if need]
        found = iter(torch.autograd.grad(value, wanted, grad, create_graph=graph))
    return tuple(next(found) if need else None for need in needed)


class Step:
    """An ``autograd.Function`` called by hand: its ``value``, and gradients without autograd's own time.

    ``needed``: which inputs will have one.
    """

    def __init__(self, function: Any, needed: tuple[bool, ...], *inputs: Any) -> None:
        self.needs_input_grad, self._function = needed, function
        with torch.no_grad():
            self.value: Tensor = function.forward(self, *inputs)

    def save_for_backward(self, *tensors: Tensor) -> None:
        """As the context of a Function has it."""
        self.saved_tensors = tensors

    def back(self, gradient: Tensor) -> tuple[Any, ...]:
        """The gradients of the inputs from that of the value."""
        with torch.no_grad():
            found: tuple[Any, ...] = self._function.backward(self, gradient)
        return found
