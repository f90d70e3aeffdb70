"""Folds are smoothed out of a velocity, near where they are and nowhere else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.fields.fold_repair import nearly_folded, repair_folds
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.prediction import integrate
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.velocity import compose


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


def whole_again(velocity: Tensor, shape: tuple[int, ...], before: Tensor | None) -> tuple[Tensor, Tensor]:
    """The repair with every round's map made and looked at as a whole, and folds widened by cubes."""
    pool = F.max_pool2d if len(shape) == 2 else F.max_pool3d
    for attempt in range(25):
        whole = integrate(velocity, [2 * size for size in velocity.shape[2:]], squarings=7)
        whole = whole[(..., *(slice(size) for size in shape))].contiguous()
        whole = whole if before is None else compose(whole, before)
        folded = jacobian_determinant(whole)[:, None] < 0.02
        for axis in range(2, whole.ndim):
            folded.narrow(axis, 0, shape[axis - 2] - 1).logical_or_(1 + whole[:, axis - 2, None].diff(dim=axis) < 0.02)
        if attempt == 24 or not bool(folded.any()):
            break
        odd = [amount for size in reversed(shape) for amount in (0, size % 2)]
        wider = attempt // 4
        near = pool(pool(F.pad(folded.float(), odd), 2), 1 + 2 * wider, stride=1, padding=wider)
        near = gaussian(near, 0.5 * (1 + wider)).clamp_max(1.0)
        velocity = velocity * (1.0 - 0.5 * near) if before is not None else torch.lerp(
            velocity, gaussian(velocity, 1.0 + attempt / 2), near)
    return velocity, whole


@pytest.mark.parametrize("shape", [(47, 40), (16, 31, 36)])
@pytest.mark.parametrize("composed", [True, False])
@pytest.mark.parametrize("samples", [1, 2])
def test_looking_only_where_something_changed_finds_the_same(
    shape: tuple[int, ...], composed: bool, samples: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    half = tuple((size + 1) // 2 for size in shape)
    calm, rough = (torch.randn(samples, len(shape), *half, generator=generator) for _ in range(2))
    calm = 8.0 * gaussian(calm, 3.0)
    before = repair_folds(calm, shape, squarings=7)[1] if composed else None
    velocity = calm.flip(1) + gaussian(rough, 0.7) * (2.5 if len(shape) == 2 else 4.0)
    mended, whole, count = repair_folds(velocity, shape, squarings=7, before=before)
    assert count > 10
    expected_velocity, expected = whole_again(velocity, shape, before)
    assert float((mended - expected_velocity).abs().max()) < 1e-6
    assert float((whole - expected).abs().max()) < 1e-5
    assert not bool(nearly_folded(whole).any())


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
