"""Which candidates are proposed for the finals of a search, who goes on, and when the start is replaced."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from AutoRegLib.core.genotype import CELLS, OPERATORS, Genotype
from AutoRegLib.core.recipe import LossWeights, Recipe
from AutoRegLib.core.recipe_loss import contained_weights, with_own_loss, with_window
from AutoRegLib.losses.objective import as_weights, whole_weight
from AutoRegLib.search.cost_model import count_candidates
from AutoRegLib.search.successive_halving import (
    PLAINER,
    RICHER,
    TOPOLOGIES,
    Finalist,
    _better_half,
    _winner,
    affordable,
    by_hand,
    propose_candidates,
    unlike,
)
from AutoRegLib.search.upper_variables import UPPERS, searched_weights

EVERY = ("feature", "deformation", "lambda")
START = Recipe()
FOUND = replace(START, genotype=Genotype.uniform("sep5"), loss_weights=LossWeights(smoothness=3.0))


def test_candidates_are_the_start_the_whole_leaner_ones_and_the_surest_parts() -> None:
    shares = {cell: torch.full((3, 8), 0.1) for cell in CELLS}
    for rows in shares.values():
        rows[:, OPERATORS.index("sep5")] = 0.2
        rows[:, OPERATORS.index("dil7")] = 0.15
    shares["feature_quarter"][1, OPERATORS.index("sep5")] = 0.5
    work = count_candidates(START)
    named = dict(propose_candidates(START, FOUND, uppers=EVERY, shares=shares, work=work))
    topologies = [name for name in TOPOLOGIES if name != "no correlation"]  # as the start
    assert list(named)[:11] == ["start", "found", *PLAINER, *topologies, "found loss weights on one similarity",
                                "found at half the work", "found loss weights", "found architecture"]
    assert named[PLAINER[0]] == replace(START, loss_weights=LossWeights(similarity_mix=1.0))
    assert named[PLAINER[1]] == replace(START, loss_weights=LossWeights(1.0, half_scale=0.0, quarter_scale=0.0))
    one = named["found loss weights on one similarity"]
    assert one.genotype == START.genotype and one.loss_weights == LossWeights(1.0, 3.0)
    lean = named["found at half the work"]
    assert lean.genotype is not None and work.total(lean.genotype) <= 0.5 * work.total(Genotype())
    assert lean.genotype.feature_quarter[1] == "sep5" and lean.loss_weights.similarity_mix == 1.0
    assert named["found loss weights"].genotype == START.genotype
    assert named["surest edge"].genotype == replace(Genotype(), feature_quarter=("conv3", "sep5", "conv3"))
    assert named["surest edge"].loss_weights == START.loss_weights
    settled = replace(START, loss_weights=LossWeights(similarity_mix=0.0, half_scale=0.0, quarter_scale=0.0))
    again = propose_candidates(settled, settled, uppers=EVERY)
    assert [name for name, _ in again] == ["start", RICHER, *topologies], "no recipe twice"
    assert by_hand(settled, EVERY)[1][1].loss_weights == LossWeights(), "a plain start can still win it all back"
    assert len(unlike([("start", START), ("narrow", with_window(START, 5)), ("again", START)])) == 2


def test_finalists_change_what_is_searched_only() -> None:
    """A search of the feature cells is not won by another loss, nor by other deformation cells."""
    found = replace(START, genotype=replace(Genotype(), feature_half=("sep5",) * 3))
    shares = {cell: torch.full((3, 8), 0.125) for cell in CELLS[:2]}
    named = propose_candidates(START, found, uppers={"feature"}, shares=shares, work=count_candidates(START))
    assert [name for name, _ in named][:2] == ["start", "found"]
    for name, recipe in named:
        assert recipe.loss_weights == START.loss_weights, name
        assert recipe.genotype is not None and recipe.genotype.deformation_half == ("conv3",) * 3
    assert by_hand(START, {"feature"}) == [("start", START)]


def test_topologies_change_the_network_alone_and_only_where_all_operators_are_searched() -> None:
    named = dict(by_hand(START, EVERY))
    for name in set(TOPOLOGIES) & set(named):
        assert named[name] == replace(START, network=named[name].network), name
        assert named[name].network != START.network
    assert not set(TOPOLOGIES) & {name for name, _ in by_hand(START, {"lambda"})}
    assert named["two passes"].network.passes == 2


def test_a_network_without_coarser_scales_has_no_weights_for_them() -> None:
    """They would drift without a gradient, and count in what all weights come to."""
    recipe = replace(START, network=replace(START.network, name="voxelmorph2"))
    assert searched_weights(START) == ("similarity_mix", "smoothness", "half_scale", "quarter_scale")
    assert searched_weights(recipe) == ("similarity_mix", "smoothness")
    assert whole_weight(as_weights(contained_weights(recipe))) == 2.5
    own = with_own_loss(recipe)
    assert searched_weights(own) == ("smoothness",)
    free = UPPERS["lambda"].start(own)
    found = UPPERS["lambda"].apply_to(own, {"smoothness": free["smoothness"] + 1.0})
    assert found.loss_weights == replace(own.loss_weights, smoothness=found.loss_weights.smoothness)
    assert found.loss_weights.smoothness == pytest.approx(1.5 * math.e)
    assert [name for name, _ in by_hand(recipe, EVERY)] == ["start", PLAINER[0]], "full scale is all it has"


def test_a_short_search_has_fewer_finalists() -> None:
    assert affordable(6, seconds=None, step=100.0) == 6
    assert affordable(6, seconds=3 * 6 * 40 * 0.5, step=0.5) == 6
    assert affordable(6, seconds=3 * 6 * 40 * 0.5 - 1.0, step=0.5) == 5
    assert affordable(6, seconds=1.0, step=0.5) == 2


def finalist(name: str, scores: list[float], rounds: int = 1) -> Finalist:
    nothing: Any = None
    return Finalist(name, nothing, scores=scores, rounds=rounds)


def test_the_better_half_goes_on_and_always_the_start() -> None:
    finalists = [finalist("start", [0.1]), finalist("a", [0.4]), finalist("b", [0.3]), finalist("c", [0.2])]
    assert _better_half(finalists, [0, 1, 2, 3]) == [0, 1, 2]
    assert _better_half(finalists, [0, 1, 2]) == [0, 1, 2]
    assert _better_half(finalists, [0, 2]) == [0, 2]


def test_the_start_is_replaced_only_for_a_gain_beyond_its_error() -> None:
    start = finalist("start", [0.70, 0.72, 0.74])
    lucky = finalist("lucky", [0.90, 0.62, 0.66])  # mean gain 0.007, standard error 0.1
    better = finalist("better", [0.72, 0.73, 0.76])  # mean gain 0.017, standard error 0.003
    untrained = [0.60, 0.62, 0.61]
    assert _winner([start, lucky], untrained).name == "start"
    assert _winner([start, better], untrained).name == "better"
    assert _winner([start, better], [0.72, 0.73, 0.76]).name == "start", "it has learnt nothing yet"
    for name in PLAINER:
        plainer = finalist(name, [0.71, 0.71, 0.75])  # mean gain 0.003, standard error 0.007
        assert _winner([start, plainer], untrained).name == name, "as good, and less to compute"
        assert _winner([start, lucky, plainer], untrained).name == name
        assert _winner([start, finalist(name, [0.71, 0.71, 0.73])], untrained).name == "start"
    assert _winner([replace_rounds(start, 2), better], untrained).name == "start", "trained for less than the start"


def replace_rounds(one: Finalist, rounds: int) -> Finalist:
    return finalist(one.name, one.scores, rounds)
