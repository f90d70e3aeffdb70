"""Slicer's own slice views without a window: the real slice logic and displayable managers, rendered off screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

_MANAGERS = ("vtkMRMLModelSliceDisplayableManager", "vtkMRMLTransformsDisplayableManager2D",
             "vtkMRMLSegmentationsDisplayableManager2D")


class SliceViews:
    """The three slice views of a scene. Keep it as long as the scene is shown."""

    def __init__(self, scene: Any, size: int = 480) -> None:
        self.scene, self.size = scene, size
        self.application = slicer.vtkMRMLApplicationLogic()
        self.colors = slicer.vtkMRMLColorLogic()
        self.colors.SetMRMLScene(scene)
        self.application.SetMRMLScene(scene)
        self.application.SetColorLogic(self.colors)
        self.collections = vtk.vtkCollection(), vtk.vtkCollection()
        self.application.SetSliceLogics(self.collections[0])
        self.application.SetViewLogics(self.collections[1])
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(self.application)
        for name in _MANAGERS:
            if hasattr(slicer, name) and not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        self.views: dict[str, dict[str, Any]] = {}
        for name, orientation in (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal")):
            self.views[name] = self._view(name, orientation)

    def _view(self, name: str, orientation: str) -> dict[str, Any]:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLScene(self.scene)
        node = logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        node.SetDimensions(self.size, self.size, 1)
        self.collections[0].AddItem(logic)
        window = vtk.vtkRenderWindow()
        window.SetOffScreenRendering(1)
        window.SetSize(self.size, self.size)
        renderer = vtk.vtkRenderer()
        window.AddRenderer(renderer)
        interactor = vtk.vtkRenderWindowInteractor()  # the managers crash without one
        interactor.SetRenderWindow(window)
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(actor)  # before the displayable managers, else it covers what they draw
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        managers = factory.InstantiateDisplayableManagers(renderer)
        managers.SetMRMLDisplayableNode(node)
        return {"logic": logic, "node": node, "window": window, "managers": managers, "mapper": mapper, "actor": actor,
                "keep": (renderer, interactor)}

    @property
    def nodes(self) -> list[Any]:
        """The slice nodes: axial, sagittal, coronal."""
        return [view["node"] for view in self.views.values()]

    def picture(self, name: str = "Red") -> np.ndarray:
        """One rendered view. Shape: (height, width, 3) uint8."""
        view = self.views[name]
        view["logic"].UpdateImageData()
        connection = view["logic"].GetImageDataConnection()  # another one whenever a layer comes or goes
        view["mapper"].SetInputConnection(connection)
        view["actor"].SetVisibility(connection is not None)
        view["window"].Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(view["window"])
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()

    def row(self) -> np.ndarray:
        """All views side by side."""
        return np.concatenate([self.picture(name) for name in self.views], axis=1)


def savePicture(picture: np.ndarray, path: Path) -> None:
    """Write a picture (height, width, 3) as PNG."""
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(picture.shape[1], picture.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(picture[::-1]).reshape(-1, 3), deep=1))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
