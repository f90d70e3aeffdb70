"""The few Qt idioms that differ between PythonQt (Slicer) and PySide6 (tests), each in one function.

PythonQt shows properties as attributes, PySide6 as methods; ``QObject.property`` and ``setProperty`` are the same in
both. PythonQt finds properties, slots and Q_INVOKABLE methods alone: of a qMRML or CTK widget a plain C++ setter is out
of reach, even where it is what writes a property. Those are written by ``write``, never by a setter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _


def read(widget: Any, name: str) -> Any:
    """A property: ``checked``, ``value``, ``text``, ``currentIndex``, ``currentPath``, ``directory`` ..."""
    return widget.property(name)


def write(widget: Any, name: str, value: Any) -> None:
    """Set a property, by the only way that reaches every widget."""
    widget.setProperty(name, value)


def on(widget: Any, signal: str, slot: Callable[[], Any]) -> None:
    """Call ``slot`` without arguments at every ``signal``.

    Widgets that are bound to a parameter are heard before the parameter has its new value: there the call waits
    until the present events are done.
    """
    if widget.property("SlicerParameterName"):
        getattr(widget, signal).connect(lambda *_: soon(slot))
    else:
        getattr(widget, signal).connect(lambda *_: slot())


def offer(button: Any, reasons: Sequence[str], ready: str) -> bool:
    """Enable a button, its tooltip saying what it does, or disable it, its tooltip saying why."""
    button.setEnabled(not reasons)
    button.setToolTip(reasons[0] if reasons else ready)
    return not reasons


def show(label: Any, text: str) -> None:
    """Text of a label, which takes no room when there is none."""
    label.setText(text)
    label.setVisible(bool(text))


@contextmanager
def quiet(widget: Any) -> Iterator[None]:
    """What is done to the widget is not told to anybody."""
    before = widget.blockSignals(True)
    try:
        yield
    finally:
        widget.blockSignals(before)


def fill(combo: Any, texts: Sequence[str], current: int = 0) -> None:
    """New items without telling anybody."""
    with quiet(combo):
        combo.clear()
        combo.addItems(list(texts))
        combo.setCurrentIndex(current if texts else -1)


def make_table(view: Any, headers: Sequence[str]) -> Any:
    """An empty item model in a table view; keep what is returned."""
    model = qt.QStandardItemModel()
    model.setHorizontalHeaderLabels(list(headers))
    view.setModel(model)
    view.verticalHeader().hide()
    return model


def stretch(view: Any, wide: Sequence[int], count: int) -> None:
    """Share the width of a table between these of its columns; the others take what they need."""
    for column in range(count):
        view.horizontalHeader().setSectionResizeMode(
            column, qt.QHeaderView.Stretch if column in wide else qt.QHeaderView.ResizeToContents)


def cell(text: str, *, tip: str = "", editable: bool = False, checked: bool | None = None) -> Any:
    """One cell of a table; ``checked`` not None gives it a check box."""
    item = qt.QStandardItem(text)
    item.setEditable(editable)
    item.setToolTip(tip or text)
    if checked is not None:
        item.setCheckable(True)
        item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
    return item


def is_checked(item: Any) -> bool:
    """Whether the check box of a cell is set."""
    return item.checkState() == qt.Qt.Checked


def selected_rows(view: Any) -> list[int]:
    """Numbers of the selected rows of a table, ascending."""
    return sorted(index.row() for index in view.selectionModel().selectedRows())


def select_row(view: Any, index: Any) -> None:
    """Add the row of this cell to what is selected."""
    flags = qt.QItemSelectionModel
    view.selectionModel().select(index, flags.Select | flags.Rows)


def soon(action: Callable[[], Any], milliseconds: int = 0) -> None:
    """Call when the events that wait now are done."""
    qt.QTimer.singleShot(milliseconds, action)


def modal() -> Any:
    """The dialog that waits for an answer, or None."""
    return qt.QApplication.activeModalWidget()


def saving() -> bool:
    """Whether Slicer's dialog for saving is open; the scene's own event for saving is declared, but never sent."""
    dialog = modal()
    return dialog is not None and read(dialog, "objectName") == "qSlicerSaveDataDialog"


def open_folder(path: str | Path) -> None:
    """Show a folder in the system's file browser."""
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))


class Dialogs:
    """Everything that stops and asks; tests put their own answers in its place."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent

    def confirm(self, text: str, title: str = "AutoReg") -> bool:
        """A question answered with OK or Cancel."""
        import slicer.util

        return bool(slicer.util.confirmOkCancelDisplay(text, windowTitle=title))

    def inform(self, text: str, title: str = "AutoReg") -> None:
        """Something to read, such as what to do offline."""
        import slicer.util

        # commands and addresses in it are there to be copied
        slicer.util.infoDisplay(text, windowTitle=title, textInteractionFlags=qt.Qt.TextSelectableByMouse)

    def open_file(self, title: str, pattern: str) -> str:
        """An existing file, or empty."""
        return _first(qt.QFileDialog.getOpenFileName(self.parent, title, "", pattern))

    def save_file(self, title: str, name: str, pattern: str) -> str:
        """A file to write, or empty."""
        return _first(qt.QFileDialog.getSaveFileName(self.parent, title, name, pattern))

    def folder(self, title: str) -> str:
        """An existing folder, or empty."""
        return _first(qt.QFileDialog.getExistingDirectory(self.parent, title))

    def text(self, title: str, label: str, value: str) -> str:
        """A line of text, or empty."""
        answer = qt.QInputDialog.getText(self.parent, title, label, qt.QLineEdit.Normal, value)
        return _first(answer).strip()


def _first(answer: Any) -> str:
    """PySide6 answers with a pair, PythonQt with the text alone."""
    return str(answer[0] if isinstance(answer, tuple) else answer or "")


def duration(seconds: float) -> str:
    """Time in words: "40 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return _("{n} s").format(n=round(seconds))
    minutes = round(seconds / 60)
    return _("{n} min").format(n=minutes) if minutes < 90 else _("{h} h {m} min").format(
        h=minutes // 60, m=minutes % 60)


def size(count: float) -> str:
    """Bytes in words: "420 MB", "3.1 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit in ("B", "kB") or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return ""
