"""The loss that a search found, in registration without a network: register, batch, evaluate."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from AutoRegLib.app.cli import main
from AutoRegLib.core.recipe import LossWeights, Objective, Recipe, write_recipe
from AutoRegLib.core.recipe_loss import LNCC_SMOOTHNESS
from AutoRegLib.imaging.files import read_displacement, write_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume

GRID = Geometry((48, 44), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
#: what registration without a network compares pictures by
USUAL = Recipe(spatial_dims=2, loss_weights=LossWeights(similarity_mix=1.0, smoothness=LNCC_SMOOTHNESS[2]),
               objective=Objective(windows=(9, 7, 7), mind=(1, 1)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture, and the same under moves of 2 pixels whose details are 5 pixels wide."""
    rng = np.random.default_rng(3)
    picture = gaussian_filter(rng.standard_normal((44, 48)), 3.0, mode="wrap")
    picture = 200.0 * (picture - picture.min()) / np.ptp(picture)
    moves = np.stack([gaussian_filter(rng.standard_normal((44, 48)), 5.0, mode="wrap") for _ in range(2)])
    there = np.stack(np.meshgrid(np.arange(44), np.arange(48), indexing="ij")) + 2.0 * moves / moves.std()
    for name, array in (("fixed", picture), ("moving", map_coordinates(picture, there, order=1, mode="wrap"))):
        write_volume(Volume(array.astype(np.float32), GRID, "intensity"), tmp_path / f"{name}.nii.gz")
    (tmp_path / "pairs.csv").write_text("name,fixed,moving\na,fixed.nii.gz,moving.nii.gz\n")
    cases = [{"id": name, "image": f"{name}.nii.gz", "subject": name, "split": "test"} for name in ("fixed", "moving")]
    (tmp_path / "scenario.json").write_text(json.dumps({
        "schema": "autoreg-scenario/1", "name": "s", "spatial_dims": 2, "pairing": "listed", "structures": {},
        "cases": cases, "pairs": [{"fixed": "fixed", "moving": "moving", "split": "test"}]}))
    return tmp_path


def loss(folder: Path, **changes: Any) -> str:
    """The folder of a search that found the usual loss with changes."""
    recipe = replace(USUAL, loss_weights=replace(USUAL.loss_weights, **changes))
    (folder / "search").mkdir(exist_ok=True)
    write_recipe(folder / "search" / "recipe.json", recipe)
    return str(folder / "search")


def registered(folder: Path, *more: str) -> tuple[np.ndarray, dict[str, Any]]:
    argv = ["register", str(folder / "fixed.nii.gz"), str(folder / "moving.nii.gz"), "--affine", "none", "--quiet",
            "--overwrite", "--deliver", "whole", "--output", str(folder / "out"), *more]
    assert main(argv) == 0
    return read_displacement(folder / "out" / "transform.nrrd").vectors, json.loads(
        (folder / "out" / "report.json").read_text())


def test_the_loss_of_a_recipe_refines_the_pair(folder: Path) -> None:
    usual, report = registered(folder, "--model", "none")
    assert report["refine"]["similarity_chosen_by"] == "images" and "loss" not in report["inputs"]
    same, report = registered(folder, "--loss", loss(folder))
    assert np.array_equal(same, usual), "coarse scales and operators of the recipe have no say"
    assert report["refine"]["similarity_chosen_by"] == "recipe" and report["model"] == "none"
    assert report["inputs"]["loss"]["path"].endswith("recipe.json")
    stiff, _ = registered(folder, "--loss", loss(folder, smoothness=1e4))
    assert np.abs(stiff).max() < 0.2 * np.abs(usual).max()
    described, report = registered(folder, "--loss", loss(folder, similarity_mix=0.0))
    assert report["refine"]["similarity"] == "mind" and np.abs(described - usual).max() > 0.1


def test_a_batch_and_an_evaluation_take_it_too(folder: Path) -> None:
    assert main(["batch", str(folder / "pairs.csv"), "--model", "none", "--loss", loss(folder, smoothness=1e4),
                 "--affine", "none", "--quiet", "--output", str(folder / "b")]) == 0
    one, _ = registered(folder, "--loss", loss(folder, smoothness=1e4), "--deliver", "auto")
    assert np.array_equal(read_displacement(folder / "b" / "a" / "transform.nrrd").vectors, one)
    lncc = {}
    for smoothness in (LNCC_SMOOTHNESS[2], 1e4):
        output = folder / f"e{smoothness}"
        assert main(["evaluate", "--model", "none", "--loss", loss(folder, smoothness=smoothness), "--quiet",
                     "--scenario", str(folder / "scenario.json"), "--output", str(output)]) == 0
        (row,) = csv.DictReader((output / "pairs.csv").read_text().splitlines())
        lncc[smoothness] = float(row["lncc"])
    assert lncc[LNCC_SMOOTHNESS[2]] > lncc[1e4] + 0.1


@pytest.mark.parametrize(("more", "word"), [
    (["--similarity", "mind"], "takes the place"), (["--model", "m"], "takes the place"),
    (["--transformation", "lddmm"], "takes the place"), ([], "for other images")])
def test_what_does_not_go_with_it_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], word: str
) -> None:
    write_recipe(folder / "recipe.json", Recipe())
    argv = ["register", str(folder / "fixed.nii.gz"), str(folder / "moving.nii.gz"), "--quiet",
            "--output", str(folder / "out"), "--loss", str(folder / "recipe.json"), *more]
    assert main(argv) != 0
    assert word in capsys.readouterr().err and not (folder / "out" / "report.json").exists()
