"""Recipes to start from: what a user gets who says nothing but which scenario and how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from AutoRegLib.core.recipe import LossWeights, Network, Objective, Preprocessing, Recipe, Search, Stage, Training
from AutoRegLib.core.recipe_loss import LNCC_SMOOTHNESS, with_own_loss
from AutoRegLib.core.scenario import Scenario

PresetName = Literal["quick", "standard", "thorough", "published"]
#: what each preset allows: most voxels of the working grid, steps of a search stage, of training, finalists
SCALES: dict[str, tuple[int, int, int, int]] = {
    "quick": (400_000, 120, 2_000, 3),
    "standard": (1_500_000, 400, 20_000, 6),
    "thorough": (8_000_000, 2_000, 100_000, 7),
    "published": (8_000_000, 0, 0, 1),  # counted in epochs: see published()
}
#: epochs of the paper; of its searches it says only that they end after 10 in which nothing moved: these are the most
SEARCH_EPOCHS, STABLE_EPOCHS, TUNING_EPOCHS, JOINT_EPOCHS, TRAINING_EPOCHS = 100, 10, 15, 30, 200
#: the paper's rates of the weights and the operators, and of the loss weights
PUBLISHED_RATE, PUBLISHED_LOSS_RATE = 1e-4, 4e-3
#: where time is short: half the paper's channels take nearly twice the steps in the same time.
#: Hippocampus, 150 s on one thread: validation Dice 0.731 against 0.729 (seed 0)
#: features compared with their neighbours: hippocampus, 50 s of processor time, validation Dice 0.746 instead of 0.735
NEAR = (1, 1)
NARROW = Network(features=(8, 16), decoder=(24, 16, 16), correlation=NEAR)
#: within one contrast: no second similarity, no coarser scales (docs/results.md, training steps)
PLAIN = LossWeights(similarity_mix=1.0, smoothness=LNCC_SMOOTHNESS[3]).at_full_scale()
NO_CLIP = 1e9  # the largest norm of a gradient that a recipe can ask for
#: fewer training images than these are shown as more: networks gain 0.011 and 0.035 Dice by it from ten, from 158 they
#: lose 0.002 in equal time
FEW = 50
AUGMENT, ELASTIC = 0.04, 2.0  # standard deviations: part of the field of view, voxels
RATE = 2e-3  # trainings that collapse at it go back at half of it
#: of the AutoReg network's orthogonal momentum: hippocampus, 50 s of processor time, loss 0.464 instead of 0.492
TURNING_RATE = 3e-2


def with_more_moves(training: Training) -> Training:
    """Shown more pairs than there are: moved affinely, and elastically each on its own (docs/results.md, ten scans)."""
    return replace(training, augment=AUGMENT, elastic=ELASTIC)


def preset_network(preset: str) -> Network:
    """The sizes of a preset's network."""
    return {"thorough": Network(correlation=NEAR), "published": Network()}.get(preset, NARROW)


def with_published_loss(recipe: Recipe) -> Recipe:
    """A preset's recipe with the loss weights of the paper's release: what its tables are about."""
    plain = replace(PLAIN, smoothness=recipe.loss_weights.smoothness)  # learning from labels changes that one
    return replace(recipe, loss_weights=LossWeights()) if recipe.loss_weights == plain else recipe


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
    plain = replace(PLAIN, smoothness=LNCC_SMOOTHNESS[scenario.spatial_dims])
    weights = LossWeights(similarity_mix=0.1) if several else plain
    default, sized = Search(), preset_network(preset)
    training = Training(steps=train_steps, optimiser="muon", learning_rate=TURNING_RATE)
    few = sum(case.split == "train" for case in scenario.cases) < FEW
    recipe = Recipe(
        spatial_dims=scenario.spatial_dims,
        structures=scenario.structures,
        network=sized,
        loss_weights=weights,
        # measured, not argued: 0.729 against 0.728 with the displacement smoothed (same data and time)
        objective=Objective(regularise="velocity", counted="foreground"),
        preprocessing=Preprocessing(
            spacing=spacing, affine="none" if same_space else "auto",
            modality="" if several else next(iter(modalities), ""),
        ),
        training=with_more_moves(training) if few else training,
        search=replace(
            default, stages=tuple(replace(stage, steps=stage_steps) for stage in default.stages),
            finalists=finalists, final_steps=stage_steps,
        ),
        seed=seed,
    )
    recipe = for_network(recipe, network)
    if preset == "published":
        recipe = published(recipe, epoch=sum(case.split == "train" for case in scenario.cases))
    return with_own_loss(recipe)


def for_network(recipe: Recipe, network: str) -> Recipe:
    """A preset's recipe for another network: without what was measured for the AutoReg network alone."""
    if network == "autoreg":
        return recipe
    plain = Training()
    training = replace(recipe.training, augment=plain.augment, elastic=plain.elastic)
    if training.optimiser == "muon":
        training = replace(training, optimiser="adam", learning_rate=RATE)
    return replace(
        recipe, training=training, objective=replace(recipe.objective, counted="all"),
        network=replace(recipe.network, name=network, correlation=Network().correlation),
    )


def published(recipe: Recipe, *, epoch: int) -> Recipe:
    """The recipe with the paper's own procedure, loss and rates, one pair a step; no finals, nothing of ours.

    ``epoch``: steps that count as one, as many as there are training cases. Feature cells, deformation cells and loss
    weights are searched by one unrolled step each, then the network's weights are tuned alone, then all are moved
    together: operators by the registration loss, loss weights by the overlap of labels, on validation pairs.
    Reference: AutoReg paper, Sec. IV-A and Algorithm 1; what it leaves open is docs/method.md, section 1.4.
    """
    epoch = max(epoch, 1)

    def stage(name: str, upper: Any, judge: Any, epochs: int, rate: float, **more: Any) -> Stage:
        return Stage(name, upper, judge, epochs * epoch, rate, **{"warmup": 0.0, **more})

    search = Search(
        stages=(
            stage("feature architecture", "feature", "registration", SEARCH_EPOCHS, PUBLISHED_RATE),
            stage("deformation architecture", "deformation", "registration", SEARCH_EPOCHS, PUBLISHED_RATE),
            stage("loss weights", "lambda", "auto", SEARCH_EPOCHS, PUBLISHED_LOSS_RATE, warm=True),
            stage("weights alone", "lambda", "auto", TUNING_EPOCHS, 0.0, warmup=1.0, warm=True),
            stage("all together", "all", "auto", JOINT_EPOCHS, PUBLISHED_RATE, warm=True, continues=True,
                  loss_rate=PUBLISHED_LOSS_RATE),
        ),
        shares=(0.25, 0.3, 0.2, 0.05, 0.2), finalists=1, refined_pairs=0, epsilon="rate", batch=1,
        learning_rate=PUBLISHED_RATE, clip=NO_CLIP, stable_checks=STABLE_EPOCHS, check_every=epoch,
    )
    training = Training(steps=TRAINING_EPOCHS * epoch, batch=1, learning_rate=PUBLISHED_RATE, final_rate=1.0,
                        clip=NO_CLIP, augment=0.0, average=0.0)
    return replace(
        recipe, loss_weights=LossWeights(), objective=Objective(fold_weight=0.0, upper_fold_weight=0.0),
        search=search, training=training,
    )
