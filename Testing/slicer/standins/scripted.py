"""Stand-ins for slicer.ScriptedLoadableModule: the four base classes of a scripted module."""

from __future__ import annotations

import unittest
from pathlib import Path
from typing import Any

import slicer
from PySide6.QtWidgets import QVBoxLayout, QWidget

from standins import MODULE, pythonqt

__all__ = [
    "ScriptedLoadableModule", "ScriptedLoadableModuleLogic", "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = self.moduleName

    def getDefaultModuleDocumentationLink(self) -> str:
        return ""


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        widget = pythonqt.unwrap(parent) if parent is not None else QWidget()
        if widget.layout() is None:
            QVBoxLayout(widget)
        self.parent, self.layout = pythonqt.wrap(widget), pythonqt.wrap(widget.layout())
        self.moduleName = type(self).__name__.removesuffix("Widget")

    def setup(self) -> None:
        pass

    def resourcePath(self, name: str) -> str:
        return str(Path(MODULE) / "Resources" / name)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node

    def getAllParameterNodes(self) -> list[Any]:
        found = slicer.mrmlScene.GetNodesByClass("vtkMRMLScriptedModuleNode")
        found.UnRegister(None)
        nodes = [found.GetItemAsObject(i) for i in range(found.GetNumberOfItems())]
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def getParameterNode(self) -> Any:
        nodes = self.getAllParameterNodes()
        return nodes[0] if nodes else slicer.mrmlScene.AddNode(self.createParameterNode())


class ScriptedLoadableModuleTest(unittest.TestCase):
    def delayDisplay(self, message: str, milliseconds: int = 0) -> None:
        pass
