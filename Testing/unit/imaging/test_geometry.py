"""Lattices: coordinates by hand, comparison, working grids, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from lattices import LATTICES, OBLIQUE, OBLIQUE_2D, PERMUTED, lattice, rotation

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.geometry import Geometry, apply, working_grid

PLAIN = Geometry((4, 5, 6), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def test_coordinates_by_hand() -> None:
    assert PLAIN.shape == (6, 5, 4)
    assert apply(PLAIN.index_to_physical, np.array([1, 2, 3])).tolist() == [11.0, 24.0, 39.0]
    assert PLAIN.centre.tolist() == [11.5, 24.0, 37.5]
    low, high = PLAIN.bounding_box
    assert low.tolist() == [9.5, 19.0, 28.5]
    assert high.tolist() == [13.5, 29.0, 46.5]


@pytest.mark.parametrize("geometry", [*LATTICES.values(), OBLIQUE_2D], ids=[*LATTICES, "2-D"])
def test_coordinates_are_simpleitks(geometry: Geometry) -> None:
    image = sitk.Image(geometry.size, sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    index = [n - 2 for n in geometry.size]
    point = image.TransformIndexToPhysicalPoint(index)
    assert np.abs(apply(geometry.index_to_physical, np.array(index)) - point).max() < 1e-9
    assert np.abs(apply(geometry.physical_to_index, np.array(point)) - index).max() < 1e-9


def test_close_within_the_rounding_of_a_header() -> None:
    rounded = Geometry(OBLIQUE.size, *(tuple(np.float32(getattr(OBLIQUE, name)).tolist())
                                       for name in ("spacing", "origin", "direction")))
    assert OBLIQUE.close_to(rounded)
    assert OBLIQUE.difference(rounded) == ""


@pytest.mark.parametrize("change", [
    {"size": (22, 17, 12)}, {"spacing": (1.1, 1.7, 2.301)}, {"origin": (0.0, 0.0, 0.0)},
    {"direction": tuple(np.eye(3).ravel())},
])
def test_differences_are_named_with_both_values(change: dict) -> None:
    values = {name: getattr(OBLIQUE, name) for name in ("size", "spacing", "origin", "direction")} | change
    other = Geometry(**values)
    assert not OBLIQUE.close_to(other)
    text = OBLIQUE.difference(other)
    assert text.startswith(next(iter(change)))
    assert "against" in text


def test_overlap_by_hand() -> None:
    beside = Geometry(PLAIN.size, PLAIN.spacing, (12.0, 20.0, 30.0), PLAIN.direction)
    assert PLAIN.overlap_fraction(PLAIN) == 1.0
    assert PLAIN.overlap_fraction(beside) == 0.5
    back = sitk.TranslationTransform(3, (2.0, 0.0, 0.0))
    assert PLAIN.overlap_fraction(beside, back) == 1.0
    away = Geometry(PLAIN.size, PLAIN.spacing, (500.0, 20.0, 30.0), PLAIN.direction)
    assert PLAIN.overlap_fraction(away) == 0.0


def test_working_grid_keeps_the_voxels_when_it_keeps_the_spacing() -> None:
    image = Geometry((35, 52, 34), (1.0, 1.0, 1.0), (-1.0, -1.0, 1.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    grid = working_grid(image, spacing=1.0)
    assert grid.size == (36, 52, 36)
    assert grid.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    steps = apply(image.physical_to_index, np.array(grid.origin))
    assert np.abs(steps - np.rint(steps)).max() < 1e-9  # on a voxel, so nothing is blurred
    assert image.overlap_fraction(grid) == 1.0


def test_working_grid_turns_the_axes_to_lps() -> None:
    # the image's x axis runs along -P (y), its y axis along S (z), its z axis along L (x)
    grid = working_grid(PERMUTED, spacing=(1.0, 2.1, 1.3), multiple=1)
    assert grid.size == (23, 14, 20)
    assert grid.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert np.abs(grid.centre - PERMUTED.centre).max() < 1e-9
    assert PERMUTED.overlap_fraction(grid) == 1.0


def test_working_grid_of_a_coarser_spacing_covers_the_view() -> None:
    grid = working_grid(OBLIQUE, spacing=3.0, multiple=4)
    assert all(n % 4 == 0 for n in grid.size)
    assert grid.spacing == (3.0, 3.0, 3.0)
    assert np.abs(grid.centre - OBLIQUE.centre).max() < 1e-9
    assert (np.diag(grid.direction_matrix) > 0).all()
    index = apply(grid.physical_to_index, OBLIQUE.corners)
    assert (index > -0.5 - 1e-6).all()
    assert (index < np.array(grid.size) - 0.5 + 1e-6).all()


@pytest.mark.parametrize(("change", "said"), [
    ({"size": (4, 5)}, "spacing"),
    ({"size": (4, 5, 6, 7)}, "2 or 3 axes"),
    ({"size": (4, 0, 6)}, "voxels on every axis"),
    ({"spacing": (1.0, 0.0, 1.0)}, "positive"),
    ({"origin": (np.nan, 0.0, 0.0)}, "finite"),
    ({"direction": (1, 0.3, 0, 0, 1, 0, 0, 0, 1)}, "perpendicular"),
])
def test_what_is_no_lattice_is_refused(change: dict, said: str) -> None:
    values = {name: getattr(PLAIN, name) for name in ("size", "spacing", "origin", "direction")} | change
    with pytest.raises(InputError, match=said):
        Geometry(**values)


@pytest.mark.parametrize("bad", [{"spacing": 0.0}, {"spacing": (1.0, 1.0)}, {"spacing": 1.0, "multiple": 0}])
def test_working_grid_refuses(bad: dict) -> None:
    with pytest.raises(InputError, match="working grid"):
        working_grid(PLAIN, **bad)


def test_two_dimensions() -> None:
    flat = lattice((10, 7), (0.5, 2.0), rotation(4, 2), (3.0, 4.0))
    assert flat.shape == (7, 10)
    assert np.abs(flat.centre - (3.0, 4.0)).max() < 1e-12
    assert flat.corners.shape == (4, 2)
