"""A learnt filter behind any network: its field smoothed by it is the field (docs/method.md, section 3.1)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from AutoRegLib.core.recipe import FieldFilter
from AutoRegLib.fields.prediction import Prediction, integrate, integrate_within
from AutoRegLib.networks.common import Mixture


class Filtered(nn.Module):
    """The answer of a network with its finest field, the velocity where there is one, convolved by a learnt filter.

    The filter starts as a Gaussian of sum 1 and keeps the Gaussian's norm, the root of the sum of its squares: a common
    factor belongs to the network, and the trace, which would otherwise grow without end, is then largest at a cross
    of diagonals and not at the delta filter. ``form`` "gram": ``U U^T`` with U upper triangular, no diagonal entry
    below 0; in 3-D the symmetric tensor ``sum over r of U_ir U_jr U_kr``.
    Shape: as the network. The field is continued by its border.
    """

    def __init__(self, network: nn.Module, dims: int, settings: FieldFilter, *, squarings: int) -> None:
        super().__init__()
        self.network, self.dims, self.form, self.squarings = network, dims, settings.form, squarings
        width = settings.width
        profile = (-torch.linspace(-2.0, 2.0, width).square() / 2.0).exp()
        profile = profile / profile.sum()
        start = profile
        for _ in range(dims - 1):
            start = start[..., None] * profile
        # in plain numbers: a network is also built without memory, to be compared with a file
        heights = [math.exp(-((4.0 * place / (width - 1) - 2.0) ** 2) / 2.0) for place in range(width)]
        self.norm = (math.hypot(*heights) / sum(heights)) ** dims
        if settings.form == "free":
            self.weights = nn.Parameter(start[None])
        else:
            factor = 0.1 * profile.max() * torch.randn(width, width)  # what is 0 would have no gradient
            factor[:, -1] = profile
            self.weights = nn.Parameter(factor[None])

    def kernel(self) -> Tensor:
        """The filter. Shape: ``width`` along each of d axes."""
        found = self.weights[0]
        if self.form == "gram":
            factor = found.triu(1) + found.diagonal().abs().diag()
            letters = "ijk"[: self.dims]
            found = torch.einsum(",".join(f"{a}r" for a in letters) + f"->{letters}", *[factor] * self.dims)
        return found * (self.norm / found.norm().clamp_min(torch.finfo(found.dtype).tiny))

    def forward(self, moving: Tensor, fixed: Tensor, mixture: Mixture | None = None) -> Prediction:
        """Predict the pull-back from fixed to moving. Raises InputError on different shapes."""
        answer: Prediction = self.network(moving, fixed, mixture)
        kernel = self.kernel()
        if answer.velocity is None:
            return replace(answer, displacement=convolved(answer.displacement, kernel), filter=kernel)
        velocity = convolved(answer.velocity, kernel)
        whole = integrate_within(velocity, fixed.shape[2:], squarings=self.squarings)
        half = integrate(velocity, velocity.shape[2:], squarings=self.squarings) if answer.scales else None
        return replace(
            answer, displacement=whole, velocity=velocity, filter=kernel,
            scales=answer.scales if half is None else (half, *answer.scales[1:]),
            velocities=(velocity, *answer.velocities[1:]) if answer.velocities else (),
            law=None if answer.law is None else (convolved(answer.law[0], kernel), answer.law[1]),
        )


def convolved(field: Tensor, kernel: Tensor) -> Tensor:
    """Each component of a field, continued by its border, correlated with an odd kernel: its mean weighs neighbors.

    Through Fourier space: a single channel is slow to convolve directly, 13^3 terms a voxel above all.
    Shape: (B, d, *spatial), kernel of d axes -> (B, d, *spatial).
    """
    dims, reach = kernel.dim(), kernel.shape[0] // 2
    axes = tuple(range(2, 2 + dims))
    padded = functional.pad(field, (reach, reach) * dims, mode="replicate")
    sizes = padded.shape[2:]
    turned = kernel.flip(tuple(range(dims)))
    product = torch.fft.rfftn(padded, dim=axes) * torch.fft.rfftn(turned, s=sizes, dim=tuple(range(dims)))
    result: Tensor = torch.fft.irfftn(product, s=sizes, dim=axes)
    return result[(slice(None), slice(None), *(slice(2 * reach, None) for _ in range(dims)))]
