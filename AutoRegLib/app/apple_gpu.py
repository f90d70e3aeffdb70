"""Whether an Apple GPU computes what the CPU computes. Asked before it is used, since it has not always done so.

PyTorch's support of 3-D operations on Apple GPUs (MPS) is young: convolutions arrived with 2.3, sampling with 2.9, its
gradient in 2026, and 3-D convolutions and samples were silently wrong in some releases (pytorch/pytorch issues 197114
and 171602). A wrong displacement is worse than a slow one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from AutoRegLib.core.recipe import Recipe
from AutoRegLib.fields.warp import warp
from AutoRegLib.networks.registry import build_network

MOST_RELATIVE = 1e-3  # of the largest value: single precision on another chip stays far below it
VOXELS = 16


def disagreement(device: str) -> str:
    """What ``device`` computes otherwise than the CPU, in words; empty when they agree.

    One registration step of the default network, forward and backward: every kind of operation is in it. A pass is
    no proof: sizes and channels differ from case to case.
    """
    network = build_network(Recipe())
    images = torch.rand(2, 1, 1, *[VOXELS] * 3, generator=torch.Generator().manual_seed(0))
    expected = _step(network, images)
    try:
        found = _step(network.to(device), images.to(device))
    except Exception as problem:  # of any kind: an operation that is missing is as good as a wrong one
        return f"it cannot do what a network needs: {str(problem).splitlines()[0][:200]}"
    for (name, right), other in zip(expected.items(), found.values(), strict=True):
        error = float((right - other.cpu()).abs().max() / right.abs().max())
        if not error <= MOST_RELATIVE:  # also where it is no number
            return f"its {name} differ from the CPU's by {100 * error:.2g} % of the largest"
    return ""


def _step(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Displacements, warped voxels and gradients of one step."""
    network.zero_grad()
    moving, fixed = images
    displacement = network(moving, fixed).displacement
    warped = warp(moving, displacement)
    ((warped - fixed) ** 2).mean().backward()
    gradients = [weight.grad.flatten() for weight in network.parameters() if weight.grad is not None]
    return {"displacements": displacement.detach(), "warped voxels": warped.detach(), "gradients": torch.cat(gradients)}
