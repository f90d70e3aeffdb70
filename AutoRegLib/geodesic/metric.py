"""The metric ``L = (alpha A + 1)^3`` on velocities, which is also the prior's inverse covariance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.whole_grid import WholeGrid

Space = Band | WholeGrid


@dataclass(frozen=True, eq=False)
class Metric:
    """``L`` of one regularity per item of a batch.

    The prior of an initial velocity is ``N(0, L^-1)`` in coordinates: independent ones with variance ``1 / L``, so that
    ``-ln p(v | alpha) = 1/2 (L v, v) - 1/2 ln|L| + const`` with the determinant over all coordinates of all components.

    Shape: ``alpha`` a number or (B,). Unit: squared voxels. Raises: InputError (not above 0).
    """

    space: Space
    alpha: Tensor

    @classmethod
    def of(cls, space: Space, alpha: float | Tensor) -> Metric:
        """The metric of a number or of one value per item."""
        like = space.laplacian()
        values = torch.as_tensor(alpha, dtype=like.dtype, device=like.device).reshape(-1)
        if not bool((values > 0).all()) or not bool(values.isfinite().all()):
            raise InputError("the regularity alpha", expected="above 0", got=values.tolist())
        return cls(space, values)

    @property
    def _base(self) -> Tensor:
        laplacian = self.space.laplacian()
        return 1 + self.alpha.view(-1, *[1] * (laplacian.ndim + 1)) * laplacian

    def operator(self, power: float = 1.0) -> Tensor:
        """``L`` to a power, at each coordinate: 1 is L, -1 its inverse K, -1/2 the prior's standard deviation.

        Shape: (B, 1, *coordinates).
        """
        return self._base ** (3 * power)

    def slope(self) -> Tensor:
        """``dL / dalpha = 3 A (alpha A + 1)^2``. Shape: (B, 1, *coordinates)."""
        return 3 * self.space.laplacian() * self._base**2

    def lower(self, velocity: Tensor) -> Tensor:
        """The momentum ``L v``."""
        return self.space.multiply(velocity, self.operator())

    def raise_(self, momentum: Tensor) -> Tensor:
        """The velocity ``K m``."""
        return self.space.multiply(momentum, self.operator(-1))

    def energy(self, velocity: Tensor) -> Tensor:
        """``(L v, v)``. Shape: (B, d, *coordinates) to (B,)."""
        return self.space.inner(self.lower(velocity), velocity)

    def log_determinant(self) -> Tensor:
        """``ln|L| = 3 d sum ln(alpha A + 1)`` over all coordinates. Shape: (B,)."""
        return 3 * self.space.dims * self.space.count(self._base.log())

    def prior(self, velocity: Tensor, amplitude: float = 1.0) -> Tensor:
        """``1/2 (L v, v) - 1/2 ln|L|``: the negative logarithm of the prior but for a constant. Shape: (B,).

        ``amplitude``, in squared voxels: that of a prior of this variance without regularity, times the amplitude.
        """
        return 0.5 * (self.energy(velocity) - amplitude * self.log_determinant())

    def prior_slope(self, velocity: Tensor, amplitude: float = 1.0) -> Tensor:
        """The prior's derivative by alpha at a fixed velocity,
        ``-(3/2) [d sum A / (alpha A + 1) - ((alpha A + 1)^2 A v, v)]``. Shape: (B,).
        """
        ratio = self.space.laplacian() / self._base
        moved = self.space.inner(self.space.multiply(velocity, self.slope()), velocity)
        return 0.5 * moved - 1.5 * amplitude * self.space.dims * self.space.count(ratio)

    def amplitude(self, velocity: Tensor) -> Tensor:
        """The most probable variance of the prior that a velocity comes from, ``(L v, v)`` by coordinate. Shape: (B,).
        Unit: squared voxels.
        """
        return self.energy(velocity) / (self.space.dims * self.space.weight)

    def information(self) -> Tensor:
        """What a velocity of the prior tells of ``ln alpha``: its Fisher information,
        ``(9/2) d sum (alpha A / (alpha A + 1))^2``. Shape: (B,).
        """
        return 4.5 * self.space.dims * self.space.count((1 - 1 / self._base) ** 2)
