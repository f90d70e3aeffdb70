"""Diffusion and folding by hand."""

from __future__ import annotations

import pytest
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.resample import resize_displacement
from AutoRegLib.fields.warp import identity_grid
from AutoRegLib.losses.diffusion import diffusion
from AutoRegLib.losses.folding import fold_penalty


def test_diffusion_by_hand() -> None:
    displacement = torch.zeros(1, 2, 4, 3)
    displacement[0, 1] = torch.tensor([0.0, 1.0, 3.0])
    assert diffusion(displacement).item() == pytest.approx(0.625)
    assert diffusion(displacement, spacing=2).item() == pytest.approx(0.625 / 4)
    assert diffusion(displacement, spacing=(1, 2)).item() == pytest.approx(0.625 / 4)
    assert diffusion(displacement, spacing=(2, 1)).item() == pytest.approx(0.625)


def test_a_strain_means_the_same_at_every_scale() -> None:
    strain = 0.1 * identity_grid((16, 16, 16))
    coarse = resize_displacement(strain, (8, 8, 8))
    assert diffusion(strain).item() == pytest.approx(0.01 / 3, rel=1e-5)
    assert diffusion(coarse).item() == pytest.approx(0.01 / 3, rel=1e-5)


def test_translation_and_single_slices_cost_nothing() -> None:
    assert diffusion(torch.full((1, 3, 1, 4, 5), 2.0)) == 0


def test_fold_penalty_by_hand() -> None:
    displacement = torch.zeros(1, 3, 4, 4, 4)
    displacement[:, 0] = -3 * identity_grid((4, 4, 4))[:, 0]
    # two inner layers: 1 - 3; two outer layers, half the difference: 1 - 1.5
    assert fold_penalty(displacement).item() == pytest.approx((2 * 2 + 2 * 0.5) / 4)
    assert fold_penalty(0.2 * displacement) == 0


def test_refusal() -> None:
    with pytest.raises(InputError, match="spacing"):
        diffusion(torch.zeros(1, 3, 4, 4, 4), spacing=(1, 1))
