"""How well two images agree, by measures of different kinds: what a registration is judged by, beside what made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from AutoRegLib.losses.lncc import lncc
from AutoRegLib.losses.mind import mind_loss

_BINS = 24  # per image: the joint histogram of a few thousand voxels is still filled
_WINDOW = 5  # voxels of the coarse grid
_FEW = 27  # voxels that tell nothing
_UNRELATED = 0.25  # mean squared difference of the descriptors of images that have nothing in common


def mutual_information(first: Tensor, second: Tensor, weights: Tensor) -> float:
    """Mutual information of the brightness of two images, each voxel with its weight. Unit: nat.

    Histograms of 24 bins, between which each voxel is shared out linearly.
    Shape: all (1, 1, *spatial).
    Reference: Mattes et al., IEEE TMI 22 (2003).
    """
    used = weights > 0
    if int(used.sum()) < _FEW:
        return 0.0
    mass = weights[used].double()
    places = [_bins_of(image[used].double()) for image in (first, second)]
    joint = mass.new_zeros(_BINS * _BINS)
    for row, row_share in places[0]:
        for column, share in places[1]:
            joint += torch.bincount(row * _BINS + column, weights=mass * row_share * share, minlength=_BINS**2)
    joint = (joint / joint.sum()).view(_BINS, _BINS)
    return _entropy(joint.sum(0)) + _entropy(joint.sum(1)) - _entropy(joint)


def edge_alignment(first: Tensor, second: Tensor, weights: Tensor) -> float:
    """How parallel the gradients of two images are, whatever their sign; from 0 to 1.

    The weighted mean of ``(g . h)^2 / ((|g|^2 + e^2)(|h|^2 + f^2))``, where e and f are the mean lengths.
    Shape: all (1, 1, *spatial).
    Reference: Haber and Modersitzki, MICCAI 2006.
    """
    total = float(weights.sum())
    if total <= 0 or min(first.shape[2:]) < 2:
        return 0.0
    gradients = [torch.cat([part[:, None] for part in torch.gradient(image[:, 0], dim=tuple(range(1, image.ndim - 1)))],
                           1) for image in (first, second)]
    squares = [gradient.square().sum(1, keepdim=True) for gradient in gradients]
    floors = [float((square.sqrt() * weights).sum() / total) ** 2 + 1e-12 for square in squares]
    product = (gradients[0] * gradients[1]).sum(1, keepdim=True).square()
    value = product / ((squares[0] + floors[0]) * (squares[1] + floors[1]))
    return float((value * weights).sum() / total)


def local_correlation(first: Tensor, second: Tensor, weights: Tensor) -> float:
    """Squared correlation within windows of 5 voxels, from 0 to 1. Shape: all (1, 1, *spatial)."""
    return float(lncc(first, second, window=_WINDOW, mask=weights)) if bool((weights > 0).any()) else 0.0


def structure(first: Tensor, second: Tensor, weights: Tensor) -> float:
    """The mean squared difference of MIND-SSC as an agreement: 1 for equal ones, 0 for unrelated ones (and worse).

    Shape: all (1, 1, *spatial).
    """
    if not bool((weights > 0).any()):
        return 0.0
    return max(0.0, 1.0 - float(mind_loss(first, second, mask=weights)) / _UNRELATED)


#: the measures by name; more is better for all of them
AGREEMENTS: dict[str, Callable[[Tensor, Tensor, Tensor], float]] = {
    "information": mutual_information, "edges": edge_alignment, "correlation": local_correlation,
    "structure": structure,
}
#: the measure that each similarity optimises, so that it has no say on what was made by it
OWN = {"lncc": "correlation", "mind": "structure", "nmi": "information", "local_nmi": "information"}


@torch.inference_mode()
def agreements(
    fixed: Tensor, warped: Tensor, counted: Tensor, seen: Tensor, *, names: Sequence[str] = tuple(AGREEMENTS),
) -> dict[str, float]:
    """The measures of :data:`AGREEMENTS` of these names, on the part of the fixed image that counts.

    ``counted``: weights of the fixed image's voxels; ``seen``: where the warped image has something to say. What
    counts and is not seen agrees by 0, so that hiding what differs is no gain.

    Shape: all (1, 1, *spatial).
    """
    weights = counted * seen
    share = float(weights.sum()) / max(float(counted.sum()), 1e-12)
    return {name: share * AGREEMENTS[name](fixed, warped, weights) for name in names}


def _bins_of(values: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The two bins that each value lies between, and its share of both."""
    low, high = values.min(), values.max()
    place = (values - low) / (high - low).clamp_min(1e-12) * (_BINS - 1)
    lower = place.floor().clamp(0, _BINS - 2)
    part = place - lower
    return [(lower.long(), 1 - part), (lower.long() + 1, part)]


def _entropy(probabilities: Tensor) -> float:
    found = probabilities[probabilities > 0]
    return -float((found * found.log()).sum())
