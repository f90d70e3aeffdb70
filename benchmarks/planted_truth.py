"""Whether a search finds what is known to be right: ``python -m benchmarks.planted_truth {reach,lambda} [--seeds 5]``.

``reach``: discs shifted by more than 3-wide operators see; the feature cells see single voxels, so the operators
of the searched deformation cells have to reach. Training with cells of one operator shows that reach pays. Most draws
of operators at random reach the shifts, so a seed passes only if the found cells reach the largest shift and further
than four of five random draws. With ``--most 1`` nothing asks for reach: the control.
``lambda``: rings under clutter, for which training at every smoothness of a grid tells the best one. Stage 3 starts two
grid steps (tenfold) from it, below for even and above for odd seeds, and passes if it ends within one grid step of it.
A smoothness drawn log-evenly from two steps about it passes in half of the cases, in four of five seeds by a chance of
0.19; one that stays where it starts never does.
Each writes a table under ``results/``; a scenario passes if four of five seeds do.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import torch

from AutoRegLib.core.genotype import Genotype
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import LossWeights, Network, Objective, Recipe, Search, Stage, Training
from AutoRegLib.learning.data import Dataset
from AutoRegLib.learning.trainee import Trainee
from AutoRegLib.losses.objective import label_overlap, segmentation_loss
from AutoRegLib.search.stage import run_stage
from AutoRegLib.search.upper_variables import UPPERS
from benchmarks.planted_scenes import cluttered, shifted
from benchmarks.tables import save

GRID = [0.01, 0.0316, 0.1, 0.316, 1.0]
MOST = 14
UNIFORM = ("conv1", "conv3", "dil7")
BASE = Recipe(
    spatial_dims=2, network=Network(features=(8, 8), decoder=(16, 8, 8), squarings=5),
    training=Training(batch=4, learning_rate=2e-3, augment=0.0, average=0.98, validation_pairs=48),
    search=Search(batch=4, learning_rate=2e-3),
)


def searched(recipe: Recipe, stage: Stage, dataset: Dataset) -> tuple[Recipe, list[dict[str, Any]]]:
    """The recipe after one stage of the product's own search, and the stage's history."""
    history: list[dict[str, Any]] = []
    upper, _, _ = run_stage(
        recipe, stage, dataset, history=history, seconds=None, keep=lambda state: None, monitor=Monitor(), warm={},
        saved=None,
    )
    return UPPERS[stage.upper].apply_to(recipe, upper), history


def trained(recipe: Recipe, dataset: Dataset, *, steps: int) -> tuple[float, float]:
    """Validation Dice and L_seg, the validation objective of the stages of lambda, after training from scratch."""
    trainee = Trainee(recipe)
    for step in range(steps):
        trainee.advance(dataset, progress=step / steps)
    network = trainee.averaged()
    batch = dataset.batch(dataset.sample("val", recipe.training.validation_pairs, seed=recipe.seed))
    assert batch.labels is not None
    with torch.inference_mode():
        prediction = network(batch.moving, batch.fixed)
        overlap = label_overlap(prediction, *batch.labels, structures=dataset.structures)
        loss = segmentation_loss(
            prediction, batch.labels, objective=recipe.objective, structures=dataset.structures
        )
    return float(overlap), float(loss)


def reach_of(genotype: Genotype) -> int:
    """How far the deformation cells and their heads (3 wide) see along an axis: voxels of the image from the centre."""
    return 4 * (1 + genotype.reach("deformation_quarter")) + 2 * (1 + genotype.reach("deformation_half"))


def wide(*, share: float = 0.2, draws: int = 10_000) -> int:
    """The reach that only this share of operators drawn at random exceeds or equals."""
    rng = Random(0)
    return sorted(reach_of(Genotype.random(rng)) for _ in range(draws))[round((1.0 - share) * draws)]


def with_cells(operator: str) -> Genotype:
    """Feature cells that see single voxels, deformation cells of one operator."""
    return replace(Genotype.uniform("conv1"), deformation_quarter=(operator,) * 3, deformation_half=(operator,) * 3)


def with_reach(seed: int, operator: str) -> Recipe:
    """Labels help training: local correlation alone does not see a disc ten voxels away."""
    return replace(
        BASE, seed=seed, genotype=with_cells(operator), objective=Objective(label_weight=1.0),
        search=replace(BASE.search, learning_rate=4e-3),
    )


def what_reach_gains(seeds: Sequence[int], *, most: int, steps: int) -> dict[str, float]:
    """Validation Dice of trainings with deformation cells of one operator, mean over seeds."""
    gained = {}
    for operator in UNIFORM:
        found = [trained(with_reach(seed, operator), shifted(seed, most=most)[0], steps=steps)[0] for seed in seeds]
        gained[operator] = sum(found) / len(found)
        print(f"{operator}: Dice {[round(value, 4) for value in found]}", flush=True)
    return gained


def reach(seed: int, *, most: int, steps: int) -> dict[str, Any]:
    """One seed: what the search of the deformation cells finds."""
    dataset, largest = shifted(seed, most=most)
    wanted = max(largest, wide())
    stage = replace(Search().stages[1], steps=steps, coarsen=1)
    began = time.process_time()
    found, _ = searched(with_reach(seed, "conv3"), stage, dataset)
    spent = time.process_time() - began
    genotype = found.genotype or Genotype()
    return {
        "seed": seed, "largest shift": largest, "wanted reach": wanted, "found reach": reach_of(genotype),
        "passed": "yes" if reach_of(genotype) >= wanted else "no",
        "found 1/4": " ".join(genotype.deformation_quarter), "found 1/2": " ".join(genotype.deformation_half),
        "search CPU s": round(spent),
    }


def true_losses(seeds: Sequence[int], grid: Sequence[float], *, steps: int) -> dict[float, float]:
    """L_seg on validation of trainings at every smoothness of the grid, mean over seeds."""
    losses = {}
    for smoothness in grid:
        found = [trained(with_smoothness(seed, smoothness), cluttered(seed), steps=steps)[1] for seed in seeds]
        losses[smoothness] = sum(found) / len(found)
        print(f"smoothness {smoothness:g}: L_seg {[round(value, 4) for value in found]}", flush=True)
    return losses


def with_smoothness(seed: int, smoothness: float) -> Recipe:
    """LNCC at full resolution and smoothness alone, so that one number decides."""
    weights = LossWeights(similarity_mix=1.0, smoothness=smoothness).at_full_scale()
    return replace(BASE, seed=seed, loss_weights=weights)


def stage_three(seed: int, *, losses: Mapping[float, float], far: int, steps: int) -> dict[str, Any]:
    """One seed: where stage 3 goes from ``far`` grid steps below or above the best of the grid."""
    best = min(losses, key=lambda s: losses[s])
    lowest, second, *_ = sorted(losses)
    step = math.log(second / lowest)
    start = best * math.exp(step * (far if seed % 2 else -far))
    began = time.process_time()
    stage = replace(Search().stages[2], steps=steps, warm=False)
    found, history = searched(with_smoothness(seed, start), stage, cluttered(seed))
    value = found.loss_weights.smoothness
    off = math.log(value / best) / step
    return {
        "seed": seed, "best of the grid": best, "start": start, "found": value, "grid steps off": round(off, 2),
        "passed": "yes" if abs(off) <= 1.0 else "no", "search CPU s": round(time.process_time() - began),
        "path": " ".join(f"{float(row['smoothness']):.2g}" for row in history[:: max(1, len(history) // 6)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("reach", "lambda"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, help="of the stage (default: 260 for reach, 500 for lambda)")
    parser.add_argument("--check", type=int, help="steps of trainings for the truth (default: 500; reach: 200)")
    parser.add_argument("--truth-seeds", type=int, nargs="+", default=[0, 1], help="of these trainings")
    parser.add_argument("--most", type=int, default=MOST, help="reach: half the largest shift, voxels")
    parser.add_argument("--grid", type=float, nargs="+", default=GRID, help="lambda: smoothness, geometric")
    parser.add_argument("--far", type=int, default=2, help="lambda: grid steps between the start and the best")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    losses: dict[float, float] = {}
    if arguments.what == "lambda":
        losses = true_losses(arguments.truth_seeds, arguments.grid, steps=arguments.check or 500)
        truth = ", ".join(f"{loss:.3f} at {s:.3g}" for s, loss in losses.items())
        summary = f"L_seg after training: {truth}. Stage 3 ends within one grid step of the best in {{}} of {{}} seeds."
    else:
        gained = what_reach_gains(arguments.truth_seeds, most=arguments.most, steps=arguments.check or 200)
        truth = ", ".join(f"{dice:.3f} with {n} (reach {reach_of(with_cells(n))})" for n, dice in gained.items())
        summary = (f"Dice after training: {truth}. The wanted reach is found by {{}} of {{}} seeds; draws of operators "
                   f"at random reach {wide()} in one of five cases, in four of five seeds by a chance of 0.007.")
    for seed in arguments.seeds:
        if arguments.what == "reach":
            row = reach(seed, most=arguments.most, steps=arguments.steps or 260)
        else:
            row = stage_three(seed, losses=losses, far=arguments.far, steps=arguments.steps or 500)
        print(row, flush=True)
        rows.append(row)
        passed = sum(row["passed"] == "yes" for row in rows)
        name = f"planted_{arguments.what}" + ("" if arguments.most == MOST else f"_{arguments.most}")
        save(name, rows, title=f"Planted truth: {arguments.what}", summary=summary.format(passed, len(rows)))


if __name__ == "__main__":
    main()
