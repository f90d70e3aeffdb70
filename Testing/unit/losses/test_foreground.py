"""The loss is the mean over the voxels that show something."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from AutoRegLib.core.recipe import LossWeights, Objective, Recipe
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.losses.foreground import foreground
from AutoRegLib.losses.lncc import lncc_loss
from AutoRegLib.losses.objective import as_weights, registration_loss
from AutoRegLib.registration.refine import refine_prediction


def test_by_hand() -> None:
    stripped = torch.tensor([0.0, 0.0, 3.0, 4.0, 5.0, 6.0]).view(1, 1, 2, 3)
    full = torch.arange(1.0, 7.0).view(1, 1, 2, 3)
    assert foreground(full) is None and foreground(torch.ones(1, 1, 3, 3)) is None
    found = foreground(stripped)
    assert found is not None and found.flatten().tolist() == [0, 0, 1, 1, 1, 1]
    mixed = foreground(torch.cat((stripped, full)))
    assert mixed is not None and mixed.flatten(1).tolist() == [[0, 0, 1, 1, 1, 1], [1] * 6]


def brains(margin: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two textures in the middle of so many empty voxels."""
    made = torch.Generator().manual_seed(0)
    texture = torch.nn.functional.avg_pool2d(0.5 + torch.rand(2, 1, 40, 40, generator=made), 3, 1, 1, True, False)
    moving, fixed = torch.nn.functional.pad(texture, [margin] * 4).split(1)
    return moving, fixed


@pytest.mark.parametrize("margin", [8, 24])
def test_the_loss_does_not_depend_on_how_much_is_empty(margin: int) -> None:
    moving, fixed = brains(margin)
    still = Prediction(torch.zeros(1, 2, *fixed.shape[2:]), None)
    weights = as_weights(LossWeights(similarity_mix=1.0).at_full_scale())
    found = {c: float(registration_loss(still, moving, fixed, weights, objective=Objective(counted=c))["similarity"])
             for c in ("all", "foreground")}
    inner = fixed > 0
    wanted = float(lncc_loss(fixed, moving, mask=inner.float()))
    assert found["foreground"] == pytest.approx(wanted, abs=1e-6)
    assert abs(found["all"] - found["foreground"]) > 1e-3


def test_refinement_counts_what_the_recipe_counts() -> None:
    """Windows across the border still see the empty voxels, which are an image's own; a mask would take them out."""
    moving, fixed = brains(12)
    nothing = Prediction(torch.zeros(1, 2, *fixed.shape[2:]), torch.zeros(1, 2, *(s // 2 for s in fixed.shape[2:])))
    recipe = Recipe(spatial_dims=2, loss_weights=LossWeights(1.0, 1.0).at_full_scale())
    plain = refine_prediction(nothing, moving, fixed, recipe=recipe, iterations=3)
    counted = replace(recipe, objective=Objective(counted="foreground"))
    found = refine_prediction(nothing, moving, fixed, recipe=counted, iterations=3)
    wanted = float(lncc_loss(fixed, moving, window=recipe.objective.windows[0], mask=(fixed > 0).float()))
    assert found.loss_before == pytest.approx(wanted, abs=1e-6) and abs(plain.loss_before - wanted) > 1e-3
    assert found.loss_after < found.loss_before - 1e-2
    assert float((found.displacement - plain.displacement).abs().max()) > 1e-3
