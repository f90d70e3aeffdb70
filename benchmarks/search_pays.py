"""Whether a search is worth its time: ``python -m benchmarks.search_pays SCENARIO --work WORK --name TABLE``.

Everyone gets the same minutes in all, from the recipe that a user starts from, no labels in the training: the default
is trained for ``--search`` and ``--train`` minutes together; a search, and a random search over the same field, take
at most ``--search`` of them and train what they found for the rest; a random genotype is trained for all of them.
Test pairs are registered by the network alone and with the finish that its validation chose; refinement alone, which
knows nothing of these data, stands beside them. Differences are of the default, pair by pair, with their standard error
over pairs; every seed is a search and a training of its own. Finished rows stay with ``--resume``.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import Any

from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.genotype import Genotype
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.scenario import Scenario, read_scenario
from AutoRegLib.evaluation.evaluate import Alignments, evaluate
from AutoRegLib.learning.start_recipe import start_recipe
from AutoRegLib.learning.train import train
from AutoRegLib.search.random_search import random_search
from AutoRegLib.search.search import search
from benchmarks import tables
from benchmarks.tables import Row, cached

Search = Callable[..., Recipe]
DEFAULT, ALONE = "default", "refinement alone"


NAMES = (DEFAULT, "searched", "random search", "random genotype", ALONE)


def random_genotype(recipe: Recipe) -> Recipe:
    """The recipe with a random operator on every edge, drawn by its seed."""
    return replace(recipe, genotype=Genotype.random(Random(f"{recipe.seed}/genotype")))


SEARCHES: dict[str, Search] = {"searched": search, "random search": random_search}
#: what is trained at once
ROWS: dict[str, Callable[[Recipe], Recipe]] = {DEFAULT: lambda recipe: recipe, "random genotype": random_genotype}


def measured(bundle: ModelBundle | None, scenario: Scenario, folder: Path, *, refine: Any, limit: int,
             alignments: Alignments) -> dict[str, Any]:
    """Dice of every test pair, their mean, seconds and folds."""
    summary = evaluate(bundle, scenario, output=folder, refine=refine, limit=limit, alignments=alignments)
    with (folder / "metrics.csv").open() as file:
        dice: dict[tuple[str, str], list[float]] = {}
        for line in csv.DictReader(file):
            dice.setdefault((line["moving"], line["fixed"]), []).append(float(line["dice"]))
    by_pair = [fmean(values) for _, values in sorted(dice.items())]
    return {"dice": fmean(by_pair), "by_pair": by_pair, "folds": summary["folds"], "seconds": summary["seconds"]}


def run(name: str, scenario: Scenario, folder: Path, *, seed: int, arguments: argparse.Namespace,
        alignments: Alignments) -> Row:
    """One row: found, trained, measured alone and finished."""
    if name == ALONE:
        return measured(None, scenario, folder / "alone", refine="auto", limit=arguments.limit, alignments=Alignments())
    kwargs = {"limit": arguments.limit, "alignments": alignments}
    recipe = start_recipe(scenario, spacing=arguments.spacing, seed=seed)
    known: dict[str, Any] = {}
    minutes = arguments.search + arguments.train
    if name in SEARCHES:
        recipe = SEARCHES[name](recipe, scenario, output=folder / "search", minutes=arguments.search)
        facts = json.loads((folder / "search" / "provenance.json").read_text())
        known = {"winner": facts["winner"], "search_seconds": facts["seconds"]}
        minutes -= facts["seconds"] / 60.0  # what a search does not need is left to the training
    else:
        recipe = ROWS[name](recipe)
    bundle = train(recipe, scenario, output=folder / "model", minutes=minutes)
    row: Row = {**known, "smoothness": recipe.loss_weights.smoothness, "steps": bundle.provenance["steps"],
                "parameters": bundle.provenance["parameters"], "finish": str(bundle.finish),
                **measured(bundle, scenario, folder / "network", refine=0, **kwargs)}
    if bundle.finish:
        finished = measured(bundle, scenario, folder / "finished", refine=bundle.finish, **kwargs)
        row |= {f"finished_{key}": value for key, value in finished.items()}
    return row


def delivered(row: Row) -> list[float]:
    """Dice pair by pair as the model registers: with its finish, or alone where its validation chose none."""
    return alone(row) if "finished_by_pair" not in row else list(row["finished_by_pair"])


def alone(row: Row) -> list[float]:
    """Dice pair by pair of the network's own answer."""
    return list(row["by_pair"])


def gains(rows: Sequence[Row], dice: Callable[[Row], list[float]]) -> dict[str, tuple[float, float]]:
    """Of every row but the default: mean gain over the default of its seed, pair by pair, and its standard error over
    the pairs, whose gains are averaged over the seeds first.
    """
    found: dict[str, tuple[float, float]] = {}
    base = {row["seed"]: row for row in rows if row["row"] == DEFAULT}
    for name in dict.fromkeys(row["row"] for row in rows if row["row"] not in (DEFAULT, ALONE)):
        seeds = [row for row in rows if row["row"] == name and row["seed"] in base]
        if seeds:
            each = zip(*([a - b for a, b in zip(dice(row), dice(base[row["seed"]]), strict=True)] for row in seeds),
                       strict=True)
            means = [fmean(values) for values in each]
            found[name] = fmean(means), stdev(means) / math.sqrt(len(means))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", required=True, help="of the table in benchmarks/results")
    parser.add_argument("--search", type=float, default=1.5, help="minutes")
    parser.add_argument("--train", type=float, default=4.0, help="minutes")
    parser.add_argument("--spacing", type=float, help="of the working grid, mm")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--limit", type=int, default=24, help="test pairs")
    parser.add_argument("--rows", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args(arguments)
    scenario, alignments = read_scenario(options.scenario), Alignments()
    rows: list[Row] = []
    for seed in options.seeds:
        for name in options.rows:
            if name == ALONE and seed != options.seeds[0]:
                continue
            key = f"{name.replace(' ', '-')}-{seed}"
            rows.append(cached(
                options.work, key, lambda name=name, seed=seed, key=key: run(  # type: ignore[misc]
                    name, scenario, options.work / key, seed=seed, arguments=options, alignments=alignments),
                resume=options.resume, names={"row": name, "seed": seed}))
    shown = [{name: value for name, value in row.items() if not name.endswith("by_pair")} for row in rows]
    tables.save(options.name, shown, title=f"A search beside its default: {scenario.name}", summary="\n".join(
        f"{name}, {words}: {gain:+.4f} ± {error:.4f} Dice over the default of the same time."
        for dice, words in ((alone, "network alone"), (delivered, "as its validation chose, finished or not"))
        for name, (gain, error) in gains(rows, dice).items()))


if __name__ == "__main__":
    main()
