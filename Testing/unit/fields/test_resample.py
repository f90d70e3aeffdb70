"""Resolution changes keep voxel centres where average pooling puts them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.resample import downsample, resize_displacement, resize_image
from AutoRegLib.fields.warp import identity_grid, warp


def test_downsample_averages_blocks() -> None:
    image = torch.tensor([[[[0.0, 2.0, 4.0, 6.0], [0.0, 2.0, 4.0, 10.0]]]])
    assert downsample(image, 2)[0, 0].tolist() == [[1.0, 6.0]]
    assert torch.equal(downsample(image, 1), image)


def test_coarse_voxel_i_lies_at_2i_and_a_half() -> None:
    position = identity_grid((8, 8, 8))
    coarse = downsample(position, 2)
    assert coarse[0, 0, :, 0, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    interior = (..., slice(1, -1), slice(1, -1), slice(1, -1))
    assert (resize_image(coarse, (8, 8, 8)) - position)[interior].abs().max() < 1e-5
    assert (resize_image(position, (4, 4, 4)) - coarse).abs().max() < 1e-5


def test_vectors_are_scaled_per_axis() -> None:
    displacement = torch.ones(1, 3, 4, 4, 4)
    resized = resize_displacement(displacement, (8, 12, 4))
    assert resized.shape == (1, 3, 8, 12, 4)
    assert [resized[0, axis].unique().tolist() for axis in range(3)] == [[2.0], [3.0], [1.0]]
    assert torch.equal(resize_displacement(displacement, (4, 4, 4)), displacement)


def test_warping_commutes_with_the_resolution() -> None:
    """A linear image warped at half resolution is the warped image at half resolution."""
    image = identity_grid((16, 16))[:, :1]
    coarse = torch.zeros(1, 2, 8, 8)
    coarse[:, 0] = 0.75
    fine = warp(image, resize_displacement(coarse, (16, 16)))
    half = warp(downsample(image, 2), coarse)
    assert (downsample(fine, 2) - half)[..., 1:-2, :].abs().max() < 1e-5
    assert (half - downsample(image, 2))[..., 1:-2, :].min() > 1


def test_round_trip_of_a_smooth_field() -> None:
    axis = torch.linspace(0, torch.pi, 32)
    field = (torch.sin(axis)[:, None] * torch.sin(axis)).expand(1, 2, 32, 32)
    coarse = resize_displacement(field, (16, 16))
    assert (resize_displacement(coarse, (32, 32)) - field).abs().max() < 0.06
    assert coarse.abs().max() < 0.51


def test_refusals() -> None:
    with pytest.raises(InputError, match="multiples of 2"):
        downsample(torch.rand(1, 1, 4, 5), 2)
    with pytest.raises(InputError, match="2 sizes"):
        resize_image(torch.rand(1, 1, 4, 4), (4, 4, 4))


@pytest.mark.parametrize("shape", [(1, 1, 5, 6, 7), (2, 3, 4, 1, 6), (2, 3, 9, 4)])
@pytest.mark.parametrize("rows", [False, True])
def test_twice_the_voxels_as_torch_interpolates(shape: tuple[int, ...], rows: bool) -> None:
    layout = torch.contiguous_format if not rows else torch.channels_last_3d if len(shape) == 5 else torch.channels_last
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    double = [2 * size for size in shape[2:]]
    wanted = F.interpolate(image, size=double, mode="trilinear" if len(shape) == 5 else "bilinear")
    found = resize_image(image, double)
    assert found.stride() == wanted.stride() and (found - wanted).abs().max() < 1e-6
    traced = resize_image(image.requires_grad_(), double)
    assert (traced - wanted).abs().max() < 1e-6
    incoming = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    expected = F.interpolate(image, size=double, mode="trilinear" if len(shape) == 5 else "bilinear")
    slopes = [torch.autograd.grad(result, image, incoming)[0] for result in (traced, expected)]
    assert (slopes[0] - slopes[1]).abs().max() < 5e-6 < slopes[1].abs().max()
