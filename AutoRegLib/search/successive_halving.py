"""The end of a search: what was found must win, trained from scratch in equal time, against what it started from.

Shares of a supernet and gradients of lambda are forecasts made on immature weights. Here every finalist is trained
on its own, on the full working grid, on the same batches, at a rate that falls over all rounds as it does over a
training (at a constant one averages wander by more than networks differ); the worse half leaves after each round. The
start is replaced only by a finalist whose gain over it, and over no training at all, exceeds twice its standard error
over the validation pairs: after a handful of steps all networks are alike, and the luckiest of several would always
win. A finalist whose loss drops terms of the start's, and changes nothing else, need not be better: as good is enough.
Reference: Jamieson & Talwalkar, Non-stochastic best arm identification, AISTATS 2016 (successive halving).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import CELLS, OPERATORS, Genotype
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import LossWeights, Recipe
from AutoRegLib.core.recipe_loss import contained_weights
from AutoRegLib.core.records import to_plain
from AutoRegLib.learning.budget import CHECKPOINT_SECONDS, Clock, heed
from AutoRegLib.learning.data import Dataset
from AutoRegLib.learning.trainee import Trainee
from AutoRegLib.learning.validation import surely_better, validate_pairs
from AutoRegLib.networks.registry import build_network, count_parameters
from AutoRegLib.search.cost_model import CostTable, choice_shares, fastest_choice

STAGE = "finals"
#: what the lean finalist may cost, as a share of the start's multiply-adds
LEAN = 0.5
#: in a short search fewer finalists enter: each is to have so many steps in the first round
FIRST_STEPS = 40
#: what the stages found, as they found it
FOUND = "found"
#: the start with less to compute
PLAINER = ("start on one similarity", "start on one similarity at full scale")
#: a plain start with all that the paper's loss has, at the weights of its release
RICHER = "published loss weights"
#: what no gradient searches, tried where all operators are: the start's network with one thing changed
TOPOLOGIES: dict[str, dict[str, Any]] = {
    "two passes": {"passes": 2},
    "correlation within two voxels": {"correlation": (1, 2)},
    "no correlation": {"correlation": (0, 0)},
    "correlation": {"correlation": (1, 1)},
}
_WORST = 1e9


@dataclass
class Finalist:
    """One candidate in training."""

    name: str
    trainee: Trainee
    seconds: float = 0.0
    rounds: int = 0
    scores: list[float] = field(default_factory=list)  # one per validation pair, after the last round

    @property
    def recipe(self) -> Recipe:
        return self.trainee.recipe


def by_hand(start: Recipe, uppers: Collection[str]) -> list[tuple[str, Recipe]]:
    """The start and the candidates that need no search, which every method of searching ``uppers`` gets alike.

    They differ from the start in what is searched only: a search of operators does not win by another loss.
    """
    named = [("start", start)]
    if "lambda" in uppers:
        plain = start.loss_weights.on_one_similarity()
        choices = dict(zip(PLAINER, (plain, plain.at_full_scale()), strict=True))
        if start.loss_weights == plain.at_full_scale():
            choices[RICHER] = LossWeights()
        named += [(name, replace(start, loss_weights=weights)) for name, weights in choices.items()]
    if {"feature", "deformation"} <= set(uppers) and start.network.name == "autoreg" and start.network.update == "add":
        named += [(name, replace(start, network=replace(start.network, **change)))
                  for name, change in TOPOLOGIES.items()]
    return unlike(named)


def unlike(candidates: Sequence[tuple[str, Recipe]]) -> list[tuple[str, Recipe]]:
    """Those that no earlier one equals in network, operators, objective and the loss weights that its loss contains."""
    kept: dict[Any, tuple[str, Recipe]] = {}
    for name, recipe in candidates:
        kept.setdefault((recipe.network, recipe.genotype, recipe.objective, contained_weights(recipe)), (name, recipe))
    return list(kept.values())


def propose_candidates(
    start: Recipe, found: Recipe, *, uppers: Collection[str], shares: Mapping[str, Tensor] | None = None,
    work: CostTable | None = None,
) -> list[tuple[str, Recipe]]:
    """The start first, then what was found, whole, by hand, in parts and leaner; no recipe twice.

    What was found stands second: whoever wins, its own figures are there. All differ in ``uppers`` only.
    ``shares``: softmax(alpha) of the searched cells, (edges, candidates). The parts of the architecture are its
    surest edges: those whose found operator leads the start's by the most. ``work``: what the operators cost.
    Finalists train for equal time, so a cheaper step is more steps: the lean ones drop the similarity that the mix
    favours less, or the coarser scales too, or take the largest shares that half of the start's work allows.
    """
    here, there = start.genotype or Genotype(), found.genotype or Genotype()
    one = found.loss_weights.on_one_similarity() if "lambda" in uppers else found.loss_weights
    candidates = [("start", start), (FOUND, found), *by_hand(start, uppers)]
    candidates.append(("found loss weights on one similarity", replace(start, loss_weights=one)))
    if shares and work is not None:
        with suppress(InputError):  # the cells that were not searched may be more than half of the work
            lean = fastest_choice({**choice_shares(there), **shares}, work, most=LEAN * work.total(here), cells=shares)
            candidates.append(("found at half the work", replace(found, genotype=lean, loss_weights=one)))
    candidates += [
        ("found loss weights", replace(start, loss_weights=found.loss_weights)),
        ("found architecture", replace(start, genotype=found.genotype)),
    ]
    ranked = _surest(here, there, shares or {})
    for count in (3, 1, 6):
        if count < len(ranked):
            name = "surest edge" if count == 1 else f"{count} surest edges"
            candidates.append((name, replace(start, genotype=_changed(here, there, ranked[:count]))))
    return unlike(candidates)


def affordable(most: int, *, seconds: float | None, step: float) -> int:
    """How many finalists the time allows, two at least; a budget of steps (``seconds`` None) allows all."""
    if seconds is None:
        return most
    return next((n for n in range(most, 2, -1) if seconds >= _rounds(n) * n * FIRST_STEPS * step), min(most, 2))


def _surest(here: Genotype, there: Genotype, shares: Mapping[str, Tensor]) -> list[tuple[str, int]]:
    """The changed edges (cell, number), the one with the largest lead of the found over the old operator first."""
    leads = {}
    for cell, rows in shares.items():
        for edge, (old, new) in enumerate(zip(here.cell(cell), there.cell(cell), strict=True)):
            if old != new and old in OPERATORS and new in OPERATORS:
                leads[cell, edge] = float(rows[edge, OPERATORS.index(new)] / rows[edge, OPERATORS.index(old)])
    return sorted(leads, key=lambda place: -leads[place])


def _changed(here: Genotype, there: Genotype, places: Sequence[tuple[str, int]]) -> Genotype:
    """The genotype ``here`` with the operators of ``there`` at some places."""
    cells = {cell: list(here.cell(cell)) for cell in CELLS}
    for cell, edge in places:
        cells[cell][edge] = there.cell(cell)[edge]
    return Genotype(**{cell: tuple(names) for cell, names in cells.items()})  # type: ignore[arg-type]


def run_finals(
    candidates: Sequence[tuple[str, Recipe]],
    dataset: Dataset,
    *,
    steps: int,
    seconds: float | None,
    history: list[dict[str, Any]],
    keep: Callable[[dict[str, Any]], None],
    monitor: Monitor,
    saved: dict[str, Any] | None,
) -> tuple[str, Recipe]:
    """Train the candidates side by side, halving them round by round; return the one that won.

    ``candidates``: the first is the start. ``steps``: of each finalist in each round, or ``seconds`` for all of
    the finals, shared equally by rounds and within a round by those still in. Raises CancelledError (state kept).
    """
    finalists = [Finalist(name, Trainee(recipe, device=dataset.device)) for name, recipe in candidates]
    survivors, first_round, first_place, inside = list(range(len(finalists))), 0, 0, None
    if saved:
        for finalist, state in zip(finalists, saved["finalists"], strict=True):
            _restore(finalist, state)
        survivors, first_round, first_place, inside = saved["survivors"], saved["round"], saved["place"], saved["clock"]
    rounds = _rounds(len(finalists))
    scoring = scoring_recipe(candidates[0][1])
    timer = candidates[0][1].training.timer
    bar = Clock(1, seconds=seconds, timer=timer)
    finish = False
    untrained = [row["score"] for row in validate_pairs(scoring, dataset, _fresh(scoring))]

    for number in range(first_round, rounds):
        for place in range(first_place if number == first_round else 0, len(survivors)):
            finalist = finalists[survivors[place]]
            share = None if seconds is None else seconds / rounds / len(survivors)
            clock = Clock(steps, seconds=share, timer=timer, **(inside or {}))
            inside = None
            trainee, before = finalist.trainee, finalist.seconds - clock.used
            first = trainee.step - clock.step

            def state(
                number: int = number, place: int = place, clock: Clock = clock,
                survivors: Sequence[int] = tuple(survivors),
            ) -> None:
                keep({
                    "finalists": [_kept(p) for p in finalists], "survivors": list(survivors), "round": number,
                    "place": place, "clock": {"step": clock.step, "used": clock.used},
                })

            kept = clock.used
            while not (clock.over or finish):
                trainee.advance(dataset, progress=(number + clock.progress) / rounds)
                clock.step, finalist.seconds = trainee.step - first, before + clock.used
                if clock.used - kept > CHECKPOINT_SECONDS:
                    kept = clock.used
                    state()
                bar.tell(monitor, done=(number + (place + clock.progress) / len(survivors)) / rounds)
                finish = heed(monitor, keep=state)
            _score(finalist, scoring, dataset, history=history, number=number, monitor=monitor, ident=survivors[place])
            if finish:
                break
        survivors = _better_half(finalists, survivors)
        if finish:
            break
    winner = _winner([finalist for finalist in finalists if finalist.scores], untrained)
    return winner.name, winner.recipe


def scoring_recipe(start: Recipe) -> Recipe:
    """The recipe whose loss weights, objective and number of validation pairs score all finalists."""
    return replace(start, training=replace(start.training, validation_pairs=start.search.final_pairs))


def _rounds(count: int) -> int:
    return max(1, math.ceil(math.log2(count)))


def _fresh(recipe: Recipe) -> dict[str, Tensor]:
    """Weights before any training."""
    return build_network(recipe).state_dict()


def _score(
    finalist: Finalist, scoring: Recipe, dataset: Dataset, *, history: list[dict[str, Any]], number: int,
    monitor: Monitor, ident: int,
) -> None:
    """Score the finalist's averaged weights on the validation pairs and say what came out."""
    measure = replace(scoring, network=finalist.recipe.network, genotype=finalist.recipe.genotype)
    rows = validate_pairs(measure, dataset, finalist.trainee.average)
    # a finalist that diverged is the worst of all, and must not upset the order of the others
    finalist.scores = [row["score"] if math.isfinite(row["score"]) else -_WORST for row in rows]
    finalist.rounds = number + 1
    figures = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    parameters = count_parameters(finalist.trainee.network)
    history.append({
        "stage": STAGE, "step": finalist.trainee.step, "seconds": round(finalist.seconds, 1), "finalist": finalist.name,
        "round": number + 1, "parameters": parameters, **figures,
    })
    monitor.event(
        "trial", id=ident, name=finalist.name, arch=to_plain(finalist.recipe.genotype),
        loss=to_plain(finalist.recipe.loss_weights), status=f"round {number + 1}", dice=figures.get("val_dice"),
        score=figures["score"], folds_pct=100.0 * figures["val_fold_fraction"], sec=round(finalist.seconds, 1),
        params=parameters,
    )


