"""Every registered network by the usual verbs: trained, resumed bit for bit, registered without folds, searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
import torch
from pipeline.scenes import make_scenario
from safetensors.torch import load_file

from AutoRegLib.bundle import ModelBundle, load_bundle, save_bundle
from AutoRegLib.core.errors import CancelledError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.networks import NETWORKS
from AutoRegLib.core.recipe import FieldFilter, Network, Preprocessing, Recipe, Search, Stage, Training, read_recipe
from AutoRegLib.core.recipe_loss import with_own_loss
from AutoRegLib.core.scenario import Scenario, read_scenario
from AutoRegLib.evaluation.evaluate import evaluate
from AutoRegLib.learning import train as training
from AutoRegLib.learning.train import train
from AutoRegLib.registration.run import register
from AutoRegLib.search.search import search
from AutoRegLib.search.upper_variables import searched_weights

SHAPES = {2: (24, 28), 3: (12, 14, 12)}
STEPS = 3


@pytest.fixture(scope="module", params=SHAPES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, Path]:
    folder = tmp_path_factory.mktemp(f"in{request.param}d")
    return read_scenario(make_scenario(folder / "data", SHAPES[request.param])), folder


def recipe_of(name: str, dims: int, **parts: Any) -> Recipe:
    stage = Stage("loss weights", "lambda", "segmentation", 3, 4e-2, spread=3.0, unrolled=False, warmup=0.3)
    return with_own_loss(Recipe(
        spatial_dims=dims, structures={1: "shell", 2: "core"},
        network=Network(name=name, features=(4, 6), decoder=(8, 6, 4), **parts),
        preprocessing=Preprocessing(affine="none"), training=Training(steps=STEPS, validation_pairs=2),
        search=Search(stages=(stage,), shares=(0.5,), finalists=1),
    ))


class After(Monitor):
    """Wishes to cancel after some steps of training."""

    def __init__(self, steps: int) -> None:
        self.left, self.training = steps, False

    def event(self, kind: str, **facts: Any) -> None:
        self.training |= kind == "stage" and facts["name"] == "train"

    def wish(self) -> Any:
        self.left -= self.training
        return "cancel" if self.left < 0 else ""


#: any network takes a filter behind and an affine map in front of it
PARTS: dict[str, dict[str, Any]] = {
    **{name: {} for name in NETWORKS},
    "autoreg, filtered": {"filter": FieldFilter(5), "affine_first": True},
    "voxelmorph1, filtered": {"filter": FieldFilter(3, "gram"), "affine_first": True},
}


@pytest.mark.parametrize("name", PARTS)
def test_every_network_goes_through_the_verbs(
    name: str, world: tuple[Scenario, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, folder = world
    # what the finish is chosen by has tests of its own, and would take most of this one's time
    monkeypatch.setattr(training, "choose_finish", lambda *given, **named: {})
    recipe = recipe_of(name.split(",")[0], scenario.spatial_dims, **PARTS[name])
    whole = train(recipe, scenario, output=tmp_path / "whole")
    with pytest.raises(CancelledError):
        train(recipe, scenario, output=tmp_path / "cut", monitor=After(STEPS // 2))
    assert (tmp_path / "cut" / "checkpoint.pt").is_file()
    train(recipe, scenario, output=tmp_path / "cut", resume=True)
    first, second = (load_file(tmp_path / run / "weights.safetensors") for run in ("whole", "cut"))
    assert all(torch.equal(first[key], second[key]) for key in first), "a resumed training ends elsewhere"
    assert whole.recipe == recipe

    if scenario.spatial_dims == 2:  # these two verbs ask the same of a network in 3-D, and draw figures
        means = evaluate(whole, scenario, output=tmp_path / "results", limit=1)
        assert means["folds"] == 0 and (tmp_path / "results" / "pairs.csv").is_file()

        found = search(recipe, scenario, output=tmp_path / "search")
        assert found == read_recipe(tmp_path / "search")
        before, after = recipe.loss_weights, found.loss_weights
        assert any(getattr(before, weight) != getattr(after, weight) for weight in searched_weights(recipe))

    wild = load_bundle(_wild(whole, tmp_path / "wild"))
    case = folder / "data"
    report = register(wild, case / "s6.nii.gz", case / "s7.nii.gz", output=tmp_path / "registered")
    assert report["folds"] == 0
    field = sitk.ReadImage(str(tmp_path / "registered" / "transform.nrrd"), sitk.sitkVectorFloat64)
    images = [torch.from_numpy(sitk.GetArrayFromImage(sitk.ReadImage(str(case / f"{name}.nii.gz"))).astype("float32"))
              for name in ("s7", "s6")]
    with torch.inference_mode():
        answer = wild.network(*(image[None, None] for image in images)).displacement
    assert answer.abs().max() > 0.5, "a network that moves nothing has nothing to mend"
    assert sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field)).min() > 0


def _wild(model: ModelBundle, folder: Path) -> Path:
    """The model with large random weights where its field comes out, so that its bare answer folds."""
    made = torch.Generator().manual_seed(3)
    state = dict(model.network.state_dict())
    heads = [key for key in state if state[key].ndim > 2 and state[key].shape[0] == model.recipe.spatial_dims]
    assert heads
    for key in heads:
        state[key] = torch.randn(state[key].shape, generator=made)
    network = model.network
    network.load_state_dict(state)
    return save_bundle(folder, recipe=model.recipe, state=network.state_dict(), metrics={}, history=[],
                       provenance={"scenario": "none"})
