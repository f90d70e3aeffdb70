"""A network's answer that folds on no voxel of its own grid but would on another one is smoothed all the same."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.recipe import Preprocessing, Recipe
from AutoRegLib.fields import fold_repair
from AutoRegLib.fields.fold_repair import nearly_folded
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.prediction import Prediction, integrate
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.pipeline import register_volumes

SIDE = 24


def sharp(strength: float) -> Tensor:
    bump = torch.randn((1, 3, *(SIDE // 2,) * 3), generator=torch.Generator().manual_seed(0))
    bump[:, :, :4], bump[:, :, -4:] = 0.0, 0.0
    return strength * bump


@pytest.mark.parametrize("shape", [(9, 5, 6), (11, 7)])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_slabs_of_a_large_grid_fold_where_the_whole_does(
    shape: tuple[int, ...], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    displacement = 0.6 * torch.randn((2, len(shape), *shape), generator=torch.Generator().manual_seed(1))
    whole = nearly_folded(displacement)
    assert 0.1 < float(whole.float().mean()) < 0.9
    monkeypatch.setattr(fold_repair, "_AT_ONCE", rows * math.prod(shape[1:]))
    assert torch.equal(nearly_folded(displacement), whole)


def test_nearly_folding_answers_are_smoothed() -> None:
    def field(strength: float) -> Tensor:
        return integrate(sharp(strength), (SIDE,) * 3, squarings=7)

    # the strongest velocity of this shape whose determinants are all above 0 on the network's own grid
    strength = max(s for s in np.arange(0.2, 3.0, 0.01).tolist() if float(jacobian_determinant(field(s)).min()) > 0)
    assert bool(nearly_folded(field(strength)).any())

    class Sharp(nn.Module):
        def forward(self, moving: Tensor, fixed: Tensor) -> Prediction:
            return Prediction(field(strength), sharp(strength))

    grid = Geometry((SIDE,) * 3, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    image = Volume(np.random.default_rng(0).random((SIDE,) * 3, dtype=np.float32), grid, "intensity")
    model = ModelBundle(Path("sharp"), Recipe(preprocessing=Preprocessing(affine="none")), Sharp(), {}, {})
    found = register_volumes(model, image, image, affine="none")
    assert found.unfolded > 0
    displacement = torch.from_numpy(found.field.vectors[..., ::-1].copy()).movedim(-1, 0)[None]
    assert not bool(nearly_folded(displacement).any())
    assert float((displacement - field(strength)).abs().max()) > 0.01
