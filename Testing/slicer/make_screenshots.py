"""Pictures of slice views for the README, rendered by Slicer's own slice views from a real registration.

    autoreg demo --output DEMO
    python Testing/slicer/make_screenshots.py DEMO
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "AutoRegSlicer"), str(ROOT)]

import numpy as np  # noqa: E402
import rendering  # noqa: E402
import scenes  # noqa: E402

from AutoRegSlicerLib import display, logic, volumes  # noqa: E402
from AutoRegSlicerLib.jobs_ui import Jobs  # noqa: E402
from AutoRegSlicerLib.segmentations import fillFromLabels  # noqa: E402

SIZE = 360
COVERING = (2, 3, 41, 42)  # white matter and cortex, which would hide the rest
ORIENTATIONS = ("Axial", "Sagittal", "Coronal")


def load(scene: Any, folder: Path, case: str) -> tuple[Any, Any]:
    """Volume and segmentation of a demo case."""
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", case)
    volumes.read(volume, folder / f"{case}.nii.gz")
    volume.CreateDefaultDisplayNodes()
    brightest = float(np.percentile(volumes.voxelsOf(volume), 99.7))
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(0, brightest)
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    volumes.read(labels, folder / f"{case}_labels.nii.gz")
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{case} labels")
    colors = np.random.default_rng(4).uniform(0.25, 1.0, (256, 3))
    look = {str(value): {"id": f"Segment_{value}", "name": str(value), "color": color.tolist()}
            for value, color in enumerate(colors)}
    fillFromLabels(segmentation, labels, look, volume)
    scene.RemoveNode(labels)
    return volume, segmentation


class Studio:
    """Demo pair, registered, and the views it is photographed in."""

    def __init__(self, demo: Path, work: Path) -> None:
        self.scene = scenes.newScene()
        self.fixed, self.fixedLabels = load(self.scene, demo / "data", "test1")
        self.moving, self.movingLabels = load(self.scene, demo / "data", "test2")
        self.result = logic.registerVolumes(
            self.fixed, self.moving, str(demo / "model"), fixedSegmentation=self.fixedLabels,
            movingSegmentation=self.movingLabels, jobs=Jobs(work), device="cpu", timeoutSeconds=300)
        self.views = rendering.SliceViews(self.scene, SIZE)
        self.labels = {"fixed": self.fixedLabels, "moving": self.movingLabels, "warped": self.result.segmentation}
        self.reset()

    def reset(self) -> None:
        """Three orientations through the middle of the fixed brain; nothing drawn over them."""
        for node, orientation in zip(self.views.nodes, ORIENTATIONS, strict=True):
            node.SetOrientation(orientation)
        display.fitSlices(self.scene, self.fixed, self.views.nodes)
        display.setTransformDisplay(self.result.transform, "none")
        display.showJacobian(self.scene, self.result.jacobian, visible=False)
        self.compare("fade", opacity=0.0)
        for node in self.labels.values():
            node.GetDisplayNode().SetVisibility(False)

    def compare(self, mode: str, **more: Any) -> None:
        display.setCompareMode(self.scene, mode, self.fixed, self.result.volume, self.moving, **more)

    def outline(self, role: str, *, filled: bool) -> None:
        """Show one segmentation, as outlines or filled."""
        shown = self.labels[role].GetDisplayNode()
        shown.SetVisibility(True)
        shown.SetVisibility2DFill(filled)
        shown.SetVisibility2DOutline(not filled)
        shown.SetOpacity2DFill(0.45)
        shown.SetSliceIntersectionThickness(2)
        for name in COVERING:
            shown.SetSegmentVisibility(f"Segment_{name}", False)

    def grid(self) -> np.ndarray:
        """Warped volume with the warp grid."""
        self.compare("fade", opacity=1.0)
        display.setTransformDisplay(self.result.transform, "grid")
        return self.views.row()

    def glyphs(self) -> np.ndarray:
        self.compare("fade", opacity=0.0)
        display.setTransformDisplay(self.result.transform, "glyphs")
        return self.views.row()

    def jacobian(self) -> np.ndarray:
        display.showJacobian(self.scene, self.result.jacobian, lower=0.6, upper=1.6, opacity=0.6)
        return self.views.row()

    def structures(self, role: str) -> np.ndarray:
        """Outlines of the fixed deep structures over the filled moving or warped ones, closer."""
        self.outline("fixed", filled=False)
        self.outline(role, filled=True)
        for node in self.views.nodes:
            node.SetFieldOfView(*(0.55 * side for side in node.GetFieldOfView()[:2]), node.GetFieldOfView()[2])
        return self.views.row()

    def mode(self, name: str) -> np.ndarray:
        self.compare(name)
        return self.views.row()

    def colored(self, *, before: bool) -> np.ndarray:
        self.compare("red-cyan", before=before)
        return self.views.row()


def main(demo: Path, output: Path) -> None:
    """Write the pictures."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        studio = Studio(demo, Path(work))
        pictures = {
            "slices-warp-grid": [studio.grid], "slices-warp-glyphs": [studio.glyphs],
            "slices-jacobian": [studio.jacobian],
            "slices-labels": [lambda: studio.structures("moving"), lambda: studio.structures("warped")],
            "slices-before-after": [lambda: studio.colored(before=True), lambda: studio.colored(before=False)],
            "slices-compare": [lambda: studio.mode("checkerboard"), lambda: studio.mode("difference"),
                               lambda: studio.mode("edges")],
        }
        for name, takes in pictures.items():
            rows = []
            for take in takes:
                studio.reset()
                rows.append(take())
            rendering.savePicture(np.concatenate(rows), output / f"{name}.png")
            print(output / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "Resources" / "Screenshots")
