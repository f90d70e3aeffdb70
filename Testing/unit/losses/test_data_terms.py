"""Squared differences and normalised mutual information against closed forms and implementations by others."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.interpolate import BSpline
from scipy.stats import entropy

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import LossWeights, Objective, Recipe
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.losses.mse import mse_loss
from AutoRegLib.losses.nmi import nmi, nmi_loss
from AutoRegLib.losses.objective import DATA_TERMS, similarity
from AutoRegLib.registration.refine import refine_prediction


def images(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    first = torch.rand(2, 1, *shape, generator=made, dtype=torch.float64)
    return first, (first - 0.4).square() + 0.1 * torch.rand(2, 1, *shape, generator=made, dtype=torch.float64)


def by_scipy(first: np.ndarray, second: np.ndarray, bins: int, weights: np.ndarray, ranges: list[tuple[float, float]]
             ) -> float:
    """The ratio of entropies of histograms whose windows are scipy's cubic B-spline."""
    kernel = BSpline.basis_element(np.arange(-2.0, 3.0), extrapolate=False)
    shares = []
    for image, (low, high) in zip((first, second), ranges, strict=True):
        position = (image.ravel() - low) * (bins - 3) / (high - low) + 1
        shares.append(np.nan_to_num(kernel(np.arange(bins)[None] - position[:, None])))
    joint = (shares[0] * weights.ravel()[:, None]).T @ shares[1]
    return float((entropy(joint.sum(1)) + entropy(joint.sum(0))) / entropy(joint.ravel()))


