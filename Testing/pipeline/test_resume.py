"""A search or training killed at a random step and resumed ends bit for bit where the uninterrupted one does."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline.scenes import make_scenario
from safetensors.torch import load_file

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.presets import published
from AutoRegLib.core.recipe import Network, Preprocessing, Recipe, Search, Stage, Training, read_recipe, write_recipe
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.learning.train import train
from AutoRegLib.search.search import search

RECIPE = Recipe(
    spatial_dims=2,
    structures={1: "shell", 2: "core"},
    network=Network(features=(4, 6), decoder=(8, 6, 4)),
    preprocessing=Preprocessing(affine="none"),
    training=Training(steps=30),
    search=Search(
        finalists=3, final_steps=8,
        stages=(
            Stage("feature architecture", "feature", "registration", 8, 3e-2),
            Stage("deformation architecture", "deformation", "registration", 8, 3e-2),
            Stage("loss weights", "lambda", "segmentation", 8, 4e-2, spread=3.0, unrolled=False),
        ),
        check_every=3,
    ),
)

#: run one verb in a process of its own that ends itself by SIGKILL right after a checkpoint of a given step
CHILD = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from AutoRegLib.learning import train
from AutoRegLib.search import successive_halving as finals
from AutoRegLib.search import search
from AutoRegLib.search import stage, state
verb, recipe, scenario, output, doomed = sys.argv[1:6]
module = {"search": state, "train": train}[verb]
finals.CHECKPOINT_SECONDS = stage.CHECKPOINT_SECONDS = train.CHECKPOINT_SECONDS = 0.0
calls, write = 0, module.save_checkpoint
def save(path, state):
    global calls
    write(path, state)
    calls += 1
    if calls == int(doomed):
        os.kill(os.getpid(), signal.SIGKILL)
module.save_checkpoint = save
from AutoRegLib.core.recipe import read_recipe
from AutoRegLib.core.scenario import read_scenario
run = getattr({"search": search, "train": train}[verb], verb)
run(read_recipe(recipe), read_scenario(scenario), output=Path(output))
"""


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


#: also of the paper's procedure, whose last stage moves all variables together
PUBLISHED = replace(RECIPE, search=replace(published(RECIPE, epoch=1).search, check_every=2, stages=tuple(
    replace(stage, steps=6) for stage in published(RECIPE, epoch=1).search.stages)))


#: checkpoints of a search until the last step of its first stage: one before the loss is chosen, one a step
END_OF_STAGE = 1 + RECIPE.search.stages[0].steps


@pytest.mark.parametrize(("verb", "recipe", "doomed"), [
    ("search", RECIPE, None), ("train", RECIPE, None), ("search", PUBLISHED, None), ("search", RECIPE, END_OF_STAGE)])
def test_killed_and_resumed_equals_uninterrupted(
    verb: str, recipe: Recipe, doomed: int | None, tmp_path: Path, one_thread: None
) -> None:
    scenario_path = make_scenario(tmp_path / "data")
    scenario = read_scenario(scenario_path)
    write_recipe(tmp_path / "recipe.json", recipe)
    run: Any = {"search": search, "train": train}[verb]
    run(recipe, scenario, output=tmp_path / "whole")

    # a fresh random step each time: it must hold for every one, in each stage of the search and in its finals
    doomed = doomed or random.randrange(2, 22 if verb == "train" else 60 if recipe is RECIPE else 29)
    killed = subprocess.run(
        [sys.executable, "-c", CHILD, verb, str(tmp_path / "recipe.json"), str(scenario_path), str(tmp_path / "cut"),
         str(doomed)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "cut" / "recipe.json").exists()
    run(recipe, scenario, output=tmp_path / "cut", resume=True)

    whole, cut = read_recipe(tmp_path / "whole"), read_recipe(tmp_path / "cut")
    assert whole == cut
    if verb == "train":
        first, second = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "cut"))
        assert all(torch.equal(first[name], second[name]) for name in first), f"killed after {doomed} steps"
        untrained = first.keys() - {"none"}
        assert untrained and any(float(v.abs().max()) > 0 for v in first.values())
    else:
        rows = [(tmp_path / name / "history.csv").read_text().splitlines() for name in ("whole", "cut")]
        last = {"finals": 4} if recipe is RECIPE else {stage.name: 3 for stage in recipe.search.stages}
        for name, least in last.items():  # of the finals: each finalist once, the survivors again
            assert sum(name in line for line in rows[0]) >= least
        columns = rows[0][0].split(",")
        drop = columns.index("seconds")  # the only column that may differ
        strip = [[[v for i, v in enumerate(line.split(",")) if i != drop] for line in part] for part in rows]
        assert strip[0] == strip[1], f"killed after {doomed} steps"


def test_same_seed_same_result_other_seed_other_result(tmp_path: Path, one_thread: None) -> None:
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    recipe = replace(RECIPE, training=Training(steps=6))
    for name, made in (("a", recipe), ("b", recipe), ("c", replace(recipe, seed=1))):
        train(made, scenario, output=tmp_path / name)
    a, b, c = (load_file(tmp_path / name / "weights.safetensors") for name in "abc")
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert not all(torch.equal(a[n], c[n]) for n in a)


class Impatient(Monitor):
    """Wishes to finish or cancel after some steps."""

    def __init__(self, wish: Any, after: int) -> None:
        self.kind, self.left = wish, after

    def wish(self) -> Any:
        self.left -= 1
        return self.kind if self.left < 0 else ""


def test_finish_keeps_the_best_and_cancel_keeps_the_state(tmp_path: Path, one_thread: None) -> None:
    from AutoRegLib.core.errors import CancelledError

    scenario = read_scenario(make_scenario(tmp_path / "data"))
    train(RECIPE, scenario, output=tmp_path / "finish", monitor=Impatient("finish", 12))
    assert (tmp_path / "finish" / "recipe.json").is_file()
    with pytest.raises(CancelledError, match="--resume"):
        train(RECIPE, scenario, output=tmp_path / "cancel", monitor=Impatient("cancel", 12))
    assert (tmp_path / "cancel" / "checkpoint.pt").is_file()
    assert not (tmp_path / "cancel" / "recipe.json").exists()
    train(RECIPE, scenario, output=tmp_path / "cancel", resume=True)
    whole = train(RECIPE, scenario, output=tmp_path / "whole")
    first, second = (load_file(tmp_path / name / "weights.safetensors") for name in ("cancel", "whole"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert whole.metrics["validation"]["val_dice"] > 0
