"""Random search, the rival that a gradient search has to beat: random recipes in the same finals, as long.

Reference: Li & Talwalkar, Random search and reproducibility for neural architecture search, UAI 2019.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from AutoRegLib.bundle import table_text
from AutoRegLib.core.genotype import CELLS, Genotype
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import WEIGHTS, LossWeights, Recipe, write_recipe
from AutoRegLib.core.recipe_loss import with_loss, with_window
from AutoRegLib.core.records import make_folder, write_json, write_text
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.learning.budget import Clock
from AutoRegLib.learning.checkpoint import load_checkpoint, save_checkpoint
from AutoRegLib.learning.data import prepare
from AutoRegLib.learning.determinism import identity, provenance
from AutoRegLib.learning.validation import validate_pairs
from AutoRegLib.networks.registry import build_network
from AutoRegLib.search.refined_loss import other_similarities, windows_around
from AutoRegLib.search.search import runnable_stages
from AutoRegLib.search.successive_halving import STAGE, by_hand, run_finals, scoring_recipe, unlike
from AutoRegLib.search.upper_variables import searched_kinds, searched_weights

#: at most, with the start among them; the first of four rounds is then about as long for each as in a search's finals
CANDIDATES = 16
#: of the time, what validating may take; fewer candidates are drawn where it would be more
VALIDATING = 0.25
#: loss weights are drawn within this factor of the start, both ways: a prior that a practitioner would choose
FACTOR = 4.0


def random_search(
    recipe: Recipe, scenario: Scenario, *, output: Path, minutes: float | None = None, resume: bool = False,
    device: str = "cpu", monitor: Monitor | None = None,
) -> Recipe:
    """Draw what the recipe's stages would search, let the finals choose; write what a search writes.

    The budget is ``minutes`` in all (data preparation and validation included), or ``recipe.search.final_steps`` for
    each candidate in each round. Raises InputError, CancelledError (state kept), DivergedError.
    """
    monitor = monitor or Monitor()
    output = make_folder(output)
    path = output / "checkpoint.pt"
    mark = f"random/{identity(recipe, scenario, device)}"
    saved = load_checkpoint(path, identity=mark) if resume else None
    whole = Clock(1, seconds=None if minutes is None else 60.0 * minutes, used=saved["used"] if saved else 0.0,
                  timer=recipe.training.timer)
    dataset = prepare(scenario, recipe, ("train", "val"), device=device, monitor=monitor)
    stages, _ = runnable_stages(recipe, dataset, monitor)
    history: list[dict[str, Any]] = []
    seconds, count = None, CANDIDATES
    if saved:
        history, seconds, count = saved["history"], saved["seconds"], saved["count"]
    elif whole.seconds is not None:
        before = whole.used
        validate_pairs(scoring_recipe(recipe), dataset, build_network(recipe).state_dict())
        once, left = whole.used - before, max(whole.seconds - whole.used, 0.0)
        count = affordable(left, once)
        seconds = max(left - validations(count) * once, 0.0)
    candidates = draw_candidates(recipe, searched_kinds(stages), count=count)

    def keep(state: dict[str, Any]) -> None:
        save_checkpoint(path, {
            "identity": mark, "used": whole.used, "seconds": seconds, "count": count, "history": history,
            "inside": state,
        })

    monitor.event("stage", name=STAGE, index=0, count=1)
    winner, found = run_finals(
        candidates, dataset, steps=recipe.search.final_steps, seconds=seconds, history=history, keep=keep,
        monitor=monitor, saved=saved["inside"] if saved else None,
    )
    write_text(output / "history.csv", table_text(history))
    write_json(output / "provenance.json",
               provenance(recipe, scenario, device, seconds=round(whole.used, 1), winner=winner))
    write_recipe(output / "recipe.json", found)
    path.unlink(missing_ok=True)
    monitor.event("artifact", role="recipe", path=str(output / "recipe.json"))
    return found


def validations(count: int) -> int:
    """Validations in the finals of ``count`` candidates, at most: half go on each round, and the start beside them."""
    total, survivors = 0, count
    for _ in range(max(1, math.ceil(math.log2(count)))):
        total += survivors
        survivors = min(survivors, (survivors + 1) // 2 + 1)
    return total


def affordable(seconds: float, once: float) -> int:
    """The most candidates whose validation, ``once`` seconds each time, leaves the time to train them; two at least."""
    return next((n for n in range(CANDIDATES, 2, -1) if validations(n) * once <= VALIDATING * seconds), 2)


def draw_candidates(recipe: Recipe, uppers: set[str], *, count: int) -> list[tuple[str, Recipe]]:
    """As many candidates, the recipe itself first; they differ in ``uppers`` only, and are drawn by its seed.

    The field is that of a search's finals: the same candidates made by hand, and every other draw on one similarity.
    """
    rng = Random(f"{recipe.seed}/random search")
    start = recipe.genotype or Genotype()
    drawn = by_hand(recipe, uppers)
    for number in range(1, count):
        genotype = Genotype.random(rng)
        kept = {cell: start.cell(cell) for cell in CELLS if cell.split("_")[0] not in uppers}
        candidate = replace(recipe, genotype=replace(genotype, **kept))  # type: ignore[arg-type]
        if "lambda" in uppers:
            candidate = random_loss(candidate, rng, plain=number % 2 == 0)
        drawn.append((f"random {number}", candidate))
    return unlike(drawn)[:count]


def random_loss(recipe: Recipe, rng: Random, *, plain: bool) -> Recipe:
    """The recipe with a loss drawn from all that a search's may become; ``plain``: on one similarity."""
    drawn = rng.choice(["", *other_similarities(recipe)])
    recipe = with_loss(recipe, drawn) if drawn else recipe
    weights = random_weights(recipe, rng)
    recipe = replace(recipe, loss_weights=weights.on_one_similarity() if plain else weights)
    return with_window(recipe, rng.choice(windows_around(recipe)))


def random_weights(recipe: Recipe, rng: Random) -> LossWeights:
    """The searched ones drawn: a share uniform from 0 to 1, the others log-uniform within ``FACTOR`` of the start."""
    start = recipe.loss_weights

    def drawn(name: str) -> float:
        if WEIGHTS[name]["free"] == "logit":
            return rng.random()
        return float(getattr(start, name)) * math.exp(rng.uniform(-1.0, 1.0) * math.log(FACTOR))

    return replace(start, **{name: drawn(name) for name in searched_weights(recipe)})
