"""What Python reaches of a class of Qt, CTK or Slicer: the table reach.json, and PySide6 for Qt's own classes.

PythonQt looks a name up in this order: property, then slots, signals, Q_INVOKABLE methods and what the generated
wrappers add, then enums. Qt's classes have such wrappers, which show nearly every public method; the classes in the
table have none, so of them nothing but the table is reached.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

TABLE: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).resolve().parents[1] / "reach.json").read_text(encoding="utf-8"))
_KINDS = {"properties": "property", "methods": "method", "signals": "signal"}


@cache
def kind(class_name: str, name: str) -> str:
    """``property``, ``method`` (callable), ``signal`` or ``other`` (an enum, a class); empty: out of reach."""
    while class_name in TABLE:
        entry = TABLE[class_name]
        found = next((_KINDS[key] for key in _KINDS if name in entry[key]), "")
        if found:
            return found
        class_name = entry["base"]
    qt_class = qt(class_name)
    return kind_in_qt(qt_class, name) if qt_class is not None else ""


def qt(class_name: str) -> Any:
    """A class of Qt by its name; None where there is none."""
    return next((found for part in (QtWidgets, QtGui, QtCore, QtUiTools)
                 if (found := getattr(part, class_name, None))), None)


def kind_in_qt(qt_class: Any, name: str) -> str:
    """The same for a class of PySide6."""
    if name in properties(qt_class):
        return "property"
    found = getattr(qt_class, name, None)
    if name.startswith("_") or found is None:
        return ""
    if isinstance(found, QtCore.Signal):
        return "signal"
    return "method" if callable(found) and not isinstance(found, type) else "other"


@cache
def properties(qt_class: Any) -> dict[str, bool]:
    """The properties of a class, and whether they can be written.

    Read once: PySide6 forgets a class's meta object when an object that was asked for it goes.
    """
    meta = getattr(qt_class, "staticMetaObject", None)
    found = [meta.property(index) for index in range(meta.propertyCount())] if meta is not None else []
    return {item.name(): item.isWritable() for item in found}
