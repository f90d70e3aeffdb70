"""The paper's procedure as a preset: its stages, epochs and rates, and that it runs to the end."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from pipeline.scenes import make_scenario
from pytest import approx

from AutoRegLib.core.presets import preset_recipe
from AutoRegLib.core.recipe import LossWeights, Recipe
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.learning.train import train
from AutoRegLib.search.search import search

STEPS = (4, 4, 4, 3, 6)  # of each stage, instead of whole epochs


def short(recipe: Recipe) -> Recipe:
    """The procedure with few steps and a small network."""
    stages = tuple(replace(s, steps=n) for s, n in zip(recipe.search.stages, STEPS, strict=True))
    return replace(
        recipe, network=replace(recipe.network, features=(4, 6), decoder=(8, 6, 4)),
        preprocessing=replace(recipe.preprocessing, affine="none"),
        search=replace(recipe.search, stages=stages, check_every=2), training=replace(recipe.training, steps=5),
    )


def test_preset_counts_the_papers_epochs_and_rates(tmp_path: Path) -> None:
    scenario = read_scenario(make_scenario(tmp_path / "data", (24, 24)))
    recipe = preset_recipe(scenario, "published")
    epoch = len(scenario.split("train"))
    stages = {stage.name: stage for stage in recipe.search.stages}
    assert [s.upper for s in recipe.search.stages] == ["feature", "deformation", "lambda", "lambda", "all"]
    assert (stages["weights alone"].steps, stages["all together"].steps) == (15 * epoch, 30 * epoch)
    assert recipe.training.steps == 200 * epoch and recipe.training.batch == recipe.search.batch == 1
    assert recipe.search.check_every * recipe.search.stable_checks == 10 * epoch
    assert recipe.training.learning_rate == recipe.search.learning_rate == stages["all together"].upper_rate == 1e-4
    assert stages["loss weights"].upper_rate == stages["all together"].loss_rate == 4e-3
    assert recipe.loss_weights == LossWeights() and recipe.network.features == (16, 32)


def test_published_search_and_training_run_to_the_end(tmp_path: Path) -> None:
    scenario = read_scenario(make_scenario(tmp_path / "data", (24, 24)))
    recipe = short(preset_recipe(scenario, "published"))
    found = search(recipe, scenario, output=tmp_path / "search")
    with (tmp_path / "search" / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    last = {row["stage"]: row for row in rows}
    assert list(last) == [stage.name for stage in recipe.search.stages]
    assert [int(row["step"]) for row in last.values()] == list(STEPS)
    assert last["weights alone"]["similarity_mix"] == last["loss weights"]["similarity_mix"] != "0.5"
    # operators go on from the shares that their own stage ended with, each entry by at most a rate a step
    together, features = last["all together"], last["feature architecture"]
    names = [n for n in features if n.startswith(("feature_half.", "feature_quarter."))]
    for name in names:
        assert float(together[name]) == approx(float(features[name]), abs=6 * 1e-4)
    assert any(float(features[n]) != 0.125 for n in names), "moved by its own stage"
    assert any(together[n] != features[n] for n in names), "and moved on"
    assert found.loss_weights.similarity_mix == approx(float(together["similarity_mix"]), abs=1e-4)
    assert together["similarity_mix"] != last["loss weights"]["similarity_mix"]
    model = train(found, scenario, output=tmp_path / "model")
    assert model.provenance["steps"] == 5 and model.recipe.training.learning_rate == 1e-4
