"""What geodesic shooting of a pair delivers: a rough map and its inverse belong together too."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.warp import warp
from AutoRegLib.geodesic.band import Band
from AutoRegLib.geodesic.metric import Metric
from AutoRegLib.geodesic.sampling import sample_velocities
from AutoRegLib.geodesic.shooting import shoot
from AutoRegLib.registration.geodesic_pair import shoot_pair

SHAPE = (100, 100)


def test_a_rough_geodesic_and_its_inverse_are_a_tenth_of_a_voxel_apart() -> None:
    metric = Metric.of(Band(SHAPE), 1.0)
    truth = shoot(1.2 * sample_velocities(metric, [3]), metric).on_grid()
    moving = gaussian(torch.rand(1, 1, *SHAPE, generator=torch.Generator().manual_seed(0)), 2.0)
    moving = (moving - moving.min()) / (moving.max() - moving.min())
    found, done = shoot_pair(moving, warp(moving, truth), regularity=1.0, measure="ssd", spacing=1.0,
                             masks=(None, None))
    assert found.inverse is not None and done["alpha_mm2"] == 1.0
    assert float((found.displacement - truth).abs()[..., 8:-8, 8:-8].mean()) < 0.1 < float(truth.abs().mean())
    there, back = (field[0].double().numpy() for field in (found.displacement, found.inverse))
    for first, then in ((there, back), (back, there)):
        points = np.stack(np.meshgrid(*[np.arange(size) for size in SHAPE], indexing="ij")) + first
        ends = first + np.stack([map_coordinates(component, points, order=3, mode="grid-wrap") for component in then])
        assert np.abs(ends)[:, 6:-6, 6:-6].max() < 0.1
