"""The loss that a search starts from: chosen by refining labelled validation pairs, and only on evidence."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import LossWeights, Network, Objective, Recipe, Search, Stage
from AutoRegLib.core.recipe_loss import has_windows, similarity_of, with_window
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.learning.data import Dataset
from AutoRegLib.learning.finish import Way, at_way
from AutoRegLib.search import refined_loss
from AutoRegLib.search.cost_model import estimate
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
    monkeypatch.setattr(refined_loss, "SHARES", (4.0, 0.25))
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


class Scripted:
    """Tries whose scores are given: of a loss, for every pair, its mean and a spread that the pairs do not share."""

    def __init__(self, means: dict[Loss, float], *, spread: float) -> None:
        self.recipe, self.means, self.spread = recipe(1.0), means, spread
        self.scores: dict[Way, list[float]] = defaultdict(list)
        self.costs: dict[Way, list[float]] = defaultdict(list)

    def loss(self, way: Way) -> Loss:
        tried = at_way(self.recipe, way)
        window = tried.objective.windows[0] if has_windows(tried) else 0
        return similarity_of(tried), tried.loss_weights.smoothness, window

    def run(self, pairs: Any, ways: Any, *, seconds: float | None, least: int = 2) -> int:
        for way in ways:
            for place in range(len(self.scores[way]), len(self.scores[way]) + len(pairs)):
                sign = 1.0 if place % 2 == 0 else -1.0
                own = self.spread if len(way.similarity) or way.window or way.smoothness != 1.0 else 0.0
                self.scores[way].append(self.means.get(self.loss(way), 0.5) + sign * own)
                self.costs[way].append(1.0)
        return len(pairs)


def climbed(means: dict[Loss, float], *, spread: float = 0.0, seconds: float | None = None) -> tuple[Loss, Scripted]:
    """Where a climb over 48 pairs ends, and what was tried."""
    tries = Scripted({("lncc", 1.0, 9): 0.7, **means}, spread=spread)
    climb = refined_loss._Climb(tries, [(f"moving {n}", f"fixed {n}") for n in range(48)], seconds)  # type: ignore[arg-type]
    assert climb.begin()
    climb.to_the_top()
    return tries.loss(climb.taken), tries


def test_one_change_after_the_other_ends_where_none_is_better() -> None:
    """Smoothness, then windows at that smoothness, then another similarity, then its smoothness."""
    path: dict[Loss, float] = {
        ("lncc", 0.5, 9): 0.71, ("lncc", 0.25, 9): 0.72, ("lncc", 0.25, 5): 0.73, ("mse", 0.03, 0): 0.74,
        ("mse", 0.06, 0): 0.75, ("lncc", 0.125, 3): 0.9}
    found, tries = climbed(path)
    assert found == ("mse", 0.06, 0)
    assert ("lncc", 0.125, 3) not in {tries.loss(way) for way in tries.scores}  # two changes away


def field(smoothness: float, window: int, *, squared: float = 0.0) -> dict[Loss, float]:
    """Scores that fall by 0.01 a rung from a best smoothness and window, and those of squared differences."""
    rungs, widths = sorted(refined_loss.SHARES), [3, 5, 9, 17, 25]
    off = {s: abs(rungs.index(s) - rungs.index(smoothness)) for s in rungs}
    return {
        **{("lncc", s, w): 0.9 - 0.01 * (off[s] + abs(widths.index(w) - widths.index(window)))
           for s in rungs for w in widths},
        **{("mse", 0.03 * s, 0): squared - 0.01 * off[s] for s in rungs}}


def test_the_variables_are_changed_in_turn() -> None:
    """Fewer refinements than it takes to find the smoothness alone find most of that and of the windows."""
    found, tries = climbed(field(0.0625, 5), seconds=56.0)
    order = [tries.loss(way) for way in tries.scores]
    assert order[:5] == [("lncc", 1.0, 9), ("lncc", 0.5, 9), ("lncc", 0.5, 5), ("mse", 0.03, 0), ("lncc", 0.25, 5)]
    assert found == ("lncc", 0.25, 5)


@pytest.mark.parametrize("smoothness", [4.0, 0.5, 0.0625])
@pytest.mark.parametrize("window", [3, 9, 25])
@pytest.mark.parametrize("squared", [0.0, 0.95])
def test_it_ends_at_the_best_of_the_field(smoothness: float, window: int, squared: float) -> None:
    scores = field(smoothness, window, squared=squared)
    assert climbed(scores)[0] == max(scores, key=lambda loss: scores[loss])


def test_a_small_gain_is_found_on_more_pairs_and_none_is_made_up() -> None:
    """0.02 +- 0.04 a pair: 1.7 standard errors on 12 pairs, 2.4 on 24."""
    found, tries = climbed({("lncc", 1.0, 5): 0.72}, spread=0.04)
    assert found == ("lncc", 1.0, 5)
    assert len(tries.scores[Way(refine="full", window=5)]) == 24
    assert climbed({("lncc", 1.0, 5): 0.701}, spread=0.04)[0] == ("lncc", 1.0, 9)


def test_what_the_first_pairs_refuse_is_not_tried_on_the_others() -> None:
    _, tries = climbed({})
    counts = {tries.loss(way): len(scores) for way, scores in tries.scores.items()}
    assert counts.pop(("lncc", 1.0, 9)) == 12 and set(counts.values()) == {4}


@pytest.mark.parametrize("seconds", [40.0, 100.0, 400.0])
def test_the_time_is_kept(seconds: float) -> None:
    _, tries = climbed({("lncc", 1.0, 5): 0.701}, spread=0.04, seconds=seconds)
    assert sum(map(sum, tries.costs.values())) <= seconds


def budget(pairs: int, *, steps: int, finalists: int, final_steps: int, share: float = 0.4) -> Recipe:
    return replace(recipe(1.0), search=Search(
        stages=(Stage("loss weights", "lambda", "auto", steps, 5e-2),), shares=(0.6,), finalists=finalists,
        final_steps=final_steps, refined_pairs=pairs, refined_share=share))


def test_a_search_of_few_steps_refines_few_pairs() -> None:
    """Five refinements a pair, each as long as three steps of training."""
    dataset = scene(detail=4.0, noise=0.0, pairs=24)

    def count(start: Recipe, by_steps: bool = True) -> int:
        return len(refined_loss.pairs_to_refine(start, dataset, by_steps=by_steps))

    small = budget(20, steps=150, finalists=2, final_steps=50)
    assert count(small) == 9  # 0.4 * (150 + 2 * 2 * 50) / 15
    assert count(small, by_steps=False) == count(budget(20, steps=1000, finalists=1, final_steps=0)) == 20
    assert count(replace(small, search=replace(small.search, refined_share=0.2))) == 4
    assert count(budget(20, steps=100, finalists=1, final_steps=50)) == 0, "two pairs can't tell"


def test_the_estimate_of_a_search_by_steps_counts_the_refinements(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = scene(detail=4.0, noise=0.0, pairs=24)
    clock = iter([10.0, 1e6 + 10.0])
    monkeypatch.setattr(refined_loss, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(refined_loss, "finished", lambda *_: None)
    start = budget(20, steps=150, finalists=2, final_steps=50)
    seconds = estimate(start, dataset, start.search.stages, minutes=None)["seconds"]
    assert 5 * 9 * 1e6 <= seconds < 5 * 9 * 1e6 + 1e5
    operators = (replace(start.search.stages[0], upper="feature"),)
    assert estimate(start, dataset, operators, minutes=None)["seconds"] < 1e5
    assert estimate(start, dataset, start.search.stages, minutes=2.0)["seconds"] == 120.0


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
