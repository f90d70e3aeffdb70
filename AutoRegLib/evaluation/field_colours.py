"""A displacement as a picture, in the same colours everywhere."""

from __future__ import annotations

import numpy as np

CLIP = 10.0  # voxels: the field of a picture runs from minus to plus this


def colours(field: np.ndarray, *, clip: float = CLIP) -> np.ndarray:
    """A field as a picture: each component, clipped, from 0 to 1; none is 0.5. A plane's third component is none.

    Shape: (d, rows, columns), axis order, to (rows, columns, 3). Unit: of ``clip``.
    """
    picture = np.full((*field.shape[1:], 3), 0.5, dtype=np.float32)
    for number, component in enumerate(field[::-1]):
        picture[..., number] = np.clip(component / (2 * clip) + 0.5, 0.0, 1.0)
    return picture
