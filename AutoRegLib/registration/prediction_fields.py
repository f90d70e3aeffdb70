"""What was predicted on the working grid as fields in mm, and the chain of transforms that undoes it."""

from __future__ import annotations

from typing import Any

import torch

from AutoRegLib.bridge import displacement_to_field
from AutoRegLib.fields.prediction import Prediction, way_back
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.geometry import Geometry


def fields_of(
    prediction: Prediction, grid: Geometry, *, squarings: int
) -> tuple[DisplacementField, DisplacementField | None, DisplacementField | None]:
    """The pull-back on the working grid; the inverse, where it is known; of a geodesic minus its initial velocity.

    Unit: mm LPS.
    """
    with torch.inference_mode():
        forward = displacement_to_field(prediction.displacement.cpu(), grid)
        back, start = way_back(prediction, squarings=squarings), prediction.initial
        return forward, *(None if field is None else displacement_to_field(field.cpu(), grid)
                          for field in (back, None if start is None else -start))  # type: ignore[return-value]


def undone(backward: DisplacementField | None, outer: tuple[Any, ...]) -> tuple[Any, ...]:
    """The chain undone: moving to fixed points. Empty where a link has no inverse of its own."""
    if backward is None:
        return ()
    try:
        return (*(transform.GetInverse() for transform in reversed(outer)), backward.to_transform())
    except RuntimeError:  # SimpleITK: a field given as the initial transform
        return ()
