"""The pair in Slicer's own views: three slices and 3-D, with the result of the registration, for one state each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rendering
import vtk
from pair import STRUCTURES
from vtk.util.numpy_support import numpy_to_vtk

from AutoRegSlicerLib.scene import display, volumes
from AutoRegSlicerLib.scene.grids import Lattice, ownLattice, vtkMatrix
from AutoRegSlicerLib.scene.segmentations import fillFromLabels

SPOT = (-14.0, -8.0, 4.0)  # mm RAS: thalamus, putamen and ventricles in the three slices
ORDER = ("Red", "3D", "Green", "Yellow")  # Slicer's four-up layout
_SMOOTH = 0.5  # of the surfaces that the outlines are cut from
DISTANCE = "Distance to the true place (mm)"
FARTHEST = 20.0  # mm
_FAR = ((0.88, 0.82, 0.76), (0.98, 0.83, 0.45), (0.95, 0.5, 0.15), (0.8, 0.15, 0.1), (0.45, 0.02, 0.15))


def ramp(count: int) -> np.ndarray:
    """The colors of distances, from none to ``FARTHEST``. Shape: (count, 3), 0 to 1."""
    places = np.linspace(0, len(_FAR) - 1, count)
    return np.stack([np.interp(places, range(len(_FAR)), [color[i] for color in _FAR]) for i in range(3)], axis=1)


def surface(matter: np.ndarray, values: np.ndarray, on: Lattice) -> Any:
    """The surface of ``matter`` (0 and 1), in mm RAS, with the ``values`` of the same lattice at its points."""
    images = []
    for voxels in (matter, values):
        image = vtk.vtkImageData()
        image.SetDimensions(*on.size)
        image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(voxels, np.float32).ravel(), deep=1))
        images.append(image)
    images[1].GetPointData().GetScalars().SetName(DISTANCE)
    smooth = vtk.vtkImageGaussianSmooth()
    smooth.SetInputData(images[0])
    smooth.SetStandardDeviation(0.9)
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputConnection(smooth.GetOutputPort())
    contour.SetValue(0, 0.5)
    contour.ComputeScalarsOff()
    largest = vtk.vtkPolyDataConnectivityFilter()
    largest.SetInputConnection(contour.GetOutputPort())
    largest.SetExtractionModeToLargestRegion()
    probe = vtk.vtkProbeFilter()
    probe.SetInputConnection(largest.GetOutputPort())
    probe.SetSourceData(images[1])
    place = vtk.vtkTransform()
    place.SetMatrix(vtkMatrix(on.ijkToRAS))
    move = vtk.vtkTransformPolyDataFilter()
    move.SetInputConnection(probe.GetOutputPort())
    move.SetTransform(place)
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(move.GetOutputPort())
    normals.SplittingOff()
    normals.Update()
    return normals.GetOutput()


def loadVolume(scene: Any, name: str, path: Path) -> Any:
    """A volume node with the window of a brain scan."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    volumes.read(node, path)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 1.1 * float(np.percentile(volumes.voxelsOf(node), 99.7)))
    return node


def loadLabels(scene: Any, name: str, path: Path, volume: Any) -> Any:
    """A segmentation node with the structures of the pictures."""
    drawn = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    volumes.read(drawn, path)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    look = {str(code): {"id": f"Segment_{code}", "name": structure, "color": list(color)}
            for code, (structure, color) in STRUCTURES.items()}
    fillFromLabels(node, drawn, look, volume)
    scene.RemoveNode(drawn)
    return node


def loadPair(scene: Any, folder: Path) -> dict[str, Any]:
    """Volumes and labels of the pair, as a user would have loaded them."""
    nodes = {}
    for role, name in (("fixed", "Brain A"), ("moving", "Brain B")):
        nodes[f"{role}Volume"] = loadVolume(scene, name, folder / f"{role}.nii.gz")
        nodes[f"{role}Segmentation"] = loadLabels(scene, f"{name} labels", folder / f"{role}_labels.nii.gz",
                                                  nodes[f"{role}Volume"])
    return nodes


