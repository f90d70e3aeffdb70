"""Instance refinement: known deformations come back, nothing folds, the loss falls, the model stays as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from AutoRegLib.core.errors import CancelledError, InputError
from AutoRegLib.core.folds import folded
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import LossWeights, Recipe
from AutoRegLib.core.recipe_loss import with_loss
from AutoRegLib.fields.jacobian import jacobian_determinant
from AutoRegLib.fields.prediction import Prediction, integrate
from AutoRegLib.fields.resample import resize_displacement
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.fields.velocity import exponentiate
from AutoRegLib.fields.warp import warp
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.networks.none import NoNetwork
from AutoRegLib.registration import refine
from AutoRegLib.registration.no_network import no_network, working_spacing
from AutoRegLib.registration.refine import converged, level_factors, refine_prediction

SHAPES = {2: (64, 72), 3: (40, 44, 36)}


def geometry(shape: tuple[int, ...], spacing: float = 1.0) -> Geometry:
    dims = len(shape)
    return Geometry(shape[::-1], (spacing,) * dims, (0.0,) * dims, tuple(np.eye(dims).ravel().tolist()))


def scene(dims: int, *, strength: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """A textured moving image, the fixed one it becomes under a known displacement, and that displacement."""
    random = torch.Generator().manual_seed(3)
    shape = SHAPES[dims]
    moving = gaussian(torch.rand(1, 1, *shape, generator=random), 1.5)
    coarse = torch.randn(1, dims, *[4] * dims, generator=random)
    velocity = resize_displacement(coarse, shape)
    velocity = gaussian(velocity * strength / velocity.abs().amax(), 2.0)
    truth = exponentiate(velocity)
    return moving, warp(moving, truth), truth


def zero(image: Tensor) -> Prediction:
    answer: Prediction = NoNetwork()(image, image)
    return answer


def recipe_for(dims: int) -> Recipe:
    grid = geometry(SHAPES[dims])
    return no_network(grid, grid).recipe


def error(found: Tensor, truth: Tensor) -> float:
    """Mean length of the difference away from the border, where images say nothing. Unit: voxels."""
    inner = (slice(None), slice(None), *[slice(6, -6)] * (truth.ndim - 2))
    return float((found - truth)[inner].square().sum(1).sqrt().mean())


@pytest.mark.parametrize("dims", [2, 3])
def test_mind_recovers_a_known_deformation_of_inverted_brightness(dims: int) -> None:
    moving, fixed, truth = scene(dims)
    recipe = with_loss(recipe_for(dims), "mind")
    found = refine_prediction(zero(fixed), 1 - moving, fixed, recipe=recipe)
    same = refine_prediction(zero(fixed), moving, fixed, recipe=recipe)
    assert error(found.displacement, truth) < error(torch.zeros_like(truth), truth) / 4
    assert error(found.displacement, same.displacement) < 0.1


@pytest.mark.parametrize("dims", [2, 3])
def test_lattices_of_full_resolution_find_what_half_of_it_misses(dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a grid that counts as too large for full resolution; they are the last level, and come nearer the truth."""
    moving, fixed, truth = scene(dims)
    recipe, nothing = with_loss(recipe_for(dims), "mind"), {2: 0, 3: 0}
    monkeypatch.setattr(refine, "_WHOLE", nothing)
    found = refine_prediction(zero(fixed), moving, fixed, recipe=recipe)
    monkeypatch.setattr(refine, "_LATTICE", nothing)
    half = refine_prediction(zero(fixed), moving, fixed, recipe=recipe)
    assert [level.factor for level in found.levels] == [*(level.factor for level in half.levels), 1]
    assert error(found.displacement, truth) < 0.9 * error(half.displacement, truth)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_known_deformation_is_recovered_without_folds(dims: int) -> None:
    moving, fixed, truth = scene(dims)
    found = refine_prediction(zero(fixed), moving, fixed, recipe=recipe_for(dims))
    assert error(found.displacement, truth) < error(torch.zeros_like(truth), truth) / 4
    assert int(folded(jacobian_determinant(found.displacement)).sum()) == 0
    assert found.loss_after < 0.5 * found.loss_before
    assert [level.factor for level in found.levels] == list(level_factors(SHAPES[dims]))
    assert found.velocity is not None
    there = integrate(found.velocity, [2 * n for n in found.velocity.shape[2:]], squarings=7)
    back = integrate(-found.velocity, [2 * n for n in found.velocity.shape[2:]], squarings=7)
    loop = there + warp(back, there)
    assert float(loop.abs().mean()) < 0.1


