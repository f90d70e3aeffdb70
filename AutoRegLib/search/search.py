"""The search: a table of stages, each the same bilevel algorithm with another upper variable.

Reference: docs/method.md, section 1.4.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.bundle import table_text
from AutoRegLib.core.drawing import attempted
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import Genotype
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.recipe import Recipe, Stage, write_recipe
from AutoRegLib.core.records import from_plain, make_folder, to_plain, write_json, write_text
from AutoRegLib.core.result_set import together
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.learning.budget import Clock
from AutoRegLib.learning.data import Dataset, prepare
from AutoRegLib.learning.determinism import identity, provenance
from AutoRegLib.search.bilevel import Tensors
from AutoRegLib.search.card import found_gain, search_card
from AutoRegLib.search.cost_model import (
    CostTable,
    choice_shares,
    count_candidates,
    estimate,
    fastest_choice,
    forward_seconds,
    free_memory,
    measure_candidates,
    share_of,
    training_seconds,
)
from AutoRegLib.search.figures import search_figures
from AutoRegLib.search.refined_loss import choose_loss
from AutoRegLib.search.stage import run_stage
from AutoRegLib.search.state import SearchState
from AutoRegLib.search.successive_halving import STAGE as FINALS
from AutoRegLib.search.successive_halving import affordable, propose_candidates, run_finals, unlike
from AutoRegLib.search.upper_variables import UPPERS, searched_kinds

GENOTYPE_SCHEMA = "autoreg-genotype/1"
#: a part that its time allows fewer of is left out; finals: of each of two finalists
LEAST_STEPS, LEAST_FINAL_STEPS = 100, 300


def search(
    recipe: Recipe,
    scenario: Scenario,
    *,
    output: Path,
    minutes: float | None = None,
    start: Mapping[str, str] | None = None,
    resume: bool = False,
    device: str = "cpu",
    monitor: Monitor | None = None,
) -> Recipe:
    """Choose the start's loss, run the recipe's stages, then its finals.

    Writes ``recipe.json``, ``genotype.json``, ``history.csv``, ``provenance.json``, ``card.md``, ``figures/``.
    The budget is each stage's steps, or ``minutes`` in all (data preparation included), shared by
    ``recipe.search.shares``; stages for which that is too short are left out, with their time. ``start``: which model
    the recipe's operators and loss weights are of, for provenance.
    Raises InputError, CancelledError (state kept), DivergedError.
    """
    monitor = monitor or Monitor()
    output = make_folder(output)
    path, mark = output / "checkpoint.pt", identity(recipe, scenario, device)
    state = SearchState.load(path, identity=mark) if resume else SearchState()
    clock = Clock(1, seconds=None if minutes is None else 60.0 * minutes, used=state.used,
                  timer=recipe.training.timer)
    dataset = prepare(scenario, recipe, ("train", "val"), device=device, monitor=monitor)
    stages, shares = runnable_stages(recipe, dataset, monitor)
    given, uppers = recipe, searched_kinds(stages)
    if not resume:
        expected = _tell(recipe, dataset, stages, minutes, monitor)
        state.costs = to_plain(_costs(recipe, dataset))
        state.budget = clock.seconds
        if clock.seconds is not None and recipe.search.finalists > 1:
            state.skipped = too_short(recipe, stages, expected, clock.seconds - clock.used, monitor)
            spared = sum(share_of(recipe, name) for name in state.skipped)
            state.budget = clock.seconds - spared * (clock.seconds - clock.used)
    clock.seconds = state.budget
    costs = from_plain(CostTable, state.costs, where="checkpoint") if state.costs else None
    kept = [(stage, share) for stage, share in zip(stages, shares, strict=True) if stage.name not in state.skipped]
    stages, shares = [stage for stage, _ in kept], [share for _, share in kept]
    if recipe.search.finalists > 1 and FINALS not in state.skipped:
        shares = [*shares, recipe.search.finals_share]
    if state.start is None:
        if "lambda" in uppers and recipe.search.refined_pairs:
            replace(state, used=clock.used).save(path, identity=mark)  # what a cancelled one resumes
            recipe = choose_loss(
                recipe, dataset, history=state.history, monitor=monitor,
                seconds=None if minutes is None else recipe.search.refined_share * 60.0 * minutes)
        state.start = to_plain(recipe)
    recipe = from_plain(Recipe, state.start, where="checkpoint")

    def begin(name: str) -> None:
        """Announce the part that runs now, and give it its share of what is left of the time."""
        monitor.event("stage", name=name, index=state.part, count=len(shares))
        if clock.seconds is not None and state.inside is None:
            left = clock.seconds - clock.used
            state.seconds = left * shares[state.part] / sum(shares[state.part :])

    def keep(inside: dict[str, Any]) -> None:
        replace(state, used=clock.used, inside=inside).save(path, identity=mark)

    finished, winner = False, ""
    while state.part < len(stages) and not finished:
        stage = stages[state.part]
        begin(stage.name)
        upper, trained, finished = run_stage(
            _with_found(recipe, stages, state), stage, dataset, history=state.history, seconds=state.seconds, keep=keep,
            monitor=monitor, warm=state.trained, before={n: v for found in state.found for n, v in found.items()},
            costs=costs, saved=state.inside,
        )
        state.found = [*state.found, upper]
        state.next_part(trained)
    found = _with_found(recipe, stages, state)
    if finished:
        text = "finished before the finals: what was found has not been compared with the start"
        monitor.event("warning", code="no-finals", text=text)
    elif len(shares) > len(stages):
        begin(FINALS)
        candidates = finalists(recipe, found, shares_of(stages, state.found), dataset, costs, state, uppers=uppers,
                               given=given)
        winner, found = run_finals(
            candidates, dataset, steps=recipe.search.final_steps, seconds=state.seconds, history=state.history,
            keep=keep, monitor=monitor, saved=state.inside,
        )
    _write_results(output, given, found, state.history, dataset, monitor, facts=partial(
        provenance, recipe, scenario, device, seconds=round(clock.used, 1),
        winner=winner or ("found, untried" if state.found else "start"),
        **({} if start is None else {"start": dict(start)}),
        **({} if (gain := found_gain(state.history)) is None else {"found_gain": gain})))
    path.unlink(missing_ok=True)
    return found


def finalists(
    recipe: Recipe, found: Recipe, shares: Mapping[str, Tensor], dataset: Dataset, costs: CostTable | None,
    state: SearchState, *, uppers: Collection[str], given: Recipe,
) -> list[tuple[str, Recipe]]:
    """Who enters the finals, the start first: as many as the time allows, each within the limit on seconds.

    ``given``: the start with the loss that it had before another was chosen, which is its last rival.
    """
    found = within_limit(found, shares, costs)
    work = count_candidates(recipe) if shares else None
    if state.inside:
        most = len(state.inside["finalists"])
    else:
        most = affordable(recipe.search.finalists, seconds=state.seconds, step=training_seconds(recipe, dataset))
    start = within_limit(recipe, {}, costs)  # as it would have to be to keep the limit on seconds
    proposed = propose_candidates(start, found, uppers=uppers, shares=shares, work=work)
    rivals = unlike([*proposed, ("start with its former loss", within_limit(given, {}, costs))])
    return fast_enough(rivals, recipe, costs)[:most]


def _with_found(recipe: Recipe, stages: Sequence[Stage], state: SearchState) -> Recipe:
    """The recipe with what the finished stages found."""
    for stage, upper in zip(stages, state.found, strict=False):
        recipe = UPPERS[stage.upper].apply_to(recipe, upper)
    return recipe


def _write_results(
    output: Path, recipe: Recipe, found: Recipe, history: Sequence[dict[str, Any]], dataset: Dataset, monitor: Monitor,
    *, facts: Callable[..., dict[str, Any]],
) -> None:
    """Everything the search leaves in its folder, together. Raises DiskError."""
    known = facts(network_seconds={
        name: forward_seconds(r, dataset.grid.shape, device=dataset.device)
        for name, r in (("start", recipe), ("found", found))
    })
    with together(output, last="recipe.json") as stage:
        write_text(stage / "history.csv", table_text(history))
        write_json(stage / "genotype.json", found.genotype or Genotype(), schema=GENOTYPE_SCHEMA)
        write_json(stage / "provenance.json", known)
        write_text(stage / "card.md", search_card(recipe, found, history, known))
        pictures: list[Path] = []
        problem = attempted(lambda: pictures.extend(search_figures(history, found, stage / "figures")), "figures")
        write_recipe(stage / "recipe.json", found)
    if problem:
        monitor.event("warning", code="figures", text=problem)
    for picture in pictures:
        monitor.event("artifact", role="figure", path=str(output / picture.relative_to(stage)))
    monitor.event("artifact", role="recipe", path=str(output / "recipe.json"))


def _tell(
    recipe: Recipe, dataset: Dataset, stages: Sequence[Stage], minutes: float | None, monitor: Monitor,
) -> dict[str, Any]:
    """Tell what the search will cost."""
    expected = estimate(recipe, dataset, stages, minutes=minutes)
    monitor.event("estimate", **{name: value for name, value in expected.items() if name != "stage_steps"})
    free = free_memory(dataset.device)
    if free is not None and expected["bytes"] > free:
        text = (f"The search needs about {expected['bytes'] / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: "
                "use a coarser working grid (preprocessing.spacing) or a smaller batch.")
        monitor.event("warning", code="memory", text=text)
    return expected


def too_short(
    recipe: Recipe, stages: Sequence[Stage], expected: Mapping[str, Any], seconds: float, monitor: Monitor,
) -> list[str]:
    """The names of the parts whose time allows fewer than ``LEAST_STEPS`` steps; says that they are left out.

    Their choices would be chance: no rate moves an upper variable far in so few steps, and of networks that have hardly
    learnt the quickest starter looks best (docs/results.md, search beside its baselines). Finals are of two at least;
    without them nothing that stages find is tried, so these go too.
    """
    names = [stage.name for stage, count in zip(stages, expected["stage_steps"], strict=True) if count < LEAST_STEPS]
    if seconds * share_of(recipe, FINALS) < 2 * LEAST_FINAL_STEPS * expected["train_step_seconds"]:
        names = [*(stage.name for stage in stages), FINALS]
    if names:
        text = (f"Left out: {', '.join(names)}. The time allows fewer than {LEAST_STEPS} steps of each stage, or "
                f"{LEAST_FINAL_STEPS} of each finalist, which choose by chance. The search ends earlier by their time: "
                "training makes more of it.")
        monitor.event("warning", code="too-short", text=text)
    return names


def _costs(recipe: Recipe, dataset: Dataset) -> CostTable | None:
    """The cost of every candidate, where speed counts."""
    if not (recipe.search.speed_weight > 0.0 or recipe.search.max_seconds is not None):
        return None
    costs = measure_candidates(recipe, dataset.grid.shape, device=dataset.device)
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
    """Without the candidates that break the limit on seconds, or whose topology was not timed; the start and the found
    one keep it.
    """
    most = recipe.search.max_seconds
    if costs is None or most is None:
        return list(candidates)
    return [c for c in candidates
            if c[1].network == recipe.network and costs.total(c[1].genotype or Genotype()) <= most]


def runnable_stages(recipe: Recipe, dataset: Dataset, monitor: Monitor) -> tuple[list[Stage], list[float]]:
    """The stages that this network and these data allow, with their shares of the time; says what it leaves out."""
    stages, shares = [], []
    for stage, share in zip(recipe.search.stages, recipe.search.shares, strict=True):
        if UPPERS[stage.upper].searched and not NETWORKS[recipe.network.name].searchable:
            text = f"network '{recipe.network.name}' has no architecture to search: stage '{stage.name}' is left out"
            monitor.event("warning", code="no-search-space", text=text)
        elif not dataset.pairs_for("val", stage.judge):
            what = "labels" if stage.judge == "segmentation" else "landmarks"
            text = f"no validation pair has {what} on both sides: stage '{stage.name}' is left out"
            monitor.event("warning", code=f"no-{what}", text=text)
        else:
            stages.append(stage)
            shares.append(share)
    if not stages:
        raise InputError("nothing can be searched", remedy="add labelled validation cases or choose network 'autoreg'")
    return stages, shares


