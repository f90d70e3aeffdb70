"""What a search costs beside training: ``python -m benchmarks.search_cost SCENARIO [--fraction 0.04] [--threads 1]``.

Runs the search and the training of a preset, both with the same fraction of their steps, each in a process of its own,
and writes wall time and peak memory of both, and of single steps of the supernet, to ``results``.
Reference: AutoReg paper, Table I.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.presets import SCALES
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.scenario import Scenario, read_scenario
from AutoRegLib.learning.data import Dataset, prepare
from AutoRegLib.learning.start_recipe import start_recipe
from AutoRegLib.learning.train import train
from AutoRegLib.learning.trainee import Trainee
from AutoRegLib.registration import metrics
from AutoRegLib.search.search import search
from AutoRegLib.search.stage import run_stage
from benchmarks import tables

STEPS = 3  # single steps of each kind, for the memory


def scaled(recipe: Recipe, fraction: float) -> Recipe:
    """The recipe with this fraction of all its steps."""

    def part(steps: int) -> int:
        return max(round(fraction * steps), 1)

    stages = tuple(replace(stage, steps=part(stage.steps)) for stage in recipe.search.stages)
    return replace(
        recipe, training=replace(recipe.training, steps=part(recipe.training.steps)),
        search=replace(recipe.search, stages=stages, final_steps=part(recipe.search.final_steps)),
    )


def single_training_steps(recipe: Recipe, dataset: Dataset) -> None:
    trainee = Trainee(recipe)
    for _ in range(STEPS):
        trainee.advance(dataset, progress=0.0)


def single_search_steps(recipe: Recipe, dataset: Dataset, number: int) -> None:
    """Upper steps of one stage; with ``full`` grids in the stage's own ``coarsen``."""
    stage = replace(recipe.search.stages[number], steps=STEPS, warmup=0.0)
    run_stage(recipe, stage, dataset, history=[], seconds=None, keep=lambda state: None, monitor=Monitor(), warm={},
              saved=None)


def parts(recipe: Recipe, scenario: Scenario, folder: Path) -> dict[str, Callable[[Dataset], Any]]:
    """What is measured, by name."""
    steps: dict[str, Callable[[Dataset], Any]] = {
        f"step of the stage '{stage.name}'": partial(single_search_steps, recipe, number=i)
        for i, stage in enumerate(recipe.search.stages)
    }
    return {
        "step of training": lambda dataset: single_training_steps(recipe, dataset), **steps,
        "training": lambda _: train(recipe, scenario, output=folder / "model"),
        "search": lambda _: search(recipe, scenario, output=folder / "search"),
    }


def measure(name: str, recipe: Recipe, scenario: Scenario, folder: Path) -> dict[str, Any]:
    """Seconds and peak bytes of one part in this process; images are prepared before."""
    dataset = prepare(scenario, recipe, ("train", "val"), device="cpu", monitor=Monitor())
    metrics.reset_peak_memory("cpu")
    before = metrics.peak_memory_bytes("cpu") or 0
    began = time.perf_counter()
    parts(recipe, scenario, folder)[name](dataset)
    return {"part": name, "seconds": time.perf_counter() - began, "before": before,
            "peak": metrics.peak_memory_bytes("cpu") or 0}


def report(rows: Sequence[dict[str, Any]]) -> str:
    """The table in Markdown; memory counts from what the process held before the part began."""
    by = {row["part"]: row for row in rows}
    lines = ["| part | seconds | peak MB | of them the part's own | its ratio |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        unit = by["training" if row["part"] in ("training", "search") else "step of training"]
        own, reference = row["peak"] - row["before"], unit["peak"] - unit["before"]
        lines.append(f"| {row['part']} | {row['seconds']:.1f} | {row['peak'] / 1e6:.0f} | {own / 1e6:.0f} "
                     f"| {own / max(reference, 1):.2f} |")
    ratio = (by["search"]["seconds"] + by["training"]["seconds"]) / by["training"]["seconds"]
    return "\n".join([*lines, "", f"Search and training take {ratio:.2f} times as long as training alone."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--preset", choices=tuple(SCALES), default="standard")
    parser.add_argument("--fraction", type=float, default=0.04)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    scenario = read_scenario(arguments.scenario)
    recipe = scaled(start_recipe(scenario, arguments.preset), arguments.fraction)
    if arguments.part:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(arguments.part, recipe, scenario, Path(folder))))
        return
    rows = []
    for name in parts(recipe, scenario, Path()):
        again = [sys.executable, "-m", "benchmarks.search_cost", *sys.argv[1:], "--part", name]
        done = subprocess.run(again, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], file=sys.stderr, flush=True)
    print(report(rows))
    tables.save(f"search_cost_{arguments.scenario.parent.name}", rows, title=f"Cost of a search: {scenario.name}",
                summary=report(rows), threads=arguments.threads)


if __name__ == "__main__":
    main()
