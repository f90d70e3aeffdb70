"""LNCC: by hand, invariances, and inputs that break the textbook formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import convolve

from AutoRegLib.core.errors import InputError
from AutoRegLib.kernels.box import box_sum
from AutoRegLib.kernels.lncc import plain_lncc
from AutoRegLib.losses.lncc import fixed_side, lncc, lncc_loss, masked_side


@pytest.mark.parametrize("shape", [(7, 9), (6, 3, 11), (1, 8, 5)])
@pytest.mark.parametrize("window", [1, 3, 5, 7, 9, 11])
def test_box_sum_is_a_dense_box_convolution(shape: tuple[int, ...], window: int) -> None:
    image = torch.randn(2, 3, *shape, dtype=torch.float64)
    kernel = torch.ones(1, 1, *[window] * len(shape), dtype=torch.float64)
    convolve = F.conv2d if len(shape) == 2 else F.conv3d
    expected = convolve(image.flatten(0, 1)[:, None], kernel, padding=window // 2).view_as(image)
    assert (box_sum(image, window) - expected).abs().max() < 1e-12


def test_by_hand() -> None:
    """The row 0 0 1 against 0 1 1, window 3: only the mask's centre column counts; cov 1/9, variances 2/9: 1/4."""
    fixed = torch.tensor([0.0, 0.0, 1.0]).expand(1, 1, 3, 3)
    moving = torch.tensor([0.0, 1.0, 1.0]).expand(1, 1, 3, 3)
    centre = torch.tensor([0.0, 1.0, 0.0]).expand(1, 1, 3, 3)
    assert lncc(fixed, moving, window=3, mask=centre).item() == pytest.approx(0.25, abs=1e-6)
    # left: 0 0 against 0 1, flat; right: 0 1 against 1 1, flat
    assert lncc(fixed, moving, window=3).item() == pytest.approx(0.25 / 3, abs=1e-6)


def test_equal_and_affine_related_images_give_one_everywhere_textured() -> None:
    image = torch.rand(2, 2, 10, 11, 12)
    for other in (image, 3 * image + 7, -0.01 * image):
        assert lncc(image, other, window=5).item() == pytest.approx(1, abs=1e-5)
    assert lncc_loss(image, torch.rand(2, 2, 10, 11, 12), window=9).item() > 0.9


def test_brightness_and_contrast_change_nothing_floor_included() -> None:
    fixed, moving = torch.rand(1, 1, 14, 14, 14), torch.rand(1, 1, 14, 14, 14)
    fixed[..., :7] = 0.2 + 1e-4 * fixed[..., :7]  # windows below the floor
    value = lncc(fixed, moving, window=5)
    assert abs(lncc(500 * fixed - 100, 0.002 * moving + 1, window=5) - value) < 1e-4


