"""The training loop: a page to be read from top to bottom. Recipe and scenario in, bundle out."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from AutoRegLib.bundle import ModelBundle, load_bundle, origin, save_bundle
from AutoRegLib.core.errors import DivergedError, InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Recipe, network_differences
from AutoRegLib.core.records import make_folder
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.learning.budget import CHECKPOINT_SECONDS, Clock, heed
from AutoRegLib.learning.checkpoint import load_checkpoint, save_checkpoint
from AutoRegLib.learning.data import Dataset, prepare
from AutoRegLib.learning.determinism import identity, provenance
from AutoRegLib.learning.divergence import MOST, Guard
from AutoRegLib.learning.finish import choose_finish
from AutoRegLib.learning.optimiser import build_optimiser
from AutoRegLib.learning.validation import validate
from AutoRegLib.losses.objective import as_weights, registration_loss
from AutoRegLib.networks.registry import build_network, count_parameters

TRIALS = 0.05  # of a budget of minutes, for trying refinements at the end
VALIDATIONS = 20  # how often, over the whole budget, the average is validated


def train(
    recipe: Recipe,
    scenario: Scenario,
    *,
    output: Path,
    minutes: float | None = None,
    start: ModelBundle | None = None,
    resume: bool = False,
    device: str = "cpu",
    monitor: Monitor | None = None,
) -> ModelBundle:
    """Train the recipe's network on the scenario's training pairs and write the bundle folder.

    The budget is ``recipe.training.steps``, or ``minutes`` (data preparation included) where given. The
    delivered weights are the average over the last steps that did best on the validation split; which refinement
    suits them is tried there too, and told in the bundle.
    ``start``: a model of the same network whose weights it starts from; they are validated first, so that what is
    delivered never did worse.
    Raises InputError (another network, data), CancelledError (state kept), DivergedError (last good checkpoint kept).
    """
    monitor = monitor or Monitor()
    output = make_folder(output)
    path = output / "checkpoint.pt"
    seconds = None if minutes is None else (1.0 - TRIALS) * 60.0 * minutes
    mark = identity(recipe, scenario, device)
    saved = load_checkpoint(path, identity=mark) if resume else None
    clock = Clock(recipe.training.steps, seconds=seconds, timer=recipe.training.timer,
                  **(saved["clock"] if saved else {}))
    dataset = prepare(scenario, recipe, ("train", "val"), device=device, monitor=monitor)

    network = build_network(recipe).to(device)
    if start is not None:
        adopt_weights(network, recipe, start)
    optimiser = build_optimiser(network.parameters(), recipe.training)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    best: dict[str, Any] = {"score": -math.inf, "step": 0, "state": average}
    history: list[dict[str, float]] = []
    guard = Guard()
    if saved:
        guard.restore(saved["guard"])
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        average, best, history = saved["average"], saved["best"], saved["history"]

    def keep() -> None:
        save_checkpoint(path, {
            "identity": mark, "clock": {"step": clock.step, "used": clock.used}, "network": network.state_dict(),
            "optimiser": optimiser.state_dict(), "average": average, "best": best, "history": history,
            "guard": guard.state(),
        })

    def validate_average() -> None:
        nonlocal best
        figures = validate(recipe, dataset, average)
        history.append({"step": clock.step, "seconds": round(clock.used, 1), **running, **figures})
        for name, value in figures.items():
            monitor.event("metric", name=name, value=value, step=clock.step)
        if figures["score"] > best["score"]:
            state = {name: value.clone() for name, value in average.items()}
            best = {"score": figures["score"], "step": clock.step, "state": state}

    monitor.event("stage", name="train", index=0, count=1)
    running: dict[str, float] = {}
    if start is not None and not saved:
        validate_average()
    checks, kept = int(clock.progress * VALIDATIONS), clock.used
    while not clock.over:
        running = train_step(
            recipe, dataset, network, optimiser, step=clock.step, progress=clock.progress, rate=guard.rate
        )
        untrained = partial(untrained_loss, recipe, dataset, step=clock.step)
        clock.step += 1
        if guard.watch(running["total"], network, optimiser, step=clock.step, untrained=untrained):
            average = {name: value.detach().clone() for name, value in network.state_dict().items()}
            text = f"Training went wrong at step {clock.step}: back to the last good state, at half the learning rate."
            monitor.event("warning", code="diverged", text=text)
        if guard.falls > MOST:
            raise DivergedError(
                f"training diverged at step {clock.step}", expected="a finite loss", got=running["total"],
                remedy="lower training.learning_rate in the recipe, or resume from the last checkpoint",
            )
        update_average(average, network, step=clock.step, decay=recipe.training.average)
        if int(clock.progress * VALIDATIONS) > checks:
            checks = int(clock.progress * VALIDATIONS)
            validate_average()
        if clock.used - kept > CHECKPOINT_SECONDS:
            kept = clock.used
            keep()
        clock.tell(monitor)
        if heed(monitor, keep=keep):
            validate_average()
            break

    if not history:
        validate_average()
    facts = provenance(
        recipe, scenario, device, steps=clock.step, seconds=round(clock.used, 1), best_step=best["step"],
        parameters=count_parameters(network), grid={"size": dataset.grid.size, "spacing": dataset.grid.spacing},
        **({} if start is None else {"start": origin(start.path)}),
    )
    keep()  # what the trials below may be interrupted in
    metrics = {
        "validation": history[-1] if history else {}, "best_score": best["score"],
        **choose_finish(recipe, dataset, best["state"], steps=clock.step, monitor=monitor,
                        seconds=None if minutes is None else TRIALS * 60.0 * minutes),
    }
    save_bundle(output, recipe=recipe, state=best["state"], metrics=metrics, history=history, provenance=facts)
    path.unlink(missing_ok=True)
    monitor.event("artifact", role="bundle", path=str(output))
    return load_bundle(output, device=device)


def adopt_weights(network: nn.Module, recipe: Recipe, start: ModelBundle) -> None:
    """Copy a model's weights into a network of the same kind. Raises InputError, naming what differs.

    The same shapes do not suffice: a dilated operator has those of a plain one.
    """
    differences = network_differences(recipe, start.recipe)
    if differences:
        raise InputError(
            f"the weights of '{start.path.name}' do not fit this recipe", expected="a model of the recipe's network",
            got="; ".join(differences), remedy="train from a recipe of that network, or without a start",
        )
    network.load_state_dict(start.network.state_dict())


def train_step(
    recipe: Recipe, dataset: Dataset, network: nn.Module, optimiser: torch.optim.Optimizer, *, step: int,
    progress: float, rate: float = 1.0,
) -> dict[str, float]:
    """One gradient step on the batch that belongs to this step; returns the loss and its parts.

    ``rate``: a factor on the learning rate.
    """
    settings = recipe.training
    for group in optimiser.param_groups:
        group["lr"] = rate * settings.learning_rate * schedule(progress, step, final=settings.final_rate)
    optimiser.zero_grad(set_to_none=True)
    terms = _loss(recipe, dataset, network, step=step)
    terms["total"].backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
    if bool(torch.isfinite(norm)):  # a gradient that is not finite would spoil the optimiser's moments for good
        optimiser.step()
    return {name: float(value.detach()) for name, value in terms.items()}


def untrained_loss(recipe: Recipe, dataset: Dataset, *, step: int) -> float:
    """The loss of the batch of this step under an untrained network, which leaves images in place."""
    with torch.no_grad():
        return float(_loss(recipe, dataset, build_network(recipe).to(dataset.device), step=step)["total"])


def _loss(recipe: Recipe, dataset: Dataset, network: nn.Module, *, step: int) -> dict[str, Tensor]:
    """The loss and its parts on the batch that belongs to this step."""
    settings = recipe.training
    batch = dataset.draw(
        "train", size=settings.batch, seed=recipe.seed, stream="train", step=step, augment=settings.augment,
        elastic=settings.elastic,
    )
    return registration_loss(
        network(batch.moving, batch.fixed), batch.moving, batch.fixed, as_weights(recipe.loss_weights),
        objective=recipe.objective, labels=batch.labels, structures=dataset.structures,
    )


def schedule(progress: float, step: int, *, final: float) -> float:
    """A short linear warm-up, then half a cosine down to ``final``: the factor on the learning rate."""
    warm = min(1.0, (step + 1) / 50.0)
    return warm * (final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress)))


def update_average(average: dict[str, Tensor], network: nn.Module, *, step: int, decay: float) -> None:
    """Exponential moving average of the weights, in place; short at first so that the start is forgotten."""
    share = 1.0 - min(decay, (1.0 + step) / (10.0 + step))
    with torch.no_grad():
        for name, value in network.state_dict().items():
            average[name].lerp_(value, share)
