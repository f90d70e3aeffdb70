"""The whole grid in place of a band: every voxel's velocity, products voxel by voxel. What a band is compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class WholeGrid:
    """Velocities at every voxel of a torus; only L and its inverse go through ``torch.fft``.

    ``weight``: coordinates per component of the band with which it shares its prior, so that both mean the same by
    alpha: ``(L v, v) = weight * mean over voxels``.
    """

    shape: tuple[int, ...]
    weight: int
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"

    @property
    def dims(self) -> int:
        return len(self.shape)

    @property
    def dual(self) -> float:
        return math.prod(self.shape) / self.weight

    def zeros(self, batch: int = 1) -> Tensor:
        return torch.zeros(batch, self.dims, *self.shape, dtype=self.dtype, device=self.device)

    def laplacian(self) -> Tensor:
        """``A`` at each frequency of ``torch.fft.rfftn``."""
        total = torch.zeros((), dtype=torch.float64)
        for axis, size in enumerate(self.shape):
            count = size // 2 + 1 if axis == self.dims - 1 else size
            own = 2 - 2 * torch.cos(2 * math.pi * torch.arange(count).double() / size)
            total = total + own.view([-1 if other == axis else 1 for other in range(self.dims)])
        return total.to(self.dtype).to(self.device)

    def multiply(self, values: Tensor, multiplier: Tensor) -> Tensor:
        axes = tuple(range(-self.dims, 0))
        return torch.fft.irfftn(torch.fft.rfftn(values, dim=axes) * multiplier, s=self.shape, dim=axes)

    def derivative(self, values: Tensor, axis: int) -> Tensor:
        """Central difference: cheap, and not quite the derivative that a band has."""
        place = axis - self.dims
        return (values.roll(-1, place) - values.roll(1, place)) / 2

    @property
    def lattice(self) -> tuple[int, ...]:
        return self.shape

    @property
    def motion(self) -> WholeGrid:
        return self

    def spread(self, values: Tensor, lattice: tuple[int, ...] | None = None) -> Tensor:
        return values

    def gather(self, values: Tensor, lattice: tuple[int, ...] | None = None) -> Tensor:
        return values

    def inner(self, first: Tensor, second: Tensor) -> Tensor:
        return (first * second).flatten(1).mean(1) * (self.weight * first.shape[1])

    def count(self, multiplier: Tensor) -> Tensor:
        """The sum over all frequencies; those that rfftn leaves out are the mirrors of some that it has."""
        last = self.shape[-1]
        twice = torch.full((last // 2 + 1,), 2.0, dtype=self.dtype, device=self.device)
        twice[0] = 1.0
        if last % 2 == 0:
            twice[-1] = 1.0
        return (multiplier * twice).flatten(1).sum(1)

    def to_grid(self, values: Tensor, factor: int = 1) -> Tensor:
        if factor != 1:
            raise ValueError("the whole grid is compared at its voxels")
        return values

    def onto_grid_transposed(self, values: Tensor, factor: int = 1) -> Tensor:
        return values * self.dual
