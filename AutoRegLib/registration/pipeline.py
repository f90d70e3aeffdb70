"""Register two volumes: affine, network and refinement on the working grid, all composed into one field."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor

from AutoRegLib.bridge import to_tensor
from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.errors import CancelledError, InputError, OutOfMemoryProblem
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.memory import tidy
from AutoRegLib.core.options import Affine, Deliver, Regularity, Similarity, Transformation
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.recipe_loss import with_smoothness
from AutoRegLib.fields.fold_repair import nearly_folded, repair_folds
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.geodesic.predictor import Predictor
from AutoRegLib.imaging.align import Alignment, affine_align
from AutoRegLib.imaging.displacement import DisplacementField, compose_on
from AutoRegLib.imaging.geometry import Geometry, nearest_axes, working_grid
from AutoRegLib.imaging.masks import continued, counted_share, counting, mask_on, without_padding
from AutoRegLib.imaging.preprocess import to_grid
from AutoRegLib.imaging.single_slice import is_single_slice
from AutoRegLib.imaging.tetrahedra import Orientation
from AutoRegLib.imaging.thin_stack import thin_axis
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.losses.guides import Guides
from AutoRegLib.registration.geodesic_pair import shoot_pair
from AutoRegLib.registration.guard import SHIFTED, Look, Verdict, believed, better, doubtful, judged, partial
from AutoRegLib.registration.guides import Landmarks, guided, nearer, on_grid
from AutoRegLib.registration.initial import check_extents, ends_within, mask_through, through
from AutoRegLib.registration.inverse import affine_guess, refine_inverse
from AutoRegLib.registration.no_network import NAME, OWN
from AutoRegLib.registration.prediction_fields import fields_of, undone
from AutoRegLib.registration.refine import Iterations, check_iterations, refine_prediction
from AutoRegLib.registration.similarity import hopeless, with_similarity
from AutoRegLib.registration.stack import refine_slices
from AutoRegLib.registration.unfolding import without_folds

#: the steps that are announced; finer ones are only timed
STAGES = ("read", "align", "network", "refine", "compose", "measure", "write")
_UNSEEN = "the {what} guided {stage}, since a network does not look at {what}: ask for a refinement, as --refine auto"


@dataclass(frozen=True, eq=False)
class Registration:
    """What registering two volumes found.

    ``field``: the whole pull-back, fixed to moving, on the fixed image's grid. ``inverse``: moving to fixed on
    the moving image's grid, when asked for. ``inverse_chain``: the transforms that undo the field one by one (moving
    to fixed, in that order), where the network integrates a velocity; else empty. ``refinement``: what the
    refinement did, in the words of the report; empty without one. ``unfolded``: voxels at which the network's
    answer, or the whole field on the fixed image's grid, folded before it was smoothed there.
    ``orientation``: what the field does to volumes. ``verdict``: how much of what was found is delivered, and why not
    all. ``course``: of a geodesic the pull-back it would be if it went straight on as it starts, minus its initial
    velocity, on the working grid. Unit: mm LPS; seconds by step.
    """

    field: DisplacementField
    inverse: DisplacementField | None
    alignment: Alignment
    inverse_chain: tuple[Any, ...] = ()
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    refinement: dict[str, Any] = dataclasses.field(default_factory=dict)
    unfolded: int = 0
    orientation: Orientation | None = None
    verdict: Verdict = dataclasses.field(default_factory=Verdict)
    course: DisplacementField | None = None


class Clock:
    """Seconds by step, in the order in which the steps began."""

    def __init__(self, timer: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self.timer = timer

    @contextmanager
    def __call__(self, step: str, monitor: Monitor) -> Iterator[None]:
        """Time one step, announce it, and stop before it if the user asked to. Raises CancelledError."""
        if monitor.wish() == "cancel":
            raise CancelledError(f"stopped before the step '{step}'")
        if step in STAGES:
            monitor.event("stage", name=step, index=STAGES.index(step), count=len(STAGES))
        began = self.timer()
        yield
        tidy()
        self.seconds[step] = self.seconds.get(step, 0.0) + self.timer() - began


def register_volumes(
    model: ModelBundle, fixed: Volume, moving: Volume, *, affine: Affine = "auto",
    initial: Any = None, fixed_mask: np.ndarray | None = None, moving_mask: np.ndarray | None = None,
    guides: Landmarks | None = None, modality: str | None = None, moving_modality: str | None = None,
    refine: Iterations = 0,
    similarity: Similarity | Literal["own"] = "auto", transformation: Transformation = "svf",
    regularity: Regularity | Predictor = "auto", smoothness: float = 0.0, preserve_volume: float = 0.0,
    deliver: Deliver = "auto", inverse: bool = False, alignment: Alignment | None = None,
    seed: int = 0, device: str = "cpu", monitor: Monitor | None = None, timer: Callable[[], float] = time.perf_counter,
) -> Registration:
    """Find the pull-back from fixed to moving points.

    ``x -> initial(affine(x + u(x)))``: the network's field first, then the affine, then the ``initial`` transform
    (fixed to moving, as the user gave it). ``affine`` "auto" aligns as the model's recipe says, as far as the images
    speak for it; another one at most so far, without asking them. ``modality``: of the fixed image, and of the moving
    one unless it has its own; the recipe's when None. ``refine``: most
    iterations of the finest level that optimise this pair, from the network's answer where there is one, or "auto", or
    "full": all levels from that answer on; the model stays as it is.
    ``similarity``: what a registration without a network compares images by; "auto" looks at them, "own" takes the
    recipe's loss as it is.
    ``transformation``: "lddmm" shoots a geodesic of this ``regularity`` (see
    :func:`AutoRegLib.registration.geodesic_pair.shoot_pair`), which a refinement may follow.
    ``guides``: points that should come together; they correct the alignment and pull in the refinement, softly.
    Masks (bool, each on its image's grid) guide the affine alignment and the refinement: what lies outside them has
    no influence on either, and the field there is only smooth. Padding of a CT lies outside. A network sees the images
    without masks.
    ``smoothness`` (mm), ``preserve_volume`` (a weight): bounds of the refinement, as in :func:`refine_prediction`.
    ``deliver`` "auto": where measures that did not make the result say that it harms, less of it is delivered
    (:mod:`AutoRegLib.registration.guard`); "whole": what was found, whatever they say.
    ``alignment``: what aligning these two found before; it is then not sought again. ``timer``: what the seconds of its
    steps are read from.

    Unit/Direction: mm LPS, fixed to moving.
    Raises: InputError (other dimensions than the model's, no overlap, values), OutOfMemoryProblem, CancelledError.
    """
    monitor = monitor or Monitor()
    _check(model.recipe, fixed, moving, refine=refine, similarity=similarity, transformation=transformation)
    if initial is None:
        check_extents(fixed.geometry, moving.geometry)
    modality = model.recipe.preprocessing.modality if modality is None else modality
    moving_modality = modality if moving_modality is None else moving_modality
    clock = Clock(timer)
    given = fixed_mask is not None or moving_mask is not None
    fixed_mask, moving_mask = (counting(without_padding(volume, mask))
                               for volume, mask in ((fixed, fixed_mask), (moving, moving_mask)))
    masked = fixed_mask is not None or moving_mask is not None
    with clock("align", monitor):
        compared = (continued(moving, moving_mask), continued(fixed, fixed_mask))
        level = (model.recipe.preprocessing.affine if affine == "auto" else affine).replace("auto", "affine")
        if alignment is None:
            alignment = affine_align(
                compared[1], through(initial, compared[0], fixed.geometry), level=level,  # type: ignore[arg-type]
                guarded=affine == "auto", fixed_mask=fixed_mask,
                moving_mask=mask_through(initial, moving_mask, moving.geometry, fixed.geometry), seed=seed)
        grid, thin = working_geometry(model.recipe, fixed.geometry), thin_axis(fixed.geometry, moving.geometry)
        look = Look(compared[1], compared[0], grid, initial, fixed_mask, moving_mask, (modality, moving_modality))
        if affine == "auto" and deliver == "auto":
            alignment = believed(look, alignment)
        if guides is not None and affine != "none":
            alignment = guided(look, alignment, guides)
        outer = (alignment.transform,) if initial is None else (alignment.transform, initial)
    with clock("prepare", monitor):
        chain = compose_on(grid, *outer).to_transform() if initial is not None else alignment.transform

        def prepared(moving: Volume, fixed: Volume) -> tuple[Volume, Volume]:
            return to_grid(moving, grid, chain, modality=moving_modality), to_grid(fixed, grid, modality=modality)

        inputs = prepared(moving, fixed)
    with clock("network", monitor), _fits(grid):
        prediction, unfolded = _predict(model, *inputs, device=device)
    refinement: dict[str, Any] = {}
    if refine != 0 or transformation == "lddmm":
        with clock("refine", monitor), _fits(grid):
            masks = (mask_on(moving_mask, moving.geometry, grid, chain), mask_on(fixed_mask, fixed.geometry, grid))
            seen, nothing = prepared(*compared) if masked else inputs, prediction
            options: dict[str, Any] = {"iterations": refine, "smoothness": smoothness / min(grid.spacing),
                                       "volume_weight": preserve_volume, "monitor": monitor}
            prediction, refinement = _refine(
                model.refining, prediction, *seen, masks=masks, similarity=similarity,
                unlike=alignment.kept == SHIFTED, **options,
                guides=None if guides is None else on_grid(guides, grid, *outer),
                regularity=regularity if transformation == "lddmm" else None,
                across=None if thin is None else 4 - nearest_axes(fixed.geometry).tolist().index(thin))
    verdict = Verdict()
    if deliver == "auto":
        with clock("judge", monitor):
            verdict = judged(look, prediction, alignment.transform, similarity=refinement.get("similarity", ""),
                             squarings=model.recipe.network.squarings)
            if guides is not None and nearer(prediction, guides, grid, *outer):
                verdict = replace(verdict, share=1.0, reason="")
        simple = guides is None and thin is None and transformation == "svf" and refinement.get("start") == "alignment"
        if simple and refinement["levels"] and doubtful(verdict, prediction.displacement):
            with clock("refine", monitor), _fits(grid):
                other, told = _other_way(model.refining, nothing, *seen, masks=masks, told=refinement, **options)
            found = better(look, verdict, other, alignment.transform, similarity=refinement["similarity"])
            if found is not None:
                verdict, prediction, refinement = found, other, told
        prediction = partial(prediction, verdict.share, grid.shape, squarings=model.recipe.network.squarings)
    with clock("compose", monitor):
        forward, backward, course = fields_of(prediction, grid, squarings=model.recipe.network.squarings)
        delivered, oriented, mended = without_folds(compose_on(fixed.geometry, forward.to_transform(), *outer))
        inverse_chain = undone(backward, outer)
    inverted = None
    if inverse:
        with clock("inverse", monitor):
            guess = (compose_on(moving.geometry, *inverse_chain) if inverse_chain
                     else affine_guess(delivered, moving.geometry))
            inverted = refine_inverse(delivered, guess)
    torn = () if mended == 0 else (
        f"the deformation folded at {mended} voxels and was smoothed around them until none was left",)
    asked = {"masks": given and masked, "guide landmarks": guides is not None}
    unseen = () if refinement else tuple(
        _UNSEEN.format(what=what, stage="the affine alignment alone" if level != "none" else "nothing")
        for what, there in asked.items() if there)
    beyond = () if initial is None else ends_within(outer, fixed.geometry)
    return Registration(delivered, inverted, alignment, inverse_chain, clock.seconds,
                        (*alignment.warnings, *verdict.words, *unseen, *beyond, *torn), refinement, unfolded + mended,
                        oriented, verdict, course)


def working_geometry(recipe: Recipe, fixed: Geometry) -> Geometry:
    """The grid on which the recipe's network sees this fixed image; it covers the whole field of view."""
    axes = abs(fixed.direction_matrix).argmax(axis=1)  # the image axis closest to each of LPS
    spacing = recipe.preprocessing.spacing or tuple(fixed.spacing[axis] for axis in axes)
    return working_grid(fixed, spacing=spacing, multiple=4)


def _check(recipe: Recipe, fixed: Volume, moving: Volume, *, refine: Iterations, similarity: str,
           transformation: Transformation) -> None:
    check_iterations(refine)
    if similarity not in (*get_args(Similarity), OWN):
        raise InputError("unknown similarity", expected="auto, lncc, mind, mse or nmi", got=similarity)
    if similarity != "auto" and recipe.network.name != NAME:
        raise InputError("a model compares images by the loss it was trained with",
                         expected="similarity auto, or no network", got=f"{similarity} with a model",
                         remedy="leave --similarity out, or use --model none")
    if transformation not in get_args(Transformation) or (transformation != "svf" and recipe.network.name != NAME):
        raise InputError("a model has its own transformation", expected="svf, or without a model lddmm",
                         got=transformation, remedy="leave --transformation out, or use --model none")
    for role, volume in (("fixed", fixed), ("moving", moving)):
        if volume.geometry.dims != recipe.spatial_dims:
            raise InputError(f"the model is for {recipe.spatial_dims}-D images", expected=f"{recipe.spatial_dims}-D",
                             got=f"a {volume.geometry.dims}-D {role} image",
                             remedy="choose a model of the images' dimension (a single slice is 2-D), or --model none")
        if is_single_slice(volume.geometry):
            raise InputError(f"a volume of a single slice as the {role} image", expected="2-D images, or volumes",
                             got=f"{' x '.join(map(str, volume.geometry.size))} voxels",
                             remedy="register files, or flatten both images by slice_pair")


def _predict(model: ModelBundle, moving: Volume, fixed: Volume, *, device: str) -> tuple[Prediction, int]:
    """The network's answer on its grid, smoothed where it folds, and how many voxels folded."""
    with torch.inference_mode():
        model.network.to(device)
        answer = model.answer(to_tensor(moving).to(device), to_tensor(fixed).to(device))
        if answer.velocity is None or not bool(nearly_folded(answer.displacement).any()):
            return answer, 0
        velocity, displacement, count = repair_folds(
            answer.velocity, answer.displacement.shape[2:], squarings=model.recipe.network.squarings
        )
    return replace(answer, velocity=velocity, displacement=displacement), count


def _refine(
    recipe: Recipe, prediction: Prediction, moving: Volume, fixed: Volume, *,
    masks: tuple[Volume | None, Volume | None], iterations: Iterations, similarity: Similarity | Literal["own"],
    regularity: Regularity | Predictor | None, smoothness: float, volume_weight: float, monitor: Monitor,
    across: int | None, guides: Guides | None, unlike: bool = False,
) -> tuple[Prediction, dict[str, Any]]:
    """The answer optimised for this pair with the recipe's own loss, and what was done, in the words of the report.

    ``across``: the tensors' axis across the slices of a thin stack, which are refined one by one. ``unlike``: the
    images hardly resemble each other. The similarity is a mean over what the masks count; the smoothness, a mean over
    the grid, is told how much that is: a mask leaves the field as smooth as it would be without.
    """
    device, learnt = prediction.displacement.device, recipe.network.name != NAME
    given = [mask.array > 0.5 for mask in masks if mask is not None]
    recipe, told = with_similarity(recipe, fixed, moving, similarity,
                                   inside=np.logical_and.reduce(given) if given else None, unlike=unlike)
    if regularity is None and guides is None and hopeless(told):
        return prediction, {"start": "alignment", "iterations": 0, "converged": False, "loss_before": 0.0,
                            "loss_after": 0.0, "seconds": 0.0, "levels": [], **told}
    recipe = with_smoothness(recipe, recipe.loss_weights.smoothness / counted_share(masks))
    tensors = [None if volume is None else to_tensor(volume).to(device) for volume in masks]
    there, here = (to_tensor(volume).to(device) for volume in (moving, fixed))
    shot: dict[str, Any] = {}
    if regularity is not None:
        prediction, shot = shoot_pair(
            there, here, regularity=regularity, measure=told["similarity"],  # type: ignore[arg-type]
            spacing=fixed.geometry.spacing[0], masks=(tensors[0], tensors[1]), monitor=monitor)
        if iterations == 0:
            return prediction, {"start": "alignment", **shot, **told}
    options: dict[str, Any] = {
        "recipe": recipe, "iterations": iterations, "moving_mask": tensors[0], "fixed_mask": tensors[1],
        "smoothness": smoothness, "volume_weight": volume_weight, "monitor": monitor, "guides": guides}
    if across is not None and not learnt and not shot:
        refined = refine_slices(there, here, across=across, **options)
    else:
        finish = guides is None and (learnt or bool(shot))  # points may be far from where they belong
        refined = refine_prediction(prediction, there, here, finish=finish, **options)
    start: dict[str, Any] = {"start": "network" if learnt else "lddmm" if shot else "alignment"}
    if shot:
        start["shooting"] = shot
    return refined.prediction, {**start, **refined.summary(), **told}


def _other_way(
    recipe: Recipe, nothing: Prediction, moving: Volume, fixed: Volume, *, masks: tuple[Volume | None, Volume | None],
    told: dict[str, Any], **options: Any,
) -> tuple[Prediction, dict[str, Any]]:
    """The inverse of the fixed image refined onto the moving one, as the other way was ``told`` to be compared."""
    same = OWN if told["similarity_chosen_by"] == "recipe" else told["similarity"]
    found, done = _refine(recipe, nothing, fixed, moving, masks=(masks[1], masks[0]), similarity=same,
                          regularity=None, across=None, guides=None, **options)
    velocity, displacement, _ = repair_folds(-cast(Tensor, found.velocity), fixed.array.shape,
                                             squarings=recipe.network.squarings)
    kept = {key: value for key, value in told.items() if key.startswith(("similarity", "warp_left"))}
    return Prediction(displacement, velocity), {**done, **kept, "other_way": True}


@contextmanager
def _fits(grid: Geometry) -> Iterator[None]:
    """Whatever runs out of memory in here says so. Raises OutOfMemoryProblem."""
    try:
        yield
    except (MemoryError, RuntimeError) as problem:
        text = str(problem).lower()
        if not isinstance(problem, (MemoryError, torch.cuda.OutOfMemoryError)) and "memory" not in text:
            raise
        raise OutOfMemoryProblem(
            "the network does not fit into memory", expected=f"room for a grid of {grid.size} voxels",
            got=str(problem).split("\n")[0][:160],
            remedy="use --device cpu, close other programs, or choose a model with a coarser working grid",
        ) from None
