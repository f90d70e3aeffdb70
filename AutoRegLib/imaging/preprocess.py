"""From a scanner's numbers to what a network sees: intensities in [0, 1] on a working grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume, resample

# Air to dense bone. HU mean the same in every scan, so the window must not depend on the image: percentiles
# would move with the share of air in the field of view, and metal or padding (-3024) would swallow the contrast.
_CT_WINDOW = (-1000.0, 1000.0)


@dataclass(frozen=True)
class IntensityScaling:
    """The intensities that become 0 and 1. Unit: the image's own."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise InputError("intensity window", expected="two finite numbers, the lower one first",
                             got=(self.low, self.high), remedy="check that the image has contrast")

    def applied(self, array: np.ndarray) -> np.ndarray:
        """Intensities as float32 in [0, 1], clipped."""
        scaled = array.astype(np.float32)
        scaled -= np.float32(self.low)
        scaled /= np.float32(self.high - self.low)
        return np.clip(scaled, 0, 1, out=scaled)


def intensity_scaling(volume: Volume, *, modality: str = "") -> IntensityScaling:
    """The robust intensity range of an image: percentiles 0.5 and 99.5, or a fixed window for ``modality`` CT.

    Voxels equal to the image's minimum do not count: in a skull-stripped or padded image they are background,
    and enough of them would push the upper percentile into the tissue.

    Raises: InputError when the image is constant.
    """
    if modality.strip().upper() == "CT":
        return IntensityScaling(*_CT_WINDOW)
    values = volume.array[volume.array > volume.array.min()]
    if values.size == 0:
        raise InputError("a constant image has no intensity range", expected="an image with contrast",
                         got=repr(volume), remedy="check that this is the right file")
    low, high = _percentiles(values, (0.5, 99.5))
    if high <= low:  # two-valued images: the background is all the contrast there is
        low, high = float(volume.array.min()), float(values.max())
    elif np.mean(volume.array == volume.array.min()) > 0.05:
        low = float(volume.array.min())  # keep the background distinct from the darkest tissue
    return IntensityScaling(float(low), float(high))


def _percentiles(values: np.ndarray, wanted: Sequence[float]) -> list[float]:
    """``np.percentile`` in 64 bits, without a copy of large images in them; ``values`` are put into another order."""
    places = [(len(values) - 1) * percent / 100 for percent in wanted]
    pairs = [(int(place), min(int(place) + 1, len(values) - 1)) for place in places]
    values.partition(sorted({index for pair in pairs for index in pair}))
    return [float(values[a]) + (float(values[b]) - float(values[a])) * (place - a)
            for place, (a, b) in zip(places, pairs, strict=True)]


def scale_intensity(volume: Volume, scaling: IntensityScaling) -> Volume:
    """Intensities as float32 in [0, 1], clipped. Raises InputError for labels."""
    if volume.kind != "intensity":
        raise InputError("labels have no intensity to scale", expected="an intensity volume", got=repr(volume))
    return Volume(scaling.applied(volume.array), volume.geometry, "intensity")


def to_grid(
    volume: Volume, geometry: Geometry, transform: sitk.Transform | None = None, *, modality: str = "",
) -> Volume:
    """An image as a network sees it: scaled to [0, 1], smoothed if the grid is coarser, resampled once.

    Where the image does not reach, its border is repeated: a black margin would be an edge to register.

    Shape: ``geometry.shape``, float32. Direction: ``transform`` maps points of ``geometry`` into the image.
    Raises: InputError for a constant image or another dimension.
    """
    scaled = scale_intensity(volume, intensity_scaling(volume, modality=modality))
    return resample(scaled, geometry, transform, outside=None, antialias=True)
