"""Training that goes wrong goes back, at half the rate, and gives up when that does not help."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from pipeline.scenes import make_scenario

from AutoRegLib.core.errors import DivergedError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import Network, Preprocessing, Recipe, Training
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.learning import train as module
from AutoRegLib.learning import trainee
from AutoRegLib.learning.divergence import Guard


def test_a_loss_above_the_untrained_one_puts_the_good_state_back() -> None:
    network = torch.nn.Linear(2, 1)
    optimiser = torch.optim.Adam(network.parameters())
    guard, calls = Guard(), 0

    def asked() -> float:
        nonlocal calls
        calls += 1
        return 1.0

    for step in range(1, 26):
        assert not guard.watch(1.0 - 0.01 * step, network, optimiser, step=step, untrained=asked)
    good = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 5.0
    went_back = [guard.watch(1.5, network, optimiser, step=26 + i, untrained=asked) for i in range(8)]
    assert went_back.index(True) >= 2 and calls == 3, "one hard batch is no disaster"
    assert torch.equal(network.weight, good)
    assert guard.rate == 0.5
    assert guard.watch(math.nan, network, optimiser, step=40, untrained=asked)
    assert guard.rate == 0.25


def test_pairs_that_differ_tenfold_are_no_disaster_and_one_is_still_seen() -> None:
    """Hearts at rest and hearts that beat: the first batch may be the easiest of all."""
    network = torch.nn.Linear(2, 1)
    optimiser = torch.optim.Adam(network.parameters())
    for seed in range(20):
        chance, guard, asked = Random(seed), Guard(), 0
        untrained = [0.05] + [0.3 * chance.lognormvariate(0.0, 0.8) for _ in range(599)]
        for step, idle in enumerate(untrained[:500], start=1):  # a training that learns slowly
            loss = idle * (1.0 - 0.2 * step / 500)

            def untrained_loss(idle: float = idle) -> float:
                nonlocal asked
                asked += 1
                return idle

            assert not guard.watch(loss, network, optimiser, step=step, untrained=untrained_loss), seed
        assert asked < 150, "what it costs"
        assert any(guard.watch(4 * idle, network, optimiser, step=501 + i, untrained=lambda idle=idle: idle)
                   for i, idle in enumerate(untrained[500:])), seed


class Listener(Monitor):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def event(self, type: str, **payload: Any) -> None:
        if type == "warning":
            self.warnings.append(payload["code"])


RECIPE = Recipe(
    spatial_dims=2, structures={1: "shell", 2: "core"}, network=Network(features=(4, 6), decoder=(8, 6, 4)),
    preprocessing=Preprocessing(affine="none"), training=Training(steps=80, validation_pairs=2),
)


def test_training_survives_weights_that_explode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    plain, step_of = Listener(), trainee.train_step

    def explode(recipe: Any, dataset: Any, network: Any, optimiser: Any, *, step: int, **rest: Any) -> Any:
        if step == 40:
            with torch.no_grad():  # everything is pushed out of view
                network.head_half.bias += 60.0
        return step_of(recipe, dataset, network, optimiser, step=step, **rest)

    monkeypatch.setattr(trainee, "train_step", explode)
    bundle = module.train(RECIPE, scenario, output=tmp_path / "model", monitor=plain)
    assert plain.warnings == ["diverged"]
    assert float(bundle.network.head_half.bias.detach().abs().max()) < 5.0  # type: ignore[union-attr, operator]


def test_training_that_never_is_finite_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    monkeypatch.setattr(trainee, "train_step", lambda *args, **rest: {"total": math.nan})
    with pytest.raises(DivergedError, match="learning_rate"):
        module.train(replace(RECIPE), scenario, output=tmp_path / "model")
