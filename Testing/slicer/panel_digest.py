"""What a user reads in the panels of an empty scene, as a digest: it changes with the panels, not with their code."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QComboBox, QWidget

_WORDS = ("text", "title", "placeholderText", "suffix", "checked", "enabled")
_ELSEWHERE = ("ctkDirectoryButton", "ctkPathLineEdit")  # paths of this machine


def wording(desk: Any) -> list[str]:
    """One line for every widget that is shown or folded away, tab by tab: its class, name, words and state."""
    tabs, lines = desk.ui.workflowTabWidget, []
    before = tabs.currentIndex()
    desk.window.show()
    for index in range(tabs.count()):
        tabs.setCurrentIndex(index)
        for _ in range(3):
            desk.session.refresh()
            desk.settle()
        folded = [w for w in desk.window.findChildren(QWidget) if w.property("collapsed") is True]
        lines += [f"tab {tabs.tabText(index)}", *(f"folded {widget.objectName()}" for widget in folded)]
        for widget in folded:
            widget.setProperty("collapsed", False)
        lines += [line for widget in desk.window.findChildren(QWidget) if (line := _line(widget, desk.window))]
        for widget in folded:
            widget.setProperty("collapsed", True)
    tabs.setCurrentIndex(before)
    return lines


def digest(desk: Any) -> str:
    """Sixteen hexadecimal digits of :func:`wording`."""
    return hashlib.sha256("\n".join(wording(desk)).encode()).hexdigest()[:16]


def _line(widget: QWidget, window: QWidget) -> str:
    """Empty for what is not shown, and for the inner parts of Qt's own widgets."""
    kind, name = type(widget).__name__, widget.objectName()
    chooses = isinstance(widget, QComboBox)  # those inside node selectors have no name
    if not widget.isVisibleTo(window) or kind in _ELSEWHERE or not (name or chooses) or name.startswith("qt_"):
        return ""
    words = [f"{key}={widget.property(key)}" for key in _WORDS if widget.property(key) is not None]
    if chooses:
        words.append("|".join(widget.itemText(i) for i in range(widget.count())))
    if isinstance(widget, QAbstractItemView) and widget.model() is not None:
        model = widget.model()
        words.append("|".join(str(model.headerData(i, Qt.Orientation.Horizontal)) for i in range(model.columnCount())))
    return re.sub(r"(/[\w.@+-]+){2,}", "PATH", f"{kind} {name} {' '.join(words)}")
