"""Folds are smoothed out of a velocity, near where they are and nowhere else."""

from __future__ import annotations

import pytest
import torch

from AutoRegLib.fields.fold_repair import nearly_folded, repair_folds
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.prediction import integrate


@pytest.mark.parametrize("dims", [2, 3])
def test_a_sharp_velocity_folds_and_is_unfolded_where_it_does(dims: int) -> None:
    generator = torch.Generator().manual_seed(0)
    half = (24,) * dims
    calm = torch.full((1, dims, *half), 0.5)
    velocity = calm.clone()
    place = (slice(None), slice(None), *(slice(4, 10),) * dims)
    velocity[place] += 4.0 * torch.randn(velocity[place].shape, generator=generator)
    shape = tuple(2 * size - 1 for size in half)
    before = integrate(velocity, [2 * size for size in half], squarings=7)
    assert int((jacobian_determinant(before) <= 0).sum()) > 0
    smoothed, displacement, count = repair_folds(velocity, shape, squarings=7)
    assert count > 0
    assert displacement.shape == (1, dims, *shape)
    assert float(jacobian_determinant(displacement).min()) > 0.0
    far = (slice(None), slice(None), *(slice(19, None),) * dims)
    assert torch.equal(smoothed[far], velocity[far])
    assert float((smoothed - velocity).abs().max()) > 0.1


def test_what_does_not_fold_stays_as_it_is() -> None:
    velocity = torch.full((1, 3, 8, 8, 8), 0.3)
    smoothed, displacement, count = repair_folds(velocity, (16, 16, 16), squarings=5)
    assert count == 0
    assert torch.equal(smoothed, velocity)
    assert float((displacement - integrate(velocity, (16, 16, 16), squarings=5)).abs().max()) == 0.0


def test_a_step_that_turns_back_counts_as_a_fold() -> None:
    """Central differences skip the voxel between: such a field folds on a lattice whose border lies there."""
    field = torch.zeros(1, 2, 8, 8)
    field[:, 1, :, 4] = -1.5
    assert float(jacobian_determinant(field).min()) > 0
    assert bool(nearly_folded(field)[0, 0, :, 3].all()) and int(nearly_folded(field).sum()) == 8
