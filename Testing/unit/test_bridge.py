"""Voxels and mm: by hand, both ways, and against warping in either world."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lattices import LATTICES, OBLIQUE, OBLIQUE_2D, PERMUTED, smooth_field, smooth_image

from AutoRegLib.bridge import displacement_to_field, field_to_displacement, to_tensor
from AutoRegLib.core.errors import InputError
from AutoRegLib.fields.warp import warp
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume, resample

GEOMETRIES = pytest.mark.parametrize("geometry", [*LATTICES.values(), OBLIQUE_2D], ids=[*LATTICES, "2-D"])


def test_a_voxel_along_each_axis_by_hand() -> None:
    displacement = torch.zeros(1, 3, *PERMUTED.shape)
    displacement[0, :, 4, 5, 6] = torch.tensor([3.0, 2.0, 1.0])  # along z, y, x
    vector = displacement_to_field(displacement, PERMUTED).vectors[4, 5, 6]
    # index x runs along -P in steps of 2.1 mm, index y along S in 1.3 mm, index z along L in 1.0 mm
    assert np.abs(vector - (3 * 1.0, 1 * -2.1, 2 * 1.3)).max() < 1e-6


@GEOMETRIES
def test_there_and_back(geometry: Geometry) -> None:
    field = smooth_field(geometry)
    back = displacement_to_field(field_to_displacement(field), geometry)
    assert np.abs(back.vectors - field.vectors).max() < 1e-5
    assert back.geometry == geometry


@GEOMETRIES
def test_both_worlds_warp_alike(geometry: Geometry) -> None:
    field, image = smooth_field(geometry, size=3), smooth_image(geometry)
    in_torch = warp(to_tensor(image), field_to_displacement(field)).numpy()[0, 0]
    in_itk = resample(image, geometry, field.to_transform(), outside=None).array
    inner = (slice(4, -4),) * geometry.dims
    assert np.abs(in_torch - in_itk)[inner].max() < 0.05  # of 1000
    assert np.abs(in_torch - image.array)[inner].max() > 30


def test_to_tensor_copies() -> None:
    volume = Volume(np.arange(6, dtype=np.int16).reshape(2, 3), Geometry((3, 2), (1, 1), (0, 0), (1, 0, 0, 1)),
                    "intensity")
    tensor = to_tensor(volume)
    assert tensor.shape == (1, 1, 2, 3)
    assert tensor.dtype == torch.float32
    tensor.zero_()
    assert volume.array.max() == 5


def test_gradients_and_precision_are_left_behind() -> None:
    displacement = torch.ones(1, 3, *OBLIQUE.shape, dtype=torch.float16, requires_grad=True)
    assert displacement_to_field(displacement, OBLIQUE).vectors.dtype == np.float32


def test_refusal() -> None:
    with pytest.raises(InputError, match="displacement and geometry"):
        displacement_to_field(torch.zeros(1, 3, *OBLIQUE.size), OBLIQUE)
