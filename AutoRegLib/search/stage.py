"""One stage of the search: the bilevel algorithm on one upper variable (docs/method.md, section 1.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from AutoRegLib.core.errors import DivergedError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Recipe, Stage, ValidationObjective
from AutoRegLib.core.recipe_loss import contained_weights
from AutoRegLib.learning.budget import CHECKPOINT_SECONDS, Clock, heed
from AutoRegLib.learning.data import Batch, Dataset, choose_validation, coarser
from AutoRegLib.learning.determinism import generator
from AutoRegLib.losses.objective import (
    as_weights,
    landmark_loss,
    registration_loss,
    segmentation_loss,
    unsupervised_loss,
    whole_weight,
)
from AutoRegLib.networks.registry import build_network
from AutoRegLib.search.best_response import perturb, respond, with_response
from AutoRegLib.search.bilevel import BilevelProblem, Tensors, hypergradient, value_and_gradients
from AutoRegLib.search.cost_model import CostTable
from AutoRegLib.search.upper_variables import UPPERS

Draw = tuple[Batch, Mapping[str, Tensor]]  # what a step sees: pairs, and a random move of the upper variable


def run_stage(
    recipe: Recipe,
    stage: Stage,
    dataset: Dataset,
    *,
    history: list[dict[str, Any]],
    seconds: float | None,
    keep: Callable[[dict[str, Any]], None],
    monitor: Monitor,
    warm: Mapping[str, Tensor],
    before: Mapping[str, Tensor] | None = None,
    costs: CostTable | None = None,
    saved: dict[str, Any] | None,
) -> tuple[Tensors, Tensors, bool]:
    """One search: alternate lower steps on training batches with upper steps on validation batches.

    ``warm``: weights of the stages before; where the stage starts warm, those of the same name are taken over;
    ``before``: where their upper variables ended, for a stage that continues them.
    ``costs``: what the candidates cost, where their speed counts.
    Returns the upper variable, the weights, and whether the user asked to finish. It ends at its budget or when
    the upper variable stood still for ``stable_checks`` checks.
    """
    settings, kind = recipe.search, UPPERS[stage.upper]
    network = build_network(recipe, searched=kind.searched, recompute=stage.recompute).to(dataset.device)
    known = before if before is not None and stage.continues else {}
    start = {n: known.get(n, v).to(dataset.device) for n, v in kind.start(recipe).items()}
    problems = build_problems(recipe, stage, dataset, network, costs=costs)
    weights: Tensors = {n: p.detach() for n, p in network.named_parameters()}  # no copy: the network is called on them
    if stage.warm:
        _restore(weights, {n: warm[n] for n in weights if n in warm})
    if stage.spread > 0.0:
        weights = with_response(weights, len(start))
    for value in weights.values():
        value.requires_grad_()
    upper = {n: v.clone().requires_grad_() for n, v in start.items()}
    if saved:
        _restore(weights, saved["weights"])
        _restore(upper, saved["upper"])
    lower_optimiser = torch.optim.Adam(weights.values(), lr=settings.learning_rate, fused=True)
    rates = [stage.upper_rate] * len(problems)
    if len(problems) > 1 and stage.loss_rate is not None:
        rates[-1] = stage.loss_rate
    upper_optimiser = torch.optim.Adam(
        [{"params": [upper[name] for name in names], "lr": rate}
         for rate, (names, _) in zip(rates, problems, strict=True)], betas=(0.5, 0.999))
    if saved:
        lower_optimiser.load_state_dict(saved["lower"])
        upper_optimiser.load_state_dict(saved["upper_optimiser"])
    clock = Clock(stage.steps, seconds=seconds, timer=recipe.training.timer, **(saved["clock"] if saved else {}))
    still = saved["still"] if saved else 0
    last = saved["before"] if saved else _copied(upper)
    validation = validation_of(stage, dataset)

    def draw(split: str, role: str, number: int) -> Draw:
        stream = f"{stage.name}/{role}"
        batch = dataset.draw(
            split, size=settings.batch, seed=recipe.seed, stream=stream, step=number,
            validation=validation if split == "val" else "",
            augment=recipe.training.augment if split == "train" else 0.0,
            elastic=recipe.training.elastic if split == "train" else 0.0,
        )
        spread = stage.spread if split == "train" else 0.0
        moved: Tensors = {}
        if spread > 0.0:
            moved = perturb(start, generator(recipe.seed, f"{stream}/nudge", number), spread=spread)
        return coarser(batch, stage.coarsen), moved

    def state() -> None:
        keep({
            "weights": _copied(weights), "upper": _copied(upper), "lower": lower_optimiser.state_dict(),
            "upper_optimiser": upper_optimiser.state_dict(), "still": still, "before": last,
            "clock": {"step": clock.step, "used": clock.used}, "loss": float(loss), "upper_loss": upper_loss,
        })

    def note() -> Tensors:
        now = _copied(upper)
        figures = {"lower_loss": float(loss), **({} if upper_loss is None else {"upper_loss": upper_loss})}
        history.append(
            {"stage": stage.name, "judge": validation, "step": clock.step, "seconds": round(clock.used, 1), **figures,
             **kind.row(now)}
        )
        for name, value in figures.items():
            monitor.event("metric", name=name, value=value, step=clock.step)
        return now

    # what was seen last: a stage that was stopped after its last step still has to note it
    loss, upper_loss = (saved.get("loss", math.nan), saved.get("upper_loss")) if saved else (math.nan, None)
    kept, finish = clock.used, False
    while not finish and not clock.over and still < settings.stable_checks:
        step = clock.step
        batch = draw("train", "lower", step)
        if clock.progress < stage.warmup:
            loss, slope, _ = value_and_gradients(problems[0][1].lower_loss, weights, upper, batch)
        else:
            inner = [batch, *(draw("train", f"inner{i}", step) for i in range(1, stage.inner_steps))]
            seen, slopes = draw("val", "upper", step), dict[str, Tensor]()
            for names, problem in problems:
                result = hypergradient(
                    problem, weights, upper, validation=[seen], train=inner,
                    rate=settings.learning_rate if stage.inner_rate is None else stage.inner_rate,
                    method="difference" if settings.second_order and stage.unrolled else "first",
                    epsilon=settings.epsilon,
                )
                slopes |= {name: result.gradient[name] for name in names}
            late = (clock.progress - stage.warmup) / max(1.0 - stage.warmup, 1e-9)
            for group, rate in zip(upper_optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * (1.0 - late if stage.decay else 1.0)
            _step(upper, slopes, upper_optimiser)
            upper_loss, loss, slope = float(result.loss), result.lower_loss, result.slope
        if not math.isfinite(float(loss)):
            raise DivergedError(f"the search diverged in stage '{stage.name}'", got=float(loss),
                                remedy="lower search.learning_rate in the recipe")
        _clip(slope, settings.clip)
        _step(weights, slope, lower_optimiser)
        clock.step += 1
        if clock.step % settings.check_every == 0:
            now = note()
            moved, last = kind.change(last, now), now
            started = clock.progress > stage.warmup
            still = still + 1 if started and moved < settings.tolerance else 0
        if clock.used - kept > CHECKPOINT_SECONDS:
            kept = clock.used
            state()
        clock.tell(monitor)
        finish = heed(monitor, keep=state)
    if clock.step % settings.check_every != 0:
        note()  # the history ends with what was found
    return _copied(upper), _copied(weights), finish


def validation_of(stage: Stage, dataset: Dataset) -> ValidationObjective:
    """The stage's validation objective on these data."""
    return choose_validation(dataset) if stage.judge == "auto" else stage.judge


