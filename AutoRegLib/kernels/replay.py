"""Fast forwards, plain where a graph of the gradient is wanted: what every kernel's backward pass falls back to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
