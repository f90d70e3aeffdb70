"""Pictures draw text as it stands, so the numbers of an axis must be plain."""

from __future__ import annotations

import pytest

from AutoRegLib.figure_style import Sheet, logarithmic


@pytest.mark.parametrize(("low", "high"), [(1e-2, 1e4), (2.0, 11.0)])  # with labels of powers alone, and between them
def test_a_logarithmic_axis_is_labelled_with_the_numbers_at_its_marks(low: float, high: float) -> None:
    sheet = Sheet(4, 4)
    panel = sheet.axes(1, 1, 2, 2)
    panel.plot([low, high], [low, high])
    logarithmic(panel, "xy")
    sheet.figure.canvas.draw()
    for axis in (panel.xaxis, panel.yaxis):
        ticks = (*axis.get_major_ticks(), *axis.get_minor_ticks())
        labelled = [(tick.get_loc(), tick.label1.get_text()) for tick in ticks]
        shown = {place: float(words) for place, words in labelled if words and low <= place <= high}
        assert len(shown) >= 3
        assert all(abs(number - place) < 1e-5 * place for place, number in shown.items())
