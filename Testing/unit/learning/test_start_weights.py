"""Training and searching from an installed model: its weights, or its operators and loss weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from pipeline.scenes import make_scenario

from AutoRegLib.app.perform import perform
from AutoRegLib.bundle import load_bundle, save_bundle
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.genotype import Genotype
from AutoRegLib.core.jobs import JobRequest
from AutoRegLib.core.recipe import LossWeights, Network, Preprocessing, Recipe, Training, write_recipe
from AutoRegLib.networks.registry import build_network

RECIPE = Recipe(
    spatial_dims=2, structures={1: "shell", 2: "core"}, network=Network(features=(4, 6), decoder=(8, 6, 4)),
    preprocessing=Preprocessing(affine="none"), training=Training(steps=1, learning_rate=1e-9),
    genotype=Genotype.uniform("dil3"), loss_weights=LossWeights(similarity_mix=0.25, smoothness=0.7),
)
Train = Callable[..., dict[str, Any]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model whose weights no seed of the recipe gives."""
    state = {name: value + 0.01 for name, value in build_network(RECIPE, seed=7).state_dict().items()}
    return save_bundle(tmp_path / "models" / "older", recipe=RECIPE, state=state, metrics={}, history=[],
                       provenance={"scenario": "none"})


@pytest.fixture
def train(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Train a recipe from the model, named as an installed one."""
    monkeypatch.setenv("AUTOREG_MODELS", str(model.parent))
    scenario = make_scenario(tmp_path / "data", (24, 24))

    def run(recipe: Recipe, **more: Any) -> dict[str, Any]:
        write_recipe(tmp_path / "recipe.json", recipe)
        return perform(JobRequest("train", {
            "recipe": str(tmp_path / "recipe.json"), "scenario": str(scenario), "output": str(tmp_path / "new"),
            "device": "cpu", "start": "older", **more}))

    return run


def test_training_starts_from_the_weights_of_an_installed_model(train: Train, model: Path, tmp_path: Path) -> None:
    """With a step too small to move anything, what is delivered is the start; and the new model says so."""
    train(RECIPE)
    made, older = load_bundle(tmp_path / "new"), load_bundle(model)
    for name, value in older.network.state_dict().items():
        torch.testing.assert_close(made.network.state_dict()[name], value, atol=1e-6, rtol=0)
    assert made.provenance["start"]["model"] == "older" and len(made.provenance["start"]["weights_sha256"]) == 64
    assert "older" in (tmp_path / "new" / "card.md").read_text()
    steps = [line.split(",")[0] for line in (tmp_path / "new" / "history.csv").read_text().splitlines()]
    assert steps[:2] == ["step", "0"]  # the start is validated too


def test_training_tries_refinements_and_registering_uses_the_one_that_validation_liked(
    train: Train, tmp_path: Path
) -> None:
    """A network that has learnt nothing gains by every refinement: the cheap one, or the whole where that is better."""
    train(RECIPE)
    made = load_bundle(tmp_path / "new")
    tried = made.metrics["finishes"]
    assert set(tried) >= {"0", "6", "auto", "full", "auto, without the network", "pairs"} and tried["pairs"] >= 2
    assert made.finish in (0, 6, "auto", "full")
    assert tried[str(made.finish)]["score"] >= tried["0"]["score"]
    assert f"--refine {made.finish}" in (tmp_path / "new" / "card.md").read_text()
    case = min((tmp_path / "data").rglob("*.nii.gz"))
    report = perform(JobRequest("register", {
        "fixed": str(case), "moving": str(case), "model": str(tmp_path / "new"), "output": str(tmp_path / "out"),
        "device": "cpu"}))
    assert ("refine" in report) == (made.finish != 0) and f"--refine {made.finish}" in report["refine_choice"]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["refine_choice"] == report["refine_choice"]


def test_a_finish_is_as_smooth_as_the_labels_of_the_validation_pairs_want(train: Train, tmp_path: Path) -> None:
    """A recipe that hardly lets anything deform: the finish is given less of it, and registering too."""
    train(replace(RECIPE, loss_weights=replace(RECIPE.loss_weights, smoothness=3.0)))
    made = load_bundle(tmp_path / "new")
    wanted = made.metrics["finish_smoothness"]
    tried = made.metrics["finishes"]
    assert wanted in (1.5, 0.75) and made.recipe.loss_weights.smoothness == 3.0
    assert tried[f"{made.finish}, smoothness times {wanted / 3:g}"]["score"] > tried[str(made.finish)]["score"] + 0.01
    assert f"at a smoothness of {wanted:g}" in (tmp_path / "new" / "card.md").read_text()
    fixed, moving = sorted((tmp_path / "data").rglob("*.nii.gz"))[:2]

    def strain(name: str) -> float:
        perform(JobRequest("register", {
            "fixed": str(fixed), "moving": str(moving), "model": str(tmp_path / "new"), "output": str(tmp_path / name),
            "deliver": "whole", "device": "cpu"}))
        field = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name / "transform.nrrd")))
        return float(np.abs(np.diff(field, axis=0)).mean())

    as_wanted = strain("wanted")
    metrics = json.loads((tmp_path / "new" / "metrics.json").read_text())
    (tmp_path / "new" / "metrics.json").write_text(json.dumps({**metrics, "finish_smoothness": 3.0}))
    assert as_wanted > 1.2 * strain("stiff")


def test_what_does_not_fit_is_named(train: Train) -> None:
    """Also where the shapes agree: a dilated operator is not a plain one."""
    with pytest.raises(InputError, match=r"operators of feature_half: .*dil3.* instead of .*conv3"):
        train(replace(RECIPE, genotype=Genotype.uniform("conv3")))
    with pytest.raises(InputError, match=r"features: \(4, 6\) instead of \(6, 6\)"):
        train(replace(RECIPE, network=replace(RECIPE.network, features=(6, 6))))
    with pytest.raises(InputError, match="no model 'nowhere'"):
        train(RECIPE, start="nowhere")


def test_a_search_starts_from_operators_and_loss_weights_of_a_model(
    train: Train, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are what it starts from and has to beat; a model of another network is refused by name."""
    from AutoRegLib.search import search as module

    started: list[Recipe] = []

    def stopped(recipe: Recipe, *_: Any, **__: Any) -> Recipe:
        started.append(recipe)
        return recipe

    monkeypatch.setattr(module, "search", stopped)
    arguments = {"scenario": str(tmp_path / "data" / "scenario.json"), "output": str(tmp_path / "found"),
                 "device": "cpu", "preset": "quick"}
    perform(JobRequest("search", {**arguments, "start": "older"}))
    perform(JobRequest("search", {**arguments, "overwrite": True}))
    assert (started[0].genotype, started[0].loss_weights) == (RECIPE.genotype, RECIPE.loss_weights)
    assert started[0].network == RECIPE.network, "so that training can start from the model's weights too"
    assert started[1].genotype == Genotype.uniform("conv3") and started[1].loss_weights != RECIPE.loss_weights
    with pytest.raises(InputError, match=r"search of 'voxelmorph2' cannot start from the model 'older'.*autoreg"):
        perform(JobRequest("search", {**arguments, "start": "older", "network": "voxelmorph2"}))
