"""What was predicted on the working grid as fields in mm, and the chain of transforms that undoes it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from AutoRegLib.bridge import displacement_to_field
from AutoRegLib.fields.prediction import Prediction, integrate
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
        back, start = prediction.inverse, prediction.initial
        if prediction.velocity is not None:
            back = _backwards(prediction.velocity, grid, squarings)
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


def _backwards(velocity: Tensor, grid: Geometry, squarings: int) -> Tensor:
    """The displacement of the negative velocity, padded as the network padded and cropped as it cropped."""
    factors = [-(-size // own) for size, own in zip(grid.shape, velocity.shape[2:], strict=True)]
    padded = [factor * own for factor, own in zip(factors, velocity.shape[2:], strict=True)]
    backward = integrate(-velocity, padded, squarings=squarings)
    return backward[(slice(None), slice(None), *(slice(size) for size in grid.shape))]
