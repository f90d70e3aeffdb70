"""What is delivered never folds, by SimpleITK's own Jacobian filter, whatever was composed and on whatever grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import Tensor, nn

from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.recipe import Preprocessing, Recipe
from AutoRegLib.fields.prediction import Prediction, integrate
from AutoRegLib.fields.resample import resize_displacement
from AutoRegLib.imaging.align import Alignment
from AutoRegLib.imaging.displacement import DisplacementField, compose_on
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.pipeline import register_volumes
from AutoRegLib.registration.unfolding import without_folds

SIDE = {2: 40, 3: 20}


def straight(dims: int, *, side: int | None = None, spacing: float = 1.0) -> Geometry:
    return Geometry((side or SIDE[dims],) * dims, (spacing,) * dims, (0.0,) * dims,
                    tuple(np.eye(dims).ravel().tolist()))


def itk_minimum(field: DisplacementField) -> float:
    """Of a lattice without rotation. SimpleITK alone: vectors in, determinants out."""
    image = sitk.GetImageFromArray(field.vectors.astype(np.float64), isVector=True)
    image.SetSpacing(field.geometry.spacing)
    return float(sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image, True)).min())


def sheared(dims: int, random: np.random.Generator) -> sitk.AffineTransform:
    transform = sitk.AffineTransform(dims)
    transform.SetCenter([SIDE[dims] / 2] * dims)
    matrix = np.eye(dims) + random.uniform(-0.25, 0.25, (dims, dims))
    transform.SetMatrix(matrix.ravel().tolist())
    transform.SetTranslation(random.uniform(-4, 4, dims).tolist())
    return transform


class Rough(nn.Module):
    """A network that answers noise: a velocity, or a displacement alone."""

    def __init__(self, strength: float, *, velocity: bool, seed: int) -> None:
        super().__init__()
        self.strength, self.velocity, self.seed = strength, velocity, seed

    def forward(self, moving: Tensor, fixed: Tensor) -> Prediction:
        shape = fixed.shape[2:]
        half = [size // 2 for size in shape]
        noise = self.strength * torch.randn(
            (1, len(shape), *half), generator=torch.Generator().manual_seed(self.seed))
        if self.velocity:
            return Prediction(integrate(noise, shape, squarings=7), noise)
        return Prediction(resize_displacement(noise, shape), None)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("velocity", [True, False], ids=["velocity", "displacement"])
@pytest.mark.parametrize("strength", [1.0, 6.0])
@pytest.mark.parametrize("spacing", [0.7, 1.3])
def test_rough_answers_behind_sheared_affines_never_fold(
    dims: int, velocity: bool, strength: float, spacing: float,
) -> None:
    """Delivered on a grid that is not the network's."""
    random = np.random.default_rng(dims)
    grid = straight(dims, side=round(SIDE[dims] / spacing), spacing=spacing)
    image = Volume(random.random(grid.shape, dtype=np.float32), grid, "intensity")
    model = ModelBundle(Path("rough"), Recipe(spatial_dims=dims, preprocessing=Preprocessing(
        spacing=(1.0,) * dims, affine="auto")), Rough(strength, velocity=velocity, seed=dims), {}, {})
    alignment = Alignment(sheared(dims, random), 0.0, 0.0, level="affine")
    found = register_volumes(model, image, image, alignment=alignment, deliver="whole")
    assert found.unfolded > 0
    assert itk_minimum(found.field) > 0


@pytest.mark.parametrize("dims", [2, 3])
def test_any_rough_displacement_is_repaired_and_says_so(dims: int) -> None:
    random = np.random.default_rng(7)
    grid = straight(dims)
    for strength in (0.5, 2.0, 20.0):
        rough = DisplacementField(random.normal(0, strength, (*grid.shape, dims)), grid)
        field = compose_on(grid, rough.to_transform(), sheared(dims, random))
        found, oriented, count = without_folds(field)
        assert count > 0
        assert itk_minimum(found) > 0
        assert oriented.jacobian.array.min() == pytest.approx(itk_minimum(found), rel=1e-3)
        assert oriented.least.min() > 0 and oriented.turned == 0


def test_one_fold_is_mended_where_it_is_and_the_rest_stays() -> None:
    grid = straight(3, side=40)
    vectors = np.zeros((*grid.shape, 3))
    vectors[8, 8, 8] = 3.0
    found, _oriented, count = without_folds(DisplacementField(vectors, grid))
    assert count > 0
    assert itk_minimum(found) > 0
    assert np.abs(found.vectors[24:, 24:, 24:]).max() < 1e-4


def test_without_folds_nothing_changes() -> None:
    grid = straight(2)
    smooth = compose_on(grid, sheared(2, np.random.default_rng(3)))
    found, _oriented, count = without_folds(smooth)
    assert found is smooth
    assert count == 0
