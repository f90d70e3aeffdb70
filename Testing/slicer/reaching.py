"""Reads the module's source and forms without running them: what is reached of the widgets named in the forms."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from standins import MODULE, reach

FORMS = sorted((MODULE / "Resources" / "UI").glob("*.ui"))
SOURCES = sorted(MODULE.rglob("*.py"))
#: functions of qtbits: what kind of member their second argument names
NAMED = {"on": "signal", "read": "property", "write": "property"}
UI = "the widgets of the forms"
#: what the methods that lead from one class of the table to another return
RETURNED = {"extensionsManagerModel": "qSlicerExtensionsManagerModel", "layoutManager": "qSlicerLayoutManager",
            "plotController": "qMRMLPlotViewControllerWidget", "controllerWidget": "qMRMLViewControllerBar"}


@cache
def widgets() -> dict[str, str]:
    """Class of every named widget of the forms."""
    roots = [ElementTree.parse(path).getroot() for path in FORMS]
    return {str(w.get("name")): str(w.get("class")) for root in roots for w in root.iter("widget")}


def faults_in_forms() -> Iterator[str]:
    """Properties that a form sets and the class does not have."""
    for path in FORMS:
        for widget in ElementTree.parse(path).getroot().iter("widget"):
            for item in widget.findall("property"):
                name, where = str(item.get("name")), str(widget.get("class"))
                if item.get("stdset") != "0" and reach.kind(where, name) != "property":
                    yield f"{path.name}: {where} {widget.get('name')} has no property {name}"


def faults(path: Path) -> list[str]:
    """What a source file reaches of named widgets and PythonQt does not show."""
    return [f"{path.name}:{fault}" for fault in faults_in(path.read_text(encoding="utf-8"))]


def faults_in(source: str) -> list[str]:
    """The same for source text: "line: what"."""
    reader = Reader()
    reader.read(ast.parse(source), {})
    return list(dict.fromkeys(reader.faults))


class Reader:
    """Follows the widgets through ``ui.NAME``, ``getattr(ui, "NAME")``, local names and loops over literals."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.seen = 0  # members of widgets that were looked at

    def read(self, node: ast.AST, names: dict[str, Any]) -> None:
        """Everything below a node; ``names``: what the local names stand for, as far as it is known."""
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            names = {name: value for name, value in names.items() if name not in {a.arg for a in node.args.args}}
        if isinstance(node, ast.For) and (rows := literal_rows(node.iter)):
            for row in rows:
                inner = dict(names)
                self.bind(node.target, row, inner)
                for child in node.body:
                    self.read(child, inner)
            return
        if isinstance(node, ast.Assign):
            self.read(node.value, names)
            for target in node.targets:
                self.bind(target, node.value, names)
                self.read(target, names)
            return
        if isinstance(node, ast.Call):
            self.check_call(node, names)
        if isinstance(node, ast.Attribute):
            self.check(node, self.widget(node.value, names), node.attr,
                       ("property",) if isinstance(node.ctx, ast.Store) else ("property", "method", "signal", "other"))
        for child in ast.iter_child_nodes(node):
            self.read(child, names)

    def bind(self, target: ast.AST, value: ast.AST, names: dict[str, Any]) -> None:
        """Remember what a local name stands for."""
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for one, its in zip(target.elts, value.elts, strict=True):
                self.bind(one, its, names)
        elif isinstance(target, ast.Name):
            names[target.id] = self.value(value, names)

    def value(self, node: ast.AST, names: dict[str, Any]) -> Any:
        """``UI``, the class of a widget as ("widget", class), a literal, or None."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return names.get(node.id, UI if node.id == "ui" else None)
        if isinstance(node, ast.Attribute):
            if node.attr == "ui":
                return UI
            if node.attr == "app" and isinstance(node.value, ast.Name) and node.value.id == "slicer":
                return ("widget", "qSlicerApplication")
            return self._member(self.value(node.value, names), node.attr)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RETURNED:
            return ("widget", RETURNED[node.func.attr])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            return self._member(self.value(node.args[0], names), self.value(node.args[1], names))
        return None

    def _member(self, owner: Any, name: Any) -> Any:
        return ("widget", widgets()[name]) if owner is UI and name in widgets() else None

    def widget(self, node: ast.AST, names: dict[str, Any]) -> str:
        """The class of a widget; empty for anything else."""
        value = self.value(node, names)
        return value[1] if isinstance(value, tuple) else ""

    def check_call(self, node: ast.Call, names: dict[str, Any]) -> None:
        """Members named by a string, and methods that are called."""
        if not node.args:
            where = ""
        else:
            where = self.widget(node.args[0], names)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        told = self.value(node.args[1], names) if len(node.args) > 1 else None
        if where and name in NAMED and isinstance(told, str):
            self.check(node, where, told, (NAMED[name],))
        if where and name == "getattr" and isinstance(told, str):
            self.check(node, where, told, ("property", "method", "signal", "other"))
        if isinstance(node.func, ast.Attribute):
            owner = self.widget(node.func.value, names)
            self.check(node, owner, name, ("method", "signal", "other"))
            if name == "connect" and node.args and isinstance(signal := self.value(node.args[0], names), str):
                self.check(node, owner, signal.split("(")[0], ("signal",))
            if owner and name in ("setProperty", "property") and node.args:
                told = self.value(node.args[0], names)
                if isinstance(told, str) and told != "SlicerParameterName":
                    self.check(node, owner, told, ("property",))

    def check(self, node: Any, where: str, name: str, kinds: tuple[str, ...]) -> None:
        if where:
            self.seen += 1
            found = reach.kind(where, name)
            if found not in kinds:
                what = f"a {found}, not a {' or '.join(kinds[:2])}" if found else "out of reach"
                self.faults.append(f"{node.lineno}: {where}.{name} is {what}")


def literal_rows(node: ast.AST) -> list[ast.AST]:
    """The rows of a tuple, a list or the items of a dictionary written out in a loop."""
    if isinstance(node, (ast.Tuple, ast.List)):
        return list(node.elts)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "items":
        owner = node.func.value
        if isinstance(owner, ast.Dict) and None not in owner.keys:
            return [ast.Tuple([key, value], ast.Load()) for key, value in zip(owner.keys, owner.values, strict=True)
                    if key is not None]
    return []


def capital_names() -> set[str]:
    """Every name with a capital that the module takes of any object: methods and constants of the scene among them."""
    return {node.attr for path in SOURCES for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute) and node.attr[:1].isupper()}
