"""Registration without a trained model (``--model none``): a bundle of no network for one pair, its grid and loss."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.recipe import LossWeights, Network, Objective, Preprocessing, Recipe
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.networks.none import NoNetwork

#: the name that ``--model`` takes for it
NAME = "none"
Similarity = Literal["auto", "lncc", "mind"]

_MOST_VOXELS = {2: 2048**2, 3: 256**3}  # of the working grid; about 3 GB while a brain of that size is refined
_ALIKE = 0.3  # correlation of aligned images of one kind: 0.6 and more; T1 with T2: below 0
# on the velocity, which cannot fold: on the displacement the same Dice came with thousands of folds
_OBJECTIVE = Objective(windows=(9, 7, 7), regularise="velocity", fold_weight=1.0)
_LNCC = LossWeights(similarity_mix=1.0, smoothness=1.0, half_scale=0.0, quarter_scale=0.0)
_MIND = LossWeights(similarity_mix=0.0, smoothness=1.0, half_scale=0.0, quarter_scale=0.0)


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


def with_similarity(model: ModelBundle, fixed: Volume, moving: Volume, similarity: Similarity) -> ModelBundle:
    """The bundle of no network with the loss for this pair; a trained model keeps its own.

    Shape: both images on one grid, affinely aligned.
    """
    if model.recipe.network.name != NAME:
        return model
    like = alike(fixed, moving) if similarity == "auto" else similarity == "lncc"
    return replace(model, recipe=replace(model.recipe, loss_weights=_LNCC if like else _MIND))


def alike(fixed: Volume, moving: Volume) -> bool:
    """Whether the same tissue is about as bright in both images: their correlation where either has tissue.

    Shape: both images on one grid, affinely aligned. Images of one contrast compare best by local correlation,
    others by MIND.
    """
    first, second = (volume.array.astype(np.float64) for volume in (fixed, moving))
    tissue = (first > first.min()) | (second > second.min())
    if tissue.sum() < 2:
        return True
    first, second = (values[tissue] - values[tissue].mean() for values in (first, second))
    size = math.sqrt(float((first**2).sum()) * float((second**2).sum()))
    return size == 0 or float((first * second).sum()) / size > _ALIKE
