"""The MIND-SSC descriptor: the plain formula, and one pass channel by channel in place with its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.kernels.box import BoxLayout, box_sum
from AutoRegLib.kernels.replay import replay

Step = tuple[int, ...]  # a neighbour, or the way from one neighbour to another, in dilations per axis


def _pairs(dims: int) -> list[tuple[Step, Step]]:
    """Pairs of neighbours at right angles, as (one neighbour, offset to the other).

    A pair has two directions; the one that sorts last is taken, so that parallel pairs have equal offsets.
    """
    signed = [(axis, sign) for axis in range(dims) for sign in (-1, 1)]
    units = [tuple(sign if other == axis else 0 for other in range(dims)) for axis, sign in signed]
    found = []
    for a, b in combinations(units, 2):
        ahead = tuple(q - p for p, q in zip(a, b, strict=True))
        back = tuple(-step for step in ahead)
        if any(p + q for p, q in zip(a, b, strict=True)):  # opposite neighbours add up to nothing
            found.append((a, ahead) if ahead > back else (b, back))
    return found


class _Geometry:
    """The regions that one image, its continuation and the difference images share."""

    def __init__(self, image: Tensor, radius: int, dilation: int) -> None:
        self.shape = tuple(image.shape[2:])
        self.dims = len(self.shape)
        self.dilation, self.window = dilation, 2 * radius + 1
        self.near = tuple(size + 2 * dilation for size in self.shape)  # where patches of any neighbour lie
        self.pairs = _pairs(self.dims)
        self.offsets = sorted({offset for _, offset in self.pairs})
        self.counts = BoxLayout(self.near, self.window).counts(image)

    def continued(self, image: Tensor) -> Tensor:
        """The image continued by its border value far enough to be shifted on the near region."""
        return F.pad(image, (2 * self.dilation,) * (2 * self.dims), mode="replicate")

    def at(self, region: Tensor, step: Step, shape: Sequence[int]) -> Tensor:
        """A view of the part of that shape that lies ``step`` dilations from the region's centre."""
        for axis, (move, size) in enumerate(zip(step, shape, strict=True), start=region.ndim - self.dims):
            margin = (region.shape[axis] - size) // 2
            region = region.narrow(axis, margin + move * self.dilation, size)
        return region


