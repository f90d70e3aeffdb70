"""Where a search or a study of given images starts: the preset's recipe on a working grid that suits them."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.presets import SCALES, PresetName, preset_recipe, with_more_moves
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.recipe_loss import with_smoothness
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.imaging.files import read_geometry
from AutoRegLib.imaging.geometry import Geometry, working_grid
from AutoRegLib.learning.data import check_dimensions, training_cases

#: so many training images tell the grid, evenly picked from the split
HEADERS = 40


def start_recipe(
    scenario: Scenario, preset: PresetName = "standard", *, network: str = "autoreg", spacing: float | None = None,
    label_weight: float = 0.0, seed: int = 0,
) -> Recipe:
    """The preset's recipe for these images.

    ``spacing``: of the working grid, mm, the same along all axes (default: what the images' headers suggest).
    ``label_weight``: how much the overlap of training labels counts in the loss. Raises InputError.
    """
    if label_weight > 0.0 and not any(p.moving.labels and p.fixed.labels for p in scenario.pairs_of("train")):
        raise InputError(
            "there are no training labels to learn from", expected="labels of both images of a training pair",
            got=f"label weight {label_weight:g}", remedy="leave it out, or name label files in the scenario",
        )
    headers = _some_headers(scenario)
    if spacing is None:
        grid = _working_spacing(headers, most_voxels=SCALES[preset][0])
    else:
        grid = (spacing,) * scenario.spatial_dims
    recipe = preset_recipe(
        scenario, preset, network=network, spacing=grid, same_space=_on_one_grid(headers), seed=seed
    )
    recipe = replace(recipe, objective=replace(recipe.objective, label_weight=label_weight))
    return recipe if label_weight == 0.0 or preset == "published" else _for_labels(recipe)


def _for_labels(recipe: Recipe) -> Recipe:
    """The recipe for a training that learns from labels: it may deform more, where the loss is ours (other networks
    keep their own), and is shown more than there are of pairs.

    Networks learn few labels by heart: without the random moves their overlap on other people stands still after a
    quarter of an hour (docs/results.md, labels).
    """
    if recipe.network.name == "autoreg":
        recipe = with_smoothness(recipe, recipe.loss_weights.smoothness / 2)
    return replace(recipe, training=with_more_moves(recipe.training))


def _some_headers(scenario: Scenario) -> list[Geometry]:
    cases = training_cases(scenario)
    some = cases[:: max(1, len(cases) // HEADERS)]
    headers = [read_geometry(case.image) for case in some]
    for case, header in zip(some, headers, strict=True):
        check_dimensions(scenario, case, header)
    return headers


def _working_spacing(headers: list[Geometry], *, most_voxels: int) -> tuple[float, ...]:
    """The working grid's spacing (mm, LPS axes): the median of the images', coarsened to ``most_voxels``.

    Taken along the LPS axis closest to each image axis.
    """
    grids = [_canonical(header) for header in headers]
    axes = range(grids[0].dims)
    spacing = [median(g.spacing[axis] for g in grids) for axis in axes]
    extent = [median(g.size[axis] * g.spacing[axis] for g in grids) for axis in axes]
    finest = min(spacing)
    # thick slices stay thick (nothing lies between them), but no axis is finer than it needs to be
    while math.prod(e / s for e, s in zip(extent, spacing, strict=True)) > most_voxels:
        finest *= 1.02
        spacing = [max(s, finest) for s in spacing]
    return tuple(round(s, 3) for s in spacing)


def _on_one_grid(headers: list[Geometry]) -> bool:
    """Whether all images share size, spacing, origin and direction: a dataset aligned already."""
    first, *others = headers
    return bool(others) and all(first.close_to(other, tolerance=1e-3) for other in others)


def _canonical(geometry: Geometry) -> Geometry:
    """The geometry with axes in LPS order at its own spacing."""
    axes = abs(geometry.direction_matrix).argmax(axis=1)
    return working_grid(geometry, spacing=[geometry.spacing[a] for a in axes], multiple=1)
