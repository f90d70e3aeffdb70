"""MultiPropReg: a velocity propagated coarse to fine over a pyramid of random features (docs/method.md, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from AutoRegLib.core.recipe import Network
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.fields.resample import downsample, resize_displacement
from AutoRegLib.fields.velocity import exponentiate
from AutoRegLib.fields.warp import warp
from AutoRegLib.networks.common import (
    chance,
    check_pair,
    crop_to,
    noise_of,
    pad_to_multiple,
    standardise,
    velocity_head,
)
from AutoRegLib.networks.operators import SLOPE, Activation, convolution

_LITTLE = -6.0  # logarithm of the features' variance at the start: noise as large as the features hides them for long
_EVEN = 0.1  # how much of a feature's size the logarithm of its variance varies by at the start
DILATIONS = (1, 2, 4, 8, 16, 1)  # of the layers of a context network


def _chain(dims: int, inputs: int, width: int, layers: int, *, dilated: bool = False) -> nn.Module:
    """``layers`` 3-wide convolutions to a field, near zero at the start: an untrained network is the identity."""
    parts: list[nn.Module] = []
    for i in range(layers - 1):
        reach = DILATIONS[i] if dilated else 1
        parts += [convolution(dims, inputs, width, 3, padding=reach, dilation=reach), Activation()]
        inputs = width
    return nn.Sequential(*parts, velocity_head(dims, inputs))


class _Scale(nn.Module):
    """One scale: features of both images, matching by their error, context regularization, to a velocity."""

    def __init__(self, dims: int, inputs: int, config: Network) -> None:
        super().__init__()
        sizes, self.learned = config.propagation, config.propagation.pyramid == "features"
        if self.learned:
            self.extract = nn.Sequential(
                convolution(dims, inputs, sizes.channels, 3, stride=2, padding=1), Activation(),
                convolution(dims, sizes.channels, 2 * sizes.latents, 3, padding=1),
            )
            self._start(sizes.latents)
        seen = 3 * (sizes.latents if self.learned else 1) + dims  # of both images, their error, the field
        self.match = _chain(dims, seen, sizes.matching, sizes.matching_layers)
        self.context = None
        if sizes.context_layers:
            self.context = _chain(dims, dims, sizes.context, sizes.context_layers, dilated=True)

    def _start(self, latents: int) -> None:
        """Features as large as the images, noise far smaller: torch's own start shrinks them at every layer, until the
        noise hides them at the coarse scales.
        """
        first, _, last = self.extract
        for layer in (first, last):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)  # type: ignore[arg-type]
        with torch.no_grad():
            last.weight[latents:] *= _EVEN  # type: ignore[index, operator]
        nn.init.constant_(last.bias[latents:], _LITTLE)  # type: ignore[index, arg-type]

    def forward(self, moving: Tensor, fixed: Tensor, field: Tensor, velocity: Tensor) -> Tensor:
        """Features, coarser displacement and velocity on this grid: the velocity of this scale."""
        moved = warp(moving, field)
        update = velocity + self.match(torch.cat((field, moved, fixed, (fixed - moved).abs()), dim=1))
        return update if self.context is None else update + self.context(update)


class MultiProp(nn.Module):
    """Scales 1/2, 1/4 ... as many as the recipe says; each adds to the velocity of the coarser one and integrates it.

    Features are drawn from their distribution in training, and are its mean otherwise. What is drawn depends on
    ``seed`` and on the images alone, so a resumed training, or a loss computed again for a difference, draws the same.
    Without integration (0 squarings) there is no velocity to invert: the fields are displacements.
    Shape: two images ``(B, 1, *spatial)`` of any size to a :class:`Prediction`.
    """

    def __init__(self, dims: int, *, config: Network, seed: int = 0) -> None:
        super().__init__()
        self.dims, self.config, self.seed = dims, config, seed
        sizes = config.propagation
        channels = [1] + [sizes.latents] * (sizes.scales - 1)
        self.scales = nn.ModuleList(_Scale(dims, inputs, config) for inputs in channels)
        self.layout = torch.channels_last_3d if dims == 3 else torch.channels_last
        self.to(memory_format=self.layout)  # type: ignore[call-overload]

    def _pyramid(self, pair: Tensor) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Of both images as one batch: features fine to coarse, and the (mean, log variance) they were drawn from."""
        features, latents = [], []
        drawn = chance(pair, self.seed) if self.training else None
        for scale in self.scales:
            if not scale.learned:
                pair = downsample(pair, 2)
            else:
                mean, log_variance = scale.extract(pair).chunk(2, dim=1)  # type: ignore[operator]
                latents.append((mean, log_variance))
                pair = mean
                if drawn is not None:
                    pair = mean + (0.5 * log_variance).exp() * noise_of(mean, drawn)
            features.append(pair)
        return features, latents

    def forward(self, moving: Tensor, fixed: Tensor, mixture: None = None) -> Prediction:
        """Predict the pull-back from fixed to moving. Raises InputError on different shapes."""
        check_pair(moving, fixed, self.dims)
        shape, squarings = fixed.shape[2:], self.config.squarings
        pair = pad_to_multiple(torch.cat((standardise(moving), standardise(fixed))), 2 ** len(self.scales))
        features, latents = self._pyramid(pair.contiguous(memory_format=self.layout))
        velocities: list[Tensor] = []
        displacements: list[Tensor] = []
        for scale, both in zip(reversed(self.scales), reversed(features), strict=True):
            grid, (from_moving, from_fixed) = both.shape[2:], both.chunk(2)
            if velocities:
                field, velocity = (resize_displacement(f[0], grid) for f in (displacements, velocities))
            else:
                field = velocity = both.new_zeros(len(fixed), self.dims, *grid)
            velocities.insert(0, scale(from_moving, from_fixed, field, velocity))
            displacements.insert(0, exponentiate(velocities[0], squarings=squarings))
        full = resize_displacement(displacements[0], pair.shape[2:])
        return Prediction(
            crop_to(full, shape), velocities[0] if squarings else None, tuple(displacements), tuple(velocities),
            tuple(latents),
        )
