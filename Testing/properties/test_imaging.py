"""What holds on every lattice, not only on the ones somebody thought of."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import lattice, linear_field, positions, rotation, smooth_field

from AutoRegLib.bridge import displacement_to_field, field_to_displacement
from AutoRegLib.imaging.displacement import compose_on, jacobian_determinant
from AutoRegLib.imaging.files import read_displacement, read_points, write_displacement, write_points
from AutoRegLib.imaging.geometry import Geometry, apply, working_grid

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)


@st.composite
def lattices(draw: st.DrawFn, smallest: int = 1) -> Geometry:
    """2-D and 3-D lattices of any size, spacing, rotation and handedness."""
    dims = draw(st.sampled_from((2, 3)))
    size = tuple(draw(st.lists(st.integers(smallest, 12), min_size=dims, max_size=dims)))
    spacing = tuple(draw(st.lists(st.floats(0.05, 8), min_size=dims, max_size=dims)))
    turn = draw(st.sampled_from((np.eye(dims), rotation(draw(st.integers(0, 1000)), dims))))
    signs = np.array(draw(st.lists(st.sampled_from((-1.0, 1.0)), min_size=dims, max_size=dims)))
    order = list(draw(st.permutations(range(dims))))
    centre = tuple(draw(st.lists(st.floats(-300, 300), min_size=dims, max_size=dims)))
    return lattice(size, spacing, turn[:, order] * signs, centre)


@SETTINGS
@given(lattices())
def test_physical_and_index_are_inverse(geometry: Geometry) -> None:
    where = positions(geometry)
    index = apply(geometry.physical_to_index, where)
    assert np.abs(apply(geometry.index_to_physical, index) - where).max() < 1e-8
    assert where.shape == (*geometry.shape, geometry.dims)
    assert np.abs(where.reshape(-1, geometry.dims).mean(axis=0) - geometry.centre).max() < 1e-6


@SETTINGS
@given(lattices(), st.floats(0.3, 10), st.sampled_from((1, 4, 16)))
def test_a_working_grid_covers_the_view_and_points_along_lps(geometry: Geometry, spacing: float, multiple: int) -> None:
    grid = working_grid(geometry, spacing=spacing, multiple=multiple)
    assert all(n % multiple == 0 for n in grid.size)
    assert (np.diag(grid.direction_matrix) >= 0).all()
    index = apply(grid.physical_to_index, geometry.corners)
    slack = 1e-3 + 1e-6  # a sliver of a voxel may be left over by rounding
    assert (index > -0.5 - slack).all()
    assert (index < np.array(grid.size) - 0.5 + slack).all()
    assert np.abs(grid.centre - geometry.centre).max() <= spacing / 2 * np.sqrt(geometry.dims) + 1e-9
    columns = np.abs(geometry.direction_matrix.T @ grid.direction_matrix)
    assert np.abs(np.sort(columns, axis=0)[-1] - 1).max() < 1e-9  # permuted and flipped, never rotated


@SETTINGS
@given(lattices(smallest=2), st.sampled_from((".nrrd", ".nii.gz", ".h5")))
def test_fields_come_back_from_every_format(geometry: Geometry, suffix: str) -> None:
    field = smooth_field(geometry)
    with tempfile.TemporaryDirectory() as folder:
        write_displacement(field, Path(folder) / f"t{suffix}")
        back = read_displacement(Path(folder) / f"t{suffix}")
    assert back.geometry.close_to(geometry), back.geometry.difference(geometry)
    assert np.abs(back.vectors - field.vectors).max() < 1e-6


@SETTINGS
@given(lattices())
def test_the_bridge_has_two_ends(geometry: Geometry) -> None:
    field = smooth_field(geometry)
    back = displacement_to_field(field_to_displacement(field), geometry)
    assert np.abs(back.vectors - field.vectors).max() < 1e-4


@SETTINGS
@given(lattices(smallest=4), st.integers(0, 1000))
def test_the_jacobian_of_a_linear_map(geometry: Geometry, seed: int) -> None:
    matrix = np.eye(geometry.dims) + np.random.default_rng(seed).uniform(-0.4, 0.4, (geometry.dims,) * 2)
    found = jacobian_determinant(linear_field(geometry, matrix)).array[(slice(1, -1),) * geometry.dims]
    assert np.abs(found - np.linalg.det(matrix)).max() < 1e-3


@SETTINGS
@given(lattices(smallest=3), st.integers(0, 1000))
def test_a_chain_of_linear_maps_is_their_product(geometry: Geometry, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, then = (sitk.AffineTransform(geometry.dims) for _ in range(2))
    for transform in (first, then):
        transform.SetMatrix((np.eye(geometry.dims) + rng.uniform(-0.2, 0.2, (geometry.dims,) * 2)).ravel().tolist())
        transform.SetTranslation(rng.uniform(-5, 5, geometry.dims).tolist())
    field = compose_on(geometry, first, then)
    for index in ((0,) * geometry.dims, tuple(n - 1 for n in geometry.shape)):
        place = positions(geometry)[index]
        expected = np.array(then.TransformPoint(first.TransformPoint(place.tolist()))) - place
        assert np.abs(field.vectors[index] - expected).max() < 1e-3


@SETTINGS
@given(st.lists(st.tuples(st.text("abc,\" é", min_size=1).filter(lambda s: s.strip() == s),
                          *[st.floats(-1e6, 1e6)] * 3), min_size=1, max_size=5))
def test_points_come_back(rows: list[tuple[str, float, float, float]]) -> None:
    names, points = tuple(row[0] for row in rows), np.array([row[1:] for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        write_points(names, points, Path(folder) / "p.csv")
        found, places = read_points(Path(folder) / "p.csv")
    assert found == names
    assert np.array_equal(places, points)
