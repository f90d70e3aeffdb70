"""Whether an alignment is believed: a second measure beside mutual information, and what a map may do to a body."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import image_to_array

SCALES = (0.65, 1.5)  # hippocampi of different subjects: 0.85 to 1.25; fits that lost the image: 0.01 to 0.57, 1.6
START_UNCOVERED = 0.15  # of the fixed image, lost by a start: the nearest of several good ones is the likelier
UNCOVERED = 0.3  # of the fixed image, lost beyond the stage before; a head in a tight box, turned and shifted: 0.26
_EDGES_KEPT = 0.97  # of the agreement before: noise moves it that much


def edge_agreement(
    fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform,
    masks: tuple[sitk.Image | None, sitk.Image | None] = (None, None),
) -> float:
    """How parallel the gradients of both images are under a transform, whatever their sign; 0 without an overlap.

    The mean over the overlap of ``(g . h)^2 / ((|g|^2 + e^2)(|h|^2 + f^2))``, where e and f are the mean lengths. Of
    the fixed image's mask (both: uint8, each in its image's space) what the moving one's leaves out agrees by 0.
    Reference: Haber and Modersitzki, MICCAI 2006.
    """
    moved = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    reached = sitk.Resample(sitk.Cast(moving * 0 + 1, sitk.sitkUInt8), fixed, transform, sitk.sitkNearestNeighbor, 0)
    seen = image_to_array(reached) > 0
    counted = np.ones(seen.shape, bool)
    for mask, place in zip(masks, (sitk.Transform(fixed.GetDimension(), sitk.sitkIdentity), transform), strict=True):
        if mask is not None:
            inside = image_to_array(sitk.Resample(mask, fixed, place, sitk.sitkNearestNeighbor, 0)) > 0
            seen = seen & inside
            counted = inside if mask is masks[0] else counted
    axes = tuple(axis for axis, size in enumerate(seen.shape) if size > 2)
    if not axes or not seen.any():
        return 0.0
    share = 1.0 if masks == (None, None) else seen.sum() / counted.sum()
    arrays = [image_to_array(image).astype(np.float32) for image in (fixed, moved)]
    gradients = [[np.gradient(array, axis=axis) for axis in axes] for array in arrays]
    squares = [np.sum([part**2 for part in gradient], axis=0) for gradient in gradients]
    product = np.sum([one * other for one, other in zip(*gradients, strict=True)], axis=0) ** 2
    floors = [float(np.sqrt(square[seen]).mean()) ** 2 + 1e-12 for square in squares]
    return float(share * (product / ((squares[0] + floors[0]) * (squares[1] + floors[1])))[seen].mean())


def implausible(
    found: sitk.AffineTransform, before: sitk.AffineTransform, fixed: Geometry, moving: Geometry, *,
    uncovered: float = UNCOVERED,
) -> str:
    """Why a body cannot have moved so; empty when it can. ``before``: the alignment that stands otherwise."""
    scales = np.linalg.svd(np.array(found.GetMatrix()).reshape(fixed.dims, fixed.dims), compute_uv=False)
    low, high = SCALES
    if not np.isfinite(scales).all() or scales.min() < low or scales.max() > high:
        return f"it scales by {scales.min():.2f} to {scales.max():.2f}, plausible is {low} to {high}"
    covered, held = (fixed.overlap_fraction(moving, transform) for transform in (found, before))
    if covered * max(float(scales.prod()), 1.0) < held - uncovered:  # a smaller body fills less of the same box
        return f"it leaves only {100 * covered:.0f} % of the fixed image covered, {100 * held:.0f} % without it"
    return ""


def contradicted(before: float, after: float) -> str:
    """Why the agreement of edges speaks against an alignment that raises mutual information; empty when it does not."""
    return "" if after >= _EDGES_KEPT * before else (
        f"the edges of both images agree less, {before:.3f} to {after:.3f}")
