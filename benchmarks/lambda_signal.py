"""How much signal the hypergradient of lambda carries: ``python -m benchmarks.lambda_signal SCENARIO.json``.

At fixed weights after some training, each route to the gradient of L_seg with respect to the four (free) loss weights
is taken on many independent batches. Reported per route and weight: mean, standard deviation, their ratio (SNR), the
share of batches that agree with the sign of the mean, and CPU seconds. ``--truth`` goes on training with a weight
doubled and halved (the odds of the mix, the others themselves) and tells which way L_seg on validation really falls.
All routes see the same weights: those trained under the answering stage, at the lambda they are trained for.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Preprocessing, Recipe, Search, Stage
from AutoRegLib.core.scenario import Scenario, read_scenario
from AutoRegLib.learning.data import Dataset, prepare
from AutoRegLib.losses.objective import to_free, to_record
from AutoRegLib.networks.registry import build_network
from AutoRegLib.search.best_response import MARK
from AutoRegLib.search.bilevel import BilevelProblem, Tensors, hypergradient
from AutoRegLib.search.stage import build_problem, run_stage
from benchmarks.tables import save

PAPER_RATE = 1e-4
ANSWERING = replace(Search().stages[2], warm=True)
PLAIN = replace(ANSWERING, spread=0.0)
Estimate = Callable[[int], Tensors]


def trained(recipe: Recipe, stage: Stage, dataset: Dataset, *, steps: int, warm: Mapping[str, Tensor]) -> Tensors:
    """Weights after ``steps`` lower steps of a stage whose lambda stands still."""
    _, weights, _ = run_stage(
        recipe, replace(stage, steps=steps, warmup=1.0), dataset, history=[], seconds=None, keep=lambda state: None,
        monitor=Monitor(), warm=warm, saved=None,
    )
    return weights


def problem_of(recipe: Recipe, stage: Stage, dataset: Dataset) -> BilevelProblem:
    """The stage's two losses."""
    return build_problem(recipe, stage, dataset, build_network(recipe))


def routes(recipe: Recipe, dataset: Dataset, weights: Tensors, *, unrolled: int, rate: float) -> dict[str, Estimate]:
    """Every way to the hypergradient as a function of the number of its batch."""
    base = {n: w for n, w in weights.items() if not n.endswith(MARK)}
    upper = to_free(recipe.loss_weights)
    plain, answering = problem_of(recipe, PLAIN, dataset), problem_of(recipe, ANSWERING, dataset)

    def drawn(split: str, role: str, number: int) -> Any:
        validation = "segmentation" if split == "val" else ""
        return dataset.draw(
            split, size=recipe.search.batch, seed=recipe.seed, stream=f"signal/{role}", step=number,
            validation=validation,
        ), {}

    def route(problem: BilevelProblem, at: Tensors, steps: int, **how: Any) -> Estimate:
        return lambda number: hypergradient(
            problem, at, upper, train=[drawn("train", f"inner{i}", number) for i in range(steps)],
            validation=[drawn("val", "upper", number)], **how,
        ).gradient

    return {
        f"published: 1 step of {PAPER_RATE:g}": route(plain, base, 1, rate=PAPER_RATE, epsilon="rate"),
        f"unrolled: {unrolled} steps of {rate:g}": route(plain, base, unrolled, rate=rate),
        "first order": route(plain, base, 1, rate=rate, method="first"),
        "answering weights": route(answering, weights, 1, rate=rate, method="first"),
    }


def signal(estimate: Estimate, count: int) -> tuple[list[dict[str, Any]], float]:
    """Per loss weight the statistics over batches, and the CPU seconds of one estimate."""
    began = time.process_time()
    found = [estimate(number) for number in range(count)]
    spent = (time.process_time() - began) / count
    rows = []
    for name in found[0]:
        values = [float(g[name]) for g in found]
        mean, deviation = statistics.fmean(values), statistics.stdev(values)
        agree = sum((v > 0) == (mean > 0) for v in values) / count if mean else math.nan
        rows.append({
            "weight": name, "mean": mean, "sd": deviation, "SNR": abs(mean) / deviation if deviation else 0.0,
            "same sign": round(agree, 2) if mean else "-",
        })
    return rows, spent


