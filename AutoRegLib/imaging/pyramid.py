"""Both images of a pair at falling resolution, for an alignment from coarse to fine."""

from __future__ import annotations

import numpy as np

from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.preprocess import intensity_scaling, scale_intensity
from AutoRegLib.imaging.volume import Volume, resample

_FINEST = {2: 128**2, 3: 80**3}  # voxels of the finest level: more did not improve the alignment
_COARSEST = {2: 24**2, 3: 10**3}  # fewer leave too little for a histogram


def pyramid_of(fixed: Volume, moving: Volume) -> list[tuple[Volume, Volume]]:
    """Both images scaled to [0, 1] at falling spacing, coarsest first; about the same spacing for both."""
    geometry = fixed.geometry
    extent = np.array(geometry.size) * np.array(geometry.spacing)
    finest = max(min(geometry.spacing), float(np.prod(extent) / _FINEST[geometry.dims]) ** (1 / geometry.dims))
    scaled = [scale_intensity(v, intensity_scaling(v)) for v in (fixed, moving)]
    levels: list[tuple[Volume, Volume]] = []
    for factor in (1, 2, 4, 8):  # each level from the finer one: smoothing full-size images is the costly part
        targets = [_coarser(v.geometry, factor * finest) for v in scaled]
        if factor > 1 and np.prod(targets[0].size) < _COARSEST[geometry.dims]:
            break
        scaled = [v if target.size == v.geometry.size else resample(v, target, outside=None, antialias=True)
                  for v, target in zip(scaled, targets, strict=True)]
        levels.insert(0, (scaled[0], scaled[1]))
    return levels


def _coarser(geometry: Geometry, spacing: float) -> Geometry:
    """The same field of view and axes with voxels of at least ``spacing``. Unit: mm."""
    own, size = np.array(geometry.spacing), np.array(geometry.size)
    count = np.maximum(np.floor(size * own / np.maximum(own, spacing) + 1e-3), 1).astype(int)
    wanted = own * size / count
    origin = geometry.centre - geometry.direction_matrix @ (wanted * (count - 1) / 2)
    return Geometry(tuple(count.tolist()), tuple(wanted.tolist()), tuple(origin.tolist()), geometry.direction)
