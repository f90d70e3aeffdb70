"""Random moves of training pairs: affine ones, and elastic ones, which make new anatomies of those that there are."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

_KNOTS = 10  # voxels between the knots of an elastic move
_LINEAR = {2: "bilinear", 3: "trilinear"}


def random_moves(
    rng: Random, shape: Sequence[int], count: int, *, affine: float, elastic: float
) -> tuple[Tensor, Tensor]:
    """Displacements of the moving and the fixed images of ``count`` pairs: common to a pair, and each one's own.

    ``affine``: standard deviation of the matrix entries about the identity (and, as a part of the field of view, of the
    shift); of the moving image's own share it is half of it, the size of what affine alignment leaves over.
    ``elastic``: standard deviation at knots ten voxels apart, linear between them; of each image's own share half.
    Shape: ``shape`` of the grid, each result (count, d, *shape). Unit: voxels, pull-back; ``elastic`` in voxels.
    """
    common = [_random_affine(rng, len(shape), affine) for _ in range(count)]
    own = [_random_affine(rng, len(shape), affine / 2) for _ in range(count)]
    for_fixed = _affine_displacement(common, shape)
    for_moving = _affine_displacement([a @ b for a, b in zip(common, own, strict=True)], shape)
    if elastic > 0.0:
        shared = _elastic_displacement(rng, count, shape, elastic)
        for_fixed = for_fixed + shared + _elastic_displacement(rng, count, shape, elastic / 2)
        for_moving = for_moving + shared + _elastic_displacement(rng, count, shape, elastic / 2)
    return for_moving, for_fixed


def _random_affine(rng: Random, dims: int, strength: float) -> Tensor:
    """A homogeneous matrix in coordinates that run from -1 to 1 over the field of view."""
    matrix = torch.eye(dims + 1)
    for row in range(dims):
        for column in range(dims + 1):
            matrix[row, column] += rng.gauss(0.0, strength)
    return matrix


def _affine_displacement(matrices: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """Displacements (voxels) of homogeneous matrices given in coordinates -1 to 1. Shape: (B, d, *shape)."""
    axes = [torch.linspace(-1.0, 1.0, size) for size in shape]
    points = torch.stack([*torch.meshgrid(*axes, indexing="ij"), torch.ones(tuple(shape))])
    half = torch.tensor([(size - 1) / 2 for size in shape]).view(-1, *([1] * len(shape)))
    fields = [(torch.tensordot(m[:-1], points, dims=1) - points[:-1]) * half for m in matrices]
    return torch.stack(fields)


def _elastic_displacement(rng: Random, count: int, shape: Sequence[int], strength: float) -> Tensor:
    """Displacements (voxels) drawn at knots and joined linearly. Shape: (count, d, *shape)."""
    draws = torch.Generator().manual_seed(rng.randrange(2**31))
    knots = [max(3, round(size / _KNOTS) + 1) for size in shape]
    drawn = torch.randn(count, len(shape), *knots, generator=draws) * strength
    return F.interpolate(drawn, size=tuple(shape), mode=_LINEAR[len(shape)], align_corners=True)
