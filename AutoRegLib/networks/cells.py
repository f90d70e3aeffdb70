"""A cell is a chain of three edges; "searched" is a property of an edge, not a second class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from AutoRegLib.core.errors import InputError
from AutoRegLib.networks.operators import CONSTRUCTORS


class Edge(nn.Module):
    """One or several operators side by side: a derived edge holds one, a searched edge holds all candidates."""

    def __init__(self, names: Sequence[str], dims: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        for name in names:
            if name not in CONSTRUCTORS:
                raise InputError(f"unknown operator '{name}'", expected=", ".join(CONSTRUCTORS), got=name)
        self.candidates = nn.ModuleDict({n: CONSTRUCTORS[n](dims, inputs, outputs, stride) for n in names})
        self.recompute = False  # keep no activations of the candidates: compute them again in the backward pass

    def forward(self, x: Tensor, mixture: Tensor | None = None) -> Tensor:
        """``mixture`` (candidates,): weights of the sum; None only where there is a single candidate."""
        operators = list(self.candidates.values())
        if mixture is None:
            if len(operators) > 1:
                raise InputError("a searched edge needs its mixture", expected=f"{len(operators)} weights")
            result: Tensor = operators[0](x)
            return result
        run = _again if self.recompute and torch.is_grad_enabled() else nn.Module.__call__
        total = mixture[0] * run(operators[0], x)
        for weight, operator in zip(mixture[1:], operators[1:], strict=True):
            total = torch.addcmul(total, weight, run(operator, x))
        return total


def _again(operator: nn.Module, x: Tensor) -> Tensor:
    """The operator without its inner activations: they are computed again when the gradient needs them.

    Its parameters are handed over by value: a functional call has put others in their place by then.
    """
    names, values = zip(*operator.named_parameters(), strict=True)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        result: Tensor = functional_call(operator, dict(zip(names, values, strict=True)), (x,))
        return result

    result: Tensor = checkpoint(run, x, *values, use_reentrant=False)
    return result


class Cell(nn.Module):
    """Three edges in a row.

    Shape: ``(B, channels[0], *spatial)`` to ``(B, channels[-1], *spatial / stride)``; the stride sits on
    edge ``stride_at`` (docs/method.md, section 1.1).
    """

    def __init__(
        self,
        edges: Sequence[Sequence[str]],
        dims: int,
        channels: Sequence[int],
        *,
        stride: int = 1,
        stride_at: int = 0,
    ) -> None:
        super().__init__()
        self.edges = nn.ModuleList(
            Edge(names, dims, channels[i], channels[i + 1], stride if i == stride_at else 1)
            for i, names in enumerate(edges)
        )

    def forward(self, x: Tensor, mixture: Tensor | None = None) -> Tensor:
        """``mixture`` (edges, candidates) or None for a derived cell."""
        for i, edge in enumerate(self.edges):
            x = edge(x, None if mixture is None else mixture[i])
        return x


def see_differences(cell: Cell, channels: int) -> None:
    """Start a cell that reads ``channels`` of one image and then as many of another on their difference.

    Every candidate of the first edge gets the opposite weights for the second image. What both images have in common
    then says nothing at first, and need not be unlearnt: on the hippocampus (one thread, seed 0) validation Dice was
    0.718 instead of 0.713 after 43 s of training, 0.734 instead of 0.727 after 200 s.
    """
    first, second = slice(0, channels), slice(channels, 2 * channels)
    for operator in cell.edges[0].candidates.values():  # type: ignore[union-attr, operator]
        layers = (m for m in operator.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d)))
        layer = next(layers)
        with torch.no_grad():
            if layer.groups > 1:  # depthwise: alike for both images, the layer that joins the channels follows
                layer.weight[second] = layer.weight[first]
                layer = next(layers)
            layer.weight[:, second] = -layer.weight[:, first]
