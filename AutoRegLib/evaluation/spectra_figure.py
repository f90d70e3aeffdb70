"""The picture of spectra: median and the middle nine tenths of each kind of field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from AutoRegLib.evaluation.spectra import FLOOR, spectrum_rows
from AutoRegLib.figure_style import FAINT, TEXT, Sheet, logarithmic

_COLOURS = ("#6b7683", "#4fc3f7", "#ffb454", "#aed581", "#f48fb1")


def spectrum_figure(path: str | Path, spectra: Mapping[str, np.ndarray]) -> None:
    """``spectra``: name to band powers, (n, bands), the training's first. Raises DiskError."""
    sheet = Sheet(7.0, 4.6)
    sheet.text(0.25, 0.18, "Power of displacements by spatial frequency", fontsize=11, weight="bold")
    panel = sheet.axes(0.95, 0.8, 5.7, 3.1)
    rows = spectrum_rows(spectra)
    for name, colour in zip(spectra, _COLOURS, strict=False):
        mine = [row for row in rows if row["fields"] == name]
        across = [row["frequency"] for row in mine]
        panel.fill_between(across, [r["p5"] for r in mine], [r["p95"] for r in mine], color=colour, alpha=0.3,
                           linewidth=0)
        panel.plot(across, [r["median"] for r in mine], color=colour, linewidth=1.6,
                   label=f"{name} ({len(spectra[name])})")
        if name == next(iter(spectra)):  # the range that counts as inside
            for edge in ("least", "most"):
                panel.plot(across, [r[edge] for r in mine], color=colour, linewidth=0.9, linestyle=":")
    logarithmic(panel, "y")
    top = max(powers.max() for powers in spectra.values())
    panel.set_ylim(FLOOR * top, 3 * top)
    panel.grid(color="#2a313a", linewidth=0.6)
    panel.tick_params(labelsize=8)
    panel.set_xlabel("cycles a voxel", color=FAINT, fontsize=9)
    panel.set_ylabel("power, voxels²", color=TEXT, fontsize=9)
    panel.legend(loc="upper right", frameon=False, labelcolor=TEXT, fontsize=8)
    sheet.text(0.95, 4.3, "line: median; band: middle nine tenths; dotted: least and most of the first", color=FAINT)
    sheet.save(path)
