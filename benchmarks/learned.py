"""Learned systems, each trained for the same processor time: ``python -m benchmarks.learned SCENARIO --work DIR``.

Each trains by its own loss from the quick preset's recipe. A few steps tell what a step costs; the training then has as
many as fit into ``--seconds`` of processor time, so what else runs on the machine does not decide. ``--test`` names a
second scenario whose test pairs are registered as well: the crosses of meta-regularisation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median, stdev

import torch

from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.folds import folded
from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.recipe import FieldFilter, Recipe
from AutoRegLib.core.scenario import Scenario, read_scenario
from AutoRegLib.evaluation.evaluate import Alignments, evaluate
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.learning.data import prepare
from AutoRegLib.learning.start_recipe import start_recipe
from AutoRegLib.learning.train import train, train_step
from AutoRegLib.losses.objective import label_dice
from AutoRegLib.networks.registry import build_network, count_parameters
from benchmarks import tables
from benchmarks.tables import Row, cached

_TRIED = 8  # steps that tell the cost of one, the first two not counted

#: name -> (network, what is changed in its recipe)
SYSTEMS: dict[str, tuple[str, Callable[[Recipe], Recipe]]] = {
    **{name: (name, lambda recipe: recipe) for name in NETWORKS},
    "metareg-no-penalty": ("metareg", lambda recipe: replace(
        recipe, objective=replace(recipe.objective, filter_symmetry=0.0, filter_trace=0.0))),
    "metareg-no-filter": ("metareg", lambda recipe: replace(
        recipe, network=replace(recipe.network, filter=FieldFilter()))),
    "metareg-gram": ("metareg", lambda recipe: replace(
        recipe, network=replace(recipe.network, filter=FieldFilter(13, "gram")))),
}


def recipe_of(system: str, scenario: Scenario, *, seed: int, step_rate: float | None) -> Recipe:
    """What the system trains, its steps not yet set."""
    network, change = SYSTEMS[system]
    recipe = change(start_recipe(scenario, "quick", network=network, seed=seed))
    settings = replace(recipe.training, validation_pairs=8)
    if step_rate is not None:
        settings = replace(settings, learning_rate=step_rate)
    return replace(recipe, training=settings)


def step_cost(recipe: Recipe, scenario: Scenario) -> float:
    """Processor seconds of a training step."""
    dataset, network = prepare(scenario, recipe, ("train",)), build_network(recipe)
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.training.learning_rate)
    spent = []
    for step in range(_TRIED):
        began = time.process_time()
        train_step(recipe, dataset, network, optimiser, step=step, progress=0.0)
        spent.append(time.process_time() - began)
    return median(spent[2:])


def bare(model: ModelBundle, scenario: Scenario, *, limit: int) -> Row:
    """The network's own answers to test pairs on the working grid, before the product mends and composes them."""
    dataset = prepare(scenario, model.recipe, ("test",))
    dice, positive, least, seconds = [], [], [], []
    with torch.inference_mode():
        for pair in dataset.sample("test", limit):
            batch = dataset.batch([pair])
            began = time.process_time()
            answer = model.network(batch.moving, batch.fixed)
            seconds.append(time.process_time() - began)
            determinant = jacobian_determinant(answer.displacement)
            positive.append(1.0 - float(folded(determinant).float().mean()))
            least.append(float(determinant.min()))
            if batch.labels is not None:
                dice.append(float(label_dice(answer, *batch.labels, structures=dataset.structures)))
    return {"bare_dice": fmean(dice) if dice else None, "bare_dice_sd": stdev(dice) if len(dice) > 1 else None,
            "positive_percent": 100.0 * fmean(positive), "positive_sd": 100.0 * stdev(positive),
            "least_determinant": fmean(least), "least_sd": stdev(least), "network_cpu_s": median(seconds)}


def measured(system: str, scenarios: Sequence[Scenario], folder: Path, given: argparse.Namespace, seed: int,
             alignments: Sequence[Alignments]) -> Row:
    """Train the system on the first scenario, and register test pairs of all."""
    recipe = recipe_of(system, scenarios[0], seed=seed, step_rate=given.rate)
    cost = step_cost(recipe, scenarios[0])
    steps = max(int(given.seconds / cost), 2)
    recipe = replace(recipe, training=replace(recipe.training, steps=steps))
    model = train(recipe, scenarios[0], output=folder / f"{system}-{seed}")
    row: Row = {"steps": steps, "step_cpu_s": cost, "parameters": count_parameters(model.network),
                "mebibytes": count_parameters(model.network) * 4 / 2**20}
    for place, scenario in enumerate(scenarios):
        means = evaluate(model, scenario, output=folder / f"{system}-{seed}-{place}", limit=given.limit,
                         alignments=alignments[place])
        found = {"dice": means["dice"]["mean"], "dice_sd": means["dice"].get("sd"), "dice_affine": means.get(
            "dice_affine", means["dice_before"])["mean"], "hd95_mm": means.get("hd95_mm"), "folds": means["folds"],
            "seconds": means["seconds"], "pairs": means["pairs"], **bare(model, scenario, limit=given.limit)}
        row |= {name if place == 0 else f"cross_{name}": value for name, value in found.items()}
    return row


def main(argv: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--test", type=Path, help="a second scenario, whose test pairs are registered as well")
    parser.add_argument("--work", type=Path, required=True, help="rows and models")
    parser.add_argument("--name", required=True, help="of the table")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of each training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--limit", type=int, default=24, help="test pairs")
    parser.add_argument("--rate", type=float, help="learning rate (default: the preset's)")
    parser.add_argument("--systems", nargs="+", default=list(NETWORKS), choices=list(SYSTEMS))
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    scenarios = [read_scenario(path) for path in (given.scenario, given.test) if path is not None]
    alignments: list[Alignments] = [{} for _ in scenarios]
    rows = [
        cached(given.work, f"{system}-{seed}",
               lambda system=system, seed=seed: measured(  # type: ignore[misc]
                   system, scenarios, given.work, given, seed, alignments),
               resume=True, names={"system": system, "seed": seed})
        for seed in range(given.seeds) for system in given.systems
    ]
    tables.save(given.name, rows, title=f"Learned systems in equal time: {scenarios[0].name}", summary=(
        f"{given.seconds:g} s of processor time for each training, quick preset, own losses, no refinement; "
        f"{rows[0].get('pairs')} test pairs. dice, hd95_mm, folds, seconds: as delivered; bare_dice, positive_percent, "
        "least_determinant: of the network's answers on the working grid, mean and sd over pairs."))
    return rows


if __name__ == "__main__":
    main()
