"""Convolutions of our own against torch's own, with first and second derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from AutoRegLib.kernels.depthwise import depthwise_convolution
from AutoRegLib.networks.operators import Depthwise, Pointwise, Single


def drawn(kernel: int, dtype: torch.dtype, shape: tuple[int, ...] = (2, 3, 7, 6, 5)) -> list[torch.Tensor]:
    maker = torch.Generator().manual_seed(kernel)
    shapes = (shape, (shape[1], 1, kernel, kernel, kernel), (shape[1],))
    return [torch.randn(s, generator=maker, dtype=dtype, requires_grad=True) for s in shapes]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_agrees_with_torch(kernel: int, stride: int, layout: torch.memory_format) -> None:
    inputs = drawn(kernel, torch.float32, (2, 9, 12, 11, 10))
    x, weight, bias = inputs
    plain = F.conv3d(x, weight, bias, stride=stride, padding=kernel // 2, groups=9)
    found = depthwise_convolution(x.contiguous(memory_format=layout), weight, bias, stride=stride)
    assert (found - plain).abs().max() < 1e-5
    grad = torch.randn(plain.shape, generator=torch.Generator().manual_seed(0)) / plain[0, 0].numel() ** 0.5
    wanted = torch.autograd.grad(plain, inputs, grad)
    for a, b in zip(torch.autograd.grad(found, inputs, grad), wanted, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() < 1e-5


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_derivatives(kernel: int, stride: int) -> None:
    inputs = drawn(kernel, torch.float64, (2, 2, 3, 3, 2))

    def run(*values: torch.Tensor) -> torch.Tensor:
        return depthwise_convolution(*values, stride=stride)

    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


def test_module_is_a_convolution() -> None:
    plain = torch.nn.Conv3d(4, 4, 3, padding=1, groups=4, stride=2)
    module = Depthwise(4, 4, 3, padding=1, groups=4, stride=2)
    module.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 8, 7, 6, generator=torch.Generator().manual_seed(0))
    assert (module(x) - plain(x)).abs().max() < 1e-6


def test_pointwise_agrees_with_torch() -> None:
    plain = torch.nn.Conv3d(5, 7, 1).double()
    module = Pointwise(5, 7, 1).double()
    module.load_state_dict(plain.state_dict())
    x = torch.randn(2, 5, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    wanted = torch.autograd.grad(plain(x).square().sum(), (x, *plain.parameters()))
    found = torch.autograd.grad(module(x).square().sum(), (x, *module.parameters()))
    assert (module(x) - plain(x)).abs().max() < 1e-12
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(found, wanted, strict=True))
    assert torch.autograd.gradgradcheck(module, x)


def test_same_bits_again() -> None:
    inputs = drawn(5, torch.float32, (2, 16, 9, 8, 7))
    runs = [torch.autograd.grad(depthwise_convolution(*inputs).square().sum(), inputs) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (5, 1, 1), (3, 1, 2), (7, 1, 2)])
def test_a_single_small_volume_is_convolved_as_torch_does(
    kernel: int, stride: int, dilation: int, layout: torch.memory_format
) -> None:
    """With and without gradients; float64, which oneDNN has no kernel for, twice differentiable."""
    torch.manual_seed(kernel)
    layer = Single(4, 3, kernel, stride=stride, dilation=dilation, padding=dilation * (kernel - 1) // 2)
    options = {"stride": stride, "dilation": dilation, "padding": layer.padding}
    x = torch.randn(1, 4, 9, 8, 7).contiguous(memory_format=layout).requires_grad_()
    wanted = F.conv3d(x.double(), layer.weight.double(), layer.bias.double(), **options)  # type: ignore[arg-type,union-attr]
    with torch.no_grad():
        assert (layer(x) - wanted).abs().max() < 1e-5
    found = layer(x)
    assert found.shape == wanted.shape and (found - wanted).abs().max() < 1e-5
    inputs = [x, layer.weight, layer.bias]
    for a, b in zip(torch.autograd.grad(found.square().mean(), inputs),  # type: ignore[arg-type]
                    torch.autograd.grad(wanted.square().mean(), inputs), strict=True):  # type: ignore[arg-type]
        assert (a - b).abs().max() < 1e-5
    double = layer.double()
    assert (double(x.double()) - wanted).abs().max() < 1e-10


def test_a_single_small_volume_gives_second_derivatives() -> None:
    torch.manual_seed(0)
    layer, x = Single(2, 2, 3, padding=1), torch.randn(1, 2, 4, 4, 4)

    def curvature(*, through: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        gradient = torch.autograd.grad(through(x, layer.weight).pow(3).mean(), layer.weight, create_graph=True)[0]
        return torch.autograd.grad(gradient.square().sum(), layer.weight)[0]

    ours = curvature(through=lambda x, weight: torch.func.functional_call(layer, {"weight": weight}, (x,)))
    theirs = curvature(through=lambda x, weight: F.conv3d(x, weight, layer.bias, padding=1))
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
