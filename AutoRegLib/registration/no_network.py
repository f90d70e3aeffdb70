"""Registration without a trained model (``--model none``): a bundle of no network for one pair, its grid and loss."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.recipe import LossWeights, Network, Objective, Preprocessing, Recipe
from AutoRegLib.core.verbs import Similarity
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.networks.none import NoNetwork

#: the name that ``--model`` takes for it
NAME = "none"

_MOST_VOXELS = {2: 2048**2, 3: 256**3}  # of the working grid; about 3 GB while a brain of that size is refined
_ALIKE = 0.3  # correlation of aligned images of one kind: 0.6 and more; T1 with T2: below 0
# on the velocity, which cannot fold: on the displacement the same Dice came with thousands of folds
_OBJECTIVE = Objective(windows=(9, 7, 7), regularise="velocity", fold_weight=1.0)
_LNCC = LossWeights(similarity_mix=1.0, smoothness=1.0).at_full_scale()
_MIND = LossWeights(similarity_mix=0.0, smoothness=1.0).at_full_scale()


def no_network(fixed: Geometry, moving: Geometry) -> ModelBundle:
    """The bundle that answers nothing, on the working grid that suits these two images; LNCC until told otherwise."""
    recipe = Recipe(
        spatial_dims=fixed.dims, network=Network(name=NAME), genotype=None, loss_weights=_LNCC, objective=_OBJECTIVE,
        preprocessing=Preprocessing(spacing=(working_spacing(fixed, moving),) * fixed.dims),
    )
    return ModelBundle(Path(NAME), recipe, NoNetwork().eval(), {}, {})


def finest_spacing(fixed: Geometry, moving: Geometry) -> float:
    """The finest spacing that both images have along some axis: detail that only one has cannot guide. Unit: mm."""
    return max(min(fixed.spacing), min(moving.spacing))


def working_spacing(fixed: Geometry, moving: Geometry) -> float:
    """The finest common spacing, or the one at which the fixed field of view has as many voxels as fit. Unit: mm."""
    volume = math.prod(size * step for size, step in zip(fixed.size, fixed.spacing, strict=True))
    return max(finest_spacing(fixed, moving), (volume / _MOST_VOXELS[fixed.dims]) ** (1 / fixed.dims))


def with_similarity(
    recipe: Recipe, fixed: Volume, moving: Volume, similarity: Similarity, *, inside: np.ndarray | None = None,
) -> tuple[Recipe, dict[str, str]]:
    """The recipe of no network with the loss for this pair (a trained model keeps its own), and what it compares by.

    The second value has the report's keys ``similarity`` (lncc, mind, lncc+mind), ``similarity_chosen_by`` (images,
    request, model) and ``similarity_reason``, a sentence.
    Shape: both images on one grid, affinely aligned; ``inside`` (bool): the voxels that count, None all.
    """
    if recipe.network.name != NAME:
        mix = recipe.loss_weights.similarity_mix
        return recipe, {"similarity": "lncc" if mix == 1 else "mind" if mix == 0 else "lncc+mind",
                        "similarity_chosen_by": "model", "similarity_reason": "the loss the model was trained with"}
    chooser, reason = "request", "asked for"
    if similarity == "auto":
        value = correlation(fixed, moving, inside=inside)
        similarity, place, kind = ("lncc", "above", "one kind") if value > _ALIKE else (
            "mind", "not above", "different kinds")
        chooser, reason = "images", f"the aligned images correlate by {value:.2f}, {place} {_ALIKE:g}: of {kind}"
    weights = _LNCC if similarity == "lncc" else _MIND
    return replace(recipe, loss_weights=weights), {
        "similarity": similarity, "similarity_chosen_by": chooser, "similarity_reason": reason}


def correlation(fixed: Volume, moving: Volume, *, inside: np.ndarray | None = None) -> float:
    """How alike the brightness of the same tissue is: the correlation where either image has tissue. Unit: -1 to 1.

    Shape: both images on one grid, affinely aligned; ``inside`` (bool): the voxels that count. Images of one contrast
    compare best by local correlation, others by MIND. Images without contrast count as 1: nothing tells them apart.
    """
    first, second = (volume.array.astype(np.float64) for volume in (fixed, moving))
    tissue = (first > first.min()) | (second > second.min())
    if inside is not None:
        tissue &= inside
    if tissue.sum() < 2:
        return 1.0
    first, second = (values[tissue] - values[tissue].mean() for values in (first, second))
    size = math.sqrt(float((first**2).sum()) * float((second**2).sum()))
    return 1.0 if size == 0 else float((first * second).sum()) / size
