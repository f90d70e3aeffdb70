"""The picture of one registration: what was fixed and moving, what came out, and how far to trust it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, LogNorm, Normalize
from matplotlib.patheffects import withStroke

from AutoRegLib.core.folds import folded
from AutoRegLib.figure_style import AFFINE, AFTER, BACKGROUND, BEFORE, CAUTION, FAINT, FOLD, TEXT, Sheet
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.geometry import lattice_points
from AutoRegLib.imaging.preprocess import intensity_scaling, scale_intensity
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.inverse import fit_affine
from AutoRegLib.registration.pair import PairInputs
from AutoRegLib.registration.report import ResultVolumes
from AutoRegLib.registration.slices import Plane, Views

_STRUCTURES = ("#4fc3f7", "#ffb454", "#aed581", "#f48fb1", "#b39ddb", "#fff176", "#80cbc4", "#ff8a65", "#90caf9",
               "#e6ee9c")
_DIFFERENCE = LinearSegmentedColormap.from_list("difference", ["#7fd3ff", "#1f6fb2", "#0f1318", "#b4501f", "#ffc38a"])
_VOLUME_CHANGE = LinearSegmentedColormap.from_list("volume", ["#4aa8ff", "#1d4f86", "#20262d", "#8a3f1c", "#ff9a4a"])
_WIDTH, _GAP, _MARGIN = 2.15, 0.06, 0.35  # inches
_CHANGE = (0.5, 2.0)  # colour range of the Jacobian
_FEW = 7  # structures (and their mean) whose bars have room for numbers


class _Pictures:
    """Everything that the panels show, scaled and cut on demand."""

    def __init__(self, pair: PairInputs, field: DisplacementField, volumes: ResultVolumes) -> None:
        self.pair, self.volumes, self.field = pair, volumes, field
        fixed_window = intensity_scaling(pair.fixed)
        self.fixed = scale_intensity(pair.fixed, fixed_window).array
        # The moving image keeps one window, so that a change in the panel is a change in place.
        window = intensity_scaling(pair.moving)
        self.before, self.warped = (scale_intensity(v, window).array for v in (volumes.before, volumes.warped))
        self.views = Views(pair.fixed.geometry, self._matter())
        matrix, offset = fit_affine(field)
        own = field.geometry.index_to_physical
        there = own.copy()  # what the affine part alone makes of an index
        there[:-1] = matrix @ own[:-1]
        there[:-1, -1] += offset
        self.deformation = field.vectors - lattice_points(field.geometry.size, there - own)
        self.reach = max(float(np.percentile(np.abs(self.deformation[_sparse(field.geometry.shape)]), 99)), 1e-3)
        values = [] if pair.fixed_labels is None else np.unique(pair.fixed_labels.array).tolist()
        self.structures = [int(v) for v in values if v != 0]

    def _matter(self) -> np.ndarray:
        """The voxels the slices should pass through."""
        if self.pair.fixed_labels is not None and self.pair.fixed_labels.array.any():
            return self.pair.fixed_labels.array
        return self.pair.mask if self.pair.mask is not None else self.fixed > 0.2


def report_figure(
    path: str | Path, pair: PairInputs, field: DisplacementField, volumes: ResultVolumes, report: Mapping[str, Any],
    *, names: Mapping[int, str],
) -> None:
    """Draw and write ``report.png``. ``names``: structure by label value. Raises DiskError."""
    shown = _Pictures(pair, field, volumes)
    rows = _rows(shown.views)
    columns = max(len(row) for row in rows)
    width = 2 * _MARGIN + columns * _WIDTH + (columns - 1) * _GAP
    heights = [_WIDTH * min(max(h / w, 0.5), 1.6) for w, h in (shown.views.extent(row[0][1]) for row in rows)]
    titled = [i == 0 or shown.views.dims == 2 for i in range(len(rows))]
    words = textwrap.wrap(" · ".join(report["warnings"]), int(width * 12))
    body = sum(heights) + _GAP * len(rows) + 0.44 * sum(titled)
    strip = 2.75 if len(report.get("dice", ())) > _FEW else 2.35
    height = 0.95 + body + 0.5 + strip + 0.2 * len(words) + 0.15
    sheet = Sheet(width, height)
    _headline(sheet, pair, report)
    top = 0.95
    for row, tall, title in zip(rows, heights, titled, strict=True):
        top += 0.44 if title else 0
        for column, (kind, plane) in enumerate(row):
            left = _MARGIN + column * (_WIDTH + _GAP)
            panel = sheet.axes(left, top, _WIDTH, tall)
            _draw(panel, kind, shown, plane)
            if title:
                sheet.text(left + _WIDTH / 2, top - 0.42, _TITLES[kind], ha="center", fontsize=9, weight="bold")
                sheet.text(left + _WIDTH / 2, top - 0.21, _subtitle(kind, shown, report), ha="center", fontsize=7,
                           color=FAINT)
        top += tall + _GAP
    _keys(sheet, rows, top)
    top += 0.5
    _bars(sheet, report, names, left=_MARGIN, top=top, width=width - 2 * _MARGIN - 4.6)
    _figures(sheet, report, left=width - _MARGIN - 4.2, top=top)
    for line, text in enumerate(words):
        sheet.text(_MARGIN, top + strip + 0.2 * line, ("! " if line == 0 else "   ") + text, color=CAUTION, fontsize=9)
    sheet.save(path)


def _sparse(shape: Sequence[int], *, most: int = 100) -> tuple[slice, ...]:
    """Every so many voxels, at most some hundred along each axis: enough for a percentile."""
    return tuple(slice(None, None, -(-size // most)) for size in shape)


_TITLES = {
    "fixed": "Fixed", "moving": "Moving", "warped": "Warped", "before": "Difference before",
    "after": "Difference after", "checker": "Checkerboard", "grid": "Deformed grid", "field": "Deformation",
    "jacobian": "Jacobian",
}


def _rows(views: Views) -> list[list[tuple[str, Plane]]]:
    """A row of panels per plane; a single picture is broken into two rows."""
    kinds = list(_TITLES)
    if views.dims == 3:
        return [[(kind, plane) for kind in kinds] for plane in views.planes]
    plane = views.planes[0]
    return [[(kind, plane) for kind in kinds[:5]], [(kind, plane) for kind in kinds[5:]]]


def _subtitle(kind: str, shown: _Pictures, report: Mapping[str, Any]) -> str:
    if kind == "moving":
        return "placed by its header"
    if kind == "warped" and shown.structures and shown.volumes.warped_labels is not None:
        return "fixed contours dashed"
    folds = report["folds"]
    return {
        "before": "fixed - moving", "after": "fixed - warped", "checker": "fixed and warped",
        "grid": "moving space on the fixed image", "field": f"beyond affine, up to {shown.reach:.2g} mm",
        "jacobian": "no folds" if not folds else f"{folds} folds in the volume",
    }.get(kind, "")


def _draw(panel: Axes, kind: str, shown: _Pictures, plane: Plane) -> None:
    """One panel, in mm, the first row at the top."""
    views = shown.views
    width, height = views.extent(plane)
    place: dict[str, Any] = {"extent": (0, width, height, 0), "interpolation": "bilinear"}
    sharp = place | {"interpolation": "nearest"}

    def cut(array: np.ndarray) -> np.ndarray:
        return views.cut(array, plane)

    def picture(slice_: np.ndarray, **style: Any) -> None:
        options: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1} | place | style
        panel.imshow(slice_, **options)

    if kind in ("fixed", "moving", "warped"):
        picture(cut({"fixed": shown.fixed, "moving": shown.before, "warped": shown.warped}[kind]))
        own = {"fixed": shown.pair.fixed_labels, "moving": shown.volumes.labels_before,
               "warped": shown.volumes.warped_labels}[kind]
        _contours(panel, own, shown, plane)
        if kind == "warped" and own is not None:
            _contours(panel, shown.pair.fixed_labels, shown, plane, dashed=True)
    elif kind in ("before", "after"):
        other = shown.before if kind == "before" else shown.warped
        picture(cut(shown.fixed) - cut(other), cmap=_DIFFERENCE, vmin=-0.6, vmax=0.6)
    elif kind == "checker":
        fixed, warped = cut(shown.fixed), cut(shown.warped)
        across, down = views.centres(plane)
        tile = min(width, height) / 6
        odd = (across[None, :] // tile + down[:, None] // tile) % 2 == 1
        panel.imshow(np.where(odd, warped, fixed), cmap="gray", vmin=0, vmax=1, **sharp)
    elif kind == "grid":
        picture(0.45 * cut(shown.fixed))
        _grid(panel, shown, plane)
    elif kind == "field":
        vectors = cut(shown.deformation)
        components = vectors @ views.axes if views.dims == 2 else vectors
        colour = np.clip(0.5 + 0.5 * components / shown.reach, 0, 1)
        if views.dims == 2:
            colour = np.concatenate((colour, np.full((*colour.shape[:2], 1), 0.5)), axis=-1)
        panel.imshow(colour, **place)
    else:
        determinant = cut(shown.volumes.jacobian.array)
        picture(np.clip(determinant, *_CHANGE), cmap=_VOLUME_CHANGE, norm=LogNorm(*_CHANGE), vmin=None, vmax=None)
        turned = folded(determinant)
        if turned.any():
            panel.imshow(np.ma.masked_equal(turned, 0), cmap=ListedColormap([FOLD]), **sharp)
    panel.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="equal")
    if kind == "fixed":
        _letters(panel, plane)


def _contours(
    panel: Axes, labels: Volume | None, shown: _Pictures, plane: Plane, *, dashed: bool = False
) -> None:
    """Outlines of the fixed image's structures, one colour each."""
    if labels is None:
        return
    across, down = shown.views.centres(plane)
    cut = shown.views.cut(labels.array, plane)
    thin = 0.6 if len(shown.structures) > 10 else 1.0  # many outlines would hide the image
    lines: list[np.ndarray] = []
    colours: list[str] = []  # all in one artist: a contour set for each of thirty structures takes seconds
    for number, structure in enumerate(shown.structures):
        mask = (cut == structure).astype(float)
        if mask.min() < mask.max():
            outlines = [np.asarray(line) for line in contour_generator(across, down, mask).lines(0.5)]
            lines += outlines
            colours += ["white" if dashed else _STRUCTURES[number % len(_STRUCTURES)]] * len(outlines)
    panel.add_collection(LineCollection(
        lines, colors=colours, linewidths=(0.7 if dashed else 1.0) * thin, linestyles="dashed" if dashed else "solid",
        alpha=0.7 if dashed else 1.0), autolim=False)


