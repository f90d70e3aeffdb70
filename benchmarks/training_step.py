"""Training steps of this working tree against an earlier commit's: ``python -m benchmarks.training_step SCENARIO``.

Pairs a second of the first version's default network (``--against``), of the preset's, of the same with one similarity
(what searches take) and of a searched recipe (``--recipe``), in turns, each time in a fresh process on the same images.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from AutoRegLib.core.recipe import write_recipe
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.learning.data import prepare
from AutoRegLib.learning.start_recipe import start_recipe
from benchmarks import tables
from benchmarks.measure import ROOT, run_process
from benchmarks.tables import Row

CHILD = Path(__file__).parent / "peers" / "training_steps.py"
FIRST = "8847550"  # the first version that trained


@dataclass(frozen=True)
class Method:
    title: str
    tree: Path
    recipe: Path | None


def methods(scenario_file: Path, folder: Path, against: str, searched: Path | None) -> list[Method]:
    """What takes part; the earlier version comes first. The images go to ``folder / "data.pt"``."""
    scenario = read_scenario(scenario_file)
    default = start_recipe(scenario)
    dataset = prepare(scenario, default, ("train",))
    torch.save({"images": dataset.images, "labels": dataset.labels, "pairs": dataset.pairs,
                "structures": dataset.structures}, folder / "data.pt")
    old = folder / "old"
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", old, against], cwd=ROOT, check=True)
    found = [Method(f"commit {against}, its default", old, None)]
    one = replace(default, loss_weights=replace(default.loss_weights, similarity_mix=1.0))
    for title, recipe in (("standard preset", default), ("the same with local correlation alone", one)):
        path = folder / f"{len(found)}.json"
        write_recipe(path, recipe)
        found.append(Method(title, ROOT, path))
    return found + ([Method("searched recipe", ROOT, searched.resolve())] if searched else [])


def timed(one: Method, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What a fresh process of the method tells: seconds of its steps, parameters. Raises RunFailedError."""
    log = folder / "log.txt"
    recipe: list[str | Path] = ["--recipe", one.recipe] if one.recipe else []
    run_process(
        [sys.executable, CHILD, "--tree", one.tree, "--data", folder / "data.pt", "--batch", str(given.batch),
         "--steps", str(given.steps), "--threads", str(given.threads), *recipe], log=log, threads=given.threads)
    return dict(json.loads(log.read_text().splitlines()[-1]))


def main(argv: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--against", default=FIRST, metavar="COMMIT")
    parser.add_argument("--recipe", type=Path, help="recipe.json of a search")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            taking = methods(given.scenario, folder, given.against, given.recipe)
            speeds: list[list[float]] = [[] for _ in taking]
            sizes = [0] * len(taking)
            for number in range(given.rounds):
                for place, one in enumerate(taking):
                    told = timed(one, folder, given)
                    speeds[place].append(given.batch / median(told["seconds"]))
                    sizes[place] = told["parameters"]
                    print(f"  round {number + 1}, {one.title}: {speeds[place][-1]:.2f} pairs/s", flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", folder / "old"], cwd=ROOT, check=False)
    rows = [{
        "network": one.title, "parameters": size,
        **{f"pairs_a_second_{part}": value for part, value in tables.spread(own).items()},
        **{f"ratio_{part}": value for part, value in tables.spread(
            new / old for new, old in zip(own, speeds[0], strict=True)).items()},
    } for one, size, own in zip(taking, sizes, speeds, strict=True)]
    summary = f"Batch {given.batch}; {given.rounds} rounds, all in turn; ratios are those within a round."
    tables.save("training_step", rows, title="Training steps", summary=summary, threads=given.threads)
    return rows


if __name__ == "__main__":
    main()
