"""The pictures of an evaluation: overlap per structure, and how many pairs fold."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from AutoRegLib.figure_style import AFFINE, AFTER, BEFORE, FAINT, TEXT, Sheet

_STAGES = (("dice_before", BEFORE, "by headers"), ("dice_affine", AFFINE, "affine"), ("dice", AFTER, "registered"))


def dice_boxes(path: str | Path, rows: Sequence[Mapping[str, Any]], *, title: str) -> None:
    """Dice over the pairs, one group of boxes per structure. ``rows``: those of metrics.csv. Raises DiskError."""
    names = dict.fromkeys((row["structure"], row["name"]) for row in rows if row.get("dice") is not None)
    if not names:
        return
    width = min(max(5.0, 1.6 + 0.75 * len(names)), 26.0)
    many = len(names) > 4
    sheet = Sheet(width, 5.1 if many else 4.3)
    panel = _panel(sheet, width, title)
    for number, (key, colour, words) in enumerate(_STAGES):
        values = [[row[key] for row in rows if row["structure"] == label and row.get(key) is not None]
                  for label, _ in names]
        line = {"color": colour, "linewidth": 1.2}
        panel.boxplot(values, positions=[i + 0.27 * (number - 1) for i in range(len(names))], widths=0.22,
                      patch_artist=True, manage_ticks=False, boxprops={**line, "facecolor": colour + "44"},
                      medianprops={"color": TEXT, "linewidth": 1.4}, whiskerprops=line, capprops=line,
                      flierprops={"marker": "o", "markersize": 2.5, "markeredgecolor": colour})
        panel.plot([], [], color=colour, linewidth=6, label=words)
    labels = [textwrap.shorten(str(name), 24, placeholder="...") for _, name in names]
    panel.set_xticks(range(len(names)), labels, rotation=50 if many else 0, ha="right" if many else "center",
                     rotation_mode="anchor", color=TEXT, fontsize=8 if many else 10)
    panel.set(xlim=(-0.6, len(names) - 0.4), ylim=(0, 1))
    panel.set_ylabel("Dice", color=TEXT)
    panel.legend(loc="lower right", bbox_to_anchor=(1, 1.0), ncols=3, frameon=False, labelcolor=TEXT, fontsize=9)
    sheet.save(path)


def fold_histogram(path: str | Path, fractions: Sequence[float], *, title: str) -> None:
    """How many pairs fold how much. ``fractions``: of folded voxels, one per pair. Raises DiskError."""
    sheet = Sheet(6.0, 4.5)
    panel = _panel(sheet, 6.0, title)
    percent = [100 * fraction for fraction in fractions]
    clean = sum(value == 0 for value in percent)
    # pairs without a fold get their own bar: the question is first whether, then how much
    panel.bar([0], [clean], width=0.8, color=AFTER)
    edges = (0, 1e-3, 1e-2, 1e-1, 1, 100)
    labels = ["none"]
    for number, (low, high) in enumerate(pairwise(edges), start=1):
        panel.bar([number], [sum(low < value <= high for value in percent)], width=0.8, color=BEFORE)
        labels.append(f"to {high:g} %" if high < 100 else "over 1 %")
    panel.set_xticks(range(len(labels)), labels, color=TEXT)
    panel.set_xlabel("folded voxels", color=TEXT)
    panel.set_ylabel("pairs", color=TEXT)
    panel.set_ylim(0, len(percent) * 1.05 + 0.1)
    sheet.save(path)


def _panel(sheet: Sheet, width: float, title: str) -> Axes:
    sheet.text(0.25, 0.18, title, fontsize=11, weight="bold")
    panel = sheet.axes(0.75, 0.85, width - 1.0, 2.9)
    panel.tick_params(labelsize=9)
    panel.grid(axis="y", color="#2a313a", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.yaxis.label.set_color(FAINT)
    return panel
