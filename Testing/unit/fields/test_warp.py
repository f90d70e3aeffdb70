"""Sampling: cases computed by hand, borders, types and refusals."""

from __future__ import annotations

import math
import sys
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.warp import identity_grid, sample_at, warp
from AutoRegLib.kernels.replay import replay
from AutoRegLib.kernels.sampling import grid_sample_linear


def ramp(*shape: int) -> torch.Tensor:
    """An image whose value names its voxel."""
    return torch.arange(float(torch.tensor(shape).prod())).view(1, 1, *shape)


def shift(shape: tuple[int, ...], *vector: float) -> torch.Tensor:
    return torch.tensor(vector).view(1, -1, *[1] * len(shape)).expand(1, -1, *shape).clone()


def test_components_follow_the_axes_and_pull_back() -> None:
    image = ramp(4, 5, 6)
    warped = warp(image, shift((4, 5, 6), 1, 0, -2))
    assert warped[0, 0, 1, 2, 3] == image[0, 0, 2, 2, 1]
    assert warped[0, 0, 3, 2, 1] == image[0, 0, 3, 2, 0]  # beyond the border the border value


def test_half_a_voxel_is_the_mean_of_two() -> None:
    warped = warp(torch.tensor([[[[0.0, 2.0, 8.0]] * 2]]), shift((2, 3), 0, 0.5))
    assert warped[0, 0].tolist() == [[1.0, 5.0, 8.0]] * 2


def test_zero_padding_fades_over_one_voxel() -> None:
    warped = warp(torch.ones(1, 1, 2, 3), shift((2, 3), 0, 0.25), padding="zeros")
    assert warped[0, 0].tolist() == [[1.0, 1.0, 0.75]] * 2


def test_zero_displacement_returns_the_image_exactly() -> None:
    image = torch.rand(2, 3, 5, 6, 7)
    assert torch.equal(warp(image, torch.zeros(2, 3, 5, 6, 7)), image)


@pytest.mark.parametrize("shape", [(6, 7), (5, 6, 7)])
@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_agrees_withgrid_sample_linear(shape: tuple[int, ...], padding: str, mode: str) -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 3, *shape, dtype=torch.float64)
    displacement = 2.5 * torch.randn(2, len(shape), *shape, dtype=torch.float64)
    positions = identity_grid(shape, dtype=torch.float64) + displacement
    axes = [2 * positions[:, axis] / (shape[axis] - 1) - 1 for axis in range(len(shape))]
    kernel = {"linear": "bilinear"}.get(mode, mode)
    expected = F.grid_sample(image, torch.stack(axes[::-1], -1), mode=kernel, padding_mode=padding, align_corners=True)
    found = warp(image, displacement, mode=mode, padding=padding)  # type: ignore[arg-type]
    assert (found - expected).abs().max() < 1e-12


def test_nearest_keeps_the_type_of_labels() -> None:
    labels = torch.tensor([[[[1, 7, 1 << 30]] * 2]], dtype=torch.int32)
    warped = warp(labels, shift((2, 3), 0, 0.6), mode="nearest")
    assert warped.dtype == torch.int32
    assert warped[0, 0, 0].tolist() == [7, 1 << 30, 1 << 30]
    assert warp(labels, shift((2, 3), 0, 0.6), mode="nearest", padding="zeros")[0, 0, 0, 2] == 0


def test_half_precision_displacements_are_computed_in_single() -> None:
    assert warp(torch.rand(1, 1, 4, 4), torch.zeros(1, 2, 4, 4, dtype=torch.float16)).dtype == torch.float32
    assert warp(torch.ones(1, 1, 4, 4, dtype=torch.uint8), torch.zeros(1, 2, 4, 4)).dtype == torch.float32


