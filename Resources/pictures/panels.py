"""The module's panels over their stand-ins (Testing/slicer/standins), in the hands of a user: real forms, real jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scenes
from standins import fixtures

from AutoRegLib.app.demo import make_cohort, template_files
from AutoRegLib.core.jobs import Monitor
from AutoRegLib.core.scenario import read_scenario
from AutoRegLib.imaging.files import read_volume
from AutoRegLib.imaging.geometry import working_grid
from AutoRegLib.imaging.volume import Volume, resample
from AutoRegSlicerLib.lattices import Lattice

WIDTH = 480  # of an ordinary module panel
CASES, SPACING = 12, 7.0  # mm; of the search: small enough for minutes on two cores
#: of the search's cases: those that are large enough on that grid
LARGE = {2: "left white matter", 41: "right white matter", 3: "left cortex", 42: "right cortex",
         4: "left lateral ventricle", 43: "right lateral ventricle", 8: "left cerebellar cortex",
         47: "right cerebellar cortex", 10: "left thalamus", 49: "right thalamus", 16: "brain stem"}
LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@contextmanager
def opened(scene: Any, folder: Path) -> Iterator[Any]:
    """The open module on this scene; its jobs lie in ``folder`` and its models beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["AUTOREG_MODELS"] = str(folder / "models")
    desk = fixtures.make_desk(scene, folder)
    try:
        yield desk
    finally:
        desk.widget.cleanup()
        for status in desk.session.jobs.running():
            desk.session.jobs.cancel(status.folder)


def finish(desk: Any, seconds: float) -> None:
    """Until the newest job is over."""
    desk.wait(lambda: desk.session.statuses and desk.session.statuses[-1].state.over, seconds)
    desk.settle()
    assert desk.state() == "Done", desk.session.statuses[-1].error


def grab(desk: Any, tab: str, height: int = 0) -> np.ndarray:
    """One tab with what is around it, at least as high as it needs to be. Shape: (height, width, 3) uint8."""
    desk.ui.workflowTabWidget.setCurrentWidget(getattr(desk.ui, tab))
    window = desk.window
    window.show()  # only then are the layouts kept up to date
    for _ in range(3):
        desk.session.refresh()
        desk.settle()
        needed = max(window.layout().minimumSize().height(), window.sizeHint().height())
        window.resize(WIDTH, max(height, needed))
    image = window.grab().toImage().convertToFormat(window.grab().toImage().Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, :3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def loadCohort(scene: Any, folder: Path) -> None:
    """The first of the demo's people, on a coarse grid, as volumes and segmentations."""
    if not (folder / "scenario.json").is_file():
        make_cohort(folder, template_files(), seed=0, monitor=Monitor())
    scenario = read_scenario(folder / "scenario.json")
    for number, case in enumerate(scenario.cases[:CASES], start=1):
        image, drawn = read_volume(case.image, "intensity"), read_volume(case.labels or "", "labels")
        grid = working_grid(image.geometry, spacing=SPACING)
        image, drawn = resample(image, grid, antialias=True), resample(drawn, grid)
        on = Lattice(grid.size, LPS_RAS @ grid.index_to_physical)
        name = f"Brain {number:02d}"
        volume = scenes.addVolume(scene, name, on, image.array)
        node = scenes.addSegmentation(scene, f"{name} labels", on, _numbered(drawn), tuple(LARGE.values()))
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)


def _numbered(drawn: Volume) -> np.ndarray:
    """The large structures, numbered from 1."""
    numbers = np.zeros(256, np.uint8)
    numbers[list(LARGE)] = np.arange(1, len(LARGE) + 1)
    return numbers[drawn.array]


def searchAndTrain(desk: Any, minutes: float) -> None:
    """Add the cases, search, train what was found."""
    from AutoRegSlicerLib.panels.choices import SearchPreset

    ui, p = desk.ui, desk.parameters
    ui.addFromSceneButton.click()
    desk.settle()
    ui.checkDataButton.click()
    p.searchPreset, p.searchMinutes, p.learnFromLabels = SearchPreset.Custom, minutes, True
    desk.settle()
    ui.autoSearchButton.click()
    desk.wait(lambda: desk.session.statuses, 60)
    finish(desk, 600 + 60 * minutes)
    p.modelName, p.trainingMinutes = "brain-t1", 2 * minutes
    desk.settle()
    ui.startTrainingButton.click()
    desk.wait(lambda: desk.session.statuses[-1].verb == "train", 60)
    finish(desk, 600 + 120 * minutes)
    ui.trialsTableView.selectRow(0)
    desk.settle()


def register(desk: Any, nodes: dict[str, Any]) -> dict[str, Any]:
    """Choose the pair, without a model, and Apply; the nodes and what came out."""
    p = desk.parameters
    for role, node in nodes.items():
        setattr(p, role, node)
    p.createSegmentation = True
    desk.settle()
    desk.ui.applyButton.click()
    desk.wait(lambda: desk.session.statuses, 120)
    finish(desk, 600)
    return nodes | {"transform": p.outputTransform, "warpedVolume": p.outputVolume,
                    "warpedSegmentation": p.outputSegmentation, "jacobian": p.outputJacobian}
