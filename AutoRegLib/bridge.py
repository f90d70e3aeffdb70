"""Between patient space and tensors: the only place where axes are reversed and mm become voxels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume

_EXACT = 2**24  # whole numbers up to this are exact in float32


def to_tensor(volume: Volume) -> Tensor:
    """The voxels as a batch of one. Shape: (1, 1, z, y, x), float32. A copy."""
    return torch.from_numpy(np.array(volume.array, dtype=np.float32))[None, None]


def labels_to_tensor(labels: Volume) -> Tensor:
    """A label map as a batch of one. Shape: (1, 1, z, y, x), int16 where its values fit, else int32. A copy.

    Raises: InputError for values that float32, in which labels are warped, does not tell apart.
    """
    low, high = int(labels.array.min()), int(labels.array.max())
    if max(-low, high) > _EXACT:
        raise InputError("labels that are too large", expected=f"at most {_EXACT}", got=max(low, high, key=abs),
                         remedy="number the structures anew, e.g. from 1")
    fits = np.iinfo(np.int16).min <= low and high <= np.iinfo(np.int16).max
    return torch.from_numpy(labels.array.astype(np.int16 if fits else np.int32))[None, None]


def displacement_to_field(displacement: Tensor, geometry: Geometry) -> DisplacementField:
    """A network's displacement in patient space.

    Shape: (1, d, z, y, x) on ``geometry``, components in axis order (z, y, x).
    Unit/Direction: voxels to mm LPS; pull-back on both sides. The step of one voxel along an axis is the column
    of ``index_to_physical``, so oblique and flipped axes need no case of their own.
    Raises: InputError for another shape.
    """
    expected = (1, geometry.dims, *geometry.shape)
    if tuple(displacement.shape) != expected:
        raise InputError("displacement and geometry disagree", expected=f"shape {expected}",
                         got=tuple(displacement.shape))
    voxels = displacement.detach()[0].to("cpu", torch.float32).flip(0).movedim(0, -1).contiguous().numpy()
    return DisplacementField(voxels @ _step(geometry).T.astype(np.float32), geometry)


def field_to_displacement(field: DisplacementField) -> Tensor:
    """The inverse of ``displacement_to_field``. Shape: (1, d, z, y, x), float32. Unit: mm LPS to voxels."""
    voxels = field.vectors @ np.linalg.inv(_step(field.geometry)).T.astype(np.float32)
    components = np.moveaxis(voxels[..., ::-1], -1, 0)[None]
    return torch.from_numpy(np.ascontiguousarray(components, dtype=np.float32))


def _step(geometry: Geometry) -> np.ndarray:
    """Columns: the step of one voxel along x, y, z. Unit: mm LPS."""
    return geometry.index_to_physical[:-1, :-1]
