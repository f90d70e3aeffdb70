"""What harms is not delivered: measures against their formulas, verdicts on results that are right and wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from pipeline.synthetic import FIXED_GRID, MOVING_GRID, PLANE_FIXED, PLANE_MOVING, blobs, known_model
from torch import Tensor

from AutoRegLib.fields.prediction import Prediction, integrate
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.imaging.align import affine_align
from AutoRegLib.imaging.displacement import jacobian_determinant
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.masks import continued
from AutoRegLib.imaging.volume import Volume, resample
from AutoRegLib.registration.agreement import agreements, edge_alignment, mutual_information, structure
from AutoRegLib.registration.guard import Look, believed, harm, judged, partial
from AutoRegLib.registration.mirrored import best_shift, mirror_gains
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pipeline import register_volumes, working_geometry
from AutoRegLib.registration.weak import first_place, headers_say_nothing, structural_shift

GRIDS = {2: (PLANE_FIXED, PLANE_MOVING), 3: (FIXED_GRID, MOVING_GRID)}


def textures(*shape: int, seed: int = 1) -> Tensor:
    return gaussian(torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(seed)), 1.5)


def test_mutual_information_is_the_entropy_of_what_both_know() -> None:
    """Of four equally frequent values, told apart by both images whatever their brightness: log 4; of noise: nearly 0.
    """
    values = torch.randint(0, 4, (1, 1, 40, 40), generator=torch.Generator().manual_seed(0)).float()
    values[0, 0, :2] = torch.arange(4.0).repeat(20).view(2, 40)  # the range is whole
    other = torch.tensor([3.0, 0.0, 2.0, 1.0])[values.long()]
    counts = np.bincount(values.long().ravel().numpy()) / values.numel()
    entropy = -float((counts * np.log(counts)).sum())
    everywhere = torch.ones_like(values)
    # 24 bins lie between the four values: 23 / 3 is no whole number, so two bins share two of them
    assert mutual_information(values, other, everywhere) == pytest.approx(entropy, abs=0.02)
    assert mutual_information(values, textures(40, 40), everywhere) < 0.15
    assert mutual_information(values, other, torch.zeros_like(values)) == 0


def test_agreements_rank_an_image_above_its_shifted_and_unrelated_ones_whatever_the_contrast() -> None:
    image = textures(24, 26, 22)
    everywhere = torch.ones_like(image)
    near, far, unrelated = torch.roll(1 - image, 1, 2), torch.roll(1 - image, 5, 2), textures(24, 26, 22, seed=2)
    scores = [agreements(image, other, everywhere, everywhere) for other in (1 - image, near, far, unrelated)]
    for name in scores[0]:
        values = [score[name] for score in scores]
        assert values[0] > values[1] > max(values[2:]) >= 0, name
    assert edge_alignment(image, 1 - image, everywhere) == pytest.approx(edge_alignment(image, image, everywhere), 1e-4)
    assert structure(image, image, everywhere) == 1


def test_hiding_what_differs_is_no_gain() -> None:
    image, seen = textures(24, 24, 24), torch.ones(1, 1, 24, 24, 24)
    seen[..., 12:] = 0
    everywhere = torch.ones_like(image)
    whole, half = (agreements(image, image, everywhere, weights) for weights in (everywhere, seen))
    assert half["structure"] == pytest.approx(0.5 * whole["structure"], rel=1e-3)
    assert harm(whole, half) and not harm(half, whole)


def test_two_of_three_measures_decide_and_the_optimised_one_has_no_say() -> None:
    before = {"information": 1.0, "edges": 1.0, "correlation": 1.0, "structure": 1.0}
    assert not harm(before, {**before, "structure": 0.2})
    assert harm(before, {**before, "structure": 0.2, "correlation": 0.2})
    assert not harm({**before, "information": 0.2, "edges": 0.2}, {**before, "structure": 0.2, "correlation": 0.2})
    assert harm(before, {**before, "structure": 0.2, "correlation": 0.2}, without="information")
    assert not harm(before, {**before, "structure": 0.2, "correlation": 0.2}, without="structure")
    little = {name: 0.995 for name in before}
    assert not harm(before, little) and harm(before, little, noise=0.0) and not harm(before, before, noise=0.0)
    assert "edges 1.000 to 0.500" in harm(before, {**before, "structure": 0.2, "edges": 0.5}, without="information")


@pytest.mark.parametrize("dims", [2, 3])
def test_a_deformation_that_ruins_the_pair_is_left_out(dims: int) -> None:
    """A network that answers the same whatever the images: of it as much is delivered as does no harm."""
    fixed, moving = (blobs(grid) for grid in GRIDS[dims])
    wrong = known_model(dims, 4.0, spacing=(1.5,) * dims, affine="none")
    found = register_volumes(wrong, fixed, moving)
    whole = register_volumes(wrong, fixed, moving, deliver="whole")
    assert found.verdict.share < 1 and any("delivered" in text for text in found.warnings)
    assert np.abs(whole.field.vectors).max() > 2 > np.abs(found.field.vectors).max()
    assert whole.verdict.share == 1 and not whole.verdict.scores


@pytest.mark.parametrize("dims", [2, 3])
def test_a_deformation_that_helps_is_delivered_whole(dims: int) -> None:
    fixed, moving = blobs(GRIDS[dims][0]), blobs(GRIDS[dims][1], shift=(2.0, -1.5, 1.0))
    found = register_volumes(no_network(fixed.geometry, moving.geometry), fixed, moving, affine="none", refine="auto",
                             similarity="lncc")
    assert found.verdict.share == 1 and not found.verdict.reason
    assert found.verdict.scores["result"]["edges"] > found.verdict.scores["headers"]["edges"]
    assert np.abs(found.field.vectors).max() > 1


def heart(inner: float, brightness: float, wall: float) -> tuple[Volume, np.ndarray]:
    """A bright ventricle in a dark wall, another one beside it. Also where it is."""
    rows, columns = np.mgrid[:96, :96].astype(np.float64)

    def disc(column: float, radius: float) -> np.ndarray:
        return 1 / (1 + np.exp((np.hypot(rows - 48, columns - column) - radius) / 0.7))

    image = (30 + 20 * np.sin(columns / 9) * np.cos(rows / 7)) * disc(46, 40)
    beside = disc(30, 17) * (1 - disc(52, wall + 2))
    for weight, value in ((beside, 200), (disc(52, wall), 60), (disc(52, inner), brightness)):
        image = image * (1 - weight) + value * weight
    grid = Geometry((96, 96), (2.0, 2.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    return Volume(image.astype(np.float32), grid, "intensity"), np.hypot(rows - 48, columns - 52) < inner


@pytest.mark.parametrize(("wall", "outer", "inner", "brightness"), [(17, 14, 4, 90), (15, 12, 3, 120)])
def test_what_the_moving_image_has_lost_is_found_the_other_way_round(
    wall: int, outer: int, inner: int, brightness: int,
) -> None:
    """A ventricle that is all but empty: refined one way it stays, or its place is filled from beside."""
    (fixed, here), (moving, there) = heart(outer, 210, wall), heart(inner, brightness, wall)
    overlaps = []
    for deliver in ("auto", "whole"):
        found = register_volumes(no_network(fixed.geometry, moving.geometry), fixed, moving, affine="none",
                                 refine="auto", similarity="lncc", deliver=deliver)  # type: ignore[arg-type]
        labels = Volume(there.astype(np.uint8), moving.geometry, "labels")
        warped = resample(labels, fixed.geometry, found.field.to_transform()).array > 0
        overlaps.append(2 * (warped & here).sum() / (warped.sum() + here.sum()))
        assert found.refinement.get("other_way", False) == (deliver == "auto") and jacobian_determinant(
            found.field).array.min() > 0
    assert overlaps[0] > 0.75 and overlaps[1] < 0.4


def look(dims: int, **more: Any) -> Look:
    fixed, moving = (blobs(grid) for grid in GRIDS[dims])
    return Look(fixed, moving, working_geometry(known_model(dims, 0.0, spacing=(1.5,) * dims).recipe, fixed.geometry),
                **more)


def test_an_alignment_that_harms_falls_back_to_the_stage_before() -> None:
    fixed, moving = (blobs(grid) for grid in GRIDS[3])
    good = affine_align(fixed, moving)
    away = sitk.AffineTransform(3)
    away.SetTranslation((9.0, 9.0, 0.0))
    bad = replace(good, transform=away, kept="affine", before=(*good.before, ("rigid", good.transform)))
    kept = believed(look(3), bad)
    assert kept.transform is good.transform and kept.kept == "rigid"
    assert "affine alignment was dropped" in kept.warnings[-1]
    assert believed(look(3), good) is good


def test_a_part_of_the_velocity_is_the_flow_of_it() -> None:
    velocity = gaussian(torch.randn(1, 2, 10, 12, generator=torch.Generator().manual_seed(0)), 2.0)
    whole = Prediction(integrate(velocity, (20, 24), squarings=7)[..., :19, :23], velocity)
    half = partial(whole, 0.5, (19, 23), squarings=7)
    assert half.velocity is not None and torch.equal(half.velocity, 0.5 * velocity)
    assert torch.equal(half.displacement, integrate(0.5 * velocity, (20, 24), squarings=7)[..., :19, :23])
    assert not partial(whole, 0.0, (19, 23), squarings=7).displacement.any()
    assert partial(whole, 1.0, (19, 23), squarings=7) is whole


def test_the_verdict_looks_where_the_fixed_mask_says() -> None:
    """Outside the mask the images are destroyed: it does not matter."""
    seen = look(3)
    mask = np.zeros(seen.fixed.array.shape, bool)
    mask[4:-4, 6:-6, 5:-5] = True
    noise = np.random.default_rng(0).uniform(0, 250, mask.shape).astype(np.float32)
    ruined = replace(seen, fixed=Volume(np.where(mask, seen.fixed.array, noise), FIXED_GRID, "intensity"))
    masked = replace(ruined, fixed=continued(ruined.fixed, mask), fixed_mask=mask)  # as a registration sees it
    plain = replace(seen, fixed_mask=mask).scores()
    assert masked.scores()["structure"] > 0.75 * plain["structure"]
    assert ruined.scores()["structure"] < 0.75 * seen.scores()["structure"]


def test_the_shift_of_a_copy_is_found() -> None:
    image = torch.zeros(1, 1, 20, 24, 28)
    image[..., 6:10, 8:13, 9:15] = textures(4, 5, 6)
    moved = torch.roll(image, (3, -4, 2), (2, 3, 4))
    assert best_shift(image, moved) == (-3, 4, -2)


def test_an_image_fits_better_than_its_mirrored_copies_and_a_mirrored_one_worse() -> None:
    image = textures(24, 26, 22)
    everywhere = torch.ones_like(image)
    assert not mirror_gains(*(part[..., :7, :7, :7] for part in (image, image, everywhere, everywhere)))
    assert min(mirror_gains(image, 1 - image, everywhere, everywhere).values()) > 0.5
    flipped = mirror_gains(image, image.flip(3), everywhere, everywhere)
    assert flipped[1,] < -0.5 and min(flipped, key=flipped.__getitem__) == (1,)
    unrelated = mirror_gains(image, textures(24, 26, 22, seed=5), everywhere, everywhere)
    assert abs(sorted(unrelated.values())[3]) < 0.35


def test_a_look_is_coarse_and_lies_where_the_images_do() -> None:
    fine = Geometry((80, 76, 84), (1.0, 1.0, 1.0), (0.0, 5.0, -3.0), tuple(np.eye(3).ravel()))
    grid = Look(blobs(fine), blobs(fine), fine)
    assert grid.factor == 4 and grid.coarse.size == (20, 19, 21)
    assert np.allclose(grid.coarse.centre, fine.centre)
    assert grid.scores()["structure"] == 1
    assert judged(grid, Prediction(torch.zeros(1, 3, 84, 76, 80), None), sitk.AffineTransform(3)).share == 1


def test_images_that_hardly_resemble_each_other_are_shifted_near_where_they_lay() -> None:
    """A texture under noise and another contrast: the shift is found; without any resemblance it stays near."""
    large = textures(24, 26, 28)
    fixed = (1 - large)[..., 4:20, 6:20, 5:21]  # in the middle: (4, 6, 6)
    everywhere, around_it = torch.ones_like(fixed), torch.ones_like(large)
    assert structural_shift(fixed, large, everywhere, around_it) == (0, 0, -1)
    unrelated = structural_shift(textures(16, 14, 16, seed=9), large, everywhere, around_it)
    assert max(map(abs, unrelated)) <= 3


def test_headers_of_one_corner_say_nothing_and_other_ones_do() -> None:
    def grid(size: int, start: float) -> Geometry:
        return Geometry((size,) * 3, (1.0,) * 3, (start,) * 3, tuple(np.eye(3).ravel()))

    assert headers_say_nothing(grid(40, 0.4), grid(60, 0.4))
    assert not headers_say_nothing(grid(40, 0.4), grid(40, 0.4))  # one grid, one place
    assert not headers_say_nothing(grid(40, 8.0), grid(60, 0.4))
    assert headers_say_nothing(grid(40, 900.0), grid(60, 0.4))
    assert np.allclose(first_place(grid(40, 0.4), grid(60, 0.4)), 10)


def test_an_alignment_of_images_without_resemblance_is_not_believed() -> None:
    noise = np.random.default_rng(0).uniform(0, 250, MOVING_GRID.shape).astype(np.float32)
    pair = replace(look(3), moving=Volume(noise, MOVING_GRID, "intensity"))
    kept = believed(pair, affine_align(pair.fixed, pair.moving))
    assert kept.kept == "shift" and "hardly resemble" in kept.warnings[0]
    assert np.allclose(np.array(kept.transform.GetMatrix()).reshape(3, 3), np.eye(3))
    assert np.linalg.norm(kept.transform.GetTranslation()) < 0.3 * 50
    none = no_network(pair.fixed.geometry, pair.moving.geometry)
    plain, asked = (register_volumes(none, pair.fixed, pair.moving, refine=2, similarity=similarity)
                    for similarity in ("auto", "mind"))  # type: ignore[arg-type]
    steps = [np.ptp(found.field.vectors, axis=(0, 1, 2)).max() for found in (plain, asked)]
    assert steps[0] < 1e-9 and plain.refinement["levels"] == [] and asked.refinement["levels"] and steps[1] > 0.1
