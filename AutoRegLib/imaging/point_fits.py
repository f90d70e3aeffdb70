"""Linear maps between paired points: a shift, a rigid and an affine one, and how well each tells points left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk

Map = tuple[np.ndarray, np.ndarray]  # x -> matrix @ x + shift
_FLAT = 0.05  # of their largest extent: points that spread no further along an axis say nothing of it


def left_out(fit: Callable[[np.ndarray, np.ndarray], Map | None], start: np.ndarray, target: np.ndarray
              ) -> float | None:
    """The mean error of each point by a fit to the others; None where there is none, 0 for a single point."""
    errors = [0.0] * (len(start) == 1)
    for place in range(len(start) if len(start) > 1 else 0):
        found = fit(np.delete(start, place, axis=0), np.delete(target, place, axis=0))
        if found is None:
            return None
        errors.append(float(np.linalg.norm(found[0] @ start[place] + found[1] - target[place])))
    return float(np.mean(errors))


def _shift(start: np.ndarray, target: np.ndarray) -> Map:
    return np.eye(start.shape[1]), (target - start).mean(axis=0)


def _rigid(start: np.ndarray, target: np.ndarray) -> Map | None:
    """Reference: Kabsch, Acta Cryst. A32 (1976)."""
    if len(start) < 2:
        return None
    ours, theirs = start.mean(axis=0), target.mean(axis=0)
    if _extents(start) < start.shape[1] - 1 or _extents(target) < start.shape[1] - 1:
        return None
    left, _, right = np.linalg.svd((start - ours).T @ (target - theirs))
    keep = np.eye(start.shape[1])
    keep[-1, -1] = np.sign(np.linalg.det(right.T @ left.T))
    matrix = right.T @ keep @ left.T
    return matrix, theirs - matrix @ ours


def _affine(start: np.ndarray, target: np.ndarray) -> Map | None:
    dims = start.shape[1]
    if len(start) < 2 * (dims + 1) - 1 or _extents(start) < dims:
        return None
    centre = start.mean(axis=0)
    found = np.linalg.lstsq(np.c_[start - centre, np.ones(len(start))], target, rcond=None)[0]
    return found[:-1].T, found[-1] - found[:-1].T @ centre


def _extents(points: np.ndarray) -> int:
    """Along how many axes points spread."""
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return int((spread > _FLAT * max(float(spread[0]), 1e-9)).sum()) if spread[0] > 0 else 0


def as_transform(found: Map) -> sitk.AffineTransform:
    """The map as a transform of points."""
    return sitk.AffineTransform(found[0].ravel().tolist(), found[1].tolist())


#: a map of points onto others, shape (n, d) twice, or None where they are too few or too flat for it
FITS: dict[str, Callable[[np.ndarray, np.ndarray], Map | None]] = {"shift": _shift, "rigid": _rigid, "affine": _affine}
