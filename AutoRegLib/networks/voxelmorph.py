"""U-Nets on the pair: VoxelMorph's (Fig. 3 of its paper) and those derived from them (docs/method.md, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from AutoRegLib.fields.prediction import Prediction, integrate
from AutoRegLib.fields.resample import resize_displacement, resize_image
from AutoRegLib.networks.common import (
    chance,
    check_pair,
    crop_to,
    noise_of,
    pad_to_multiple,
    standardise,
    velocity_head,
)
from AutoRegLib.networks.operators import Activation, convolution, rise

ENCODER = (16, 32, 32, 32)  # one strided convolution per halving of the grid
_LITTLE = -10.0  # logarithm of the variance that a training starts from
Levels = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Variant:
    """``decoder``: widths of the convolutions at 1/16, 1/8, 1/4, 1/2 and full size; each level but the first starts by
    upsampling and joining the encoder's features of that size. Without the last the field lies at 1/2.
    ``integrates``: the field is a velocity; ``draws``: from a distribution, in training; ``learnt``: a transposed
    convolution upsamples.
    """

    decoder: Levels
    integrates: bool = False
    draws: bool = False
    learnt: bool = False


_FIRST: Levels = ((32,), (32,), (32,), (32, 8), (8,))
_SECOND: Levels = ((32,), (32,), (32,), (32, 32), (16, 16))
_HALF: Levels = ((32,), (32,), (32,), (32, 16))
VARIANTS: dict[str, Variant] = {
    "voxelmorph1": Variant(_FIRST),
    "voxelmorph1_half": Variant(_FIRST[:-1]),
    "voxelmorph2": Variant(_SECOND),
    "voxelmorph_diff": Variant(_HALF, integrates=True, draws=True),
    "voxelmorph_diff_deterministic": Variant(_HALF, integrates=True),
    "metareg": Variant(_SECOND, learnt=True),
}


class VoxelMorph(nn.Module):
    """A U-Net on the concatenated pair, in one of the :data:`VARIANTS`.

    What a training draws depends on ``seed`` and the images alone; otherwise the velocity is its mean.
    Shape: two images ``(B, 1, *spatial)`` of any size to a :class:`Prediction`.
    """

    def __init__(self, dims: int, variant: str, *, squarings: int = 7, seed: int = 0) -> None:
        super().__init__()
        self.dims, self.squarings, self.seed = dims, squarings, seed
        self.variant = VARIANTS[variant]

        def layer(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(
                convolution(dims, inputs, outputs, 3, stride=stride, padding=1), Activation()
            )

        channels = 2
        self.encoder = nn.ModuleList()
        for outputs in ENCODER:
            self.encoder.append(layer(channels, outputs, 2))
            channels = outputs
        self.decoder, self.rises = nn.ModuleList(), nn.ModuleList()
        for widths, skip in zip(self.variant.decoder, (0, *ENCODER[-2::-1], 2), strict=False):
            level = []
            if self.variant.learnt and skip:
                self.rises.append(rise(dims, channels, channels))
            channels += skip
            for outputs in widths:
                level.append(layer(channels, outputs))
                channels = outputs
            self.decoder.append(nn.Sequential(*level))
        self.head = velocity_head(dims, channels)
        self.spread = None
        if self.variant.draws:
            self.spread = velocity_head(dims, channels)
            nn.init.constant_(self.spread.bias, _LITTLE)  # type: ignore[arg-type]
        self.layout = torch.channels_last_3d if dims == 3 else torch.channels_last
        self.to(memory_format=self.layout)  # type: ignore[call-overload]

    def forward(self, moving: Tensor, fixed: Tensor, mixture: None = None) -> Prediction:
        """Predict the pull-back from fixed to moving. Raises InputError on different shapes."""
        check_pair(moving, fixed, self.dims)
        shape = fixed.shape[2:]
        pair = torch.cat((standardise(moving), standardise(fixed)), dim=1)
        x = pad_to_multiple(pair, 2 ** len(ENCODER)).contiguous(memory_format=self.layout)
        padded = x.shape[2:]
        skips = []
        for down in self.encoder:
            skips.append(x)
            x = down(x)
        x = self.decoder[0](x)
        for place, (up, skip) in enumerate(zip(self.decoder[1:], reversed(skips), strict=False)):
            x = self.rises[place](x) if self.variant.learnt else resize_image(x, skip.shape[2:])
            x = up(torch.cat((x, skip), dim=1))
        field = self.head(x)
        if not self.variant.integrates:
            return Prediction(crop_to(resize_displacement(field, padded), shape), None)
        law = None if self.spread is None else (field, self.spread(x))
        if law is not None and self.training:
            field = field + (0.5 * law[1]).exp() * noise_of(field, chance(pair, self.seed))
        return Prediction(crop_to(integrate(field, padded, squarings=self.squarings), shape), field, law=law)
