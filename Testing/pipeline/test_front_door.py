"""What a user meets first: two files and nothing else; the model that is taken, and why; the same from Python."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.world import GRID, World

import AutoRegLib
from AutoRegLib.app.cli import main
from AutoRegLib.core.bundle_folder import list_bundles
from AutoRegLib.registration.choose import choose_model


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A pair and no installed model."""
    monkeypatch.setenv("AUTOREG_MODELS", str(tmp_path / "models"))
    (tmp_path / "world").mkdir()
    return World(tmp_path / "world")


def install(world: World, name: str, **facts: Any) -> None:
    """Put the world's model among the user's, trained on ``facts``."""
    folder = world.folder.parent / "models" / name
    shutil.copytree(world.model, folder)
    world.edit_json(folder / "provenance.json", **facts)


def grid(scale: float = 1.0, spacing: float = 1.0) -> dict[str, Any]:
    """What a training on images ``scale`` times as large as the world's leaves behind."""
    return {"size": [round(n * scale / spacing) for n in GRID.size], "spacing": [spacing] * 3}


def test_two_files_are_enough(world: World) -> None:
    fixed, moving = world.path("fixed"), world.path("moving")
    world.write("moving", np.roll(world.image, 1, axis=2))
    assert main(["register", str(fixed), str(moving), "--output", str(world.output)]) == 0
    report = json.loads((world.output / "report.json").read_text())
    assert report["model"] == "none" and report["refine"]["iterations"] > 0
    assert "no installed model" in report["model_choice"]
    assert main(["register", str(fixed), "--output", str(world.output)]) == 2  # no moving image


def test_the_fitting_model_is_taken_and_says_why(world: World) -> None:
    fixed, moving = world.path("fixed"), world.path("moving")
    install(world, "silent")  # does not say what it was trained on
    install(world, "larger", grid=grid(2.0))
    install(world, "finer", grid=grid(1.0, 0.25))
    assert choose_model(fixed, moving)[0] == "none"
    install(world, "near", grid=grid(1.25))
    install(world, "same", grid=grid())
    name, reason = choose_model(fixed, moving)
    assert name == "same" and "field of view" in reason
    assert main(["register", str(fixed), str(moving), "--output", str(world.output)]) == 0
    report = json.loads((world.output / "report.json").read_text())
    assert report["model"] == "same" and report["model_choice"] == reason and "refine" not in report


def test_a_model_of_ct_is_for_ct(world: World) -> None:
    install(world, "mr", grid=grid())
    world.write("moving", (world.image * 2000 - 1000).astype(np.float32))
    assert choose_model(world.path("fixed"), world.path("moving"))[0] == "none"
    recipe = world.folder.parent / "models" / "mr" / "recipe.json"
    data = json.loads(recipe.read_text())
    data["preprocessing"]["modality"] = "CT"
    recipe.write_text(json.dumps(data))
    assert choose_model(world.path("moving"), world.path("moving"))[0] == "mr"
    assert choose_model(world.path("fixed"), world.path("fixed"))[0] == "none"


def test_the_same_from_python(world: World) -> None:
    report = AutoRegLib.register(world.path("fixed"), world.path("moving"), world.output, model=world.model,
                                 inverse=True)
    assert (world.output / "inverse_transform.nrrd").is_file() and report["folds"] == 0
    assert AutoRegLib.load_bundle(world.model).recipe.spatial_dims == 3
    assert len(AutoRegLib.read_scenario(world.scenario).cases) > 2
    with pytest.raises(AttributeError, match="registre"):
        _ = AutoRegLib.registre


def test_a_model_is_deleted_by_name_a_damaged_one_too(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    install(world, "old")
    (world.folder.parent / "models" / "old" / "metrics.json").write_text("{")
    assert main(["models", "delete", "older"]) == 2
    assert "old" in capsys.readouterr().err
    assert main(["models", "delete", "old"]) == 0
    assert "deleted" in capsys.readouterr().out and list_bundles() == ([], [])
    assert main(["models", "delete", str(world.model)]) == 2 and world.model.is_dir()  # a name, never a path
