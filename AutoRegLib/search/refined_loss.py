"""The loss that a search starts from, chosen before any network is trained: by refining labelled validation pairs.

How smooth a field has to be, and over how wide windows images are to be compared, depends on what they show, and moves
the overlap of labels more than any operator does (docs/results.md, a search that begins with the loss). Its gradient
comes through a network that is far from its optimum, and so do short finals; refinement is at the optimum of the same
loss after a second a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.learning.data import Dataset, choose_validation
from AutoRegLib.learning.finish import Tries, Way, at_way
from AutoRegLib.learning.validation import surely_better
from AutoRegLib.networks.none import NoNetwork

STAGE = "loss by refinement"
#: what is tried from the start's loss on, one after the other, while labels say that it is better; where less is, more
#: is not tried: shares of the start's smoothness, then widths of the windows (voxels)
SMOOTHNESS: tuple[tuple[float, ...], ...] = ((0.5, 0.25, 0.125), (2.0, 4.0))
NARROWER, WIDER = (5, 3), (13,)
_FEWEST = 4  # pairs that can tell
_FIRST = 0.2  # of the time, for the start's loss: five are tried more often than not


def choose_loss(
    recipe: Recipe, dataset: Dataset, *, seconds: float | None, history: list[dict[str, Any]], monitor: Monitor,
) -> Recipe:
    """The recipe with the smoothness and the windows that refinement of validation pairs likes best.

    Each step is taken only where it is better by more than twice the standard error over the pairs. At most
    ``recipe.search.refined_pairs`` pairs, as many as ``seconds`` allow (a budget of steps: all of them); too little
    time, too few pairs, or none with labels or landmarks, leave it as it is. Every try is a row of ``history``.
    Raises CancelledError.
    """
    pairs = dataset.sample("val", recipe.search.refined_pairs, seed=recipe.seed)
    if choose_validation(dataset) == "unsupervised" or len(pairs) < _FEWEST:
        return recipe  # the loss alone always likes less smoothness
    monitor.event("stage", name=STAGE, index=0, count=1)
    tries, taken = Tries(recipe, dataset, NoNetwork().to(dataset.device), monitor), Way(refine="full")
    count = tries.run(pairs, [taken], seconds=None if seconds is None else _FIRST * seconds, least=_FEWEST)
    if seconds is not None and sum(tries.costs[taken]) > seconds:
        return recipe
    pairs = pairs[:count]
    taken = _best(tries, pairs, [[taken._replace(smoothness=rung) for rung in ladder] for ladder in SMOOTHNESS], taken)
    taken = _best(tries, pairs, [[taken._replace(window=rung) for rung in ladder] for ladder in _widths(recipe)], taken)
    for way, scores in tries.scores.items():
        tried = at_way(recipe, way)
        history.append({
            "stage": STAGE, "step": count, "seconds": round(sum(tries.costs[way]), 1),
            "tried_smoothness": tried.loss_weights.smoothness, "tried_window": tried.objective.windows[0],
            "score": fmean(scores),
        })
    return at_way(recipe, taken)


def windows_around(recipe: Recipe) -> list[int]:
    """The width of the recipe's windows, and all that are tried instead."""
    return [recipe.objective.windows[0], *(width for ladder in _widths(recipe) for width in ladder)]


def _widths(recipe: Recipe) -> list[list[int]]:
    """Narrower and wider windows than the recipe's; none where its loss has no windows."""
    if recipe.loss_weights.similarity_mix == 0.0 or recipe.objective.data_term not in ("lncc", "local_nmi"):
        return []
    own = recipe.objective.windows[0]
    return [[width for width in NARROWER if width < own], [width for width in WIDER if width > own]]


def _best(tries: Tries, pairs: Sequence[tuple[str, str]], ladders: Sequence[Sequence[Way]], taken: Way) -> Way:
    """The end of the first ladder on which something is better than what is taken, else that."""
    return next((way for ladder in ladders if (way := _climb(tries, pairs, ladder, taken)) != taken), taken)


def _climb(tries: Tries, pairs: Sequence[tuple[str, str]], ladder: Sequence[Way], taken: Way) -> Way:
    """The last way on the ladder that is better than the one before it, from the one taken so far on."""
    for way in ladder:
        tries.run(pairs, [way], seconds=None)
        if not surely_better(tries.scores[way], tries.scores[taken]):
            break
        taken = way
    return taken
