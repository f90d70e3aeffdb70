"""The transform that the user gives to start from: images, masks and words through it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.displacement import chain as chain_of
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.reach import voxels_beyond
from AutoRegLib.imaging.volume import Volume, resample

_WIDEST = 500.0  # times as far one image may reach as the other; a unit mistaken is 1000
_UNREACHED = 0.01  # of the fixed image; the affine part may move its border a little beyond a field that fits it


def check_extents(fixed: Geometry, moving: Geometry) -> None:
    """Refuse images of which one would lie within a voxel or two of the other. Raises InputError."""
    sides = [max(size * step for size, step in zip(own.size, own.spacing, strict=True)) for own in (fixed, moving)]
    if max(sides) > _WIDEST * min(sides):
        raise InputError("the images are of very different extent", expected=f"at most {_WIDEST:g} times as far",
                         got=f"{sides[0]:.4g} and {sides[1]:.4g} mm",
                         remedy="correct the voxel spacing of the one that is in another unit")


def ends_within(outer: Sequence[Any], fixed: Geometry) -> tuple[str, ...]:
    """Whether the initial transform's field ends within the fixed image, in words."""
    share = voxels_beyond(chain_of(*outer), fixed) / math.prod(fixed.size)
    if share < _UNREACHED:
        return ()
    return (f"The initial transform ends within the fixed image: it moves nothing at {100 * share:.2g} % of "
            "the voxels. Give one that covers the image.",)


def through(initial: Any, moving: Volume, geometry: Geometry) -> Volume:
    """The moving image as the initial transform places it, on the fixed grid; itself without one."""
    if initial is None:
        return moving
    if geometry.overlap_fraction(moving.geometry, initial) == 0:
        raise InputError("under the initial transform the images do not overlap",
                         expected="a transform of fixed points to moving points", got="no common voxel",
                         remedy="invert the transform, or leave it out")
    return resample(moving, geometry, initial, outside=float(moving.array.min()))


def mask_through(initial: Any, mask: np.ndarray | None, own: Geometry, geometry: Geometry) -> np.ndarray | None:
    """The moving mask where :func:`through` puts the moving image."""
    if initial is None or mask is None:
        return mask
    return np.asarray(resample(Volume(mask.astype(np.uint8), own, "labels"), geometry, initial, outside=None).array > 0)
