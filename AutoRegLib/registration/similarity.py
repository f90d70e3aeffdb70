"""What images of a pair are compared by where no model says it: by what each similarity achieves on this very pair."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from AutoRegLib.bridge import to_tensor
from AutoRegLib.core.options import Similarity
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.recipe_loss import similarity_of, with_loss
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.fields.resample import downsample
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.warp import warp
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.kernels.box import box_sum
from AutoRegLib.registration.no_network import NAME, OWN
from AutoRegLib.registration.refine import refine_prediction

# deep inside, two persons of one contrast: correlation 0.28 to 0.97, of which a straight line is 0.80 and more; of one
# person T1 with FLAIR: 0.27, 0.32 (dark fluid in both, but gray and white matter the other way round); with T2 below 0
_ALIKE, _STRAIGHT = 0.25, 0.65
_BINS = 12  # of brightness, of as many voxels each
_LOOKED_AT = {2: 128**2, 3: 64**3}  # voxels, for the correlation
_TRIED = {2: 128**2, 3: 48**3}  # voxels, for the trials: of a brain at 1 mm every fourth
_DEEP = 5  # voxels: a window all in tissue; borders to a dark background correlate whatever the contrast
_FEW = 64  # voxels that tell nothing
_SHIFT, _SIGMA = 0.6, 3.0  # voxels: mean length and smoothness of the warp that is to be found back
_ITERATIONS = 20
_TRIALS = ("lncc", "mind")  # what "auto" chooses among
_BETTER = 0.97  # of what MIND leaves: a wrong local correlation ruins the pair, a needless MIND costs little


def with_similarity(
    recipe: Recipe, fixed: Volume, moving: Volume, similarity: Similarity | Literal["own"], *,
    inside: np.ndarray | None = None, unlike: bool = False,
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of no network with the loss for this pair, and what it compares by; a trained model keeps its own,
    and so does a recipe by :data:`OWN`.

    Images whose brightness agrees inside tissue, along a line, are of one kind: local correlation. For others short
    registrations decide (:func:`left_over`); where they do not speak for local correlation it is MIND. ``unlike``: the
    alignment found that they hardly resemble each other; it is MIND, and refining is hopeless.

    The second value has the report's keys ``similarity`` (lncc, mind, mse, nmi; of a model also local_nmi, and two as
    lncc+mind), ``similarity_chosen_by`` (images, request, model, recipe) and ``similarity_reason``, a sentence; after
    trials also ``warp_left``, what each leaves of the known warp: where that is all of it and more (:func:`hopeless`),
    no similarity sees how this pair fits.
    Shape: both images on one grid, affinely aligned; ``inside`` (bool): the voxels that count, None all.
    """
    if recipe.network.name != NAME or similarity == OWN:
        chooser, reason = ("recipe", "the loss found for such images") if similarity == OWN else (
            "model", "the loss the model was trained with")
        return recipe, {"similarity": similarity_of(recipe),
                        "similarity_chosen_by": chooser, "similarity_reason": reason}
    chooser, reason = "request", "asked for"
    left: dict[str, float] = {}
    unlike = unlike and similarity == "auto"
    if unlike:
        similarity, chooser, reason = "mind", "images", "the images hardly resemble each other"
    elif similarity == "auto":
        chooser = "images"
        for where in (inside,) if inside is None else (inside, None):  # a mask may leave hardly more than noise
            pair = _deep_inside(fixed, moving, where)
            value, straight = _correlation(*pair), straightness(*pair)
            if alike := value > _ALIKE and straight > _STRAIGHT:
                break
        seen = (f"inside tissue the aligned images correlate by {value:.2f}, and a straight line is {straight:.2f} of "
                "what the brightness of one tells of the other's")
        if alike:
            similarity = "lncc"
            reason = f"{seen}: of one kind"
        else:
            left = {name: left_over(recipe, fixed, moving, name, inside=inside) for name in _TRIALS}
            similarity = "lncc" if left["lncc"] < min(_BETTER * left["mind"], 1.0) else "mind"
            reason = (f"{seen}: perhaps not of one kind; of a small known warp put on the moving image, registering "
                      "leaves " + " and ".join(
                          f"{100 * share:.0f} % by {name}" for name, share in left.items()))
    told = {"similarity": similarity, "similarity_chosen_by": chooser, "similarity_reason": reason}
    more = {"warp_left": left} if left else {"unlike": True} if unlike else {}
    return with_loss(recipe, similarity), told | more


def hopeless(told: Mapping[str, Any]) -> bool:
    """Whether every similarity that was tried left a known warp as large as it was, or larger, or none was tried since
    the images hardly resemble each other.

    A refinement by any of them then moves the pair at random: on simulated MR and ultrasound of the prostate overlap
    fell in nine pairs of nine, and all measures rose.
    """
    left: dict[str, float] = told.get("warp_left", {})
    return bool(told.get("unlike", False)) or (len(left) > 0 and min(left.values()) >= 1.0)


