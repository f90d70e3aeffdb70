"""Training of the regularity predictor: pairs whose regularity is known in, a predictor's folder out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.bundle import table_text
from AutoRegLib.core.errors import DivergedError, InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.records import digest, make_folder, to_plain, within, write_text
from AutoRegLib.geodesic.predictor import (
    Predictor,
    PredictorSettings,
    RegularityPredictor,
    load_predictor,
    save_predictor,
)
from AutoRegLib.learning.budget import CHECKPOINT_SECONDS, Clock, heed
from AutoRegLib.learning.checkpoint import load_checkpoint, save_checkpoint
from AutoRegLib.learning.determinism import generator

CHECKPOINT, HISTORY = "checkpoint.pt", "history.csv"
_AT_ONCE = 64  # pairs seen at once


@dataclass(frozen=True)
class PredictorTraining:
    """The paper's settings, and how long."""

    epochs: int = within(1000, 1, 10**6)  # at most
    batch: int = within(16, 2, 4096)  # batch norm needs two
    learning_rate: float = within(5e-4, 0, 1)
    weight_decay: float = within(1e-4, 0, 1)


@dataclass(frozen=True)
class KnownPairs:
    """Pairs on one grid whose regularity is known.

    Shape: images (n, 1, *spatial), prepared as registration prepares them; ``regularities`` (n,).
    """

    moving: Tensor
    fixed: Tensor
    regularities: Tensor

    def __len__(self) -> int:
        return len(self.regularities)

    def chosen(self, rows: Sequence[int]) -> KnownPairs:
        """The pairs of these rows."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        return KnownPairs(self.moving[index], self.fixed[index], self.regularities[index])


def train_predictor(
    training: KnownPairs, validation: KnownPairs, *, output: str | Path, settings: PredictorSettings,
    spacing: float = 1.0, course: PredictorTraining | None = None, minutes: float | None = None, seed: int = 0,
    resume: bool = False, device: str = "cpu", monitor: Monitor | None = None,
) -> Predictor:
    """Train on pairs with a known regularity; what is delivered did best on the validation pairs.

    The loss is the mean squared difference of α, in units of its standard deviation over the training pairs. Pairs are
    turned over at random along every axis, moving and fixed alike, which leaves α what it is. The budget is the
    course's epochs, or ``minutes``. ``resume`` goes on from the checkpoint in ``output``. ``spacing``: of the
    pairs' grid, mm.

    Raises: InputError (too few pairs, a regularity that is not positive, another run's checkpoint), CancelledError
    (state kept), DivergedError.
    Reference: Wang, Zhang (2022), Sec. 3.2 and 4: Adam, weight decay, batches of 16, the best of the validation pairs.
    """
    course, monitor, output = course or PredictorTraining(), monitor or Monitor(), make_folder(output)
    _check(training, validation)
    per_epoch = math.ceil(len(training) / course.batch)
    mark = _identity(training, validation, settings, course, seed, device)
    path = output / CHECKPOINT
    saved = load_checkpoint(path, identity=mark) if resume else None
    clock = Clock(course.epochs * per_epoch, seconds=None if minutes is None else 60.0 * minutes,
                  **(saved["clock"] if saved else {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = RegularityPredictor(settings)
    network.learn_range(training.regularities)
    network = network.to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=course.learning_rate, weight_decay=course.weight_decay)
    best: dict[str, Any] = {"loss": math.inf, "epoch": 0, "state": _state(network)}
    history: list[dict[str, float]] = []
    if saved:
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        best, history = saved["best"], saved["history"]

    def keep() -> None:
        save_checkpoint(path, {
            "identity": mark, "clock": {"step": clock.step, "used": clock.used}, "network": network.state_dict(),
            "optimiser": optimiser.state_dict(), "best": best, "history": history,
        })

    def validate(running: float) -> None:
        nonlocal best
        difference = predict(network, validation) - validation.regularities
        loss = float(difference.square().mean())
        epoch = len(history) + 1
        history.append({"epoch": epoch, "step": clock.step, "seconds": round(clock.used, 1),
                        "loss": running * float(network.spread) ** 2, "val_loss": loss,
                        "val_error": float(difference.abs().mean())})
        monitor.event("metric", name="val_error", value=history[-1]["val_error"], step=clock.step)
        if loss < best["loss"]:
            best = {"loss": loss, "epoch": epoch, "state": _state(network)}

    monitor.event("stage", name="train", index=0, count=1)
    kept, losses = clock.used, []
    while not clock.over:
        losses.append(_step(network, optimiser, _batch(training, course.batch, clock.step, per_epoch, seed, device)))
        clock.step += 1
        if not math.isfinite(losses[-1]):
            raise DivergedError(f"training diverged at step {clock.step}", expected="a finite loss", got=losses[-1],
                                remedy="check the images and regularities of the table")
        if clock.step % per_epoch == 0:
            validate(sum(losses) / len(losses))
            losses = []
        if clock.used - kept > CHECKPOINT_SECONDS and not losses:  # whole epochs alone, whose loss is known
            kept = clock.used
            keep()
        clock.tell(monitor)
        if heed(monitor, keep=keep):
            break
    if not history or losses:
        validate(sum(losses) / len(losses) if losses else math.nan)
    write_text(output / HISTORY, table_text(history))
    save_predictor(output, network, best["state"], spacing=spacing, facts={
        "training_pairs": len(training), "validation_pairs": len(validation), "epochs": len(history),
        "steps": clock.step, "best_epoch": best["epoch"], "seed": seed, "training_seconds": round(clock.used, 1),
        "validation_error": min(row["val_error"] for row in history if row["epoch"] == best["epoch"]),
        "smallest": float(training.regularities.min()), "largest": float(training.regularities.max()),
        "training": to_plain(course),
    })
    path.unlink(missing_ok=True)
    monitor.event("artifact", role="predictor", path=str(output))
    return load_predictor(output, device=device)


def predict(network: RegularityPredictor, pairs: KnownPairs) -> Tensor:
    """The network's regularities of all pairs, without a trace in its statistics. Shape: (n,), on the CPU."""
    learning, device = network.training, network.centre.device
    network.eval()
    with torch.inference_mode():
        found = [network(moving.to(device), fixed.to(device)).cpu()
                 for moving, fixed in zip(pairs.moving.split(_AT_ONCE), pairs.fixed.split(_AT_ONCE), strict=True)]
    network.train(learning)
    return torch.cat(found).clone()


def _step(network: RegularityPredictor, optimiser: torch.optim.Optimizer, pairs: KnownPairs) -> float:
    """One gradient step; returns its loss, in squared standard deviations of α."""
    network.train()
    optimiser.zero_grad(set_to_none=True)
    wanted = (pairs.regularities - network.centre) / network.spread
    loss = F.mse_loss(network.scaled(pairs.moving, pairs.fixed), wanted)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return float(loss.detach())


def _batch(training: KnownPairs, size: int, step: int, per_epoch: int, seed: int, device: str) -> KnownPairs:
    """The batch that belongs to a step: a part of the epoch's shuffled pairs, turned over at random.

    The last part of an epoch is filled up from its first, since batch norm cannot do with one pair.
    """
    epoch, part = divmod(step, per_epoch)
    order = list(range(len(training)))
    generator(seed, "order", epoch).shuffle(order)
    rows = (order + order)[part * size : (part + 1) * size]
    chosen = training.chosen(rows)
    draw = generator(seed, "turn", step)
    axes = [axis for axis in range(2, chosen.fixed.dim()) if draw.random() < 0.5]
    moving, fixed = (image.flip(axes).to(device) for image in (chosen.moving, chosen.fixed))
    return KnownPairs(moving, fixed, chosen.regularities.to(device))


def _state(network: RegularityPredictor) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _check(training: KnownPairs, validation: KnownPairs) -> None:
    for name, pairs, least in (("training", training, 2), ("validation", validation, 1)):
        if len(pairs) < least:
            raise InputError(f"too few {name} pairs", expected=f"{least} or more", got=len(pairs),
                             remedy="sample or register more pairs")
        if not bool((torch.isfinite(pairs.regularities) & (pairs.regularities > 0)).all()):
            raise InputError(f"a regularity of the {name} pairs is no regularity", expected="finite numbers above 0",
                             got=float(pairs.regularities.min()), remedy="correct or remove the line of the table")


def _identity(
    training: KnownPairs, validation: KnownPairs, settings: PredictorSettings, course: PredictorTraining, seed: int,
    device: str,
) -> str:
    """What decides the numbers of a run, besides the software; images by their sums."""
    data = [[len(pairs), list(pairs.fixed.shape), float(pairs.moving.double().sum()),
             float(pairs.fixed.double().sum()), float(pairs.regularities.double().sum())]
            for pairs in (training, validation)]
    return digest({"data": data, "network": to_plain(settings), "training": to_plain(course), "seed": seed,
                   "device": device})
