"""The loss that a search starts from: chosen by refining labelled validation pairs, and only on evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import LossWeights, Network, Objective, Recipe
from AutoRegLib.core.recipe_loss import similarity_of, with_window
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.learning.data import Dataset
from AutoRegLib.search import refined_loss
from AutoRegLib.search.refined_loss import STAGE, choose_loss

SIZE, PAIRS = 48, 4


def scene(
    *, detail: float, noise: float, shading: float = 0.0, labelled: bool = True, pairs: int = PAIRS
) -> Dataset:
    """Pairs of a banded picture and the same under a random move whose standard deviation is 2.5 pixels and whose
    details are ``detail`` pixels wide, each image with its own noise.
    """
    rng = np.random.default_rng(5)
    images: dict[str, Tensor] = {}
    labels: dict[str, Tensor] = {}
    places = np.stack(np.meshgrid(*[np.arange(SIZE)] * 2, indexing="ij")).astype(float)

    def tensor(array: np.ndarray, kind: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(kind)[None, None]

    for number in range(pairs):
        picture = gaussian_filter(rng.standard_normal((SIZE, SIZE)), 4.0, mode="wrap")
        bands = np.digitize(picture / picture.std(), [-0.5, 0.5]) + 1
        move = np.stack([gaussian_filter(rng.standard_normal((SIZE, SIZE)), detail, mode="wrap") for _ in range(2)])
        there = places + 2.5 * move / move.std()
        for name, shown, marked in (
            ("fixed", picture, bands),
            ("moving", map_coordinates(picture, there, order=1, mode="wrap"),
             map_coordinates(bands, there, order=0, mode="wrap")),
        ):
            image = shown / picture.std() + noise * rng.standard_normal((SIZE, SIZE))
            if shading:
                shade = gaussian_filter(rng.standard_normal((SIZE, SIZE)), 5.0, mode="wrap")
                image = image + shading * shade / shade.std()
            images[f"{name} {number}"] = tensor((image - image.min()) / np.ptp(image), torch.float32)
            labels[f"{name} {number}"] = tensor(marked, torch.int16)
    listed = tuple((f"moving {n}", f"fixed {n}") for n in range(pairs))
    grid = Geometry((SIZE, SIZE), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    return Dataset(grid, images, labels if labelled else {}, {"train": listed, "val": listed}, (1, 2, 3))


def recipe(smoothness: float, window: int = 9) -> Recipe:
    weights = LossWeights(similarity_mix=1.0, smoothness=smoothness).at_full_scale()
    start = Recipe(spatial_dims=2, network=Network(features=(4, 8), decoder=(8, 8, 8)), loss_weights=weights,
                   objective=Objective(regularise="velocity"))
    return with_window(start, window)


Loss = tuple[str, float, int]


def chosen(start: Recipe, dataset: Dataset) -> tuple[Loss, dict[Loss, float]]:
    """The similarity, smoothness and window that are chosen, and the score of each that were tried on all pairs."""
    history: list[dict[str, Any]] = []
    found = choose_loss(start, dataset, seconds=None, history=history, monitor=Monitor())
    assert {row["stage"] for row in history} <= {STAGE}
    weights, objective = found.loss_weights, found.objective
    assert found == replace(
        start, objective=replace(start.objective, windows=objective.windows, data_term=objective.data_term),
        loss_weights=replace(start.loss_weights, smoothness=weights.smoothness, similarity_mix=weights.similarity_mix))
    assert max(objective.windows) == objective.windows[0]
    name = similarity_of(found)
    return (name, weights.smoothness, objective.windows[0] if name == "lncc" else 0), {
        (row["tried_similarity"], row["tried_smoothness"], row["tried_window"]): row["score"]
        for row in history if row["step"] == history[0]["step"]}


@pytest.fixture
def smoothness_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refined_loss, "SHARES", (4.0, 2.0, 0.5, 0.25))
    monkeypatch.setattr(refined_loss, "WIDTHS", ())
    monkeypatch.setattr(refined_loss, "other_similarities", lambda recipe: [])


@pytest.fixture
def windows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refined_loss, "SHARES", ())
    monkeypatch.setattr(refined_loss, "other_similarities", lambda recipe: [])


@pytest.fixture
def similarity_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refined_loss, "SHARES", ())
    monkeypatch.setattr(refined_loss, "WIDTHS", ())


@pytest.mark.usefixtures("smoothness_alone")
def test_fine_moves_of_clear_pictures_ask_for_less_smoothness() -> None:
    found, scores = chosen(recipe(16.0), scene(detail=4.0, noise=0.0))
    assert found[1] < 16.0 and scores[found] > scores["lncc", 16.0, 9] + 0.03


@pytest.mark.usefixtures("smoothness_alone")
def test_noise_asks_for_more_smoothness() -> None:
    found, scores = chosen(recipe(0.01), scene(detail=12.0, noise=1.0, pairs=6))
    assert found[1] > 0.01 and scores[found] > scores["lncc", 0.01, 9]


@pytest.mark.usefixtures("windows_alone")
def test_shading_asks_for_narrower_windows() -> None:
    found, scores = chosen(recipe(1.0, 13), scene(detail=4.0, noise=0.0, shading=0.5))
    assert found[2] == 5 and scores[found] > scores["lncc", 1.0, 13]


@pytest.mark.usefixtures("windows_alone")
def test_noise_asks_for_wider_windows() -> None:
    found, scores = chosen(recipe(4.0, 5), scene(detail=12.0, noise=1.0, pairs=6))
    assert found[2] > 5 and scores[found] > scores["lncc", 4.0, 5]


@pytest.mark.usefixtures("similarity_alone")
def test_pictures_of_one_brightness_in_noise_are_compared_by_squared_differences() -> None:
    """Local correlation pays for a gain and an offset in every window, which these pictures do not need."""
    found, scores = chosen(recipe(1.0, 3), scene(detail=12.0, noise=0.3, pairs=6))
    assert found[0] == "mse" and scores[found] > scores["lncc", 1.0, 3] + 0.02


@pytest.mark.usefixtures("similarity_alone")
def test_shaded_pictures_are_not() -> None:
    found, _ = chosen(recipe(1.0, 9), scene(detail=4.0, noise=0.0, shading=2.0))
    assert found[0] != "mse"


def test_one_change_after_the_other_ends_where_none_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a loss that is wrong in smoothness and windows both are mended, one after the other."""
    monkeypatch.setattr(refined_loss, "SHARES", (1.0, 0.0625))
    monkeypatch.setattr(refined_loss, "WIDTHS", (9,))
    monkeypatch.setattr(refined_loss, "other_similarities", lambda recipe: ["mse"])
    found, scores = chosen(recipe(64.0, 3), scene(detail=8.0, noise=0.3))
    assert found == ("lncc", 4.0, 9)
    assert scores[found] > scores["lncc", 4.0, 3] + 0.02 > scores["lncc", 64.0, 3] + 0.1


def test_a_loss_without_windows_tries_none() -> None:
    start = recipe(16.0)
    start = replace(start, objective=replace(start.objective, data_term="mse"))
    assert refined_loss.windows_around(start) == [9]


def test_time_that_ends_leaves_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    history: list[dict[str, Any]] = []
    start, dataset = recipe(16.0), scene(detail=4.0, noise=0.0, pairs=6)
    assert choose_loss(start, dataset, seconds=1e-3, history=history, monitor=Monitor()) == start
    assert history == []


@pytest.mark.parametrize("change", [{"labelled": False}, {"pairs": 3}])
def test_without_labels_or_with_few_pairs_nothing_is_tried(change: dict[str, Any]) -> None:
    assert chosen(recipe(16.0), scene(detail=4.0, noise=0.0, **change)) == (("lncc", 16.0, 9), {})
