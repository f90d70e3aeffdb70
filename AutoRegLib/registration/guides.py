"""Paired points that the user trusts, as soft guidance of the alignment and of the refinement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.imaging.align import Alignment
from AutoRegLib.imaging.align_evidence import SCALES
from AutoRegLib.imaging.displacement import DisplacementField, affine_of, transform_points
from AutoRegLib.imaging.geometry import Geometry, apply
from AutoRegLib.imaging.point_fits import FITS, as_transform, left_out
from AutoRegLib.imaging.transforms import translation
from AutoRegLib.losses.guides import TOLERANCE, Guides, guide_loss
from AutoRegLib.registration.guard import Look, harm
from AutoRegLib.registration.metrics import inside, tre

_AGREED = 0.5  # of what the alignment leaves: points by chance predict one another no better than that


@dataclass(frozen=True)
class Landmarks:
    """Corresponding points. Shape: (n, d) twice. Unit: mm LPS."""

    names: tuple[str, ...]
    fixed: np.ndarray
    moving: np.ndarray


def numbered(points: Landmarks | None) -> Landmarks | None:
    """The points called by their place, counted from 1."""
    return None if points is None else replace(points, names=tuple(f"{n + 1}" for n in range(len(points.names))))


def check_inside(guides: Landmarks, fixed: Geometry, moving: Geometry) -> None:
    """Raises InputError naming the points that lie outside their image."""
    for role, points, image in (("fixed", guides.fixed, fixed), ("moving", guides.moving, moving)):
        out = [name for name, within in zip(guides.names, inside(image, points), strict=True) if not within]
        if out:
            raise InputError(f"guide landmarks outside the {role} image", expected="points within the image (mm, LPS)",
                             got=", ".join(out[:5]) + (f" and {len(out) - 5} more" if len(out) > 5 else ""),
                             remedy="check the coordinate system of the file, or remove these points from both lists")


def check_linear(initial: Any) -> None:
    """Raises InputError for an initial transform through which points cannot be taken back."""
    if initial is not None and not initial.IsLinear():
        raise InputError("guide landmarks with an initial transform that is not linear", expected="a linear one",
                         got=initial.GetName(), remedy="leave one of both out")


def guided(look: Look, alignment: Alignment, guides: Landmarks) -> Alignment:
    """The alignment, or what the points say instead where it leaves them apart and they agree about what is missing.

    Where they lie further apart than their tolerance, a shift, a rigid and, with twice as many points as it needs, an
    affine map are fitted to what the alignment, and to what the headers leave; of these the one counts that predicts
    points left out of the fit best. It is taken where it leaves less than half of what the alignment leaves, or less
    and the images agree no less. A single point's shift is taken where the images agree no less.
    """
    dims, count = guides.fixed.shape[1], len(guides.names)
    last = [] if look.initial is None else [look.initial]
    target = guides.moving if not last else transform_points(affine_of(*last).GetInverse(), guides.moving)
    left = float(tre(transform_points(affine_of(alignment.transform, *last), guides.fixed), guides.moving).mean())
    if left <= TOLERANCE:
        return alignment
    found = []
    for base in (alignment.transform, translation(np.zeros(dims))):
        start = transform_points(base, guides.fixed)
        for name, fit in FITS.items():
            correction, error = fit(start, target), left_out(fit, start, target)
            if correction is not None and error is not None:
                found.append((error, name, affine_of(base, as_transform(correction))))
    error, name, transform = min(found, key=lambda one: one[0])
    scales = np.linalg.svd(np.array(transform.GetMatrix()).reshape(dims, dims), compute_uv=False)
    if scales.min() < SCALES[0] or scales.max() > SCALES[1] or (count > 1 and error >= left):
        return alignment
    agreed = count > 1 and error < _AGREED * left
    if not agreed and harm(look.scores(alignment.transform), look.scores(transform)):
        return alignment
    reason = f"guide landmarks lay {left:.1f} mm apart" + (f" and agree within {error:.1f} mm" if agreed else
                                                           ", and the images agree no less")
    return replace(alignment, transform=transform, kept=f"{name} of landmarks", reason=reason, before=(
        *alignment.before, (alignment.kept, alignment.transform)))


def on_grid(guides: Landmarks, grid: Geometry, *outer: Any) -> Guides:
    """The points on a working grid, of images that ``outer``, linear maps from fixed to moving points, aligned."""
    linear = affine_of(*outer)
    voxels = [apply(grid.physical_to_index, points)[:, ::-1].copy() for points in (
        guides.fixed, transform_points(linear.GetInverse(), guides.moving))]
    matrix = np.array(linear.GetMatrix()).reshape(grid.dims, grid.dims) @ grid.index_to_physical[:-1, :-1]
    return Guides(*(torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
                    for array in (*voxels, matrix[:, ::-1])))


def nearer(prediction: Prediction, guides: Landmarks, grid: Geometry, *outer: Any) -> bool:
    """Whether a deformation of the working grid brings the points together, compared with the alignment alone."""
    points, still = on_grid(guides, grid, *outer), torch.zeros_like(prediction.displacement)
    moved, unmoved = (float(guide_loss(field.cpu(), points, factor=1)) for field in (prediction.displacement, still))
    return moved < unmoved


def guide_measures(guides: Landmarks, alignment: Any, initial: Any, whole: DisplacementField) -> dict[str, Any]:
    """How far apart guide landmarks lie by the headers, after the alignment and after everything. Unit: mm."""
    outer: Sequence[Any] = (alignment,) if initial is None else (alignment, initial)
    errors = tre(whole.warp_points(guides.fixed), guides.moving)
    return {"guide_landmarks": {
        "count": len(guides.names), "tolerance_mm": TOLERANCE,
        "before_mm": float(tre(guides.fixed, guides.moving).mean()),
        "aligned_mm": float(tre(transform_points(affine_of(*outer), guides.fixed), guides.moving).mean()),
        "after_mm": float(errors.mean()), "after_max_mm": float(errors.max()),
        "after_by_landmark_mm": {f"{place} {name}": float(error) for place, (name, error) in enumerate(
            zip(guides.names, errors, strict=True), start=1)},
    }}
