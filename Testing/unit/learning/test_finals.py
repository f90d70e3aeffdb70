"""Who is nominated for the finals of a search, who goes on, and when the start is replaced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from AutoRegLib.genotype import CELLS, OPERATORS, Genotype
from AutoRegLib.learning.finals import Finalist, _better_half, _winner, nominate
from AutoRegLib.recipe import LossWeights, Recipe

START = Recipe()
FOUND = replace(START, genotype=Genotype.uniform("sep5"), loss_weights=LossWeights(smoothness=3.0))


def test_nominations_are_the_start_the_whole_and_the_surest_parts() -> None:
    shares = {cell: torch.full((3, 8), 0.1) for cell in CELLS}
    shares["feature_quarter"][1, OPERATORS.index("sep5")] = 0.5
    named = dict(nominate(START, FOUND, most=10, shares=shares))
    assert list(named)[:4] == ["start", "found", "found loss weights", "found architecture"]
    assert named["found loss weights"].genotype == START.genotype
    assert named["surest edge"].genotype == replace(Genotype(), feature_quarter=("conv3", "sep5", "conv3"))
    assert named["surest edge"].loss_weights == START.loss_weights
    assert [name for name, _ in nominate(START, START, most=10)] == ["start"], "no recipe twice"
    assert len(nominate(START, FOUND, most=3, shares=shares)) == 3


def player(name: str, scores: list[float], rounds: int = 1) -> Finalist:
    nothing: Any = None
    return Finalist(name, START, nothing, nothing, {}, scores=scores, rounds=rounds)


def test_the_better_half_goes_on_and_always_the_start() -> None:
    players = [player("start", [0.1]), player("a", [0.4]), player("b", [0.3]), player("c", [0.2])]
    assert _better_half(players, [0, 1, 2, 3]) == [0, 1, 2]
    assert _better_half(players, [0, 1, 2]) == [0, 1, 2]
    assert _better_half(players, [0, 2]) == [0, 2]


def test_the_start_is_replaced_only_for_a_gain_beyond_its_error() -> None:
    start = player("start", [0.70, 0.72, 0.74])
    lucky = player("lucky", [0.90, 0.62, 0.66])  # mean gain 0.007, standard error 0.1
    better = player("better", [0.72, 0.73, 0.76])  # mean gain 0.017, standard error 0.003
    untrained = [0.60, 0.62, 0.61]
    assert _winner([start, lucky], untrained).name == "start"
    assert _winner([start, better], untrained).name == "better"
    assert _winner([start, better], [0.72, 0.73, 0.76]).name == "start", "it has learnt nothing yet"
    assert _winner([replace_rounds(start, 2), better], untrained).name == "start", "trained for less than the start"


def replace_rounds(finalist: Finalist, rounds: int) -> Finalist:
    return player(finalist.name, finalist.scores, rounds)
