"""Diffusion and folding by hand."""

from __future__ import annotations

import pytest
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.resample import resize_displacement
from AutoRegLib.fields.warp import identity_grid
from AutoRegLib.losses.diffusion import diffusion, plain_diffusion
from AutoRegLib.losses.folding import fold_penalty, plain_fold_penalty


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


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)])
def test_the_quick_passes_are_the_plain_ones(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    u = torch.randn((2, len(shape), *shape), generator=generator, dtype=torch.float64).requires_grad_()
    for quick, plain in ((diffusion(u, spacing=0.7), plain_diffusion(u, [0.7] * len(shape))),
                         (fold_penalty(u, margin=0.1), plain_fold_penalty(u, 0.1))):
        assert abs(quick - plain) < 1e-12 < plain
        found, expected = (torch.autograd.grad(value, u)[0] for value in (quick, plain))
        assert (found - expected).abs().max() < 1e-14 < expected.abs().max()
    still = (0.1 * u.detach()).requires_grad_()
    assert torch.autograd.grad(fold_penalty(0.1 * still), still)[0].abs().max() == 0
