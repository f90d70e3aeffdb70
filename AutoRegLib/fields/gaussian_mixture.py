"""Random smooth displacements: sums of Gaussian bumps, of a stated strength."""

from __future__ import annotations

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.warp import identity_grid

BUMPS = 8
WIDTHS = (1 / 10, 1 / 4)  # standard deviation of a bump, parts of the shortest side
LEAST = 0.05  # determinant of a field that is kept
_DRAWS = 200


def mixture_displacement(shape: tuple[int, ...], *, sigma: float, generator: torch.Generator) -> Tensor:
    """A displacement that is a spatial Gaussian mixture of energy ``sigma``, without a fold.

    :data:`BUMPS` Gaussians with centres even over the grid and widths even in :data:`WIDTHS`; the amplitude of each
    component of each is normal with standard deviation ``sigma``. A field whose smallest determinant is below
    :data:`LEAST` is drawn again, so strong fields of narrow bumps are rarer than the normal law says.

    Shape: (1, d, *shape). Unit: voxels. Raises: InputError where the grid is too small for such a field.
    Reference: docs/method.md, section 5.1.
    """
    grid, side = identity_grid(shape)[0], min(shape)
    for _ in range(_DRAWS):
        centres = torch.rand(BUMPS, len(shape), generator=generator) * (torch.tensor(shape) - 1)
        widths = side * (WIDTHS[0] + (WIDTHS[1] - WIDTHS[0]) * torch.rand(BUMPS, generator=generator))
        amplitudes = sigma * torch.randn(BUMPS, len(shape), generator=generator)
        field = torch.zeros(len(shape), *shape)
        for centre, width, amplitude in zip(centres, widths, amplitudes, strict=True):
            distance = (grid - centre.view(-1, *[1] * len(shape))).square().sum(0)
            field += amplitude.view(-1, *[1] * len(shape)) * torch.exp(-0.5 * distance / width**2)
        if float(jacobian_determinant(field[None]).min()) >= LEAST:
            return field[None]
    raise InputError(f"no displacement of energy {sigma:g} fits into this grid without folding",
                     expected="a smaller energy, or larger images", got=f"{' x '.join(map(str, shape))} voxels",
                     remedy="lower --sigma")
