"""The benchmark of augmentation: its segmentation learns, its Dice is Dice, its arms are what they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline.scenes import make_scenario
from pipeline.test_study import RECIPE

from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.recipe_loss import with_own_loss
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.learning.data import prepare
from benchmarks import augmentation


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def recipe(*args: Any, **options: Any) -> Recipe:
        return with_own_loss(replace(RECIPE, network=replace(RECIPE.network, name="multiprop")))

    monkeypatch.setattr(augmentation, "start_recipe", recipe)


def test_a_segmentation_learns_what_it_is_shown(tmp_path: Path) -> None:
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    dataset = prepare(scenario, RECIPE, ("train", "test"))
    pairs = [(dataset.images[name], dataset.labels[name]) for name in ("s0", "s1", "s2", "s3")]
    scores = [augmentation.score(augmentation.segment(pairs, (1, 2), steps=steps, seed=0), dataset, ["s6", "s7"])
              for steps in (1, 60)]
    assert min(scores[1].values()) > 0.8 > max(scores[0].values())

    def perfect(image: torch.Tensor) -> torch.Tensor:
        name = next(n for n, own in dataset.images.items() if torch.equal(own, image))
        return torch.nn.functional.one_hot(dataset.labels[name][:, 0].long(), 3).movedim(-1, 1).float()

    assert augmentation.score(perfect, dataset, ["s6"]) == {"s6": 1.0}  # type: ignore[arg-type]


def test_every_arm_is_run_once_and_kept(tmp_path: Path) -> None:
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    given: Any = {"minutes": 0.002, "spacing": None, "steps": 2, "draws": 4, "seed": 0, "tested": 2,
                  "labelled_cases": (1, 2)}
    rows, cases = augmentation.run(scenario, tmp_path / "work", resume=False, **given)
    assert [(row["labelled"], row["arm"]) for row in rows] == [
        (count, arm) for count in (1, 2) for arm in augmentation.ARMS.values()]
    assert [row["draws"] for row in rows] == [0, 4, 4, 4] * 2 and len(cases) == 16
    again, _ = augmentation.run(scenario, tmp_path / "work", resume=True, **given)
    assert again == rows
