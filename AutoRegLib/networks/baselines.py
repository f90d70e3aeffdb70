"""DIRNet and FCN-SS: convolutional networks to compare meta-regularization with (docs/method.md, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.networks.common import check_pair, crop_to, pad_to_multiple, standardise, velocity_head
from AutoRegLib.networks.operators import SLOPE, Activation, convolution, rise

POOLINGS = 3  # control points of DIRNet lie 2^3 voxels apart


def _average(dims: int) -> nn.Module:
    return nn.AvgPool2d(2) if dims == 2 else nn.AvgPool3d(2)


class DirNet(nn.Module):
    """Convolutions and averaging alone, to the moves of control points; between them a cubic B-spline.

    Shape: two images ``(B, 1, *spatial)`` of any size to a :class:`Prediction`.
    Reference: de Vos et al., DLMIA 2017, without its batch normalisation.
    """

    def __init__(self, dims: int, *, width: int = 16) -> None:
        super().__init__()
        self.dims = dims
        layers: list[nn.Module] = []
        inputs = 2
        for _ in range(POOLINGS):
            layers += [convolution(dims, inputs, width, 3, padding=1), nn.ELU(), _average(dims)]
            inputs = width
        for _ in range(2):
            layers += [convolution(dims, width, width, 3, padding=1), nn.ELU()]
        self.encoder = nn.Sequential(*layers)
        self.head = velocity_head(dims, width)

    def forward(self, moving: Tensor, fixed: Tensor, mixture: None = None) -> Prediction:
        """Predict the pull-back from fixed to moving. Raises InputError on different shapes."""
        check_pair(moving, fixed, self.dims)
        pair = pad_to_multiple(torch.cat((standardise(moving), standardise(fixed)), dim=1), 2**POOLINGS)
        field = spline_between(self.head(self.encoder(pair)), pair.shape[2:])
        return Prediction(crop_to(field, fixed.shape[2:]), None)


def spline_between(control: Tensor, shape: Sequence[int]) -> Tensor:
    """The cubic B-spline whose control points are the centres of a coarser grid's voxels, their border repeated.

    Shape: (B, d, *coarse) -> (B, d, *shape). Unit: voxels of the coarse grid -> voxels of the new grid.
    """
    for axis, size in enumerate(shape, start=2):
        coarse = control.shape[axis]
        place = (torch.arange(size, device=control.device, dtype=control.dtype) + 0.5) * coarse / size - 0.5
        index = place.floor()
        t = place - index
        shares = torch.stack(((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)) / 6.0
        rows = (index[None] + torch.arange(-1, 3, device=control.device)[:, None]).clamp(0, coarse - 1).long()
        matrix = control.new_zeros(coarse, size).scatter_add(0, rows, shares)
        control = (control.movedim(axis, -1) @ matrix).movedim(-1, axis)
    scale = control.new_tensor([2**POOLINGS] * len(shape)).view(1, -1, *[1] * len(shape))
    return control * scale


class FcnSs(nn.Module):
    """A fully convolutional hourglass with a field, and a comparison, at 1/4, 1/2 and full resolution.

    Shape: two images ``(B, 1, *spatial)`` of any size to a :class:`Prediction`.
    Reference: Li and Fan, ISBI 2018, without its batch normalisation.
    """

    def __init__(self, dims: int, *, widths: tuple[int, int, int] = (32, 64, 128)) -> None:
        super().__init__()
        self.dims = dims
        first, second, third = widths

        def layer(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(convolution(dims, inputs, outputs, 3, padding=1), Activation())

        self.down = nn.Sequential(
            layer(2, first), _average(dims), layer(first, second), _average(dims), layer(second, third))
        self.rises = nn.ModuleList((rise(dims, third, second), rise(dims, second, first)))
        self.layers = nn.ModuleList((layer(second, second), layer(first, first)))
        self.heads = nn.ModuleList(velocity_head(dims, width) for width in reversed(widths))

    def forward(self, moving: Tensor, fixed: Tensor, mixture: None = None) -> Prediction:
        """Predict the pull-back from fixed to moving. Raises InputError on different shapes."""
        check_pair(moving, fixed, self.dims)
        pair = pad_to_multiple(torch.cat((standardise(moving), standardise(fixed)), dim=1), 4)
        x = self.down(pair)
        fields = [self.heads[0](x)]
        for up, layer, head in zip(self.rises, self.layers, list(self.heads)[1:], strict=True):
            x = layer(nn.functional.leaky_relu(up(x), SLOPE))
            fields.append(head(x))
        return Prediction(crop_to(fields[2], fixed.shape[2:]), None, (fields[1], fields[0]))