def test_it_goes_on_from_the_networks_velocity() -> None:
    moving, fixed, truth = scene(2)
    recipe = recipe_for(2)
    first = refine_prediction(zero(fixed), moving, fixed, recipe=recipe)
    assert first.velocity is not None
    again = refine_prediction(Prediction(first.displacement, first.velocity[..., :32, :36]), moving, fixed,
                              recipe=recipe, iterations=2)
    assert again.loss_before == pytest.approx(first.loss_after, rel=0.02)
    assert again.loss_after <= again.loss_before
    assert error(again.displacement, truth) < error(torch.zeros_like(truth), truth) / 3


def test_a_finish_keeps_the_answer_and_runs_the_finest_level_alone() -> None:
    moving, fixed, truth = scene(2)
    recipe = recipe_for(2)
    first = refine_prediction(zero(fixed), moving, fixed, recipe=recipe, iterations=2)
    answer = Prediction(first.displacement, first.velocity)
    short = refine_prediction(answer, moving, fixed, recipe=recipe, finish=True)
    assert [level.factor for level in short.levels] == [1] and 0 < short.levels[0].iterations <= 15
    assert short.loss_after < short.loss_before == pytest.approx(first.loss_after, rel=0.02)
    assert error(short.displacement, truth) < error(first.displacement, truth)
    three = refine_prediction(answer, moving, fixed, recipe=recipe, finish=True, iterations=3)
    assert [level.iterations for level in three.levels] == [3]
    full = refine_prediction(answer, moving, fixed, recipe=recipe, finish=True, iterations="full")
    assert [level.factor for level in full.levels] == list(level_factors(SHAPES[2]))


def test_a_displacement_without_velocity_is_composed() -> None:
    moving, fixed, truth = scene(2)
    half = 0.5 * truth
    found = refine_prediction(Prediction(half, None), moving, fixed, recipe=recipe_for(2))
    assert found.velocity is None
    assert error(found.displacement, truth) < error(half, truth) / 2


def test_answers_made_in_inference_mode_can_be_refined() -> None:
    moving, fixed, _ = scene(2)
    with torch.inference_mode():
        prediction = zero(fixed)
    found = refine_prediction(prediction, moving, fixed, recipe=recipe_for(2), iterations=2)
    assert found.loss_after < found.loss_before


@pytest.mark.parametrize("mix", [0.0, 0.5])
def test_mind_and_the_mixture_of_a_bundle(mix: float) -> None:
    moving, fixed, truth = scene(2)
    recipe = replace(recipe_for(2), loss_weights=LossWeights(similarity_mix=mix, smoothness=0.3))
    found = refine_prediction(zero(fixed), 1 - moving, fixed, recipe=recipe)
    assert error(found.displacement, truth) < error(torch.zeros_like(truth), truth) / 2
    assert found.loss_after < found.loss_before


def test_equal_images_stay_where_they_are() -> None:
    moving = scene(2)[0]
    found = refine_prediction(zero(moving), moving, moving, recipe=recipe_for(2))
    assert float(found.displacement.abs().max()) < 0.02
    assert found.loss_after <= found.loss_before


def test_folds_the_loss_allows_are_smoothed_away() -> None:
    moving, fixed, _ = scene(2, strength=9.0)
    wild = replace(recipe_for(2), loss_weights=LossWeights(similarity_mix=1.0, smoothness=0.0))
    noise = torch.Generator().manual_seed(0)
    velocity = 4.0 * torch.randn(1, 2, 32, 36, generator=noise)
    start = Prediction(integrate(velocity, SHAPES[2], squarings=7), velocity)
    assert int(folded(jacobian_determinant(start.displacement)).sum()) > 10
    found = refine_prediction(start, moving, fixed, recipe=wild, iterations=3)
    assert int(folded(jacobian_determinant(found.displacement)).sum()) == 0


