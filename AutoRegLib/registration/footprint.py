"""How much main memory registering a pair takes, and the working grid with which it stays below a limit."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import bytes_by_voxel
from AutoRegLib.imaging.files import read_geometry, voxel_bytes
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.registration.pair import RegisterOptions
from AutoRegLib.registration.pipeline import working_geometry

BASE = 600_000_000  # Python, its libraries and their work space, and slabs of what is large
#: bytes by voxel of the fixed image beside images and labels: while the field is composed; while it is measured and
#: written: the field, two images, the Jacobian, and what one of them is resampled, or the field written, with
COMPOSED, DELIVERED = 28, 48
RESAMPLED = 8  # by voxel of the moving image
INVERSE = 150  # more by voxel of the moving image
#: by voxel of the working grid: while a pair is refined, both ways in doubt (by descriptors at full resolution); after
REFINED, DESCRIBED, KEPT = 300, 530, 115
GUIDED = 30  # by voxel of the fixed image for each mask and for an initial transform
#: more by voxel of the fixed image for each further format of the field
FORMATS = {"nrrd": 0, "nii.gz": 40, "h5": 60, "tfm": 60, "composite.h5": 120, "npy": 40}
_LEAST = {2: 64**2, 3: 48**3}  # voxels of a working grid that is worth it


def working_voxels_within(
    gigabytes: float, fixed: str | Path, moving: str | Path, *, model: ModelBundle | None, options: RegisterOptions
) -> int:
    """The most voxels of the working grid with which a registration stays below the limit, from the headers alone.

    Raises InputError (the images alone need more, no image, geodesic shooting).
    """
    if options.transformation == "lddmm":
        raise InputError("what geodesic shooting takes was not measured", expected="svf with --memory", got="lddmm",
                         remedy="leave --memory out")
    geometry = read_geometry(fixed)
    here, there = math.prod(geometry.size), math.prod(read_geometry(moving).size)
    labels = [0 if path is None else voxel_bytes(path) for path in (options.fixed_labels, options.moving_labels)]
    guides = GUIDED * sum(path is not None for path in (
        options.fixed_mask, options.moving_mask, options.initial_transform))
    read = BASE + here * (voxel_bytes(fixed) + labels[0] + guides) + there * (voxel_bytes(moving) + labels[1])
    delivered = read + here * (DELIVERED + 2 * labels[1] + sum(FORMATS[suffix] for suffix in options.transform_format)
                               ) + there * (RESAMPLED + INVERSE * options.inverse)
    described = options.similarity == "mind" or (options.similarity == "auto" and options.refine == "auto")
    refined = (DESCRIBED if described else REFINED) if model is None else max(
        REFINED, bytes_by_voxel(model.recipe)[0])
    stages = ((read + COMPOSED * here, refined), (delivered, KEPT))
    most = int(min((1e9 * gigabytes - fixed_part) / by_voxel for fixed_part, by_voxel in stages))
    least = _LEAST[geometry.dims]
    if most < least:
        needed = max(fixed_part + least * by_voxel for fixed_part, by_voxel in stages) / 1e9
        raise InputError("these images need more memory", expected=f"--memory {math.ceil(10 * needed) / 10:g} or more",
                         got=f"--memory {gigabytes:g}",
                         remedy="leave out the inverse and further formats, resample the images, or allow more")
    return most


def coarser(model: ModelBundle, fixed: Geometry, most: int) -> ModelBundle:
    """The model with a working grid of at most so many voxels on this image; itself where it has no more."""
    while (count := math.prod((grid := working_geometry(model.recipe, fixed)).size)) > most:
        wider = 1.01 * (count / most) ** (1 / fixed.dims)
        preprocessing = replace(model.recipe.preprocessing, spacing=tuple(wider * step for step in grid.spacing))
        model = replace(model, recipe=replace(model.recipe, preprocessing=preprocessing))
    return model
