"""How much of a displacement lies at which frequency, and whether some fields are like others in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

BINS = 12
_LOW, _HIGH = 5, 95  # percentiles that are shown
FLOOR = 1e-6  # of the largest power: below it is rounding


def power_spectrum(field: Tensor) -> np.ndarray:
    """Mean power of the components at :data:`BINS` even bands of spatial frequency, 0 to 0.5 per voxel.

    A Hann window keeps the border's jump out; the mean displacement is taken off. Shape: (1, d, *spatial) to (BINS,).
    """
    values = field[0].detach().cpu().double().numpy()
    axes = tuple(range(1, values.ndim))
    values = values - values.mean(axis=axes, keepdims=True)
    for axis in axes:
        window = np.hanning(values.shape[axis] + 2)[1:-1]
        values = values * window.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    power = (np.abs(np.fft.fftn(values, axes=axes)) ** 2).sum(axis=0) / values[0].size
    frequencies = np.meshgrid(*(np.fft.fftfreq(n) for n in power.shape), indexing="ij")
    radius = np.sqrt(sum(f**2 for f in frequencies))
    band = np.minimum((radius / 0.5 * BINS).astype(int), BINS)  # the corners beyond 0.5 are left out
    sums = np.bincount(band.ravel(), power.ravel(), minlength=BINS + 1)[:BINS]
    counts = np.bincount(band.ravel(), minlength=BINS + 1)[:BINS]
    return np.asarray(sums / np.maximum(counts, 1))


def inside_share(samples: np.ndarray, training: np.ndarray) -> float:
    """The part of the samples' band powers that lie within the range of the training's, band by band.

    Powers below :data:`FLOOR` of the training's largest count as the floor, and where neither reaches it there is
    nothing to compare. Shape: (n, BINS) and (m, BINS).
    """
    floor = FLOOR * training.max()
    low, high = (np.maximum(edge, floor) for edge in (training.min(axis=0), training.max(axis=0)))
    values = np.maximum(samples, floor)
    compared = (values > floor) | (high > floor)
    return float(((values >= low) & (values <= high))[compared].mean())


def spectrum_rows(spectra: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The table behind the figure: percentiles, least and most of each band."""
    centres = (np.arange(BINS) + 0.5) * 0.5 / BINS
    return [{"fields": name, "frequency": round(float(centre), 4), "median": float(np.median(band)),
             "p5": float(np.percentile(band, _LOW)), "p95": float(np.percentile(band, _HIGH)),
             "least": float(band.min()), "most": float(band.max())}
            for name, powers in spectra.items() for centre, band in zip(centres, powers.T, strict=True)]
