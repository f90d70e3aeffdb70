"""Determinants and folds by hand."""

from __future__ import annotations

import pytest
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.folds import folded
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.warp import identity_grid


@pytest.mark.parametrize("dims", [2, 3])
def test_a_linear_map_has_its_matrix_determinant(dims: int) -> None:
    torch.manual_seed(0)
    shape = (6, 7, 8)[:dims]
    matrix = 0.4 * torch.randn(dims, dims, dtype=torch.float64)
    grid = identity_grid(shape, dtype=torch.float64)
    displacement = torch.einsum("ij,bj...->bi...", matrix, grid)
    determinant = jacobian_determinant(displacement)
    interior = (0, *[slice(1, -1)] * dims)
    expected = torch.linalg.det(torch.eye(dims, dtype=torch.float64) + matrix)
    assert (determinant[interior] - expected).abs().max() < 1e-12


def test_spacing_divides_and_leaves_voxel_fields_alone() -> None:
    displacement = torch.randn(1, 3, 5, 5, 5, dtype=torch.float64)
    spacing = (3.0, 0.5, 1.25)
    millimetres = displacement * torch.tensor(spacing).view(1, 3, 1, 1, 1)
    difference = jacobian_determinant(millimetres, spacing=spacing) - jacobian_determinant(displacement)
    assert difference.abs().max() < 1e-12
    assert (jacobian_determinant(millimetres) - jacobian_determinant(displacement)).abs().max() > 0.1


def test_a_known_fold_is_counted() -> None:
    displacement = torch.zeros(2, 3, 6, 6, 6)
    displacement[1, 2, 2, 2, 3] = -2.5  # its neighbours along x: det 1 - 1.25 before it, 1 + 1.25 after it
    determinant = jacobian_determinant(displacement)
    assert determinant[1, 2, 2, 2] == -0.25
    assert determinant[1, 2, 2, 4] == 2.25
    assert folded(determinant).flatten(1).sum(1).tolist() == [0, 1]


def test_refusals() -> None:
    with pytest.raises(InputError, match="one component"):
        jacobian_determinant(torch.zeros(1, 2, 4, 4, 4))
