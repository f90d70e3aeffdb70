"""Pictures of the four panels for the README, into Resources/Screenshots: real forms, real jobs, real figures.

    python Resources/render_panels.py DATA      DATA: a folder with a scenario.json of small labelled volumes

Draws with the stand-ins of Testing/slicer (Qt off screen), so the widgets look plainer than in Slicer. Takes some
minutes: the search, the training and the registration on the pictures are run by clicks, on the CPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("QT_SCALE_FACTOR", "2")  # sharp on any screen
sys.path[:0] = [str(ROOT / "Testing" / "slicer"), str(ROOT / "AutoRegSlicer"), str(ROOT)]

import numpy as np  # noqa: E402 - the paths come first
import scenes  # noqa: E402
import SimpleITK as sitk  # noqa: E402
from standins import fixtures  # noqa: E402

from AutoRegLib.core.scenario import read_scenario  # noqa: E402
from AutoRegSlicerLib.lattices import Lattice  # noqa: E402

WIDTH = 500
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def load(scene: Any, data: Path, count: int) -> None:
    """Volumes and segmentations of the first cases, at half their resolution so that minutes are enough."""
    scenario = read_scenario(data / "scenario.json")
    for case in scenario.cases[:count]:
        name = case.id.replace("hippocampus_", "MR ")
        image, voxels = (sitk.Shrink(sitk.ReadImage(path), [2, 2, 2]) for path in (case.image, case.labels))
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        matrix[:3, 3] = image.GetOrigin()
        on = Lattice(image.GetSize(), RAS @ matrix)
        volume = scenes.addVolume(scene, name, on, sitk.GetArrayFromImage(image))
        labels = sitk.GetArrayFromImage(voxels).astype(np.uint8)
        names = tuple(scenario.structures[i] for i in sorted(scenario.structures))
        node = scenes.addSegmentation(scene, f"{name} labels", on, labels, names)
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)


def picture(desk: Any, name: str, tab: str, folder: Path, width: int = WIDTH) -> None:
    """One tab with what is around it, as high as it needs to be."""
    desk.ui.workflowTabWidget.setCurrentWidget(getattr(desk.ui, tab))
    window = desk.window
    window.show()  # only then are the layouts kept up to date
    for _ in range(3):
        desk.session.refresh()
        desk.settle()
        window.resize(width, max(window.layout().minimumSize().height(), window.sizeHint().height()))
    window.grab().save(str(folder / f"{name}.png"))
    print(folder / f"{name}.png", window.size().toTuple())


def run(desk: Any, seconds: float) -> None:
    """Until the newest job is over."""
    desk.wait(lambda: desk.session.statuses and desk.session.statuses[-1].state.over, seconds)
    desk.settle()
    assert desk.state() == "Done", desk.session.statuses[-1].error


def story(desk: Any, folder: Path, minutes: float) -> None:
    """A user's way through the module; a picture at each station."""
    from AutoRegSlicerLib.panels.choices import SearchPreset, TransformDisplay

    ui, p = desk.ui, desk.parameters
    ui.addFromSceneButton.click()
    desk.settle()
    ui.checkDataButton.click()
    p.searchPreset, p.searchMinutes = SearchPreset.Custom, minutes
    desk.settle()
    ui.autoSearchButton.click()
    run(desk, 300)
    p.modelName, p.trainingMinutes = "hippocampus-mr", 1.5 * minutes
    desk.settle()
    ui.startTrainingButton.click()
    desk.wait(lambda: desk.session.statuses[-1].verb == "train" and desk.session.statuses[-1].fraction > 0.85, 600)
    ui.trialsTableView.selectRow(0)
    picture(desk, "panel-search-and-train", "trainTab", folder, 860)
    run(desk, 600)

    names = [desk.scene.GetNthNodeByClass(i, "vtkMRMLScalarVolumeNode").GetName() for i in (0, 1)]
    for role, name in zip(("fixed", "moving"), names, strict=True):
        setattr(p, f"{role}Volume", desk.scene.GetFirstNodeByName(name))
        setattr(p, f"{role}Segmentation", desk.scene.GetFirstNodeByName(f"{name} labels"))
    p.createSegmentation = True
    desk.settle()
    ui.applyButton.click()
    desk.wait(lambda: desk.session.statuses[-1].verb == "register", 60)
    run(desk, 300)
    picture(desk, "panel-register", "registerTab", folder)
    p.transformDisplay = TransformDisplay.Grid
    p.jacobianOverlay = True
    ui.workflowTabWidget.setCurrentWidget(ui.evaluateTab)
    desk.settle()
    picture(desk, "panel-evaluate", "evaluateTab", folder, 600)
    picture(desk, "panel-models", "modelsTab", folder, 960)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=ROOT / "Resources" / "Screenshots")
    parser.add_argument("--minutes", type=float, default=1.0, help="of the search; training takes half as long again")
    parser.add_argument("--cases", type=int, default=12)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="panels-") as workspace:
        os.environ["AUTOREG_MODELS"] = str(Path(workspace) / "models")
        scene = scenes.newScene()
        load(scene, options.data, options.cases)
        desk = fixtures.make_desk(scene, Path(workspace))
        try:
            type(desk.widget.environmentPanel).check(desk.widget.environmentPanel)  # this machine's, not a made-up one
            desk.wait(lambda: desk.session.environment is not None)
            story(desk, options.output, options.minutes)
        finally:
            desk.widget.cleanup()
            for status in desk.session.jobs.running():
                desk.session.jobs.cancel(status.folder)
            shutil.rmtree(Path(workspace) / "AutoReg", ignore_errors=True)


if __name__ == "__main__":
    main()
