"""Stand-ins for the qMRML widgets of the forms, on the real scene."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property, QTimer, Signal
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QTableView, QTreeView, QWidget
from shiboken6 import Shiboken

SCENE_EVENTS = ("NodeAddedEvent", "NodeRemovedEvent", "EndCloseEvent", "EndBatchProcessEvent")


def _follow(widget: Any, scene: Any, *, later: bool = False) -> None:
    """The widget's scene from now on, None: none; it looks again, at once or when Qt is idle, at whatever happens."""
    def look() -> None:
        if Shiboken.isValid(widget):
            widget._refresh()

    def action(*_: Any) -> None:
        QTimer.singleShot(0, look) if later else look()

    for former, tag in getattr(widget, "_tags", []):
        former.RemoveObserver(tag)
    widget._scene, events = scene, SCENE_EVENTS if scene is not None else ()
    widget._tags = [(scene, scene.AddObserver(getattr(slicer.vtkMRMLScene, event), action)) for event in events]
    widget._refresh()


class qMRMLWidget(QWidget):
    """The top of every form: hands the scene on."""

    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return getattr(self, "_scene", None)


class qMRMLNodeComboBox(QWidget):
    """Chooses a node of given types; follows the scene; None first where allowed, else the first node."""

    currentNodeChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._combo, self._scene, self._nodes, self._current = QComboBox(), None, [], None
        self._attributes: dict[str, tuple[str, str]] = {}
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.activated.connect(lambda index: self.setCurrentNode(self._nodes[index]))

    def setMRMLScene(self, scene: Any) -> None:
        _follow(self, scene)

    def addAttribute(self, node_type: str, name: str, value: str | None = None) -> None:
        self._attributes[node_type] = (name, value)
        self._refresh()

    def setNodeTypeLabel(self, label: str, node_type: str) -> None:
        self._labels = {**getattr(self, "_labels", {}), node_type: label}

    def nodeTypeLabel(self, node_type: str) -> str:
        return getattr(self, "_labels", {}).get(node_type, node_type)

    def _fits(self, node: Any) -> bool:
        types = self.property("nodeTypes") or []
        deep = self.property("showChildNodeTypes") is not False
        if not any(node.GetClassName() == t or (deep and node.IsA(t)) for t in types):
            return False
        name, value = self._attributes.get(node.GetClassName(), (None, None))
        if name is not None and node.GetAttribute(name) != value:
            return False
        return not node.GetHideFromEditors() or self.property("showHidden") is True

    def _refresh(self) -> None:
        """Read the scene again; a node that is gone is deselected."""
        count = self._scene.GetNumberOfNodes() if self._scene is not None else 0
        found = [node for node in map(self._scene.GetNthNode, range(count)) if self._fits(node)] if count else []
        none = self.property("noneEnabled") is True
        self._nodes = [None, *found] if none else found
        self._combo.clear()
        for node in self._nodes:
            self._combo.addItem(node.GetName() if node is not None else self.property("noneDisplay") or "None")
        if self._current is not None and self._current not in found:
            self.setCurrentNode(None if none or not found else found[0])
        elif self._current is None and not none and found:
            self.setCurrentNode(found[0])
        self._show()

    def _show(self) -> None:
        self._combo.setCurrentIndex(self._nodes.index(self._current) if self._current in self._nodes else -1)

    def currentNode(self) -> Any:
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        if node is self._current:
            return
        if node is not None and not self._fits(node):
            node = None
        self._current = node
        self._show()
        self.currentNodeChanged.emit(node)

    def nodeCount(self) -> int:
        return len([node for node in self._nodes if node is not None])

    currentNodeID = Property(str, lambda self: self._current.GetID() if self._current is not None else "")


class qMRMLTableView(QTableView):
    """Shows a table node."""

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def setMRMLTableNode(self, node: Any) -> None:
        self._node = node
        model = QStandardItemModel(self)
        table = node.GetTable() if node is not None else vtk.vtkTable()
        model.setHorizontalHeaderLabels([table.GetColumnName(c) for c in range(table.GetNumberOfColumns())])
        for row in range(table.GetNumberOfRows()):
            model.appendRow([_cell(table.GetValue(row, c)) for c in range(table.GetNumberOfColumns())])
        self.setModel(model)
        self.verticalHeader().hide()
        self.resizeColumnsToContents()

    def mrmlTableNode(self) -> Any:
        return getattr(self, "_node", None)


def _cell(value: Any) -> QStandardItem:
    if value.IsNumeric():
        return QStandardItem("" if value.ToDouble() != value.ToDouble() else f"{value.ToDouble():.3g}")
    return QStandardItem(value.ToString())


class qMRMLSubjectHierarchyTreeView(QTreeView):
    """A flat list of the scene's data nodes, through the real subject hierarchy node."""

    currentItemsChanged = Signal(list)

    def setMRMLScene(self, scene: Any) -> None:
        _follow(self, scene, later=True)

    def subjectHierarchyNode(self) -> Any:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def _setNodeTypes(self, types: list[str]) -> None:
        self._types = list(types)
        self._refresh()

    nodeTypes = Property(list, lambda self: getattr(self, "_types", []), _setNodeTypes)

    def _refresh(self) -> None:
        if getattr(self, "_busy", False) or getattr(self, "_scene", None) is None:
            return
        self._busy, self._items = True, []
        hierarchy, model = self.subjectHierarchyNode(), QStandardItemModel(self)
        model.setHorizontalHeaderLabels(["Node"])
        types = self.property("nodeTypes") or []
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
        for node in nodes:
            if any(node.IsA(t) for t in types) and not node.GetHideFromEditors():
                item = hierarchy.GetItemByDataNode(node)
                self._items.append(item or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node))
                model.appendRow(QStandardItem(node.GetName()))
        self.setModel(model)
        self.selectionModel().selectionChanged.connect(lambda *_: self.currentItemsChanged.emit(self._selected()))
        self._busy = False

    def _selected(self) -> list[int]:
        return [self._items[index.row()] for index in self.selectionModel().selectedRows()]

    def currentItems(self, ids: Any) -> None:
        for item in self._selected():
            ids.InsertNextId(item)

    def setCurrentItems(self, ids: Any) -> None:
        chosen = {ids.GetId(i) for i in range(ids.GetNumberOfIds())}
        flag = self.selectionModel().SelectionFlag
        self.selectionModel().clearSelection()
        for row, item in enumerate(self._items):
            if item in chosen:
                self.selectionModel().select(self.model().index(row, 0), flag.Select | flag.Rows)


from standins.plot_widget import qMRMLPlotWidget  # noqa: E402 - stands beside the others under its Slicer name

ALL = [qMRMLWidget, qMRMLNodeComboBox, qMRMLTableView, qMRMLSubjectHierarchyTreeView, qMRMLPlotWidget]
