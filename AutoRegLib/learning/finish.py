"""Which refinement suits a trained network: the few there are, tried on validation pairs, and the one that pays.

The loss sees images, the validation split may have labels or landmarks: what lowers the loss can undo what labels
taught. So the finish of a model is chosen by the validation objective of its training, and it is kept with the model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.learning.budget import heed
from AutoRegLib.learning.data import Batch, Dataset
from AutoRegLib.learning.validation import validate_prediction
from AutoRegLib.networks.registry import build_network
from AutoRegLib.registration.refine import Iterations, refine_prediction

#: in the order of their cost: the network alone, its answer finished, every level from its answer on
CHOICES: tuple[Iterations, ...] = (0, "auto", "full")
_PAIRS = 16
_STEPS_BY_PAIR = 250  # a training of few steps tries few pairs, unless its time is what limits them
_SHARE = 0.05  # of all that registration gains on the images as they lie, what a costlier finish has to add


def choose_finish(
    recipe: Recipe, dataset: Dataset, state: Mapping[str, Tensor], *, steps: int, seconds: float | None = None,
    monitor: Monitor,
) -> dict[str, Any]:
    """The figures of a bundle: ``finish``, the choice, and ``finishes``, what each came to: ``score``, ``seconds``.

    ``steps``: those of the training, which say how many pairs are tried; where ``seconds`` are given these do: no
    further pair begins once they are spent; two are tried in any case. ``score`` is that of the training's validation,
    without the coarser scales, which a refined answer does not have. Unit: processor seconds a pair.
    Raises CancelledError.
    """
    network = build_network(recipe).to(dataset.device).eval()
    network.load_state_dict(state)
    plain = replace(recipe, loss_weights=recipe.loss_weights.at_full_scale())
    count = _PAIRS if seconds is not None else min(_PAIRS, max(2, steps // _STEPS_BY_PAIR))
    pairs = dataset.sample("val", count, seed=recipe.seed)
    still: list[float] = []
    scores: dict[Iterations, list[float]] = {choice: [] for choice in CHOICES}
    costs: dict[Iterations, list[float]] = {choice: [] for choice in CHOICES}
    monitor.event("stage", name="choose the finish", index=0, count=1)
    start = time.monotonic()
    for done, pair in enumerate(pairs, start=1):
        batch = dataset.batch([pair])
        still.append(_score(plain, dataset, batch, _nothing(batch.fixed)))
        for choice in CHOICES:
            began = time.process_time()
            answer = finished(recipe, network, batch, choice)
            costs[choice].append(time.process_time() - began)
            scores[choice].append(_score(plain, dataset, batch, answer))
        monitor.event("progress", done=done, total=len(pairs))
        spent = seconds is not None and time.monotonic() - start > seconds
        if (heed(monitor, keep=lambda: None) or spent) and done > 1:
            break
    return {
        "finish": preferred(still, scores),
        "finishes": {str(choice): {"score": fmean(scores[choice]), "seconds": fmean(costs[choice])}
                     for choice in CHOICES} | {"pairs": len(still)},
    }


def finished(recipe: Recipe, network: nn.Module, batch: Batch, choice: Iterations) -> Prediction:
    """The network's answer to a pair with this finish."""
    with torch.inference_mode():
        answer: Prediction = network(batch.moving, batch.fixed)
    if choice == 0:
        return answer
    refined = refine_prediction(answer, batch.moving, batch.fixed, recipe=recipe, iterations=choice, finish=True)
    return Prediction(refined.displacement, refined.velocity)


def preferred(still: Sequence[float], scores: Mapping[Iterations, Sequence[float]]) -> Iterations:
    """The costliest choice that is worth its time over the cheaper one taken before it.

    Worth it: the mean gain, pair by pair, exceeds twice its standard error and a share of what the best of them gains
    over images that stay as they lie (``still``). Higher scores are better; ``scores`` in the order of cost.
    """
    whole = max(map(fmean, scores.values())) - fmean(still)
    taken, *rest = scores
    for choice in rest:
        gains = [a - b for a, b in zip(scores[choice], scores[taken], strict=True)]
        mean = fmean(gains)
        error = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / max(len(gains) - 1, 1) / len(gains))
        if mean > 2.0 * error and mean > _SHARE * whole:
            taken = choice
    return taken


def _score(recipe: Recipe, dataset: Dataset, batch: Batch, answer: Prediction) -> float:
    with torch.inference_mode():
        return validate_prediction(recipe, dataset, batch, answer)["score"]


def _nothing(image: Tensor) -> Prediction:
    return Prediction(image.new_zeros(1, image.ndim - 2, *image.shape[2:]), None)
