"""The Jacobian's colors: magenta folds, blue shrinks, white keeps, red grows; made once per scene."""

from __future__ import annotations

from typing import Any

from AutoRegSlicerLib.scene.nodes import nodesOfClass
from AutoRegSlicerLib.scene.values import Node

_TABLE, _FOLDS = "AutoReg Jacobian", "AutoReg folds"
_BINS = 256
FOLD_COLOR = (1.0, 0.0, 1.0)
EDGE_COLOR = (1.0, 0.8, 0.0)


def showAsJacobian(volume: Node, lower: float = 0.5, upper: float = 2.0) -> None:
    """Give a Jacobian volume its colors: white is 1, full blue ``lower``, full red ``upper``."""
    if volume.GetDisplayNode() is None:
        volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    if display is None:
        return
    display.SetAndObserveColorNodeID(jacobianColors(volume.GetScene(), lower, upper).GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*_window(upper))
    display.SetInterpolate(False)


def _window(upper: float) -> tuple[float, float]:
    """Chosen so that the table's first bin ends at 0 and holds exactly the folds."""
    width = upper / (_BINS - 1)
    return -width, upper


def jacobianColors(scene: Any, lower: float, upper: float) -> Node:
    """The color table for this range; the one of the scene is refilled."""
    node = _node(scene, _TABLE)
    node.SetTypeToUser()
    node.SetNumberOfColors(_BINS)
    width = upper / (_BINS - 1)
    node.SetColor(0, "fold", *FOLD_COLOR, 1.0)
    for index in range(1, _BINS):
        value = (index - 0.5) * width
        if value < 1:
            strength = min((1 - value) / max(1 - lower, 1e-6), 1.0)
            color = (1 - strength, 1 - 0.8 * strength, 1.0)
        else:
            strength = min((value - 1) / max(upper - 1, 1e-6), 1.0)
            color = (1.0, 1 - 0.8 * strength, 1 - strength)
        node.SetColor(index, f"{value:.2f}", *color, 1.0)
    return node


def showAsFolds(volume: Node) -> None:
    """Give a fold map its one color."""
    showInOneColor(volume, _FOLDS, "fold", FOLD_COLOR)


def showInOneColor(volume: Node, table: str, name: str, color: tuple[float, float, float]) -> None:
    """Show a label map of 0 and 1: nothing, and this color under this name."""
    node = _node(volume.GetScene(), table)
    node.SetTypeToUser()
    node.SetNumberOfColors(2)
    node.SetColor(0, "none", 0.0, 0.0, 0.0, 0.0)
    node.SetColor(1, name, *color, 1.0)
    if volume.GetDisplayNode() is None:
        volume.CreateDefaultDisplayNodes()
    if volume.GetDisplayNode() is not None:
        volume.GetDisplayNode().SetAndObserveColorNodeID(node.GetID())


def _node(scene: Any, name: str) -> Node:
    for node in nodesOfClass(scene, "vtkMRMLColorTableNode"):
        if node.GetName() == name:
            return node
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    node.SetAttribute("Category", "AutoReg")
    return node
