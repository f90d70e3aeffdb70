"""The module ``qt``: every name of the Qt modules that PythonQt offers flat."""

from __future__ import annotations

import types
from functools import cache


@cache
def build() -> types.ModuleType:
    """All of QtCore, QtGui, QtWidgets and the form loader, and a running QApplication."""
    from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

    from standins.application import load_form

    class QUiLoader(QtUiTools.QUiLoader):
        """Knows the stand-ins for Slicer's widgets."""

        def load(self, file: QtCore.QFile) -> QtWidgets.QWidget:
            return load_form(file.fileName())

    qt = types.ModuleType("qt")
    for part in (QtCore, QtGui, QtWidgets, QtUiTools):
        for name in dir(part):
            if not name.startswith("_"):
                setattr(qt, name, getattr(part, name))
    qt.application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["standins"])
    qt.application.setStyle("Fusion")
    qt.QUiLoader = QUiLoader
    qt.Signal, qt.Property = QtCore.Signal, QtCore.Property
    return qt
