"""A user's whole way through the module, over the small PythonQt: our stand-ins for Slicer's Python, and Slicer's own.

AUTOREG_SLICER_SOURCE names checkouts of Slicer's public sources, separated as in PATH; without them the stories with
Slicer's own Python are skipped.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)
pytest.importorskip("torch", reason="torch is not installed")

import reaching
import scenes
import story
from standins import slicer_source
from standins.fixtures import make_desk, open_desk

OWN = slicer_source.checkouts()
#: how Slicer's Python is had: ours, and Slicer's own where there is a checkout
SOURCES = [None, *(OWN or [pytest.param("absent", marks=pytest.mark.skip(
    reason=f"{slicer_source.VARIABLE} names no checkout of Slicer"))])]


def title(source: Any) -> str:
    return source.name if isinstance(source, Path) else source or "standins"


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is registered as sample data."""
    found: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "SampleData", story.fakeSampleData(found))
    return found


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A PythonSlicer in PATH that has nothing installed yet."""
    folder = story.fakeInstallation(tmp_path / "Slicer bin")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    yield folder


# Slicer 5.10 leaves the pipes of the processes it starts to the garbage collector
@pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(sys.platform == "win32", reason="the made-up PythonSlicer is a shell script")
@pytest.mark.parametrize("source", SOURCES, ids=title)
def test_the_whole_story(
    source: Path | None, scene: Any, tmp_path: Path, tinyModel: Path, installation: Path,
    samples: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(tinyModel, tmp_path / "models" / "tiny")
    with open_desk(scene, tmp_path, monkeypatch, source) as desk:
        story.tell(desk, tmp_path, installation, samples)


#: the three setters that once kept the module from opening, by the property they write: file, and what is there now
FAULTS = {
    "nodeTypes": ("apply_to.py", 'qtbits.write(self.ui.applyTargetsTreeView, "nodeTypes", TARGETS)',
                  "self.ui.applyTargetsTreeView.setNodeTypes(TARGETS)"),
    "directory": ("environment.py", 'qtbits.write(self.ui.workspaceDirectoryButton, "directory", ',
                  "self.ui.workspaceDirectoryButton.setDirectory("),
    "minimum": ("evaluate.py", 'qtbits.write(slider, "minimum", ', "slider.setMinimum("),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_former_fault_is_seen_in_the_source(name: str) -> None:
    file, now, before = FAULTS[name]
    source = next(p for p in reaching.SOURCES if p.name == file and p.parent.name == "panels").read_text("utf-8")
    assert source.count(now) == 1 and reaching.faults_in(source) == []
    faults = reaching.faults_in(source.replace(now, before))
    assert len(faults) == 1 and f"set{name[0].upper()}{name[1:]} is out of reach" in faults[0]


@pytest.mark.parametrize("source", SOURCES, ids=title)
@pytest.mark.parametrize("name", FAULTS)
def test_a_former_fault_ends_the_story(
    name: str, source: Path | None, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setter put back in place of the property: the module does not open, or a handler raises."""
    setter = f"set{name[0].upper()}{name[1:]}"
    raised: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, what, trace: raised.append(what))

    def put_back(qtbits: Any) -> None:
        write = qtbits.write
        qtbits.write = lambda widget, key, value: (
            getattr(widget, setter)(value) if key == name else write(widget, key, value))

    try:
        desk = make_desk(scene, tmp_path, source, put_back)
        for role, node in scenes.addPair(scene).items():
            setattr(desk.parameters, role, node)
        desk.settle()
        desk.widget.cleanup()
        desk.session.refresh()
    except AttributeError as problem:
        raised.append(problem)
    assert any(isinstance(what, AttributeError) and setter in str(what) for what in raised), raised
