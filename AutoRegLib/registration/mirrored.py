"""Does one image fit the other better than mirrored copies of it do? If not, nothing says that they show the same."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import median

import torch
from torch import Tensor

from AutoRegLib.registration.agreement import agreements

_THICK = 8  # voxels along an axis: fewer are much the same mirrored
_MEASURES = ("information", "edges", "correlation")  # structure takes longer than these together
_SHIFT = 0.25  # of the grid, the most that a mirrored image is shifted to fit

Axes = tuple[int, ...]


@torch.inference_mode()
def mirror_gains(fixed: Tensor, moving: Tensor, counted: Tensor, seen: Tensor) -> dict[Axes, float]:
    """How much better the image fits than each mirrored one, by the axes along which that is mirrored.

    A mirrored image is shifted to where its edges overlap most with the fixed ones. The gain is the median of the
    relative changes of the measures of :mod:`AutoRegLib.registration.agreement`, from -1 to 1.

    Shape: (1, 1, *spatial); ``counted``, ``seen`` weights.
    """
    axes = tuple(range(2, fixed.ndim))
    thick = [axis for axis in axes if fixed.shape[axis] >= _THICK]
    own = agreements(fixed, moving, counted, seen, names=_MEASURES)
    target, gains = _strength(fixed) * counted, {}
    for number in range(1, len(thick) + 1):
        for chosen in itertools.combinations(thick, number):
            image, reach = moving.flip(chosen), seen.flip(chosen)
            shift = best_shift(target, _strength(image) * reach)
            image, reach = torch.roll(image, shift, axes), _without_wrapped(torch.roll(reach, shift, axes), shift)
            other = agreements(fixed, image, counted, reach, names=_MEASURES)
            gains[tuple(axis - 2 for axis in chosen)] = median(
                (own[name] - value) / max(abs(own[name]), abs(value), 1e-9) for name, value in other.items())
    return gains


def best_shift(fixed: Tensor, moving: Tensor) -> tuple[int, ...]:
    """By how many voxels ``moving`` is to be rolled so that the product with ``fixed`` is largest, at most a quarter.

    Shape: (1, 1, *spatial).
    """
    shape, axes = fixed.shape[2:], tuple(range(2, fixed.ndim))
    spectra = [torch.fft.rfftn(image - image.mean(), dim=axes) for image in (fixed, moving)]
    product = torch.fft.irfftn(spectra[0] * spectra[1].conj(), s=list(shape), dim=axes)
    for axis, size in zip(axes, shape, strict=True):
        far = torch.arange(size)
        far = torch.minimum(far, size - far) > _SHIFT * size
        product.index_fill_(axis, far.nonzero()[:, 0], -torch.inf)
    place = torch.unravel_index(product[0, 0].argmax(), shape)
    return tuple(int(at) - size if 2 * int(at) > size else int(at) for at, size in zip(place, shape, strict=True))


def _strength(image: Tensor) -> Tensor:
    """The length of the gradient."""
    parts = torch.gradient(image[:, 0], dim=tuple(range(1, image.ndim - 1)))
    return torch.stack(list(parts)).square().sum(0).sqrt()[:, None]


def _without_wrapped(weights: Tensor, shift: Sequence[int]) -> Tensor:
    """The rolled weights, 0 where they came in from the other side."""
    weights = weights.clone()
    for axis, amount in enumerate(shift, start=2):
        if amount:
            weights.narrow(axis, 0 if amount > 0 else weights.shape[axis] + amount, abs(amount)).zero_()
    return weights
