"""The measures against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.displacement import DisplacementField, jacobian_determinant
from AutoRegLib.imaging.geometry import Geometry, apply
from AutoRegLib.imaging.surface_distance import surface, surface_distances
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration import metrics

OBLIQUE = np.array([[math.cos(0.4), -math.sin(0.4), 0], [math.sin(0.4), math.cos(0.4), 0], [0, 0, -1.0]])


def grid(size: tuple[int, ...] = (6, 5, 4), spacing: tuple[float, ...] = (1.0, 2.0, 3.0),
         direction: np.ndarray | None = None) -> Geometry:
    dims = len(size)
    matrix = np.eye(dims) if direction is None else direction
    return Geometry(size, spacing, (10.0, -5.0, 3.0)[:dims], tuple(matrix.ravel()))


def labels(voxels: dict[int, list[tuple[int, ...]]], geometry: Geometry) -> Volume:
    array = np.zeros(geometry.shape, np.uint8)
    for value, where in voxels.items():
        for index in where:
            array[index] = value
    return Volume(array, geometry, "labels")


def uniform(geometry: Geometry, vector: tuple[float, ...]) -> DisplacementField:
    return DisplacementField(np.full((*geometry.shape, geometry.dims), vector, np.float32), geometry)


def test_dice_by_hand() -> None:
    first = labels({1: [(0, 0, 0), (0, 0, 1), (0, 0, 2)], 2: [(1, 1, 1)]}, grid())
    second = labels({1: [(0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 0, 4), (0, 0, 5)], 3: [(2, 2, 2)]}, grid())
    # structure 1: 2 * 2 / (3 + 5); 2 and 3 are in one volume only; 4 is in neither and has no Dice
    assert metrics.dice(first, second, (1, 2, 3, 4)) == {1: 0.5, 2: 0.0, 3: 0.0}
    assert metrics.structures_of(first, second) == (1,)
    assert metrics.structures_of(first) == (1, 2)


def test_measures_of_volumes_on_other_grids_are_refused() -> None:
    first, second = labels({1: [(0, 0, 0)]}, grid()), labels({1: [(0, 0, 0)]}, grid((5, 5, 4)))
    for measure in (metrics.dice, metrics.hd95):
        with pytest.raises(InputError, match="different grids"):
            measure(first, second, (1,))


def test_hd95_of_two_voxels_is_their_distance_in_mm() -> None:
    first, second = labels({1: [(0, 0, 0)]}, grid()), labels({1: [(2, 1, 3)]}, grid())
    assert metrics.hd95(first, second, (1, 7)) == {1: pytest.approx(math.sqrt((2 * 3) ** 2 + 2**2 + 3**2), abs=1e-5)}


def test_hd95_takes_the_worse_direction() -> None:
    # from the single voxel the other structure is 0 away, back it is up to 5 mm
    first = labels({1: [(0, 0, 0)]}, grid())
    second = labels({1: [(0, 0, x) for x in range(6)]}, grid())
    expected = np.percentile([0, 1, 2, 3, 4, 5], 95)
    assert metrics.hd95(first, second, (1,))[1] == pytest.approx(expected, abs=1e-5)


def test_surface_is_hollow_and_the_image_border_counts_as_outside() -> None:
    mask = np.ones((3, 4, 5), bool)
    mask[:, :, 4] = False
    expected = mask.copy()
    expected[1, 1:3, 1:3] = False
    assert np.array_equal(surface(mask), expected)


def test_surface_distances_need_two_structures() -> None:
    geometry = grid()
    empty, full = np.zeros(geometry.shape, bool), np.ones(geometry.shape, bool)
    with pytest.raises(InputError, match="two structures"):
        surface_distances(full, empty, geometry)


def test_tre_by_hand() -> None:
    errors = metrics.tre(np.array([[0.0, 0, 0], [1, 1, 1]]), np.array([[3.0, 4, 0], [1, 1, 3]]))
    assert errors.tolist() == [5.0, 2.0]
    with pytest.raises(InputError, match="correspond"):
        metrics.tre(np.zeros((2, 3)), np.zeros((3, 3)))


def test_coordinates_are_the_voxel_centres() -> None:
    geometry = grid(direction=OBLIQUE)
    points = metrics.coordinates(geometry)
    for index in ((0, 0, 0), (3, 4, 5), (2, 0, 4)):
        expected = apply(geometry.index_to_physical, np.array(index[::-1]))
        assert np.abs(points[index] - expected).max() < 1e-5
    assert metrics.inside(geometry, points).all()


def test_fold_measures_by_hand() -> None:
    geometry = grid((4, 1, 1), (1.0, 1.0, 1.0))
    values = Volume(np.array([[[-0.5, 0.0, 1.0, math.e]]], np.float32), geometry, "intensity")
    found = metrics.fold_measures(values, mask=np.array([[[False, True, True, True]]]))
    assert (found["folds"], found["fold_fraction"], found["jacobian_min"]) == (2, 0.5, -0.5)
    assert found["log_jacobian_std"] == pytest.approx(0.5, abs=1e-6)  # logarithms 0 and 1
    assert (found["folds_in_mask"], found["jacobian_min_in_mask"]) == (1, 0.0)
    assert found["fold_fraction_in_mask"] == pytest.approx(1 / 3)
    assert "folds_in_mask" not in metrics.fold_measures(values)


def test_parts_of_a_large_image_are_measured_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    geometry = grid((9, 8, 7))
    values = rng.normal(0.7, 0.6, geometry.shape).astype(np.float32)
    values[0, 0, 0] = np.nan
    first, second = (Volume(rng.integers(0, 5, geometry.shape).astype(np.int16), geometry, "labels") for _ in range(2))
    monkeypatch.setattr(metrics, "_AT_ONCE", 10)
    found = metrics.fold_measures(Volume(values, geometry, "intensity"))
    positive = values[values > 0].astype(np.float64)
    assert found["folds"] == values.size - positive.size > 50
    assert found["jacobian_min"] == float(np.nanmin(values))
    assert found["log_jacobian_std"] == pytest.approx(float(np.log(positive).std()), abs=1e-12)
    for structure, overlap in metrics.dice(first, second, (1, 2, 3, 4)).items():
        a, b = (volume.array == structure for volume in (first, second))
        assert overlap == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-12)


def test_a_reflected_field_folds_everywhere() -> None:
    geometry = grid((8, 7, 6), (1.0, 2.0, 1.5), OBLIQUE)
    points = metrics.coordinates(geometry)
    flip = np.diag([-1.0, 1, 1])
    field = DisplacementField((points @ flip - points).astype(np.float32), geometry)
    inner = jacobian_determinant(field).array[1:-1, 1:-1, 1:-1]
    volume = Volume(inner, grid((6, 5, 4)), "intensity")
    assert metrics.fold_measures(volume)["fold_fraction"] == 1.0
    assert "log_jacobian_std" not in metrics.fold_measures(volume)


def test_inverse_consistency_of_a_wrong_inverse_is_its_error() -> None:
    geometry = grid((12, 12, 12), (1.0, 1.0, 1.0))
    forward, wrong = uniform(geometry, (1.0, 0, 0)), uniform(geometry, (-1.0, 0.3, 0.4))
    found = metrics.inverse_consistency(forward, (wrong.to_transform(),), geometry)
    assert found["inverse_consistency_mm"] == pytest.approx(0.5, abs=1e-5)
    assert found["inverse_consistency_max_mm"] == pytest.approx(0.5, abs=1e-5)
    right = uniform(geometry, (-1.0, 0, 0))
    found = metrics.inverse_consistency(forward, (right.to_transform(),), geometry, most_points=100)
    assert found["inverse_consistency_p95_mm"] < 1e-5
    far = uniform(geometry, (500.0, 0, 0))
    assert metrics.inverse_consistency(far, (right.to_transform(),), geometry) == {}


def test_inverse_consistency_looks_only_at_the_mask() -> None:
    geometry = grid((10, 10, 10), (1.0, 1.0, 1.0))
    vectors = np.zeros((10, 10, 10, 3), np.float32)
    vectors[:5, :, :, 0] = 2.0  # wrong in the lower half
    back = DisplacementField(vectors, geometry)
    mask = np.zeros((10, 10, 10), bool)
    mask[6:] = True
    still = uniform(geometry, (0.0, 0, 0))
    assert metrics.inverse_consistency(still, (back.to_transform(),), geometry, mask=mask)[
        "inverse_consistency_max_mm"] == 0.0
    assert metrics.inverse_consistency(still, (back.to_transform(),), geometry)["inverse_consistency_mm"] == (
        pytest.approx(1.0, abs=1e-5))


def test_coverage_is_the_part_with_data() -> None:
    geometry = grid((10, 4, 4), (1.0, 1.0, 1.0))
    assert metrics.coverage(uniform(geometry, (3.0, 0, 0)), geometry) == pytest.approx(0.7)
    mask = np.zeros(geometry.shape, bool)
    mask[..., 9] = True
    assert metrics.coverage(uniform(geometry, (3.0, 0, 0)), geometry, mask=mask) == 0.0


def test_lncc_does_not_see_brightness_and_stays_inside_the_mask() -> None:
    random = np.random.default_rng(0)
    geometry = grid((16, 15, 14), (1.0, 1.0, 1.0))
    array = random.normal(size=geometry.shape).astype(np.float32)
    fixed = Volume(array, geometry, "intensity")
    brighter = Volume(3 * array + 40, geometry, "intensity")
    other = array.copy()
    other[:7] = random.normal(size=other[:7].shape)
    half = Volume(other, geometry, "intensity")
    mask = np.zeros(geometry.shape, bool)
    mask[12:] = True  # windows of 9 voxels here do not reach the part that differs
    assert metrics.lncc(fixed, brighter) == pytest.approx(1, abs=1e-3)
    assert metrics.lncc(fixed, half) < 0.7
    assert metrics.lncc(fixed, half, mask=mask) == pytest.approx(1, abs=1e-3)


def test_mean_and_memory() -> None:
    assert metrics.with_mean({1: 0.5, 4: 1.0}) == {"1": 0.5, "4": 1.0, "mean": 0.75}
    assert metrics.with_mean({}) == {}
    peak = metrics.peak_memory_bytes()
    assert peak is None or 2**20 < peak < 2**40
