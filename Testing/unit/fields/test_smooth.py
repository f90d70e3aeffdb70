"""Gaussian smoothing: the border repeated, by matrices and by convolutions alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from AutoRegLib.fields import smooth


@pytest.mark.parametrize("shape", [(7, 9), (5, 1, 8)])
@pytest.mark.parametrize("short", [0, 100])
def test_as_scipy_smooths(shape: tuple[int, ...], short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smooth, "_SHORT", short)
    values = torch.randn((2, 3, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = smooth.gaussian(values, 1.5).numpy()
    wanted = np.stack([[gaussian_filter(channel, 1.5, mode="nearest", truncate=2.0) for channel in one]
                       for one in values.numpy()])
    assert np.abs(found - wanted).max() < 1e-12 < np.abs(wanted - values.numpy()).max()
