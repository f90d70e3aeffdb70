"""A stand-in for slicer.parameterNodeWrapper: typed attributes on a real scripted module node, bound to widgets.

Knows the types this module uses: bool, int, float, str, enum, node (or a union of nodes); stores them as Slicer
does: enums by name, nodes as references.
"""

from __future__ import annotations

import enum
import types
import typing
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from PySide6.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QLineEdit, QSpinBox

from standins import pythonqt
from standins.ctk_widgets import ctkSliderWidget
from standins.mrml_widgets import qMRMLNodeComboBox

__all__ = ["Default", "Maximum", "Minimum", "WithinRange", "parameterNodeWrapper"]


@dataclass
class Default:
    value: Any


@dataclass
class WithinRange:
    minimum: float
    maximum: float


@dataclass
class Minimum:
    minimum: float


@dataclass
class Maximum:
    maximum: float


@dataclass
class Parameter:
    """Name, plain type, default and limits of one parameter; reads and writes it."""

    name: str
    kind: Any
    default: Any
    limits: tuple[float, float] | None

    @property
    def is_node(self) -> bool:
        return isinstance(self.kind, tuple)

    def has(self, node: Any) -> bool:
        return node.HasNodeReferenceRole(self.name) if self.is_node else self.name in node.GetParameterNames()

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if issubclass(self.kind, enum.Enum) else self.kind(text)

    def write(self, node: Any, value: Any) -> None:
        if self.is_node:
            if value is not None and not isinstance(value, self.kind):
                raise TypeError(f"{self.name} takes {self.kind}, not {type(value).__name__}")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, (int, float) if self.kind is float else self.kind):
            raise TypeError(f"{self.name} takes {self.kind.__name__}, not {value!r}")
        if self.limits and not self.limits[0] <= value <= self.limits[1]:
            raise ValueError(f"{self.name} = {value} is not within {self.limits}")
        node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))


def _parameter(cls: type, name: str, hint: Any) -> Parameter:
    limits, default = None, getattr(cls, name, None)
    if typing.get_origin(hint) is typing.Annotated:
        hint, *notes = typing.get_args(hint)
        for note in notes:
            if isinstance(note, WithinRange):
                limits = (note.minimum, note.maximum)
            elif isinstance(note, Default):
                default = note.value
            else:
                raise TypeError(f"{name}: the stand-in does not know {note}")
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if any(issubclass(kind, slicer.vtkMRMLNode) for kind in kinds):
        return Parameter(name, tuple(k for k in kinds if k is not type(None)), None, None)
    if default is None:
        default = next(iter(hint)) if issubclass(hint, enum.Enum) else hint()
    return Parameter(name, hint, default, limits)


def parameterNodeWrapper(cls: type) -> type:
    """The class decorator."""
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _parameter(cls, name, hint) for name, hint in hints.items()}

    def initialize(self: Any, node: Any) -> None:
        self.parameterNode, self._connectors, self._showing = node, {}, False
        for parameter in parameters.values():
            if not parameter.is_node and not parameter.has(node):
                parameter.write(node, parameter.default)

    for parameter in parameters.values():
        setattr(cls, parameter.name, property(
            lambda self, p=parameter: p.read(self.parameterNode),
            lambda self, value, p=parameter: p.write(self.parameterNode, value),
        ))
    cls.__init__ = initialize
    cls.allParameters = parameters
    for function in (connectGui, disconnectGui, AddObserver, RemoveObserver, StartModify, EndModify):
        setattr(cls, function.__name__, function)
    return cls


def connectGui(self: Any, ui: Any) -> int:
    """Bind every widget with the property ``SlicerParameterName``; an unknown name is an error."""
    bound = []
    for widget in map(pythonqt.unwrap, vars(ui).values()):
        name = widget.property("SlicerParameterName")
        if name:
            if name not in self.allParameters:
                raise ValueError(f"no parameter '{name}' for {widget.objectName()}")
            bound.append(_bind(self, self.allParameters[name], widget))
    tag = len(self._connectors)

    def show(*_: Any) -> None:
        if not self._showing and self._connectors.get(tag):
            self._showing = True
            try:
                for parameter, write, _ in bound:
                    write(parameter.read(self.parameterNode))
            finally:
                self._showing = False

    self._connectors[tag] = (bound, self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, show))
    show()
    return tag


def disconnectGui(self: Any, tag: int) -> None:
    """Undo connectGui."""
    bound, observer = self._connectors.pop(tag, ((), None))
    for _, _, disconnect in bound:
        disconnect()
    if observer is not None:
        self.parameterNode.RemoveObserver(observer)


def _bind(wrapper: Any, parameter: Parameter, widget: Any) -> tuple[Any, Any, Any]:
    """(parameter, write to the widget, disconnect) for the combinations that Slicer supports."""
    kind = parameter.kind
    if isinstance(widget, QCheckBox) and kind is bool:
        signal, read, write = widget.toggled, widget.isChecked, widget.setChecked
    elif isinstance(widget, QSpinBox) and kind is int and parameter.limits:
        widget.setRange(*map(int, parameter.limits))
        signal, read, write = widget.valueChanged, widget.value, widget.setValue
    elif isinstance(widget, QDoubleSpinBox) and kind is float and parameter.limits:
        widget.setRange(*parameter.limits)
        signal, read, write = widget.valueChanged, widget.value, widget.setValue
    elif isinstance(widget, ctkSliderWidget) and kind is float and parameter.limits:
        widget.setProperty("minimum", parameter.limits[0])
        widget.setProperty("maximum", parameter.limits[1])
        signal, read, write = widget.valueChanged, lambda: widget.value, widget.setValue
    elif isinstance(widget, QLineEdit) and kind is str:
        signal, read, write = widget.textChanged, widget.text, widget.setText
    elif isinstance(widget, QComboBox) and isinstance(kind, type) and issubclass(kind, enum.Enum):
        members = list(kind)
        widget.clear()
        widget.addItems([member.label() if hasattr(member, "label") else member.name for member in members])
        signal = widget.currentIndexChanged
        read, write = lambda: members[widget.currentIndex()], lambda value: widget.setCurrentIndex(members.index(value))
    elif isinstance(widget, qMRMLNodeComboBox) and parameter.is_node:
        widget.setProperty("nodeTypes", [k.__name__ for k in kind])
        widget._refresh()
        signal, read, write = widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
    else:
        raise RuntimeError(f"Slicer cannot bind {kind} to {type(widget).__name__} {widget.objectName()}")

    def changed(*_: Any) -> None:
        if not wrapper._showing:
            parameter.write(wrapper.parameterNode, read())

    signal.connect(changed)
    return parameter, write, lambda: signal.disconnect(changed)


def AddObserver(self: Any, event: Any, callback: Any, priority: float = 0.0) -> int:
    return self.parameterNode.AddObserver(event, callback, priority)


def RemoveObserver(self: Any, tag: int) -> None:
    self.parameterNode.RemoveObserver(tag)


def StartModify(self: Any) -> int:
    return self.parameterNode.StartModify()


def EndModify(self: Any, before: int) -> None:
    self.parameterNode.EndModify(before)
