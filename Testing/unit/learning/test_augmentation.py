"""Random moves of training pairs: statistics, repetition, and images and labels that move together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from pipeline.scenes import make_scenario
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import map_coordinates

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.presets import with_published_loss
from AutoRegLib.core.recipe import LossWeights
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.learning.augmentation import random_moves
from AutoRegLib.learning.data import Batch
from AutoRegLib.learning.start_recipe import start_recipe

SHAPE = (31, 21, 41)  # knots at whole voxels


def test_elastic_moves_are_linear_between_knots_of_the_strength_asked_for() -> None:
    moving, fixed = random_moves(Random(3), SHAPE, 40, affine=0.0, elastic=2.0)
    assert moving.shape == fixed.shape == (40, 3, *SHAPE)
    knots = moving[..., ::10, ::10, ::10].double().numpy()
    axes = [np.arange(0, size, 10) for size in SHAPE]
    points = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    for pair in (0, 39):
        for axis in range(3):
            line = RegularGridInterpolator(axes, knots[pair, axis])(points)
            assert np.abs(line - moving[pair, axis].numpy()).max() < 1e-4
    # what is common has the strength, each one's own half of it, and both are independent
    assert knots.std() == pytest.approx(2 * np.sqrt(1.25), rel=0.03)
    assert float((moving - fixed)[..., ::10, ::10, ::10].std()) == pytest.approx(np.sqrt(2), rel=0.03)
    assert torch.equal(moving, random_moves(Random(3), SHAPE, 40, affine=0.0, elastic=2.0)[0])
    assert not torch.equal(moving, random_moves(Random(4), SHAPE, 40, affine=0.0, elastic=2.0)[0])


def test_without_elastic_moves_the_affine_ones_are_those_of_before() -> None:
    alone, with_elastic = (random_moves(Random(5), (24, 20), 2, affine=0.02, elastic=e) for e in (0.0, 2.0))
    assert float(alone[1].diff(n=2, dim=-1).abs().max()) < 1e-4  # affine: no curvature
    assert float(with_elastic[1].diff(n=2, dim=-1).abs().max()) > 0.1


def test_images_and_labels_of_a_pair_move_together() -> None:
    labels = torch.zeros(1, 1, 40, 48, dtype=torch.int16)
    labels[..., 12:25, 15:30] = 2
    batch = Batch(labels.float(), labels.float(), (labels, labels))
    there, here = random_moves(Random(1), (40, 48), 1, affine=0.02, elastic=2.0)
    moved = batch.moved(there, here)
    assert moved.labels is not None
    for image, label, field in ((moved.moving, moved.labels[0], there), (moved.fixed, moved.labels[1], here)):
        positions = np.indices((40, 48)) + field[0].double().numpy()
        want = map_coordinates(labels[0, 0].double().numpy(), positions, order=1, mode="nearest")
        assert np.abs(image[0, 0].numpy() - want).max() < 1e-4
        assert label.dtype == torch.int16 and set(label.unique().tolist()) == {0, 2}
        assert bool(((label[0, 0].numpy() == 2) == (want > 1))[np.abs(want - 1) > 0.01].all())
    assert not torch.equal(moved.labels[0], moved.labels[1])


def test_learning_from_labels_starts_with_less_smoothness_and_elastic_moves(tmp_path: Path) -> None:
    scenario = read_scenario(make_scenario(tmp_path / "data"))
    plain, taught = start_recipe(scenario), start_recipe(scenario, label_weight=3.0)
    assert taught.loss_weights.smoothness == plain.loss_weights.smoothness / 2 and taught.objective.label_weight == 3.0
    many = replace(scenario, cases=tuple(
        replace(case, id=f"{case.id} {copy}") for copy in range(50) for case in scenario.cases))
    strengths = [(recipe.training.augment, recipe.training.elastic) for recipe in (
        start_recipe(many), start_recipe(many, label_weight=3.0), plain, start_recipe(scenario, network="voxelmorph2"))]
    assert strengths == [(0.02, 0.0), (0.04, 2.0), (0.04, 2.0), (0.02, 0.0)]  # few images are shown as more too
    assert with_published_loss(taught).loss_weights == LossWeights() == with_published_loss(plain).loss_weights
    published = start_recipe(scenario, "published", label_weight=1.0)
    assert published.training == start_recipe(scenario, "published").training
    others = [start_recipe(scenario, network="voxelmorph2", label_weight=weight) for weight in (0.0, 3.0)]
    assert others[0].loss_weights == others[1].loss_weights  # its own
    with pytest.raises(InputError, match="no training labels"):
        start_recipe(read_scenario(make_scenario(tmp_path / "bare", labels=False)), label_weight=3.0)
