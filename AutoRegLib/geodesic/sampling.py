"""Velocities of the prior, and made-up images for them to act on: bull's-eyes of two ellipses."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.geodesic.metric import Metric

OUTER, INNER = (0.24, 0.40), (0.35, 0.65)  # half axes: of the outer ellipse in grid sizes, of the inner in outer ones
_PARTS = 4  # points per voxel and axis over which a border is averaged


def sample_velocities(metric: Metric, seeds: Sequence[int]) -> Tensor:
    """Initial velocities drawn from ``N(0, L^-1)``, each by a seed of its own.

    Independent real coordinates with variance ``1 / L`` are Hermitian Fourier coefficients with that variance.

    Shape: (len(seeds), d, *coordinates); the metric has one regularity, or one per seed. Unit: voxels.
    """
    like = metric.space.zeros()
    draws = [torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(draws).to(like) * metric.operator(-0.5)


def bulls_eye(shape: Sequence[int], outer: Sequence[float], inner: Sequence[float]) -> Tensor:
    """A ring in the middle of the grid: 1 between two ellipses (ellipsoids) with these half axes, else 0.

    Voxels that a border crosses have the part of them that lies within.

    Shape: (1, 1, *shape), float32. Unit: voxels, in axis order. Raises: InputError (half axes).
    Reference: Wang, Zhang (2022), Sec. 4.1.
    """
    if not all(0 < small < large for small, large in zip(inner, outer, strict=True)):
        raise InputError("half axes of a bull's-eye", expected="0 < inner < outer along every axis",
                         got=f"{tuple(inner)}, {tuple(outer)}")
    axes = [torch.arange(size * _PARTS, dtype=torch.float32).add_(0.5).div_(_PARTS).sub_(size / 2) for size in shape]
    image = torch.ones(1)
    for half, sign in ((outer, 1.0), (inner, -1.0)):
        squared = torch.zeros([len(axis) for axis in axes])
        for place, (axis, radius) in enumerate(zip(axes, half, strict=True)):
            squared += (axis / radius).square().reshape([-1 if place == other else 1 for other in range(len(axes))])
        image = image * (sign * (1.0 - squared) >= 0)
    pool = {2: torch.nn.functional.avg_pool2d, 3: torch.nn.functional.avg_pool3d}[len(axes)]
    return pool(image[None, None], _PARTS)


def random_bulls_eye(shape: Sequence[int], *, seed: int, index: int) -> Tensor:
    """The bull's-eye number ``index`` of a seed, its half axes drawn within ``OUTER`` and ``INNER``.

    Shape: (1, 1, *shape).
    """
    draw = Random(f"{seed}/bulls-eye/{index}")
    outer = [size * draw.uniform(*OUTER) for size in shape]
    return bulls_eye(shape, outer, [half * draw.uniform(*INNER) for half in outer])
