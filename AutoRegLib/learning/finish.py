"""How a trained network is used best: asked how often, refined how; tried on validation pairs, the one that pays.

The loss sees images, the validation split may have labels or landmarks: what lowers the loss can undo what labels
taught. So the finish of a model is chosen by the validation objective of its training, and it is kept with the model.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.recipe_loss import with_loss, with_smoothness, with_window
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.learning.budget import TIMERS, heed
from AutoRegLib.learning.data import Batch, Dataset, choose_validation
from AutoRegLib.learning.validation import surely_better, validate_prediction
from AutoRegLib.networks.asking import ask
from AutoRegLib.networks.none import NoNetwork
from AutoRegLib.networks.registry import build_network
from AutoRegLib.registration.refine import Iterations, refine_prediction

Choice = TypeVar("Choice")


class Way(NamedTuple):
    """One way to an answer: how often the network is asked, how its answer is refined, at which share of the recipe's
    smoothness, by windows of which width (voxels; 0: the recipe's), and by which similarity ("": the recipe's).
    """

    asks: int = 1
    refine: Iterations = 0
    smoothness: float = 1.0
    window: int = 0
    similarity: str = ""

    def __str__(self) -> str:
        asked = "" if self.asks == 1 else f", asked {self.asks} times"
        return f"{self.refine}{asked}" + ("" if self.smoothness == 1.0 else f", smoothness times {self.smoothness:g}")


#: how often a network is asked
ASKS = (1, 2, 3, 4)
#: in the order of their cost: the network alone, its answer finished by six iterations, by as many as the stopping
#: rule wants, every level from its answer on
CHOICES: tuple[Iterations, ...] = (0, 6, "auto", "full")
#: shares of the recipe's smoothness that a finish is tried with where labels or landmarks judge it: which of them the
#: structures of these images want, the loss cannot know
SHARES = (1.0, 0.5, 0.25)
_PAIRS = 16
_STEPS_BY_PAIR = 250  # a training of few steps tries few pairs, unless its time is what limits them
# of all that registration gains on the images as they lie, what a costlier finish, or another pass, has to add
_SHARE, _SHARE_OF_PASS = 0.05, 0.01
# without labels, as they had said of networks of ten scans (docs/results.md): where the short finish comes so close to
# what refinement alone lowers the loss, short ways have its overlap: in pictures a second ask, in volumes this finish
_CLOSE, _UNSEEN = 0.25, {2: Way(asks=2), 3: Way(refine=CHOICES[1])}


def choose_finish(
    recipe: Recipe, dataset: Dataset, state: Mapping[str, Tensor], *, steps: int, seconds: float | None = None,
    monitor: Monitor,
) -> dict[str, Any]:
    """The figures of a bundle: ``finish``, the choice, ``finishes``, what each came to: ``score``, ``seconds``, and,
    where others than 1 and the recipe's are better, ``asks`` and ``finish_smoothness``, the weight it is done with.

    Labels or landmarks of the validation split say first how long to refine, then how often to ask, then how smooth.
    Where it has none, the loss has to do, which falls where no overlap is gained and hardly does where it is: it says
    whether the short finish brings the network close to refinement alone; volumes are then finished so, pictures asked
    twice. Else it is the cheapest finish that comes close. What labels of training cases taught stays as it is.
    ``finishes`` has refinement alone beside the others.
    ``steps``: those of the training, which say how many pairs are tried; where ``seconds`` are given these do: no
    further pair begins once a part of them is spent; two are tried in any case. ``score`` is that of the training's
    validation, without the coarser scales and the velocity, which not all answers have. Unit: processor seconds a pair.
    Raises CancelledError.
    """
    network = build_network(recipe).to(dataset.device).eval()
    network.load_state_dict(state)
    count = _PAIRS if seconds is not None else min(_PAIRS, max(2, steps // _STEPS_BY_PAIR))
    pairs = dataset.sample("val", count, seed=recipe.seed)
    monitor.event("stage", name="choose the finish", index=0, count=1)
    tries = Tries(recipe, dataset, network, monitor)
    without = Tries(recipe, dataset, NoNetwork().to(dataset.device), monitor)

    def part(share: float) -> float | None:
        return None if seconds is None else share * seconds

    alone = Way(refine="auto")
    count = without.run(pairs, [alone], seconds=part(0.15))
    pairs = pairs[:count]
    still = [without.score(batch, _nothing(batch.fixed)) for batch in map(dataset.batch, ([pair] for pair in pairs))]

    def tried(ways: Iterable[Way], most: float | None = None) -> dict[Way, list[float]]:
        nonlocal count
        ways = list(ways)
        count = tries.run(pairs[:count], [way for way in ways if way not in tries.scores], seconds=most)
        return {way: tries.scores[way][:count] for way in ways}

    if choose_validation(dataset, "val") == "unsupervised":
        way = Way()
        if recipe.objective.label_weight == 0:
            for way in [Way(refine=refine) for refine in CHOICES[1:]]:
                if _close(tried([way], part(0.2))[way], without.scores[alone], still):
                    break
            if way.refine == CHOICES[1]:
                way = _UNSEEN[recipe.spatial_dims]
        tried([way])
    else:
        way = preferred(still, tried((Way(refine=refine) for refine in CHOICES), part(0.45)), share=_SHARE)
        way = preferred(still, tried((way._replace(asks=asks) for asks in ASKS), part(0.2)), share=_SHARE_OF_PASS)
        if way.refine != 0:
            way = preferred(still, tried(way._replace(smoothness=share) for share in SHARES), share=_SHARE)
    return {
        "finish": way.refine,
        **({} if way.asks == 1 else {"asks": way.asks}),
        **({} if way.smoothness == 1.0 else {
            "finish_smoothness": at_way(recipe, way).loss_weights.smoothness}),
        "finishes": {name: {"score": fmean(made.scores[one]), "seconds": fmean(made.costs[one])}
                     for made, one, name in ((without, alone, "auto, without the network"),
                                             *((tries, one, str(one)) for one in tries.scores))
                     } | {"pairs": count},
    }


class Tries:
    """Scores and processor seconds of ways to an answer, pair by pair."""

    def __init__(self, recipe: Recipe, dataset: Dataset, network: nn.Module, monitor: Monitor) -> None:
        self.recipe, self.dataset, self.network, self.monitor = recipe, dataset, network, monitor
        self.scoring = replace(recipe, loss_weights=recipe.loss_weights.at_full_scale())
        self.scores: dict[Way, list[float]] = defaultdict(list)
        self.costs: dict[Way, list[float]] = defaultdict(list)

    def run(
        self, pairs: Sequence[tuple[str, str]], ways: Sequence[Way], *, seconds: float | None, least: int = 2,
    ) -> int:
        """Try the ways on as many of the pairs as the time allows, ``least`` of them in any case; how many."""
        now = TIMERS[self.recipe.training.timer]
        done, start = 0, now()
        for done, pair in enumerate(pairs, start=1):
            batch = self.dataset.batch([pair])
            for way in ways:
                began = time.process_time()
                answer = finished(self.recipe, self.network, batch, way)
                self.costs[way].append(time.process_time() - began)
                self.scores[way].append(self.score(batch, answer))
            self.monitor.event("progress", done=done, total=len(pairs))
            spent = seconds is not None and now() - start > seconds
            if (heed(self.monitor, keep=lambda: None) or spent) and done >= least:
                break
        return done

    def score(self, batch: Batch, answer: Prediction) -> float:
        """What the validation of the training says of an answer, at full scale."""
        with torch.inference_mode():
            return validate_prediction(self.scoring, self.dataset, batch, replace(answer, velocity=None))["score"]


def at_way(recipe: Recipe, way: Way) -> Recipe:
    """The recipe whose loss the way refines by; another similarity has the smoothness that it has without a network."""
    if way.similarity:
        recipe = with_loss(recipe, way.similarity)
    recipe = with_smoothness(recipe, way.smoothness * recipe.loss_weights.smoothness)
    return recipe if way.window == 0 else with_window(recipe, way.window)


def finished(recipe: Recipe, network: nn.Module, batch: Batch, way: Way) -> Prediction:
    """The network's answer to a pair in this way; of no network what ``register`` without a model makes of the pair."""
    with torch.inference_mode():
        answer = ask(network, batch.moving, batch.fixed, times=way.asks, squarings=recipe.network.squarings)
    if way.refine == 0:
        return answer
    return refine_prediction(answer, batch.moving, batch.fixed, recipe=at_way(recipe, way),
                             iterations=way.refine, finish=not isinstance(network, NoNetwork)).prediction


def preferred(still: Sequence[float], scores: Mapping[Choice, Sequence[float]], *, share: float = _SHARE) -> Choice:
    """The costliest choice that is worth its time over the cheaper one taken before it.

    Worth it: the mean gain, pair by pair, exceeds twice its standard error and this share of what the best of them
    gains over images that stay as they lie (``still``). Higher scores are better; ``scores`` in the order of cost.
    """
    whole = max(map(fmean, scores.values())) - fmean(still[: len(next(iter(scores.values())))])
    taken, *rest = scores
    for choice in rest:
        if surely_better(scores[choice], scores[taken], least=share * whole):
            taken = choice
    return taken


def _close(scores: Sequence[float], wanted: Sequence[float], still: Sequence[float]) -> bool:
    """Whether the scores reach the wanted ones but for a part of what these gain over images that stay as they lie."""
    got, goal, least = map(fmean, zip(*zip(scores, wanted, still, strict=False), strict=True))
    return got - goal >= -_CLOSE * (goal - least)


def _nothing(image: Tensor) -> Prediction:
    return Prediction(image.new_zeros(1, image.ndim - 2, *image.shape[2:]), None)
