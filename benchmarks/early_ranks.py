"""Does a short training tell which network wins a longer one? ``python -m benchmarks.early_ranks SCENARIO``.

The field of a search's finals and of a random search: the start, the candidates made by hand, and random operators,
all with the start's loss. Each is trained once for ``--seconds`` of processor time on the same batches and validated,
by its averaged weights on the same pairs, after an eighth, a quarter, a half and all of it. What is told is how the
order of the field at each of these times agrees with the last (Kendall, Spearman), whether the winner was already
first, and what taking the early winner would have cost. Finished rows stay with ``--resume``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from scipy.stats import kendalltau, spearmanr

from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.learning.data import Dataset, prepare
from AutoRegLib.learning.start_recipe import start_recipe
from AutoRegLib.learning.trainee import Trainee
from AutoRegLib.learning.validation import validate_pairs
from AutoRegLib.networks.registry import count_parameters
from AutoRegLib.search.random_search import draw_candidates
from benchmarks import tables
from benchmarks.learned import some
from benchmarks.tables import Row, cached

PARTS = (0.125, 0.25, 0.5, 1.0)


def scores(recipe: Recipe, dataset: Dataset, *, seconds: float) -> Row:
    """Validation scores of the averaged weights after each part of the time; validating costs none of it."""
    trainee, used, row = Trainee(recipe), 0.0, Row()
    for part in PARTS:
        while used < part * seconds:
            began = time.process_time()
            trainee.advance(dataset, progress=0.0)
            used += time.process_time() - began
        row[f"score at {part:g}"] = fmean(pair["score"] for pair in validate_pairs(recipe, dataset, trainee.average))
    return {**row, "steps": trainee.step, "falls": trainee.guard.falls,
            "parameters": count_parameters(trainee.network)}


def agreement(rows: Sequence[Row]) -> str:
    """In words, for every part of the time, how its order agrees with the last."""
    last = [row[f"score at {PARTS[-1]:g}"] for row in rows]
    lines = []
    for part in PARTS[:-1]:
        early = [row[f"score at {part:g}"] for row in rows]
        first = early.index(max(early))
        lines.append(
            f"After {part:g} of the time: Kendall {kendalltau(early, last).statistic:.2f}, Spearman "
            f"{spearmanr(early, last).statistic:.2f}; the network that led then ends "
            f"{1 + sorted(last, reverse=True).index(last[first])}. of {len(rows)}, {max(last) - last[first]:.4f} "
            "below the best.")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="rows that were finished")
    parser.add_argument("--name", required=True, help="of the table")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of each training")
    parser.add_argument("--networks", type=int, default=14)
    parser.add_argument("--cases", type=int, default=1000, help="at most about so many of each split")
    parser.add_argument("--spacing", type=float, help="of the working grid, mm (default: the preset's)")
    parser.add_argument("--pairs", type=int, default=24, help="validation pairs")
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args(argv)
    scenario = some(read_scenario(given.scenario), given.cases)
    start = start_recipe(scenario, spacing=given.spacing)
    start = replace(start, training=replace(start.training, validation_pairs=given.pairs))
    dataset = prepare(scenario, start, ("train", "val"))
    rows = [
        cached(given.work, name.replace(" ", "-"), lambda recipe=recipe: scores(  # type: ignore[misc]
            recipe, dataset, seconds=given.seconds), resume=given.resume, names={"network": name})
        for name, recipe in draw_candidates(start, {"feature", "deformation"}, count=given.networks)
    ]
    tables.save(given.name, rows, title=f"Early ranks of networks: {scenario.name}", summary=agreement(rows))
    return rows


if __name__ == "__main__":
    main()
