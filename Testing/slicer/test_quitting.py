"""Closing, starting again and reloading: nothing is asked, nothing is lost, nothing of the former widget listens."""

from __future__ import annotations

import os
import socket
import sys
import time
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import slicer
from jobs import tools
from standins import slicer_source
from standins.fixtures import Desk, open_desk

from AutoRegLib.core.jobs import JobRequest, write_state
from AutoRegSlicerLib import settings
from AutoRegSlicerLib.jobs import record
from AutoRegSlicerLib.jobs.state import JobState

GONE = {"pid": 4_000_000, "started": 1e9, "host": socket.gethostname()}


def made(folder: Path, title: str, state: JobState, **changes: Any) -> Path:
    """A job folder as an earlier Slicer left it."""
    job = record.new_folder(folder / "jobs", "search", title, GONE)
    record.write_record(job, record.Record("search", title, time.time(), state=state.value, owner=GONE, **changes))
    return job


def line(folder: Path) -> str:
    from AutoRegSlicerLib.jobs import earlier

    return earlier.line(folder)


def test_a_new_slicer_says_what_became_of_jobs(desk: Desk, tmp_path: Path) -> None:
    place = tmp_path / "other"
    assert line(place) == ""
    made(place, "seen", JobState.Done)
    made(place, "failed and seen", JobState.Failed)
    assert line(place) == ""
    write_state(made(place, "Search A", JobState.Running, process=GONE), "done", exit_code=0, verb="search")
    living = {"pid": os.getpid(), "started": time.time(), "host": socket.gethostname()}
    made(place, "Training B", JobState.Running, process=living)
    made(place, "Search C", JobState.Running, process=GONE)
    write_state(made(place, "Search D", JobState.Running, process=GONE), "failed", exit_code=5)
    made(place, "stopped when Slicer closed", JobState.Cancelling, process=GONE)
    write_state(made(place, "stopped and over", JobState.Running, process=GONE), "cancelled", exit_code=3)
    told = line(place)
    assert told == ("AutoReg, done: “Search A”; still running: “Training B”; failed: “Search D”; interrupted: "
                    "“Search C”. Open AutoReg to go on.")
    (place / "jobs" / "broken").mkdir()
    (place / "jobs" / "broken" / "ui.json").write_text("{")
    assert line(place) == told
    (place / "file").write_text("")
    assert line(place / "file") == ""  # a setting that names no folder


def test_the_line_comes_when_slicer_has_started(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    opened: list[str] = []
    monkeypatch.setattr(desk.module, "registerSampleData", lambda: None)
    monkeypatch.setattr(slicer.util, "showStatusMessage", lambda text, duration=0: shown.append(text))
    monkeypatch.setattr(slicer.util, "selectModule", opened.append, raising=False)
    write_state(made(settings.defaultWorkspace(), "Search A", JobState.Running, process=GONE), "done", exit_code=0)
    desk.module.startedUp()  # without a main window there is nobody to tell
    assert shown == []
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: types.SimpleNamespace())
    desk.module.startedUp()
    assert len(shown) == 1 and "Search A" in shown[0] and opened == []
    settings.write(settings.AGREED, "torch>=2.4")
    desk.module.startedUp()
    assert opened == ["AutoRegSlicer"]
    settings.write(settings.AGREED, "")


@pytest.mark.skipif(not tools.posix, reason="the fake interpreter is a shell script")
@pytest.mark.parametrize("stop", [False, True])
def test_closing_asks_nothing_and_the_box_decides(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: bool
) -> None:
    for name in ("confirmYesNoDisplay", "confirmOkCancelDisplay", "infoDisplay"):
        monkeypatch.setattr(slicer.util, name, lambda *_, **__: pytest.fail("there is no window to ask in"),
                            raising=False)
    desk.ui.stopJobsCheckBox.setChecked(stop)
    jobs = desk.session.jobs
    jobs.setInterpreter(tools.fake_interpreter(tmp_path))
    folder = jobs.create("search", "goes on")
    jobs.submit(folder, JobRequest("search", {"behaviour": "obedient"}))
    desk.wait(lambda: desk.session.poll() or desk.state() == "Running")
    desk.widget.cleanup()
    wish = folder / "control"
    assert (wish.read_text() if wish.is_file() else "") == ("cancel" if stop else "")
    assert desk.session.dialogs.questions == []
    assert bool(settings.read(settings.STOP_JOBS)) == stop


