"""Asking a network again: the answers composed, as the images are warped one after the other; chosen by validation."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor, nn

from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.recipe import LossWeights, Network, Objective, Recipe
from AutoRegLib.fields.prediction import Prediction, integrate_within
from AutoRegLib.fields.velocity import compose
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.learning import finish
from AutoRegLib.learning.data import Dataset
from AutoRegLib.learning.finish import choose_finish
from AutoRegLib.networks.asking import ask
from AutoRegLib.networks.none import NoNetwork
from AutoRegLib.registration.refine import refine_prediction

SIZE, SQUARINGS, FAR = 48, 6, 8.0


class Hesitant(nn.Module):
    """Moves a blob half as far as it would have to go, within a smooth window around it."""

    def __init__(self, *, velocity: bool = True) -> None:
        super().__init__()
        self.velocity = velocity

    def forward(self, moving: Tensor, fixed: Tensor) -> Prediction:
        places = torch.stack(torch.meshgrid(*[torch.arange(float(SIZE))] * 2, indexing="ij"))

        def middle(image: Tensor) -> Tensor:
            return (places * image[0, 0]).sum((1, 2)) / image.sum()

        coarse = torch.stack(torch.meshgrid(*[torch.arange(float(SIZE // 2))] * 2, indexing="ij")) * 2 + 0.5
        near = torch.exp(-((coarse - middle(fixed)[:, None, None]) ** 2).sum(0) / (2 * 12.0**2))
        velocity = (0.25 * (middle(moving) - middle(fixed))[:, None, None] * near)[None]  # in voxels of the half grid
        whole = integrate_within(velocity, fixed.shape[2:], squarings=SQUARINGS)
        return Prediction(whole, velocity if self.velocity else None)


def blob(y: float, x: float) -> np.ndarray:
    places = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")).astype(float)
    return np.exp(-((places[0] - y) ** 2 + (places[1] - x) ** 2) / (2 * 4.0**2))


def tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image)[None, None].float()


def warped(image: np.ndarray, displacement: Tensor) -> np.ndarray:
    """By SciPy."""
    places = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")) + displacement[0].numpy()
    return np.asarray(map_coordinates(image, places, order=1, mode="nearest"))


MOVING, FIXED = blob(24.0, 20.0), blob(24.0, 20.0 + FAR)


def test_what_is_left_is_asked_for_again_and_the_answers_warp_one_after_the_other() -> None:
    network, shown, left = Hesitant(), MOVING, []
    for times in (1, 2, 3):
        whole = ask(network, tensor(MOVING), tensor(FIXED), times=times, squarings=SQUARINGS)
        shown = warped(shown, network(tensor(shown), tensor(FIXED)).displacement)
        assert np.abs(warped(MOVING, whole.displacement) - shown).max() < 0.03  # interpolated once instead of so often
        left.append(np.abs(shown - FIXED).mean())
    assert all(after < 0.8 * before for before, after in pairwise(left))


def test_the_way_back_leads_back() -> None:
    answer = ask(Hesitant(), tensor(MOVING), tensor(FIXED), times=3, squarings=SQUARINGS)
    assert answer.velocity is None and answer.inverse is not None
    inner = (..., slice(8, -8), slice(8, -8))
    assert float(answer.displacement.abs().max()) > 5.0
    assert float(compose(answer.displacement, answer.inverse)[inner].abs().max()) < 0.05
    assert ask(Hesitant(velocity=False), tensor(MOVING), tensor(FIXED), times=2, squarings=SQUARINGS).inverse is None


def test_asked_once_it_is_the_networks_own_answer() -> None:
    own = Hesitant()(tensor(MOVING), tensor(FIXED))
    once = ask(Hesitant(), tensor(MOVING), tensor(FIXED), times=1, squarings=SQUARINGS)
    torch.testing.assert_close(once.displacement, own.displacement, atol=0, rtol=0)
    assert once.velocity is not None


@pytest.mark.parametrize("labelled", [True, False])
def test_validation_says_how_often(labelled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hesitant network is asked as often as it may; one that answers nothing, once."""
    rng = np.random.default_rng(0)
    images: dict[str, Tensor] = {}
    labels: dict[str, Tensor] = {}
    for number in range(4):
        y, x = rng.uniform(18, 30, 2)
        for name, image in (("fixed", blob(y, x)), ("moving", blob(y + 5.0, x - 4.0))):
            images[f"{name} {number}"] = tensor(image + 0.01 * gaussian_filter(rng.standard_normal(image.shape), 1.0))
            labels[f"{name} {number}"] = tensor(image > 0.5).to(torch.int16)
    pairs = tuple((f"moving {number}", f"fixed {number}") for number in range(4))
    dataset = Dataset(Geometry((SIZE, SIZE), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0)), images,
                      labels if labelled else {}, {"train": pairs, "val": pairs}, (1,) if labelled else ())
    recipe = Recipe(spatial_dims=2, network=Network(squarings=SQUARINGS), objective=Objective(regularise="velocity"),
                    loss_weights=replace(LossWeights(), similarity_mix=1.0, smoothness=0.1).at_full_scale())
    def figures(network: nn.Module) -> dict[str, Any]:
        monkeypatch.setattr(finish, "build_network", lambda _: network)
        return choose_finish(recipe, dataset, {}, steps=1000, monitor=Monitor())

    class Still(Hesitant):
        def forward(self, moving: Tensor, fixed: Tensor) -> Prediction:
            return Prediction(torch.zeros_like(super().forward(moving, fixed).displacement), None)

    class Refined(Hesitant):
        """What refinement alone makes of a pair."""

        def forward(self, moving: Tensor, fixed: Tensor) -> Prediction:
            with torch.inference_mode(False):
                pair = (moving.clone(), fixed.clone())
                return refine_prediction(NoNetwork()(*pair), *pair, recipe=recipe).prediction

    if not labelled:  # the cheapest finish that comes close to refinement alone; good networks for pictures asked twice
        found = figures(Still())
        scores = {name: facts["score"] for name, facts in found["finishes"].items() if name != "pairs"}
        tried = [str(choice) for choice in finish.CHOICES[1:]]
        tried = tried[: tried.index(str(found["finish"])) + 1]
        assert set(scores) == {"auto, without the network", *tried} and "asks" not in found
        assert len(tried) > 1 and max(scores[name] for name in tried[:-1]) < scores["auto, without the network"]
        found = figures(Refined())
        assert found["finish"] == 0 and found["asks"] == 2
        recipe = replace(recipe, objective=replace(recipe.objective, label_weight=1.0))
        assert figures(Still())["finish"] == 0  # a loss that sees no labels would undo what they taught
        return
    monkeypatch.setattr(finish, "CHOICES", (0,))
    assert figures(Hesitant())["asks"] == max(finish.ASKS) and figures(Still()).get("asks", 1) == 1
