"""The search: a table of stages, each the same bilevel algorithm with another upper variable.

Reference: docs/method.md, section 1.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.bundle import table_text
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import Genotype
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.recipe import Recipe, Stage, write_recipe
from AutoRegLib.core.records import from_plain, make_folder, to_plain, write_json, write_text
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.learning.budget import Clock
from AutoRegLib.learning.checkpoint import load_checkpoint, save_checkpoint
from AutoRegLib.learning.data import Cohort, prepare
from AutoRegLib.learning.determinism import identity, provenance
from AutoRegLib.search.bilevel import Tensors
from AutoRegLib.search.card import search_card
from AutoRegLib.search.cost_model import (
    CostTable,
    choice_shares,
    count_candidates,
    estimate,
    fastest_choice,
    forward_seconds,
    free_memory,
    measure_candidates,
    step_cost,
)
from AutoRegLib.search.figures import search_figures
from AutoRegLib.search.stage import run_stage
from AutoRegLib.search.successive_halving import STAGE as FINALS
from AutoRegLib.search.successive_halving import affordable, nominate, run_finals
from AutoRegLib.search.upper_variables import UPPERS

GENOTYPE_SCHEMA = "autoreg-genotype/1"


def search(
    recipe: Recipe,
    scenario: Scenario,
    *,
    output: Path,
    minutes: float | None = None,
    resume: bool = False,
    device: str = "cpu",
    monitor: Monitor | None = None,
) -> Recipe:
    """Run the recipe's stages and write ``recipe.json``, ``genotype.json``, ``history.csv``, ``figures/``.

    The budget is each stage's steps, or ``minutes`` in all (data preparation included), shared by
    ``recipe.search.shares``. Raises InputError, CancelledError (state kept), DivergedError.
    """
    monitor = monitor or Monitor()
    output = make_folder(output)
    path = output / "checkpoint.pt"
    mark = identity(recipe, scenario, device)
    saved = load_checkpoint(path, identity=mark) if resume else None
    whole = Clock(1, seconds=60.0 * minutes if minutes is not None else None, used=saved["used"] if saved else 0.0)
    cohort = prepare(scenario, recipe, ("train", "val"), device=device, monitor=monitor)
    stages, shares = runnable_stages(recipe, cohort, monitor)

    costs = _costs(recipe, cohort, stages, minutes, saved, monitor)
    parts = [*(stage.name for stage in stages), *([FINALS] if recipe.search.finalists > 1 else [])]
    shares = [*shares, recipe.search.finals_share]

    found, history, first = recipe, [], 0
    settled: list[Tensors] = []
    trained: Tensors = {}
    if saved:
        first, history, settled, trained = saved["part"], saved["history"], saved["settled"], saved["trained"]
        for stage, upper in zip(stages[:first], settled, strict=True):
            found = UPPERS[stage.upper].settle(found, upper)

    winner = ""
    for index, part in enumerate(parts):
        if index < first:
            continue
        monitor.event("stage", name=part, index=index, count=len(parts))
        inside, seconds = (saved["inside"], saved["seconds"]) if saved and index == first else (None, None)
        if whole.seconds is not None and inside is None:
            seconds = (whole.seconds - whole.used) * shares[index] / sum(shares[index : len(parts)])

        def keep(
            state: dict[str, Any], index: int = index, seconds: float | None = seconds, before: Tensors = trained
        ) -> None:
            save_checkpoint(path, {
                "identity": mark, "used": whole.used, "part": index, "seconds": seconds, "trained": before,
                "costs": to_plain(costs),
                "settled": settled, "history": history, "inside": state,  # noqa: B023 (called within this pass)
            })

        if part == FINALS:
            shares_found = shares_of(stages, settled)
            found = within_limit(found, shares_found, costs)
            work = count_candidates(recipe) if shares_found else None
            if inside:
                most = len(inside["players"])
            else:
                most = affordable(recipe.search.finalists, seconds=seconds, step=step_cost(recipe, cohort)[0])
            start = within_limit(recipe, {}, costs)  # as it would have to be to keep the limit on seconds
            candidates = fast_enough(nominate(start, found, shares=shares_found, work=work), recipe, costs)
            winner, found = run_finals(
                candidates[:most], cohort, steps=recipe.search.final_steps, seconds=seconds,
                history=history, keep=keep, monitor=monitor, saved=inside,
            )
            continue
        upper, trained, finished = run_stage(
            found, stages[index], cohort, history=history, seconds=seconds, keep=keep, monitor=monitor, warm=trained,
            costs=costs, saved=inside,
        )
        settled = [*settled, upper]
        found = UPPERS[stages[index].upper].settle(found, upper)
        if finished:
            text = "finished before the finals: what was found has not been compared with the start"
            monitor.event("warning", code="no-finals", text=text)
            break

    write_text(output / "history.csv", table_text(history))
    write_json(output / "genotype.json", found.genotype or Genotype(), schema=GENOTYPE_SCHEMA)
    passes = {name: forward_seconds(r, cohort.grid.shape, device=device) for name, r in (("start", recipe),
                                                                                      ("found", found))}
    facts = provenance(recipe, scenario, device, seconds=round(whole.used, 1), winner=winner or "found, untried",
                       network_seconds=passes)
    write_json(output / "provenance.json", facts)
    write_text(output / "card.md", search_card(recipe, found, history, facts))
    for picture in search_figures(history, found, output / "figures"):
        monitor.event("artifact", role="figure", path=str(picture))
    write_recipe(output / "recipe.json", found)
    path.unlink(missing_ok=True)
    monitor.event("artifact", role="recipe", path=str(output / "recipe.json"))
    return found


def _costs(
    recipe: Recipe, cohort: Cohort, stages: Sequence[Stage], minutes: float | None, saved: Mapping[str, Any] | None,
    monitor: Monitor,
) -> CostTable | None:
    """Tell what the search will cost; the cost of every candidate where speed counts (of the first run, on resume)."""
    if saved:
        return from_plain(CostTable, saved["costs"], where="checkpoint") if saved["costs"] else None
    expected = estimate(recipe, cohort, stages, minutes=minutes)
    monitor.event("estimate", **expected)
    free = free_memory(cohort.device)
    if free is not None and expected["bytes"] > free:
        text = (f"The search needs about {expected['bytes'] / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: "
                "use a coarser working grid (preprocessing.spacing) or a smaller batch.")
        monitor.event("warning", code="memory", text=text)
    if not (recipe.search.speed_weight > 0.0 or recipe.search.max_seconds is not None):
        return None
    costs = measure_candidates(recipe, cohort.grid.shape, device=cohort.device)
    within_limit(recipe, {}, costs)  # a limit that no network keeps is refused now, not after the search
    return costs


def shares_of(stages: Sequence[Stage], settled: Sequence[Tensors]) -> dict[str, Tensor]:
    """softmax(alpha) of every searched cell, (edges, candidates)."""
    return {
        cell: torch.softmax(upper[cell], dim=1)
        for stage, upper in zip(stages, settled, strict=False) for cell in UPPERS[stage.upper].searched
    }


def within_limit(found: Recipe, shares: Mapping[str, Tensor], costs: CostTable | None) -> Recipe:
    """The recipe with the best shares that keep the limit on seconds, where there is one."""
    if costs is None or found.search.max_seconds is None or found.genotype is None:
        return found
    every = {**choice_shares(found.genotype), **shares}
    return replace(found, genotype=fastest_choice(every, costs, most=found.search.max_seconds))


def fast_enough(
    candidates: Sequence[tuple[str, Recipe]], recipe: Recipe, costs: CostTable | None
) -> list[tuple[str, Recipe]]:
    """Without the candidates that break the limit on seconds; the start and the found one keep it."""
    most = recipe.search.max_seconds
    if costs is None or most is None:
        return list(candidates)
    return [c for c in candidates if costs.total(c[1].genotype or Genotype()) <= most]


def runnable_stages(recipe: Recipe, cohort: Cohort, monitor: Monitor) -> tuple[list[Stage], list[float]]:
    """The stages that this network and these data allow, with their shares of the time; says what it leaves out."""
    stages, shares = [], []
    for stage, share in zip(recipe.search.stages, recipe.search.shares, strict=True):
        if UPPERS[stage.upper].searched and not NETWORKS[recipe.network.name].searchable:
            text = f"network '{recipe.network.name}' has no architecture to search: stage '{stage.name}' is left out"
            monitor.event("warning", code="no-search-space", text=text)
        elif not cohort.judged_pairs("val", stage.judge):
            what = "labels" if stage.judge == "segmentation" else "landmarks"
            text = f"no validation pair has {what} on both sides: stage '{stage.name}' is left out"
            monitor.event("warning", code=f"no-{what}", text=text)
        else:
            stages.append(stage)
            shares.append(share)
    if not stages:
        raise InputError("nothing can be searched", remedy="add labelled validation cases or choose network 'autoreg'")
    return stages, shares