def correlation(fixed: Volume, moving: Volume, *, inside: np.ndarray | None = None) -> float:
    """How alike the brightness of the same tissue is: the correlation deep inside both. Unit: -1 to 1.

    Where the images have nearly no depth it is that of all that either image shows. Images without contrast count as
    1: nothing tells them apart.

    Shape: both images on one grid, affinely aligned; ``inside`` (bool): the voxels that count.
    """
    return _correlation(*_deep_inside(fixed, moving, inside))


def straightness(first: Tensor, second: Tensor) -> float:
    """How much of what one brightness tells of the other a straight line tells, with the sign of its slope.

    The squared correlation by the correlation ratio (the variance of the mean brightness over twelve equally filled
    bins of the other's), the larger one of both directions. Two images of one contrast lie on a line however poorly
    they are aligned; two contrasts on a curve. Constant images count as 1.

    Shape: (n,) twice. Unit: about -1 to 1; a little above for few bins.
    Reference: Roche et al., The correlation ratio as a new similarity measure, MICCAI 1998.
    """
    if not float(first.var(correction=0)) * float(second.var(correction=0)) > 0:
        return 1.0
    count = max(2, min(_BINS, len(first) // 50))

    def explained(by: Tensor, values: Tensor) -> float:
        groups = values[by.argsort()].tensor_split(count)
        means = torch.stack([group.mean() for group in groups])
        sizes = torch.tensor([len(group) for group in groups], dtype=means.dtype)
        return float((sizes * (means - values.mean()).square()).sum() / len(values) / values.var(correction=0))

    ratio = max(explained(first, second), explained(second, first), 1e-12)
    value = _correlation(first, second)
    return value * abs(value) / ratio


def _correlation(first: Tensor, second: Tensor) -> float:
    if len(first) < 2:
        return 1.0
    one, other = first - first.mean(), second - second.mean()
    size = math.sqrt(float(one.square().sum()) * float(other.square().sum()))
    return 1.0 if size == 0 else float((one * other).sum()) / size


def _deep_inside(fixed: Volume, moving: Volume, inside: np.ndarray | None) -> tuple[Tensor, Tensor]:
    """The brightness of the same voxels of both images, away from borders to the background. Shape: (n,), float64."""
    first, second, counted = _coarse(fixed, moving, inside, most=_LOOKED_AT)
    tissue = [(image > image.min()) & counted for image in (first, second)]
    deep = tissue[0] & tissue[1]
    deep = box_sum(deep.float(), _DEEP) >= box_sum(torch.ones_like(deep, dtype=torch.float32), _DEEP) - 0.5
    if int(deep.sum()) < _FEW:
        deep = (tissue[0] | tissue[1]) & counted
    return first[deep].double(), second[deep].double()


def left_over(
    recipe: Recipe, fixed: Volume, moving: Volume, similarity: str, *, inside: np.ndarray | None = None,
) -> float:
    """Which part of a small known warp a similarity does not find back on this pair, coarsely registered.

    The pair is registered as it is and with the warp ``w`` put on the moving image; the maps should differ by ``w``
    alone. A similarity that sees nothing of this contrast leaves about 1, one that is misled more. None of them is
    measured by its own value, and the truth of the pair is not needed.

    Shape: as :func:`with_similarity`. Unit: 1.
    """
    moving_tensor, fixed_tensor, counted = _coarse(moving, fixed, inside, most=_TRIED)
    shape = fixed_tensor.shape[2:]
    tuned = with_loss(recipe, similarity)
    noise = torch.randn((1, len(shape), *shape), generator=torch.Generator().manual_seed(0))
    known = gaussian(noise, _SIGMA)
    known = known * (_SHIFT / known.norm(dim=1).mean())
    weights = counted.float() if inside is not None else None

    def registered(image: Tensor) -> Tensor:
        half = [(size + 1) // 2 for size in shape]
        start = Prediction(torch.zeros_like(known), known.new_zeros(1, len(shape), *half))
        return refine_prediction(start, image, fixed_tensor, recipe=tuned, iterations=_ITERATIONS,
                                 fixed_mask=weights).displacement

    plain, moved = registered(moving_tensor), registered(warp(moving_tensor, known))
    both = moved + warp(known, moved)
    tissue = (fixed_tensor > fixed_tensor.min()) & counted
    if not bool(tissue.any()):
        tissue = torch.ones_like(counted)
    where = tissue[:, 0]
    return float((both - plain).norm(dim=1)[where].mean() / known.norm(dim=1)[where].mean())


def _coarse(
    first: Volume, second: Volume, inside: np.ndarray | None, *, most: dict[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Both images averaged until they have few voxels, and the voxels that count. Shape: (1, 1, *coarse)."""
    dims, factor = first.geometry.dims, 1
    while math.prod(size // factor for size in first.array.shape) > most[dims] and min(
            first.array.shape) // (2 * factor) >= 4:
        factor *= 2
    counted = torch.ones(1, 1, *first.array.shape) if inside is None else torch.from_numpy(
        inside.astype(np.float32))[None, None]
    tensors = [to_tensor(first), to_tensor(second), counted]
    pads = [amount for size in reversed(first.array.shape) for amount in (0, -size % factor)]
    one, other, share = (downsample(F.pad(tensor, pads, mode="replicate") if any(pads) else tensor, factor)
                         for tensor in tensors)
    return one, other, share > 0.5
