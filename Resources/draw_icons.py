"""Draws the icons of the extension and of the module: a grid pulled into shape between two outlines.

``python Resources/draw_icons.py`` writes both files; the same drawing, since Slicer shows them side by side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline

PIXELS = 128
ROOT = Path(__file__).resolve().parents[1]
FILES = (ROOT / "Resources" / "AutoRegSlicer.png", ROOT / "AutoRegSlicer" / "Resources" / "Icons" / "AutoRegSlicer.png")
NIGHT, GRID, FIXED, MOVING = "#12324a", "#6fc7d1", "#ffffff", "#ff9f43"


def shape(angle: np.ndarray, *, warped: bool) -> np.ndarray:
    """An organ's outline (x, y), in -1..1: the fixed one, or as the moving image shows it."""
    radius = 0.66 + 0.05 * np.cos(2 * angle + 0.4) + 0.035 * np.cos(3 * angle - 0.6)
    x, y = radius * np.cos(angle) * 1.04, radius * np.sin(angle) * 0.92
    points = np.stack([x, y], axis=-1)
    return pull(points) if warped else points


def pull(points: np.ndarray) -> np.ndarray:
    """A smooth deformation without folds: two opposite bumps."""
    moved = points.copy()
    for center, width, push in (((-0.35, 0.30), 0.42, (0.24, -0.10)), ((0.42, -0.22), 0.45, (-0.05, 0.26))):
        weight = np.exp(-((points - center) ** 2).sum(axis=-1, keepdims=True) / (2 * width**2))
        moved += weight * np.asarray(push)
    return moved


def draw() -> Figure:
    """The icon."""
    figure = Figure(figsize=(1, 1), dpi=PIXELS)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1, 1), ylim=(-1, 1))
    axes.axis("off")
    tile = FancyBboxPatch((-0.78, -0.78), 1.56, 1.56, boxstyle="round,pad=0.18,rounding_size=0.36", facecolor=NIGHT,
                          edgecolor="none")
    axes.add_patch(tile)
    along = np.linspace(-1.1, 1.1, 120)
    for position in np.linspace(-0.96, 0.96, 7):
        for line in (np.stack([along, np.full_like(along, position)], -1),
                     np.stack([np.full_like(along, position), along], -1)):
            x, y = pull(line).T
            (drawn,) = axes.plot(x, y, color=GRID, linewidth=1.0, alpha=0.85, solid_capstyle="round")
            drawn.set_clip_path(tile)
    angle = np.linspace(0, 2 * np.pi, 200)
    moving, fixed = shape(angle, warped=True), shape(angle, warped=False)
    axes.add_patch(PathPatch(Outline(moving), facecolor=MOVING, alpha=0.45, edgecolor="none"))
    axes.plot(*moving.T, color=MOVING, linewidth=2.6, solid_capstyle="round")
    axes.plot(*fixed.T, color=FIXED, linewidth=2.3, dashes=(1.8, 1.5), dash_capstyle="round")
    return figure


if __name__ == "__main__":
    for path in FILES:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw().savefig(path, dpi=PIXELS, transparent=True, metadata={"Software": None})
        print(path)
