"""Registration without a trained model (``--model none``): a bundle of no network for one pair, its grid and loss."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import Network, Objective, Preprocessing, Recipe
from AutoRegLib.core.recipe_loss import with_loss
from AutoRegLib.imaging.geometry import Geometry, nearest_axes
from AutoRegLib.imaging.thin_stack import thin_axis
from AutoRegLib.networks.none import NoNetwork

#: the name that ``--model`` takes for it
NAME = "none"
#: the similarity of a loss that was given, in place of one chosen for the pair
OWN: Literal["own"] = "own"

_MOST_VOXELS = {2: 2048**2, 3: 256**3}  # of the working grid; about 3 GB while a brain of that size is refined
# on the velocity, which cannot fold: on the displacement the same Dice came with thousands of folds
_OBJECTIVE = Objective(windows=(9, 7, 7), mind=(1, 1), regularise="velocity", fold_weight=1.0)


def no_network(fixed: Geometry, moving: Geometry, *, loss: Recipe | None = None) -> ModelBundle:
    """The bundle that answers nothing, on the working grid that suits these two images; LNCC until told otherwise.

    ``loss``: a recipe whose loss, at full scale, it has instead (``similarity`` is then :data:`OWN`). Raises InputError
    for a loss of another dimension.
    """
    spacing, thin = [working_spacing(fixed, moving)] * fixed.dims, thin_axis(fixed, moving)
    if thin is not None:  # what moves in plane alone is compared slice by slice
        spacing[nearest_axes(fixed).tolist().index(thin)] = fixed.spacing[thin]
    recipe = Recipe(spatial_dims=fixed.dims, network=Network(name=NAME), genotype=None, objective=_OBJECTIVE,
                    preprocessing=Preprocessing(spacing=tuple(spacing)))
    recipe = with_loss(recipe, "lncc") if loss is None else _taking(recipe, loss)
    return ModelBundle(Path(NAME), recipe, NoNetwork().eval(), {}, {})


def _taking(recipe: Recipe, loss: Recipe) -> Recipe:
    """The recipe with what another compares images by, and how smooth it wants the field."""
    if loss.spatial_dims != recipe.spatial_dims:
        raise InputError("the loss is of a recipe for other images", expected=f"a recipe for {recipe.spatial_dims}-D",
                         got=f"{loss.spatial_dims}-D", remedy="leave --loss out, or search on images like these")
    seen = loss.objective
    return replace(recipe, loss_weights=loss.loss_weights.at_full_scale(), objective=replace(
        recipe.objective, data_term=seen.data_term, windows=seen.windows, mind=seen.mind))


def finest_spacing(fixed: Geometry, moving: Geometry) -> float:
    """The finest spacing that both images have along some axis: detail that only one has cannot guide. Unit: mm."""
    return max(min(fixed.spacing), min(moving.spacing))


def working_spacing(fixed: Geometry, moving: Geometry) -> float:
    """The finest common spacing, or the one at which the fixed field of view has as many voxels as fit. Unit: mm."""
    volume = math.prod(size * step for size, step in zip(fixed.size, fixed.spacing, strict=True))
    return max(finest_spacing(fixed, moving), (volume / _MOST_VOXELS[fixed.dims]) ** (1 / fixed.dims))