class Stage:
    """The views of a registered pair. Every method returns one picture per view, in ``ORDER``.

    ``nodes``: what :func:`loadPair` gave, and ``transform``, ``warpedVolume``, ``warpedSegmentation``, ``jacobian``.
    """

    def __init__(self, scene: Any, nodes: dict[str, Any], folder: Path, size: int) -> None:
        self.scene, self.folder = scene, folder
        self.volumes = {"fixed": nodes["fixedVolume"], "before": nodes["movingVolume"], "after": nodes["warpedVolume"]}
        self.labels = {"fixed": nodes["fixedSegmentation"], "before": nodes["movingSegmentation"],
                       "after": nodes["warpedSegmentation"]}
        self.transform, self.jacobian = nodes["transform"], nodes["jacobian"]
        for node in self.labels.values():
            node.GetSegmentation().SetConversionParameter("Smoothing factor", str(_SMOOTH))
            node.CreateClosedSurfaceRepresentation()
            node.GetDisplayNode().SetPreferredDisplayRepresentationName2D("Closed surface")
            node.GetDisplayNode().SetPreferredDisplayRepresentationName3D("Closed surface")
            node.GetDisplayNode().SetSliceIntersectionThickness(2)
        self.surfaces = {role: self._surface(role) for role in ("before", "after")}
        self.slices = rendering.SliceViews(scene, size)
        self.space = rendering.ThreeDView(self.slices)
        display.fitSlices(scene, self.volumes["fixed"], self.slices.nodes)
        widest = 0.9 * max(node.GetFieldOfView()[0] for node in self.slices.nodes)
        for node in self.slices.nodes:  # one scale for all, so that one ruler serves
            node.SetFieldOfView(widest, widest, node.GetFieldOfView()[2])
            node.JumpSlice(*SPOT)
        self.millimeters = widest / size  # of a pixel

    def _surface(self, role: str) -> Any:
        """The fixed brain as a model, in the colors of how far its points are from their true places."""
        lattice = ownLattice(self.volumes["fixed"])
        voxels = volumes.voxelsOf(self.volumes["fixed"])
        brain = (voxels > 0.45 * np.percentile(voxels, 99)).astype(np.float32)
        distance = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        volumes.read(distance, self.folder / f"distance_{role}.nii.gz")
        model = self.scene.AddNewNodeByClass("vtkMRMLModelNode", f"distance {role}")
        model.SetAndObservePolyData(surface(brain, volumes.voxelsOf(distance), lattice))
        self.scene.RemoveNode(distance)
        model.CreateDefaultDisplayNodes()
        shown = model.GetDisplayNode()
        shown.SetVisibility2D(False)
        shown.SetActiveScalarName(DISTANCE)
        shown.SetScalarVisibility(True)
        shown.SetScalarRangeFlag(shown.UseManualScalarRange)
        shown.SetScalarRange(0, FARTHEST)
        shown.SetAndObserveColorNodeID(self._distanceColors().GetID())
        return model

    def _distanceColors(self) -> Any:
        node = self.scene.GetFirstNodeByName(DISTANCE)
        if node is None:
            node = self.scene.AddNewNodeByClass("vtkMRMLColorTableNode", DISTANCE)
            node.SetTypeToUser()
            node.SetNumberOfColors(256)
            for index, color in enumerate(ramp(256)):
                node.SetColor(index, str(index), *color, 1.0)
        return node

    def clear(self) -> None:
        """Nothing over the fixed volume."""
        for node in (*self.labels.values(), *self.surfaces.values()):
            node.GetDisplayNode().SetVisibility(False)
        display.setTransformDisplay(self.transform, "none")
        display.showJacobian(self.scene, self.jacobian, visible=False)

    def pair(self, role: str) -> dict[str, np.ndarray]:
        """Fixed and moving (``before``) or warped (``after``) faded, both labels; in 3-D both brains' structures."""
        self.clear()
        self.compare(role, 0.5)
        self._outline("fixed", fill=0.0)
        self._outline(role, fill=0.45)
        for node in self.labels.values():
            node.GetDisplayNode().SetVisibility3D(False)
        self.surfaces[role].GetDisplayNode().SetVisibility(True)
        return self._take()

    def deformation(self) -> dict[str, np.ndarray]:
        """What the slices show at present, with the warped structures; in 3-D these within the brain."""
        for node in (*self.labels.values(), *self.surfaces.values()):
            node.GetDisplayNode().SetVisibility(False)
        self._outline("after", fill=0.0)
        self.surfaces["after"].GetDisplayNode().SetVisibility(True)
        self.surfaces["after"].GetDisplayNode().SetScalarVisibility(False)
        self.surfaces["after"].GetDisplayNode().SetColor(*_FAR[0])
        self.surfaces["after"].GetDisplayNode().SetOpacity(0.25)
        return self._take()

    def corners(self) -> dict[str, list[str]]:
        """What each slice view shows, in the words of Slicer's corner annotation."""
        found = {}
        for name, view in self.slices.views.items():
            composite = view["logic"].GetSliceCompositeNode()
            front, back = (self.scene.GetNodeByID(identifier or "") for identifier in (
                composite.GetForegroundVolumeID(), composite.GetBackgroundVolumeID()))
            share = f" ({100 * composite.GetForegroundOpacity():.0f}%)"
            found[name] = [f"F: {front.GetName()}{share}"] if front is not None else []
            found[name] += [f"B: {back.GetName()}"] if back is not None else []
        return found

    def compare(self, role: str, share: float) -> None:
        display.setCompareMode(self.scene, "fade", self.volumes["fixed"], self.volumes["after"],
                               self.volumes["before"], opacity=share, before=role == "before")

    def _outline(self, role: str, *, fill: float) -> None:
        shown = self.labels[role].GetDisplayNode()
        shown.SetVisibility(True)
        shown.SetVisibility3D(True)
        shown.SetOpacity3D(1.0)
        shown.SetVisibility2DOutline(not fill)
        shown.SetVisibility2DFill(bool(fill))
        shown.SetOpacity2DFill(fill)

    def _take(self) -> dict[str, np.ndarray]:
        center = ownLattice(self.volumes["fixed"]).corners.mean(axis=0)
        self.space.look(center, (-1.0, 0.9, 0.45), reach=100)
        return {name: self.space.picture() if name == "3D" else self.slices.picture(name) for name in ORDER}
