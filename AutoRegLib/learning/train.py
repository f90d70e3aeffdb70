"""The training loop: a page to be read from top to bottom. Recipe and scenario in, bundle out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from AutoRegLib.bundle import ModelBundle, load_bundle, origin, save_bundle
from AutoRegLib.core.errors import DivergedError, InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Recipe, network_differences
from AutoRegLib.core.records import make_folder
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.learning.budget import CHECKPOINT_SECONDS, Clock, heed
from AutoRegLib.learning.checkpoint import load_checkpoint, save_checkpoint
from AutoRegLib.learning.data import prepare
from AutoRegLib.learning.determinism import identity, provenance
from AutoRegLib.learning.divergence import MOST
from AutoRegLib.learning.finish import choose_finish
from AutoRegLib.learning.trainee import Trainee
from AutoRegLib.learning.validation import validate
from AutoRegLib.networks.registry import count_parameters

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

    trainee = Trainee(recipe, device=device, state=None if start is None else fitting_weights(recipe, start))
    best: dict[str, Any] = {"score": -math.inf, "step": 0, "state": trainee.average}
    history: list[dict[str, float]] = []
    if saved:
        trainee.restore(saved["trainee"])
        best, history = saved["best"], saved["history"]

    def keep() -> None:
        save_checkpoint(path, {
            "identity": mark, "clock": {"step": clock.step, "used": clock.used}, "trainee": trainee.state(),
            "best": best, "history": history,
        })

    def validate_average() -> None:
        nonlocal best
        figures = validate(recipe, dataset, trainee.average)
        history.append({"step": clock.step, "seconds": round(clock.used, 1), **running, **figures})
        for name, value in figures.items():
            monitor.event("metric", name=name, value=value, step=clock.step)
        if figures["score"] > best["score"]:
            state = {name: value.clone() for name, value in trainee.average.items()}
            best = {"score": figures["score"], "step": clock.step, "state": state}

    monitor.event("stage", name="train", index=0, count=1)
    running: dict[str, float] = {}
    if start is not None and not saved:
        validate_average()
    checks, kept = int(clock.progress * VALIDATIONS), clock.used
    while not clock.over:
        running, fell = trainee.advance(dataset, progress=clock.progress)
        clock.step = trainee.step
        if fell:
            text = f"Training went wrong at step {clock.step}: back to the last good state, at half the learning rate."
            monitor.event("warning", code="diverged", text=text)
        if trainee.guard.falls > MOST:
            raise DivergedError(
                f"training diverged at step {clock.step}", expected="a finite loss", got=running["total"],
                remedy="lower training.learning_rate in the recipe, or resume from the last checkpoint",
            )
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
        parameters=count_parameters(trainee.network), grid={"size": dataset.grid.size, "spacing": dataset.grid.spacing},
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


def fitting_weights(recipe: Recipe, start: ModelBundle) -> dict[str, Tensor]:
    """A model's weights for the recipe's network. Raises InputError, naming what differs.

    The same shapes do not suffice: a dilated operator has those of a plain one.
    """
    differences = network_differences(recipe, start.recipe)
    if differences:
        raise InputError(
            f"the weights of '{start.path.name}' do not fit this recipe", expected="a model of the recipe's network",
            got="; ".join(differences), remedy="train from a recipe of that network, or without a start",
        )
    return start.network.state_dict()
