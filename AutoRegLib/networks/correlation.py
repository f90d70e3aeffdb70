"""How alike two images' features are at small moves: what matching needs, and a chain of convolutions learns slowly."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

_FLOOR = 1e-3  # of the mean square of a voxel's features


def local_correlation(fixed: Tensor, moving: Tensor, *, radius: int) -> Tensor:
    """The cosine of the fixed features with the moving ones up to ``radius`` voxels away along every axis.

    Shape: both (B, C, *spatial) to (B, (2 radius + 1)^d, *spatial); the moves in order, the last axis fastest.
    Beyond the border the moving features repeat.
    By hand: features 1 2 with themselves, radius 1: at no move 1 at both voxels (nearly: a floor keeps 0 finite).
    Reference: PWC-Net (Sun et al., CVPR 2018), Sec. 3, with features of length 1.
    """
    dims = fixed.dim() - 2
    fixed, moving = _unit(fixed), _unit(moving)
    around = F.pad(moving, [radius] * (2 * dims), mode="replicate")
    shape = fixed.shape[2:]
    products = []
    for move in itertools.product(range(2 * radius + 1), repeat=dims):
        place = (slice(None), slice(None), *(slice(at, at + size) for at, size in zip(move, shape, strict=True)))
        products.append((fixed * around[place]).sum(dim=1))
    return torch.stack(products, dim=1)


def _unit(features: Tensor) -> Tensor:
    channels = features.shape[1]
    return features / (features.square().sum(dim=1, keepdim=True) + channels * _FLOOR).sqrt()
