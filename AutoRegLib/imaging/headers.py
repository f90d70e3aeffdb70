"""The geometry of an image file without reading its voxels."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from AutoRegLib.errors import InputError
from AutoRegLib.imaging.geometry import Geometry


def read_geometry(path: str | Path) -> Geometry:
    """Size, spacing, origin and direction from the header; trailing axes of one voxel are dropped.

    Unit/Direction: mm LPS. Raises InputError when the file is missing or no image.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise InputError(f"{path} cannot be read", expected="an image file", remedy="check the path and format") from None
    size, dims = reader.GetSize(), reader.GetDimension()
    keep = dims
    while keep > 2 and size[keep - 1] == 1:
        keep -= 1
    direction = reader.GetDirection()
    return Geometry(
        tuple(size[:keep]), tuple(reader.GetSpacing()[:keep]), tuple(reader.GetOrigin()[:keep]),
        tuple(direction[row * dims + column] for row in range(keep) for column in range(keep)),
    )
