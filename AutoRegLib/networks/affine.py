"""An affine map in front of any network, found and trained with it (docs/method.md, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.fields.warp import identity_grid, warp
from AutoRegLib.networks.common import Mixture, check_pair, standardise
from AutoRegLib.networks.operators import Activation, convolution

LATTICE = 32  # voxels an axis of what the affine network sees
WIDTHS = (8, 8, 16, 16, 32, 32, 64, 64, 64)  # channels of its nine convolutions; every other one halves the lattice


class AffineFirst(nn.Module):
    """``x -> affine(x + u(x))``: the network behind sees the moving image as the affine map has placed it.

    Nine convolutions on the pair, averaged to :data:`LATTICE` voxels an axis, and one fully connected layer give the
    ``d (d + 1)`` numbers of the map, in units of half the field of view about its centre. Untrained it is the identity.
    Shape: two images ``(B, 1, *spatial)`` of any size to a :class:`Prediction`, without a velocity, since the whole is
    the flow of none; ``local`` is the answer of the network behind.
    """

    def __init__(self, network: nn.Module, dims: int) -> None:
        super().__init__()
        self.dims, self.network = dims, network
        layers: list[nn.Module] = []
        inputs, left = 2, LATTICE
        for place, outputs in enumerate(WIDTHS):
            stride = 2 if place % 2 == 0 and left > 2 else 1
            left //= stride
            layers += [convolution(dims, inputs, outputs, 3, stride=stride, padding=1), Activation()]
            inputs = outputs
        self.convolutions = nn.Sequential(*layers)
        self.numbers = nn.Linear(inputs * left**dims, dims * (dims + 1))
        nn.init.normal_(self.numbers.weight, std=1e-5)
        nn.init.zeros_(self.numbers.bias)

    def affine(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """What is added to the identity, matrix and offset ``(B, d, d + 1)``, in half fields of view."""
        pair = torch.cat((standardise(moving), standardise(fixed)), dim=1)
        pool = functional.adaptive_avg_pool2d if self.dims == 2 else functional.adaptive_avg_pool3d
        found: Tensor = self.numbers(self.convolutions(pool(pair, LATTICE)).flatten(1))
        return found.view(-1, self.dims, self.dims + 1)

    def forward(self, moving: Tensor, fixed: Tensor, mixture: Mixture | None = None) -> Prediction:
        """Predict the pull-back from fixed to moving. Raises InputError on different shapes."""
        check_pair(moving, fixed, self.dims)
        found, shape = self.affine(moving, fixed), fixed.shape[2:]
        nothing = moving.new_zeros(1, self.dims, *shape)
        answer: Prediction = self.network(warp(moving, affine_moves(found, nothing, shape)), fixed, mixture)
        whole, *scales = (
            field + affine_moves(found, field, shape, factor=2**scale)
            for scale, field in enumerate((answer.displacement, *answer.scales))
        )
        return replace(answer, displacement=whole, velocity=None, scales=tuple(scales), local=answer)


def affine_moves(affine: Tensor, field: Tensor, shape: Sequence[int], *, factor: int = 1) -> Tensor:
    """How far an affine map moves the points ``x + field(x)`` of a grid ``factor`` times coarser than ``shape``.

    Shape: affine (B, d, d + 1), field (B or 1, d, *grid) -> (B, d, *grid).
    Unit: half fields of view (affine), voxels of the grid (field, result).
    """
    sizes = field.new_tensor(shape).view(1, -1, *[1] * len(shape))
    points = identity_grid(field.shape[2:], device=field.device, dtype=field.dtype) + field
    points = ((points + 0.5) * factor - 0.5 * sizes) * 2.0 / sizes
    moved = torch.einsum("bij,bj...->bi...", affine[..., :-1], points.expand(len(affine), *points.shape[1:]))
    return (moved + affine[..., -1].view(*affine.shape[:2], *[1] * len(shape))) * sizes / (2.0 * factor)
