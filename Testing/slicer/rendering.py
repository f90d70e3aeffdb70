"""Slicer's own views without a window: the real slice logic and displayable managers, rendered off screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

_SLICE_MANAGERS = ("vtkMRMLModelSliceDisplayableManager", "vtkMRMLTransformsDisplayableManager2D",
                   "vtkMRMLSegmentationsDisplayableManager2D")
_3D_MANAGERS = ("vtkMRMLModelDisplayableManager", "vtkMRMLTransformsDisplayableManager3D",
                "vtkMRMLSegmentationsDisplayableManager3D")


class SliceViews:
    """The three slice views of a scene. Keep it as long as the scene is shown."""

    def __init__(self, scene: Any, size: int | tuple[int, int] = 480) -> None:
        self.scene, self.size = scene, (size, size) if isinstance(size, int) else size
        self.application = slicer.vtkMRMLApplicationLogic()
        self.colors = slicer.vtkMRMLColorLogic()
        self.colors.SetMRMLScene(scene)
        self.application.SetMRMLScene(scene)
        self.application.SetColorLogic(self.colors)
        self.collections = vtk.vtkCollection(), vtk.vtkCollection()
        self.application.SetSliceLogics(self.collections[0])
        self.application.SetViewLogics(self.collections[1])
        self.factory = _factory(slicer.vtkMRMLSliceViewDisplayableManagerFactory, self.application, _SLICE_MANAGERS)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        self.views: dict[str, dict[str, Any]] = {}
        for name, orientation in (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal")):
            self.views[name] = self._view(name, orientation)

    def _view(self, name: str, orientation: str) -> dict[str, Any]:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLScene(self.scene)
        node = logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        node.SetDimensions(*self.size, 1)
        self.collections[0].AddItem(logic)
        window, renderer, interactor = _window(self.size)
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(actor)  # before the displayable managers, else it covers what they draw
        managers = self.factory.InstantiateDisplayableManagers(renderer)
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
        return _grab(view["window"])


class ThreeDView:
    """The 3-D view of a scene, in Slicer's colors, beside the slice views that own the application logic."""

    def __init__(self, slices: SliceViews) -> None:
        self.node = slices.scene.AddNewNodeByClass("vtkMRMLViewNode", "View1")
        self._window, self._renderer, self._interactor = _window(slices.size)
        self._renderer.GradientBackgroundOn()
        self._renderer.SetBackground(*self.node.GetBackgroundColor2())  # VTK begins at the bottom, Slicer at the top
        self._renderer.SetBackground2(*self.node.GetBackgroundColor())
        self._renderer.SetUseDepthPeeling(True)  # surfaces that one sees through are drawn in order
        self._renderer.SetMaximumNumberOfPeels(8)
        self._window.SetAlphaBitPlanes(True)
        self._window.SetMultiSamples(0)
        factory = _factory(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, slices.application, _3D_MANAGERS)
        self._managers = factory.InstantiateDisplayableManagers(self._renderer)
        self._managers.SetMRMLDisplayableNode(self.node)

    def look(self, center: Any, direction: Any, *, reach: float) -> None:
        """Look at ``center`` from ``direction`` (RAS), so that ``reach`` mm to each side are seen."""
        camera = self._renderer.GetActiveCamera()
        camera.SetFocalPoint(*center)
        unit = np.array(direction, float) / np.linalg.norm(direction)
        camera.SetPosition(*(np.array(center, float) + unit * reach / np.tan(np.radians(camera.GetViewAngle() / 2))))
        camera.SetViewUp(0, 0, 1)
        self._renderer.ResetCameraClippingRange()

    def picture(self) -> np.ndarray:
        """The rendered view. Shape: (height, width, 3) uint8."""
        return _grab(self._window)


def _factory(kind: Any, application: Any, managers: tuple[str, ...]) -> Any:
    factory = kind.GetInstance()
    factory.SetMRMLApplicationLogic(application)
    for name in managers:
        if hasattr(slicer, name) and not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    return factory


def _window(size: tuple[int, int]) -> tuple[Any, Any, Any]:
    """Window, renderer and interactor; without an interactor the managers crash."""
    window, renderer, interactor = vtk.vtkRenderWindow(), vtk.vtkRenderer(), vtk.vtkRenderWindowInteractor()
    window.SetOffScreenRendering(1)
    window.SetSize(*size)
    window.AddRenderer(renderer)
    interactor.SetRenderWindow(window)
    return window, renderer, interactor


def _grab(window: Any) -> np.ndarray:
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()


def savePicture(picture: np.ndarray, path: Path) -> None:
    """Write a picture (height, width, 3) as PNG."""
    image = vtk.vtkImageData()
    image.SetDimensions(picture.shape[1], picture.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(picture[::-1]).reshape(-1, 3), deep=1))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
