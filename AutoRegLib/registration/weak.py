"""Images that hardly resemble each other, as ultrasound and MR: what can be found is a shift, near where they lay.

Every optimum of a measure is then as likely chance as truth, the less likely the further it lies from where the images
were put. So all shifts are looked at at once, by self-similarity, and weighed by how far they go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.losses.mind import mind_ssc

WEAK = 0.45  # of structure: MR and simulated ultrasound 0.2 to 0.41; people, contrasts, an inverted image 0.55 to 0.9
_SIGMA = 0.09  # of the field of view: how far the truth may lie; 0.06 and 0.125 found less
_MOST = 0.25  # of the field of view
_SAME = 0.5  # voxels between the first ones of both images
_OTHER_SIZE = 0.1
_COVERED = 0.5  # of the fixed tissue, at least


def headers_say_nothing(fixed: Geometry, moving: Geometry) -> bool:
    """Whether both images of different extent begin at the same point: where nobody wrote a place, all have that one.
    """
    same = np.abs(np.subtract(fixed.origin, moving.origin)).max() <= _SAME * min(*fixed.spacing, *moving.spacing)
    ours, theirs = (np.array(grid.size) * np.array(grid.spacing) for grid in (fixed, moving))
    return bool(same and np.abs(ours / theirs - 1).max() > _OTHER_SIZE) or fixed.overlap_fraction(moving) == 0


def first_place(fixed: Geometry, moving: Geometry) -> np.ndarray:
    """The shift around which others are sought: none, or that of the centres where the headers say nothing.

    Unit/Direction: mm LPS, fixed to moving.
    """
    return moving.centre - fixed.centre if headers_say_nothing(fixed, moving) else np.zeros(fixed.dims)


def around(grid: Geometry) -> Geometry:
    """The grid with as much around it as a shift may go."""
    margin = [math.ceil(_MOST * size) for size in grid.size]
    origin = grid.index_to_physical[:-1] @ np.array([*(-own for own in margin), 1.0])
    size = tuple(own + 2 * more for own, more in zip(grid.size, margin, strict=True))
    return Geometry(size, grid.spacing, tuple(origin.tolist()), grid.direction)


@torch.inference_mode()
def structural_shift(fixed: Tensor, moving: Tensor, counted: Tensor, seen: Tensor) -> tuple[int, ...]:
    """By how many voxels the fixed image is moved to lie best on the moving one, along the axes (z, y, x).

    For every shift of at most a quarter of the image the mean squared difference of MIND-SSC where both count, in
    standard deviations over all shifts, plus half the squared shift in units of 0.09 of the image; the least wins.

    Shape: ``fixed``, ``counted`` (1, 1, *spatial); ``moving``, ``seen`` (1, 1, *larger): the grid of :func:`around`.
    """
    ours, theirs = mind_ssc(fixed)[0], mind_ssc(moving)[0]
    size, axes = tuple(moving.shape[2:]), tuple(range(1, fixed.ndim - 1))
    shifts = [larger - own + 1 for larger, own in zip(size, fixed.shape[2:], strict=True)]

    def correlated(first: Tensor, second: Tensor) -> Tensor:
        """The sum over x of first(x) second(x + shift), for all shifts within the larger grid, over channels."""
        spectra = [torch.fft.rfftn(part, s=size, dim=axes) for part in (first, second)]
        whole = torch.fft.irfftn((spectra[0].conj() * spectra[1]).sum(0), s=size, dim=tuple(a - 1 for a in axes))
        return whole[tuple(slice(count) for count in shifts)]

    weights, reach = counted[0], seen[0]
    mass = correlated(weights, reach)
    squares = correlated(weights * ours.square().sum(0, keepdim=True), reach) + correlated(
        weights, reach * theirs.square().sum(0, keepdim=True)) - 2 * correlated(weights * ours, reach * theirs)
    enough = mass > _COVERED * weights.sum()
    middle = tuple(count // 2 for count in shifts)
    if int(enough.sum()) < 2:
        return (0,) * len(shifts)
    value = squares / mass.clamp_min(1e-6)
    value = (value - value[enough].mean()) / value[enough].std().clamp_min(1e-12)
    value = value + 0.5 * _far(shifts, middle, fixed.shape[2:])
    value[~enough] = torch.inf
    best = torch.unravel_index(value.argmin(), value.shape)
    return tuple(int(place) - origin for place, origin in zip(best, middle, strict=True))


def _far(shifts: Sequence[int], middle: Sequence[int], size: Sequence[int]) -> Tensor:
    """The squared length of every shift, in the standard deviation of what is likely."""
    scale = _SIGMA * sum(size) / len(size)
    places = torch.meshgrid(*((torch.arange(count) - at) / scale for count, at in zip(shifts, middle, strict=True)),
                            indexing="ij")
    return torch.stack(list(places)).square().sum(0)
