"""Instance refinement: the velocity of one pair optimised, from a network's answer or from nothing.

The network is not touched: what moves is the field of this pair. Every level minimises the loss that the recipe
describes, on images averaged to that level. From nothing it goes from coarse to fine; a network's answer is finished:
a few iterations of the finest level, which keep what the network found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.fields.fold_repair import repair_folds
from AutoRegLib.fields.prediction import Prediction, integrate_within
from AutoRegLib.fields.resample import resize_displacement
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.velocity import compose
from AutoRegLib.fields.warp import warp
from AutoRegLib.losses.foreground import foreground
from AutoRegLib.losses.guides import Guides
from AutoRegLib.losses.mind import pooled_mind
from AutoRegLib.registration.level_loss import Bounds, LatticeLoss, LevelLoss

Iterations = int | Literal["auto", "full"]

_SHORTEST = 4  # voxels along the shortest axis of a level; on fewer there is no shape to follow
_COARSEST = 8
_WHOLE = {2: 512**2, 3: 100**3}  # working grids up to this size are compared at their full resolution too
_COARSER_OF_WHOLE = 25  # most iterations of their coarser levels
_SMALL = {2: 512**2, 3: 72**3}  # up to this size a network's answer is finished at full resolution too
_FINEST_OF_LARGE = 10  # most iterations of the finest level of a larger one, and at lattices of full resolution
_LATTICE = {2: 4096**2, 3: 200**3}  # up to this size descriptors are; both images' take 0.8 GB then
_WINDOW = 4  # iterations over which progress is measured
_BETAS = (0.9, 0.99)
_FLAT = 1e-3  # gradients below this, of the loss summed over voxels, are noise: Adam would blow them up
_GRADIENT_SIGMA = 1.0  # 0 and 2 voxels gave lower Dice
#: part of its loss by which a refinement has to lower it: a pair that lay perfectly was moved by 0.4 mm for a gain of
#: 0.00013, which rounding decides
_WORTH = 1e-3
_UNSMOOTHED = 0.3  # voxels: a Gaussian narrower than this is none


@dataclass(frozen=True)
class _Course:
    """How a refinement runs. ``levels``: so many of the finest, None all; ``finest``, ``coarser``: most iterations of
    a level under "auto"; ``rate``: step of a voxel, in voxels of its level; ``tolerance``, ``share``: the improvement
    from one window of iterations to the next that is still worth its time, as parts of the loss and of all that the
    level has gained.
    """

    levels: int | None
    finest: int
    coarser: int
    rate: float
    tolerance: float
    share: float = 0.0


_FROM_NOTHING = _Course(None, 20, 50, 0.2, 0.015)
# the loss of an answer falls slowly but on and on: what counts is how much of the gain is still to come
_FROM_ANSWER = _Course(1, 15, 0, 0.1, 0.003, 0.08)


@dataclass(frozen=True)
class Level:
    """What one level did. ``factor``: its images are averaged over so many voxels per axis. Unit: seconds."""

    factor: int
    iterations: int
    converged: bool
    loss_before: float
    loss_after: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Refined:
    """The refined answer and its history.

    Shape: ``velocity`` on half the padded working grid (None where the network has none: then the velocity found
    here is only one of two maps), ``displacement`` on the working grid. Unit/Direction: voxels, pull-back.
    ``loss_before``, ``loss_after``: of the finest level, at the network's answer and at the end.
    """

    velocity: Tensor | None
    displacement: Tensor
    levels: tuple[Level, ...]
    loss_before: float
    loss_after: float
    seconds: float
    inverse: Tensor | None = None

    @property
    def prediction(self) -> Prediction:
        """The refined answer as networks give theirs."""
        return Prediction(self.displacement, self.velocity, inverse=self.inverse)

    def summary(self) -> dict[str, Any]:
        """The history as the report has it; ``iterations`` are those of the finest level."""
        return {
            "iterations": self.levels[-1].iterations, "converged": self.levels[-1].converged,
            "loss_before": self.loss_before, "loss_after": self.loss_after, "seconds": self.seconds,
            "levels": [asdict(level) for level in self.levels],
        }


def refine_prediction(
    prediction: Prediction, moving: Tensor, fixed: Tensor, *, recipe: Recipe, iterations: Iterations = "auto",
    finish: bool = False, moving_mask: Tensor | None = None, fixed_mask: Tensor | None = None,
    smoothness: float = 0.0, volume_weight: float = 0.0, guides: Guides | None = None, monitor: Monitor | None = None,
) -> Refined:
    """Optimise the pair's stationary velocity from the network's; the result's loss is never above the start's.

    ``iterations``: the most at the finest level; "auto" leaves it to the stopping rule (and at most 20). ``finish``:
    the prediction is a network's, whose large scales are right: only the finest level runs, briefly (at most 15
    iterations under "auto"); "full" runs every level nevertheless. A network without a velocity keeps its displacement:
    a velocity from zero is composed in front of it. Folds that the loss did not prevent are smoothed away. The
    monitor's wish to finish ends the level where it stands.

    The similarity is its weighted mean over voxels, weighted by the fixed mask times the warped moving one (which
    carry no gradient): elsewhere the field is only smooth. Masks keep what lies outside out of the windows of a local
    correlation too, and the steps shorter. Without masks it is the fixed image's foreground, where the recipe counts
    that alone.

    ``smoothness``: what is added to the velocity is smooth by construction, a Gaussian of this standard deviation
    (voxels) over something: no detail of the deformation is finer. ``volume_weight``: of the mean squared logarithm of
    the Jacobian determinant, so that structures neither vanish nor swell. ``guides``: points that are to come together,
    softly.

    Shape: images and masks (weights, 0 to 1) (1, 1, *spatial), the recipe's loss on them.
    Unit/Direction: voxels, pull-back.
    Raises: InputError (iterations, shapes, masks without a common voxel), CancelledError.
    Reference: docs/method.md, sections 1.3 and 4.4; FireANTs (Jena et al., 2024).
    """
    check_iterations(iterations)
    grids = {tuple(tensor.shape[2:]) for tensor in (moving, fixed, prediction.displacement)}
    if len(grids) > 1 or {tuple(image.shape[:2]) for image in (moving, fixed)} != {(1, 1)}:
        raise InputError("images and field to refine do not fit", expected="two images (1, 1, *spatial) on one grid",
                         got=f"{tuple(moving.shape)}, {tuple(fixed.shape)}, {tuple(prediction.displacement.shape)}")
    began, monitor, shape = time.perf_counter(), monitor or Monitor(), fixed.shape[2:]
    # clones: tensors made in inference mode can never take part in a gradient
    given = prediction.displacement.clone() if prediction.velocity is None else None
    course = _FROM_ANSWER if finish and iterations != "full" else _FROM_NOTHING
    whole = _SMALL if course is _FROM_ANSWER else _WHOLE
    factors = level_factors(shape, whole=whole[len(shape)])[-(course.levels or 0):]

    def prepared(image: Tensor | None, shift: Tensor | None = None) -> Tensor | None:
        if image is None:
            return None
        return _padded(image if shift is None else warp(image, shift), max(4, factors[0]))

    source, target = cast(Tensor, prepared(moving, given)), cast(Tensor, prepared(fixed))
    within, pace = [mask for mask in (moving_mask, fixed_mask) if mask is not None], 1.0
    if within:  # one step has one length everywhere: the smoothness, weighing more then, would not undo it in time
        pace = math.sqrt(float(torch.stack(within).prod(0).mean()) or 1.0)
    elif recipe.objective.counted == "foreground":
        fixed_mask = foreground(fixed)
    masks = (prepared(moving_mask, given), prepared(fixed_mask))
    half = [size // 2 for size in target.shape[2:]]
    start = fixed.new_zeros(1, len(half), *half) if prediction.velocity is None else _fitted(prediction.velocity, half)
    bounds = Bounds(smoothness, volume_weight)
    described = recipe.loss_weights.similarity_mix == 0
    lattice = described and iterations == "auto" and course is _FROM_NOTHING and factors[-1] == 2 and math.prod(
        target.shape[2:]) <= _LATTICE[len(shape)]
    own = factors[-1] if described and not lattice else 1
    if described:
        source, target = (pooled_mind(image, own, *recipe.objective.mind) for image in (source, target))
    guides = None if guides is None else guides.following(given)
    how: dict[str, Any] = {"own": own, "guides": guides, "within": bool(within)}
    finest = LevelLoss(source, target, factors[-1], recipe, masks, bounds, **how)
    with torch.no_grad():
        before = float(finest.loss(start))
    course = replace(course, rate=course.rate * pace)
    # the loss of coarse levels falls by 1.5 % long after it matters where full resolution follows
    at_full = iterations == "auto" and (factors[-1] == 1 or lattice)
    coarser = min(course.coarser, _COARSER_OF_WHOLE) if at_full else course.coarser
    finer = min(course.finest, _FINEST_OF_LARGE) if at_full and math.prod(shape) > _SMALL[len(shape)] else course.finest
    velocity, levels, count = start, [], len(factors) + lattice
    for place, factor in enumerate(factors):
        last = factor == factors[-1]
        most = coarser if not last else iterations if isinstance(iterations, int) else finer
        problem = finest if last else LevelLoss(source, target, factor, recipe, masks, bounds, **how)
        velocity, level = _descend(problem, velocity, most, course=course, monitor=monitor, done=place, count=count)
        levels.append(level)
    if lattice:
        velocity, level = _descend(
            LatticeLoss(source, target, recipe, masks, bounds, guides=guides), velocity, _FINEST_OF_LARGE,
            course=replace(course, rate=_FROM_ANSWER.rate * pace, tolerance=0.0), monitor=monitor, done=count - 1,
            count=count)
        levels.append(level)
    with torch.no_grad():
        after = float(finest.loss(velocity))
        if not before - after > _WORTH * abs(before):  # also where it is not a number
            velocity, after = start, before
        velocity, displacement, _ = repair_folds(velocity, shape, squarings=recipe.network.squarings)
        if given is None:
            return Refined(velocity, displacement, tuple(levels), before, after, time.perf_counter() - began)
        back = prediction.inverse
        if back is not None:
            back = compose(back.clone(), integrate_within(-velocity, shape, squarings=recipe.network.squarings))
        return Refined(None, compose(displacement, given), tuple(levels), before, after, time.perf_counter() - began,
                       back)


def check_iterations(iterations: object) -> None:
    """Raises InputError for anything but "auto", "full" or a whole number of at least 0."""
    whole = isinstance(iterations, int) and not isinstance(iterations, bool) and iterations >= 0
    if iterations not in ("auto", "full") and not whole:
        raise InputError("iterations of the refinement", expected="auto, full, or a whole number of 0 or more",
                         got=repr(iterations), remedy="--refine auto")


def level_factors(shape: Sequence[int], *, whole: int | None = None) -> tuple[int, ...]:
    """The averaging factors of the levels, coarsest first: 8, 4, 2, and 1 on grids of at most ``whole`` voxels (None:
    small ones).
    """
    finest = 1 if math.prod(shape) <= (_SMALL[len(shape)] if whole is None else whole) else 2
    factors = [finest]
    while 2 * factors[0] <= _COARSEST and min(shape) // (2 * factors[0]) >= _SHORTEST:
        factors.insert(0, 2 * factors[0])
    return tuple(factors)


def converged(losses: Sequence[float], *, tolerance: float, share: float = 0.0, window: int = _WINDOW) -> bool:
    """Whether the mean loss of the last ``window`` iterations is hardly below that of the window before."""
    if len(losses) < 2 * window:
        return False
    recent, earlier = sum(losses[-window:]) / window, sum(losses[-2 * window : -window]) / window
    return not earlier - recent > max(tolerance * abs(earlier), share * (losses[0] - recent))


def _descend(
    problem: LevelLoss, velocity: Tensor, most: int, *, course: _Course, monitor: Monitor, done: int, count: int
) -> tuple[Tensor, Level]:
    """Adam on one level; what it changed is added to the finest velocity, so no detail of the start is lost."""
    began = time.perf_counter()
    start = resize_displacement(velocity, problem.grid)
    moved = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([moved], lr=course.rate, betas=_BETAS, eps=_FLAT)
    losses: list[float] = []

    def reached(moved: Tensor) -> Tensor:
        return moved if problem.sigma < _UNSMOOTHED else start + gaussian(moved - start, problem.sigma)

    def still() -> bool:
        return converged(losses, tolerance=course.tolerance, share=course.share)

    while len(losses) < most and not still() and monitor.wish() != "finish":
        if monitor.wish() == "cancel":
            raise CancelledError("stopped during the refinement")
        if problem.sigma < _UNSMOOTHED:
            loss, gradient = problem.with_gradient(moved.detach())
        else:
            loss = problem.loss(reached(moved))
            gradient = torch.autograd.grad(loss, moved)[0]
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        moved.grad = gaussian(gradient * problem.fixed.numel(), _GRADIENT_SIGMA)
        optimiser.step()
        monitor.event("progress", done=done + len(losses) / most, total=count)
    with torch.no_grad():
        end = reached(moved.detach())
        after = float(problem.loss(end))
    change = resize_displacement(end - start, velocity.shape[2:])
    level = Level(problem.factor, len(losses), still(), losses[0] if losses else after, after,
                  time.perf_counter() - began)
    return velocity + change, level


def _padded(image: Tensor, multiple: int) -> Tensor:
    """The image with its border repeated behind every axis up to a multiple."""
    pads = [amount for size in reversed(image.shape[2:]) for amount in (0, -size % multiple)]
    return F.pad(image, pads, mode="replicate") if any(pads) else image


def _fitted(velocity: Tensor, shape: Sequence[int]) -> Tensor:
    """The velocity cut, or its border repeated, behind every axis to the shape. A copy outside inference mode."""
    kept = velocity[(slice(None), slice(None), *(slice(size) for size in shape))].clone()
    pads = [amount for own, size in zip(reversed(kept.shape[2:]), reversed(shape), strict=True)
            for amount in (0, size - own)]
    return F.pad(kept, pads, mode="replicate") if any(pads) else kept
