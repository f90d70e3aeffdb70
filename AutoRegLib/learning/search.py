"""The search: a table of stages, each the same bilevel algorithm with another upper variable (METHOD 1.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from AutoRegLib.bundle import table_text
from AutoRegLib.errors import InputError
from AutoRegLib.genotype import Genotype
from AutoRegLib.jobs import Monitor
from AutoRegLib.learning.bilevel import Tensors
from AutoRegLib.learning.checkpoint import load_checkpoint, save_checkpoint
from AutoRegLib.learning.clock import Clock
from AutoRegLib.learning.data import Cohort, prepare
from AutoRegLib.learning.determinism import identity, provenance
from AutoRegLib.learning.finals import STAGE as FINALS
from AutoRegLib.learning.finals import nominate, run_finals
from AutoRegLib.learning.pictures import search_figures
from AutoRegLib.learning.stage import run_stage
from AutoRegLib.learning.upper import UPPERS
from AutoRegLib.networks.registry import SEARCHABLE
from AutoRegLib.recipe import Recipe, Stage, write_recipe
from AutoRegLib.records import make_folder, write_json, write_text
from AutoRegLib.scenario import Scenario

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
                "settled": settled, "history": history, "inside": state,  # noqa: B023 (called within this pass)
            })

        if part == FINALS:
            winner, found = run_finals(
                nominate(recipe, found, most=recipe.search.finalists), cohort, steps=recipe.search.final_steps,
                seconds=seconds, history=history, keep=keep, monitor=monitor, saved=inside,
            )
            continue
        upper, trained, finished = run_stage(
            found, stages[index], cohort, history=history, seconds=seconds, keep=keep, monitor=monitor, warm=trained,
            saved=inside,
        )
        settled = [*settled, upper]
        found = UPPERS[stages[index].upper].settle(found, upper)
        if finished:
            text = "finished before the finals: what was found has not been compared with the start"
            monitor.event("warning", code="no-finals", text=text)
            break

    write_text(output / "history.csv", table_text(history))
    write_json(output / "genotype.json", found.genotype or Genotype(), schema=GENOTYPE_SCHEMA)
    facts = provenance(recipe, scenario, device, seconds=round(whole.used, 1), winner=winner or "found, untried")
    write_json(output / "provenance.json", facts)
    for picture in search_figures(history, found, output / "figures"):
        monitor.event("artifact", role="figure", path=str(picture))
    write_recipe(output / "recipe.json", found)
    path.unlink(missing_ok=True)
    monitor.event("artifact", role="recipe", path=str(output / "recipe.json"))
    return found


def runnable_stages(recipe: Recipe, cohort: Cohort, monitor: Monitor) -> tuple[list[Stage], list[float]]:
    """The stages that this network and these data allow, with their shares of the time; says what it leaves out."""
    stages, shares = [], []
    for stage, share in zip(recipe.search.stages, recipe.search.shares, strict=True):
        if UPPERS[stage.upper].searched and recipe.network.name not in SEARCHABLE:
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