def test_a_single_slice_and_a_distant_sample() -> None:
    image = torch.rand(1, 1, 1, 3, 4)
    warped = warp(image, torch.full((1, 3, 1, 3, 4), 1e9))
    assert (warped == image[0, 0, 0, 2, 3]).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_diverged_displacement_shows_in_the_result_and_does_not_crash(axis: int) -> None:
    displacement = torch.zeros(1, 3, 4, 4, 4)
    displacement[0, axis, 2, 2, 2] = float("nan")
    warped = warp(torch.rand(1, 1, 4, 4, 4), displacement)
    assert warped.isnan().sum() == 1
    assert warped[0, 0, 2, 2, 2].isnan()


def test_points() -> None:
    image = ramp(4, 5, 6).repeat(2, 2, 1, 1, 1)
    values = sample_at(image, torch.tensor([[[1, 2, 3], [1.5, 2, 3], [0, 0, 9]]]).expand(2, -1, -1))
    assert values.shape == (2, 2, 3)
    assert values[1, 0].tolist() == [45.0, 60.0, 5.0]
    assert sample_at(image, torch.tensor([[[1, 2, 2.6]]]).expand(2, -1, -1), mode="nearest")[0, 0, 0] == 45


def test_refusals() -> None:
    with pytest.raises(InputError, match="does not fit the image"):
        warp(torch.rand(1, 1, 4, 4, 4), torch.zeros(1, 3, 4, 4, 5))
    with pytest.raises(InputError, match="resize_displacement"):
        warp(torch.rand(1, 1, 8, 8), torch.zeros(1, 2, 4, 4))
    with pytest.raises(InputError, match="points"):
        sample_at(torch.rand(1, 1, 4, 4), torch.zeros(1, 5, 3))
    with pytest.raises(InputError, match="Unknown way"):
        warp(torch.rand(1, 1, 4, 4), torch.zeros(1, 2, 4, 4), mode="cubic")  # type: ignore[arg-type]


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("shape", [(6, 7), (5, 6, 7), (1, 6, 7)])
def test_rows_of_channels_are_summed_as_torch_samples_them(
    shape: tuple[int, ...], relative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass for channels-last images where no gradient is wanted, in several slabs."""
    monkeypatch.setattr(sys.modules[grid_sample_linear.__module__], "_SLAB_SIZE", 2 * math.prod(shape[1:]))
    torch.manual_seed(7)
    layout = torch.channels_last if len(shape) == 2 else torch.channels_last_3d
    image = torch.rand(2, 5, *shape, dtype=torch.float64).contiguous(memory_format=layout)  # type: ignore[call-overload]
    where = 2.5 * torch.randn(2, len(shape), *shape, dtype=torch.float64)
    where = where if relative else 3 + where.flatten(2)[..., :150]
    found = warp(image, where) if relative else sample_at(image, where.transpose(1, 2))
    assert found.movedim(1, -1).is_contiguous()
    assert (found - grid_sample_linear(image, where, relative=relative)).abs().max() < 1e-12
    recorded = image.requires_grad_()
    again = warp(recorded, where) if relative else sample_at(recorded, where.transpose(1, 2))
    assert (found - again).abs().max() < 1e-12


@pytest.mark.parametrize("relative", [True, False])
def test_the_pass_of_graphics_processors_is_the_same(relative: bool) -> None:
    """Which device runs which pass is an implementation detail; both run here on the processor."""
    torch.manual_seed(6)
    image = torch.rand(2, 6, 4, 5, 6, dtype=torch.float64, requires_grad=True)  # more channels than slopes are kept
    where = 2 * torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    where = (where if relative else 3 + where.flatten(2)[..., :7]).requires_grad_()
    expected = grid_sample_linear(image, where, relative=relative)
    found = warp(image, where) if relative else sample_at(image, where.transpose(1, 2))
    assert (found - expected).abs().max() < 1e-12
    incoming = torch.randn_like(found)
    gradients = torch.autograd.grad(found, (image, where), incoming)
    with torch.no_grad():
        peers = replay(partial(grid_sample_linear, relative=relative), (image, where), (True, True), incoming)
    for gradient, peer in zip(gradients, peers, strict=True):
        assert peer is not None
        assert (gradient - peer).abs().max() < 1e-12
