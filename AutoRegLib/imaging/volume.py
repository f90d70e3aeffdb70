"""An image or label map with its place in the patient, and its resampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.geometry import Geometry

Kind = Literal["intensity", "labels"]

_CT_AIR = -500.0  # Hounsfield units; nothing else has voxels so far below zero


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels, where they lie, and what they mean.

    Shape: ``array`` (z, y, x) or (y, x), equal to ``geometry.shape``.
    ``kind`` decides the interpolation everywhere: linear for intensity, nearest for labels.
    Raises: InputError when array and geometry disagree, or labels are not integers.
    """

    array: np.ndarray
    geometry: Geometry
    kind: Kind

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.shape:
            raise InputError("array and geometry disagree", expected=f"array shape {self.geometry.shape}",
                             got=self.array.shape, remedy="arrays are (z, y, x), sizes are (x, y, z)")
        if self.kind not in ("intensity", "labels"):
            raise InputError("kind of a volume", expected="intensity or labels", got=self.kind)
        if self.kind == "labels" and self.array.dtype.kind not in "iub":
            raise InputError("labels must be integers", expected="an integer array", got=self.array.dtype,
                             remedy="round the labels, or use kind 'intensity'")

    def __repr__(self) -> str:
        size = "x".join(map(str, self.geometry.size))
        spacing = " x ".join(f"{s:.4g}" for s in self.geometry.spacing)
        content = f"{np.unique(self.array).size} values" if self.kind == "labels" else (
            f"{float(self.array.min()):.4g} to {float(self.array.max()):.4g}")
        return f"Volume({self.kind}, {size} voxels of {spacing} mm, {self.array.dtype}, {content})"


def geometry_of(image: sitk.Image) -> Geometry:
    """The geometry of a SimpleITK image. Raises InputError."""
    return Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def array_to_image(array: np.ndarray, geometry: Geometry, *, vectors: bool = False) -> sitk.Image:
    """A SimpleITK image of a (z, y, x) array, or (z, y, x, d) with ``vectors``."""
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=vectors)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def image_to_array(image: sitk.Image) -> np.ndarray:
    """A copy of the voxels, (z, y, x) or (z, y, x, components)."""
    return sitk.GetArrayFromImage(image)


def to_sitk(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image (a copy)."""
    return array_to_image(volume.array, volume.geometry)


def resample(
    volume: Volume, geometry: Geometry, transform: sitk.Transform | None = None, *,
    outside: float | None = 0, antialias: bool = False,
) -> Volume:
    """The volume seen on another grid; ``kind`` decides the interpolation.

    ``outside`` is the value where the volume does not reach; None repeats its border voxels.
    ``antialias`` smooths an intensity volume first along axes that become coarser, with the Gaussian that
    turns the old voxel's width into the new one's.

    Direction: pull-back, ``result(x) = volume(transform(x))`` with x on ``geometry``.
    Unit: mm LPS; intensity results are float32, labels keep their type.
    Raises: InputError when the dimensions differ.
    Reference: Cardoso et al., Scale factor point spread function matching, MICCAI 2015, Eq. 5 (``antialias``).
    """
    if volume.geometry.dims != geometry.dims:
        raise InputError("image and target grid differ in dimension", expected=f"{geometry.dims}-D",
                         got=f"{volume.geometry.dims}-D", remedy="register images of the same dimension")
    image = to_sitk(volume)
    if volume.kind == "intensity":
        image = sitk.Cast(image, sitk.sitkFloat32)
        if antialias:
            image = _smooth_for(image, volume.geometry, geometry)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(geometry.size)
    resampler.SetOutputSpacing(geometry.spacing)
    resampler.SetOutputOrigin(geometry.origin)
    resampler.SetOutputDirection(geometry.direction)
    resampler.SetInterpolator(sitk.sitkLinear if volume.kind == "intensity" else sitk.sitkNearestNeighbor)
    if transform is not None:
        resampler.SetTransform(transform)
    if outside is None:
        resampler.SetUseNearestNeighborExtrapolator(True)
    else:
        resampler.SetDefaultPixelValue(float(outside))
    array = image_to_array(resampler.Execute(image))
    return Volume(array.astype(volume.array.dtype) if volume.kind == "labels" else array, geometry, volume.kind)


def _smooth_for(image: sitk.Image, own: Geometry, target: Geometry) -> sitk.Image:
    """Smooth along each own axis to the width of the target's voxels measured along that axis."""
    towards = own.direction_matrix.T @ target.direction_matrix * np.array(target.spacing)
    width = np.linalg.norm(towards, axis=1)
    variance = np.maximum(width**2 - np.array(own.spacing) ** 2, 0) / (8 * np.log(2))
    variance[width < 1.01 * np.array(own.spacing)] = 0
    if not variance.any():
        return image
    return sitk.DiscreteGaussian(image, variance.tolist(), maximumKernelWidth=64, useImageSpacing=True)


def label_values(labels: np.ndarray) -> list[int]:
    """The values that occur, in order, found row by row: large label maps are not sorted as a whole."""
    return sorted(set().union(*(np.unique(row).tolist() for row in labels)))


def looks_like_ct(volume: Volume) -> bool:
    """Whether the values may be Hounsfield units: only CT can be told from its numbers, it has air far below zero."""
    return float(volume.array.min()) < _CT_AIR