def _grid(panel: Axes, shown: _Pictures, plane: Plane) -> None:
    """A regular grid of moving space as it comes to lie on the fixed image."""
    across, down = shown.views.centres(plane)
    pitch = max(shown.views.extent(plane)) / 22
    for position in shown.views.moved(shown.field.vectors, plane):
        levels = np.arange(np.ceil(position.min() / pitch), np.floor(position.max() / pitch) + 1) * pitch
        levels = levels[(levels > position.min()) & (levels < position.max())]
        if levels.size:
            panel.contour(across, down, position, levels=levels, colors=AFTER, linewidths=0.6, linestyles="solid",
                          alpha=0.9)


def _letters(panel: Axes, plane: Plane) -> None:
    left, right, top, bottom = plane.edges
    places = ((left, 0.02, 0.5, "left", "center"), (right, 0.98, 0.5, "right", "center"),
              (top, 0.5, 0.98, "center", "top"), (bottom, 0.5, 0.02, "center", "bottom"))
    for letter, x, y, ha, va in places:
        panel.text(x, y, letter, color=CAUTION, fontsize=7, ha=ha, va=va, transform=panel.transAxes, weight="bold",
                   path_effects=[withStroke(linewidth=2, foreground=BACKGROUND)])


def _keys(sheet: Sheet, rows: list[list[tuple[str, Plane]]], top: float) -> None:
    """What the colours mean, under the columns they belong to."""
    place = {kind: _MARGIN + column * (_WIDTH + _GAP) for row in rows for column, (kind, _) in enumerate(row)}
    if len(rows) == 2:  # the differences stand in the upper row: their key goes to the free corner below
        place["after"] = _MARGIN + 4 * (_WIDTH + _GAP)
    for kind, cmap, norm, ticks, words in (
        ("after", _DIFFERENCE, Normalize(-0.6, 0.6), (-0.6, 0, 0.6), ("moving brighter", "", "fixed brighter")),
        ("jacobian", _VOLUME_CHANGE, LogNorm(*_CHANGE), (0.5, 1, 2), ("0.5", "1", "2")),
    ):
        bar = sheet.axes(place[kind] + 0.3, top + 0.05, _WIDTH - 0.6, 0.09)
        edges = np.linspace(ticks[0], ticks[-1], 257)
        bar.pcolormesh(edges, [0, 1], norm(0.5 * (edges[1:] + edges[:-1]))[None, :], cmap=cmap, vmin=0, vmax=1)
        if kind == "jacobian":
            bar.set(xscale="log", xlim=_CHANGE)
        bar.set(yticks=[], xticks=ticks, xticklabels=words)
        bar.minorticks_off()
    middle = place["field"] + _WIDTH / 2
    for shift, word, colour in ((-0.62, "left", "#ff6b6b"), (0, "posterior", "#69db7c"), (0.68, "superior", "#74a9ff")):
        word = {"left": "x", "posterior": "y", "superior": ""}[word] if len(rows) == 2 else word
        sheet.text(middle + shift, top + 0.05, word, color=colour, ha="center", fontsize=7.5)