@pytest.mark.parametrize("reloading", [False, True])
def test_the_former_widget_listens_no_more(desk: Desk, reloading: bool) -> None:
    """When Slicer ends its widgets are destroyed, when it reloads they are hidden: nothing may be done with them."""
    refreshed: list[bool] = []
    for panel in desk.session.panels:
        panel.refresh = lambda: refreshed.append(True)
    desk.session.changed()
    desk.widget._reloading = reloading
    desk.widget.cleanup()
    assert (desk.ui.parameterNodeSelector.currentNode() is None) == reloading
    desk.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "new")
    desk.scene.Clear()
    desk.settle()
    assert refreshed == [] and desk.session.parameters is None
    assert not desk.widget._timer.isActive() and not desk.widget.environmentPanel._timer.isActive()


def test_reloading_reads_both_libraries_again_and_stops_no_job(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(sys.modules)
    ours = {name for name in before if name.split(".")[0] in ("AutoRegSlicerLib", "AutoRegLib")}
    left: list[set[str]] = []
    stopped: list[bool] = []
    desk.ui.stopJobsCheckBox.setChecked(True)
    monkeypatch.setattr(desk.session.jobs, "stop", lambda: stopped.append(True))

    def reload(widget: Any) -> None:  # as ScriptedLoadableModuleWidget does: the file, then the former's cleanup
        left.append({name for name in sys.modules if name.split(".")[0] in ("AutoRegSlicerLib", "AutoRegLib")})
        widget.cleanup()

    monkeypatch.setattr(desk.module.ScriptedLoadableModuleWidget, "onReload", reload, raising=False)
    try:
        desk.widget.onReload()
    finally:
        sys.modules.update(before)
    assert ours and left == [set()] and stopped == []
    settings.write(settings.STOP_JOBS, "")


class Representation:
    """The module's place in the window, which makes a new widget when it is told to reload."""

    def __init__(self, window: Any) -> None:
        self._window, self.widgets = window, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._window, name)

    def reload(self) -> None:
        widget = sys.modules["AutoRegSlicer"].AutoRegSlicerWidget(self._window)
        self.widgets.append(widget)
        widget.setup()
        widget.environmentPanel.check = lambda: None
        widget.enter()


@pytest.mark.parametrize("source", slicer_source.checkouts() or [pytest.param(None, marks=pytest.mark.skip(
    reason=f"{slicer_source.VARIABLE} names no checkout of Slicer"))], ids=lambda source: getattr(source, "name", ""))
def test_slicers_own_reload_brings_a_new_widget(
    source: Path, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(scene, tmp_path, monkeypatch, source) as desk:
        before, former = dict(sys.modules), sys.modules["AutoRegSlicerLib.panels.session"].Session
        place = desk.widget.parent = Representation(desk.widget.parent)
        slicer.modules.autoregslicer.widgetRepresentation = lambda: place
        slicer.modules.AutoRegSlicerWidget = desk.widget
        try:
            desk.widget.onReload()
            (widget,) = place.widgets
            assert type(widget.session) is not former and type(widget.session).__name__ == "Session"
            volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "new")
            widget.session.parameters.fixedVolume = volume
            desk.settle()
            assert widget.ui.fixedVolumeSelector.currentNode() is volume and desk.session.parameters is None
            assert desk.ui.fixedVolumeSelector.currentNode() is None
            widget.cleanup()
        finally:
            sys.modules.update(before)


def test_a_disk_that_answers_slowly_is_asked_so_seldom_that_the_window_is_free(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, spent, pauses = [0.0], [0.004, 1.6, 1.6, 60.0, 0.004], []

    def poll() -> None:
        now[0] += spent.pop(0)

    monkeypatch.setattr(sys.modules[type(desk.widget).__module__], "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(desk.session, "poll", poll)
    desk.widget._timer.stop()
    monkeypatch.setattr(desk.widget, "_timer", SimpleNamespace(setInterval=pauses.append, stop=lambda: None))
    while spent:
        desk.widget.lookAtJobs()
    assert pauses == [14_400, 30_000, 500]
