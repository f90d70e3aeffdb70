"""Local normalised cross-correlation: the plain formula, and one pass over padded vectors with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.kernels.box import BoxLayout, Buffers, box_sum
from AutoRegLib.kernels.replay import replay

_LEAST = 1e-3  # of a voxel: windows that hold less count nothing


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


def plain_lncc(
    fixed: Tensor, moving: Tensor, weights: Tensor | None, window: int, floor: float, inside: Tensor | None = None,
) -> Tensor:
    """The same value in plain differentiable operations; reference and second derivative of the fast pass."""
    correlation = squared_correlations(_standardise(fixed)[0], _standardise(moving)[0], window, floor, inside)
    return correlation.mean() if weights is None else (correlation * weights).sum()


def squared_correlations(
    fixed: Tensor, moving: Tensor, window: int, floor: float, inside: Tensor | None = None,
) -> Tensor:
    """The squared correlation of standardised images in the window about every voxel; ``inside`` as of a `Side`."""
    layout = BoxLayout(tuple(fixed.shape[2:]), window)
    scale = 1 / layout.counts(fixed) if inside is None else _shares(box_sum(inside, window))
    f, m = (fixed, moving) if inside is None else (fixed * inside, moving * inside)
    mean_f, mean_m = box_sum(f, window) * scale, box_sum(m, window) * scale
    covariance = box_sum(f * moving, window) * scale - mean_f * mean_m
    variance_f = (box_sum(f * fixed, window) * scale - mean_f * mean_f).clamp_min(floor)
    variance_m = (box_sum(m * moving, window) * scale - mean_m * mean_m).clamp_min(floor)
    return covariance * covariance / (variance_f * variance_m)


@dataclass(frozen=True, eq=False)
class Side:
    """What the correlation takes from one image alone: its voxels in a layout, and their means and variances.

    Shape: ``core``, ``mean``, ``variance`` (B * C, core) of the layout; ``factor`` of the standardisation.
    ``inside``: how much each voxel counts in the windows that hold it; None: all alike.
    """

    share: Tensor  # 1 by the voxels of a window; 0 between the voxels, which takes everything there out of the sums
    core: Tensor
    mean: Tensor
    variance: Tensor
    factor: Tensor
    inside: Tensor | None = None

    def weighted(self, core: Tensor) -> Tensor:
        """What the windows sum of a core."""
        return core if self.inside is None else core * self.inside


def side(image: Tensor, window: int, floor: float, kept: Buffers | None = None, inside: Tensor | None = None) -> Side:
    """The side of a (B, C, *spatial) image, for every correlation with it that has this window, floor and inside."""
    layout = BoxLayout(tuple(image.shape[2:]), window)
    core, factor = _placed(image, layout)
    counted, placed = core, None
    share = torch.zeros_like(core[0] if inside is None else core)
    if inside is None:
        layout.voxels(share).copy_(1 / layout.counts(share))
    else:
        placed = torch.zeros_like(core)
        for there, values in ((placed, inside), (share, _shares(box_sum(inside, window)))):
            layout.voxels(there).copy_(values.reshape(len(core), *layout.shape))
        counted = core * placed
    sums = layout.each(core, len(core), _copy(counted), _product(counted, core), kept=kept)
    mean = next(sums) * share
    return Side(share, core, mean, _moment(next(sums), share, mean, mean).clamp_min_(floor), factor, placed)


def _shares(totals: Tensor) -> Tensor:
    """1 by the voxels that count in each window; 0 where rounding alone is left of them."""
    return torch.where(totals > _LEAST, 1 / totals.clamp_min(_LEAST), 0)


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
    box(P)(y) + m(y) box(Q)(y) - box(P mean_f + Q mean_m)(y)``, times what the voxel counts in the windows; the fixed
    image's is its mirror. The loss is one number, so the gradient is computed with it and only scaled in the backward
    pass: nothing else is kept. ``known``: the fixed image's :func:`side`, where it was computed before.
    """

    @staticmethod
    def forward(
        ctx: Any, fixed: Tensor, moving: Tensor, weights: Tensor | None, window: int, floor: float,
        known: Side | None = None,
    ) -> Tensor:
        ctx.window, ctx.floor, ctx.inside = window, floor, None
        layout, rows = BoxLayout(tuple(fixed.shape[2:]), window), fixed.shape[0] * fixed.shape[1]
        kept = layout.buffers(fixed, rows)
        one = known or side(fixed, window, floor, kept)
        share, f, mean_f, variance_f = one.share, one.core, one.mean, one.variance
        m, factor_m = _placed(moving, layout)
        counted = one.weighted(m)
        sums = layout.each(m, rows, _copy(counted), _product(counted, m), _product(f, counted), kept=kept)
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
            return layout.voxels(one.weighted(result.sub_(next(boxes))))

        if one.inside is not None:
            ctx.inside = layout.voxels(one.inside).reshape(fixed.shape)
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
                lambda f, m: plain_lncc(f, m, weights, ctx.window, ctx.floor, ctx.inside), (fixed, moving), needed,
                grads[0])
            return first, second, None, None, None, None
        found = iter([gradient * grads[0] for gradient in rest])
        return *(next(found) if need else None for need in needed), None, None, None, None
