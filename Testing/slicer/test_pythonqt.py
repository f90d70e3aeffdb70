"""The small PythonQt under the widget tests shows what PythonQt shows, and the stand-ins promise no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import standins
from standins import application, ctk_widgets, mrml_widgets, pythonqt, reach
from standins.fixtures import Desk

STANDINS = [*ctk_widgets.ALL, *mrml_widgets.ALL]
#: what tests look at beside the widget's own members; module code gets none of it
FOR_TESTS = {"qMRMLPlotWidget": {"curves"}}


@pytest.fixture
def qt(scene: Any, tmp_path: Path) -> Any:
    """The module ``qt`` as module code gets it."""
    import sys

    standins.install(scene, tmp_path / "slicer.ini")
    pythonqt.refused.clear()
    return sys.modules["qt"]


def test_properties_are_attributes(qt: Any) -> None:
    spin, label = qt.QSpinBox(), qt.QLabel("text")
    spin.value = 7
    assert spin.value == 7 and pythonqt.unwrap(spin).value() == 7 and label.text == "text"
    assert spin.property("value") == 7 and spin.setProperty("value", 8) and spin.value == 8
    with pytest.raises(TypeError):
        spin.value()
    label.name = "somebody"
    assert label.objectName == "somebody"


def test_slots_methods_statics_and_enums_are_there(qt: Any) -> None:
    combo = qt.QComboBox()
    combo.addItems(["a", "b"])
    combo.setCurrentIndex(1)
    assert combo.currentText == "b" and combo.itemText(0) == "a" and combo.count == 2
    assert qt.Qt.Checked == pythonqt.unwrap(qt.Qt).CheckState.Checked
    assert qt.QUrl.fromLocalFile("/a").toLocalFile() == "/a"
    assert combo.sizeHint.width() > 0


def test_nothing_else_is_reached(qt: Any) -> None:
    spin = qt.QSpinBox()
    for name in ("_object2", "nothing", "setLow"):
        with pytest.raises(AttributeError, match=name):
            getattr(spin, name)
    with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects is not allowed"):
        spin.helper = 1
    with pytest.raises(AttributeError, match="overwritten"):
        spin.setValue = print
    with pytest.raises(AttributeError, match="not writable"):
        spin.text = "7"
    assert not hasattr(qt.QSpinBox, "nothing")


def test_signals_give_a_slot_what_it_takes(qt: Any) -> None:
    spin, heard = qt.QSpinBox(), []

    def slot() -> None:
        heard.append(())

    spin.valueChanged.connect(slot)
    spin.valueChanged.connect(lambda *values: heard.append(values))
    spin.connect("valueChanged(int)", lambda value: heard.append(value))
    spin.value = 3
    assert sorted(map(str, heard)) == ["()", "(3,)", "3"]
    assert spin.valueChanged.disconnect(slot)
    spin.value = 4
    assert len(heard) == 5


def test_one_object_has_one_wrapper_of_its_class(qt: Any) -> None:
    box = qt.QGroupBox()
    layout = qt.QVBoxLayout(box)
    spin = qt.QSpinBox()
    layout.addWidget(spin)
    assert box.layout() is layout and spin.parent() == box and type(spin) is qt.QSpinBox
    assert isinstance(spin, qt.QWidget) and box.findChildren(qt.QSpinBox) == [spin]


def test_module_code_gets_wrappers_and_tests_get_widgets(desk: Desk) -> None:
    inside, outside = desk.widget.ui.applyButton, desk.ui.applyButton
    assert isinstance(inside, pythonqt.Wrapper) and pythonqt.unwrap(inside) is outside
    assert inside.text == outside.text() == "Apply"
    assert isinstance(desk.widget._timer, pythonqt.Wrapper)


def test_a_refusal_in_module_code_is_noted_even_when_it_was_caught(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from AutoRegSlicerLib.panels import qtbits

    source = "def reach(widget):\n  try:\n    widget.setDirectory('x')\n  except AttributeError:\n    pass\n"
    space: dict[str, Any] = {}
    exec(compile(source, qtbits.__file__, "exec"), space)
    space["reach"](desk.widget.ui.workspaceDirectoryButton)
    assert len(pythonqt.refused) == 1 and "setDirectory" in pythonqt.refused[0]
    pythonqt.refused.clear()


@pytest.mark.parametrize("standin", STANDINS, ids=lambda c: c.__name__)
def test_a_stand_in_promises_no_more_than_the_real_class(standin: type, qt: Any) -> None:
    """Its own public names, and all that module code reaches of it."""
    from PySide6.QtWidgets import QWidget

    name = standin.__name__
    own = {n for cls in standin.__mro__ if not cls.__module__.startswith(("PySide6", "builtins", "Shiboken"))
           for n in vars(cls) if not n.startswith("_") and n != "staticMetaObject"}
    handlers = {n for n in own if hasattr(QWidget, n) and n.endswith("Event")}
    assert {n for n in own - handlers if not reach.kind(name, n)} == FOR_TESTS.get(name, set())
    wrapped = pythonqt.wrap(standin())
    reached = {n for n in dir(standin) if not n.startswith("_") and hasattr(wrapped, n)}
    assert reached == {n for n in dir(standin) if not n.startswith("_") and (
        reach.kind(name, n) or n in ("connect", "disconnect", "inherits", "setProperty"))}


def test_the_application_promises_no_more_either() -> None:
    own = {n for n in vars(application.Application) if not n.startswith("_")}
    assert {n for n in own if not reach.kind("qSlicerApplication", n)} == set()
