"""The loss of a recipe: what it is in words, and the same recipe with another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.recipe import WEIGHTS, LossWeights, Recipe

#: how much each similarity is smoothed without a network, in its own unit; less and more of it with MIND left larger
#: errors, as did wider patches. Local correlation by dimensions: slabs would want less, whole brains more
#: (docs/results.md). The others stand in the order of what a refinement by them costs
LNCC_SMOOTHNESS = {2: 0.5, 3: 1.0}
SMOOTHNESS = {"lncc": LNCC_SMOOTHNESS[3], "mse": 0.03, "nmi": 0.2, "mind": 0.6}
_WINDOWED = ("lncc", "local_nmi")  # what is computed within windows
_TITLES = {"lncc": "LNCC", "mse": "MSE", "nmi": "NMI", "local_nmi": "local NMI"}


def similarity_of(recipe: Recipe) -> str:
    """What the recipe's loss compares images by: lncc, mind, mse, nmi or local_nmi, or two of them as "lncc+mind"."""
    mix, term = recipe.loss_weights.similarity_mix, recipe.objective.data_term
    return term if mix == 1 else "mind" if mix == 0 else f"{term}+mind"


def has_windows(recipe: Recipe) -> bool:
    """Whether what the recipe's loss compares by looks at windows."""
    return recipe.loss_weights.similarity_mix > 0.0 and recipe.objective.data_term in _WINDOWED


def loss_words(recipe: Recipe) -> str:
    """The loss in words, as "LNCC in windows of 9 voxels, smoothness 1"."""
    weights, term = recipe.loss_weights, _TITLES[recipe.objective.data_term]
    if has_windows(recipe):
        term += f" in windows of {recipe.objective.windows[0]} voxels"
    mix = weights.similarity_mix
    compared = term if mix == 1.0 else "MIND" if mix == 0.0 else f"{mix:.2f} {term} + {1.0 - mix:.2f} MIND"
    return f"{compared}, {weights.words()}"


def with_loss(recipe: Recipe, similarity: str) -> Recipe:
    """The recipe with the loss of a similarity, a name of :data:`SMOOTHNESS`, at full scale."""
    mind = similarity == "mind"
    smoothness = LNCC_SMOOTHNESS[recipe.spatial_dims] if similarity == "lncc" else SMOOTHNESS[similarity]
    weights = LossWeights(similarity_mix=0.0 if mind else 1.0, smoothness=smoothness).at_full_scale()
    term: Any = recipe.objective.data_term if mind else similarity
    return replace(recipe, loss_weights=weights, objective=replace(recipe.objective, data_term=term))


def with_smoothness(recipe: Recipe, smoothness: float) -> Recipe:
    """The recipe with this weight of the smoothness."""
    return replace(recipe, loss_weights=replace(recipe.loss_weights, smoothness=smoothness))


def with_window(recipe: Recipe, width: int) -> Recipe:
    """The recipe with windows of this width at full scale, and at coarser ones no wider than they were or than it."""
    _, half, quarter = recipe.objective.windows
    windows = (width, min(width, half), min(width, quarter))
    return replace(recipe, objective=replace(recipe.objective, windows=windows))


def with_own_loss(recipe: Recipe) -> Recipe:
    """The network's own loss where its paper has one; other networks as they are.

    Each compares by its paper's data term, or between contrasts, where the recipe's mix favors it, by MIND.
    VoxelMorph: LNCC of one window and smoothness of its field alone (Balakrishnan et al., IEEE TMI 38 (2019), Eq. 6).
    VoxelMorph-diff: squared differences and KL divergence, at the noise 0.02 and precision 10 of its release.
    DIRNet, FCN-SS, meta-regularization, VoxelMorph-1 at half size: squared differences and smoothness 0.04, the
    latter's best in the meta-regularization paper (Fig. 3), whose filter is 13 wide.
    MultiPropReg: LNCC, smoothness, folds and KL divergence at all its scales, validated
    without labels (docs/method.md, sections 2 and 3).
    """
    name = recipe.network.name
    own = LossWeights(similarity_mix=recipe.loss_weights.on_one_similarity().similarity_mix, smoothness=1.5)
    if name == "multiprop":
        weights = replace(own, eighth_scale=0.04, sixteenth_scale=0.02, kl=0.01, scale_smoothness=1.5, scale_folds=10.0)
        stages = tuple(replace(s, judge="unsupervised") if s.upper == "lambda" else s for s in recipe.search.stages)
        return replace(recipe, loss_weights=contained_weights(replace(recipe, loss_weights=weights)),
                       search=replace(recipe.search, stages=stages))
    smoothed: Literal["velocity", "displacement"] = "velocity" if "diff" in name else "displacement"
    objective = replace(recipe.objective, fold_weight=0.0, regularise=smoothed)
    if name in ("dirnet", "fcn", "metareg", "voxelmorph1_half"):
        own = replace(own.at_full_scale(), smoothness=0.04)
        if name == "fcn":
            own = replace(own, half_scale=0.5, quarter_scale=0.25)
        width = 13 if name == "metareg" else recipe.network.filter.width
        network = replace(recipe.network, filter=replace(recipe.network.filter, width=width))
        return replace(recipe, network=network, loss_weights=own, objective=replace(objective, data_term="mse"))
    if not name.startswith("voxelmorph"):
        return recipe
    own = own.at_full_scale()
    if name == "voxelmorph_diff":
        own = replace(own, smoothness=0.002 * recipe.spatial_dims**2, kl=0.0004 * recipe.spatial_dims)
        objective = replace(objective, data_term="mse")
    return replace(recipe, loss_weights=own, objective=objective)


def contained_weights(recipe: Recipe) -> LossWeights:
    """The loss weights, 0 where the loss of this recipe's network does not contain the term."""
    facts = NETWORKS.get(recipe.network.name)
    if facts is None:
        return recipe.loss_weights
    parts = recipe.network.propagation
    propagates = recipe.network.name == "multiprop"
    coarse = parts.scales if propagates else facts.coarse
    random = facts.random and parts.pyramid == "features"
    return replace(recipe.loss_weights, **{
        name: 0.0 for name, weight in WEIGHTS.items() if weight["coarse"] > coarse or (weight["random"] and not random)
    })
