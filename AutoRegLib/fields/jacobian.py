"""The Jacobian determinant of a displaced grid, with SimpleITK's stencil."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError


def _central_difference(values: Tensor, axis: int) -> Tensor:
    """Half the difference of both neighbours; the border voxel stands in for the neighbour it lacks.

    At the border this is half the one-sided difference: ITK's zero-flux rule.
    """
    size = values.shape[axis]
    first, last = values.narrow(axis, 0, 1), values.narrow(axis, size - 1, 1)
    if size == 1:
        return torch.zeros_like(values)
    following = torch.cat([values.narrow(axis, 1, size - 1), last], axis)
    previous = torch.cat([first, values.narrow(axis, 0, size - 1)], axis)
    return (following - previous) * 0.5


def jacobian_columns(displacement: Tensor, *, spacing: Sequence[float] | None = None) -> list[list[Tensor]]:
    """The matrix I + grad u: its column j holds d(x_i + u_i) / dx_j for every component i, each (B, *spatial).

    Unit and Raises: as `jacobian_determinant`.
    """
    dims = displacement.ndim - 2
    if dims not in (2, 3) or displacement.shape[1] != dims or (spacing is not None and len(spacing) != dims):
        raise InputError(
            "The Jacobian needs one component, and one spacing, per axis",
            expected=f"(B, {dims}, ...) and {dims} spacings",
            got=f"{tuple(displacement.shape)} and {spacing}",
        )
    columns = []
    for axis in range(dims):
        slopes = _central_difference(displacement, 2 + axis)
        if spacing is not None:
            slopes = slopes / spacing[axis]
        column = list(slopes.unbind(1))
        column[axis] = column[axis] + 1
        columns.append(column)
    return columns


def determinant(columns: Sequence[Sequence[Tensor]]) -> Tensor:
    """The determinant of 2 x 2 or 3 x 3 matrices given as columns of tensors."""
    if len(columns) == 2:
        (a, b), (c, d) = columns
        return a * d - b * c
    (a, b, c), (d, e, f), (g, h, i) = columns
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def jacobian_determinant(displacement: Tensor, *, spacing: Sequence[float] | None = None) -> Tensor:
    """det(I + grad u) at every voxel; below or at 0 the map folds.

    The determinant of a displacement in voxels is that of the same displacement in mm, whatever the spacing:
    ``spacing`` is needed only when the vectors are in mm along the grid's axes.

    Shape: (B, d, *spatial), d 2 or 3 -> (B, *spatial).
    Unit: voxels, or the unit of ``spacing`` (one per axis, axis order) -> none.
    Raises: InputError if the number of components is not the number of axes.
    Reference: itk::DisplacementFieldJacobianDeterminantFilter (same stencil, borders included).
    """
    return determinant(jacobian_columns(displacement, spacing=spacing))
