"""DIRNet's spline against scipy's; what scales FCN-SS answers."""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import BSpline

from AutoRegLib.core.recipe import Network, Recipe
from AutoRegLib.core.recipe_loss import with_own_loss
from AutoRegLib.networks.baselines import spline_between
from AutoRegLib.networks.registry import build_network
from AutoRegLib.search.upper_variables import searched_weights


def test_spline_is_scipy_s() -> None:
    """A surface of random control points, beyond whose border the outermost repeat."""
    control = torch.randn(1, 2, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = spline_between(control, (40, 48))
    padded = np.pad(control[0].numpy(), ((0, 0), (4, 4), (4, 4)), mode="edge")
    rows, columns = ((np.arange(size) + 0.5) / 8 - 0.5 for size in (40, 48))
    for component in range(2):
        along = BSpline(np.arange(-6.0, 11.0), padded[component], 3)(rows)
        both = BSpline(np.arange(-6.0, 12.0), along.T, 3)(columns).T
        assert np.abs(found[0, component].numpy() - 8 * both).max() < 1e-10


def test_fcn_compares_three_scales_and_has_their_weights_searched() -> None:
    recipe = with_own_loss(Recipe(spatial_dims=3, network=Network(name="fcn")))
    images = torch.rand(2, 1, 1, 13, 14, 15, generator=torch.Generator().manual_seed(1))
    answer = build_network(recipe)(*images)
    assert [tuple(s.shape[2:]) for s in answer.scales] == [(8, 8, 8), (4, 4, 4)]
    assert set(searched_weights(recipe)) == {"smoothness", "half_scale", "quarter_scale"}
    assert set(searched_weights(with_own_loss(Recipe(network=Network(name="dirnet"))))) == {"smoothness"}
