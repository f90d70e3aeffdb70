"""Bad input of every kind: an exit code of the contract, one message that helps, no traceback, no half result."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from pipeline.world import GRID, World

from AutoRegLib.app.cli import main
from AutoRegLib.imaging.files import write_volume
from AutoRegLib.imaging.volume import Volume


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    World(folder)
    return folder


@pytest.fixture
def world(prepared: Path, tmp_path: Path) -> World:
    shutil.copytree(prepared, tmp_path / "w")
    made = World.__new__(World)
    made.folder, made.output, made.model = tmp_path / "w", tmp_path / "w" / "out", tmp_path / "w" / "model"
    made.scenario = made.folder / "data" / "scenario.json"
    made.image = np.random.default_rng(0).random(GRID.shape).astype(np.float32)
    return made


def spoil_with_nan(world: World) -> list[str]:
    spoilt = world.image.copy()
    spoilt[3, 3, 3] = np.nan
    world.raw("moving", spoilt)
    return world.register()


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def missing_file(w: World) -> list[str]:
    w.path("moving").unlink()
    return w.register()


def not_an_image(w: World) -> list[str]:
    w.path("moving").write_bytes(b"this is no image at all")
    return w.register()


def four_dimensional(w: World) -> list[str]:
    image = sitk.JoinSeries([sitk.GetImageFromArray(w.image)] * 3)
    sitk.WriteImage(image, str(w.path("moving")))
    return w.register()


def colour_image(w: World) -> list[str]:
    w.raw("moving", np.zeros((16, 16, 16, 3), np.uint8), vector=True)
    return w.register()


def constant_image(w: World) -> list[str]:
    w.raw("fixed", np.full(GRID.shape, 7.0, np.float32))
    return w.register()


def labels_on_another_grid(w: World) -> list[str]:
    labels = Volume(np.ones((8, 8, 8), np.uint8), replace(GRID, size=(8, 8, 8)), "labels")
    write_volume(labels, w.path("labels"))
    return w.register("--moving-labels", str(w.path("labels")))


def no_overlap(w: World) -> list[str]:
    w.write("moving", w.image, origin=(500.0, 0.0, 0.0))
    return w.register("--affine", "none")


def two_dimensional_image(w: World) -> list[str]:
    w.raw("moving", w.image[0])
    return w.register()


def one_landmark_file(w: World) -> list[str]:
    (w.folder / "p.csv").write_text("label,x,y,z\na,1,2,3\n")
    return w.register("--fixed-landmarks", str(w.folder / "p.csv"))


def truncated_weights(w: World) -> list[str]:
    truncate(w.model / "weights.safetensors")
    return w.register()


def truncated_recipe(w: World) -> list[str]:
    truncate(w.model / "recipe.json")
    return w.register()


def model_without_weights(w: World) -> list[str]:
    (w.model / "weights.safetensors").unlink()
    return w.evaluate()


def model_of_another_schema(w: World) -> list[str]:
    w.edit_json(w.model / "recipe.json", schema="autoreg-recipe/99")
    return w.register()


def weights_of_another_network(w: World) -> list[str]:
    w.edit_json(w.model / "recipe.json", network={"name": "autoreg", "features": [4, 6], "decoder": [4, 4, 4]})
    return w.register()


def unknown_model(w: World) -> list[str]:
    return ["register", "--model", "nobody", *w.register()[3:]]


def unknown_key(w: World) -> list[str]:
    w.edit_json(w.scenario, parings="all")
    return w.search()


def scenario_of_another_schema(w: World) -> list[str]:
    w.edit_json(w.scenario, schema="autoreg-scenario/2")
    return w.train()


def truncated_scenario(w: World) -> list[str]:
    truncate(w.scenario)
    return w.evaluate()


def empty_split(w: World) -> list[str]:
    w.edit_cases(lambda cases: cases.__delitem__(slice(6, None)))
    return w.evaluate()


def no_training_cases(w: World) -> list[str]:
    w.edit_cases(lambda cases: cases.__delitem__(slice(0, 4)))
    return w.search()


def subject_in_two_splits(w: World) -> list[str]:
    w.edit_cases(lambda cases: cases[7].update(subject="p0"))
    return w.evaluate()


def case_without_file(w: World) -> list[str]:
    (w.scenario.parent / "s1.nii.gz").unlink()
    return w.train()


def bad_number_in_recipe(w: World) -> list[str]:
    w.edit_json(w.folder / "recipe.json", loss_weights={"smoothness": -1.0})
    return w.train()


def unknown_network(w: World) -> list[str]:
    return [*w.search(), "--network", "autorge"]


def nothing_to_resume(w: World) -> list[str]:
    return [*w.train(), "--resume"]


def negative_minutes(w: World) -> list[str]:
    return [*w.search()[:-1], "-3"]


def no_labels_to_learn_from(w: World) -> list[str]:
    data = json.loads(w.scenario.read_text())
    for case in data["cases"]:
        case.pop("labels", None)
    w.scenario.write_text(json.dumps(data))
    return [*w.search(), "--label-weight", "1"]


def transform_that_is_none(w: World) -> list[str]:
    (w.folder / "t.nrrd").write_text("nothing")
    w.output.mkdir()
    return w.apply()


def image_taken_for_transform(w: World) -> list[str]:
    return [*w.register(), "--initial-transform", str(w.path("fixed"))]


def results_of_another_run(w: World) -> list[str]:
    w.output.mkdir()
    (w.output / "report.json").write_text("{}")
    return w.register()


def apply_onto_a_file_that_exists(w: World) -> list[str]:
    w.output.mkdir()
    (w.output / "y.nii.gz").write_bytes(b"mine")
    return w.apply()


def output_is_a_file(w: World) -> list[str]:
    w.output.write_text("mine")
    return w.register()


BAD = [
    (missing_file, ["no such file", "moving.nii.gz"]),
    (not_an_image, ["moving.nii.gz", "image"]),
    (four_dimensional, ["moving.nii.gz", "4"]),
    (colour_image, ["moving.nii.gz", "3"]),
    (spoil_with_nan, ["moving.nii.gz", "finite"]),
    (constant_image, ["fixed.nii.gz", "7"]),
    (labels_on_another_grid, ["grid", "size"]),
    (no_overlap, ["overlap"]),
    (two_dimensional_image, ["3-D", "2-D"]),
    (one_landmark_file, ["landmarks"]),
    (truncated_weights, ["weights", "damaged"]),
    (truncated_recipe, ["recipe.json", "JSON"]),
    (model_without_weights, ["incomplete", "weights.safetensors"]),
    (model_of_another_schema, ["autoreg-recipe/1", "autoreg-recipe/99"]),
    (weights_of_another_network, ["weights", "another network"]),
    (unknown_model, ["nobody", "models list"]),
    (unknown_key, ["parings", "did you mean 'pairing'"]),
    (scenario_of_another_schema, ["autoreg-scenario/1", "autoreg-scenario/2"]),
    (truncated_scenario, ["scenario.json", "JSON"]),
    (empty_split, ["test", "no pairs"]),
    (no_training_cases, ["train"]),
    (subject_in_two_splits, ["p0", "two splits"]),
    (case_without_file, ["s1", "s1.nii.gz"]),
    (bad_number_in_recipe, ["smoothness", "-1"]),
    (unknown_network, ["autorge", "voxelmorph1"]),
    (nothing_to_resume, ["nothing to resume"]),
    (negative_minutes, ["minutes", "-3"]),
    (no_labels_to_learn_from, ["labels", "label weight 1"]),
    (transform_that_is_none, ["t.nrrd"]),
    (image_taken_for_transform, ["fixed.nii.gz"]),
    (results_of_another_run, ["report.json", "--overwrite"]),
    (apply_onto_a_file_that_exists, ["y.nii.gz", "--overwrite"]),
    (output_is_a_file, ["is a file"]),
]


@pytest.mark.parametrize(("spoil", "parts"), BAD, ids=[spoil.__name__ for spoil, _ in BAD])
def test_bad_input(
    world: World, capfd: pytest.CaptureFixture[str], spoil: Callable[[World], list[str]], parts: list[str]
) -> None:
    argv = spoil(world)
    before = snapshot(world.output)
    assert main(argv) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    message = captured.err[captured.err.index("autoreg: ") :]
    assert all(part in message for part in parts), message
    assert any(word in message for word in ("Expected:", "Got:")), message
    assert snapshot(world.output) == before


def snapshot(folder: Path) -> dict[str, bytes]:
    """Everything under a folder; a failing run must leave it as it was."""
    if folder.is_file():
        return {"": folder.read_bytes()}
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_world_itself_is_good(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Without this a broken fixture would make every test above pass."""
    assert main(world.register("--json", "--moving-labels", str(world.path("labels")))) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["folds"] == 0 and (world.output / "transform.nrrd").is_file()
    assert main(world.register()) == 2  # results are there now
    assert main(world.register("--overwrite")) == 0
    assert "Replacing" in capsys.readouterr().err
    assert not (world.output / "warped_labels.nii.gz").exists()  # of the earlier run, which had labels
    assert main(world.apply("--quiet")) == 0
    assert main(["models", "info", str(world.model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["network"] == "autoreg"


def test_models_travel(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOREG_MODELS", str(world.folder / "mine"))
    archive = world.folder / "small.zip"
    assert main(["models", "export", str(world.model), str(archive)]) == 0
    assert main(["models", "import", str(archive)]) == 0
    known = hashlib.sha256((world.model / "weights.safetensors").read_bytes()).hexdigest()
    assert known in capsys.readouterr().out
    assert main(["models", "info", "small", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights_sha256"] == known
    assert main(["models", "list", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "small" in [model["name"] for model in json.loads(lines[-1])["models"]]
    assert main([*world.evaluate()[:2], "small", *world.evaluate()[3:], "--quiet", "--limit", "1"]) == 0
    truncate(archive)
    (world.folder / "mine" / "small").rename(world.folder / "mine" / "other")
    assert main(["models", "import", str(archive)]) == 2
    assert not (world.folder / "mine" / "small").exists()
    assert main(["models", "info", "nobody"]) == 2


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_folder_without_permission(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.output.mkdir(mode=0o500)
    assert main(world.register()) == 7
    assert "not writable" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["register", "search", "train", "evaluate"])
def test_output_that_cannot_be_made(world: World, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    world.output.write_text("a file where a folder would have to be")
    argv = getattr(world, verb)()
    argv[argv.index("--output") + 1] = str(world.output / "deeper")
    assert main(argv) == 7
    message = capsys.readouterr().err
    assert "deeper" in message and "Remedy" in message and "Traceback" not in message


def test_disk_full_leaves_no_result(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert main(world.register()) == 7
    assert "No space left" in capsys.readouterr().err
    assert snapshot(world.output) == {}


def test_out_of_memory(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(torch.nn.Module, "__call__", greedy)
    assert main(world.register()) == 5
    assert "memory" in capsys.readouterr().err
    assert snapshot(world.output) == {}