def validation_losses(recipe: Recipe, dataset: Dataset, weights: Tensors) -> list[float]:
    """L_seg of every validation pair."""
    problem, upper = problem_of(recipe, PLAIN, dataset), to_free(recipe.loss_weights)
    with torch.inference_mode():
        return [
            float(problem.upper_loss(weights, upper, (dataset.batch([pair]), {})))
            for pair in dataset.sample("val", recipe.training.validation_pairs, seed=recipe.seed)
        ]


def truth(recipe: Recipe, dataset: Dataset, weights: Tensors, name: str, *, steps: int) -> tuple[float, float]:
    """L_seg after going on at twice less that at half the weight, and its standard error over validation pairs."""
    base = {n: w for n, w in weights.items() if not n.endswith(MARK)}
    ends = []
    for sign in (1.0, -1.0):
        free = to_free(recipe.loss_weights)
        free[name] = free[name] + sign * math.log(2.0)
        moved = replace(recipe, loss_weights=to_record(free))
        ends.append(validation_losses(moved, dataset, trained(moved, PLAIN, dataset, steps=steps, warm=base)))
    gains = [a - b for a, b in zip(*ends, strict=True)]
    return statistics.fmean(gains), statistics.stdev(gains) / math.sqrt(len(gains))


def agreement(mean: float, real: float, error: float) -> str:
    """Whether a gradient has the sign of the truth, where the truth is surer than twice its standard error."""
    if mean == 0.0:
        return ""
    return "undecided" if abs(real) < 2.0 * error else "yes" if real * mean > 0.0 else "no"


def measured(recipe: Recipe, dataset: Dataset, arguments: argparse.Namespace, steps: int) -> list[dict[str, Any]]:
    """All rows at one length of training."""
    weights = trained(recipe, ANSWERING, dataset, steps=steps, warm={})
    seen: dict[str, tuple[float, float]] = {}
    if steps == arguments.steps[-1]:
        seen = {name: truth(recipe, dataset, weights, name, steps=arguments.truth_steps) for name in arguments.truth}
    rows = []
    for route, estimate in routes(
        recipe, dataset, weights, unrolled=arguments.unrolled, rate=arguments.inner_rate
    ).items():
        found, spent = signal(estimate, arguments.batches)
        for row in found:
            real = seen.get(row["weight"])
            rows.append({
                "steps": steps, "route": route, **row, "CPU s": spent,
                "truth": "" if real is None else f"{real[0]:+.4f} ± {real[1]:.4f}",
                "agrees": "" if real is None else agreement(row["mean"], *real),
            })
            print(rows[-1], flush=True)
    return rows


def some_cases(scenario: Scenario, *, train: int, val: int) -> Scenario:
    """The first cases of both splits."""
    return replace(scenario, cases=scenario.split("train")[:train] + scenario.split("val")[:val])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--spacing", type=float, nargs=3, default=[2.0, 2.0, 2.0], help="working grid, mm")
    parser.add_argument("--cases", type=int, nargs=2, default=[20, 8], help="training and validation cases")
    parser.add_argument("--steps", type=int, nargs="+", default=[150, 400], help="of training before the measurement")
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--unrolled", type=int, default=4)
    parser.add_argument("--inner-rate", type=float, default=1e-2)
    parser.add_argument("--truth", nargs="*", default=[], choices=list(to_free(Recipe().loss_weights)))
    parser.add_argument("--truth-steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    scenario = read_scenario(arguments.scenario)
    recipe = Recipe(
        structures=scenario.structures, seed=arguments.seed,
        preprocessing=Preprocessing(spacing=tuple(arguments.spacing), affine="none"),
    )
    dataset = prepare(
        some_cases(scenario, train=arguments.cases[0], val=arguments.cases[1]), recipe, ("train", "val")
    )
    rows = [row for steps in arguments.steps for row in measured(recipe, dataset, arguments, steps)]
    shape = " x ".join(str(n) for n in dataset.grid.shape)
    save(
        f"lambda_signal_{arguments.scenario.parent.name}", rows,
        title=f"Signal of the lambda hypergradient: {scenario.name}",
        summary=f"Grid {shape} voxels, batches of {recipe.search.batch}, {arguments.batches} of them, seed "
        f"{arguments.seed}. Truth: L_seg at twice less that at half the weight, ± standard error over "
        "validation pairs (which share cases: too small if anything); undecided where below twice its error.",
    )


if __name__ == "__main__":
    main()
