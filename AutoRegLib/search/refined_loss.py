"""The loss that a search starts from, chosen before any network is trained: by refining labelled validation pairs.

By what images are compared, how smooth a field has to be, and over how wide windows, depends on what they show, and
moves the overlap of labels more than any operator does (docs/results.md, a search that begins with the loss). Its
gradient comes through a network that is far from its optimum, and so do short finals; refinement is at the optimum of
the same loss after a second a pair.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import zip_longest
from statistics import fmean
from typing import Any, TypeVar

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.recipe_loss import SMOOTHNESS, has_windows, similarity_of
from AutoRegLib.learning.data import Dataset, choose_validation
from AutoRegLib.learning.finish import Tries, Way, at_way, finished
from AutoRegLib.learning.validation import surely_better
from AutoRegLib.networks.none import NoNetwork

Rung = TypeVar("Rung", int, float)

STAGE = "loss by refinement"
#: what is tried instead of the start's loss while labels say that it is better: shares of the smoothness, widths of the
#: windows (voxels), and other similarities, at the smoothness that each has without a network
SHARES = (4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)
WIDTHS = (3, 5, 17, 25)  # what differs less cannot be told from each other
_START = Way(refine="full")
_FEWEST = 4  # pairs that can tell
_BEGIN = 12  # pairs that all begin with, where there are as many; more for what is better on them, not yet surely
_LOSSES, _STEPS = 5, 3  # so often is a pair refined in a search, and so many steps of training does that cost
_FIRST = 0.15  # of the time, for the start's loss: half a dozen others are tried on all pairs


def choose_loss(
    recipe: Recipe, dataset: Dataset, *, seconds: float | None, history: list[dict[str, Any]], monitor: Monitor,
) -> Recipe:
    """The recipe with the similarity, the smoothness and the windows that refinement of validation pairs likes best.

    A change is taken only where it is better by more than twice the standard error over the pairs. They begin with
    twelve pairs, as ``seconds`` allow; what is surely worse on the first four is not tried on the others. Where nothing
    is better, what is not refused is tried on twice the pairs, until the time is over or :func:`pairs_to_refine` were
    seen. Too little time or too few pairs leave the recipe as it is. Every try is a row of ``history``.
    Raises CancelledError.
    """
    pairs = pairs_to_refine(recipe, dataset, by_steps=seconds is None)
    if not pairs:
        return recipe
    monitor.event("stage", name=STAGE, index=0, count=1)
    climb = _Climb(Tries(recipe, dataset, NoNetwork().to(dataset.device), monitor), pairs, seconds)
    if not climb.begin():
        return recipe
    climb.to_the_top()
    for way, scores in climb.tries.scores.items():
        tried = at_way(recipe, way)
        history.append({
            "stage": STAGE, "step": len(scores), "seconds": round(sum(climb.tries.costs[way]), 1),
            "tried_similarity": similarity_of(tried), "tried_smoothness": tried.loss_weights.smoothness,
            "tried_window": tried.objective.windows[0] if has_windows(tried) else 0, "score": fmean(scores),
        })
    return at_way(recipe, climb.taken)


def pairs_to_refine(recipe: Recipe, dataset: Dataset, *, by_steps: bool) -> tuple[tuple[str, str], ...]:
    """Validation pairs to choose the loss by: ``recipe.search.refined_pairs``, none where these can't tell.

    Those of a search by steps are about as many as ``refined_share`` of its steps pays for, counted and not timed: it
    finds the same on every machine.
    """
    search = recipe.search
    count = search.refined_pairs
    if by_steps:
        finals = 2 * search.finalists * search.final_steps if search.finalists > 1 else 0
        steps = sum(stage.steps for stage in search.stages) + finals
        count = min(count, int(search.refined_share * steps / (_LOSSES * _STEPS)))
    pairs = dataset.sample("val", count, seed=recipe.seed)
    if choose_validation(dataset) == "unsupervised" or len(pairs) < _FEWEST:
        return ()  # the loss alone always likes less smoothness
    return pairs


def refining_seconds(recipe: Recipe, dataset: Dataset) -> float:
    """What the choice of the loss will take in a search by steps, from one refinement."""
    pairs = pairs_to_refine(recipe, dataset, by_steps=True)
    if not pairs:
        return 0.0
    batch = dataset.batch(pairs[:1])
    began = time.perf_counter()
    finished(recipe, NoNetwork().to(dataset.device), batch, _START)
    return _LOSSES * len(pairs) * (time.perf_counter() - began)


class _Climb:
    """From the start's loss to the best that was found, on as many pairs as it takes to be sure."""

    def __init__(self, tries: Tries, pairs: Sequence[tuple[str, str]], seconds: float | None) -> None:
        self.tries, self.all_pairs, self.seconds = tries, pairs, seconds
        self.pairs, self.taken = pairs[:_BEGIN], _START
        self.refused: set[Way] = set()

    def begin(self) -> bool:
        """Score the start's loss on as many of the first pairs as there is time for; whether there is any."""
        first = None if self.seconds is None else _FIRST * self.seconds
        self.pairs = self.pairs[: self.tries.run(self.pairs, [self.taken], seconds=first, least=_FEWEST)]
        return self._left() > 0.0

    def to_the_top(self) -> None:
        """Make a change that is surely better and begin again from there, with a change of the next variable.

        Where none is sure, the promising ones are looked at on twice the pairs, the most promising first.
        """
        turn = 0
        while True:
            variables = self._variables()
            by_turns = [way for changes in zip_longest(*variables[turn:], *variables[:turn]) for way in changes if way]
            ways = sorted(by_turns, key=lambda way: -self._gain(way))
            if better := next(filter(self._better, ways), None):
                turn = 1 + next(place for place, changes in enumerate(variables) if better in changes)
                self.taken = better
            elif all(self._gain(way) <= 0.0 for way in ways) or not self._more_pairs():
                return

    def _variables(self) -> list[list[Way]]:
        """What is taken with one thing changed, as little as can be: with other smoothness, windows or similarity."""
        here = at_way(self.tries.recipe, self.taken)
        widths = _beside(WIDTHS, here.objective.windows[0]) if has_windows(here) else []
        others = [Way(refine="full", similarity=name, smoothness=share)
                  for name in other_similarities(self.tries.recipe)
                  for share in dict.fromkeys((1.0, self.taken.smoothness))]
        return [[self.taken._replace(smoothness=share) for share in _beside(SHARES, self.taken.smoothness)],
                [self.taken._replace(window=width) for width in widths],
                [way for way in others if way != self.taken]]

    def _gain(self, way: Way) -> float:
        """Of a way that is not refused, over what is taken, on the pairs that both were tried on; 0: on none."""
        scores = self.tries.scores.get(way)
        if way in self.refused or not scores:
            return 0.0
        best = self.tries.scores[self.taken]
        return fmean(a - b for a, b in zip(scores, best, strict=False))

    def _more_pairs(self) -> bool:
        """Score what is taken on twice the pairs; whether there are more, and the time to learn from them."""
        count = min(2 * len(self.pairs), len(self.all_pairs))
        if count == len(self.pairs) or not self._score(self.taken, self.all_pairs[:count]):
            return False
        self.pairs = self.all_pairs[:count]
        return True

    def _better(self, way: Way) -> bool:
        """Whether the way is surely better than what is taken; False too where the time does not allow to know.

        What is surely worse on the first pairs, or no better on all, is refused and not tried again.
        """
        if way in self.refused:
            return False
        best = self.tries.scores[self.taken]
        for pairs in (self.pairs[:_FEWEST], self.pairs):
            if not self._score(way, pairs):
                return False
            scores = self.tries.scores[way]
            if surely_better(best[: len(scores)], scores):
                self.refused.add(way)
                return False
        if fmean(scores) <= fmean(best):
            self.refused.add(way)
        return surely_better(scores, best)

    def _score(self, way: Way, pairs: Sequence[tuple[str, str]]) -> bool:
        """Score the way on those of the pairs that it has not seen; False where the time does not allow it."""
        rest = pairs[len(self.tries.scores.get(way, ())):]
        known = self.tries.costs.get(way) or self.tries.costs[self.taken]
        if rest and len(rest) * fmean(known) > self._left():
            return False
        return not rest or self.tries.run(rest, [way], seconds=None) == len(rest)

    def _left(self) -> float:
        """Processor seconds that are left."""
        return float("inf") if self.seconds is None else self.seconds - sum(map(sum, self.tries.costs.values()))


def other_similarities(recipe: Recipe) -> list[str]:
    """All that are tried instead of the recipe's own."""
    return [name for name in SMOOTHNESS if name != similarity_of(recipe)]


def windows_around(recipe: Recipe) -> list[int]:
    """The width of the recipe's windows, and all that are tried instead."""
    own = recipe.objective.windows[0]
    return [own, *(width for width in WIDTHS if width != own)] if has_windows(recipe) else [own]


def _beside(rungs: Sequence[Rung], here: Rung) -> list[Rung]:
    """The next rung below and the next above, where there are: less is tried first."""
    below, above = [rung for rung in rungs if rung < here], [rung for rung in rungs if rung > here]
    return sorted(below)[-1:] + sorted(above)[:1]
