"""What looking again costs: panels look after every change and twice a second, and read neither voxels nor files."""

from __future__ import annotations

import builtins
import hashlib
import io
import os
import traceback
from typing import Any

import numpy as np
import pytest

pytest.importorskip("standins.fixtures", reason="slicer-core or PySide6 is not installed", exc_type=ImportError)

import scenes
from standins.fixtures import Desk
from vtk.util import numpy_support


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The costly calls from now on and their places: arrays of voxels, searches in them, hashes, files, folders."""
    done: list[str] = []

    def counted(where: Any, name: str) -> None:
        original = getattr(where, name)

        def call(*args: Any, **named: Any) -> Any:
            calls = [f"{f.name}:{f.lineno}" for f in traceback.extract_stack() if "AutoRegSlicer" in f.filename]
            done.append(f"{name} in {' > '.join(calls[-4:])}")
            return original(*args, **named)

        monkeypatch.setattr(where, name, call)

    for where, name in ((numpy_support, "vtk_to_numpy"), (np, "unique"), (np, "bincount"), (np, "count_nonzero"),
                        (hashlib, "sha256"), (hashlib, "file_digest"), (builtins, "open"), (io, "open"),
                        (os, "scandir"), (os, "listdir")):
        counted(where, name)
    return done


def test_a_second_look_reads_neither_voxels_nor_files(full_desk: Desk, request: pytest.FixtureRequest) -> None:
    """With a registration done, its result on display, and two dozen label maps in the table of cases."""
    desk, p, ui = full_desk, full_desk.parameters, full_desk.ui
    ui.applyButton.click()
    desk.wait(lambda: desk.state() in ("Done", "Failed"))
    assert desk.state() == "Done", desk.session.statuses[-1].error
    on = scenes.lattice((8,) * 3, (3.0,) * 3)
    for number in range(24):
        scenes.addVolume(desk.scene, f"case {number:02d}", on, np.zeros((8,) * 3, np.float32))
        scenes.addVolume(desk.scene, f"case {number:02d} labels", on, np.ones((8,) * 3, np.uint8), labelMap=True)
    ui.addFromSceneButton.click()
    for tab in (ui.trainTab, ui.modelsTab, ui.evaluateTab):
        ui.workflowTabWidget.setCurrentWidget(tab)
        desk.settle()
        desk.session.refresh()
    desk.wait(lambda: "26 cases" in ui.datasetSummaryLabel.text())
    desk.session.refresh()

    work = request.getfixturevalue("work")
    for tab in (ui.registerTab, ui.trainTab, ui.evaluateTab, ui.modelsTab):
        ui.workflowTabWidget.setCurrentWidget(tab)
        del work[:]
        desk.session.refresh()
        assert work == [], ui.workflowTabWidget.tabText(ui.workflowTabWidget.currentIndex())
    for fade in (0.2, 0.4):  # what a step of rocking does
        p.fade = fade
        del work[:]
        desk.session.refresh()
        assert work == []
