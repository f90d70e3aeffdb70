"""The module's panels over their stand-ins (Testing/slicer/standins), in the hands of a user: real forms, real jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scenes
import torch
from PySide6.QtGui import QImage
from standins import fixtures

from AutoRegLib.app.demo import brain_box, grouped_labels, template_files
from AutoRegLib.app.synthetic_dataset import random_velocity
from AutoRegLib.bridge import displacement_to_field
from AutoRegLib.fields.velocity import exponentiate
from AutoRegLib.imaging.files import read_volume
from AutoRegLib.imaging.geometry import working_grid
from AutoRegLib.imaging.volume import Volume, resample
from AutoRegSlicerLib.scene.grids import Lattice

WIDTH = 480  # of an ordinary module panel
CASES, SPACING, FURTHER = 12, 8.0, 2.0  # of the search; mm; times the demo's deformations: minutes on two cores
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


def probe(desk: Any) -> None:
    """Let the module look at what this machine computes with; tests are told instead."""
    panel = desk.widget.environmentPanel
    type(panel).check(panel)
    desk.wait(lambda: desk.session.environment is not None, 120)
    desk.settle()


def choosePair(desk: Any, fixed: str, moving: str) -> None:
    """A pair of the dataset, with its labels, ready to be applied."""
    for role, name in (("fixed", fixed), ("moving", moving)):
        setattr(desk.parameters, f"{role}Volume", desk.scene.GetFirstNodeByName(name))
        setattr(desk.parameters, f"{role}Segmentation", desk.scene.GetFirstNodeByName(f"{name} labels"))
    desk.parameters.createSegmentation = True
    desk.settle()


def chooseModel(desk: Any) -> None:
    """The first model, so that its card is shown."""
    desk.ui.modelsTableView.selectRow(0)
    desk.settle()


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
    image = window.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, :3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def loadDataset(scene: Any) -> None:
    """Brains like those of the demo, on a coarser grid and bent twice as far, as volumes and segmentations."""
    files = template_files()
    template, labels = read_volume(files["image"], "intensity"), grouped_labels(files)
    grid = working_grid(brain_box(template, margin=15), spacing=SPACING)
    smooth = resample(template, grid, antialias=True)
    for number in range(1, CASES + 1):
        velocity = FURTHER * random_velocity(grid, torch.Generator().manual_seed(number))
        bent = displacement_to_field(exponentiate(velocity), grid).to_transform()
        on = Lattice(grid.size, LPS_RAS @ grid.index_to_physical)
        name = f"Brain {number:02d}"
        volume = scenes.addVolume(scene, name, on, resample(smooth, grid, bent).array)
        node = scenes.addSegmentation(scene, f"{name} labels", on, _numbered(resample(labels, grid, bent)),
                                      tuple(LARGE.values()))
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)


def _numbered(drawn: Volume) -> np.ndarray:
    """The large structures, numbered from 1."""
    numbers = np.zeros(256, np.uint8)
    numbers[list(LARGE)] = np.arange(1, len(LARGE) + 1)
    return numbers[drawn.array]


def reopened(desk: Any, verbs: set[str]) -> bool:
    """Open the results of an earlier run again, where there are some of all these kinds."""
    done = [s for s in desk.session.jobs.history() if s.state.name == "Done" and s.verb in verbs]
    if {s.verb for s in done} < verbs:
        return False
    for status in reversed(done):  # the oldest first
        desk.session.openResult(status.folder)
        finish(desk, 60)
    return True


def searchAndTrain(desk: Any, minutes: float, training: float) -> None:
    """Add the cases, search, train what was found; what an earlier run gave is opened again."""
    from AutoRegSlicerLib.panels.choices import SearchPreset

    ui, p = desk.ui, desk.parameters
    ui.addFromSceneButton.click()
    desk.settle()
    ui.checkDataButton.click()
    p.searchPreset, p.learnFromLabels, p.trainingMinutes = SearchPreset.Custom, True, training
    p.validationPercent = 30.0
    desk.settle()
    p.searchMinutes = minutes  # the preset has set its own
    desk.settle()
    if not reopened(desk, {"search", "train"}):
        ui.autoSearchButton.click()
        desk.wait(lambda: desk.session.statuses, 60)
        finish(desk, 600 + 60 * minutes)
        p.modelName = "brain-t1"
        desk.settle()
        ui.startTrainingButton.click()
        desk.wait(lambda: desk.session.statuses[-1].verb == "train", 60)
        finish(desk, 600 + 60 * training)
    p.modelName = "brain-t1-longer"
    ui.trialsTableView.selectRow(0)
    desk.settle()


def register(desk: Any, nodes: dict[str, Any]) -> dict[str, Any]:
    """Choose the pair, without a model, and Apply; the nodes and what came out."""
    p = desk.parameters
    for role, node in nodes.items():
        setattr(p, role, node)
    p.createSegmentation = True
    desk.settle()
    if not reopened(desk, {"register"}):
        desk.ui.applyButton.click()
        desk.wait(lambda: desk.session.statuses, 120)
        finish(desk, 600)
    return nodes | {"transform": p.outputTransform, "warpedVolume": p.outputVolume,
                    "warpedSegmentation": p.outputSegmentation, "jacobian": p.outputJacobian}