def _headline(sheet: Sheet, pair: PairInputs, report: Mapping[str, Any]) -> None:
    fixed, moving = (Path(pair.files.get(role, role)).name for role in ("fixed", "moving"))
    sheet.text(_MARGIN, 0.2, f"{moving}  \N{RIGHTWARDS ARROW}  {fixed}", fontsize=16, weight="bold")
    parts = []
    if "dice" in report:
        parts.append(f"Dice {report['dice_before']['mean']:.3f} \N{RIGHTWARDS ARROW} {report['dice']['mean']:.3f}")
    if "tre_mm" in report:
        parts.append(f"TRE {report['tre_before_mm']:.2f} \N{RIGHTWARDS ARROW} {report['tre_mm']:.2f} mm")
    parts.append(f"LNCC {report['lncc_before']:.3f} \N{RIGHTWARDS ARROW} {report['lncc']:.3f}")
    parts.append("no folds" if not report["folds"] else
                 f"{report['folds']} folds ({100 * report['fold_fraction']:.2g} %)")
    parts.append(f"model {report['model']}")
    sheet.text(_MARGIN, 0.58, "    ".join(parts), fontsize=11, color=AFTER)


def _figures(sheet: Sheet, report: Mapping[str, Any], *, left: float, top: float) -> None:
    """The numbers, two columns."""
    rows = (
        ("HD95", "hd95_mm", "{:.2f} mm"), ("largest TRE", "tre_max_mm", "{:.2f} mm"),
        ("smallest Jacobian", "jacobian_min", "{:.3f}"), ("SD log Jacobian", "log_jacobian_std", "{:.3f}"),
        ("folds in mask", "folds_in_mask", "{}"), ("there and back", "inverse_consistency_mm", "{:.3f} mm"),
        ("moving covers", "coverage", "{:.1%}"), ("time", "seconds", "{:.1f} s"),
        ("peak memory", "peak_memory_bytes", "{:.0f} MiB"), ("parameters", "parameters", "{:,}"),
        ("device", "device", "{}"),
    )
    report = {**report}
    if "peak_memory_bytes" in report:
        report["peak_memory_bytes"] /= 2**20
    present = [(words, form.format(report[key])) for words, key, form in rows if key in report]
    for line, (words, value) in enumerate(present):
        sheet.text(left, top + 0.05 + 0.19 * line, words, color=FAINT, fontsize=9)
        sheet.text(left + 4.2, top + 0.05 + 0.19 * line, value, ha="right", fontsize=9)


