"""Nodes that stand under a transform for a moment, to be looked at.

What a node was under is noted on the node itself, as a reference, which follows it into a saved scene: so a preview can
be taken off at any time, by anybody, also after a scene that was saved in between was loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from AutoRegSlicerLib.scene.nodes import nodesOfClass
from AutoRegSlicerLib.scene.values import Node

PREVIEW, FORMER = "AutoReg.Preview", "AutoReg.FormerTransform"


def ownTransform(node: Node) -> Node:
    """The transform node that is the node's own parent, whatever it is previewed under; None without any."""
    return node.GetNodeReference(FORMER) if node.GetAttribute(PREVIEW) else node.GetParentTransformNode()


def _putUnder(node: Node, transformNode: Node) -> None:
    """Put a node under the transform in place of its own, which is noted."""
    if node is transformNode or node.GetAttribute(PREVIEW) or node.GetTransformNodeID() == transformNode.GetID():
        return
    node.SetNodeReferenceID(FORMER, node.GetTransformNodeID())
    node.SetAttribute(PREVIEW, transformNode.GetID())
    node.SetAndObserveTransformNodeID(transformNode.GetID())


def _takeOff(node: Node) -> None:
    """Put a node back under what it was under, unless somebody has moved it elsewhere meanwhile."""
    shown = node.GetAttribute(PREVIEW)
    if shown is None:
        return
    if node.GetTransformNodeID() in (shown, None):
        node.SetAndObserveTransformNodeID(node.GetNodeReferenceID(FORMER))
    node.RemoveAttribute(PREVIEW)
    node.SetNodeReferenceID(FORMER, None)


def takeOffAll(scene: Any) -> None:
    """No node of the scene is previewed any more: before saving, computing and leaving, and after loading."""
    for node in nodesOfClass(scene, "vtkMRMLTransformableNode"):
        _takeOff(node)


class Previews:
    """Who previews what in a scene. While it rests, nothing is shown; afterwards everything is as before."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._wanted: dict[str, tuple[list[str], str]] = {}  # by who asks: nodes, transform (IDs)
        self._resting: set[Any] = set()

    def show(self, who: str, nodes: Sequence[Node], transformNode: Node) -> None:
        """Preview these nodes, and no others, for ``who``."""
        self.hide(who)
        self._wanted[who] = [node.GetID() for node in nodes], transformNode.GetID()
        self._update()

    def hide(self, who: str) -> None:
        """Take off what ``who`` previews."""
        if self._wanted.pop(who, None) is not None:
            self._update()

    def rest(self, reason: Any) -> None:
        """Take everything off as long as there is a reason."""
        self._resting.add(reason)
        self._update()

    def resume(self, reason: Any) -> None:
        """The reason is gone; after the last one everything is put back."""
        self._resting.discard(reason)
        self._update()

    def clear(self) -> None:
        """Nothing is previewed any more."""
        self._wanted.clear()
        self._update()

    def _update(self) -> None:
        takeOffAll(self._scene)
        for identifiers, transformID in () if self._resting else self._wanted.values():
            transformNode = self._scene.GetNodeByID(transformID)
            for node in map(self._scene.GetNodeByID, identifiers):
                if node is not None and transformNode is not None:
                    _putUnder(node, transformNode)
