"""No folds in what is delivered: the whole field is checked on its own grid, and repaired where it folds."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.tetrahedra import Orientation, orientation
from AutoRegLib.registration.inverse import fit_affine
from AutoRegLib.registration.metrics import coordinates

_LEAST = 0.02  # a repaired determinant is at least this part of the affine's: rounding must not fold it again
_TURNED = 1e-3  # a tetrahedron below this part of its volume counts as turned over: as large as rounding in files
_ROUNDS = 12
_MARGIN = 10  # voxels around a fold that a round may change
_SHRINK, _SHRINKS = 0.8, 80  # 0.8 to the 80th: nothing is left but the affine part


@torch.inference_mode()
def without_folds(field: DisplacementField) -> tuple[DisplacementField, Orientation, int]:
    """The field without folds, what it does to volumes, and at how many voxels it folded at first.

    A fold is a voxel one of whose simplices is turned over, borders included; then its determinant is positive too,
    being the mean of eight of them. A field that does not fold comes back as it is. Else what it adds to its own affine
    part is smoothed around each fold, further in every round; what folds after the last one is scaled down as a whole
    until nothing folds, which must end, as the affine part does not fold. A field whose affine part mirrors (an initial
    transform may) or turns so far that the rule at the border counts it as folded cannot be repaired and comes back as
    it is.

    Unit: mm LPS.
    """
    found = orientation(field)
    low = ~(found.least >= _TURNED)
    first = int(low.sum())
    if first == 0:
        return field, found, 0
    matrix, offset = fit_affine(field)
    points = coordinates(field.geometry)
    linear = (points @ matrix.T + offset - points).astype(np.float32)
    own = orientation(DisplacementField(linear, field.geometry)).least
    if not (own >= _TURNED).all():
        return field, found, 0
    rest = torch.from_numpy(np.moveaxis(field.vectors - linear, -1, 0).copy())[None]
    for attempt in range(_ROUNDS + _SHRINKS):
        if attempt < _ROUNDS:
            _smooth_around(rest, low, sigma=1.0 + attempt / 2)
        else:
            rest *= _SHRINK
        field = DisplacementField(linear + np.moveaxis(rest[0].numpy(), 0, -1), field.geometry)
        found = orientation(field)
        low = ~(found.least >= _LEAST * own)
        if not low.any():
            break
    return field, found, first


def _smooth_around(values: Tensor, places: np.ndarray, *, sigma: float) -> None:
    """Smooth ``values`` (1, d, *spatial) in place around the places (bool, *spatial), fading over some voxels."""
    found = np.nonzero(places)
    box = tuple(slice(max(int(axis.min()) - _MARGIN, 0), int(axis.max()) + _MARGIN + 1) for axis in found)
    pool = F.max_pool2d if places.ndim == 2 else F.max_pool3d
    near = pool(torch.from_numpy(places[box].astype(np.float32))[None, None], 7, stride=1, padding=3)
    part = values[(slice(None), slice(None), *box)]
    part.copy_(torch.lerp(part, gaussian(part, sigma), gaussian(near, 1.5)))
