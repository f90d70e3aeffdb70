"""The loss of a level: its gradient written out, and that of lattices, which together are the full resolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import LossWeights, Objective, Recipe
from AutoRegLib.fields.resample import resize_displacement
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.warp import warp
from AutoRegLib.kernels import flow
from AutoRegLib.kernels.box import box_sum
from AutoRegLib.kernels.flow import plain_flow
from AutoRegLib.kernels.lncc import plain_lncc
from AutoRegLib.kernels.sampling import plain_linear
from AutoRegLib.losses.diffusion import plain_diffusion
from AutoRegLib.losses.folding import plain_fold_penalty
from AutoRegLib.registration.level_loss import Bounds, LatticeLoss, LevelLoss, between

SHAPES = {2: (12, 14), 3: (10, 8, 12)}


def random(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def lattices(dims: int, **masks: Tensor | None) -> tuple[LatticeLoss, Tensor, Tensor, Tensor]:
    """The loss, the descriptors that it compares and a displacement of half the resolution."""
    moving, fixed = (gaussian(random(1, 4, *SHAPES[dims], seed=seed), 1.0) for seed in (0, 1))
    coarse = gaussian(random(1, dims, *(size // 2 for size in SHAPES[dims]), seed=2) - 0.5, 1.0)
    recipe = Recipe(spatial_dims=dims, loss_weights=LossWeights(similarity_mix=0.0))
    both = masks.get("moving"), masks.get("fixed")
    return LatticeLoss(moving, fixed, recipe, both, Bounds(0.0, 0.0)), moving, fixed, coarse


@pytest.mark.parametrize("dims", [2, 3])
def test_all_lattices_together_are_the_full_resolution(dims: int) -> None:
    """The mean over 2^d calls is the mean squared difference over all voxels; the next call begins again."""
    loss, moving, fixed, coarse = lattices(dims)
    values = [float(loss.compared(coarse)[0]) for _ in range(2**dims)]
    whole = resize_displacement(coarse, fixed.shape[2:])
    assert sum(values) / len(values) == pytest.approx(float((warp(moving, whole) - fixed).square().mean()), rel=1e-5)
    assert len(set(values)) == 2**dims and float(loss.compared(coarse)[0]) == values[0]


@pytest.mark.parametrize("dims", [2, 3])
def test_between_is_linear_interpolation(dims: int) -> None:
    coarse = random(1, 3, *(size // 2 for size in SHAPES[dims]), seed=4)
    fine = F.interpolate(coarse, scale_factor=2, mode={2: "bilinear", 3: "trilinear"}[dims], align_corners=False)
    assert (between(coarse, (0, 1, 1)[:dims]) - fine[(..., *(slice(first, None, 2) for first in (0, 1, 1)[:dims]))]
            ).abs().max() < 1e-6


def test_what_masks_leave_out_does_not_count() -> None:
    """Of either image: the same value and gradient whatever lies there; masks without a common voxel are refused."""
    shape = SHAPES[3]
    left, right = torch.zeros(1, 1, *shape), torch.zeros(1, 1, *shape)
    left[..., :6], right[..., 8:] = 1, 1
    found = []
    for ruin in (False, True):
        loss, moving, fixed, coarse = lattices(3, fixed=left, moving=left)
        if ruin:
            fixed += (1 - left) * random(*fixed.shape, seed=9)
            moving[..., 9:] += 1.0
            loss.fixed, loss.moving = fixed, moving
        coarse = coarse.clone().requires_grad_()
        value = loss.compared(coarse)[0]
        found.append((value.item(), torch.autograd.grad(value, coarse)[0]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6) and torch.allclose(found[0][1], found[1][1])
    with pytest.raises(InputError, match="no voxel in common"):
        apart, _, _, coarse = lattices(3, fixed=left, moving=right)
        apart.compared(0 * coarse)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_gradient_written_out_is_that_of_the_plain_formulas(
    dims: int, factor: int, masked: bool, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Similarity, smoothness and folds in plain operations, differentiated by autograd in double precision."""
    if not small:
        monkeypatch.setattr(flow, "SMALL", {2: 0, 3: 0})
    moving, fixed = (gaussian(random(1, 1, *SHAPES[dims], seed=seed).double(), 1.0) for seed in (0, 1))
    masks = [(random(1, 1, *SHAPES[dims], seed=seed) > 0.3).double() if masked else None for seed in (3, 4)]
    recipe = Recipe(spatial_dims=dims, loss_weights=LossWeights(similarity_mix=1.0, smoothness=0.3),
                    objective=Objective(windows=(5, 3, 3), regularise="velocity", fold_weight=2.0))
    level = LevelLoss(moving, fixed, factor, recipe, (masks[0], masks[1]), Bounds(0.0, 0.0))
    velocity = (7 * (random(1, dims, *level.grid, seed=2).double() - 0.5)).requires_grad_()
    coarse = plain_flow(velocity, 2)
    displacement = coarse
    if factor == 1:
        mode = {2: "bilinear", 3: "trilinear"}[dims]
        displacement = 2 * F.interpolate(coarse, scale_factor=2, mode=mode, align_corners=False)
    weights, inside = None, None
    if level.moving_mask is not None and level.fixed_mask is not None:
        inside = plain_linear(level.moving_mask, displacement.detach(), relative=True) * level.fixed_mask
        weights = inside * box_sum(inside, level.window) / box_sum(torch.ones_like(inside), level.window)
        weights = weights / weights.sum()
    warped, folds = plain_linear(level.moving, displacement, relative=True), plain_fold_penalty(coarse, 0.1)
    similarity = plain_lncc(level.fixed, warped, weights, level.window, 1e-3, inside)
    expected = 1 - similarity + 0.3 * plain_diffusion(velocity, [1.0] * dims) + 2 * folds
    (slope,) = torch.autograd.grad(expected, velocity)
    found, gradient = level.with_gradient(velocity.detach())
    assert level.by_hand and folds > 1e-3
    assert abs(found - expected) < 1e-12
    assert (gradient - slope).abs().max() < 1e-12 < slope.abs().max()


@pytest.mark.parametrize("changed", [{"smoothness": 1.0, "similarity_mix": 0.5}, {"similarity_mix": 1.0}])
def test_what_is_not_written_out_has_the_gradient_of_autograd(changed: dict[str, float]) -> None:
    """A mixture of similarities, and the smoothness of displacements."""
    moving, fixed = (gaussian(random(1, 1, *SHAPES[3], seed=seed), 1.0) for seed in (0, 1))
    recipe = Recipe(spatial_dims=3, loss_weights=LossWeights(**changed), objective=Objective(regularise="displacement"))
    level = LevelLoss(moving, fixed, 2, recipe, (None, None), Bounds(0.0, 0.0))
    velocity = (random(1, 3, *level.grid, seed=2) - 0.5).requires_grad_()
    loss = level.loss(velocity)
    found, gradient = level.with_gradient(velocity)
    assert not level.by_hand and found == loss
    assert torch.equal(gradient, torch.autograd.grad(loss, velocity)[0]) and gradient.abs().max() > 0
