"""Distances between surfaces of label structures, in mm."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import array_to_image, image_to_array


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a structure with a face neighbour outside it; beyond the image counts as outside.

    Shape: boolean, any number of axes.
    """
    inside = mask.astype(bool)
    for axis in range(mask.ndim):
        padding = [(1, 1) if i == axis else (0, 0) for i in range(mask.ndim)]
        padded = np.pad(mask, padding)
        before = [slice(None)] * mask.ndim
        after = list(before)
        before[axis], after[axis] = slice(0, -2), slice(2, None)
        inside = inside & padded[tuple(before)] & padded[tuple(after)]
    return mask & ~inside


def surface_distances(first: np.ndarray, second: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """:func:`surface_distance_steps` in one go."""
    steps = surface_distance_steps(first, second, geometry)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: tuple[np.ndarray, np.ndarray] = end.value
            return found


def surface_distance_steps(
    first: np.ndarray, second: np.ndarray, geometry: Geometry
) -> Generator[str, None, tuple[np.ndarray, np.ndarray]]:
    """From every surface voxel of one structure to the nearest surface voxel of the other, both ways.

    Yields what was done after each of its longer parts, for callers that must not block.
    Shape: two boolean masks (z, y, x) on ``geometry``; two flat arrays.
    Unit: mm, between voxel centres.
    Raises: InputError when a mask is empty or does not lie on the geometry.
    """
    for mask in (first, second):
        if mask.shape != geometry.shape or mask.dtype != np.bool_ or not mask.any():
            raise InputError("surface distances need two structures", expected=f"non-empty masks {geometry.shape}",
                             got=f"{mask.dtype} {mask.shape}, {int(np.count_nonzero(mask))} voxels")
    box = _box(first | second)
    # One empty voxel all around: then every surface voxel has an outside neighbour for the filter too.
    first, second = (surface(np.pad(mask[box], 1)) for mask in (first, second))
    yield "surfaces"
    forward = _distance_to(second, geometry)[first]
    yield "surface distance"
    return forward, _distance_to(first, geometry)[second]


def thread_count() -> int:
    """How many threads SimpleITK may use: as many structures are measured side by side."""
    return int(sitk.ProcessObject.GetGlobalDefaultNumberOfThreads())


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds the mask: whole-volume distance maps of small structures are slow."""
    slices = []
    for axis in range(mask.ndim):
        filled = np.flatnonzero(mask.any(axis=tuple(i for i in range(mask.ndim) if i != axis)))
        slices.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(slices)


def _distance_to(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Distance of every voxel to the nearest voxel of a one-voxel-thin mask (mm)."""
    straight = Geometry(mask.shape[::-1], geometry.spacing, (0.0,) * mask.ndim,
                        tuple(np.eye(mask.ndim).ravel().tolist()))
    image = array_to_image(mask.astype(np.uint8), straight)
    return image_to_array(sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True))
