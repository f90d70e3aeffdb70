"""Affine alignment: known motions are found, bad ones are not invented, the bits repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from lattices import LEFT_HANDED, OBLIQUE, OBLIQUE_2D, blocks, lattice, positions, smooth_image, waves

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.imaging.align import affine_align
from AutoRegLib.imaging.align_evidence import edge_agreement
from AutoRegLib.imaging.files import read_volume
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.masks import continued, without_padding
from AutoRegLib.imaging.volume import Volume, resample, to_sitk

HEAD = lattice((40, 44, 36), (2.0, 2.0, 2.5), np.eye(3), (5.0, -10.0, 20.0))


def head(geometry: Geometry, transform: sitk.Transform | None = None) -> Volume:
    """A lopsided textured ellipsoid about the centre of HEAD, seen through ``transform``."""
    points = positions(geometry)
    if transform is not None:
        flat = points.reshape(-1, geometry.dims)
        points = np.array([transform.TransformPoint(p) for p in flat.tolist()]).reshape(points.shape)
    centre = HEAD.centre[:geometry.dims]
    offset = (points - centre) / np.array((32.0, 38.0, 35.0))[:geometry.dims]
    radius = np.linalg.norm(offset + 0.15 * offset[..., ::-1] ** 2, axis=-1)
    texture = 600 + 300 * waves(points, seed=4, length=22)
    return Volume((texture / (1 + np.exp((radius - 0.8) * 25))).astype(np.float32), geometry, "intensity")


def euler(angles: tuple[float, float, float], shift: tuple[float, float, float]) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetCenter(HEAD.centre.tolist())
    transform.SetRotation(*angles)
    transform.SetTranslation(shift)
    return transform


def error(found: sitk.Transform, true: sitk.Transform, points: np.ndarray) -> float:
    """Largest distance between two transforms of the same points. Unit: mm."""
    return max(float(np.linalg.norm(np.subtract(found.TransformPoint(p), true.TransformPoint(p))))
               for p in points.tolist())


INSIDE = HEAD.centre + 25 * np.vstack([np.eye(3), -np.eye(3)])


@pytest.mark.parametrize(("angles", "shift"), [
    ((0.0, 0.0, 0.0), (9.0, -6.0, 4.0)), ((0.25, -0.15, 0.2), (6.0, 8.0, -5.0)), ((0.0, 0.1, -0.45), (0.0, 0.0, 12.0)),
])
def test_a_rigid_motion_is_found(angles: tuple[float, float, float], shift: tuple[float, float, float]) -> None:
    true = euler(angles, shift)  # fixed to moving
    fixed, moving = head(HEAD, true), head(LARGE_LEFT_HANDED)
    found = affine_align(fixed, moving, level="rigid")
    assert error(found.transform, true, INSIDE) < 1.25  # half a voxel
    assert error(sitk.Transform(3, sitk.sitkIdentity), true, INSIDE) > 5
    assert found.metric_after > 1.2 * found.metric_before
    scales = np.linalg.svd(np.array(found.transform.GetMatrix()).reshape(3, 3), compute_uv=False)
    assert np.abs(scales - 1).max() < 1e-6
    assert error(affine_align(fixed, moving).transform, true, INSIDE) < 1.25


LARGE_LEFT_HANDED = lattice((46, 38, 30), (2.4, 2.6, 3.0), np.diag([1.0, -1.0, 1.0]), (2.0, -8.0, 22.0))


def test_an_affine_motion_is_found() -> None:
    true = sitk.AffineTransform(3)
    true.SetCenter(HEAD.centre.tolist())
    true.SetMatrix((1.12, 0.05, 0.0, -0.04, 0.9, 0.06, 0.0, 0.03, 1.05))
    true.SetTranslation((4.0, -5.0, 3.0))
    found = affine_align(head(HEAD, true), head(LARGE_LEFT_HANDED))
    assert error(found.transform, true, INSIDE) < 1.5
    assert found.warnings == ()


def test_images_with_headers_apart_are_brought_together() -> None:
    away = euler((0.1, 0.0, 0.1), (900.0, -700.0, 400.0))
    geometry = Geometry(HEAD.size, HEAD.spacing, tuple(np.add(HEAD.origin, (900.0, -700.0, 400.0))), HEAD.direction)
    moving = Volume(head(HEAD).array, geometry, "intensity")
    rotated = head(HEAD, euler((0.1, 0.0, 0.1), (0.0, 0.0, 0.0)))
    found = affine_align(rotated, moving)
    assert error(found.transform, away, INSIDE) < 1.5
    assert found.metric_before == 0
    assert "centres" in found.warnings[0]
    with pytest.raises(InputError, match="do not overlap"):
        affine_align(rotated, moving, level="none")


def test_two_dimensions() -> None:
    flat = lattice((60, 64), (1.5, 1.4), np.eye(2), tuple(HEAD.centre[:2]))
    true = sitk.Euler2DTransform()
    true.SetCenter(flat.centre.tolist())
    true.SetAngle(0.3)
    true.SetTranslation((5.0, -4.0))
    found = affine_align(head(flat, true), head(flat))
    assert found.transform.GetDimension() == 2
    assert error(found.transform, true, flat.centre + 20 * np.vstack([np.eye(2), -np.eye(2)])) < 1.0


def test_the_levels() -> None:
    fixed, moving = head(HEAD, euler((0.2, 0.0, 0.0), (8.0, 0.0, 0.0))), head(HEAD)
    levels = ("none", "centre", "rigid", "affine")
    found = [affine_align(fixed, moving, level=level) for level in levels]
    identity = np.eye(3).ravel().tolist()
    assert list(found[0].transform.GetMatrix()) == identity and not any(found[0].transform.GetTranslation())
    assert list(found[1].transform.GetMatrix()) == identity
    metrics = [f.metric_after for f in found]
    assert metrics == sorted(metrics)
    assert metrics[2] > 1.1 * metrics[1]


def test_the_bits_repeat() -> None:
    fixed, moving = head(HEAD, euler((0.1, 0.1, 0.0), (3.0, 0.0, 2.0))), head(HEAD)
    first, second = (affine_align(fixed, moving).transform for _ in range(2))
    assert first.GetParameters() == second.GetParameters()
    assert first.GetFixedParameters() == second.GetFixedParameters()


def test_the_unit_of_length_does_not_matter() -> None:
    """Micrometres or metres: the same alignment, scaled."""
    fixed, moving = head(HEAD, euler((0.1, 0.1, 0.0), (3.0, 0.0, 2.0))), head(HEAD)
    small = [Volume(v.array, Geometry(HEAD.size, tuple(0.001 * np.array(HEAD.spacing)),
                                      tuple(0.001 * np.array(HEAD.origin)), HEAD.direction), "intensity")
             for v in (fixed, moving)]
    one, other = affine_align(fixed, moving).transform, affine_align(*small).transform
    assert np.abs(np.subtract(one.GetMatrix(), other.GetMatrix())).max() < 1e-2
    assert np.abs(np.subtract(one.GetTranslation(), 1000 * np.array(other.GetTranslation()))).max() < 0.3


@pytest.mark.parametrize("seed", range(4))
def test_unrelated_images_end_plausible_and_no_worse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fixed = Volume(rng.random(LEFT_HANDED.shape).astype(np.float32), LEFT_HANDED, "intensity")
    found = affine_align(fixed, smooth_image(OBLIQUE, seed=seed))
    scales = np.linalg.svd(np.array(found.transform.GetMatrix()).reshape(3, 3), compute_uv=False)
    assert scales.min() >= 0.5 and scales.max() <= 2
    assert found.metric_after >= found.metric_before
    overlap = LEFT_HANDED.overlap_fraction(OBLIQUE)
    assert LEFT_HANDED.overlap_fraction(OBLIQUE, found.transform) > 0.05 * overlap


def test_refusals() -> None:
    with pytest.raises(InputError, match="different dimension"):
        affine_align(smooth_image(OBLIQUE), smooth_image(OBLIQUE_2D))
    with pytest.raises(InputError, match="level"):
        affine_align(smooth_image(OBLIQUE), smooth_image(OBLIQUE), level="bspline")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="labels"):
        affine_align(blocks(OBLIQUE), blocks(OBLIQUE))


@pytest.mark.slow
def test_hippocampi_of_different_subjects(data_folder: Path) -> None:
    """Dice of two structures rises from about 0.45 (headers) to at least 0.64 on these pairs."""
    scenario = read_scenario(data_folder / "hippocampus_mr" / "scenario.json")
    before, after = [], []
    for pair in scenario.pairs_of("test", limit=12, seed=1):
        fixed, moving = (read_volume(c.image, "intensity") for c in (pair.fixed, pair.moving))
        truth, labels = (read_volume(c.labels or "", "labels") for c in (pair.fixed, pair.moving))
        found = affine_align(fixed, moving)
        for scores, transform in ((before, None), (after, found.transform)):
            warped = resample(labels, truth.geometry, transform).array
            scores.append(np.mean([2 * ((warped == k) & (truth.array == k)).sum()
                                   / ((warped == k).sum() + (truth.array == k).sum()) for k in (1, 2)]))
        assert found.metric_after >= found.metric_before
    assert np.mean(before) < 0.52
    assert np.mean(after) > 0.64


def test_masks_keep_an_object_that_stays_behind_out_of_it() -> None:
    """The head moves, a frame around it, which is in both images, does not."""
    true = euler((0.1, -0.1, 0.15), (6.0, 8.0, -5.0))
    images, masks = [head(HEAD, true), head(HEAD)], []
    for number, image in enumerate(images):
        mask = np.ones(image.array.shape, bool)
        mask[:, :4], mask[:, -4:], mask[:4] = False, False, False
        frame = np.random.default_rng(8).normal(4000, 1500, mask.shape)
        images[number] = Volume(np.where(mask, image.array, frame).astype(np.float32), HEAD, "intensity")
        masks.append(mask)
    misled = affine_align(*images)
    guided = affine_align(*(continued(i, m) for i, m in zip(images, masks, strict=True)), fixed_mask=masks[0],
                          moving_mask=masks[1])
    assert error(misled.transform, true, INSIDE) > 4
    assert error(guided.transform, true, INSIDE) < 1.5
    again = affine_align(*(continued(i, m) for i, m in zip(images, masks, strict=True)), fixed_mask=masks[0],
                         moving_mask=masks[1])
    assert again.transform.GetParameters() == guided.transform.GetParameters()


def test_one_scale_is_found() -> None:
    true = sitk.Similarity3DTransform()
    true.SetCenter(HEAD.centre.tolist())
    true.SetScale(1.15)
    true.SetTranslation((4.0, -5.0, 3.0))
    found = affine_align(head(HEAD, true), head(LARGE_LEFT_HANDED), level="similarity")
    assert found.kept == "similarity"
    assert error(found.transform, true, INSIDE) < 1.5
    scales = np.linalg.svd(np.array(found.transform.GetMatrix()).reshape(3, 3), compute_uv=False)
    assert scales.max() - scales.min() < 1e-6


def test_what_is_kept_is_said_with_its_reason() -> None:
    true = euler((0.2, 0.0, 0.0), (8.0, 0.0, 0.0))
    assert affine_align(head(HEAD), head(HEAD), level="none").kept == "headers"
    found = affine_align(head(HEAD, true), head(HEAD), level="rigid")
    assert found.kept == "rigid" and "edges agree" in found.reason


def test_a_scale_that_no_body_has_is_not_kept_unless_asked_for_by_name() -> None:
    """The same head at 0.56 of its size: a fit, but of images that cannot show the same person."""
    true = sitk.AffineTransform(3)
    true.SetCenter(HEAD.centre.tolist())
    true.SetMatrix(np.diag([0.56, 0.56, 0.56]).ravel().tolist())
    images = head(HEAD, true), head(HEAD)
    for guarded, low in ((True, 0.65), (False, 0.5)):
        found = affine_align(*images, guarded=guarded)
        assert np.linalg.svd(np.array(found.transform.GetMatrix()).reshape(3, 3), compute_uv=False).min() >= low


def test_edges_agree_where_the_images_do_whatever_their_contrast() -> None:
    shift = euler((0.0, 0.0, 0.0), (7.0, 0.0, 0.0))
    image = head(HEAD)
    inverted = Volume(1000 - image.array, HEAD, "intensity")
    for other in (image, inverted):
        pair = to_sitk(image), to_sitk(other)
        there = edge_agreement(*pair, sitk.Transform(3, sitk.sitkIdentity))
        assert there > 1.5 * edge_agreement(*pair, shift) > 0
    far = euler((0.0, 0.0, 0.0), (900.0, 0.0, 0.0))
    assert edge_agreement(to_sitk(image), to_sitk(image), far) == 0


def test_padding_of_a_ct_is_no_tissue() -> None:
    air = np.full((6, 8, 8), -1000.0, np.float32)
    air[2:4, 2:6, 2:6] = 40
    grid = lattice((8, 8, 6), (1.0, 1.0, 1.0), np.eye(3), (0.0, 0.0, 0.0))
    assert without_padding(Volume(air, grid, "intensity")) is None
    padded = air.copy()
    padded[:, 0] = -3024
    mask = without_padding(Volume(padded, grid, "intensity"))
    assert mask is not None and not mask[:, 0].any() and mask[:, 1:].all()
    drawn = np.zeros(air.shape, bool)
    drawn[:, :4] = True
    both = without_padding(Volume(padded, grid, "intensity"), drawn)
    assert both is not None and np.array_equal(both, mask & drawn)
    head = np.maximum(air + 1000, 0)  # zeros around are a border that guides
    assert without_padding(Volume(head, grid, "intensity"), drawn) is drawn
