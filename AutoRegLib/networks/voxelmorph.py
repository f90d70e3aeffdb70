"""VoxelMorph: the U-Nets VM-1 and VM-2 of Fig. 3 of the paper, and a diffeomorphic one (docs/method.md, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from AutoRegLib.fields.prediction import Prediction, integrate
from AutoRegLib.fields.resample import resize_image
from AutoRegLib.networks.common import check_pair, crop_to, pad_to_multiple, standardise, velocity_head
from AutoRegLib.networks.operators import Activation, convolution

ENCODER = (16, 32, 32, 32)  # one strided convolution per halving of the grid
#: convolutions of the decoder at 1/16, 1/8, 1/4, 1/2 and full size; each level but the first starts by
#: upsampling and joining the encoder's features of that size (VoxelMorph, Fig. 3)
DECODER: dict[str, tuple[tuple[int, ...], ...]] = {
    "voxelmorph1": ((32,), (32,), (32,), (32, 8), (8,)),
    "voxelmorph2": ((32,), (32,), (32,), (32, 32), (16, 16)),
    "voxelmorph_diff": ((32,), (32,), (32,), (32, 16)),
}


class VoxelMorph(nn.Module):
    """A U-Net on the concatenated pair; the diffeomorphic variant stops at 1/2 and integrates a velocity.

    Shape: two images ``(B, 1, *spatial)`` of any size to a :class:`Prediction`.
    """

    def __init__(self, dims: int, variant: str, *, squarings: int = 7) -> None:
        super().__init__()
        self.dims = dims
        self.squarings = squarings
        self.diffeomorphic = variant == "voxelmorph_diff"

        def layer(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(
                convolution(dims, inputs, outputs, 3, stride=stride, padding=1), Activation()
            )

        channels = 2
        self.encoder = nn.ModuleList()
        for outputs in ENCODER:
            self.encoder.append(layer(channels, outputs, 2))
            channels = outputs
        self.decoder = nn.ModuleList()
        for widths, skip in zip(DECODER[variant], (0, *ENCODER[-2::-1], 2), strict=False):
            level = []
            channels += skip
            for outputs in widths:
                level.append(layer(channels, outputs))
                channels = outputs
            self.decoder.append(nn.Sequential(*level))
        self.head = velocity_head(dims, channels)
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
        for up, skip in zip(self.decoder[1:], reversed(skips), strict=False):
            x = up(torch.cat((resize_image(x, skip.shape[2:]), skip), dim=1))
        field = self.head(x)
        if not self.diffeomorphic:
            return Prediction(crop_to(field, shape), None)
        return Prediction(crop_to(integrate(field, padded, squarings=self.squarings), shape), field)
