"""The inverse of a delivered displacement field, on the moving image's grid."""

from __future__ import annotations

import numpy as np
import torch

from AutoRegLib.bridge import field_to_displacement
from AutoRegLib.fields.warp import sample_at
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.geometry import Geometry, lattice_points
from AutoRegLib.registration.metrics import coordinates


def fit_affine(field: DisplacementField, *, samples: int = 50000) -> tuple[np.ndarray, np.ndarray]:
    """The affine map ``x -> M x + b`` closest to ``x -> x + u(x)`` in the least-squares sense.

    Shape: M (d, d), b (d,). Unit: mm LPS. Direction: the field's own.
    """
    step = max(1, round((field.vectors[..., 0].size / samples) ** (1 / field.geometry.dims)))
    every = (slice(None, None, step),) * field.geometry.dims
    vectors, own = field.vectors[every], field.geometry.index_to_physical
    sparse = lattice_points(vectors.shape[-2::-1], own @ np.diag([*[float(step)] * field.geometry.dims, 1.0]))
    points = sparse.reshape(-1, field.geometry.dims).astype(np.float64)
    moved = points + vectors.reshape(points.shape)
    centre = points.mean(axis=0)  # about the centre the problem is well conditioned far from the origin
    design = np.concatenate((points - centre, np.ones((len(points), 1))), axis=1)
    solution = np.linalg.lstsq(design, moved, rcond=None)[0]
    matrix = solution[:-1].T
    return matrix, solution[-1] - matrix @ centre


def affine_guess(forward: DisplacementField, geometry: Geometry) -> DisplacementField:
    """The inverse of the field's affine part, as a start where nothing better is known. Unit: mm LPS."""
    matrix, offset = fit_affine(forward)
    points = coordinates(geometry)
    found = (points - offset) @ _inverse(matrix).T
    return DisplacementField((found - points).astype(np.float32), geometry)


@torch.inference_mode()
def refine_inverse(
    forward: DisplacementField, guess: DisplacementField, *, iterations: int = 8, tolerance: float = 0.005
) -> DisplacementField:
    """Correct a guess until ``forward(inverse(y)) = y``.

    Damped fixed-point iteration, ``x <- x - s M^-1 (forward(x) - y)`` with M the affine part of the field, so
    that rotations and scalings converge too; a voxel whose step does not help keeps its value and tries half
    the step. The search stays on the field's lattice; points that come from beyond it keep the guess, since
    nothing is known there.

    Unit: mm LPS; stops when the 99th percentile of the error is below ``tolerance``.
    Direction: ``forward`` from fixed to moving, the result from moving to fixed.
    Reference: Chen et al., A simple fixed-point approach to invert a deformation field, Med. Phys. 35 (2008).
    """
    own, lattice = forward.geometry, guess.geometry
    step = own.index_to_physical[:-1, :-1]  # mm of a voxel along x, y, z
    field = field_to_displacement(forward)
    backwards = _tensor(np.linalg.inv(step) @ _inverse(fit_affine(forward)[0]) @ step)
    size = torch.tensor(own.spacing[::-1], dtype=torch.float32)[:, None]
    # all in voxels of the forward field's lattice, components (z, y, x), points in a row
    start = _rows(lattice_points(lattice.size, own.physical_to_index @ lattice.index_to_physical))
    guessed = _rows(guess.landing(own)) - start
    low = torch.full((own.dims, 1), -0.499)  # a hair inside: at the very edge rounding decides whether there is data
    high = torch.tensor(own.shape, dtype=torch.float32)[:, None] - 0.501
    beyond = ((start + guessed < low) | (start + guessed > high)).any(dim=0)
    candidate = torch.clamp(start + guessed, low, high) - start
    best, residual = candidate, torch.zeros_like(candidate)
    error, damping = torch.full_like(start[0], torch.inf), torch.ones_like(start[0])
    for _ in range(iterations + 1):
        loop = candidate + sample_at(field, (start + candidate).T[None])[0]
        length = (loop * size).square().sum(dim=0).sqrt()
        better = length < error
        best, residual = torch.where(better, candidate, best), torch.where(better, loop, residual)
        error = torch.where(better, length, error)
        damping = torch.where(better, (2 * damping).clamp_max(1.0), damping / 2)
        if float(((error >= tolerance) & ~beyond).sum()) <= 0.01 * float((~beyond).sum()):
            break
        candidate = torch.clamp(start + best - damping * (backwards @ residual), low, high) - start
    best = torch.where(beyond & (error > 0.1 * min(own.spacing)), guessed, best)
    vectors = best.T.flip(1).numpy() @ step.T.astype(np.float32)
    return DisplacementField(vectors.reshape(guess.vectors.shape), lattice)


def _rows(points: np.ndarray) -> torch.Tensor:
    """(z, y, x, d) with components (x, y, z) as (d, points) with components (z, y, x)."""
    return torch.from_numpy(np.ascontiguousarray(points.reshape(-1, points.shape[-1])[:, ::-1].T))


def _tensor(matrix: np.ndarray) -> torch.Tensor:
    """A matrix for vectors (x, y, z) as one for vectors (z, y, x)."""
    return torch.from_numpy(matrix[::-1, ::-1].astype(np.float32))


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a linear part; the identity for one that is degenerate (it only speeds the iteration up)."""
    if np.linalg.cond(matrix) > 1e6:
        return np.eye(len(matrix))
    return np.asarray(np.linalg.inv(matrix))
