"""Paired points that a refinement should bring together: a soft term beside the similarity of the images."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from AutoRegLib.fields.warp import sample_at

TOLERANCE = 2.0  # mm: how well a point is known
WEIGHT = 0.1  # of the squared distance in tolerances: points 6 mm apart weigh as much as images that show nothing alike


@dataclass(frozen=True, eq=False)
class Guides:
    """Points of the fixed image and where a displacement should send them.

    Shape: ``points``, ``targets`` (n, d), ``to_mm`` (d, d), which turns an error of voxels into one of mm in the moving
    image. ``given``: a displacement (1, d, *spatial) that follows the one that is sought, or None.
    Unit: voxels, axes (z, y, x).
    """

    points: Tensor
    targets: Tensor
    to_mm: Tensor
    given: Tensor | None = None

    def of_slice(self, axis: int, place: int) -> Guides | None:
        """Those nearest to a slice across ``axis`` (0 for z), without that axis; None where there are none."""
        near = (self.points[:, axis].round() == place).nonzero()[:, 0]
        kept = [component for component in range(self.points.shape[1]) if component != axis]
        if len(near) == 0:
            return None
        return Guides(self.points[near][:, kept], self.targets[near][:, kept], self.to_mm[:, kept])

    def following(self, given: Tensor | None) -> Guides:
        """The same where the displacement that is sought is followed by another one."""
        return replace(self, given=given)


def guide_loss(displacement: Tensor, guides: Guides, *, factor: int) -> Tensor:
    """The weight times the mean squared distance of the moved points to where they belong, in squared tolerances.

    Shape: ``displacement`` (1, d, *spatial) on a grid whose voxels cover ``factor`` of the points' per axis; a scalar.
    Unit: voxels of its own grid.
    """
    places = (guides.points + 0.5) / factor - 0.5
    moved = guides.points + factor * sample_at(displacement, places[None])[0].T
    if guides.given is not None:
        moved = moved + sample_at(guides.given, moved[None])[0].T
    error = (moved - guides.targets) @ guides.to_mm.T
    return WEIGHT * error.square().sum(dim=1).mean() / TOLERANCE**2
