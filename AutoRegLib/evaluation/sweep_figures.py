"""The pictures of a sweep: overlap and regularity against the value (VoxelMorph Fig. 6), one pair's fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from AutoRegLib.bundle import load_bundle, table_text
from AutoRegLib.core.measures import MEASURES, Measure
from AutoRegLib.core.recipe import Recipe
from AutoRegLib.core.records import write_text
from AutoRegLib.core.scenario import Scenario
from AutoRegLib.evaluation.field_colours import CLIP, colours
from AutoRegLib.figure_style import AFFINE, BACKGROUND, FAINT, TEXT, Sheet, logarithmic
from AutoRegLib.learning.data import prepare

_COLOURS = ("#4fc3f7", "#ffb454", "#aed581", "#f48fb1")


def curves(stem: Path, lines: Mapping[str, Sequence[Mapping[str, Any]]], *, field: str, scored: Measure) -> None:
    """``<stem>.png`` and ``.csv``: the measure, and the part of positive determinants, against the value.

    ``lines``: name of a sweep to its results. The affine alignment is a line across. Raises DiskError.
    """
    positive = MEASURES["positive_jacobian"]
    sheet = Sheet(7.2, 6.4)
    sheet.text(0.25, 0.18, f"{scored.title} and positive determinants against {field}", fontsize=11, weight="bold")
    upper, lower = (sheet.axes(0.95, top, 5.9, 2.4) for top in (0.75, 3.45))
    values = list(dict.fromkeys(r["value"] for results in lines.values() for r in results))
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    place = {repr(v): float(v) if numbers else float(i) for i, v in enumerate(values)}
    rows = []
    for (name, results), colour in zip(lines.items(), _COLOURS * len(lines), strict=False):
        ordered = sorted(results, key=lambda r: place[repr(r["value"])])
        across = [place[repr(r["value"])] for r in ordered]
        for panel, measure in ((upper, scored), (lower, positive)):
            panel.plot(across, [measure.scale * r[measure.key] for r in ordered], color=colour, marker="o",
                       markersize=4, linewidth=1.4, label=name)
        rows += [{"sweep": name, field: r["value"], scored.key: r[scored.key], f"{scored.key}_sd": r.get(
            f"{scored.key}_sd"), f"{scored.key}_affine": r.get(f"{scored.key}_affine"), positive.key: r[positive.key],
            "folds": r["folds"]} for r in ordered]
    affine = next((r[f"{scored.key}_affine"] for results in lines.values() for r in results
                   if f"{scored.key}_affine" in r), None)
    if affine is not None:
        upper.axhline(affine, color=AFFINE, linewidth=1.2, linestyle="--", label="affine")
    for panel, title in ((upper, scored.title), (lower, positive.title)):
        _dress(panel, title)
        if numbers and min(place.values()) > 0 and max(place.values()) / min(place.values()) > 30:
            logarithmic(panel, "x")
        elif not numbers:
            panel.set_xticks(range(len(values)), [str(v) for v in values])
    upper.tick_params(labelbottom=False)
    lower.set_xlabel(field, color=FAINT, fontsize=9)
    lower.ticklabel_format(axis="y", useOffset=False)
    least = min(positive.scale * r[positive.key] for results in lines.values() for r in results)
    room = max(100.0 - least, 0.1)  # per cent: nothing lies above 100
    lower.set_ylim(least - 0.1 * room, 100.0 + 0.1 * room)
    upper.legend(loc="best", frameon=False, labelcolor=TEXT, fontsize=8)
    sheet.save(stem.with_suffix(".png"))
    write_text(stem.with_suffix(".csv"), table_text(rows))


def field_row(
    path: Path, models: Sequence[tuple[str, Path]], recipe: Recipe, scenario: Scenario, *, device: str = "cpu"
) -> None:
    """The networks' displacements of one validation pair, one picture a value, in one scale of colours.

    ``models``: what stands over a picture, and the model's folder. The affine part is not in them. Raises DiskError.
    """
    dataset = prepare(scenario, recipe, ("val",), device=device)
    pair = dataset.sample("val", 1, seed=recipe.seed)[0]
    batch = dataset.batch([pair])
    tiles = [("fixed", _grey(batch.fixed)), ("moving", _grey(batch.moving))]
    for words, folder in models:
        with torch.inference_mode():
            answer = load_bundle(folder, device=device).network(batch.moving, batch.fixed).displacement
        tiles.append((words, colours(slice_of(answer[0]))))
    across = min(len(tiles), 6)
    down = -(-len(tiles) // across)
    high = 1.75 * tiles[0][1].shape[0] / tiles[0][1].shape[1]
    sheet = Sheet(0.4 + 1.9 * across, 0.95 + down * (high + 0.3))
    sheet.text(0.25, 0.15, f"{pair[0]} onto {pair[1]}: displacement, components clipped to ±{CLIP:g} voxels",
               fontsize=10, weight="bold")
    sheet.text(0.25, 0.42, "red, green, blue: along the last, the second and the first axis; grey: no move",
               color=FAINT)
    for number, (words, picture) in enumerate(tiles):
        line, place = divmod(number, across)
        top = 0.9 + line * (high + 0.3)
        panel = sheet.axes(0.25 + 1.9 * place, top, 1.75, high)
        panel.imshow(picture, interpolation="nearest", aspect="auto")
        panel.set_xticks([])
        panel.set_yticks([])
        sheet.text(0.25 + 1.9 * place, top - 0.18, words, fontsize=8)
    sheet.save(path)


def slice_of(field: torch.Tensor) -> np.ndarray:
    """The middle plane across the first axis of a field or image. Shape: (c, *spatial) to (c, rows, columns)."""
    array = field.detach().cpu().float().numpy()
    return array if array.ndim == 3 else array[:, array.shape[1] // 2]


def _grey(image: torch.Tensor) -> np.ndarray:
    plane = slice_of(image[0])[0]
    low, high = np.percentile(plane, (1, 99))
    shade = np.clip((plane - low) / max(float(high - low), 1e-9), 0.0, 1.0)
    return np.repeat(shade[..., None], 3, axis=2)


def _dress(panel: Axes, title: str) -> None:
    panel.set_facecolor(BACKGROUND)
    panel.grid(color="#2a313a", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(labelsize=8)
    panel.set_ylabel(title, color=TEXT, fontsize=9)
