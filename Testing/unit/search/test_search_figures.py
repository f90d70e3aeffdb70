"""The pictures of a search say what judged it, and show the weights that were searched."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from AutoRegLib.search.card import found_gain
from AutoRegLib.search.figures import JUDGED, _weights


@pytest.mark.parametrize("judge", list(JUDGED))
def test_the_axis_names_what_judged_the_loss_weights(judge: str) -> None:
    rows = [{"judge": judge, "step": step, "smoothness": 1.0 + step, "upper_loss": 0.5} for step in (20, 40)]
    left, right = _weights(rows, Figure).axes
    assert right.get_ylabel() == JUDGED[judge]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["smoothness"]


def test_what_the_gradients_found_is_told_beside_what_won() -> None:
    rows = [{"stage": "finals", "finalist": name, "round": number, "score": score}
            for name, number, score in (("start", 1, 0.70), ("found", 1, 0.66), ("start", 2, 0.75))]
    assert found_gain(rows) == pytest.approx(-0.04)
    assert found_gain(rows[::2]) is None
