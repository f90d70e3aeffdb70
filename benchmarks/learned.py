"""Learned systems, each trained for the same processor time: ``python -m benchmarks.learned SCENARIO --name TABLE``.

Each trains by its own loss, from the quick preset's recipe, on the same prepared images, for ``--seconds`` of processor
time, so what else runs on the machine does not decide. Its averaged weights at the end register the same test pairs;
what is measured is the network's own answer on the working grid, nothing refined, nothing mended. ``--test``: a second
scenario, whose test pairs are registered as well: how a training fares on other deformations than it saw.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import fmean, median, stdev
from typing import get_args

import numpy as np
import torch
from torch import nn

from AutoRegLib.core.folds import folded
from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.recipe import FieldFilter, Recipe
from AutoRegLib.core.scenario import Scenario, Split, read_scenario
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.warp import warp
from AutoRegLib.imaging.surface_distance import surface_distances
from AutoRegLib.learning.data import Dataset, prepare
from AutoRegLib.learning.start_recipe import start_recipe
from AutoRegLib.learning.trainee import Trainee
from AutoRegLib.losses.objective import label_dice
from AutoRegLib.networks.none import NoNetwork
from AutoRegLib.networks.registry import count_parameters
from benchmarks import tables
from benchmarks.tables import Row, cached

#: name -> (network, what is changed in its recipe)
SYSTEMS: dict[str, tuple[str, Callable[[Recipe], Recipe]]] = {
    **{name: (name, lambda recipe: recipe) for name in NETWORKS},
    "metareg-no-penalty": ("metareg", lambda recipe: replace(
        recipe, objective=replace(recipe.objective, filter_symmetry=0.0, filter_trace=0.0))),
    "metareg-no-filter": ("metareg", lambda recipe: replace(
        recipe, network=replace(recipe.network, filter=FieldFilter()))),
    "metareg-gram": ("metareg", lambda recipe: replace(
        recipe, network=replace(recipe.network, filter=FieldFilter(13, "gram")))),
    "autoreg-filtered": ("autoreg", lambda recipe: replace(
        recipe, network=replace(recipe.network, filter=FieldFilter(13)))),
}


def some(scenario: Scenario, count: int) -> Scenario:
    """About ``count`` cases of the training split and of the test split, drawn by pairs."""
    kept: set[str] = set()
    chosen: set[tuple[str, str]] = set()
    for split in get_args(Split):
        own: set[str] = set()
        pairs = list(scenario.pairs_of(split))
        for pair in Random(0).sample(pairs, len(pairs)):
            if len(own) < count:
                own |= {pair.moving.id, pair.fixed.id}
                chosen.add((pair.moving.id, pair.fixed.id))
        kept |= own
    cases = tuple(case for case in scenario.cases if case.id in kept or case.id == scenario.atlas)
    return replace(scenario, cases=cases, pairs=tuple(p for p in scenario.pairs if (p.moving, p.fixed) in chosen))


def trained(recipe: Recipe, dataset: Dataset, seconds: float) -> tuple[nn.Module, int]:
    """The network with its averaged weights after so many processor seconds, and how many steps they were."""
    trainee, began, progress = Trainee(recipe), 0.0, 0.0
    while progress < 1.0:
        trainee.advance(dataset, progress=progress)
        if trainee.step == 1:  # not counted: it loads what all others share
            began = time.process_time()
        progress = (time.process_time() - began) / seconds
    return trainee.averaged(), trainee.step


def registered(network: nn.Module | None, dataset: Dataset, *, limit: int) -> Row:
    """What the network's answers to test pairs are worth; None: the pairs as they lie."""
    network = network or NoNetwork()
    figures: list[list[float]] = [[] for _ in range(5)]
    dice, far, positive, least, seconds = figures
    with torch.inference_mode():
        for pair in dataset.sample("test", limit):
            batch = dataset.batch([pair])
            began = time.process_time()
            answer = network(batch.moving, batch.fixed)
            seconds.append(time.process_time() - began)
            determinant = jacobian_determinant(answer.displacement)
            positive.append(100.0 * (1.0 - float(folded(determinant).float().mean())))
            least.append(float(determinant.min()))
            if batch.labels is None:
                continue
            dice.append(float(label_dice(answer, *batch.labels, structures=dataset.structures)))
            moving, fixed = (
                image[0, 0].numpy() for image in (warp(batch.labels[0], answer.displacement, mode="nearest"),
                                                  batch.labels[1]))
            both = [s for s in dataset.structures if (moving == s).any() and (fixed == s).any()]
            far += [max(float(np.percentile(ends, 95)) for ends in surface_distances(
                moving == s, fixed == s, dataset.grid)) for s in both]
    found: Row = {"pairs": len(positive)}
    for name, values in zip(("dice", "hd95_mm", "positive_percent", "least_determinant"), figures, strict=False):
        if values:
            found |= {name: fmean(values), f"{name}_sd": stdev(values) if len(values) > 1 else None}
    return {**found, "pair_cpu_s": median(seconds)}


