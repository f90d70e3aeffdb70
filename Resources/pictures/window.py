"""A window as a user sees it after Apply: the Evaluate panel, and the four views which it changes: window.png."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import before_after
import frame
import numpy as np
import panels
import scenes
import views

from AutoRegSlicerLib.scene import colors

NOTE = "Composed of the module's forms on stand-in widgets (left) and Slicer's own views, rendered off screen (right)."
LOWER, UPPER = 0.3, 3.0  # range of the Jacobian's colors


def draw(folder: Path, scratch: Path, path: Path, notes: dict[str, str]) -> None:
    """Register the pair by a click in the module, look at it in Evaluate, write the picture."""
    scene = scenes.newScene()
    nodes = views.loadPair(scene, folder)
    with panels.opened(scene, scratch) as desk:
        panels.probe(desk)
        nodes = panels.register(desk, nodes)
        show(desk)
        panel = panels.grab(desk, "evaluateTab")
        size = (panel.shape[0] - 2 * frame.BAR - frame.GAP) // 2
        stage = views.Stage(scene, nodes, folder, size)
        show(desk)  # now the views are there
        paint(panel, stage, size).save(path, notes)


def show(desk: Any) -> None:
    """Warped volume, warp grid and Jacobian, by the widgets of the Evaluate panel."""
    from AutoRegSlicerLib.panels.choices import TransformDisplay

    desk.ui.workflowTabWidget.setCurrentWidget(desk.ui.evaluateTab)
    p = desk.parameters
    p.gridSpacing = 12.0
    desk.ui.jacobianRangeWidget.setValues(LOWER, UPPER)
    for fade in (0.5, 1.0):  # a change is what the panel acts on
        p.fade = fade
        desk.settle()
    for drawn in (TransformDisplay.Nothing, TransformDisplay.Grid):
        p.transformDisplay = drawn
        desk.settle()
    for on in (False, True):
        p.jacobianOverlay = on
        desk.settle()


def paint(panel: np.ndarray, stage: views.Stage, size: int) -> frame.Canvas:
    """Panel, views, color bar and what it is made of."""
    high, wide, _ = panel.shape
    across, down = frame.side(size)
    canvas = frame.Canvas(wide + frame.GAP + across, max(high, down) + 26)
    canvas.picture(0, 0, panel)
    left = wide + frame.GAP
    frame.four_up(canvas, left, 0, stage.deformation(), millimeters=stage.millimeters,
                  offsets=before_after.offsets(), corners=stage.corners())
    table = colors.jacobianColors(stage.scene, LOWER, UPPER)
    bins = [round(value / UPPER * (table.GetNumberOfColors() - 1)) for value in np.linspace(LOWER, UPPER, 31)]
    ramp = np.array([_color(table, index) for index in bins])
    place = (1 - LOWER) / (UPPER - LOWER)
    frame.color_bar(canvas, left + 20, frame.BAR + size + frame.GAP + frame.BAR + size - 34, 0.36 * size, ramp,
                    [(0, f"{LOWER:g}"), (place, "1"), (1, f"{UPPER:g}")], "Jacobian: change of volume")
    canvas.text(10, max(high, down) + 13, f"{NOTE} {before_after.MADE_UP}.", size=12, color=frame.FAINT)
    return canvas


def _color(table: Any, index: int) -> tuple[float, ...]:
    color = [0.0] * 4
    table.GetColor(index, color)
    return tuple(color[:3])
