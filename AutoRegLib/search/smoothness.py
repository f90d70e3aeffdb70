"""How smooth the answers are to be, chosen before any network is trained: by refining labelled validation pairs.

The smoothness that suits images depends on what they show, and moves the overlap of labels more than any operator does
(docs/results.md, a search that begins with the smoothness). A gradient of it comes through a network that is far from
its optimum, and so do short finals; refinement is at the optimum of the same loss after a second a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.learning.data import Dataset, choose_validation
from AutoRegLib.learning.finish import Tries, Way, at_share
from AutoRegLib.learning.validation import surely_better
from AutoRegLib.networks.none import NoNetwork

STAGE = "smoothness"
#: from the start's smoothness on, one after the other, while labels say that it is better
SMOOTHER, LESS_SMOOTH = (2.0, 4.0), (0.5, 0.25, 0.125)
_FEWEST = 4  # pairs that can tell
_FIRST = 0.25  # of the time, for the start's smoothness: four are tried more often than not


def choose_smoothness(
    recipe: Recipe, dataset: Dataset, *, seconds: float | None, history: list[dict[str, Any]], monitor: Monitor,
) -> float:
    """The weight of the smoothness that refinement of validation pairs likes best, in the recipe's loss.

    Half and twice the recipe's and so on: each step is taken only where it is better by more than twice the standard
    error over the pairs. At most ``recipe.search.smoothness_pairs`` pairs, as many as ``seconds`` allow (a budget of
    steps: all of them); too little time, too few pairs, or none with labels or landmarks, leave it as it is. Every try
    is a row of ``history``. Raises CancelledError.
    """
    pairs = dataset.sample("val", recipe.search.smoothness_pairs, seed=recipe.seed)
    if choose_validation(dataset) == "unsupervised" or len(pairs) < _FEWEST:
        return recipe.loss_weights.smoothness  # the loss alone always likes less of it
    monitor.event("stage", name=STAGE, index=0, count=1)
    tries, taken = Tries(recipe, dataset, NoNetwork().to(dataset.device), monitor), 1.0
    count = tries.run(pairs, [_at(1.0)], seconds=None if seconds is None else _FIRST * seconds, least=_FEWEST)
    if seconds is not None and sum(tries.costs[_at(1.0)]) > seconds:
        return recipe.loss_weights.smoothness
    for ladder in (LESS_SMOOTH, SMOOTHER):
        if taken == 1.0:  # what is better with less is not tried with more
            taken = _climb(tries, pairs[:count], ladder)
    for way, scores in tries.scores.items():
        history.append({
            "stage": STAGE, "step": count, "seconds": round(sum(tries.costs[way]), 1),
            "tried_smoothness": at_share(recipe, way.smoothness).loss_weights.smoothness, "score": fmean(scores),
        })
    return at_share(recipe, taken).loss_weights.smoothness


def _climb(tries: Tries, pairs: Sequence[tuple[str, str]], ladder: Sequence[float]) -> float:
    """The last share on the ladder that is better than the one before it, from 1 on."""
    taken = 1.0
    for share in ladder:
        tries.run(pairs, [_at(share)], seconds=None)
        if not surely_better(tries.scores[_at(share)], tries.scores[_at(taken)]):
            break
        taken = share
    return taken


def _at(share: float) -> Way:
    """Refinement of every level at a share of the recipe's smoothness."""
    return Way(refine="full", smoothness=share)