def _better_half(finalists: Sequence[Finalist], survivors: Sequence[int]) -> list[int]:
    """Those that go on: the better half, in their old order, and always the start, which all are compared with."""
    ranked = sorted(survivors, key=lambda i: -sum(finalists[i].scores))
    going = set(ranked[: max(1, (len(survivors) + 1) // 2)]) | {0}
    return [i for i in survivors if i in going]


def _winner(finalists: Sequence[Finalist], untrained: Sequence[float]) -> Finalist:
    """The best of those trained longest that may replace the start, else the start."""
    start = finalists[0]
    latest = max(p.rounds for p in finalists)

    def replaces(rival: Finalist) -> bool:
        better = surely_better(rival.scores, start.scores)
        as_good = rival.name in PLAINER and sum(rival.scores) >= sum(start.scores)
        return surely_better(rival.scores, untrained) and (better or as_good)

    rivals = sorted((p for p in finalists[1:] if p.rounds == latest), key=lambda p: -sum(p.scores))
    return next((rival for rival in rivals if replaces(rival)), start)


def _kept(finalist: Finalist) -> dict[str, Any]:
    return {
        "trainee": finalist.trainee.state(), "seconds": finalist.seconds, "scores": finalist.scores,
        "rounds": finalist.rounds,
    }


def _restore(finalist: Finalist, state: dict[str, Any]) -> None:
    finalist.trainee.restore(state["trainee"])
    finalist.seconds, finalist.scores, finalist.rounds = state["seconds"], state["scores"], state["rounds"]
