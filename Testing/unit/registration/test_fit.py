"""The fit check: right pairs are green, wrong ones are told, and why; on the console, in a batch, in the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pipeline.synthetic import PLANE_FIXED, PLANE_MOVING, blobs, known_model
from unit.registration.test_figure import draw, words

from AutoRegLib.app.batch import figures
from AutoRegLib.app.console import result_lines
from AutoRegLib.bundle import ModelBundle
from AutoRegLib.core.fit import CHECKS, MEANING
from AutoRegLib.fields.smooth import gaussian
from AutoRegLib.imaging.geometry import Geometry
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.fit import FOUND
from AutoRegLib.registration.no_network import no_network
from AutoRegLib.registration.pair import PairInputs
from AutoRegLib.registration.pipeline import register_volumes
from AutoRegLib.registration.report import assemble


def fit(fixed: Volume, moving: Volume, model: ModelBundle | None = None, **more: Any) -> dict[str, Any]:
    """The record of one pair, registered without a network unless there is a model."""
    bundle = model or no_network(fixed.geometry, moving.geometry)
    found = register_volumes(bundle, fixed, moving, **({"refine": "auto"} if model is None else {}), **more)
    return dict(assemble(bundle, PairInputs(fixed, moving), found)[0]["fit"])


LARGE = Geometry((96, 88), (1.0, 1.0), (-40.0, -50.0), (1.0, 0.0, 0.0, 1.0))


def organ(seed: int, grid: Geometry = LARGE) -> Volume:
    """A texture of its own within a soft border."""
    noise = gaussian(torch.rand(1, 1, *grid.shape, generator=torch.Generator().manual_seed(seed)), 2.0)[0, 0].numpy()
    return Volume((1000 * (noise - noise.min())).astype(np.float32), grid, "intensity")


def checks(record: dict[str, Any]) -> set[str]:
    return {reason["check"] for reason in record["reasons"]}


def test_every_check_has_what_finds_it() -> None:
    assert list(FOUND) == list(CHECKS)


def test_a_right_pair_is_green() -> None:
    record = fit(blobs(PLANE_FIXED), blobs(PLANE_MOVING, shift=(3, -2, 0)))
    assert (record["verdict"], record["before"], record["after"]) == ("green", "green", "green"), record
    assert set(record["values"]) >= {"content", "resemblance", "mirrored", "gained", "crushed", "folds", "inverse"}


def test_a_flipped_image_is_told() -> None:
    axis, image = 1, organ(1)
    record = fit(image, replace(image, array=np.ascontiguousarray(np.flip(image.array, axis))))
    assert record["verdict"] == "red" and "mirrored" in checks(record), record


def test_another_organ_is_told() -> None:
    record = fit(organ(0), organ(10))
    assert record["verdict"] in ("amber", "red") and record["reasons"], record


def test_an_image_that_is_nearly_empty_is_told_before() -> None:
    array = np.zeros(PLANE_FIXED.shape, np.float32)
    array[15:17, 15:17] = 100
    record = fit(blobs(PLANE_FIXED), Volume(array, PLANE_FIXED, "intensity"))
    assert record["before"] == "red" and record["reasons"][0]["light"] == "red" and "content" in checks(record)


def test_headers_apart_and_the_modality_of_a_model_are_told_before() -> None:
    far = replace(PLANE_MOVING, origin=tuple(np.add(PLANE_MOVING.origin, 900.0).tolist()))
    record = fit(blobs(PLANE_FIXED), Volume(blobs(PLANE_MOVING).array, far, "intensity"))
    assert record["before"] == "amber" and "apart" in checks(record)
    model = known_model(2, 0.0, spacing=(1.0, 1.0))
    model = replace(model, recipe=replace(model.recipe, preprocessing=replace(
        model.recipe.preprocessing, modality="CT")))
    assert "modality" in checks(fit(blobs(PLANE_FIXED), blobs(PLANE_MOVING), model))


def test_what_was_held_back_and_crushed_is_told() -> None:
    wrong = known_model(2, 4.0, spacing=(1.0, 1.0), affine="none")
    record = fit(blobs(PLANE_FIXED), blobs(PLANE_FIXED), wrong)
    assert "held_back" in checks(record) and record["verdict"] != "green"


def test_red_never_looks_like_success() -> None:
    record = {"verdict": "red", "before": "green", "after": "red",
              "reasons": [{"check": "mirrored", "light": "red", "text": "one image may be flipped."}]}
    lines = result_lines("register", {"lncc": 0.9, "fit": record})
    assert "RED" in lines[0] and MEANING["red"] in lines[0] and "flipped" in lines[1]
    assert figures({"fit": record, "lncc": 0.9}) == {"fit": "red", "lncc": 0.9}
    said = words(draw(fit=record))
    assert "\N{BLACK CIRCLE} red" in said and any("flipped" in text for text in said)
    assert not any("BLACK CIRCLE" in text or "\N{BLACK CIRCLE}" in text for text in words(draw()))
