"""The way back: the inverse of a delivered displacement field, on the moving image's grid."""

from __future__ import annotations

import numpy as np

from AutoRegLib.imaging.displacement import DisplacementField, compose_on
from AutoRegLib.imaging.geometry import Geometry, apply
from AutoRegLib.metrics import coordinates


def fit_affine(field: DisplacementField, *, samples: int = 50000) -> tuple[np.ndarray, np.ndarray]:
    """The affine map ``x -> M x + b`` closest to ``x -> x + u(x)`` in the least-squares sense.

    Shape: M (d, d), b (d,). Unit: mm LPS. Direction: the field's own.
    """
    step = max(1, round((field.vectors[..., 0].size / samples) ** (1 / field.geometry.dims)))
    every = (slice(None, None, step),) * field.geometry.dims
    points = coordinates(field.geometry)[every].reshape(-1, field.geometry.dims).astype(np.float64)
    moved = points + field.vectors[every].reshape(points.shape)
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
    backwards = _inverse(fit_affine(forward)[0]).astype(np.float32)
    there = forward.to_transform()
    lattice = guess.geometry
    start = coordinates(lattice)
    candidate, beyond = _kept_inside(forward.geometry, start, guess.vectors)
    best = candidate
    residual = np.zeros_like(best)
    error = np.full(best.shape[:-1], np.inf, dtype=np.float32)
    damping = np.ones(best.shape[:-1], dtype=np.float32)
    for _ in range(iterations + 1):
        loop = compose_on(lattice, DisplacementField(candidate, lattice).to_transform(), there).vectors
        size = np.linalg.norm(loop, axis=-1)
        better = size < error
        best = np.where(better[..., None], candidate, best)
        residual = np.where(better[..., None], loop, residual)
        error = np.where(better, size, error)
        damping = np.where(better, np.minimum(1.0, 2 * damping), damping / 2).astype(np.float32)
        if beyond.all() or np.percentile(error[~beyond], 99) < tolerance:
            break
        candidate = best - damping[..., None] * (residual @ backwards.T)
        candidate, _ = _kept_inside(forward.geometry, start, candidate)
    lost = beyond & (error > 0.1 * min(forward.geometry.spacing))
    best[lost] = guess.vectors[lost]
    return DisplacementField(best, lattice)


def _kept_inside(lattice: Geometry, start: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vectors, those that lead out of the lattice shortened to its nearest point; and which those were.

    Shape: ``start`` and ``vectors`` (z, y, x, d), mm LPS.
    """
    index = apply(lattice.physical_to_index, start + vectors)
    # a hair inside: at the very edge rounding decides whether a field is asked or 0 comes back
    low, high = -0.499, np.array(lattice.size) - 0.501
    beyond: np.ndarray = np.asarray(((index < low) | (index > high)).any(axis=-1))
    kept = vectors.copy()
    kept[beyond] = apply(lattice.index_to_physical, np.clip(index[beyond], low, high)) - start[beyond]
    return kept, beyond


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a linear part; the identity for one that is degenerate (it only speeds the iteration up)."""
    if np.linalg.cond(matrix) > 1e6:
        return np.eye(len(matrix))
    return np.asarray(np.linalg.inv(matrix))
