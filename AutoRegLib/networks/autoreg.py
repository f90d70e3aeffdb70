"""The AutoReg network: supernet and derived network in one class (AutoReg paper, Sec. III)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from AutoRegLib.core.genotype import CELLS, EDGES_PER_CELL, OPERATORS, Genotype
from AutoRegLib.core.recipe import Network
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.fields.resample import resize_displacement, resize_image
from AutoRegLib.fields.velocity import compose, exponentiate
from AutoRegLib.fields.warp import warp
from AutoRegLib.networks.cells import Cell, see_differences
from AutoRegLib.networks.common import Mixture, check_pair, crop_to, pad_to_multiple, standardise, velocity_head
from AutoRegLib.networks.correlation import local_correlation


class AutoRegNet(nn.Module):
    """Two scales, coarse to fine: features at 1/2 and 1/4, velocity at 1/4 refined at 1/2.

    The cells named in ``searched`` make it a supernet: their edges hold all candidates, and a one-hot mixture then
    equals the derived network with the same weights. ``genotype`` names the operators of the other cells.
    Shape: two images ``(B, 1, *spatial)`` of any size to a :class:`Prediction`.
    Reference: docs/method.md, sections 1.1 and 1.2.
    """

    def __init__(
        self, dims: int, *, config: Network, genotype: Genotype, searched: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.dims = dims
        self.config = config
        self.searched = tuple(searched)

        def edges(cell: str) -> list[Sequence[str]]:
            if cell in searched:
                return [OPERATORS] * EDGES_PER_CELL
            return [(name,) for name in genotype.cell(cell)]

        half, quarter = config.features
        first, second, last = config.decoder
        stride_at = 0 if config.stride_on == "first" else EDGES_PER_CELL - 1

        def features() -> nn.ModuleDict:
            return nn.ModuleDict({
                "feature_half": Cell(edges("feature_half"), dims, (1, half, half, half), stride=2, stride_at=stride_at),
                "feature_quarter": Cell(
                    edges("feature_quarter"), dims, (half, quarter, quarter, quarter), stride=2, stride_at=stride_at
                ),
            })

        self.features = nn.ModuleList(features() for _ in range(1 if config.shared_features else 2))
        near_half, near_quarter = ((2 * r + 1) ** dims if r else 0 for r in config.correlation)
        again = dims if config.passes > 1 else 0  # a further pass shows the coarse cell where the last one ended
        self.deformation_quarter = Cell(
            edges("deformation_quarter"), dims, (2 * quarter + near_quarter + again, first, second, last))
        self.deformation_half = Cell(
            edges("deformation_half"), dims, (2 * half + near_half + dims + last, first, second, last))
        self.head_quarter = velocity_head(dims, last)
        self.head_half = velocity_head(dims, last)
        self._initialise()
        self.layout = torch.channels_last_3d if dims == 3 else torch.channels_last
        self.to(memory_format=self.layout)  # type: ignore[call-overload]

    def _initialise(self) -> None:
        """He initialisation for LeakyReLU, so that signals keep their size through twelve edges."""
        heads = {self.head_quarter, self.head_half}
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)) and module not in heads:
                nn.init.kaiming_normal_(module.weight, a=0.2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if len(self.features) == 1:
            half, quarter = self.config.features
            see_differences(self.deformation_quarter, quarter)
            see_differences(self.deformation_half, half)

    def _extract(self, moving: Tensor, fixed: Tensor, mixture: Mixture) -> tuple[tuple[Tensor, Tensor], ...]:
        """(moving, fixed) features at 1/2 and at 1/4; shared weights see both images as one batch."""

        def run(cells: nn.ModuleDict, image: Tensor) -> tuple[Tensor, Tensor]:
            half = cells["feature_half"](image, mixture.get("feature_half"))
            return half, cells["feature_quarter"](half, mixture.get("feature_quarter"))

        if len(self.features) == 1:
            half, quarter = run(self.features[0], torch.cat((moving, fixed)))  # type: ignore[arg-type]
            (moving_half, fixed_half), (moving_quarter, fixed_quarter) = half.chunk(2), quarter.chunk(2)
        else:
            moving_half, moving_quarter = run(self.features[0], moving)  # type: ignore[arg-type]
            fixed_half, fixed_quarter = run(self.features[1], fixed)  # type: ignore[arg-type]
        return (moving_half, fixed_half), (moving_quarter, fixed_quarter)

    def forward(self, moving: Tensor, fixed: Tensor, mixture: Mixture | None = None) -> Prediction:
        """Predict the pull-back from fixed to moving. Raises InputError on different shapes."""
        check_pair(moving, fixed, self.dims)
        mixture = mixture or {}
        shape = fixed.shape[2:]
        moving = pad_to_multiple(standardise(moving), 4).contiguous(memory_format=self.layout)
        fixed = pad_to_multiple(standardise(fixed), 4).contiguous(memory_format=self.layout)
        (moving_half, fixed_half), (moving_quarter, fixed_quarter) = self._extract(moving, fixed, mixture)
        velocity: Tensor | None = None
        for _ in range(self.config.passes):
            velocity, displacement_half, displacement_quarter = self._estimate(
                (moving_half, fixed_half), (moving_quarter, fixed_quarter), velocity, mixture)
        full = resize_displacement(displacement_half, fixed.shape[2:])
        return Prediction(crop_to(full, shape), velocity, (displacement_half, displacement_quarter))

    def _estimate(
        self, half: tuple[Tensor, Tensor], quarter: tuple[Tensor, Tensor], before: Tensor | None, mixture: Mixture
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """One pass from coarse to fine over (moving, fixed) features: the velocity at 1/2, displacements at 1/2, 1/4.

        ``before``: the velocity at 1/2 that the pass before ended with; this one adds to it.
        """
        (moving_half, fixed_half), (moving_quarter, fixed_quarter) = half, quarter
        squarings, grid = self.config.squarings, fixed_half.shape[2:]
        radius_half, radius_quarter = self.config.correlation
        start: Tensor | None = None
        parts: list[Tensor] = []
        if before is not None:
            start = resize_displacement(before, fixed_quarter.shape[2:])
            moved = exponentiate(start, squarings=squarings)
            moving_quarter, parts = warp(moving_quarter, moved), [moved]
        elif self.config.passes > 1:
            parts = [fixed_quarter.new_zeros(len(fixed_quarter), self.dims, *fixed_quarter.shape[2:])]
        decoded = self.deformation_quarter(
            self._joined(moving_quarter, fixed_quarter, radius_quarter, parts), mixture.get("deformation_quarter"))
        velocity_quarter = self.head_quarter(decoded)
        if start is not None:
            velocity_quarter = velocity_quarter + start
        displacement_quarter = exponentiate(velocity_quarter, squarings=squarings)

        coarse = resize_displacement(displacement_quarter, grid)
        decoded = self.deformation_half(
            self._joined(warp(moving_half, coarse), fixed_half, radius_half, [coarse, resize_image(decoded, grid)]),
            mixture.get("deformation_half"),
        )
        velocity: Tensor | None = self.head_half(decoded)
        assert velocity is not None
        if self.config.update == "add":
            # the fine cell corrects the coarse velocity and need not predict everything again
            velocity = velocity + resize_displacement(velocity_quarter, grid)
            if before is not None and start is not None:  # what the quarter grid cannot hold of it
                velocity = velocity + before - resize_displacement(start, grid)
        displacement_half = exponentiate(velocity, squarings=squarings)
        if self.config.update == "compose":
            displacement_half = compose(displacement_half, coarse)
            velocity = None  # the composition is no longer the flow of one stationary velocity
        return velocity, displacement_half, displacement_quarter

    def _joined(self, moving: Tensor, fixed: Tensor, radius: int, more: Sequence[Tensor]) -> Tensor:
        """What a deformation cell reads, in one memory layout, so that joining is a plain copy."""
        near = [local_correlation(fixed, moving, radius=radius)] if radius else []
        parts = [part.contiguous(memory_format=self.layout) for part in (*near, *more)]
        return torch.cat((moving, fixed, *parts), dim=1)


def searched_cells(kind: str) -> tuple[str, ...]:
    """The cells a search stage opens: those whose name starts with ``feature`` or ``deformation``."""
    return tuple(cell for cell in CELLS if cell.startswith(kind))
