"""Seeing a result: compare modes, the warp, the Jacobian and its folds. Works on slice nodes, no Qt."""

from __future__ import annotations

from typing import Any

from AutoRegSlicerLib.values import Node

COMPARE_MODES = ("fade", "checkerboard", "red-cyan", "difference", "edges", "side-by-side")
TRANSFORM_MODES = ("none", "grid", "glyphs", "contours")


def setCompareMode(
    scene: Any, mode: str, fixed: Node, warped: Node, moving: Node = None, *, opacity: float = 0.5,
    before: bool = False, tiles: int = 8, sliceNodes: list[Node] | None = None,
) -> list[Node]:
    """Show ``fixed`` against ``warped`` (``before``: against ``moving`` as it was) in the slice views.

    Returns the volumes that had to be made for the mode (checkerboard, difference, edges), reused from call to
    call. Raises InputError for an unknown mode or a missing volume.
    """
    raise NotImplementedError


def setTransformDisplay(
    transformNode: Node, mode: str = "grid", spacingMm: float | None = None, region: Node = None,
    visible3D: bool = False,
) -> None:
    """Draw the warp as grid, glyphs or contours, or not at all; ``spacingMm`` None: about 20 lines across the
    fixed volume. ``region``: the volume to draw it in. Raises InputError.
    """
    raise NotImplementedError


def gridSpacingRange(volume: Node) -> tuple[float, float, float]:
    """(least, most, sensible) grid spacing in mm for the display slider of this volume."""
    raise NotImplementedError


def showJacobian(
    scene: Any, jacobian: Node, *, visible: bool = True, lower: float = 0.5, upper: float = 2.0,
    foldsOnly: bool = False, opacity: float = 0.5, sliceNodes: list[Node] | None = None,
) -> None:
    """Lay the Jacobian map over the slice views: blue shrinks, red grows, magenta folds."""
    raise NotImplementedError


def foldCenters(jacobianNode: Node) -> list[tuple[float, float, float]]:
    """The center of every connected fold region, largest first. Unit/Direction: mm RAS."""
    raise NotImplementedError


def jumpTo(scene: Any, point: tuple[float, float, float], sliceNodes: list[Node] | None = None) -> None:
    """Move the crosshair and all slice views to a point (mm RAS)."""
    raise NotImplementedError
