"""One pair registered by geodesic shooting: the course from coarse to fine, in the words of the report."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.options import Regularity
from AutoRegLib.fields.prediction import Prediction
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.estimate import Stopping, estimate
from AutoRegLib.geodesic.matching import Matching, Measure
from AutoRegLib.geodesic.metric import Metric
from AutoRegLib.geodesic.posterior import Posterior
from AutoRegLib.geodesic.predictor import Predictor
from AutoRegLib.geodesic.shooting import Geodesic, shoot
from AutoRegLib.registration.level_loss import Masks
from AutoRegLib.registration.refine import level_factors
from AutoRegLib.registration.regularity import PreparedPair, predict_regularity

AUTO = 16.0  # alpha, squared voxels of the working grid: what served hippocampi and brains
_BANDS = 16
_SMALL = {2: 256**2, 3: 64**3}  # working grids up to this size have no coarser level: their bands reach every voxel
_DRAFT = Stopping(most=50, change=1e-3, patience=3)
_FINAL = Stopping(most=10, change=1e-3, patience=3)
_ROUGH, _FINEST = 4.0, 3.0  # below so many voxels squared maps of twice the frequencies are a tenth of a voxel off


@dataclass(frozen=True)
class _Stage:
    """``factor``: images are averaged over so many voxels per axis; ``detail``: of the band's maps.
    ``estimated``: alpha is sought with the velocity.
    """

    factor: int
    detail: float
    stopping: Stopping
    estimated: bool = False


def shoot_pair(
    moving: Tensor, fixed: Tensor, *, regularity: Regularity | Predictor, measure: Measure, spacing: float,
    masks: Masks, monitor: Monitor | None = None,
) -> tuple[Prediction, dict[str, Any]]:
    """The most probable geodesic between two aligned images, its way back, and what was done.

    ``regularity``: alpha in mm squared; "auto" 16 squared voxels; "map" estimated with the velocity; or what a
    predictor tells. First maps have the velocities' own frequencies, in the last stage twice as many; where alpha is so
    small that there and back would be a tenth of a voxel apart, what is delivered has three times as many. A geodesic
    that is worse than standing still by its own energy is not delivered.

    Shape: images, masks (moving, fixed) (1, 1, *spatial). Unit/Direction: voxels, pull-back; ``spacing`` in mm.
    Raises: InputError, CancelledError, DivergedError. Reference: docs/method.md, section 7.
    """
    began, shape, monitor = time.perf_counter(), tuple(fixed.shape[2:]), monitor or Monitor()
    finest = level_factors(shape)[-1]
    coarse = [] if math.prod(shape) <= _SMALL[len(shape)] else [_Stage(2 * finest, 1.0, _DRAFT)]
    stages = [*coarse, _Stage(finest, 1.0, _DRAFT)]
    if regularity == "map":  # the first drafts say how far the pair moves, which is no matter of alpha
        stages.append(_Stage(finest, 1.0, _DRAFT, estimated=True))
    stages.append(_Stage(finest, 2.0, _FINAL, estimated=regularity == "map"))
    chosen_by = "predictor" if isinstance(regularity, Predictor) else {"auto": "default", "map": "images"}.get(
        str(regularity), "request")
    if isinstance(regularity, Predictor):
        regularity = predict_regularity(regularity, PreparedPair(moving, fixed, spacing))
    alpha = torch.tensor([regularity / spacing**2 if isinstance(regularity, float) else AUTO], device=fixed.device)
    velocity: Tensor | None = None
    amplitude = 1.0
    levels: list[dict[str, Any]] = []
    band = Band(shape, _BANDS, device=fixed.device)
    for place, stage in enumerate(stages):
        matching = Matching(moving, fixed, measure=measure, factor=stage.factor, window=9 if stage.factor == 1 else 7,
                            moving_mask=masks[0], fixed_mask=masks[1])
        posterior = Posterior(replace(band, detail=stage.detail), matching, amplitude=amplitude)
        started = time.perf_counter()
        if velocity is not None and not bool(posterior.at(velocity, alpha, gradient=False).energy.isfinite()):
            break  # in the finer band it folds: what the plain one found is kept
        found = estimate(
            posterior, alpha=alpha, velocity=velocity, estimate_alpha=stage.estimated, stopping=stage.stopping,
            monitor=monitor, progress=lambda share, done=place: monitor.event(  # type: ignore[misc]
                "progress", done=done + share, total=len(stages)))
        velocity, alpha = found.velocity, found.alpha
        if regularity == "map" and not stage.estimated:
            amplitude = float(found.geodesic.metric.amplitude(velocity))
        levels.append({"factor": stage.factor, "detail": stage.detail, "iterations": found.iterations,
                       "converged": bool(found.converged), "loss_before": float(found.energies[0]),
                       "loss_after": float(found.energies[-1]), "seconds": time.perf_counter() - started})
    before = float(posterior.at(torch.zeros_like(found.velocity), alpha, gradient=False).energy)
    after = float(found.energies[-1])
    if after < before:
        delivered = _delivered(found.geodesic)
        prediction = Prediction(delivered.on_grid(), None, inverse=delivered.way_back(),
                                initial=delivered.metric.space.to_grid(delivered.velocities[0]))
    else:
        prediction, after = Prediction(torch.zeros_like(fixed).expand(1, len(shape), *shape).clone(), None), before
    return prediction, {
        "transformation": "lddmm", "alpha_mm2": float(alpha) * spacing**2,
        "alpha_chosen_by": chosen_by,
        "iterations": levels[-1]["iterations"], "converged": levels[-1]["converged"], "loss_before": before,
        "loss_after": after, "seconds": time.perf_counter() - began, "levels": levels,
    }


def _delivered(found: Geodesic) -> Geodesic:
    """The geodesic, shot anew with a finer map where it is rough, unless that folds."""
    space = found.metric.space
    if not isinstance(space, Band) or float(found.metric.alpha) >= _ROUGH:
        return found
    finer = shoot(found.velocities[0], Metric.of(replace(space, detail=_FINEST), found.metric.alpha))
    return finer if float(finer.least_determinant()) > 0 else found