def _bars(
    sheet: Sheet, report: Mapping[str, Any], names: Mapping[int, str], *, left: float, top: float, width: float
) -> None:
    """Dice per structure: by headers, by the affine, by the whole field."""
    if "dice" not in report:
        sheet.text(left, top + 0.05, "No labels on both images: no overlap measured.", color=FAINT, fontsize=9)
        return
    structures = [key for key in report["dice"] if key != "mean"]
    crowded = len(structures) >= _FEW
    if not crowded:
        width = min(width, max(4.2, 1.2 + 1.6 * len(structures)))
    panel = sheet.axes(left + 0.4, top + 0.25, width - 0.4, 1.25 if crowded else 1.55)
    places = np.arange(len(structures))
    for shift, key, colour, words in ((-0.27, "dice_before", BEFORE, "by headers"),
                                      (0, "dice_affine", AFFINE, "affine"), (0.27, "dice", AFTER, "registered")):
        values = [report.get(key, {}).get(s, 0) for s in structures]
        panel.bar(places + shift, values, 0.25, color=colour, label=words)
        if not crowded:
            for x, value in zip(places + shift, values, strict=True):
                panel.text(x, value + 0.01, f"{value:.2f}", ha="center", va="bottom", fontsize=7, color=TEXT)
    labels = [textwrap.shorten(names.get(int(s), s), 24, placeholder="...") for s in structures]
    panel.set_xticks(places, labels, rotation=50 if crowded else 0, ha="right" if crowded else "center",
                     fontsize=7 if crowded else 9, color=TEXT, rotation_mode="anchor")
    panel.set(ylim=(0, 1.08), xlim=(-0.6, len(structures) - 0.4), yticks=[0, 0.5, 1])
    panel.grid(axis="y", color="#2a313a", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_title("Dice", color=TEXT, fontsize=9, loc="left", weight="bold", pad=4)
    panel.legend(loc="lower right", bbox_to_anchor=(1, 1.0), ncols=3, frameon=False, fontsize=8, labelcolor=TEXT,
                 borderpad=0.2, handlelength=1, columnspacing=1.2)
