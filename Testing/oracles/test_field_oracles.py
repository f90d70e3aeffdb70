"""Warps and Jacobians against MONAI and SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.warp import sample_at, warp

SHAPES = [(11, 13), (8, 9, 10)]


def smooth(seed: int, *shape: int, channels: int, size: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(1, channels, *shape, generator=generator, dtype=torch.float64)


def to_sitk_field(displacement: torch.Tensor, spacing: tuple[float, ...]) -> sitk.Image:
    """Voxels in axis order -> a SimpleITK vector image in mm, components x, y, z."""
    vectors = displacement[0].numpy()[::-1] * np.array(spacing).reshape(-1, *[1] * len(spacing))
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.moveaxis(vectors, 0, -1)), isVector=True)
    image.SetSpacing(spacing)
    return image


@pytest.mark.parametrize("shape", SHAPES)
def test_warp_is_sitk_resampling_with_a_displacement_field(shape: tuple[int, ...]) -> None:
    image = smooth(0, *shape, channels=1, size=1)
    displacement = smooth(1, *shape, channels=len(shape), size=1.5)
    spacing = (0.7, 1.5, 2.0)[: len(shape)]
    moving = sitk.GetImageFromArray(image[0, 0].numpy())
    moving.SetSpacing(spacing)
    transform = sitk.DisplacementFieldTransform(to_sitk_field(displacement, spacing))
    for mode, interpolator in (("linear", sitk.sitkLinear), ("nearest", sitk.sitkNearestNeighbor)):
        expected = sitk.GetArrayFromImage(sitk.Resample(moving, moving, transform, interpolator, 1e9))
        inside = expected < 1e8  # SimpleITK does not extrapolate
        difference = warp(image, displacement, mode=mode)[0, 0].numpy() - expected  # type: ignore[arg-type]
        assert inside.mean() > 0.4
        assert np.abs(difference[inside]).max() < 1e-9
        assert np.abs((image[0, 0].numpy() - expected)[inside]).max() > 1


@pytest.mark.filterwarnings("ignore:.*native grid_sample:UserWarning")
@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("shape", SHAPES)
def test_warp_is_monai_warp(shape: tuple[int, ...], padding: str) -> None:
    blocks = pytest.importorskip("monai.networks.blocks", reason="MONAI is not installed")
    image = smooth(2, *shape, channels=3, size=1).float()
    displacement = smooth(3, *shape, channels=len(shape), size=2).float()
    expected = blocks.Warp(mode="bilinear", padding_mode=padding)(image, displacement)
    found = warp(image, displacement, padding=padding)  # type: ignore[arg-type]
    assert (found - expected).abs().max() < 1e-4
    assert (image - expected).abs().max() > 1


def test_points_are_read_as_sitk_reads_them() -> None:
    image = smooth(4, 8, 9, 10, channels=1, size=1)
    points = torch.rand(1, 20, 3, dtype=torch.float64) * torch.tensor([7.0, 8.0, 9.0])
    reader = sitk.GetImageFromArray(image[0, 0].numpy())
    indices = [point[::-1] for point in points[0].tolist()]
    expected = [reader.EvaluateAtContinuousIndex(index, sitk.sitkLinear) for index in indices]
    assert np.abs(sample_at(image, points)[0, 0].numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("shape", SHAPES)
def test_jacobian_is_sitk_jacobian_borders_included(shape: tuple[int, ...]) -> None:
    displacement = smooth(5, *shape, channels=len(shape), size=0.4)
    determinant = jacobian_determinant(displacement)[0].numpy()
    for spacing in ((1.0, 1.0, 1.0), (0.7, 1.5, 2.0)):
        field = to_sitk_field(displacement, spacing[: len(shape)])
        expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
        assert np.abs(determinant - expected).max() < 1e-12
        millimetres = torch.from_numpy(np.moveaxis(sitk.GetArrayFromImage(field), -1, 0)[::-1].copy())[None]
        again = jacobian_determinant(millimetres, spacing=spacing[: len(shape)][::-1])[0].numpy()
        assert np.abs(again - expected).max() < 1e-12
