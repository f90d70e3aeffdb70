"""Volumes of a single slice: do two of them have one plane to be registered in?"""

from __future__ import annotations

from typing import Any

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegSlicerLib.scene import volumes
from AutoRegSlicerLib.scene.grids import RAS_LPS, Lattice
from AutoRegSlicerLib.scene.values import Message, Node


def isSlice(volume: Node) -> bool:
    """Whether a volume has one axis of one voxel, and no more."""
    image = None if volume is None else volume.GetImageData()
    return image is not None and list(image.GetDimensions()).count(1) == 1


def dimensions(fixed: Node, moving: Node) -> int:
    """In how many dimensions two volumes are registered: two slices are pictures."""
    return 2 if isSlice(fixed) and isSlice(moving) else 3


def checkSlices(fixed: Node, moving: Node) -> list[Message]:
    """What is to be said of two volumes of which at least one is a slice, in the library's own words.

    Codes that block: flat-image (beside a volume, planes that are not parallel), bent-slice. Remark: slices-apart.
    """
    lattices = [volumes.exportLattice(volume) for volume in (fixed, moving)]
    for role, volume in (("fixed", fixed), ("moving", moving)):
        if bent := bentSlice(f"The {role} volume", volume):
            return bent
    from AutoRegLib.imaging.single_slice import slice_pair  # loads SimpleITK, which comes with Slicer

    try:
        slices = slice_pair(*(_geometry(lattice or volumes.ownLattice(volume))
                              for lattice, volume in zip(lattices, (fixed, moving), strict=True)))
    except InputError as problem:
        return [Message("flat-image", f"{problem.what[:1].upper()}{problem.what[1:]} ({problem.got}): "
                        f"{problem.remedy}.")]
    return [] if slices is None else [Message("slices-apart", f"{words[:1].upper()}{words[1:]}.", blocking=False)
                                      for words in slices.words]


def bentSlice(who: str, volume: Node) -> list[Message]:
    """Code bent-slice where the volume is a slice that a transform takes out of its plane."""
    if not isSlice(volume) or volumes.exportLattice(volume) is not None:
        return []
    return [Message("bent-slice", f"{who} is a single slice under a non-linear transform, which bends it out of its "
                    "plane: take it off that transform.")]


def ontoPlane(points: np.ndarray, fixed: Node) -> np.ndarray:
    """Points, straight onto the plane of a slice. Shape: (n, 3). Unit: mm RAS."""
    lattice = volumes.exportLattice(fixed)
    if lattice is None:
        return points
    normal = lattice.directions[:, lattice.size.index(1)]
    middle = lattice.corners.mean(axis=0)
    return np.asarray(points - np.outer((points - middle) @ normal, normal))


def _geometry(lattice: Lattice) -> Any:
    from AutoRegLib.imaging.geometry import Geometry

    lps = RAS_LPS @ lattice.ijkToRAS
    return Geometry(lattice.size, tuple(lattice.spacing.tolist()), tuple(lps[:3, 3].tolist()),
                    tuple((lps[:3, :3] / lattice.spacing).ravel().tolist()))
