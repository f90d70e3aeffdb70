"""The candidates of the search: what builds each entry of the operator table (docs/method.md, section 1.2).

Each operator maps ``(B, in, *spatial)`` to ``(B, out, *spatial / stride)`` and ends in LeakyReLU(0.2);
there are no normalisation layers. Reference: AutoReg paper, Sec. III-B and Fig. 2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from AutoRegLib.core.genotype import OPERATOR_TABLE
from AutoRegLib.kernels.depthwise import depthwise_convolution

SLOPE = 0.2
Constructor = Callable[[int, int, int, int], nn.Module]  # (dims, in channels, out channels, stride)


class Single(nn.Conv3d):
    """A 3-D convolution that is as fast for one small volume as for several.

    torch 2.13 on the CPU leaves a single float32 volume of at most 20480 channels times depth times height to a kernel
    that takes up to twenty times as long as oneDNN (16 channels of 32 voxels cubed: 54 against 2.7 ms, forward). Where
    gradients are wanted the volume goes twice, since their kernel is chosen by the same rule (163 against 26 ms).
    """

    _most = 20480

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        small = input.dim() == 5 and len(input) == 1 and input.shape[1:4].numel() <= self._most
        plain = input.dtype == torch.float32 and input.device.type == "cpu"
        if isinstance(self.padding, str) or not (small and plain and torch.backends.mkldnn.is_available()):
            return super()._conv_forward(input, weight, bias)
        if torch.is_grad_enabled():
            return super()._conv_forward(input.expand(2, -1, -1, -1, -1), weight, bias)[:1]
        return torch.mkldnn_convolution(input, weight, bias, self.padding, self.stride, self.dilation, self.groups)


def convolution(dims: int, *args: int, **options: int) -> nn.Module:
    """A plain 2-D or 3-D convolution layer."""
    kind = {2: nn.Conv2d, 3: Single}[dims]
    return kind(*args, **options)  # type: ignore[arg-type]


def rise(dims: int, inputs: int, outputs: int) -> nn.Module:
    """Twice the grid by a transposed convolution, 2 wide."""
    kind = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dims]
    return kind(inputs, outputs, 2, stride=2)  # type: ignore[no-any-return]


class Depthwise(nn.Conv3d):
    """A 3-D convolution of each channel by itself, with a faster backward pass than torch's on the CPU."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.is_cuda or input.dim() == 4:  # torch takes an image without a batch axis; its kernels serve the GPU
            return super()._conv_forward(input, weight, bias)
        return depthwise_convolution(input, weight, bias, stride=self.stride[0])


class Pointwise(nn.Conv3d):
    """A 1-wide 3-D convolution as one matrix product: on the CPU a third to a half of torch's time."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.is_cuda or input.dim() == 4:
            return super()._conv_forward(input, weight, bias)
        return F.linear(input.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)


def pointwise(dims: int, inputs: int, outputs: int) -> nn.Module:
    """A convolution of each voxel by itself."""
    return {2: nn.Conv2d, 3: Pointwise}[dims](inputs, outputs, 1)


def depthwise(dims: int, channels: int, kernel: int, stride: int) -> nn.Module:
    """A convolution of each channel by itself, ``kernel`` (odd) wide."""
    kind = {2: nn.Conv2d, 3: nn.Conv3d if channels == 1 else Depthwise}[dims]
    return kind(channels, channels, kernel, stride=stride, padding=kernel // 2, groups=channels)


class Activation(nn.Module):
    """LeakyReLU; where no gradient is wanted in the memory of its input, always the tensor of the layer before.

    A fresh tensor of that size costs ten times the arithmetic. With gradients it would cost the views among those
    tensors a copy each way.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, SLOPE, inplace=not torch.is_grad_enabled())


class Every(nn.Module):
    """Every ``stride``-th voxel of each axis: what a strided 1-wide convolution reads.

    torch 2.13 corrupts memory in the backward pass of such a convolution on the CPU (2-D, channels last).
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        each = slice(None, None, self.stride)
        return x[..., each, each] if x.dim() == 4 else x[..., each, each, each]


def _regular(kernel: int, dilation: int = 1) -> Constructor:
    def build(dims: int, inputs: int, outputs: int, stride: int) -> nn.Module:
        if kernel == 1:
            return nn.Sequential(*[Every(stride)] * (stride > 1), pointwise(dims, inputs, outputs), Activation())
        reach = dilation * (kernel - 1) // 2
        return nn.Sequential(
            convolution(dims, inputs, outputs, kernel, stride=stride, padding=reach, dilation=dilation),
            Activation(),
        )

    return build


def _separable(kernel: int) -> Constructor:
    def build(dims: int, inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(
            depthwise(dims, inputs, kernel, stride),
            pointwise(dims, inputs, outputs),
            Activation(),
        )

    return build


def _full_separable(kernel: int) -> Constructor:
    """The operator the authors released under the name separable: far costlier, twice the reach."""

    def build(dims: int, inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(
            convolution(dims, inputs, inputs, kernel, padding=kernel // 2),
            Activation(),
            _separable(kernel)(dims, inputs, outputs, stride),
        )

    return build


_KINDS: dict[str, Callable[[int, int], Constructor]] = {
    "convolution": _regular,
    "separable": lambda kernel, dilation: _separable(kernel),
    "full separable": lambda kernel, dilation: _full_separable(kernel),
}
CONSTRUCTORS: dict[str, Constructor] = {
    name: _KINDS[operator.kind](operator.kernel, operator.dilation) for name, operator in OPERATOR_TABLE.items()
}
