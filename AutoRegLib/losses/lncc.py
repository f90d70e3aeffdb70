"""Local normalised cross-correlation, squared: the similarity of images that differ by a local affine change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.kernels.box import BoxLayout
from AutoRegLib.kernels.lncc import FastLncc, Side, side, squared_correlations
from AutoRegLib.kernels.replay import Step

_FLOOR = 1e-3


def lncc(
    fixed: Tensor, moving: Tensor, *, window: int = 9, mask: Tensor | None = None, floor: float = _FLOOR,
    known: Side | None = None,
) -> Tensor:
    """The mean over voxels of the squared correlation within a window, between 0 and 1.

    ``cov^2 / (max(var_fixed, floor * V_fixed) * max(var_moving, floor * V_moving))`` with V the variance of
    the whole image, held constant in the gradient: flat windows count 0 instead of dividing by 0, and the
    result does not change with the brightness or contrast of either image. Windows at the border count only
    voxels inside the image.

    ``known``: :func:`fixed_side` of the same image, window and floor.

    Shape: fixed, moving (B, C, *spatial); mask (B or 1, C or 1, *spatial), weights of the mean -> scalar.
    By hand: window 3 on fixed 0 0 1 and moving 0 1 1 (one row of a 2-D image constant in the other axis):
        the centre window has cov 1/9, variances 2/9 and 2/9, so it counts 1/4.
    Raises: InputError if the shapes differ or the window is even.
    Reference: Avants et al., Medical Image Analysis 12 (2008) 26; docs/method.md, section 1.3.
    """
    if fixed.shape != moving.shape or fixed.ndim not in (4, 5):
        raise InputError(
            "The images do not fit each other",
            expected="two tensors of the same shape (B, C, *spatial)",
            got=f"{tuple(fixed.shape)} and {tuple(moving.shape)}",
        )
    if fixed.dtype != torch.float64 or moving.dtype != torch.float64:
        fixed, moving = fixed.float(), moving.float()  # differences of sums of squares need the digits
    value: Tensor = FastLncc.apply(fixed, moving, _shares(mask, fixed), window, floor, known)
    return value


def lncc_step(fixed: Tensor, moving: Tensor, *, window: int, mask: Tensor | None, known: Side) -> Step:
    """:func:`lncc`, whose gradient with respect to the moving image is asked for by hand. Shape: as there."""
    return Step(FastLncc, (False, True), fixed, moving, _shares(mask, fixed), window, _FLOOR, known)


def _shares(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """The mask as parts of its sum."""
    if mask is None:
        return None
    weights = mask.to(like.dtype).expand_as(like)
    return weights / weights.sum().clamp_min(torch.finfo(like.dtype).tiny)


@torch.inference_mode()
def lncc_by_rows(
    fixed: np.ndarray, moving: np.ndarray, *, window: int = 9, mask: np.ndarray | None = None, floor: float = _FLOOR,
    rows: int,
) -> float:
    """:func:`lncc` of two arrays so large that only some rows of them are held as tensors at once.

    Shape: (z, y, x) or (y, x), all three.
    """
    reach, total, counted = window // 2, 0.0, 0.0
    parts = [slice(first, min(first + rows, len(fixed))) for first in range(0, len(fixed), rows)]
    scales = [_mean_and_factor(image, parts) for image in (fixed, moving)]
    for part in parts:
        first = max(part.start - reach, 0)
        near = slice(first, part.stop + reach)
        one, other = ((torch.from_numpy(image[near].astype(np.float32)) - mean)[None, None] * factor
                      for image, (mean, factor) in zip((fixed, moving), scales, strict=True))
        found = squared_correlations(one, other, window, floor)[0, 0, part.start - first :][: part.stop - part.start]
        if mask is not None:
            weights = torch.from_numpy(mask[part].astype(np.float32))
            found, counted = found * weights, counted + float(weights.sum(dtype=torch.float64))
        total += float(found.sum(dtype=torch.float64))
    return total / max(fixed.size if mask is None else counted, torch.finfo(torch.float32).tiny)


def _mean_and_factor(image: np.ndarray, parts: Sequence[slice]) -> tuple[float, float]:
    """What an image is standardised by: 0 for a constant one."""
    mean = sum(float(image[part].sum(dtype=np.float64)) for part in parts) / image.size
    squares = sum(float(((image[part] - mean) ** 2).sum(dtype=np.float64)) for part in parts)
    deviation = math.sqrt(squares / image.size)
    flat = deviation <= 16 * np.finfo(np.float32).eps * abs(mean)
    return mean, 0.0 if flat else 1 / max(deviation, float(np.finfo(np.float32).tiny))


def lncc_loss(
    fixed: Tensor, moving: Tensor, *, window: int = 9, mask: Tensor | None = None, floor: float = _FLOOR,
    known: Side | None = None,
) -> Tensor:
    """1 - lncc: 0 for images that agree up to a local affine change of intensity."""
    return 1 - lncc(fixed, moving, window=window, mask=mask, floor=floor, known=known)


def fixed_side(fixed: Tensor, *, window: int = 9, floor: float = _FLOOR) -> Side:
    """What :func:`lncc` needs of the fixed image alone, to be given to it as ``known`` where that image stays.

    Shape: (B, C, *spatial), without a gradient.
    """
    with torch.no_grad():
        return side(fixed if fixed.dtype == torch.float64 else fixed.float(), window, floor)


def masked_side(fixed: Tensor, mask: Tensor, *, window: int = 9, floor: float = _FLOOR) -> tuple[Tensor, Side]:
    """The mask of the mean and the fixed image's side where windows, too, hold what the mask counts alone.

    A window counts the mask times the part of it that the mask covers: a correlation of a few voxels is mostly chance.

    Shape: (B, C, *spatial), both of float32 or float64, without a gradient.
    """
    layout = BoxLayout(tuple(fixed.shape[2:]), window)
    with torch.no_grad():
        known = side(fixed, window, floor, inside=mask)
        return mask / (layout.voxels(known.share).reshape(mask.shape) * layout.counts(mask)).clamp_min(1), known
