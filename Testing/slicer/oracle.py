"""What SimpleITK says about the same nodes and files: the oracle of the geometry tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from AutoRegSlicerLib.scene.grids import RAS_LPS, Lattice, ownLattice
from AutoRegSlicerLib.scene.volumes import voxelsOf


def toSitk(voxels: np.ndarray, on: Lattice) -> sitk.Image:
    """Voxels (z, y, x) on a lattice as a SimpleITK image (LPS)."""
    image = sitk.GetImageFromArray(voxels)
    lps = RAS_LPS @ on.ijkToRAS
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(on.spacing.tolist())
    image.SetDirection((lps[:3, :3] / on.spacing).ravel().tolist())
    return image


def nodeImage(node: Any) -> sitk.Image:
    """A volume node, without its transforms, as a SimpleITK image."""
    return toSitk(voxelsOf(node), ownLattice(node))


def resample(image: sitk.Image, reference: sitk.Image, transform: sitk.Transform, *, labels: bool) -> np.ndarray:
    """SimpleITK's own resampling, linear or nearest, 0 outside."""
    how = sitk.sitkNearestNeighbor if labels else sitk.sitkLinear
    image = image if labels else sitk.Cast(image, sitk.sitkFloat64)
    return sitk.GetArrayFromImage(sitk.Resample(image, reference, transform, how, 0.0))


def fieldTransform(path: Path) -> sitk.Transform:
    """A displacement field file as a transform of points, LPS."""
    return sitk.DisplacementFieldTransform(sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkVectorFloat64))


def gridTransform(vectors: np.ndarray, on: Lattice) -> sitk.Transform:
    """A displacement grid (RAS mm) as a transform of points, LPS."""
    lps = vectors * np.array([-1.0, -1.0, 1.0])
    image = sitk.GetImageFromArray(lps.astype(np.float64), isVector=True)
    image.CopyInformation(toSitk(np.zeros(on.size[::-1], np.uint8), on))
    return sitk.DisplacementFieldTransform(image)


def affineTransform(matrixRAS: np.ndarray) -> sitk.Transform:
    """A matrix of RAS points as a transform of LPS points."""
    matrix = RAS_LPS @ matrixRAS @ RAS_LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def throughRAS(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """RAS points through an LPS transform."""
    sign = np.array([-1.0, -1.0, 1.0])
    return np.array([transform.TransformPoint((point * sign).tolist()) for point in points]) * sign


def inner(mask: np.ndarray, voxels: int = 1) -> np.ndarray:
    """The mask without what is close to its border: there SimpleITK and VTK end an image differently."""
    result = mask.copy()
    for _ in range(voxels):
        padded = np.pad(result, 1)
        result = result.copy()
        for axis in range(3):
            for step in (-1, 1):
                result &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    return result
