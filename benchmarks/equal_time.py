"""Networks trained for equal processor time: ``python -m benchmarks.equal_time SCENARIO --work WORK``.

Each variant is a change of the standard preset's recipe (``VARIANTS``), trained for ``--seconds`` of processor time of
one thread from the same images, and measured on pairs aligned directly, as registering does: Dice, the loss (similarity
and smoothness), seconds and folds of the network alone, of its short finish, and of refinement from nothing, all on the
same pairs. ``--cases N`` leaves N training cases (the first by name); labels are not used unless a variant says so.
Rows go to ``--work`` as they are made; ``--resume`` keeps them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from AutoRegLib.bridge import labels_to_tensor, to_tensor
from AutoRegLib.core.folds import folded
from AutoRegLib.core.presets import with_more_moves
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.recipe_loss import with_window
from AutoRegLib.core.scenario import Pair, Scenario, read_scenario
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.imaging.alignment_cache import cached_alignment
from AutoRegLib.imaging.files import read_volume
from AutoRegLib.imaging.preprocess import to_grid
from AutoRegLib.imaging.volume import resample
from AutoRegLib.learning.data import Batch, Dataset, prepare
from AutoRegLib.learning.finish import Way, finished
from AutoRegLib.learning.start_recipe import start_recipe
from AutoRegLib.learning.trainee import Trainee
from AutoRegLib.losses.objective import as_weights, label_dice, registration_loss
from AutoRegLib.networks.none import NoNetwork
from AutoRegLib.registration.pair import read_labels
from AutoRegLib.registration.pipeline import working_geometry
from benchmarks import tables
from benchmarks.tables import Row


def _network(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, network=replace(recipe.network, **changes))


def _labels(recipe: Recipe) -> Recipe:
    return replace(recipe, objective=replace(recipe.objective, label_weight=1.0))


#: what is compared; each changes the preset's recipe
VARIANTS: dict[str, Callable[[Recipe], Recipe]] = {
    "plain": _network(correlation=(0, 0), passes=1),
    "correlation": _network(correlation=(1, 1), passes=1),
    "wider correlation": _network(correlation=(1, 2), passes=1),
    "two passes": _network(correlation=(0, 0), passes=2),
    "correlation, two passes": _network(correlation=(1, 1), passes=2),
    "narrow windows": lambda recipe: with_window(recipe, 5),
    "labels": _labels,
    "more moves": lambda recipe: replace(recipe, training=with_more_moves(recipe.training)),
    "few moves": lambda recipe: replace(recipe, training=replace(recipe.training, augment=0.02, elastic=0.0)),
    "adam": lambda recipe: replace(
        recipe, training=replace(recipe.training, optimiser="adam", learning_rate=2e-3)),
    "preset": lambda recipe: recipe,
}


def pair_batch(recipe: Recipe, pair: Pair) -> Batch:
    """A pair as registering sees it: on the fixed image's working grid, the moving image aligned onto it."""
    fixed, moving = (read_volume(case.image, "intensity") for case in (pair.fixed, pair.moving))
    transform = None
    if recipe.preprocessing.affine == "auto":
        transform = cached_alignment(fixed, moving, (pair.fixed.image, pair.moving.image))
    grid = working_geometry(recipe, fixed.geometry)
    there = resample(read_labels(pair.moving.labels or "", moving, role="labels", image_role="image"), grid, transform)
    here = resample(read_labels(pair.fixed.labels or "", fixed, role="labels", image_role="image"), grid)
    return Batch(to_tensor(to_grid(moving, grid, transform, modality=pair.moving.modality)),
                 to_tensor(to_grid(fixed, grid, modality=pair.fixed.modality)),
                 (labels_to_tensor(there), labels_to_tensor(here)))


def fewer(scenario: Scenario, count: int | None) -> Scenario:
    """The scenario with so many training cases."""
    if count is None:
        return scenario
    kept = sorted(case.id for case in scenario.split("train"))[:count]
    cases = tuple(case for case in scenario.cases if case.split != "train" or case.id in kept)
    ids = {case.id for case in cases}
    pairs = tuple(pair for pair in scenario.pairs if pair.fixed in ids and pair.moving in ids)
    return replace(scenario, cases=cases, pairs=pairs)


def trained(recipe: Recipe, dataset: Dataset, seconds: float) -> tuple[torch.nn.Module, int]:
    """The averaged network after so many processor seconds, and its steps."""
    trainee, began = Trainee(recipe), time.process_time()
    while (spent := time.process_time() - began) < seconds:
        trainee.advance(dataset, progress=spent / seconds)
    return trainee.averaged(), trainee.step


def measured(recipe: Recipe, batches: Sequence[Batch], structures: Sequence[int],
             answer: Callable[[Batch], Prediction]) -> Row:
    """Means over the pairs."""
    rows = []
    for batch in batches:
        began = time.process_time()
        found = answer(batch)
        spent = time.process_time() - began
        assert batch.labels is not None
        with torch.no_grad():
            terms = registration_loss(found, batch.moving, batch.fixed, as_weights(recipe.loss_weights.at_full_scale()),
                                      objective=recipe.objective)
            rows.append({
                "dice": float(label_dice(found, *batch.labels, structures=structures)),
                "loss": float(terms["similarity"] + recipe.loss_weights.smoothness * terms["smoothness"]),
                "seconds": spent, "folds": float(folded(jacobian_determinant(found.displacement)).sum()),
            })
    return {name: round(sum(row[name] for row in rows) / len(rows), 4) for name in rows[0]}


def from_nothing(recipe: Recipe, batch: Batch) -> Prediction:
    """Refinement of the pair without a network."""
    return finished(recipe, NoNetwork(), batch, Way(refine="full"))


def alone(recipe: Recipe, network: torch.nn.Module, batch: Batch) -> Prediction:
    """The network's answer as it is."""
    return finished(recipe, network, batch, Way())


def compare(options: argparse.Namespace) -> list[Row]:
    """A row for every variant and seed, the network alone and finished, and one for refinement alone."""
    scenario = fewer(read_scenario(options.scenario), options.cases)
    preset = start_recipe(scenario)
    structures = tuple(sorted(scenario.structures))
    batches = [pair_batch(preset, pair) for pair in scenario.pairs_of(options.split, limit=options.pairs)]
    dataset = prepare(scenario, preset, ("train",))
    rows = [tables.cached(
        options.work, "refinement", lambda: measured(preset, batches, structures, lambda b: from_nothing(preset, b)),
        resume=options.resume, names={"variant": "refinement alone"})]
    for seed in range(options.seeds):
        for name in options.variants:
            recipe = replace(VARIANTS[name](preset), seed=seed)

            def make(recipe: Recipe = recipe) -> Row:
                network, steps = trained(recipe, dataset, options.seconds)
                row = measured(recipe, batches, structures, lambda b: alone(recipe, network, b))
                done = measured(recipe, batches, structures, lambda b: finished(recipe, network, b, Way(refine="auto")))
                return {"steps": steps, **row, **{f"finished {key}": value for key, value in done.items()}}

            rows.append(tables.cached(options.work, f"{name} {seed}".replace(" ", "_"), make, resume=options.resume,
                                      names={"variant": name, "seed": seed}))
    return rows


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """The rows, also printed as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["preset", "adam"])
    parser.add_argument("--seconds", type=float, default=120.0, help="processor time of each training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cases", type=int, help="training cases (default: all)")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = compare(options)
    print(tables.markdown(rows))
    return rows


if __name__ == "__main__":
    main()
