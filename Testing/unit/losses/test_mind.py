"""MIND-SSC: against its definition written out voxel by voxel, invariances, awkward images."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.kernels.mind import plain_mind
from AutoRegLib.losses.mind import descriptor_loss, mind_loss, mind_ssc, pooled_mind


def _by_definition(image: torch.Tensor, at: tuple[int, ...], radius: int, dilation: int) -> torch.Tensor:
    """Sorted patch distances around one interior voxel, the least subtracted, over their mean."""
    dims = image.ndim
    neighbours = [(axis, sign) for axis in range(dims) for sign in (-1, 1)]
    patches = []
    for axis, sign in neighbours:
        centre = [position + sign * dilation * (axis == other) for other, position in enumerate(at)]
        offsets = product(range(-radius, radius + 1), repeat=dims)
        places = [tuple(c + o for c, o in zip(centre, offset, strict=True)) for offset in offsets]
        patches.append(torch.stack([image[place] for place in places]))
    distances = [
        (patches[i] - patches[j]).square().mean()
        for i in range(len(patches))
        for j in range(i)
        if neighbours[i][0] != neighbours[j][0]
    ]
    values = torch.stack(distances).sort().values
    values = values - values[0]
    return torch.exp(-values / values.mean()).flip(0)


@pytest.mark.parametrize(("shape", "channels"), [((15, 16), 4), ((13, 14, 15), 12)])
def test_definition(shape: tuple[int, ...], channels: int) -> None:
    image = torch.rand(1, 1, *shape, dtype=torch.float64)
    descriptor = mind_ssc(image)
    assert descriptor.shape == (1, channels, *shape)
    at = tuple(side // 2 for side in shape)
    found = descriptor[(0, slice(None), *at)].sort().values
    assert (found - _by_definition(image[0, 0], at, 2, 2)).abs().max() < 1e-12


@pytest.mark.parametrize("shape", [(9, 10), (7, 8, 9)])
def test_the_fast_pass_is_the_plain_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    image = torch.rand(2, 1, *shape, dtype=torch.float64)
    image[0, ..., :4] = image[0, ..., :4] * 1e-3  # distances below the bound of V, and equal ones
    image[1, ..., :4] = 0.5
    image.requires_grad_()
    fast, plain = mind_ssc(image), plain_mind(image, 2, 2)
    assert (fast - plain).abs().max() < 1e-12
    incoming = torch.randn_like(fast)
    found, expected = (torch.autograd.grad(value, image, incoming)[0] for value in (fast, plain))
    assert (found - expected).abs().max() < 1e-9 * expected.abs().max()


def test_contrast_reversal_changes_nothing_and_structure_does() -> None:
    image = torch.rand(1, 1, 12, 13, 14, dtype=torch.float64)
    assert mind_loss(image, 5 - 20 * image) < 1e-20
    assert mind_loss(image, image.roll(2, 3)) > 1e-3


@pytest.mark.parametrize("image", [torch.zeros(1, 1, 9, 9, 9), torch.full((1, 1, 9, 9, 9), 0.1)])
def test_constant_images_give_ones_and_finite_gradients(image: torch.Tensor) -> None:
    image = image.clone().requires_grad_()
    descriptor = mind_ssc(image)
    assert (descriptor == 1).all()
    loss = mind_loss(image, torch.rand(1, 1, 9, 9, 9))
    assert torch.autograd.grad(loss, image)[0].isfinite().all()


def test_raw_ct_with_flat_regions_is_finite() -> None:
    torch.manual_seed(0)
    image = torch.randint(-1024, 3072, (1, 1, 16, 16, 16)).float()
    image[..., :8] = -1024
    image.requires_grad_()
    loss = mind_loss(image, image.detach().flip(2).contiguous())
    gradient = torch.autograd.grad(loss, image)[0]
    assert loss.isfinite() and loss > 0
    assert gradient.isfinite().all() and gradient.abs().max() > 0


def test_refusals() -> None:
    with pytest.raises(InputError, match="one channel"):
        mind_ssc(torch.rand(1, 2, 8, 8))
    with pytest.raises(InputError, match="do not fit"):
        mind_loss(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 9))


def test_a_mask_weighs_the_mean() -> None:
    torch.manual_seed(4)
    a, b = torch.rand(2, 1, 1, 9, 10, dtype=torch.float64)
    by_voxel = (mind_ssc(a) - mind_ssc(b)).square().mean(1)[0]
    one, two = torch.zeros_like(a), torch.zeros_like(a)
    one[..., 4, 5] = 1
    two[..., 4, 5], two[..., 2, 3] = 3, 1
    assert mind_loss(a, b, mask=one).item() == pytest.approx(by_voxel[4, 5].item())
    assert mind_loss(a, b, mask=two).item() == pytest.approx((3 * by_voxel[4, 5] + by_voxel[2, 3]).item() / 4)
    assert mind_loss(a, b, mask=torch.ones_like(a)).item() == pytest.approx(mind_loss(a, b).item(), abs=1e-12)
    assert mind_loss(a, b, mask=torch.zeros_like(a)) == 0


def test_pooled_descriptors_are_means_of_fine_ones() -> None:
    image = torch.rand(1, 1, 12, 8, 8, generator=torch.Generator().manual_seed(5))
    found = pooled_mind(image, 4, 1, 1)
    fine = mind_ssc(image, radius=1, dilation=1).numpy()
    by_hand = fine[0, :, 4:8, 0:4, 4:8].mean((1, 2, 3))
    assert abs(found[0, :, 1, 0, 1].numpy() - by_hand).max() < 1e-6
    assert found.shape == (1, 12, 3, 2, 2) and not found.requires_grad


def test_the_loss_of_descriptors_is_the_loss_of_their_images() -> None:
    a, b = (torch.rand(1, 1, 9, 10, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    mask = torch.zeros(1, 1, 9, 10)
    mask[..., 4, 5] = 1
    described = [mind_ssc(image) for image in (a, b)]
    assert float(descriptor_loss(*described)) == pytest.approx(float(mind_loss(a, b)), rel=1e-6)
    here = (described[0] - described[1])[0, :, 4, 5].square().mean()
    assert float(descriptor_loss(*described, mask=mask)) == pytest.approx(float(here), rel=1e-5)
