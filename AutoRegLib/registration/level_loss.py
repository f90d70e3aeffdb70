"""What a level of a refinement minimises, as a function of the velocity: similarity, smoothness, folds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import cast

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.fields.resample import downsample, resize_displacement
from AutoRegLib.fields.velocity import exponentiate
from AutoRegLib.fields.warp import identity_grid, sample_at, warp
from AutoRegLib.kernels.doubling import gathered
from AutoRegLib.kernels.flow import flow_for
from AutoRegLib.kernels.lncc import Side
from AutoRegLib.kernels.planes import PlaneSample
from AutoRegLib.kernels.replay import Step
from AutoRegLib.losses.diffusion import Diffusion, diffusion
from AutoRegLib.losses.folding import FoldPenalty, fold_penalty
from AutoRegLib.losses.guides import Guides, guide_loss
from AutoRegLib.losses.lncc import fixed_side, lncc_loss, lncc_step, masked_side
from AutoRegLib.losses.mind import descriptor_loss
from AutoRegLib.losses.objective import similarity
from AutoRegLib.losses.volume import volume_change

Masks = tuple[Tensor | None, Tensor | None]  # of the moving and the fixed image

_STEP = 1.0  # voxels of one Euler step while optimising; the answer has the recipe's squarings
_FOLD_WEIGHT, _FOLD_MARGIN = 1.0, 0.1


@dataclass(frozen=True)
class Bounds:
    """What the user asks of the deformation beside the recipe's loss. Unit: voxels of the working grid; a weight."""

    smoothness: float
    volume_weight: float