def measured(system: str, scenario: Scenario, datasets: Sequence[Dataset], given: argparse.Namespace, seed: int) -> Row:
    """Train the system on the first dataset and register the test pairs of all."""
    network, row = None, {}
    if system != "none":
        recipe = recipe_of(system, scenario, given, seed=seed)
        network, steps = trained(recipe, datasets[0], given.seconds)
        count = count_parameters(network)
        row = {"steps": steps, "parameters": count, "mebibytes": count * 4 / 2**20}
    for place, dataset in enumerate(datasets):
        found = registered(network, dataset, limit=given.limit)
        row |= {name if place == 0 else f"other_{name}": value for name, value in found.items()}
    return row


def recipe_of(system: str, scenario: Scenario, given: argparse.Namespace, *, seed: int) -> Recipe:
    """What the system trains."""
    network, change = SYSTEMS[system]
    return change(start_recipe(scenario, "quick", network=network, spacing=given.spacing, seed=seed))


def main(argv: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--test", type=Path, help="a second scenario, whose test pairs are registered as well")
    parser.add_argument("--work", type=Path, required=True, help="rows that were finished")
    parser.add_argument("--name", required=True, help="of the table")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of each training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--limit", type=int, default=24, help="test pairs")
    parser.add_argument("--cases", type=int, default=1000, help="at most about so many of each split")
    parser.add_argument("--spacing", type=float, help="of the working grid, mm (default: the preset's)")
    parser.add_argument("--systems", nargs="+", default=list(NETWORKS), choices=list(SYSTEMS))
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    scenario = some(read_scenario(given.scenario), given.cases)
    start = recipe_of("autoreg", scenario, given, seed=0)
    datasets = [prepare(scenario, start, ("train", "test"))]
    if given.test is not None:
        datasets.append(prepare(some(read_scenario(given.test), given.cases), start, ("test",)))
    wanted = [("none", 0), *((system, seed) for seed in range(given.seeds) for system in given.systems)]
    rows = [
        cached(given.work, f"{system}-{seed}", lambda s=system, n=seed: measured(  # type: ignore[misc]
            s, scenario, datasets, given, n), resume=True, names={"system": system, "seed": seed})
        for system, seed in wanted
    ]
    grid = " x ".join(f"{step:g}" for step in datasets[0].grid.spacing)
    training = sum(case.split == "train" for case in scenario.cases)
    tables.save(given.name, rows, title=f"Learned systems in equal time: {scenario.name}", summary=(
        f"{given.seconds:g} s of processor time for each training on a grid of {grid} mm, quick preset, own losses; "
        f"{training} training cases, {rows[0]['pairs']} test pairs. Measured on the networks' own answers, nothing "
        "refined or mended: mean and sd over pairs (hd95_mm: over pairs and structures). none: the pairs as prepared."))
    return rows


if __name__ == "__main__":
    main()