def test_the_stopping_rule() -> None:
    assert not converged([1.0] * 5, window=3, tolerance=0.01)  # too few to tell
    assert converged([1.0] * 6, window=3, tolerance=0.01)
    assert not converged([1.0, 0.9, 0.8, 0.7, 0.6, 0.5], window=3, tolerance=0.01)
    assert converged([1.0, 0.999, 0.998, 0.997, 0.996, 0.995], window=3, tolerance=0.01)
    assert converged([0.5, 0.5, 0.5, 0.9, 0.9, 0.9], window=3, tolerance=0.01)  # rising
    falling = [1.0, 0.8, 0.7, 0.69, 0.68, 0.67]
    assert not converged(falling, window=2, tolerance=0.0, share=0.05)  # 0.02 of 0.325 gained
    assert converged(falling, window=2, tolerance=0.0, share=0.1)
    moving, fixed, _ = scene(2)
    found = refine_prediction(zero(fixed), moving, fixed, recipe=recipe_for(2), iterations=500)
    assert found.levels[-1].converged and found.levels[-1].iterations < 100
    assert refine_prediction(zero(fixed), moving, fixed, recipe=recipe_for(2), iterations=3).levels[-1].iterations == 3


def test_levels_fit_the_grid() -> None:
    assert level_factors((160, 192, 224)) == (8, 4, 2)
    assert level_factors((40, 48, 32)) == (8, 4, 2, 1)
    assert level_factors((96, 100, 72)) == (8, 4, 2)
    assert level_factors((220, 20, 184)) == (4, 2)
    assert level_factors((256, 256)) == (8, 4, 2, 1)
    assert level_factors((4, 4)) == (1,)


@pytest.mark.parametrize("shape", [(4, 5, 6), (9, 30, 17), (5, 7)])
def test_awkward_sizes(shape: tuple[int, ...]) -> None:
    random = torch.Generator().manual_seed(0)
    fixed, moving = (torch.rand(1, 1, *shape, generator=random) for _ in range(2))
    found = refine_prediction(Prediction(torch.zeros(1, len(shape), *shape), None), moving, fixed,
                              recipe=recipe_for(len(shape)), iterations=2)
    assert found.displacement.shape[2:] == shape and found.displacement.isfinite().all()


@pytest.mark.parametrize("iterations", [-1, 1.5, True, "fast", None])
def test_iterations_that_mean_nothing(iterations: Any) -> None:
    moving, fixed, _ = scene(2)
    with pytest.raises(InputError, match="iterations of the refinement") as caught:
        refine_prediction(zero(fixed), moving, fixed, recipe=recipe_for(2), iterations=iterations)
    assert caught.value.remedy


def test_images_of_two_grids_are_refused() -> None:
    moving, fixed, _ = scene(2)
    with pytest.raises(InputError, match="do not fit"):
        refine_prediction(zero(fixed), moving[..., :-4], fixed, recipe=recipe_for(2))


def test_the_user_may_stop_it() -> None:
    class Impatient(Monitor):
        def __init__(self, wish: Any) -> None:
            self.answer, self.progress = wish, 0

        def wish(self) -> Any:
            return self.answer if self.progress > 1 else ""

        def event(self, type: str, **payload: Any) -> None:
            assert type == "progress" and 0 < payload["done"] <= payload["total"]
            self.progress += 1

    moving, fixed, _ = scene(2)
    with pytest.raises(CancelledError):
        refine_prediction(zero(fixed), moving, fixed, recipe=recipe_for(2), monitor=Impatient("cancel"))
    found = refine_prediction(zero(fixed), moving, fixed, recipe=recipe_for(2), monitor=Impatient("finish"))
    assert sum(level.iterations for level in found.levels) == 2


def test_two_runs_agree_to_the_bit() -> None:
    moving, fixed, _ = scene(2)
    first, second = (refine_prediction(zero(fixed), moving, fixed, recipe=recipe_for(2), iterations=2)
                     for _ in range(2))
    assert torch.equal(first.displacement, second.displacement)