def _scale(mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """V from the mean distances (B, 1, *spatial), and the bounds it is kept in."""
    overall = mean.detach().mean(tuple(range(1, mean.ndim)), keepdim=True)
    overall = torch.where(overall > 1e-30, overall, 1)  # a constant image: its distances are 0 on any scale
    return mean.clamp(min=overall * 1e-3, max=overall * 1e3), overall * 1e-3, overall * 1e3


def plain_mind(image: Tensor, radius: int, dilation: int) -> Tensor:
    """The descriptor in plain differentiable operations; reference and second derivative of the fast pass."""
    place = _Geometry(image, radius, dilation)
    wide = place.continued(image)
    centre = place.at(wide, (0,) * place.dims, place.near)
    found = {
        offset: box_sum((centre - place.at(wide, offset, place.near)).square(), place.window) / place.counts
        for offset in place.offsets
    }
    distances = torch.cat([place.at(found[offset], start, place.shape) for start, offset in place.pairs], 1)
    distances = distances - distances.amin(1, keepdim=True)
    return torch.exp(-distances / _scale(distances.mean(1, keepdim=True))[0])


class FastMind(torch.autograd.Function):
    """The descriptor channel by channel in place, with its gradient in closed form.

    With m = exp(-d / V), d = D - min D and the incoming gradient g, d receives
    ``q_k = -g_k m_k / V + [V within its bounds] sum_j(g_j m_j d_j / V) / (channels V)``, every D its own q
    and the smallest D minus the sum of all q.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, radius: int, dilation: int) -> Tensor:
        place = _Geometry(image, radius, dilation)
        layout = BoxLayout(place.near, place.window)
        wide = place.continued(image)[:, 0]
        centre = place.at(wide, (0,) * place.dims, place.near)
        padded = layout.zeros(image, image.shape[0])
        work = [torch.empty_like(padded) for _ in range(3)]
        boxed = {}
        for offset in place.offsets:
            torch.sub(centre, place.at(wide, offset, place.near), out=layout.voxels(layout.inner(padded)))
            layout.inner(padded).square_()
            boxed[offset] = layout.voxels(layout.sums(padded, work)) / place.counts
        del padded, work
        distances = [place.at(boxed[offset], start, place.shape) for start, offset in place.pairs]
        lowest, mean = distances[0].clone(), distances[0].clone()
        for distance in distances[1:]:
            torch.minimum(lowest, distance, out=lowest)
            mean += distance
        mean = mean.div_(len(distances)).sub_(lowest)
        variance, low, high = (part[:, 0] for part in _scale(mean[:, None]))
        rate = variance.reciprocal().neg_()
        descriptor = image.new_empty(image.shape[0], len(distances), *place.shape)
        for channel, distance in zip(descriptor.unbind(1), distances, strict=True):
            torch.sub(distance, lowest, out=channel).mul_(rate).exp_()
        ctx.radius, ctx.dilation = radius, dilation
        ctx.save_for_backward(image, descriptor, rate, (mean >= low) & (mean <= high))
        return descriptor

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        image, descriptor, rate, free = ctx.saved_tensors
        if torch.is_grad_enabled():
            (found,) = replay(lambda x: plain_mind(x, ctx.radius, ctx.dilation), (image,), (True,), grads[0])
            return found, None, None
        place = _Geometry(image, ctx.radius, ctx.dilation)
        channels, incoming = descriptor.unbind(1), grads[0].unbind(1)
        through_mean, total, ties = (torch.zeros_like(rate) for _ in range(3))
        spare, product = torch.empty_like(rate), torch.empty_like(rate)
        tiny = torch.finfo(rate.dtype).tiny
        for m, g in zip(channels, incoming, strict=True):
            total += torch.mul(g, m, out=product)
            through_mean.addcmul_(product, torch.clamp(m, min=tiny, out=spare).log_())  # log m = -d / V
            ties += torch.eq(m, 1, out=spare)  # where the distance is the smallest
        through_mean.mul_(rate).mul_(free).div_(len(channels))
        to_lowest = total.mul_(rate).add_(through_mean, alpha=len(channels)).div_(ties).neg_()
        boxed = {offset: image.new_zeros(image.shape[0], *place.near) for offset in place.offsets}
        for m, g, (start, offset) in zip(channels, incoming, place.pairs, strict=True):
            target = place.at(boxed[offset], start, place.shape)
            target += torch.mul(g, m, out=spare).mul_(rate).add_(through_mean)
            target.addcmul_(torch.eq(m, 1, out=spare), to_lowest)
        return _to_image(image, boxed, place)[:, None], None, None


def _to_image(image: Tensor, boxed: dict[Step, Tensor], place: _Geometry) -> Tensor:
    """The image's gradient (B, *spatial) from the gradients of the box means of its squared differences."""
    layout = BoxLayout(place.near, place.window)
    padded = layout.zeros(image, image.shape[0])
    work = [torch.empty_like(padded) for _ in range(3)]
    wide = place.continued(image)[:, 0]
    result = torch.zeros_like(wide)
    zero = (0,) * place.dims
    centre = place.at(wide, zero, place.near)
    scale = 2 / place.counts
    for offset in place.offsets:
        torch.mul(boxed[offset], scale, out=layout.voxels(layout.inner(padded)))
        slope = (centre - place.at(wide, offset, place.near)).mul_(layout.voxels(layout.sums(padded, work)))
        place.at(result, zero, place.near).add_(slope)
        place.at(result, offset, place.near).sub_(slope)
    margin = 2 * place.dilation
    for axis, size in enumerate(place.shape, start=1):  # the continuation belongs to the border voxels
        inner = result.narrow(axis, margin, size)
        inner.narrow(axis, 0, 1).add_(result.narrow(axis, 0, margin).sum(axis, keepdim=True))
        after = result.narrow(axis, margin + size, margin)
        inner.narrow(axis, size - 1, 1).add_(after.sum(axis, keepdim=True))
        result = inner
    return result.contiguous()
