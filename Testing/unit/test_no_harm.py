"""What counts as harm: overlap read on grids shifted by parts of a voxel."""

from __future__ import annotations

import numpy as np
import pytest

from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from benchmarks.known_warps import Case
from benchmarks.no_harm import harmed, lost, read_again

_GRID = Geometry((40, 40), (2.0, 2.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))


def _case(off: int) -> Case:
    """A square of 20 voxels, and the same ``off`` voxels further along x."""
    image = Volume(np.zeros(_GRID.shape, np.float32), _GRID, "intensity")
    labels = [Volume(np.zeros(_GRID.shape, np.uint8), _GRID, "labels") for _ in range(2)]
    labels[0].array[10:30, 8:28] = labels[1].array[10:30, 8 + off : 28 + off] = 1
    return Case("squares", image, image, fixed_labels=labels[0], moving_labels=labels[1])


def _shift(voxels: float) -> DisplacementField:
    vectors = np.zeros((*_GRID.shape, 2))
    vectors[..., 0] = 2.0 * voxels
    return DisplacementField(vectors, _GRID)


def test_a_whole_shift_is_read_alike_on_all_grids() -> None:
    """By hand: squares 2 of 20 voxels apart overlap by 0.9; a field that goes 2 voxels brings them together."""
    found = read_again(_case(2), _shift(2))
    assert found["read again"] == pytest.approx(0.1, abs=1e-6) and found["read again sd"] == pytest.approx(0, abs=1e-6)
    worse = read_again(_case(2), _shift(-2))  # 4 voxels apart: 0.8
    assert worse["read again"] == pytest.approx(-0.1, abs=1e-6)
    row = {"before Dice": 0.9, "after Dice": 0.8, **worse, "harmed": True}
    assert harmed(row) and lost(row)


def test_half_a_voxel_is_within_what_voxels_tell() -> None:
    """By hand: moved by half a voxel a square is read as it is or one voxel off, 1 or 0.95, about as often."""
    found = read_again(_case(0), _shift(0.5), grids=200)
    assert found["read again"] == pytest.approx(-0.025, abs=0.005)
    assert found["read again sd"] == pytest.approx(0.025, abs=0.002)
    assert not lost({"harmed": True, **found}) and not lost({"harmed": False, "read again": -1, "read again sd": 0})


def test_without_labels_nothing_is_read() -> None:
    bare = Case("bare", *(_case(0).fixed for _ in range(2)))
    assert read_again(bare, _shift(0)) == {} and lost({"harmed": True})
