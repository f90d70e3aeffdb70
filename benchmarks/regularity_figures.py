"""The pictures of ``benchmarks.regularity``: estimates against the truth, and how they converge."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from AutoRegLib.figure_style import AFFINE, AFTER, CAUTION, FAINT, TEXT, Sheet, logarithmic

LEAST = 0.02  # what lies below is drawn there
EVERY = 5  # iterations between two points of a curve
_COLOURS = (AFTER, CAUTION, AFFINE)


def scatter_figure(path: Path, panels: Mapping[str, Sequence[tuple[float, float]]], *, across: str = "true α") -> None:
    """One panel per way of estimating: each pair's alpha against the truth (``across``), on logarithmic axes."""
    width = 3.2
    sheet = Sheet(0.7 + (width + 0.35) * len(panels), 4.1)
    panels = {title: [(true, max(value, LEAST)) for true, value in points] for title, points in panels.items()}
    values = [value for points in panels.values() for point in points for value in point]
    low, high = min(values) / 1.4, max(values) * 1.4
    for place, (title, points) in enumerate(panels.items()):
        panel = _panel(sheet, 0.65 + (width + 0.35) * place, width, title)
        draw = random.Random(0)
        panel.plot([low, high], [low, high], color=FAINT, linewidth=1)
        panel.plot([true * 1.06 ** draw.uniform(-1, 1) for true, _ in points], [value for _, value in points], "o",
                   color=AFTER, markersize=3.5, alpha=0.7, markeredgewidth=0)
        logarithmic(panel, "xy")
        panel.set(xlim=(low, high), ylim=(low, high))
        panel.set_xlabel(f"{across} (voxels²)", color=TEXT, fontsize=8)
        if place == 0:
            panel.set_ylabel("estimated α", color=TEXT, fontsize=8)
    sheet.save(path)


def curves_figure(path: Path, found: Mapping[float, Mapping[str, Any]]) -> None:
    """Alpha and the energy that is left by iteration of the joint MAP, alpha by round of the evidence: every pair."""
    sheet = Sheet(10.4, 6.8)
    panels = [_panel(sheet, 0.65, 4.4, "MAP of velocity and α"), _panel(sheet, 5.6, 4.4, "evidence, by round")]
    energy = _panel(sheet, 0.65, 4.4, "energy of the MAP above its end", top=3.75)
    for colour, (alpha, row) in zip(_COLOURS, found.items(), strict=False):
        for panel, key, every in ((panels[0], "curve", EVERY), (panels[1], "tried", 1)):
            for curve in row[key]:
                panel.plot([every * number for number in range(len(curve))], curve, color=colour, linewidth=0.8,
                           alpha=0.6)
            panel.axhline(alpha, color=colour, linestyle="--", linewidth=1)
            panel.plot([], [], color=colour, label=f"true {alpha:g}")
            logarithmic(panel, "y")
        for curve in row["energy"]:
            energy.plot([EVERY * number for number in range(len(curve))],
                        [value - curve[-1] + 1e-2 for value in curve], color=colour, linewidth=0.8, alpha=0.6)
    logarithmic(energy, "y")
    energy.set_xlabel("iteration", color=TEXT, fontsize=8)
    for panel in panels:
        panel.legend(frameon=False, labelcolor=TEXT, fontsize=8)
    sheet.save(path)


def _panel(sheet: Sheet, left: float, width: float, title: str, *, top: float = 0.5) -> Axes:
    panel = sheet.axes(left, top, width, 2.6 if top > 1 or width > 4 else 3.0)
    sheet.text(left, top - 0.35, title, fontsize=10)
    panel.tick_params(which="minor", colors=FAINT, labelsize=6)
    panel.grid(color=FAINT, alpha=0.2, linewidth=0.5)
    return panel
