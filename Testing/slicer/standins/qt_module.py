"""The module ``qt``: every name of the Qt modules that PythonQt offers flat."""

from __future__ import annotations

import types
from functools import cache


@cache
def build() -> types.ModuleType:
    """All of QtCore, QtGui, QtWidgets and the form loader, and a running QApplication."""
    from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

    qt = types.ModuleType("qt")
    for part in (QtCore, QtGui, QtWidgets, QtUiTools):
        for name in dir(part):
            if not name.startswith("_"):
                setattr(qt, name, getattr(part, name))
    qt.application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["standins"])
    qt.application.setStyle("Fusion")
    qt.Signal, qt.Property = QtCore.Signal, QtCore.Property
    return qt
