"""Stand-ins for slicer.app, slicer.modules, slicer.i18n and the parts of slicer.util that need the application."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
from PySide6.QtCore import QObject, Signal

from standins import pythonqt

UI_SIGNAL = "mrmlSceneChanged(vtkMRMLScene*)"


def tr(text: str, disambiguation: str = "", n: int = -1) -> str:
    """slicer.i18n.tr: the text itself."""
    return text


def translate(context: str, text: str, disambiguation: str = "", n: int = -1) -> str:
    """slicer.i18n.translate: the text itself."""
    return text


class qSlicerModuleManager(QObject):
    """Says when a module goes away."""

    moduleAboutToBeUnloaded = Signal(str)


class qSlicerScriptedLoadableModule(QObject):
    """What a module's class gets as its parent: takes the properties that the real one has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.setProperty("path", str(path))


class Application:
    """What the module asks of the running application: a few things of Slicer, and all that any QApplication has."""

    applicationVersion = "5.13.0-standin"

    def __init__(self, qt: Any, settings: Path) -> None:
        self._qt = qt
        self._manager, self._connected = qSlicerModuleManager(), []
        self.slicerUserSettingsFilePath = str(settings)
        self._settings = qt.QSettings(str(settings), qt.QSettings.Format.IniFormat)

    def __getattr__(self, name: str) -> Any:
        return getattr(pythonqt.wrap(self._qt.application), name)

    def userSettings(self) -> Any:
        return pythonqt.wrap(self._settings)

    def testingEnabled(self) -> bool:
        return True

    def layoutManager(self) -> None:
        return None

    def moduleManager(self) -> Any:
        return pythonqt.wrap(self._manager)

    def connect(self, signal: str, slot: Any) -> None:
        self._connected.append((signal, slot))

    def startupEnvironment(self) -> Any:
        return pythonqt.wrap(self._qt.QProcessEnvironment.systemEnvironment())

    def setOverrideCursor(self, cursor: Any) -> None:
        pass

    def restoreOverrideCursor(self) -> None:
        pass


class Modules:
    """The logics that slicer.modules hands out."""

    def __init__(self, scene: Any) -> None:
        logics = {"segmentations": slicer.vtkSlicerSegmentationsModuleLogic, "volumes": slicer.vtkSlicerVolumesLogic}
        for name, kind in logics.items():
            logic = kind()
            logic.SetMRMLScene(scene)
            setattr(self, name, _Module(logic))


class _Module:
    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


def extend_util(util: ModuleType) -> None:
    """Replace what needs the desktop application: forms, status bar, message boxes (default answers, as in tests)."""
    util.loadUI = lambda path: pythonqt.wrap(load_form(path))
    util.childWidgetVariables = child_widgets
    util.shownMessages = []
    util.showStatusMessage = lambda text, duration=0: util.shownMessages.append(text)
    util.errorDisplay = lambda text, **_: util.shownMessages.append(text)
    util.confirmOkCancelDisplay = lambda text, **_: True
    util.confirmYesNoDisplay = lambda text, **_: True
    util.mainWindow = lambda: None
    util.pip_install = pip_install


def pip_install(requirements: list[str]) -> None:
    """As Slicer does, by the executable PythonSlicer, wherever PATH has one."""
    executable = shutil.which("PythonSlicer")
    if executable is None:
        raise RuntimeError("PythonSlicer executable not found")
    subprocess.run([executable, "-m", "pip", "install", *requirements], check=True)


def load_form(path: str) -> Any:
    """A form with the stand-ins for Slicer's widgets; the scene connections of the file are made and checked."""
    from PySide6.QtCore import QBuffer
    from PySide6.QtUiTools import QUiLoader
    from PySide6.QtWidgets import QWidget

    from standins import ctk_widgets, mrml_widgets

    text, connections, named = read_form(path)
    kinds = {kind.__name__: kind for kind in (*ctk_widgets.ALL, *mrml_widgets.ALL)}
    if named - set(kinds):
        raise RuntimeError(f"{path} uses widgets without a stand-in: {named - set(kinds)}")

    class Loader(QUiLoader):
        def createWidget(self, name: str, parent: Any = None, widget_name: str = "") -> Any:
            if name not in kinds:
                return super().createWidget(name, parent, widget_name)
            widget = kinds[name](parent)
            widget.setObjectName(widget_name)
            return widget

    buffer = QBuffer()
    buffer.setData(text)
    buffer.open(QBuffer.OpenModeFlag.ReadOnly)
    loader = Loader()
    form = loader.load(buffer)
    for item in connections:
        if item["signal"] != UI_SIGNAL or item["slot"] != "setMRMLScene(vtkMRMLScene*)":
            raise RuntimeError(f"{path}: unexpected connection {item}")
        form.mrmlSceneChanged.connect(form.findChild(QWidget, item["receiver"]).setMRMLScene)
    for kind in (ctk_widgets.ctkCollapsibleButton, ctk_widgets.ctkCollapsibleGroupBox):
        for widget in form.findChildren(kind):
            widget._fold()
    return form


@cache
def read_form(path: str) -> tuple[bytes, list[dict[str, str]], set[str]]:
    """The form without what QUiLoader does not know (connections of VTK types, flags of CTK classes), those
    connections, and the names of the custom widgets.
    """
    root = ElementTree.parse(path).getroot()
    connections = [{child.tag: child.text for child in item} for item in root.find("connections")]
    root.find("connections").clear()
    for widget in root.iter("widget"):
        for item in widget.findall("property[@name='filters']"):
            widget.remove(item)
    return ElementTree.tostring(root), connections, {item.findtext("class") for item in root.iter("customwidget")}


def child_widgets(widget: Any) -> Any:
    """Every named child as an attribute."""
    from PySide6.QtWidgets import QWidget

    children = type("Children", (), {})()
    for child in pythonqt.unwrap(widget).findChildren(QWidget):
        if child.objectName() and not child.objectName().startswith("qt_"):
            setattr(children, child.objectName(), pythonqt.wrap(child))
    return children
