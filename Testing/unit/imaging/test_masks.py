"""Masks that guide: outside has no say, a full mask changes nothing, a masked object no longer misleads."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from lattices import LEFT_HANDED, OBLIQUE, smooth_image

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.masks import continued, counted_share, counting, mask_on, without_padding
from AutoRegLib.imaging.volume import Volume


def drawn(shape: tuple[int, ...]) -> np.ndarray:
    """A mask with a hole and a ragged side."""
    mask = np.ones(shape, bool)
    mask[3:8, 4:11, 5:12] = False
    mask[..., -4:] = False
    return mask


def test_by_hand() -> None:
    """One row: a block takes the mean of its inside voxels, one without any the interpolation of larger blocks."""
    grid = LEFT_HANDED.__class__((8, 1), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    row = Volume(np.array([[2, 4, 99, 99, 99, 99, 8, 10.0]]), grid, "intensity")
    found = continued(row, row.array < 99).array[0]
    assert np.array_equal(found[[0, 1, 6, 7]], [2, 4, 8, 10])
    # blocks of two: 3, ?, ?, 9; of four: 3, 9; a quarter of the way from 3 to 9 and back: 4.5, 7.5
    assert np.allclose(found[2:6], [0.75 * 4.5 + 0.25 * 3, 0.75 * 4.5 + 0.25 * 7.5, 0.75 * 7.5 + 0.25 * 4.5,
                                    0.75 * 7.5 + 0.25 * 9])


@pytest.mark.parametrize("grid", [OBLIQUE, LEFT_HANDED])
def test_nothing_outside_has_a_say_and_nothing_inside_changes(grid: object) -> None:
    image = smooth_image(grid)  # type: ignore[arg-type]
    mask = drawn(image.array.shape)
    found = continued(image, mask)
    wild = np.where(mask, image.array, np.random.default_rng(0).normal(0, 1e6, mask.shape)).astype(np.float32)
    assert np.array_equal(continued(Volume(wild, image.geometry, "intensity"), mask).array, found.array)
    assert np.array_equal(found.array[mask], image.array[mask])
    low, high = image.array[mask].min(), image.array[mask].max()
    assert found.array.min() >= low - 1e-3 and found.array.max() <= high + 1e-3
    edge = np.abs(np.diff(found.array, axis=2))[..., -5]  # across the ragged side: no jump
    assert edge.max() < 3 * np.abs(np.diff(image.array, axis=2)).max()


def test_full_and_missing_masks_are_no_masks() -> None:
    image = smooth_image(OBLIQUE)
    full = np.ones(image.array.shape, bool)
    assert continued(image, None) is image and continued(image, full) is image
    assert counting(full) is None and counting(None) is None and counting(drawn(full.shape)) is not None


def test_a_mask_on_another_grid_is_the_part_it_covers() -> None:
    mask = drawn(OBLIQUE.shape)
    assert np.allclose(mask_on(mask, OBLIQUE, OBLIQUE).array, mask, atol=1e-4)  # type: ignore[union-attr]
    there = mask_on(np.ones(OBLIQUE.shape, bool), OBLIQUE, LEFT_HANDED)
    assert np.allclose(there.array, 1, atol=1e-6)  # type: ignore[union-attr] - also beyond its image
    assert mask_on(None, OBLIQUE, LEFT_HANDED) is None


def test_the_counted_part_is_what_both_masks_count() -> None:
    """By hand: of 8 x 8 x 8 voxels one pads a quarter along an axis, a mask leaves half of another out."""
    grid = Geometry((8, 8, 8), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    plain = np.full((8, 8, 8), -1000, np.float32)
    padded, half = plain.copy(), np.ones(plain.shape, bool)
    padded[:, :, :2], half[:, 4:] = -3024, False
    first = mask_on(counting(without_padding(Volume(padded, grid, "intensity"))), grid, grid)
    second = mask_on(half, grid, grid)
    assert counted_share((None, None)) == 1
    assert counted_share((first, None)) == pytest.approx(0.75)
    assert counted_share((first, second)) == pytest.approx(0.75 * 0.5)
    shift = sitk.TranslationTransform(3, (0.0, 4.0, 0.0))  # two rows come from beyond what the mask leaves
    assert counted_share((mask_on(half, grid, grid, shift), None)) == pytest.approx(0.25)
    assert without_padding(Volume(padded - 5000, grid, "intensity")) is None  # nothing is above: no padding
    assert counted_share((mask_on(~half, grid, grid), second)) == 1  # nothing in common


@pytest.mark.parametrize("mask", [np.zeros(OBLIQUE.shape, bool), np.ones((3, 3, 3), bool)])
def test_refusals(mask: np.ndarray) -> None:
    with pytest.raises(InputError, match="does not fit its image"):
        continued(smooth_image(OBLIQUE), mask)
