"""Meta-regularisation: what a learnt filter of a field is held to (docs/method.md, section 3.1)."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from AutoRegLib.core.recipe import Objective


def filter_penalty(kernel: Tensor, objective: Objective) -> Tensor:
    """``filter_symmetry * asymmetry - filter_trace * diagonals``. Shape: kernel of d axes -> scalar.

    Reference: Al Safadi and Song, CVPR 2021, Eq. 12.
    """
    penalty = kernel.new_zeros(())
    if objective.filter_symmetry > 0.0:
        penalty = penalty + objective.filter_symmetry * asymmetry(kernel, group=objective.filter_group)
    if objective.filter_trace > 0.0:
        penalty = penalty - objective.filter_trace * diagonals(kernel)
    return penalty


def asymmetry(kernel: Tensor, *, group: str = "transpose") -> Tensor:
    """The sum of squared distances of a filter to its images under what generates the group.

    "transpose": exchanges of neighboring axes, and point reflection (4 symmetries in 2-D, where it is
    ``|K - K^T|^2 + |K J - J K|^2``, and 12 in 3-D). "reflections": the reflection of every axis as well (8 and 48).

    Shape: kernel, as wide along each of d axes -> scalar.
    By hand: [[0, 1], [0, 0]] differs from its transpose by 2 and from its point reflection by 2: 4.
    """
    axes = tuple(range(kernel.dim()))
    images = [kernel.flip(axes), *(kernel.transpose(axis, axis + 1) for axis in axes[:-1])]
    if group == "reflections":
        images += [kernel.flip(axis) for axis in axes]
    return torch.stack([(kernel - image).square().sum() for image in images]).sum()


def diagonals(kernel: Tensor) -> Tensor:
    """The sum over all space diagonals of the filter: 2 in 2-D, ``tr K + tr K J``, and 4 in 3-D. Shape: scalar."""
    places = torch.arange(kernel.shape[0], device=kernel.device)
    turned = len(places) - 1 - places
    total = kernel.new_zeros(())
    for turns in product((False, True), repeat=kernel.dim() - 1):
        total = total + kernel[(places, *(turned if turn else places for turn in turns))].sum()
    return total
