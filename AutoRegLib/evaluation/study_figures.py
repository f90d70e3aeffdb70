"""The pictures of a study: Dice per structure and row (AutoReg Fig. 6), and Dice against what it costs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from AutoRegLib.core.folds import folded
from AutoRegLib.evaluation.field_colours import CLIP, colours
from AutoRegLib.evaluation.study_pictures import PANELS
from AutoRegLib.figure_style import AFTER, BEFORE, FAINT, TEXT, Sheet

_COLOURS = ("#4fc3f7", "#ffb454", "#aed581", "#f48fb1", "#b39ddb", "#fff176", "#80cbc4", "#ff8a65")
_MARKERS = "os^Dv"
_ACROSS = 4  # panels side by side
_WIDTH, _LINE = 2.6, 0.21  # inches: of a panel, of a row in it
_TILE = 1.35  # inches: of a picture of a pair
_NAMES = 2.0  # inches: the names of the rows, left of the first panel


def study_figures(
    folder: Path, boxes: Mapping[str, Mapping[str, Sequence[float]]], points: Mapping[str, Mapping[str, float]],
    pictures: Mapping[str, Mapping[str, Any]], *, measure: str,
) -> None:
    """All of them into a folder; of pairs where there are any. Raises DiskError."""
    structure_boxes(folder / "boxes.png", boxes, title=f"{measure}, test pairs")
    cost_points(folder / "seconds.png", points, measure=measure)
    if pictures:
        pair_pictures(folder / "pictures.png", pictures, measure=measure)


def structure_boxes(
    path: str | Path, scores: Mapping[str, Mapping[str, Sequence[float]]], *, title: str
) -> None:
    """A panel per structure, a box per row. ``scores``: structure to row to values. Raises DiskError."""
    rows = list(dict.fromkeys(row for table in scores.values() for row in table))
    across = min(_ACROSS, len(scores))
    down = -(-len(scores) // across)
    height = _LINE * len(rows) + 0.15
    sheet = Sheet(_NAMES + across * (_WIDTH + 0.3) + 0.2, 0.6 + down * (height + 0.75))
    sheet.text(0.25, 0.18, title, fontsize=11, weight="bold")
    for number, (structure, table) in enumerate(scores.items()):
        line, place = divmod(number, across)
        top = 0.85 + line * (height + 0.75)
        panel = sheet.axes(_NAMES + place * (_WIDTH + 0.3), top, _WIDTH, height)
        _boxes(panel, [table.get(row, ()) for row in rows])
        panel.set_title(textwrap.shorten(structure, 38, placeholder="..."), color=TEXT, fontsize=9, pad=4)
        panel.set_yticks(range(len(rows)), rows if place == 0 else [""] * len(rows), color=TEXT, fontsize=8)
        panel.tick_params(axis="y", length=0)
    sheet.save(path)


def cost_points(path: str | Path, points: Mapping[str, Mapping[str, float]], *, measure: str) -> None:
    """What was reached against search and training, and against one registration; bars: the spread over seeds.

    ``points``: row to ``score`` (the ``measure``), ``spread``, ``cost`` (s), ``seconds`` (s). Raises DiskError.
    """
    sheet = Sheet(11.6, max(4.4, 1.0 + 0.26 * len(points)))
    tall = sheet.size[1] - 1.3
    sheet.text(0.25, 0.18, f"{measure} against time", fontsize=11, weight="bold")
    panels = [sheet.axes(0.8 + 4.3 * i, 0.6, 3.9, tall) for i in range(2)]
    styles = [(colour, marker) for marker in _MARKERS for colour in _COLOURS]
    for panel, key, title in zip(panels, ("cost", "seconds"), ("search and training, s", "one registration, s"),
                                 strict=True):
        for (row, point), (colour, marker) in zip(points.items(), cycle(styles), strict=False):
            panel.errorbar([point[key]], [point["score"]], yerr=[point["spread"]], color=colour, marker=marker,
                           markersize=6, capsize=2, linestyle="none", label=row)
        panel.set_xlim(0, 1.08 * max(point[key] for point in points.values()) or 1.0)
        panel.grid(color="#2a313a", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=8)
        panel.set_xlabel(title, color=FAINT, fontsize=9)
    panels[1].tick_params(labelleft=False)  # the same scale
    panels[0].set_ylabel(measure, color=TEXT, fontsize=9)
    panels[1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, labelcolor=TEXT, fontsize=8)
    sheet.save(path)


def pair_pictures(
    path: str | Path, pictures: Mapping[str, Mapping[str, Mapping[str, Any]]], *, measure: str
) -> None:
    """Two lines a row, a typical and its worst pair: images, difference, field, determinant. Raises DiskError."""
    lines = [(row, role, kept) for row, pairs in pictures.items() for role, kept in pairs.items()]
    sheet = Sheet(_NAMES + len(PANELS) * (_TILE + 0.08) + 0.2, 0.75 + len(lines) * (_TILE + 0.08))
    sheet.text(0.25, 0.15, f"A typical (median {measure}) and the worst test pair", fontsize=11, weight="bold")
    for place, name in enumerate(PANELS):
        words = {"moving": "moving, affine", "field": f"field, ±{CLIP:g} voxels", "determinant": "det J, 0 to 2"}
        sheet.text(_NAMES + place * (_TILE + 0.08), 0.48, words.get(name, name), fontsize=8, color=FAINT)
    for number, (row, role, kept) in enumerate(lines):
        top = 0.7 + number * (_TILE + 0.08)
        sheet.text(0.25, top + 0.1, f"{row}\n{role}: {float(kept['score']):.3f}\n{kept['names'][1]}\nonto "
                   f"{kept['names'][0]}", fontsize=7)
        for place, picture in enumerate(_tiles(kept)):
            panel = sheet.axes(_NAMES + place * (_TILE + 0.08), top, _TILE, _TILE)
            panel.imshow(picture, interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
    sheet.save(path)


def _tiles(kept: Mapping[str, Any]) -> list[np.ndarray]:
    """The panels of one pair as pictures, (rows, columns, 3)."""
    fixed, moving, warped = kept["fixed"], kept["moving"], kept["warped"]
    low, high = np.percentile(fixed, (1, 99))
    own = np.percentile(moving, (1, 99))
    shades = [_shade(fixed, low, high), _shade(moving, *own), _shade(warped, *own)]
    apart = np.clip(0.5 + 0.5 * (shades[2] - shades[0]), 0, 1)
    determinant = _shade(kept["determinant"], 0.0, 2.0)
    grey = [np.repeat(picture[..., None], 3, axis=2) for picture in (*shades, apart)]
    volume = np.repeat(determinant[..., None], 3, axis=2)
    volume[folded(kept["determinant"])] = (1.0, 0.17, 0.84)
    return [*grey, colours(kept["field"]), volume]


def _shade(image: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.asarray(np.clip((image - low) / max(float(high - low), 1e-9), 0.0, 1.0))


def _boxes(panel: Axes, values: Sequence[Sequence[float]]) -> None:
    """One horizontal box for each row, the first on top."""
    line = {"color": AFTER, "linewidth": 1.0}
    panel.boxplot([list(v) for v in values], positions=list(range(len(values))), widths=0.6, patch_artist=True,
                  manage_ticks=False, orientation="horizontal", whiskerprops=line, capprops=line,
                  boxprops={**line, "facecolor": AFTER + "44"}, medianprops={"color": TEXT, "linewidth": 1.4},
                  flierprops={"marker": "o", "markersize": 2, "markeredgecolor": BEFORE})
    panel.set_ylim(len(values) - 0.4, -0.6)
    panel.locator_params(axis="x", nbins=5)
    panel.margins(x=0.06)
    panel.grid(axis="x", color="#2a313a", linewidth=0.6)
    panel.set_axisbelow(True)
