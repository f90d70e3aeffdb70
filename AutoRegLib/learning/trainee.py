"""A network in training: what one step does to it, and what a checkpoint keeps of it.

Training, the finals of a search and the benchmarks all train so; they differ in what they do between steps.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from AutoRegLib.core.recipe import Recipe
from AutoRegLib.learning.data import Dataset
from AutoRegLib.learning.divergence import Guard
from AutoRegLib.learning.optimiser import build_optimiser
from AutoRegLib.losses.objective import as_weights, registration_loss
from AutoRegLib.networks.registry import build_network


class Trainee:
    """A recipe's network, from its start or another's weights, with its optimiser, moving average and guard."""

    def __init__(self, recipe: Recipe, *, device: torch.device | str = "cpu", state: dict[str, Tensor] | None = None):
        self.recipe = recipe
        self.network = build_network(recipe).to(device)
        if state is not None:
            self.network.load_state_dict(state)
        self.optimiser = build_optimiser(self.network.parameters(), recipe.training)
        self.guard = Guard()
        self.step = 0
        self.average = self._weights()

    def advance(self, dataset: Dataset, *, progress: float) -> tuple[dict[str, float], bool]:
        """One step on its batch: the loss with its parts, and whether the guard put an earlier state back.

        ``progress``: how much of the training is over, from 0 to 1, which sets the rate.
        """
        terms = train_step(
            self.recipe, dataset, self.network, self.optimiser, step=self.step, progress=progress, rate=self.guard.rate
        )
        number, self.step = self.step, self.step + 1
        fell = self.guard.watch(
            terms["total"], self.network, self.optimiser, step=self.step,
            untrained=lambda: untrained_loss(self.recipe, dataset, step=number),
        )
        if fell:
            self.average = self._weights()
        update_average(self.average, self.network, step=self.step, decay=self.recipe.training.average)
        return terms, fell

    def averaged(self) -> nn.Module:
        """The network with its averaged weights, to answer with; nothing can be trained on."""
        self.network.load_state_dict(self.average)
        return self.network.eval()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "average": self.average,
            "guard": self.guard.state(), "step": self.step,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.guard.restore(state["guard"])
        self.average, self.step = state["average"], state["step"]

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}


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
