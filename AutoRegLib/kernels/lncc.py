"""Local normalised cross-correlation: the plain formula, and one pass over padded vectors with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.kernels.box import BoxLayout, Buffers, box_sum
from AutoRegLib.kernels.replay import replay


def _standardise(image: Tensor) -> tuple[Tensor, Tensor]:
    """The image with mean 0 and variance 1 (a constant one: 0), and the factor that was applied, per channel.

    Neither the mean nor the factor carries a gradient: the correlation depends on the first not at all and
    on the second only through the floor.
    """
    axes = tuple(range(2, image.ndim))
    with torch.no_grad():
        mean = image.mean(axes, keepdim=True)
        centred = image.detach() - mean
        deviation = torch.linalg.vector_norm(centred, dim=axes, keepdim=True) / (centred[0, 0].numel() ** 0.5)
        # what rounding leaves of a constant image is no structure
        flat = deviation <= 16 * torch.finfo(image.dtype).eps * mean.abs()
        factor = torch.where(flat, 0, 1 / deviation.clamp_min(torch.finfo(image.dtype).tiny))
    return (image - mean) * factor, factor


def plain_lncc(fixed: Tensor, moving: Tensor, weights: Tensor | None, window: int, floor: float) -> Tensor:
    """The same value in plain differentiable operations; reference and second derivative of the fast pass."""
    correlation = squared_correlations(_standardise(fixed)[0], _standardise(moving)[0], window, floor)
    return correlation.mean() if weights is None else (correlation * weights).sum()


def squared_correlations(fixed: Tensor, moving: Tensor, window: int, floor: float) -> Tensor:
    """The squared correlation of standardised images in the window about every voxel."""
    layout = BoxLayout(tuple(fixed.shape[2:]), window)
    scale = 1 / layout.counts(fixed)
    mean_f, mean_m = box_sum(fixed, window) * scale, box_sum(moving, window) * scale
    covariance = box_sum(fixed * moving, window) * scale - mean_f * mean_m
    variance_f = (box_sum(fixed * fixed, window) * scale - mean_f * mean_f).clamp_min(floor)
    variance_m = (box_sum(moving * moving, window) * scale - mean_m * mean_m).clamp_min(floor)
    return covariance * covariance / (variance_f * variance_m)


@dataclass(frozen=True, eq=False)
class Side:
    """What the correlation takes from one image alone: its voxels in a layout, and their means and variances.

    Shape: ``core``, ``mean``, ``variance`` (B * C, core) of the layout; ``factor`` of the standardisation.
    """

    share: Tensor  # 1 by the voxels of a window; 0 between the voxels, which takes everything there out of the sums
    core: Tensor
    mean: Tensor
    variance: Tensor
    factor: Tensor


def side(image: Tensor, window: int, floor: float, kept: Buffers | None = None) -> Side:
    """The side of a (B, C, *spatial) image, for every correlation with it that has this window and floor."""
    layout = BoxLayout(tuple(image.shape[2:]), window)
    core, factor = _placed(image, layout)
    share = torch.zeros_like(core[0])
    layout.voxels(share).copy_(1 / layout.counts(share))
    sums = layout.each(core, len(core), _copy(core), _product(core, core), kept=kept)
    mean = next(sums) * share
    return Side(share, core, mean, _moment(next(sums), share, mean, mean).clamp_min_(floor), factor)


def _placed(image: Tensor, layout: BoxLayout) -> tuple[Tensor, Tensor]:
    """The standardised image as a core, 0 between its voxels, and the factor that was applied."""
    standard, factor = _standardise(image)
    rows = image.shape[0] * image.shape[1]
    core = image.new_zeros(rows, layout.core)
    layout.voxels(core).copy_(standard.view(rows, *layout.shape))
    return core, factor


def _moment(total: Tensor, share: Tensor, mean: Tensor, other: Tensor) -> Tensor:
    """The variance, or covariance, within the windows from the sum of the products."""
    return (total * share).addcmul_(mean, other, value=-1)


def _copy(core: Tensor) -> Callable[[Tensor], object]:
    return lambda out: out.copy_(core)


def _product(one: Tensor, other: Tensor) -> Callable[[Tensor], object]:
    return lambda out: torch.mul(one, other, out=out)


class FastLncc(torch.autograd.Function):
    """LNCC in the padded vectors of `BoxLayout`, with its gradient in closed form.

    With s = weight / count, P = s cov / (var_f var_m) and Q = -s cov^2 / (var_f var_m^2) where var_m is
    above the floor (0 elsewhere), half the gradient at the voxel y of the moving image m is ``f(y)
    box(P)(y) + m(y) box(Q)(y) - box(P mean_f + Q mean_m)(y)``; the fixed image's is its mirror. The loss is
    one number, so the gradient is computed with it and only scaled in the backward pass: nothing else is
    kept. ``known``: the fixed image's :func:`side`, where it was computed before.
    """

    @staticmethod
    def forward(
        ctx: Any, fixed: Tensor, moving: Tensor, weights: Tensor | None, window: int, floor: float,
        known: Side | None = None,
    ) -> Tensor:
        ctx.window, ctx.floor = window, floor
        layout, rows = BoxLayout(tuple(fixed.shape[2:]), window), fixed.shape[0] * fixed.shape[1]
        kept = layout.buffers(fixed, rows)
        one = known or side(fixed, window, floor, kept)
        share, f, mean_f, variance_f = one.share, one.core, one.mean, one.variance
        m, factor_m = _placed(moving, layout)
        sums = layout.each(m, rows, _copy(m), _product(m, m), _product(f, m), kept=kept)
        mean_m = next(sums) * share
        variance_m = _moment(next(sums), share, mean_m, mean_m).clamp_min_(floor)
        covariance = _moment(next(sums), share, mean_f, mean_m)
        ratio = (covariance / variance_f).div_(variance_m)
        correlation = covariance.mul_(ratio)
        if weights is None:
            value = correlation.sum() / fixed.numel()
            share = share / fixed.numel()
        else:
            weight = torch.zeros_like(correlation)
            layout.voxels(weight).copy_(weights.reshape(rows, *layout.shape))
            value = torch.dot(correlation.flatten(), weight.flatten())
            share = weight.mul_(share)
        ratio *= share  # P
        correlation *= share  # -Q var_m

        def gradient(own: Tensor, other: Tensor, means: tuple[Tensor, Tensor], variance: Tensor) -> Tensor:
            """Half the gradient with respect to ``own``."""
            q = (correlation / variance).mul_(variance > floor).neg_()

            def mixed(out: Tensor) -> Tensor:
                return torch.mul(ratio, means[1], out=out).addcmul_(q, means[0])

            boxes = layout.each(m, rows, _copy(ratio), _copy(q), mixed, kept=kept)
            result = next(boxes) * other
            result.addcmul_(next(boxes), own)
            return layout.voxels(result.sub_(next(boxes)))

        found = []
        for position, own, other, means, variance, factor in (
            (0, f, m, (mean_f, mean_m), variance_f, one.factor),
            (1, m, f, (mean_m, mean_f), variance_m, factor_m),
        ):
            if ctx.needs_input_grad[position]:
                found.append(gradient(own, other, means, variance).reshape(fixed.shape) * (2 * factor))
        kept_weights = [] if weights is None else [weights]
        ctx.has_weights = bool(kept_weights)
        ctx.save_for_backward(fixed, moving, *kept_weights, *found)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        fixed, moving, *rest = ctx.saved_tensors
        weights = rest.pop(0) if ctx.has_weights else None
        needed = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            first, second = replay(
                lambda f, m: plain_lncc(f, m, weights, ctx.window, ctx.floor), (fixed, moving), needed, grads[0])
            return first, second, None, None, None, None
        found = iter([gradient * grads[0] for gradient in rest])
        return *(next(found) if need else None for need in needed), None, None, None, None