class LevelLoss:
    """The loss of one level as a function of the velocity on that level's grid (half of it at full resolution).

    ``moving`` and ``fixed`` are images, or descriptors; both are averaged over ``own`` voxels already. ``within``:
    windows too count what the masks count alone; a moving mask always has that.
    """

    def __init__(self, moving: Tensor, fixed: Tensor, factor: int, recipe: Recipe, masks: Masks,
                 bounds: Bounds, *, own: int = 1, guides: Guides | None = None, within: bool = True) -> None:
        self.factor, self.recipe, self.volume_weight, self.guides = factor, recipe, bounds.volume_weight, guides
        self.sigma = bounds.smoothness / max(factor, 2)  # voxels of the velocity's grid
        self.moving_mask, self.fixed_mask = (None if mask is None else downsample(mask, factor) for mask in masks)
        self.moving, self.fixed = (downsample(image, factor // own) for image in (moving, fixed))
        self.grid = [size * own // max(factor, 2) for size in fixed.shape[2:]]
        self.window = recipe.objective.windows[min(int(math.log2(factor)), 2)]
        correlated = recipe.loss_weights.similarity_mix == 1 and recipe.objective.data_term == "lncc"
        self.weights, self.known = self.fixed_mask, fixed_side(self.fixed, window=self.window) if correlated else None
        if correlated and within and self.fixed_mask is not None:
            self.weights, self.known = masked_side(self.fixed, self.fixed_mask, window=self.window)
        #: whether the gradient is written out: as nearly every pair without a network is refined
        self.by_hand = (self.known is not None and recipe.objective.regularise == "velocity" and guides is None
                        and bounds.volume_weight == 0 and self.fixed.device.type == "cpu"
                        and self.moving.dtype == self.fixed.dtype in (torch.float32, torch.float64))

    def loss(self, velocity: Tensor) -> Tensor:
        """Similarity, smoothness and folds; a scalar. Unit: velocity in voxels of its own grid."""
        weights, objective = self.recipe.loss_weights, self.recipe.objective
        velocity = resize_displacement(velocity, self.grid)
        squarings = _squarings(velocity, most=self.recipe.network.squarings)
        coarse = exponentiate(velocity, squarings=squarings)
        value, displacement = self.compared(coarse)
        regularised = velocity if objective.regularise == "velocity" else displacement
        folds = self._fold_weight() * fold_penalty(coarse, margin=_FOLD_MARGIN)
        if self.volume_weight > 0:
            folds = folds + self.volume_weight * volume_change(coarse)
        if self.guides is not None:
            folds = folds + guide_loss(coarse, self.guides, factor=max(self.factor, 2))
        return value + weights.smoothness * diffusion(regularised) + folds

    def with_gradient(self, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and its gradient. Shape: a scalar, and as ``velocity``, which is on the level's own grid.

        Where local correlation L compares w, the moving image m under the displacement u of the velocity v, the chain
        rule is written out: ``flow'(v)^T (2 D^T (m'(x + u) L'(w)) + folds'(u)) + smooth'(v)`` with D^T the transpose of
        doubling (no factor of 2 either where both have one grid). The numbers are those of autograd, whose own time
        is spared: 0.5 ms a call at 5x6x5 voxels, a quarter of it, 1 ms at 40x48x40, a tenth.
        """
        if not self.by_hand:
            moved = velocity.detach().requires_grad_()
            loss = self.loss(moved)
            return loss.detach(), torch.autograd.grad(loss, moved)[0]
        smoothness, fold_weight = self.recipe.loss_weights.smoothness, self._fold_weight()
        squarings = _squarings(velocity, most=self.recipe.network.squarings)
        flow = Step(flow_for(velocity), (True, False), velocity, squarings)
        displacement = resize_displacement(flow.value, self.fixed.shape[2:])
        warped = Step(PlaneSample, (False, True), self.moving, displacement)
        counted, known = self._windows(displacement)
        like = lncc_step(self.fixed, warped.value, window=self.window, mask=counted, known=known)
        folds = Step(FoldPenalty, (True, False), flow.value, _FOLD_MARGIN)
        smooth = Step(Diffusion, (True, False), velocity, [1.0] * len(self.grid))
        one = velocity.new_ones(())
        slope = warped.back(like.back(-one)[1])[1]
        if self.factor == 1:
            slope = 2 * gathered(slope)
        slope = slope + folds.back(fold_weight * one)[0]
        gradient = flow.back(slope)[0] + smooth.back(smoothness * one)[0]
        return 1 - like.value + smoothness * smooth.value + fold_weight * folds.value, gradient

    def _fold_weight(self) -> float:
        return max(self.recipe.objective.fold_weight, _FOLD_WEIGHT)

    def compared(self, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """What the similarity says under a displacement of the velocity's grid, and the displacement of the images'."""
        weights, objective = self.recipe.loss_weights, self.recipe.objective
        displacement = resize_displacement(coarse, self.fixed.shape[2:])
        warped = warp(self.moving, displacement)
        if self.known is not None:
            counted, known = self._windows(displacement)
            return lncc_loss(self.fixed, warped, window=self.window, mask=counted, known=known), displacement
        counted = self._counted(displacement)
        if weights.similarity_mix == 0:
            value = descriptor_loss(warped, self.fixed, mask=counted)
        else:
            value = similarity(warped, self.fixed, mix=weights.similarity_mix, window=self.window, mask=counted,
                               data_term=objective.data_term, mind=objective.mind)
        return value, displacement

    def _windows(self, displacement: Tensor) -> tuple[Tensor | None, Side]:
        """How much the window about each voxel counts, and what local correlation takes from the fixed image."""
        if self.moving_mask is None:
            return self.weights, cast(Side, self.known)
        return masked_side(self.fixed, cast(Tensor, self._counted(displacement)), window=self.window)

    def _counted(self, displacement: Tensor) -> Tensor | None:
        """How much each voxel counts under this displacement; None: all alike. Raises InputError for none at all."""
        if self.moving_mask is None:
            return self.fixed_mask
        with torch.no_grad():  # a gradient would be an invitation to push what differs out of the mask
            weights = warp(self.moving_mask, displacement)
            weights = weights if self.fixed_mask is None else weights * self.fixed_mask
        return some(weights)


class LatticeLoss(LevelLoss):
    """Descriptors at full resolution, compared at every other voxel along each axis: at another lattice of them in
    every call, so that 2^d calls see all. A call costs what one at half the resolution costs.

    Shape: descriptors and masks at full resolution, of even sizes.
    """

    def __init__(self, moving: Tensor, fixed: Tensor, recipe: Recipe, masks: Masks, bounds: Bounds, *,
                 guides: Guides | None = None) -> None:
        super().__init__(moving, fixed, 1, recipe, masks, bounds, guides=guides)
        corners = list(product((0, 1), repeat=fixed.ndim - 2))
        pairs = zip(corners, reversed(corners), strict=True)  # opposite ones after each other
        self.corners = [corner for pair in pairs for corner in pair][:len(corners)]
        self.calls = 0

    def compared(self, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """As of all levels; the displacement is that of the lattice. Unit: voxels of full resolution."""
        corner = self.corners[self.calls % len(self.corners)]
        self.calls += 1
        displacement = 2 * between(coarse, corner)
        start = torch.tensor(corner, dtype=coarse.dtype, device=coarse.device).view(1, -1, *[1] * len(corner))
        places = 2 * identity_grid(coarse.shape[2:], device=coarse.device, dtype=coarse.dtype) + start + displacement

        def moved(image: Tensor) -> Tensor:
            return sample_at(image, places.flatten(2).transpose(1, 2)).view(1, -1, *coarse.shape[2:])

        lattice = (slice(None), slice(None), *(slice(first, None, 2) for first in corner))
        counted = None if self.fixed_mask is None else self.fixed_mask[lattice]
        if self.moving_mask is not None:
            with torch.no_grad():  # as of all levels
                seen = moved(self.moving_mask)
                counted = some(seen if counted is None else seen * counted)
        return descriptor_loss(moved(self.moving), self.fixed[lattice].contiguous(), mask=counted), displacement


def between(coarse: Tensor, corner: tuple[int, ...]) -> Tensor:
    """An image of half the resolution at the fine voxels 2 i + ``corner``, linearly, its border repeated.

    Shape: (B, C, *spatial), the same again.
    """
    for axis, side in enumerate(corner, start=2):
        size = coarse.shape[axis]
        beside = (torch.arange(size, device=coarse.device) + (1 if side else -1)).clamp_(0, size - 1)
        coarse = torch.lerp(coarse, coarse.index_select(axis, beside), 0.25)
    return coarse


def some(weights: Tensor) -> Tensor:
    """The weights of what is compared. Raises InputError where there is nothing."""
    if not bool(weights.any()):
        raise InputError("the masks have no voxel in common", expected="masks that overlap once aligned",
                         got="nothing to compare", remedy="check both masks, or leave one out")
    return weights


def _squarings(velocity: Tensor, *, most: int) -> int:
    """As few as keep one Euler step below a voxel, at least 2."""
    longest = float(velocity.detach().abs().amax())
    needed = math.ceil(math.log2(longest / _STEP)) if 0 < longest < math.inf else 0
    return min(max(needed, 2), most)