def build_problems(
    recipe: Recipe, stage: Stage, dataset: Dataset, network: torch.nn.Module, *, costs: CostTable | None = None
) -> list[tuple[list[str], BilevelProblem]]:
    """Which upper variables answer to which problem: where both are searched, operators are validated by the
    registration loss and loss weights by the stage's own objective.
    """
    kind = UPPERS[stage.upper]
    names = list(kind.start(recipe))
    own = build_problem(recipe, stage, dataset, network, costs=costs)
    cells = [name for name in names if name in kind.searched]
    weights = [name for name in names if name not in kind.searched]
    if not (cells and weights):
        return [(names, own)]
    operators = build_problem(recipe, replace(stage, judge="registration"), dataset, network, costs=costs)
    return [(cells, operators), (weights, own)]


def build_problem(
    recipe: Recipe, stage: Stage, dataset: Dataset, network: torch.nn.Module, *, costs: CostTable | None = None
) -> BilevelProblem:
    """The stage's two losses as pure functions of (weights, upper, drawn batch)."""
    kind, standard = UPPERS[stage.upper], as_weights(contained_weights(recipe))

    def terms(weights: Mapping[str, Tensor], upper: Mapping[str, Tensor], drawn: Draw) -> Any:
        batch, moved = drawn
        here = {name: value + moved[name] if name in moved else value for name, value in upper.items()}
        mixture, lambdas = kind.use(here)
        if stage.spread > 0.0:
            # counted from the present value: without a move zero, but its derivative is the answer's
            offset = {name: value - upper[name].detach() for name, value in here.items()}
            weights = respond(weights, offset, spread=stage.spread)
        prediction = functional_call(network, dict(weights), (batch.moving, batch.fixed, mixture))
        return prediction, {**standard, **(lambdas or {})}

    def registration(weights: Mapping[str, Tensor], upper: Mapping[str, Tensor], drawn: Draw) -> Tensor:
        batch, moved = drawn
        prediction, lambdas = terms(weights, upper, drawn)
        loss = registration_loss(
            prediction, batch.moving, batch.fixed, lambdas, objective=recipe.objective, labels=batch.labels,
            structures=dataset.structures,
        )["total"]
        if moved:  # weights far apart: undivided, the heaviest would rule the network
            loss = loss / whole_weight(lambdas)
        return loss

    def validation_loss(weights: Mapping[str, Tensor], upper: Mapping[str, Tensor], drawn: Draw) -> Tensor:
        prediction, _ = terms(weights, upper, drawn)
        batch, objective = drawn[0], recipe.objective
        if validation == "segmentation" and batch.labels is not None:
            return segmentation_loss(prediction, batch.labels, objective=objective, structures=dataset.structures)
        if validation == "landmarks" and batch.landmarks is not None:
            return landmark_loss(prediction, batch.landmarks, objective=objective, spacing=spacing)
        return unsupervised_loss(prediction, batch.moving, batch.fixed, standard, objective=objective)

    validation = validation_of(stage, dataset)
    spacing = [stage.coarsen * size for size in reversed(dataset.grid.spacing)]
    upper_loss = registration if validation == "registration" else validation_loss

    def with_speed(weights: Mapping[str, Tensor], upper: Mapping[str, Tensor], drawn: Draw) -> Tensor:
        assert costs is not None
        mixture, _ = kind.use(upper)
        return upper_loss(weights, upper, drawn) + recipe.search.speed_weight * costs.expected(mixture)

    weighed = costs is not None and kind.searched and recipe.search.speed_weight > 0.0
    return BilevelProblem(registration, with_speed if weighed else upper_loss)


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
        for name, value in stored.items():
            values[name].copy_(value)
