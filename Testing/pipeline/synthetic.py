"""Small known worlds for pipeline tests: images of blobs on awkward grids, and a network whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.recipe import Preprocessing, Recipe
from AutoRegLib.fields.prediction import Prediction, integrate
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.metrics import coordinates


class KnownVelocity(nn.Module):
    """Answers every pair with the same smooth velocity, whatever the images; ``strength`` in half-grid voxels."""

    def __init__(self, dims: int, strength: float, *, velocity: bool = True) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(float(strength)))
        self.dims, self.velocity = dims, velocity

    def forward(self, moving: Tensor, fixed: Tensor) -> Prediction:
        """Waves that vanish at the border of the grid, another one for each component."""
        shape = fixed.shape[2:]
        half = [size // 2 for size in shape]
        axes = torch.meshgrid(*(torch.linspace(0, 1, n) for n in half), indexing="ij")
        bump = torch.ones(half)
        for axis in axes:
            bump = bump * torch.sin(math.pi * axis)
        waves = [torch.cos(2.0 * axis + number) for number, axis in enumerate(axes)]
        velocity = (self.strength * torch.stack([bump * wave for wave in waves]))[None]
        displacement = integrate(velocity, shape, squarings=7)
        return Prediction(displacement, velocity if self.velocity else None)


def known_model(dims: int, strength: float, *, spacing: tuple[float, ...] = (), velocity: bool = True,
                affine: str = "auto") -> ModelBundle:
    """A bundle around :class:`KnownVelocity` that needs no training and no files."""
    recipe = replace(Recipe(), spatial_dims=dims, structures={1: "left blob", 2: "right blob"},
                     preprocessing=Preprocessing(spacing=spacing, affine=affine))  # type: ignore[arg-type]
    network = KnownVelocity(dims, strength, velocity=velocity).eval()
    return ModelBundle(Path("known-model"), recipe, network, {}, {})


def rotation(*degrees: float) -> np.ndarray:
    """Turns about x, y, z in that order. Shape: (3, 3)."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        turn[[i, i, j, j], [i, j, i, j]] = [math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)]
        matrix = turn @ matrix
    return matrix


def grid_about(centre: tuple[float, ...], size: tuple[int, ...], spacing: tuple[float, ...],
               direction: np.ndarray) -> Geometry:
    """A geometry with its physical centre at ``centre``. Unit: mm."""
    middle = direction @ (np.array(spacing) * (np.array(size) - 1) / 2)
    return Geometry(size, spacing, tuple(np.array(centre) - middle), tuple(direction.ravel()))


# 3-D: oblique and anisotropic; the moving one is left-handed, permuted, of another size and spacing.
FIXED_GRID = grid_about((10, -20, 30), (26, 31, 18), (1.9, 1.6, 2.7), rotation(9, -14, 21))
MOVING_GRID = grid_about((12, -19, 29), (21, 34, 30), (2.6, 1.5, 1.7),
                         rotation(-6, 11, 5) @ np.array([[0.0, 1, 0], [0, 0, 1], [-1, 0, 0]]) @ np.diag([1.0, -1, 1]))
PLANE_FIXED = grid_about((0, 0), (40, 33), (1.0, 1.3), np.eye(2))
PLANE_MOVING = grid_about((1, -1), (37, 44), (1.2, 0.9), np.eye(2))


def blobs(geometry: Geometry, *, shift: tuple[float, ...] = (0, 0, 0), seed: int = 0) -> Volume:
    """A smooth head-like image defined in physical space, so that any grid shows the same object. Range 0..250."""
    points = coordinates(geometry).astype(np.float64)
    dims = geometry.dims
    middle = np.array((10, -20, 30) if dims == 3 else (0, 0)) + np.array(shift[:dims])
    random = np.random.default_rng(seed)
    value = 120 * np.exp(-np.sum(((points - middle) / 17) ** 2, axis=-1) ** 2)
    for _ in range(8):
        where, width = middle + random.normal(0, 8, dims), random.uniform(3, 6)
        value += 90 * np.exp(-np.sum(((points - where) / width) ** 2, axis=-1))
    return Volume(value.astype(np.float32), geometry, "intensity")


def two_blobs(geometry: Geometry, *, shift: tuple[float, ...] = (0, 0, 0)) -> Volume:
    """Two ellipsoids as labels 1 and 2, in the same physical space as :func:`blobs`."""
    points = coordinates(geometry).astype(np.float64)
    dims = geometry.dims
    middle = np.array((10, -20, 30) if dims == 3 else (0, 0)) + np.array(shift[:dims])
    labels = np.zeros(geometry.shape, np.uint8)
    for label, side in ((1, -6.0), (2, 6.0)):
        centre = middle + np.eye(dims)[0] * side
        labels[np.sum(((points - centre) / ([4, 7, 7][:dims])) ** 2, axis=-1) < 1] = label
    return Volume(labels, geometry, "labels")
