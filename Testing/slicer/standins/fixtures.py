"""A widget of the module on a real scene, with a ready environment, tiny models and jobs in a folder of the test."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

try:
    import PySide6.QtWidgets  # noqa: F401
except ImportError as problem:
    raise ImportError(f"no PySide6, or a library it needs is missing: {problem}") from None

import standins
from standins import pythonqt
from standins.stopwatch import Stopwatch

#: what holds on to the stand-ins of the scene before
FRESH = ("panels", "parameters", "module_logic", "selftest")


@dataclass
class Answers:
    """Takes the place of the dialogs: answers with what a test put in, and notes the questions."""

    parent: Any = None
    yes: bool = True
    paths: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    def confirm(self, text: str, title: str = "") -> bool:
        self.questions.append(text)
        return self.yes

    def inform(self, text: str, title: str = "") -> None:
        self.questions.append(text)

    def _path(self, text: str, *_: str) -> str:
        self.questions.append(text)
        return self.paths.pop(0) if self.paths else ""

    open_file = save_file = folder = text = _path


@dataclass
class Desk:
    """What a test has before it: the widget, its forms, its scene."""

    widget: Any
    scene: Any
    module: ModuleType
    stopwatch: Stopwatch
    raised: list[str] = field(default_factory=list)  # exceptions in handlers: Qt goes on, a test must not

    @property
    def ui(self) -> Any:
        """The widgets as PySide6 knows them; the module's own ``ui`` shows what PythonQt would."""
        return pythonqt.unwrapped(self.widget.ui)

    @property
    def window(self) -> Any:
        """The widget that holds all panels."""
        return pythonqt.unwrap(self.widget.parent)

    @property
    def session(self) -> Any:
        return self.widget.session

    @property
    def parameters(self) -> Any:
        return self.widget.session.parameters

    def settle(self) -> None:
        """Let everything happen that waits."""
        from PySide6.QtWidgets import QApplication

        for _ in range(5):
            QApplication.processEvents()

    def wait(self, until: Callable[[], Any], seconds: float = 60.0) -> None:
        """Run the event loop, as Slicer does, until the condition holds."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                jobs = [(s.title, s.state.name, s.error, s.logTail[-800:]) for s in self.session.statuses]
                pytest.fail(f"not reached within {seconds:g} s; jobs: {jobs}")
            self.settle()
            assert not self.raised, self.raised[0]
            time.sleep(0.01)

    def state(self) -> str:
        """State of the newest job."""
        return str(self.session.statuses[-1].state.name) if self.session.statuses else ""


def why(button: Any) -> str:
    """Why a button is disabled: its tooltip; empty where it is not. A button without a tooltip fails the test."""
    assert button.toolTip()
    return "" if button.isEnabled() else str(button.toolTip())


def rows(desk: Desk) -> list[Any]:
    """The rows of the table of cases."""
    return list(desk.widget.trainPanel.data.cases.rows)


def environment(**changes: Any) -> Any:
    """What the probe of a machine without a GPU says."""
    from AutoRegSlicerLib.environment import Environment

    facts = {"state": "cpu-only", "python": "3.12.10", "torch": "2.7.0+cpu", "memory": (12 * 10**9, 16 * 10**9)}
    return Environment(**{**facts, **changes})


def make_desk(
    scene: Any, folder: Path, source: Path | None = None, prepare: Callable[[ModuleType], Any] = lambda qtbits: None
) -> Desk:
    """Build the widget and open the module, without asking what this machine can compute with.

    ``source``: a checkout of Slicer whose own Python is run in place of its stand-ins; ``prepare``: may alter the
    module's Qt idioms before anything is built on them.
    """
    standins.install(scene, folder / "slicer.ini", source)
    pythonqt.refused.clear()
    sys.modules.pop("AutoRegSlicer", None)
    for name in [n for n in sys.modules if n.startswith(tuple(f"AutoRegSlicerLib.{part}" for part in FRESH))]:
        del sys.modules[name]  # they hold on to the stand-ins of the scene before
    stopwatch, qtbits = Stopwatch(), importlib.import_module("AutoRegSlicerLib.panels.qtbits")
    stopwatch.watch(qtbits)
    prepare(qtbits)
    module = importlib.import_module("AutoRegSlicer")
    window = sys.modules["qt"].QWidget()
    sys.modules["qt"].QVBoxLayout(window)
    widget = module.AutoRegSlicerWidget(window)
    widget.setup()
    widget.session.dialogs = Answers()
    widget.environmentPanel.check = lambda: None
    widget.enter()
    widget.session.environment = environment()
    widget.environmentPanel.refresh()
    desk = Desk(widget, scene, module, stopwatch)
    desk.settle()
    return desk


@contextlib.contextmanager
def open_desk(
    scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path | None = None
) -> Iterator[Desk]:
    """The open module; what was refused to it or raised in a handler fails the test."""
    monkeypatch.setenv("AUTOREG_MODELS", str(tmp_path / "models"))
    made = make_desk(scene, tmp_path, source)
    monkeypatch.setattr(sys, "excepthook", lambda *what: made.raised.append("".join(traceback.format_exception(*what))))
    yield made
    made.widget.cleanup()
    assert not pythonqt.refused, pythonqt.refused
    jobs = made.session.jobs
    for status in jobs.running():
        jobs.cancel(status.folder)
    made.wait(lambda: jobs.poll() is not None and not jobs.running(), 20)
    assert not made.raised, made.raised[0]


@pytest.fixture
def desk(scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """The open module: no model, an empty scene."""
    with open_desk(scene, tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def full_desk(desk: Desk, tinyModel: Path, tmp_path: Path) -> Desk:
    """The open module with one model and an oblique pair with labels and landmarks, chosen."""
    import scenes

    shutil.copytree(tinyModel, tmp_path / "models" / "tiny")
    desk.session.modelsChanged()
    for name, node in scenes.addPair(desk.scene).items():
        setattr(desk.parameters, name, node)
    desk.settle()
    return desk


__all__ = ["desk", "full_desk", "rows", "why"]
