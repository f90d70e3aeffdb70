"""The finish of a model: tried on validation pairs, kept with the model, and what registers unless asked otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from AutoRegLib.app.perform import _iterations, _refine_choice
from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.learning.finish import _close, preferred

STILL = [0.60, 0.62, 0.58, 0.61]


def above(*gains: float) -> list[float]:
    return [value + gain for value, gain in zip(STILL, gains, strict=True)]


@pytest.mark.parametrize(("short", "full", "wanted"), [
    ((0.12, 0.13, 0.12, 0.12), (0.121, 0.131, 0.121, 0.121), "auto"),  # a sure gain, too small for its time
    ((0.12, 0.13, 0.12, 0.12), (0.18, 0.18, 0.17, 0.18), "full"),
    ((0.09, 0.10, 0.08, 0.09), (0.08, 0.09, 0.07, 0.08), 0),  # it undoes what labels taught
    ((0.20, 0.05, 0.06, 0.19), (0.05, 0.20, 0.19, 0.06), 0),  # better on the mean, by chance
])
def test_a_costlier_finish_has_to_be_surely_and_clearly_better(short: Any, full: Any, wanted: Any) -> None:
    network = above(0.10, 0.11, 0.09, 0.10)
    assert preferred(STILL, {0: network, "auto": above(*short), "full": above(*full)}) == wanted


@pytest.mark.parametrize(("score", "wanted"), [(-0.31, True), (-0.38, True), (-0.39, False), (-0.2, True)])
def test_a_loss_is_low_close_at_that_of_refinement_alone(score: float, wanted: bool) -> None:
    """Within a quarter of what refinement gains: of 0.3 from 0.61 to 0.31."""
    assert _close([score - 0.1, score + 0.1], [-0.41, -0.21], [-0.71, -0.51]) is wanted


def model(metrics: Mapping[str, Any]) -> ModelBundle:
    return ModelBundle(Path("model"), Recipe(), nn.Identity(), metrics, {})


@pytest.mark.parametrize("liked", [0, 5, "auto", "full"])
def test_what_validation_liked_is_the_default_and_the_report_says_so(liked: Any) -> None:
    bundle = model({"finish": liked})
    assert _iterations(None, bundle) == _iterations("auto", bundle) == liked
    assert str(liked) in _refine_choice(None, bundle)
    assert _iterations(7, bundle) == 7 and _refine_choice(7, bundle) == ""


def test_models_of_before_register_as_before() -> None:
    assert _iterations(None, model({})) == 0 and _iterations("auto", model({})) == "auto"
    assert _iterations(None, None) == "auto" and _refine_choice(None, None) == _refine_choice(None, model({})) == ""


@pytest.mark.parametrize("value", [-1, 1.5, True, "fast", []])
def test_a_damaged_finish_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="damaged"):
        _ = model(json.loads(json.dumps({"finish": value}))).finish


@pytest.mark.parametrize("value", [-1, True, "0.5", None, 1e999])
def test_a_damaged_smoothness_is_refused(value: Any) -> None:
    assert model({"finish_smoothness": 0.25}).refining.loss_weights.smoothness == 0.25
    with pytest.raises(InputError, match="damaged"):
        _ = model({"finish_smoothness": value}).refining


@pytest.mark.parametrize("value", [0, 17, True, 1.5, "2", None])
def test_a_damaged_number_of_asks_is_refused(value: Any) -> None:
    assert model({}).asks == 1 and model({"asks": 3}).asks == 3
    with pytest.raises(InputError, match="damaged"):
        _ = model({"asks": value}).asks