@pytest.mark.parametrize("shape", [(15, 13), (9, 8, 7)])
@pytest.mark.parametrize("block", [None, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_nmi_is_that_of_scipy_s_windows(shape: tuple[int, ...], block: int | None, masked: bool) -> None:
    first, second = images(*shape)
    mask = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mask = mask if masked else torch.ones_like(mask)
    total = weight = 0.0
    for one, other, counted in zip(first[:, 0].numpy(), second[:, 0].numpy(), mask[:, 0].numpy(), strict=True):
        ranges = [(float(a.min()), float(a.max())) for a in (one, other)]
        step = block or max(shape)
        for corner in np.ndindex(*(-(-size // step) for size in shape)):
            part = tuple(slice(step * i, step * i + step) for i in corner)
            mass = counted[part].sum()
            total += mass * by_scipy(one[part], other[part], 12, counted[part], ranges)
            weight += mass
    found = nmi(first, second, bins=12, block=block, mask=mask if masked else None)
    assert abs(float(found) - total / weight) < 1e-8


def test_nmi_ranks_contrasts_as_mutual_information_of_simpleitk_does() -> None:
    """ITK's joint histogram has other windows: the order of partners and their ratio to the best agree."""
    ramp = torch.arange(48.0, dtype=torch.float64)
    first = (torch.sin(ramp / 5)[:, None] + torch.cos(ramp / 7)[None])[None, None]
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    partners = [first.square() + share * noise for share in (0.0, 0.1, 0.3, 1.0, 3.0)]
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetInterpolator(sitk.sitkNearestNeighbor)
    method.SetInitialTransform(sitk.TranslationTransform(2))
    fixed = sitk.GetImageFromArray(first[0, 0].numpy())
    theirs = [-method.MetricEvaluate(fixed, sitk.GetImageFromArray(p[0, 0].numpy())) for p in partners]
    ours = [float(nmi(first, p)) for p in partners]
    assert ours == sorted(ours, reverse=True) and theirs == sorted(theirs, reverse=True)
    assert 1.0 < ours[-1] < 1.1 and ours[0] > 1.3


def test_nmi_knows_neither_brightness_nor_its_sign() -> None:
    first, second = images(16, 16)
    assert torch.allclose(nmi(first, second), nmi(7 - 3 * first, 2 * second + 1), atol=1e-12)
    assert torch.allclose(nmi(first, second), nmi(second, first), atol=1e-12)
    constant = torch.ones(1, 1, 8, 8)
    assert torch.isfinite(nmi(constant, constant)) and torch.isfinite(nmi(first.float()[:1], torch.ones(1, 1, 16, 16)))


def test_mse_by_hand_and_by_torch() -> None:
    first, second = images(6, 5, 4)
    assert torch.equal(mse_loss(first, second), torch.nn.functional.mse_loss(first, second))
    row, other = torch.tensor([0.0, 1, 2]).view(1, 1, 1, 3), torch.tensor([0.0, 3, 2]).view(1, 1, 1, 3)
    assert mse_loss(row, other).item() == pytest.approx(4 / 3)
    assert mse_loss(row, other, mask=torch.tensor([0.0, 1, 0]).view(1, 1, 1, 3)).item() == 4.0


@pytest.mark.parametrize("block", [None, 4])
def test_gradients(block: int | None) -> None:
    first, second = (image[:1, :, :6, :6].clone().requires_grad_() for image in images(6, 6))
    for inputs in ((first.detach(), second), (first, second.detach())):
        # the range of an image is held constant in the gradient: keep its ends out of the differences
        fixed, moving = inputs
        inner = torch.ones_like(fixed)
        for image in (fixed.detach(), moving.detach()):
            inner[(image == image.min()) | (image == image.max())] = 0.0

        def value(f: torch.Tensor, m: torch.Tensor, inner: torch.Tensor = inner) -> torch.Tensor:
            held = [x.detach() + (x - x.detach()) * inner for x in (f, m)]
            return nmi_loss(*held, bins=8, block=block)

        leaf = fixed if fixed.requires_grad else moving
        gradient = torch.autograd.grad(value(*inputs), leaf)[0]
        for place in (inner.flatten() > 0).nonzero()[:12, 0].tolist():
            move = torch.zeros(inner.numel(), dtype=torch.float64)
            move[place] = 1e-5
            move = move.view_as(inner)
            ends = [value(*(x + sign * move if x is leaf else x for x in inputs)).item() for sign in (1, -1)]
            assert gradient.flatten()[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("term", DATA_TERMS)
def test_every_term_pulls_a_shifted_blob_back(term: str) -> None:
    """The refinement of no network with each term alone, the moving image in another brightness but for MSE."""
    axes = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")

    def blob(x: float) -> torch.Tensor:
        return (-((axes[0] - 16) ** 2 + (axes[1] - x) ** 2) / 40).exp()[None, None]

    fixed, moving = blob(16.0), blob(18.5)
    recipe = Recipe(spatial_dims=2, loss_weights=LossWeights(similarity_mix=1.0, smoothness=0.05).at_full_scale(),
                    objective=Objective(data_term=term, regularise="velocity"))  # type: ignore[arg-type]
    start = Prediction(torch.zeros(1, 2, 32, 32), torch.zeros(1, 2, 16, 16))
    found = refine_prediction(start, moving if term == "mse" else 3 - 2 * moving, fixed, recipe=recipe, iterations=40)
    middle = found.displacement[0, 1, 13:20, 13:20].mean().item()
    assert 1.2 < middle < 3.5, f"{term}: moved by {middle:.2f} voxels of 2.5"


def test_similarity_mixes_the_chosen_term_with_mind() -> None:
    first, second = (image.float() for image in images(12, 12))
    for term, value in (("mse", mse_loss(first, second)), ("nmi", nmi_loss(first, second))):
        assert torch.allclose(similarity(second, first, mix=1.0, window=9, data_term=term), value)
        half = similarity(second, first, mix=0.5, window=9, data_term=term)
        mind = similarity(second, first, mix=0.0, window=9, data_term=term)
        assert torch.allclose(half, 0.5 * (value + mind))


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError):
        nmi(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 9))
    with pytest.raises(InputError):
        mse_loss(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 9))
