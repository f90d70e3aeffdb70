"""The regularity of a pair of volumes: on which grid it is sought, estimated from the images, or told by a network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from AutoRegLib.bridge import to_tensor
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.fields.resample import resize_image
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.estimate import Stopping, estimate
from AutoRegLib.geodesic.evidence import estimate_by_evidence
from AutoRegLib.geodesic.matching import Matching
from AutoRegLib.geodesic.posterior import Posterior
from AutoRegLib.geodesic.predictor import Predictor
from AutoRegLib.imaging.align import affine_align
from AutoRegLib.imaging.geometry import working_grid
from AutoRegLib.imaging.preprocess import to_grid
from AutoRegLib.imaging.volume import Volume

By = Literal["evidence", "map"]
START = 3.0  # voxels squared
_JOINT = Stopping(most=300)


@dataclass(frozen=True, eq=False)
class PreparedPair:
    """Both images on the grid on which their regularity is sought, aligned.

    Shape: (1, 1, *spatial), intensities 0 to 1. Unit: ``spacing`` in mm, the same along every axis.
    """

    moving: Tensor
    fixed: Tensor
    spacing: float


def prepare_pair(
    fixed: Volume, moving: Volume, *, spacing: float, affine: bool = True, transform: Any = None, seed: int = 0,
) -> PreparedPair:
    """The pair on the fixed image's field of view at a spacing.

    ``transform``: what aligns them (fixed to moving points); else the affine alignment is sought, unless not wanted.
    Raises: InputError (dimensions, constant images, no overlap).
    """
    if fixed.geometry.dims != moving.geometry.dims:
        raise InputError("the two images have different dimensions", expected="both 2-D or both 3-D",
                         got=f"fixed {fixed.geometry.dims}-D, moving {moving.geometry.dims}-D")
    if transform is None and affine:
        transform = affine_align(fixed, moving, seed=seed).transform
    grid = working_grid(fixed.geometry, spacing=spacing, multiple=1)
    return PreparedPair(to_tensor(to_grid(moving, grid, transform)), to_tensor(to_grid(fixed, grid)), spacing)


def fit_regularity(
    pair: PreparedPair, *, by: By = "evidence", sigma: float | None = None, seed: int = 0,
    monitor: Monitor | None = None,
) -> dict[str, float]:
    """Estimate the regularity from the images; the matching is the squared difference.

    ``evidence``: the velocity is integrated out; ``map``: the most probable velocity and regularity together, which
    tends to too large a regularity. ``deviation`` is that of its logarithm.

    Unit: ``alpha`` in mm squared. Raises: InputError, CancelledError, DivergedError.
    """
    posterior = Posterior(Band(tuple(pair.fixed.shape[2:])), Matching(pair.moving, pair.fixed, sigma=sigma))
    if by == "map":
        found = estimate(posterior, alpha=START, estimate_alpha=True, stopping=_JOINT, monitor=monitor)
        return {"alpha": float(found.alpha) * pair.spacing**2}
    evidence = estimate_by_evidence(posterior, alpha=START, seed=seed, monitor=monitor)
    result = {"alpha": float(evidence.alpha) * pair.spacing**2}
    deviation = float(evidence.deviation)
    return result | ({"deviation": deviation} if math.isfinite(deviation) else {})


def predict_regularity(predictor: Predictor, pair: PreparedPair) -> float:
    """The network's regularity of a pair, which it sees at the spacing it was trained at.

    Unit: mm squared. Raises: InputError (dimensions, too small).
    """
    dims, device = predictor.network.settings.spatial_dims, predictor.network.centre.device
    if pair.fixed.dim() != dims + 2:
        raise InputError("the predictor is for images of another dimension", expected=f"{dims}-D",
                         got=f"{pair.fixed.dim() - 2}-D", remedy="choose another predictor")
    scale = pair.spacing / predictor.spacing
    shape = [max(round(size * scale), 1) for size in pair.fixed.shape[2:]]
    with torch.inference_mode():
        moving, fixed = (resize_image(image.to(device), shape) for image in (pair.moving, pair.fixed))
        return float(predictor.network(moving, fixed)) * predictor.spacing**2