def test_the_grid_without_a_model() -> None:
    fine, coarse = geometry((40, 40, 40)), geometry((20, 20, 20), 2.0)
    assert working_spacing(fine, fine) == 1.0
    assert working_spacing(fine, coarse) == working_spacing(coarse, fine) == 2.0
    huge = geometry((600, 600, 600), 0.5)
    assert working_spacing(huge, huge) == pytest.approx(300 / 256)
    assert no_network(fine, coarse).path == Path("none")


def test_full_masks_change_nothing() -> None:
    moving, fixed, _ = scene(2)
    full = torch.ones_like(fixed)
    plain = refine_prediction(zero(fixed), moving, fixed, recipe=recipe_for(2), iterations=5)
    for masks in ({"fixed_mask": full}, {"moving_mask": full}, {"fixed_mask": full, "moving_mask": full}):
        found = refine_prediction(zero(fixed), moving, fixed, recipe=recipe_for(2), iterations=5, **masks)
        assert float((found.displacement - plain.displacement).abs().max()) < 1e-4
        assert found.loss_before == pytest.approx(plain.loss_before, abs=1e-6)


@pytest.mark.parametrize("mix", [0.0, 1.0])
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_the_similarity_of_a_pair_is_the_mean_over_both_masks(role: str, mix: float) -> None:
    """A voxel that does not count has no gradient of its own: only windows about voxels that do see it."""
    moving, fixed, _ = scene(2)
    mask = torch.zeros_like(fixed)
    mask[..., 20:40, 20:40] = 1
    other = (fixed if role == "fixed" else moving).clone()
    other[..., 54:, 58:] = other[..., 54:, 58:].flip(2)  # further from the mask than any window reaches
    images = {"fixed": fixed, "moving": moving}
    recipe = replace(recipe_for(2), loss_weights=LossWeights(similarity_mix=mix, smoothness=1.0))
    first, second = (
        refine_prediction(zero(fixed), pair["moving"], pair["fixed"], recipe=recipe, iterations=1,
                          **{f"{role}_mask": mask}).loss_before
        for pair in (images, {**images, role: other}))
    assert first == pytest.approx(second, abs=1e-5)
    without = refine_prediction(zero(fixed), moving, fixed, recipe=recipe, iterations=1).loss_before
    assert abs(first - without) > 0.005


def test_masks_without_a_common_voxel_are_refused() -> None:
    moving, fixed, _ = scene(2)
    left, right = torch.zeros_like(fixed), torch.zeros_like(fixed)
    left[..., :20], right[..., 50:] = 1, 1
    with pytest.raises(InputError, match="no voxel in common"):
        refine_prediction(zero(fixed), moving, fixed, recipe=recipe_for(2), fixed_mask=left, moving_mask=right)


def test_smoothness_leaves_no_finer_detail_and_more_of_it_less() -> None:
    """The true waves are some 16 voxels long: 6 hardly touch them, 20 take away what is finer."""
    moving, fixed, _ = scene(2)
    rough = []
    for smoothness in (0.0, 6.0, 20.0):
        found = refine_prediction(zero(fixed), moving, fixed, recipe=recipe_for(2), smoothness=smoothness)
        assert found.loss_after <= found.loss_before
        field = found.displacement
        rough.append(float((field - gaussian(field, 4.0)).square().mean()))
        assert float(field.abs().max()) > 0.2
    assert rough[2] < 0.4 * rough[1] < 0.4 * rough[0]


def test_volumes_are_kept_where_it_is_asked_for() -> None:
    """A disc that would have to shrink to a third keeps more of its area the more it is asked to."""
    axes = torch.meshgrid(*(torch.arange(48.0) - 23.5,) * 2, indexing="ij")
    radius = (axes[0] ** 2 + axes[1] ** 2).sqrt()[None, None]
    moving, fixed = torch.sigmoid(12 - radius), torch.sigmoid(7 - radius)
    least = []
    for weight in (0.0, 1.0, 3.0):
        found = refine_prediction(zero(fixed), moving, fixed, recipe=recipe_for(2), volume_weight=weight)
        least.append(float(jacobian_determinant(found.displacement).log().square().mean()))
    assert least[0] > 1.3 * least[1] > 1.5 * least[2] > 0
