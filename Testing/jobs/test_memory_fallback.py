"""What does not fit into memory is done with less, said so, and what is left is the same computation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pipeline.scenes import make_scenario
from pipeline.world import World

from AutoRegLib.app import worker
from AutoRegLib.app.memory_fallback import at_level, with_less_memory
from AutoRegLib.core.errors import InputError, OutOfMemoryProblem
from AutoRegLib.core.jobs import JobRequest, Monitor, read_events, write_request
from AutoRegLib.core.recipe import Preprocessing, Recipe, Training, read_recipe, write_recipe
from AutoRegLib.core.verbs import VERBS
from AutoRegLib.registration import pipeline as registration


class Ear(Monitor):
    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def event(self, type: str, **payload: Any) -> None:
        self.heard.append((type, str(payload.get("text"))))


def test_the_ladder_halves_the_voxels() -> None:
    recipe = Recipe(preprocessing=Preprocessing(spacing=(1.0, 2.0, 3.0)))
    assert at_level(recipe, "train", 0) == recipe
    one = at_level(recipe, "train", 1)
    assert (one.training.batch, one.search.batch) == (1, 1) and one.preprocessing == recipe.preprocessing
    for level, part in ((2, 0.5), (3, 0.25)):
        spacing = at_level(recipe, "train", level).preprocessing.spacing
        assert 6.0 / (spacing[0] * spacing[1] * spacing[2]) == pytest.approx(part, rel=2e-3)


@pytest.mark.parametrize("problem", [
    MemoryError(), OutOfMemoryProblem("too big"), RuntimeError("CUDA out of memory. Tried to allocate 9 GiB"),
])
def test_down_the_ladder_until_it_fits(problem: Exception, tmp_path: Path) -> None:
    recipe, tried, ear = Recipe(preprocessing=Preprocessing(spacing=(1.0, 1.0, 1.0))), [], Ear()

    def compute(recipe: Recipe) -> str:
        tried.append((recipe.training.batch, recipe.preprocessing.spacing[0]))
        if len(tried) < 3:
            raise problem
        return "done"

    assert with_less_memory("train", recipe, compute, monitor=ear, output=tmp_path) == "done"
    assert tried == [(2, 1.0), (1, 1.0), (1, 1.26)]
    assert [kind for kind, _ in ear.heard] == ["warning", "warning"]
    assert ear.heard[0][1].endswith("one pair a step.") and "1.26 x 1.26 x 1.26 mm" in ear.heard[1][1]
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_the_ladder_and_other_problems(tmp_path: Path) -> None:
    recipe, tried = Recipe(preprocessing=Preprocessing(spacing=(1.0, 1.0, 1.0))), []

    def compute(recipe: Recipe) -> None:
        tried.append(recipe)
        raise MemoryError

    with pytest.raises(MemoryError):
        with_less_memory("search", recipe, compute, monitor=Monitor())
    assert len(tried) == len(VERBS["search"].fallback)
    tried.clear()
    with pytest.raises(MemoryError):  # without a working spacing there is only the batch to give up
        with_less_memory("search", Recipe(), compute, monitor=Monitor())
    assert len(tried) == 2
    with pytest.raises(InputError):
        with_less_memory("train", recipe, lambda recipe: (_ for _ in ()).throw(InputError("x")), monitor=Monitor())
    (tmp_path / "checkpoint.pt").touch()  # it belongs to the level it was made on
    tried.clear()
    with pytest.raises(MemoryError):
        with_less_memory("train", recipe, compute, monitor=Monitor(), output=tmp_path)
    assert len(tried) == 1


def test_a_resumed_run_stays_on_its_rung(tmp_path: Path) -> None:
    recipe, tried = Recipe(preprocessing=Preprocessing(spacing=(1.0, 1.0, 1.0))), []

    def compute(recipe: Recipe) -> None:
        tried.append(recipe.training.batch)
        if recipe.training.batch > 1:
            raise MemoryError
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with_less_memory("train", recipe, compute, monitor=Monitor(), output=tmp_path)
    (tmp_path / "checkpoint.pt").touch()
    with pytest.raises(KeyboardInterrupt):
        with_less_memory("train", recipe, compute, monitor=Monitor(), output=tmp_path, resume=True)
    assert tried == [2, 1, 1]


def test_a_registration_with_little_memory_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    sizes, predict = [], registration._predict

    def limited(model: Any, moving: Any, fixed: Any, **more: Any) -> Any:
        sizes.append(fixed.array.size)
        if fixed.array.size > 16**3 * 0.6:
            raise OutOfMemoryProblem("the network does not fit into memory")
        return predict(model, moving, fixed, **more)

    monkeypatch.setattr(registration, "_predict", limited)
    job = tmp_path / "job"
    write_request(job, JobRequest("register", {
        "model": str(world.model), "fixed": str(world.path("fixed")), "moving": str(world.path("moving")),
        "device": "cpu",
    }))
    assert worker.run_job(job) == 0
    assert sizes[0] == 16**3 and sizes[-1] <= 16**3 * 0.6
    texts = [e.payload["text"] for e in read_events(job) if e.type == "warning" and e.payload["code"] == "memory"]
    assert len(texts) == len(sizes) - 1 and "working grid" in texts[-1]
    assert (job / "out" / "transform.nrrd").is_file()
    assert "working grid" in json.loads((job / "out" / "report.json").read_text())["warnings"][-1]


def test_a_training_with_little_memory_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from AutoRegLib.learning import trainee as training

    recipe = Recipe(spatial_dims=2, preprocessing=Preprocessing(spacing=(1.0, 1.0), affine="none"),
                    training=Training(steps=2, validation_pairs=1))
    write_recipe(tmp_path / "recipe.json", recipe)
    batches, step = [], training.train_step

    def limited(recipe: Recipe, *arguments: Any, **more: Any) -> Any:
        batches.append(recipe.training.batch)
        if recipe.training.batch > 1:
            raise MemoryError
        return step(recipe, *arguments, **more)

    monkeypatch.setattr(training, "train_step", limited)
    job = tmp_path / "job"
    write_request(job, JobRequest("train", {
        "recipe": str(tmp_path / "recipe.json"), "scenario": str(make_scenario(tmp_path / "data", (16, 16))),
        "device": "cpu",
    }))
    assert worker.run_job(job) == 0
    assert batches == [2, 1, 1]
    assert read_recipe(job / "out").training.batch == 1  # the model says how it was made
    assert json.loads((job / "state.json").read_text())["state"] == "done"


def test_the_memory_in_use_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(worker, "HEARTBEAT_SECONDS", 0.02)

    def long(request: JobRequest, *, monitor: Monitor) -> dict[str, object]:
        until = time.monotonic() + 10
        while time.monotonic() < until and not any(e.type == "memory" for e in read_events(tmp_path / "job")):
            time.sleep(0.01)
        return {}

    monkeypatch.setattr(worker, "perform", long)
    write_request(tmp_path / "job", JobRequest("apply", {"device": "cpu"}))
    assert worker.run_job(tmp_path / "job") == 0
    memory = [e.payload for e in read_events(tmp_path / "job") if e.type == "memory"][-1]
    assert 10_000_000 < memory["used"] < memory["total"]
