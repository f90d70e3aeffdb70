"""One picture of the demo: overlap per structure, and the distance to the true deformation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from AutoRegLib.core.records import write_whole

BEFORE, AFTER = "#b8bec6", "#1f6f8b"


def demo_picture(path: str | Path, report: Mapping[str, Any]) -> None:
    """Bars before and after registration on the unseen people. Raises DiskError."""
    names = {str(code): name for code, name in report["structures"].items()}
    codes = sorted((c for c in report["dice"] if c in names), key=lambda c: report["dice"][c])
    figure = Figure(figsize=(11, 0.26 * len(codes) + 1.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    for offset, key, colour, label in ((0.2, "dice_before", BEFORE, "before"), (-0.2, "dice", AFTER, "registered")):
        places = [row + offset for row in range(len(codes))]
        left.barh(places, [report[key].get(c, 0.0) for c in codes], 0.38, color=colour, label=label)
    left.set_yticks(range(len(codes)), [names[c] for c in codes], fontsize=8)
    left.set_xlim(0, 1)
    left.set_xlabel("Dice")
    left.set_title(f"Mean Dice {report['dice_before']['mean']:.3f} to {report['dice']['mean']:.3f}, "
                   f"{report['pairs']} pairs of unseen people, {report['folds']} folds", fontsize=10)
    left.legend(loc="lower right", fontsize=8)
    for offset, suffix, colour in ((-0.2, "_before", BEFORE), (0.2, "", AFTER)):
        values = [report[f"truth_error_mm{part}{suffix}"] for part in ("", "_p95")]
        bars = right.bar([offset, 1 + offset], values, 0.38, color=colour)
        right.bar_label(bars, fmt="%.2f", fontsize=8)
    right.set_xticks([0, 1], ["median", "95 %"])
    right.set_ylabel("mm")
    right.set_title("Distance to the truth", fontsize=10)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=130))
