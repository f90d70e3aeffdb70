"""The picture of one registration: fixed, before and after, what changed, and how far to trust it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import Colormap, Normalize

from AutoRegLib.figure_style import AFFINE, AFTER, BEFORE, CAUTION, FAINT, TEXT, Sheet
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.registration.figure_panels import (
    CHANGE,
    DIFFERENCE,
    DIFFERENT,
    DISTANCE,
    TITLES,
    VOLUME_CHANGE,
    Pictures,
)
from AutoRegLib.registration.pair import PairInputs
from AutoRegLib.registration.report import ResultVolumes
from AutoRegLib.registration.slices import Plane, Views

_WIDTH, _GAP, _MARGIN = 1.72, 0.1, 0.45  # inches; the margins hold the orientation letters
_HEAD, _TITLE, _LETTERS, _KEYS, _LINE = 0.98, 0.46, 0.2, 0.55, 0.5
LIGHTS = {"green": "#5fbf77", "amber": "#e8b04b", "red": "#e5604d"}
_FEW = 7  # structures (and their mean) whose bars have room for numbers
_ACROSS = 7  # figures in one line
#: words, key of the report, format
_FIGURES = (
    ("HD95", "hd95_mm", "{:.2f} mm"), ("largest TRE", "tre_max_mm", "{:.2f} mm"),
    ("LNCC before", "lncc_before", "{:.3f}"), ("LNCC", "lncc", "{:.3f}"),
    ("smallest Jacobian", "jacobian_min", "{:.2f}"), ("SD log Jacobian", "log_jacobian_std", "{:.3f}"),
    ("folds", "folds", "{:,}"), ("folds in mask", "folds_in_mask", "{:,}"),
    ("inverse consistency", "inverse_consistency_mm", "{:.3f} mm"), ("moving covers", "coverage", "{:.0%}"),
    ("time", "seconds", "{:.0f} s"), ("peak memory", "peak_memory_bytes", "{:.0f} MiB"),
    ("parameters", "parameters", "{:,}"), ("device", "device", "{}"),
)


def report_figure(
    path: str | Path, pair: PairInputs, field: DisplacementField, volumes: ResultVolumes, report: Mapping[str, Any],
    *, names: Mapping[int, str], title: str = "",
) -> None:
    """Draw and write ``report.png``. ``names``: structure by label value; ``title`` in place of the files' names.

    Raises DiskError.
    """
    compose(pair, field, volumes, report, names=names, title=title).save(path)


def compose(
    pair: PairInputs, field: DisplacementField, volumes: ResultVolumes, report: Mapping[str, Any],
    *, names: Mapping[int, str], title: str = "",
) -> Sheet:
    """The picture. ``report``: as written, and where the true field is known also ``truth_error_mm`` and
    ``truth_error_mm_before`` (medians).
    """
    shown = Pictures(pair, field, volumes)
    rows = _rows(shown.views)
    columns = max(len(row) for row in rows)
    wide = _WIDTH * len(TITLES) / columns + _GAP * (len(TITLES) - columns) / columns
    width = 2 * _MARGIN + columns * wide + (columns - 1) * _GAP
    heights = [wide * min(max(h / w, 0.5), 1.6) for w, h in (shown.views.extent(row[0][1]) for row in rows)]
    headed = [i == 0 or shown.views.dims == 2 for i in range(len(rows))]
    told = [reason["text"] for reason in report.get("fit", {}).get("reasons", [])]
    words = textwrap.wrap(" · ".join([*told, *report["warnings"]]), int(width * 12))
    figures = _present(report)
    lines = -(-len(figures) // _ACROSS)
    bars = _bars_height(report)
    body = sum(heights) + 2 * _LETTERS * len(rows) + _TITLE * sum(headed) + _KEYS
    sheet = Sheet(width, _HEAD + body + bars + _LINE * lines + 0.2 * len(words) + 0.2)
    _headline(sheet, title, pair, report)
    top = _HEAD
    for row, tall, head in zip(rows, heights, headed, strict=True):
        top += (_TITLE if head else 0) + _LETTERS
        for column, (kind, plane) in enumerate(row):
            left = _MARGIN + column * (wide + _GAP)
            shown.draw(sheet.picture(left, top, wide, tall, shown.views.extent(plane)), kind, plane)
            if head:
                above = top - _LETTERS - _TITLE
                sheet.text(left + wide / 2, above, TITLES[kind], ha="center", fontsize=11, weight="bold")
                sheet.text(left + wide / 2, above + 0.22, _subtitle(kind, shown, report), ha="center", fontsize=8,
                           color=FAINT)
                sheet.text(left + wide / 2, top - 0.19, _measures(kind, report), ha="center", fontsize=9.5,
                           weight="bold", color=AFTER)
        _letters(sheet, row[0][1], left=_MARGIN, top=top, wide=wide, width=width, tall=tall)
        top += tall + _LETTERS
    _keys(sheet, rows[-1], shown, wide=wide, top=top)
    if shown.structures and volumes.warped_labels is not None:
        free = (_MARGIN + 2 * wide + 1.5 * _GAP, top + 0.08) if len(rows[-1]) == len(TITLES) else (
            _MARGIN + 3.5 * wide + 3 * _GAP, _HEAD + _TITLE + _LETTERS)  # two rows: the corner that they leave
        for line, text in enumerate(("colors: structures of the moving image", "white dashes: those of the fixed one")):
            sheet.text(free[0], free[1] + 0.17 * line, text, ha="center", fontsize=8.5)
    top += _KEYS
    _bars(sheet, report, names, top=top, width=width - 2 * _MARGIN)
    top += bars
    for number, (label, value) in enumerate(figures):
        x = _MARGIN + (number % _ACROSS) * (width - 2 * _MARGIN) / _ACROSS
        y = top + _LINE * (number // _ACROSS)
        sheet.text(x, y, label, color=FAINT, fontsize=9)
        sheet.text(x, y + 0.18, value, fontsize=11)
    for line, text in enumerate(words):
        sheet.text(_MARGIN, top + _LINE * lines + 0.2 * line, ("! " if line == 0 else "   ") + text, color=CAUTION,
                   fontsize=9)
    return sheet


def _rows(views: Views) -> list[list[tuple[str, Plane]]]:
    """A row of panels per plane; a single picture is broken into two rows."""
    kinds = list(TITLES)
    if views.dims == 3:
        return [[(kind, plane) for kind in kinds] for plane in views.planes]
    plane = views.planes[0]
    return [[(kind, plane) for kind in kinds[:3]], [(kind, plane) for kind in kinds[3:]]]


def _subtitle(kind: str, shown: Pictures, report: Mapping[str, Any]) -> str:
    return {
        "before": "moving, placed by its header", "after": "moving, warped",
        "difference before": "fixed - moving", "difference after": "fixed - warped",
        "deformation": "beyond the affine part, in mm",
        "jacobian": "change of volume, " + (f"{report['folds']:,} folds" if report["folds"] else "no folds"),
    }.get(kind, "")


def _measures(kind: str, report: Mapping[str, Any]) -> str:
    """What stands on the first picture of before and of after: overlap, and how far from the truth."""
    end = {"before": "_before", "after": ""}.get(kind)
    if end is None:
        return ""
    said = [f"Dice {report['dice' + end]['mean']:.2f}"] if "dice" in report else []
    if "truth_error_mm" in report:
        said.append(f"{report['truth_error_mm' + end]:.1f} mm off")
    elif "tre_mm" in report:
        said.append(f"TRE {report['tre_before_mm' if end else 'tre_mm']:.1f} mm")
    return ", ".join(said)


def _letters(sheet: Sheet, plane: Plane, *, left: float, top: float, wide: float, width: float, tall: float) -> None:
    """What lies at the edges: outside of the pictures, the sides once for the whole row."""
    places = ((left - 0.12, top + tall / 2 - 0.07), (width - left + 0.12, top + tall / 2 - 0.07),
              (left + wide / 2, top - 0.17), (left + wide / 2, top + tall + 0.03))
    for letter, (x, y) in zip(plane.edges, places, strict=True):
        sheet.text(x, y, letter, color=CAUTION, fontsize=9, weight="bold", ha="center")


def _keys(sheet: Sheet, row: Sequence[tuple[str, Plane]], shown: Pictures, *, wide: float, top: float) -> None:
    """What the colors mean, under the columns they belong to."""
    place = {kind: _MARGIN + column * (wide + _GAP) for column, (kind, _) in enumerate(row)}
    farthest = float(shown.distance.vmax or 1.0)
    both = place["difference after"] - _GAP / 2 - wide / 2  # under the middle of the two differences
    keys: tuple[tuple[float, Colormap, Normalize, tuple[float, ...], tuple[str, ...]], ...] = (
        (both, DIFFERENCE, DIFFERENT, (-0.6, 0, 0.6), ("moving brighter", "", "fixed brighter")),
        (place["deformation"], DISTANCE, shown.distance, (0, farthest), ("0", f"{farthest:.2g} mm")),
        (place["jacobian"], VOLUME_CHANGE, CHANGE, (0.5, 1, 2), ("0.5\nshrinks", "1", "2\ngrows")),
    )
    for left, cmap, norm, ticks, words in keys:
        bar = sheet.axes(left + 0.2, top + 0.05, wide - 0.4, 0.11)
        edges = np.geomspace(0.5, 2, 257) if norm is CHANGE else np.linspace(ticks[0], ticks[-1], 257)
        bar.pcolormesh(edges, [0, 1], norm(np.sqrt(edges[1:] * edges[:-1]) if norm is CHANGE else
                                           0.5 * (edges[1:] + edges[:-1]))[None, :], cmap=cmap, vmin=0, vmax=1)
        if norm is CHANGE:
            bar.set(xscale="log", xlim=(0.5, 2))
        bar.set(yticks=[], xticks=ticks, xticklabels=words)
        bar.tick_params(labelsize=8.5, labelcolor=TEXT)
        bar.minorticks_off()


def _headline(sheet: Sheet, title: str, pair: PairInputs, report: Mapping[str, Any]) -> None:
    fixed, moving = (Path(pair.files.get(role, role)).name for role in ("fixed", "moving"))
    sheet.text(_MARGIN, 0.2, title or f"{moving}  \N{RIGHTWARDS ARROW}  {fixed}", fontsize=17 if not title else 15,
               weight="bold")
    parts = []
    if "dice" in report:
        parts.append(f"Dice {report['dice_before']['mean']:.3f} \N{RIGHTWARDS ARROW} {report['dice']['mean']:.3f}")
    if "truth_error_mm" in report:
        parts.append(f"distance to the truth {report['truth_error_mm_before']:.2f} \N{RIGHTWARDS ARROW} "
                     f"{report['truth_error_mm']:.2f} mm")
    if "tre_mm" in report:
        parts.append(f"TRE {report['tre_before_mm']:.2f} \N{RIGHTWARDS ARROW} {report['tre_mm']:.2f} mm")
    if not parts:
        parts.append(f"LNCC {report['lncc_before']:.3f} \N{RIGHTWARDS ARROW} {report['lncc']:.3f}")
    parts.append("no folds" if not report["folds"] else
                 f"{report['folds']:,} folds ({100 * report['fold_fraction']:.2g} %)")
    if "fit" in report:
        verdict = report["fit"]["verdict"]
        sheet.text(sheet.size[0] - _MARGIN, 0.22, f"\N{BLACK CIRCLE} {verdict}", fontsize=13, weight="bold", ha="right",
                   color=LIGHTS[verdict])
    parts.append("no trained model" if report["model"] == "none" else f"model “{report['model']}”")
    sheet.text(_MARGIN, 0.59, "   \N{MIDDLE DOT}   ".join(parts), fontsize=12, color=AFTER)


def _present(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures that this report has, as words."""
    found = {**report}
    if "peak_memory_bytes" in found:
        found["peak_memory_bytes"] /= 2**20
    return [(words, form.format(found[key])) for words, key, form in _FIGURES if key in found]


