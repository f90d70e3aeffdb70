"""Masks that say which voxels count: what lies outside is made up from what lies inside, so that it has no say."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume, looks_like_ct, resample

_PADDING = -1500.0  # Hounsfield units: air is -1000, some scanners end at -1024; padding is -2000, -2048, -3024


def continued(volume: Volume, mask: np.ndarray | None) -> Volume:
    """The image with every voxel outside its mask replaced by a smooth continuation of those inside.

    Means over growing blocks of the voxels inside, interpolated linearly: no edge appears along the mask, and
    smoothing, resampling and local windows near it see nothing of what lies outside. None, or a mask of every voxel:
    the same volume.

    Shape: mask bool (z, y, x), on the volume's grid. Unit: the image's own.
    Raises: InputError for an empty mask or another shape.
    """
    if mask is None:
        return volume
    if mask.shape != volume.array.shape or not mask.any():
        raise InputError("a mask does not fit its image", expected=f"voxels above 0, shape {volume.array.shape}",
                         got=f"{int(np.count_nonzero(mask))} of shape {mask.shape}", remedy="draw it on this image")
    if mask.all():
        return volume
    inside = mask.astype(np.float32)
    filled = _filled(volume.array.astype(np.float32) * inside, inside)
    return Volume(np.where(mask, volume.array, filled).astype(np.float32), volume.geometry, "intensity")


def mask_on(mask: np.ndarray | None, own: Geometry, grid: Geometry, transform: object = None) -> Volume | None:
    """The part of each voxel of another grid that the mask covers; beyond its image a mask goes on as at its border.

    Shape: mask bool (z, y, x) on ``own``; float32 on ``grid``, from 0 to 1. Direction: pull-back, as ``resample``.
    """
    if mask is None:
        return None
    return resample(Volume(mask.astype(np.float32), own, "intensity"), grid, transform, outside=None,  # type: ignore[arg-type]
                    antialias=True)


def counting(mask: np.ndarray | None) -> np.ndarray | None:
    """The mask, or None where it leaves nothing out."""
    return None if mask is None or mask.all() else mask.astype(bool)


def without_padding(volume: Volume, mask: np.ndarray | None = None) -> np.ndarray | None:
    """The mask (None: everything) without the voxels that no scanner measured: what is far below air in a CT.

    Zeros around a head without skull are its border, which guides, and stay.
    """
    if not looks_like_ct(volume):
        return mask
    measured = volume.array > _PADDING
    return mask if measured.all() or not measured.any() else measured if mask is None else mask.astype(bool) & measured


def counted_share(masks: Iterable[Volume | None]) -> float:
    """The part of a grid that all masks on it count; 1 without any, or where they have nothing in common."""
    parts = [mask.array for mask in masks if mask is not None]
    return float(np.prod(parts, axis=0).mean()) or 1.0 if parts else 1.0


def _filled(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``total / weight`` where there is weight, elsewhere the same of blocks twice as large, interpolated."""
    known = weight > 0
    if known.all():
        return np.asarray(total / weight)
    coarse = _filled(_blocks(total), _blocks(weight))
    for axis, size in enumerate(total.shape):
        coarse = _doubled(coarse, axis).take(range(size), axis)
    return np.asarray(np.where(known, total / np.where(known, weight, 1), coarse))


def _blocks(values: np.ndarray) -> np.ndarray:
    """Sums over blocks of two voxels per axis; an odd last one stands alone."""
    for axis, size in enumerate(values.shape):
        values = np.add.reduceat(values, range(0, size, 2), axis)
    return values


def _doubled(values: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation to twice as many voxels along an axis, the border repeated."""
    values = np.moveaxis(values, axis, 0)
    before, after = values[[0, *range(len(values) - 1)]], values[[*range(1, len(values)), len(values) - 1]]
    halves = np.stack([0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], 1)
    return np.moveaxis(halves.reshape(-1, *values.shape[1:]), 0, axis)