@pytest.mark.parametrize("shape", [(11, 12), (9, 10, 11)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_fast_pass_is_the_plain_one(shape: tuple[int, ...], masked: bool) -> None:
    torch.manual_seed(1)
    fixed, moving = (torch.randn(2, 3, *shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    mask = torch.rand(2, 1, *shape, dtype=torch.float64) if masked else None
    weights = None if mask is None else mask.expand_as(fixed) / mask.expand_as(fixed).sum()
    fast = lncc(fixed, moving, window=5, mask=mask, floor=0.8)  # a floor that many windows fall below
    plain = plain_lncc(fixed, moving, weights, 5, 0.8)
    assert abs(fast - plain) < 1e-12
    for found, expected in zip(
        torch.autograd.grad(fast, (fixed, moving)), torch.autograd.grad(plain, (fixed, moving)), strict=True
    ):
        assert (found - expected).abs().max() < 1e-14
        assert expected.abs().max() > 1e-5


@pytest.mark.parametrize("shape", [(11, 12), (40, 60, 70)])
def test_what_the_fixed_image_alone_gives_can_be_kept(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    fixed, moving = torch.rand(2, 2, 1, *shape)
    moving.requires_grad_()
    mask = torch.rand(2, 1, *shape)
    known = fixed_side(fixed, window=5)
    for _ in range(2):  # it is not used up
        plain, kept = (lncc(fixed, moving, window=5, mask=mask, known=one) for one in (None, known))
        assert plain == kept and plain > 0
        slopes = [torch.autograd.grad(value, moving)[0] for value in (plain, kept)]
        assert torch.equal(*slopes) and slopes[0].abs().max() > 0


def _within(fixed: np.ndarray, moving: np.ndarray, inside: np.ndarray, window: int, floor: float) -> float:
    """The textbook formula with sums over what counts, window by window."""
    ones = np.ones([window] * fixed.ndim)
    first, second = ((image - image.mean()) / image.std() for image in (fixed, moving))

    def total(image: np.ndarray) -> np.ndarray:
        return np.asarray(convolve(image, ones, mode="constant"))

    held = total(inside)
    known = held > 1e-3
    first_mean, second_mean, product, first_square, second_square = (
        np.where(known, total(inside * image) / np.where(known, held, 1), 0)
        for image in (first, second, first * second, first**2, second**2))
    below = np.maximum(first_square - first_mean**2, floor) * np.maximum(second_square - second_mean**2, floor)
    weights = inside * held / total(np.ones_like(inside))
    return float((weights * (product - first_mean * second_mean) ** 2 / below).sum() / weights.sum())


@pytest.mark.parametrize("shape", [(11, 12), (9, 10, 11)])
def test_windows_hold_what_a_mask_counts_alone(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    fixed, moving, mask = torch.rand(3, 1, 1, *shape, dtype=torch.float64)
    mask[..., :6] = 0  # some windows hold nothing, some a little
    mask[..., 8:] = 1
    weights, known = masked_side(fixed, mask, window=5)
    found = lncc(fixed, moving, window=5, mask=weights, known=known)
    assert abs(found.item() - _within(*(image[0, 0].numpy() for image in (fixed, moving, mask)), 5, 1e-3)) < 1e-12
    assert abs(found - lncc(fixed, moving, window=5, mask=weights)) > 1e-3
    whole, full = masked_side(fixed, torch.ones_like(mask), window=5)
    assert (whole - 1).abs().max() < 1e-12
    assert abs(lncc(fixed, moving, window=5, mask=whole, known=full) - lncc(fixed, moving, window=5)) < 1e-12


def test_the_gradient_within_masks() -> None:
    """And its own: those of the plain operations, by autograd; some windows are below the floor, some empty."""
    torch.manual_seed(1)
    fixed, moving = (torch.rand(1, 2, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    inside = (torch.rand(1, 1, 5, 4) * (torch.arange(4) > 0)).double()

    constant = masked_side(fixed, inside.expand_as(fixed), window=3, floor=0.3)[1]
    expected = plain_lncc(fixed, moving, inside.expand_as(fixed) / inside.expand_as(fixed).sum(), 3, 0.3, inside)
    found = lncc(fixed, moving, window=3, floor=0.3, mask=inside, known=constant)
    assert abs(found - expected) < 1e-12
    for one, other in zip(torch.autograd.grad(found, (fixed, moving), retain_graph=True),
                          torch.autograd.grad(expected, (fixed, moving), retain_graph=True), strict=True):
        assert (one - other).abs().max() < 1e-13 and other.abs().max() > 1e-3
    second = [torch.autograd.grad(torch.autograd.grad(value, moving, create_graph=True)[0].square().sum(), moving)[0]
              for value in (found, expected)]
    assert (second[0] - second[1]).abs().max() < 1e-12 and second[1].abs().max() > 1e-4


def _awkward(name: str) -> torch.Tensor:
    torch.manual_seed(2)
    image = torch.zeros(1, 1, 20, 20, 20)
    if name == "raw CT":
        image = torch.randint(-1024, 3072, (1, 1, 20, 20, 20)).float()
        image[..., :10] = -1024
    elif name == "constant":
        image += 0.1
    elif name == "one voxel":
        image[..., 3, 4, 5] = 1
    elif name == "huge":
        image = 1e12 + 1e10 * torch.rand(1, 1, 20, 20, 20)
    elif name == "tiny":
        image = 1e-12 * torch.rand(1, 1, 20, 20, 20)
    elif name == "far from zero":
        image = 1e4 + torch.rand(1, 1, 20, 20, 20)
    return image


@pytest.mark.parametrize("window", [5, 9])
@pytest.mark.parametrize("name", ["raw CT", "constant", "zero", "one voxel", "huge", "tiny", "far from zero"])
def test_awkward_images_are_finite_with_finite_gradients(name: str, window: int) -> None:
    for other in (torch.rand(1, 1, 20, 20, 20), _awkward(name).flip(2).contiguous()):
        fixed, moving = _awkward(name).requires_grad_(), other.clone().requires_grad_()
        value = lncc(fixed, moving, window=window)
        gradients = torch.autograd.grad(value, (fixed, moving))
        assert 0 <= value.item() <= 1 + 1e-4
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_raw_ct_in_single_precision_agrees_with_double() -> None:
    fixed, moving = _awkward("raw CT"), _awkward("raw CT").roll(1, 4)
    assert abs(lncc(fixed, moving) - lncc(fixed.double(), moving.double())) < 1e-5


def test_constant_images_have_no_correlation_and_no_gradient() -> None:
    moving = _awkward("constant").requires_grad_()
    value = lncc(torch.rand(1, 1, 20, 20, 20), moving)
    assert value == 0
    assert torch.autograd.grad(value, moving)[0].abs().max() == 0


def test_integers_and_halves_are_computed_in_single_precision() -> None:
    image = torch.randint(0, 100, (1, 1, 12, 12))
    assert lncc(image, image.half(), window=5).dtype == torch.float32


def test_refusals() -> None:
    with pytest.raises(InputError, match="odd"):
        lncc(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8), window=4)
    with pytest.raises(InputError, match="do not fit"):
        lncc(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 9))