def _bars_height(report: Mapping[str, Any]) -> float:
    if "dice" not in report:
        return 0.1
    return 2.75 if len(report["dice"]) > _FEW else 2.15


def _bars(sheet: Sheet, report: Mapping[str, Any], names: Mapping[int, str], *, top: float, width: float) -> None:
    """Dice per structure: by headers, by the affine, by the whole field."""
    if "dice" not in report:
        return
    structures = [key for key in report["dice"] if key != "mean"]
    crowded = len(structures) >= _FEW
    if not crowded:
        width = min(width, max(4.2, 1.2 + 1.6 * len(structures)))
    panel = sheet.axes(_MARGIN + 0.25, top + 0.32, width - 0.25, 1.35)
    places = np.arange(len(structures))
    for shift, key, color, words in ((-0.27, "dice_before", BEFORE, "by headers"),
                                     (0, "dice_affine", AFFINE, "affine"), (0.27, "dice", AFTER, "registered")):
        values = [report.get(key, {}).get(s, 0) for s in structures]
        panel.bar(places + shift, values, 0.25, color=color, label=words)
        if not crowded:
            for x, value in zip(places + shift, values, strict=True):
                panel.text(x, value + 0.01, f"{value:.2f}", ha="center", va="bottom", fontsize=8, color=TEXT)
    labels = [textwrap.shorten(names.get(int(s), s), 24, placeholder="...") for s in structures]
    panel.set_xticks(places, labels, rotation=40 if crowded else 0, ha="right" if crowded else "center",
                     fontsize=8.5 if crowded else 9.5, color=TEXT, rotation_mode="anchor")
    panel.set(ylim=(0, 1.08), xlim=(-0.6, len(structures) - 0.4), yticks=[0, 0.5, 1])
    panel.tick_params(axis="y", labelsize=8.5)
    panel.grid(axis="y", color="#2a313a", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_title("Dice", color=TEXT, fontsize=11, loc="left", weight="bold", pad=4)
    panel.legend(loc="lower right", bbox_to_anchor=(1, 1.0), ncols=3, frameon=False, fontsize=9, labelcolor=TEXT,
                 borderpad=0.2, handlelength=1, columnspacing=1.2)
