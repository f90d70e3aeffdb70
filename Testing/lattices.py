"""Awkward lattices, images and displacements for the imaging tests: nothing here is axis-aligned by accident."""

from __future__ import annotations

import numpy as np

from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.geometry import Geometry, apply
from AutoRegLib.imaging.volume import Volume


def rotation(seed: int, dims: int = 3) -> np.ndarray:
    """A random proper rotation."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(dims, dims)))
    matrix[:, 0] *= np.sign(np.linalg.det(matrix))
    return matrix


def lattice(
    size: tuple[int, ...], spacing: tuple[float, ...], direction: np.ndarray, centre: tuple[float, ...],
) -> Geometry:
    """A lattice about a physical centre."""
    origin = np.array(centre) - direction @ (np.array(spacing) * (np.array(size) - 1) / 2)
    return Geometry(size, spacing, tuple(origin.tolist()), tuple(direction.ravel().tolist()))


CENTRE = (31.0, -47.0, 112.0)
OBLIQUE = lattice((22, 17, 13), (1.1, 1.7, 2.3), rotation(1), CENTRE)
LEFT_HANDED = lattice((19, 24, 15), (1.5, 0.9, 2.0), rotation(2) @ np.diag([1.0, 1.0, -1.0]), CENTRE)
PERMUTED = lattice((14, 20, 23), (2.1, 1.3, 1.0), np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]]), CENTRE)
FLIPPED = lattice((21, 18, 16), (1.0, 1.4, 1.9), np.diag([-1.0, -1.0, 1.0]), CENTRE)
LATTICES = {"oblique": OBLIQUE, "left-handed": LEFT_HANDED, "permuted": PERMUTED, "flipped": FLIPPED}
OBLIQUE_2D = lattice((26, 19), (0.7, 1.2), rotation(3, 2), (12.0, -9.0))


def positions(geometry: Geometry) -> np.ndarray:
    """Physical position of every voxel. Shape: (z, y, x, d). Unit: mm LPS."""
    axes = [np.arange(n) for n in geometry.shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij")[::-1], axis=-1)
    return apply(geometry.index_to_physical, index)


def waves(points: np.ndarray, *, seed: int, length: float = 25.0) -> np.ndarray:
    """A smooth function of physical position with values in about -1..1. Shape: (..., d) to (...)."""
    rng = np.random.default_rng(seed)
    frequencies = rng.normal(size=(4, points.shape[-1])) * (2 * np.pi / length / np.sqrt(points.shape[-1]))
    phases = rng.uniform(0, 2 * np.pi, size=4)
    return np.asarray(np.sin(points @ frequencies.T + phases).mean(axis=-1))


def smooth_image(geometry: Geometry, *, seed: int = 0) -> Volume:
    """Intensities of about 0..1000."""
    return Volume((500 + 500 * waves(positions(geometry), seed=seed)).astype(np.float32), geometry, "intensity")


def blocks(geometry: Geometry, *, seed: int = 0) -> Volume:
    """Labels 0..3 in ragged regions."""
    values = np.digitize(waves(positions(geometry), seed=seed), (-0.3, 0.0, 0.3))
    return Volume(values.astype(np.uint8), geometry, "labels")


def smooth_field(geometry: Geometry, *, seed: int = 0, size: float = 4.0) -> DisplacementField:
    """Displacements of up to about ``size`` mm, different in every component."""
    where = positions(geometry)
    vectors = np.stack([size * waves(where, seed=seed + 10 + i) for i in range(geometry.dims)], axis=-1)
    return DisplacementField(vectors.astype(np.float32), geometry)


def linear_field(geometry: Geometry, matrix: np.ndarray) -> DisplacementField:
    """The displacement of x -> c + matrix (x - c), whose Jacobian determinant is det(matrix) everywhere."""
    offset = positions(geometry) - geometry.centre
    return DisplacementField((offset @ (matrix - np.eye(geometry.dims)).T).astype(np.float32), geometry)


def inner_points(geometry: Geometry, count: int, *, seed: int = 0) -> np.ndarray:
    """Random points at least one voxel inside the lattice. Shape: (count, d). Unit: mm LPS."""
    rng = np.random.default_rng(seed)
    index = rng.uniform(1, np.array(geometry.size) - 2, size=(count, geometry.dims))
    return apply(geometry.index_to_physical, index)
