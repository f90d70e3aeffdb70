"""The pictures of a search name its validation objective, and show the weights that were searched."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from AutoRegLib.search.card import found_gain
from AutoRegLib.search.figures import VALIDATION_TITLES, _weights


@pytest.mark.parametrize("validation", list(VALIDATION_TITLES))
def test_the_axis_names_the_validation_objective(validation: str) -> None:
    rows = [{"judge": validation, "step": step, "smoothness": 1.0 + step, "upper_loss": 0.5} for step in (20, 40)]
    left, right = _weights(rows, Figure).axes
    assert right.get_ylabel() == VALIDATION_TITLES[validation]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["smoothness"]


def test_what_the_gradients_found_is_told_beside_what_won() -> None:
    rows = [{"stage": "finals", "finalist": name, "round": number, "score": score}
            for name, number, score in (("start", 1, 0.70), ("found", 1, 0.66), ("start", 2, 0.75))]
    assert found_gain(rows) == pytest.approx(-0.04)
    assert found_gain(rows[::2]) is None
