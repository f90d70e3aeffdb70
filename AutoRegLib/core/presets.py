"""Recipes to start from: what a user gets who says nothing but which scenario and how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from AutoRegLib.core.recipe import (
    LossWeights,
    Network,
    Objective,
    Preprocessing,
    Recipe,
    Search,
    Training,
    with_own_loss,
)
from AutoRegLib.core.scenario import Scenario

PresetName = Literal["quick", "standard", "thorough"]
#: what each preset allows: most voxels of the working grid, steps of a search stage, of training, finalists
SCALES: dict[str, tuple[int, int, int, int]] = {
    "quick": (400_000, 120, 2_000, 3),
    "standard": (1_500_000, 400, 20_000, 6),
    "thorough": (8_000_000, 2_000, 100_000, 7),
}
#: where time is short: half the paper's channels take nearly twice the steps in the same time.
#: Hippocampus, 150 s on one thread: validation Dice 0.731 against 0.729 (seed 0)
NARROW = Network(features=(8, 16), decoder=(24, 16, 16))
#: within one contrast: no second similarity, no coarser scales (docs/results.md, training steps)
PLAIN = LossWeights(similarity_mix=1.0, smoothness=1.0).at_full_scale()
RATE = 2e-3  # trainings that collapse at it go back at half of it


def preset_network(preset: str) -> Network:
    """The sizes of a preset's network."""
    return Network() if preset == "thorough" else NARROW


def with_published_loss(recipe: Recipe) -> Recipe:
    """A preset's recipe with the loss weights of the paper's release: what its tables are about."""
    return replace(recipe, loss_weights=LossWeights()) if recipe.loss_weights == PLAIN else recipe


def preset_recipe(
    scenario: Scenario, preset: PresetName = "standard", *, network: str = "autoreg",
    spacing: tuple[float, ...] = (), same_space: bool = False, seed: int = 0,
) -> Recipe:
    """The default recipe for a scenario. ``spacing``: the working grid, mm, chosen by the caller from the images
    (see :func:`AutoRegLib.learning.start_recipe.start_recipe`); ``same_space``: all images lie on one grid already.
    """
    _, stage_steps, train_steps, finalists = SCALES[preset]
    modalities = {case.modality for case in scenario.cases}
    several = len(modalities) > 1
    # LNCC assumes a locally linear relation of intensities: between modalities MIND has to carry more
    weights = LossWeights(similarity_mix=0.1) if several else PLAIN
    default = Search()
    recipe = Recipe(
        spatial_dims=scenario.spatial_dims,
        structures=scenario.structures,
        network=replace(preset_network(preset), name=network),
        loss_weights=weights,
        # measured, not argued: 0.729 against 0.728 with the displacement smoothed (same data and time)
        objective=Objective(regularise="velocity"),
        preprocessing=Preprocessing(
            spacing=spacing, affine="none" if same_space else "auto",
            modality="" if several else next(iter(modalities), ""),
        ),
        training=Training(steps=train_steps, learning_rate=RATE),
        search=replace(
            default, stages=tuple(replace(stage, steps=stage_steps) for stage in default.stages),
            finalists=finalists, final_steps=stage_steps,
        ),
        seed=seed,
    )
    return with_own_loss(recipe)
