"""Slice views on loan: what is changed in one is noted on its node, and put back exactly.

Changes are made for a use ("compare", "overlay"), each of which is given back by itself. What the user has changed
meanwhile stays as the user wants it. The notes are attributes, so that nothing has to be remembered elsewhere.
"""

from __future__ import annotations

import json
from typing import Any

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.strict_json import parse_object
from AutoRegSlicerLib.scene.grids import numpyMatrix
from AutoRegSlicerLib.scene.nodes import nodesOfClass
from AutoRegSlicerLib.scene.values import Node

COMPARE, OVERLAY = "compare", "overlay"  # the later one lies over the other
_NOTE = "AutoReg.Before."


def compositeOf(scene: Any, sliceNode: Node) -> Node:
    """The slice composite node of a slice view, or None."""
    for composite in nodesOfClass(scene, "vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() == sliceNode.GetLayoutName():
            return composite
    return None


def change(composite: Node, use: str, **values: Any) -> None:
    """Set properties of a composite node, such as ``BackgroundVolumeID``, noting what they were before."""
    note = _note(composite, use)
    modified = composite.StartModify()
    for name, value in values.items():
        before = note[name][0] if name in note else _get(composite, name)
        getattr(composite, f"Set{name}")(value)
        note[name] = [before, _get(composite, name)]
    composite.SetAttribute(_NOTE + use, json.dumps(note))
    composite.EndModify(modified)


def turn(node: Node, like: Node) -> None:
    """Let a slice view show the slice of another one, noting what it showed before."""
    if node.GetAttribute(_NOTE + COMPARE) is None:
        place = {"SliceToRAS": numpyMatrix(node.GetSliceToRAS()).ravel().tolist(), "FieldOfView": node.GetFieldOfView()}
        node.SetAttribute(_NOTE + COMPARE, json.dumps(place))
    node.GetSliceToRAS().DeepCopy(like.GetSliceToRAS())
    node.UpdateMatrices()
    node.SetFieldOfView(*like.GetFieldOfView())


def turnBack(node: Node) -> None:
    """Let a slice view show its own slice again, the one from before :func:`turn`."""
    place = _note(node, COMPARE)
    if {"SliceToRAS", "FieldOfView"} <= place.keys():
        node.GetSliceToRAS().DeepCopy(place["SliceToRAS"])
        node.UpdateMatrices()
        node.SetFieldOfView(*place["FieldOfView"])
        node.RemoveAttribute(_NOTE + COMPARE)


def giveBack(scene: Any, use: str = COMPARE) -> None:
    """Put all views back to what they were before the use; what lies over it is given back first."""
    for composite in nodesOfClass(scene, "vtkMRMLSliceCompositeNode"):
        restore(composite, use)
    for node in nodesOfClass(scene, "vtkMRMLSliceNode") if use == COMPARE else ():
        turnBack(node)


def restore(composite: Node, use: str = COMPARE) -> None:
    """Put one view back to what it was before the use; what lies over it is given back first."""
    if use == COMPARE:
        restore(composite, OVERLAY)
    note = _note(composite, use)
    modified = composite.StartModify()
    for name, (before, ours) in note.items():
        if _get(composite, name) == ours:
            gone = name.endswith("VolumeID") and composite.GetScene().GetNodeByID(before or "") is None
            getattr(composite, f"Set{name}")(None if gone else before)
    composite.RemoveAttribute(_NOTE + use)
    composite.EndModify(modified)


def _note(node: Node, use: str) -> dict[str, Any]:
    try:
        note = parse_object(node.GetAttribute(_NOTE + use) or "{}", where="the note of a view")
    except InputError:  # a scene of somebody else: there is nothing to give back
        return {}
    return {name: before for name, before in note.items() if isinstance(before, list) and len(before) in (2, 3, 16)}


def _get(composite: Node, name: str) -> Any:
    return getattr(composite, f"Get{name}")()
