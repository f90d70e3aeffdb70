"""Finding and making nodes of a scene."""

from __future__ import annotations

from typing import Any

from AutoRegSlicerLib.scene.values import Node

#: attributes that tell what AutoReg made: results (folder of their job), copies carried along, helpers of the views
JOB, WARPED_BY, HELPER = "AutoReg.Job", "AutoReg.WarpedBy", "AutoReg.Helper"
#: roles of the references of a result to the volumes it was made from
FIXED, MOVING = "spatialRegistrationFixed", "spatialRegistrationMoving"


def isMadeByAutoReg(node: Node) -> bool:
    """Whether the node is a result, a warped copy or a helper, whatever name it has by now."""
    return any(node.GetAttribute(name) for name in (JOB, WARPED_BY, HELPER))


def nodesOfClass(scene: Any, className: str) -> list[Node]:
    """All nodes of a class, in the order of the scene."""
    found = scene.GetNodesByClass(className)
    found.UnRegister(None)  # the collection is new and already has an owner here
    return [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]


def helper(scene: Any, role: str, className: str) -> Node:
    """The hidden node of this role and class, made at the first call; it is not saved with the scene."""
    for node in nodesOfClass(scene, className):
        if node.GetAttribute(HELPER) == role:
            return node
    node = scene.AddNewNodeByClass(className, f"AutoReg {role}")
    node.SetAttribute(HELPER, role)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    if node.IsA("vtkMRMLDisplayableNode"):
        node.CreateDefaultDisplayNodes()
        if node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetSaveWithScene(False)
    return node


def placeBeside(node: Node, like: Node | None) -> None:
    """Put a node into the folder of another one in the subject hierarchy, where the scene has one."""
    scene = node.GetScene()
    if like is None or not scene.GetNumberOfNodesByClass("vtkMRMLSubjectHierarchyNode"):
        return
    hierarchy = scene.GetNthNodeByClass(0, "vtkMRMLSubjectHierarchyNode")
    item, other = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(like)
    if item and other:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(other))
