"""Local normalised cross-correlation: the plain formula, and one pass over padded vectors with its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from AutoRegLib.kernels.box import BoxLayout, box_sum
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
    fixed, moving = _standardise(fixed)[0], _standardise(moving)[0]
    layout = BoxLayout(tuple(fixed.shape[2:]), window)
    scale = 1 / layout.counts(fixed)
    mean_f, mean_m = box_sum(fixed, window) * scale, box_sum(moving, window) * scale
    covariance = box_sum(fixed * moving, window) * scale - mean_f * mean_m
    variance_f = (box_sum(fixed * fixed, window) * scale - mean_f * mean_f).clamp_min(floor)
    variance_m = (box_sum(moving * moving, window) * scale - mean_m * mean_m).clamp_min(floor)
    correlation = covariance * covariance / (variance_f * variance_m)
    return correlation.mean() if weights is None else (correlation * weights).sum()


class FastLncc(torch.autograd.Function):
    """LNCC in the padded vectors of `BoxLayout`, with its gradient in closed form.

    With s = weight / count, P = s cov / (var_f var_m) and Q = -s cov^2 / (var_f var_m^2) where var_m is
    above the floor (0 elsewhere), half the gradient at the voxel y of the moving image m is ``f(y)
    box(P)(y) + m(y) box(Q)(y) - box(P mean_f + Q mean_m)(y)``; the fixed image's is its mirror. The loss is
    one number, so the gradient is computed with it and only scaled in the backward pass: nothing else is
    kept.
    """

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, moving: Tensor, weights: Tensor | None, window: int, floor: float) -> Tensor:
        ctx.window, ctx.floor = window, floor
        layout = BoxLayout(tuple(fixed.shape[2:]), window)
        rows = fixed.shape[0] * fixed.shape[1]
        standard_f, factor_f = _standardise(fixed)
        standard_m, factor_m = _standardise(moving)
        f, m, inputs = (layout.zeros(fixed, rows) for _ in range(3))
        layout.voxels(layout.inner(f)).copy_(standard_f.view(rows, *layout.shape))
        layout.voxels(layout.inner(m)).copy_(standard_m.view(rows, *layout.shape))
        del standard_f, standard_m
        # 0 between the voxels, which takes everything there out of the sums
        share = torch.zeros_like(layout.inner(f)[0])
        layout.voxels(share).copy_(1 / layout.counts(share))
        work = [torch.empty_like(f) for _ in range(3)]
        f_core, m_core, product = layout.inner(f), layout.inner(m), layout.inner(inputs)

        def box(core: Tensor) -> Tensor:
            if core is not product:
                product.copy_(core)
            return layout.sums(inputs, work)

        def second_moment(a: Tensor, b: Tensor, mean_a: Tensor, mean_b: Tensor) -> Tensor:
            return (box(torch.mul(a, b, out=product)) * share).addcmul_(mean_a, mean_b, value=-1)

        mean_f, mean_m = layout.sums(f, work) * share, layout.sums(m, work) * share
        covariance = second_moment(f_core, m_core, mean_f, mean_m)
        variance_f = second_moment(f_core, f_core, mean_f, mean_f).clamp_min_(floor)
        variance_m = second_moment(m_core, m_core, mean_m, mean_m).clamp_min_(floor)
        ratio = (covariance / variance_f).div_(variance_m)
        correlation = covariance.mul_(ratio)
        if weights is None:
            value = correlation.sum() / fixed.numel()
            share /= fixed.numel()
        else:
            weight = torch.zeros_like(correlation)
            layout.voxels(weight).copy_(weights.reshape(rows, *layout.shape))
            value = torch.dot(correlation.flatten(), weight.flatten())
            share = weight.mul_(share)
        ratio *= share  # P
        correlation *= share  # -Q var_m
        box_p = box(ratio).clone() if any(ctx.needs_input_grad[:2]) else ratio

        def gradient(own: Tensor, other: Tensor, means: tuple[Tensor, Tensor], variance: Tensor) -> Tensor:
            """Half the gradient with respect to ``own``."""
            q = (correlation / variance).mul_(variance > floor).neg_()
            result = (box_p * other).addcmul_(box(q), own)
            torch.mul(ratio, means[1], out=product).addcmul_(q, means[0])
            return layout.voxels(result.sub_(box(product)))

        found = []
        for position, own, other, means, variance, factor in (
            (0, f_core, m_core, (mean_f, mean_m), variance_f, factor_f),
            (1, m_core, f_core, (mean_m, mean_f), variance_m, factor_m),
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
            return first, second, None, None, None
        found = iter([gradient * grads[0] for gradient in rest])
        return *(next(found) if need else None for need in needed), None, None, None
