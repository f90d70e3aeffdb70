"""The loss of a recipe in words, and recipes with another loss."""

from __future__ import annotations

from dataclasses import replace

import pytest

from AutoRegLib.core.recipe import LossWeights, Objective, Recipe
from AutoRegLib.core.recipe_loss import SMOOTHNESS, loss_words, similarity_of, with_loss, with_window

PLAIN = Recipe(spatial_dims=3, loss_weights=LossWeights(similarity_mix=1.0, smoothness=0.25).at_full_scale())


@pytest.mark.parametrize(("recipe", "words"), [
    (PLAIN, "LNCC in windows of 9 voxels, smoothness 0.25"),
    (with_window(PLAIN, 17), "LNCC in windows of 17 voxels, smoothness 0.25"),
    (with_loss(PLAIN, "mse"), "MSE, smoothness 0.03"),
    (with_loss(PLAIN, "mind"), "MIND, smoothness 0.6"),
    (replace(with_loss(PLAIN, "nmi"), objective=Objective(data_term="local_nmi")),
     "local NMI in windows of 9 voxels, smoothness 0.2"),
    (replace(PLAIN, loss_weights=LossWeights(similarity_mix=0.1)),
     "0.10 LNCC in windows of 9 voxels + 0.90 MIND, smoothness 1.5, half scale 0.32, quarter scale 0.08"),
])
def test_words_name_what_is_compared(recipe: Recipe, words: str) -> None:
    assert loss_words(recipe) == words


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("similarity", list(SMOOTHNESS))
def test_another_similarity_is_the_only_one(similarity: str, dims: int) -> None:
    mixed = Recipe(spatial_dims=dims, loss_weights=LossWeights(similarity_mix=0.3))
    found = with_loss(mixed, similarity)
    assert similarity_of(mixed) == "lncc+mind" and similarity_of(found) == similarity
    assert found.loss_weights.half_scale == 0.0
    assert replace(found, loss_weights=mixed.loss_weights, objective=mixed.objective) == mixed
