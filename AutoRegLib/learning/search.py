"""The search: a table of stages, each the same bilevel algorithm with another upper variable (METHOD 1.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from AutoRegLib.bundle import table_text
from AutoRegLib.errors import DivergedError, InputError
from AutoRegLib.genotype import Genotype
from AutoRegLib.jobs import Monitor
from AutoRegLib.learning.bilevel import BilevelProblem, Tensors, hypergradient, value_and_gradients
from AutoRegLib.learning.checkpoint import load_checkpoint, save_checkpoint
from AutoRegLib.learning.clock import Clock, heed
from AutoRegLib.learning.data import Batch, Cohort, coarser, prepare
from AutoRegLib.learning.determinism import identity, provenance
from AutoRegLib.learning.pictures import search_figures
from AutoRegLib.learning.upper import UPPERS
from AutoRegLib.losses.objective import (
    as_weights,
    registration_loss,
    segmentation_loss,
)
from AutoRegLib.networks.registry import SEARCHABLE, build_network
from AutoRegLib.recipe import Recipe, Stage, write_recipe
from AutoRegLib.records import make_folder, write_json, write_text
from AutoRegLib.scenario import Scenario

CHECKPOINT_SECONDS = 60.0
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

    found, history, first = recipe, [], 0
    if saved:
        first, history = saved["stage"], saved["history"]
        for stage, upper in zip(stages[:first], saved["settled"], strict=True):
            found = UPPERS[stage.upper].settle(found, upper)
    settled: list[Tensors] = saved["settled"] if saved else []

    for index, stage in enumerate(stages):
        if index < first:
            continue
        monitor.event("stage", name=stage.name, index=index, count=len(stages))
        seconds = None
        if whole.seconds is not None:
            seconds = (whole.seconds - whole.used) * shares[index] / sum(shares[index:])
            if saved and index == first:
                seconds = saved["seconds"]

        def keep(inside: dict[str, Any], index: int = index, seconds: float | None = seconds) -> None:
            save_checkpoint(path, {
                "identity": mark, "used": whole.used, "stage": index, "seconds": seconds,
                "settled": settled, "history": history, "inside": inside,  # noqa: B023 (called within this pass)
            })

        upper, finished = run_stage(
            found, stage, cohort, history=history, seconds=seconds, keep=keep, monitor=monitor,
            saved=saved["inside"] if saved and index == first else None,
        )
        settled = [*settled, upper]
        found = UPPERS[stage.upper].settle(found, upper)
        if finished:
            break

    write_text(output / "history.csv", table_text(history))
    write_json(output / "genotype.json", found.genotype or Genotype(), schema=GENOTYPE_SCHEMA)
    write_json(output / "provenance.json", provenance(recipe, scenario, device, seconds=round(whole.used, 1)))
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
        elif stage.judge == "segmentation" and not (cohort.labelled_pairs("val") and cohort.structures):
            text = f"no validation pair has labels on both sides: stage '{stage.name}' is left out"
            monitor.event("warning", code="no-labels", text=text)
        else:
            stages.append(stage)
            shares.append(share)
    if not stages:
        raise InputError("nothing can be searched", remedy="add labelled validation cases or choose network 'autoreg'")
    return stages, shares


def run_stage(
    recipe: Recipe,
    stage: Stage,
    cohort: Cohort,
    *,
    history: list[dict[str, Any]],
    seconds: float | None,
    keep: Callable[[dict[str, Any]], None],
    monitor: Monitor,
    saved: dict[str, Any] | None,
) -> tuple[Tensors, bool]:
    """One search: alternate lower steps on training batches with upper steps on validation batches.

    Returns the upper variable and whether the user asked to finish. It ends at its budget or when the upper
    variable stood still for ``stable_checks`` checks.
    """
    settings, kind = recipe.search, UPPERS[stage.upper]
    network = build_network(recipe, searched=kind.searched).to(cohort.device)
    problem = build_problem(recipe, stage, cohort, network)
    weights: Tensors = {n: p.detach().clone().requires_grad_() for n, p in network.named_parameters()}
    upper = {n: v.to(cohort.device).requires_grad_() for n, v in kind.start(recipe).items()}
    if saved:
        _restore(weights, saved["weights"])
        _restore(upper, saved["upper"])
    lower_optimiser = torch.optim.Adam(weights.values(), lr=settings.learning_rate)
    upper_optimiser = torch.optim.Adam(upper.values(), lr=stage.upper_rate, betas=(0.5, 0.999))
    if saved:
        lower_optimiser.load_state_dict(saved["lower"])
        upper_optimiser.load_state_dict(saved["upper_optimiser"])
    clock = Clock(stage.steps, seconds=seconds, **(saved["clock"] if saved else {}))
    still = saved["still"] if saved else 0
    before = saved["before"] if saved else _copied(upper)
    labelled = stage.judge == "segmentation"

    def draw(split: str, role: str, number: int) -> Batch:
        batch = cohort.draw(
            split, size=settings.batch, seed=recipe.seed, stream=f"{stage.name}/{role}", step=number,
            labelled=labelled and split == "val", augment=recipe.training.augment if split == "train" else 0.0,
        )
        return coarser(batch, stage.coarsen)

    def state() -> None:
        keep({
            "weights": _copied(weights), "upper": _copied(upper), "lower": lower_optimiser.state_dict(),
            "upper_optimiser": upper_optimiser.state_dict(), "still": still, "before": before,
            "clock": {"step": clock.step, "used": clock.used},
        })

    def note() -> Tensors:
        now = _copied(upper)
        figures = {"lower_loss": float(loss), **({} if upper_loss is None else {"upper_loss": upper_loss})}
        history.append(
            {"stage": stage.name, "step": clock.step, "seconds": round(clock.used, 1), **figures, **kind.row(now)}
        )
        for name, value in figures.items():
            monitor.event("metric", name=name, value=value, step=clock.step)
        return now

    kept, upper_loss, finish = clock.used, None, False
    while not finish and not clock.over and still < settings.stable_checks:
        step = clock.step
        batch = draw("train", "lower", step)
        if clock.progress < stage.warmup:
            loss, slope, _ = value_and_gradients(problem.lower_loss, weights, upper, batch)
        else:
            result = hypergradient(
                problem, weights, upper, validation=[draw("val", "upper", step)],
                train=[batch, *(draw("train", f"inner{i}", step) for i in range(1, stage.inner_steps))],
                rate=settings.learning_rate if stage.inner_rate is None else stage.inner_rate,
                method="difference" if settings.second_order else "first", epsilon=settings.epsilon,
            )
            _step(upper, result.gradient, upper_optimiser)
            upper_loss, loss, slope = float(result.loss), result.lower_loss, result.slope
        if not math.isfinite(float(loss)):
            raise DivergedError(f"the search diverged in stage '{stage.name}'", got=float(loss),
                                remedy="lower search.learning_rate in the recipe")
        _clip(slope, settings.clip)
        _step(weights, slope, lower_optimiser)
        clock.step += 1
        if clock.step % settings.check_every == 0:
            now = note()
            moved, before = kind.change(before, now), now
            started = clock.progress > stage.warmup
            still = still + 1 if started and moved < settings.tolerance else 0
        if clock.used - kept > CHECKPOINT_SECONDS:
            kept = clock.used
            state()
        clock.tell(monitor)
        finish = heed(monitor, keep=state)
    if clock.step % settings.check_every != 0:
        note()  # the history ends with what was found
    return _copied(upper), finish


def build_problem(recipe: Recipe, stage: Stage, cohort: Cohort, network: torch.nn.Module) -> BilevelProblem:
    """The stage's two losses as pure functions of (weights, upper, batch)."""
    kind, standard = UPPERS[stage.upper], as_weights(recipe.loss_weights)

    def terms(weights: Mapping[str, Tensor], upper: Mapping[str, Tensor], batch: Batch) -> Any:
        mixture, lambdas = kind.use(upper)
        prediction = functional_call(network, dict(weights), (batch.moving, batch.fixed, mixture))
        return prediction, lambdas or standard

    def registration(weights: Mapping[str, Tensor], upper: Mapping[str, Tensor], batch: Batch) -> Tensor:
        prediction, lambdas = terms(weights, upper, batch)
        return registration_loss(
            prediction, batch.moving, batch.fixed, lambdas, objective=recipe.objective, labels=batch.labels,
            structures=cohort.structures,
        )["total"]

    def segmentation(weights: Mapping[str, Tensor], upper: Mapping[str, Tensor], batch: Batch) -> Tensor:
        prediction, _ = terms(weights, upper, batch)
        assert batch.labels is not None
        return segmentation_loss(
            prediction, batch.labels, objective=recipe.objective, structures=cohort.structures
        )

    judges = {"registration": registration, "segmentation": segmentation}
    return BilevelProblem(registration, judges[stage.judge])


def _step(values: Tensors, gradient: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
    for name, value in values.items():
        value.grad = gradient[name]
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def _clip(gradient: Mapping[str, Tensor], limit: float) -> None:
    norm = torch.sqrt(torch.stack([g.square().sum() for g in gradient.values()]).sum())
    factor = (limit / norm.clamp_min(1e-12)).clamp_max(1.0)
    for g in gradient.values():
        g.mul_(factor)


def _copied(values: Mapping[str, Tensor]) -> Tensors:
    return {name: value.detach().clone().cpu() for name, value in values.items()}


def _restore(values: Tensors, stored: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            value.copy_(stored[name])
