"""Small made-up scenes: blobs defined in physical space, so that any lattice shows the same object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from AutoRegSlicerLib.scene import segmentations, volumes
from AutoRegSlicerLib.scene.grids import Lattice, orientedImage, vtkMatrix
from AutoRegSlicerLib.scene.transforms import makeGrid

CENTER = np.array([11.0, 23.0, -31.0])  # mm RAS; nothing lies at the origin
NAMES = ("left blob", "right blob")
_COLORS = ((0.9, 0.3, 0.2), (0.2, 0.5, 0.9))
_ADDED: list[Any] = []  # logics that must live as long as their scenes


def newScene() -> Any:
    """A scene with Slicer's color nodes, so that display nodes find theirs."""
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkMRMLApplicationLogic()
    colorLogic = slicer.vtkMRMLColorLogic()
    colorLogic.SetMRMLScene(scene)
    application.SetMRMLScene(scene)
    application.SetColorLogic(colorLogic)
    colorLogic.AddDefaultColorNodes()
    segmentationsLogic = slicer.vtkSlicerSegmentationsModuleLogic()  # registers the conversions to and from surfaces
    segmentationsLogic.SetMRMLScene(scene)
    _ADDED.append((colorLogic, application, segmentationsLogic))
    return scene


def giveCache(scene: Any, folder: Path) -> None:
    """Reading .mrb wants a cache. It looks through the whole folder, so give it an empty one of its own."""
    folder.mkdir()
    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(str(folder))
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(manager)
    _ADDED.append((cache, manager))


def rotation(*degrees: float) -> np.ndarray:
    """Turns about x, y, z in that order. Shape: (3, 3)."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        turn[[i, i, j, j], [i, j, i, j]] = [np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)]
        matrix = turn @ matrix
    return matrix


def lattice(size: tuple[int, int, int], spacing: tuple[float, ...], directions: np.ndarray | None = None,
            center: Any = CENTER) -> Lattice:
    """A lattice about a physical center (mm RAS)."""
    matrix = np.eye(4)
    matrix[:3, :3] = (np.eye(3) if directions is None else directions) * np.array(spacing)
    matrix[:3, 3] = np.array(center) - matrix[:3, :3] @ ((np.array(size) - 1) / 2)
    return Lattice(size, matrix)


#: moving lattices stand a little aside: exactly between two voxels both are the nearest, and tools differ
ASIDE = CENTER + (0.137, -0.219, 0.083)
FLIP = np.diag([-1.0, 1.0, 1.0])
PERMUTED = np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]])
#: (fixed, moving): what real scanners and viewers make of one anatomy
LATTICES = {
    "axis-aligned": (lattice((32, 32, 32), (1.5,) * 3), lattice((32, 32, 32), (1.5,) * 3, center=ASIDE)),
    "oblique": (lattice((32, 30, 28), (1.5, 1.6, 1.7), rotation(9, -14, 21)),
                lattice((30, 32, 29), (1.6, 1.5, 1.6), rotation(-6, 11, 5))),
    "anisotropic": (lattice((36, 34, 12), (1.3, 1.4, 4.2)), lattice((14, 38, 33), (3.4, 1.2, 1.5), center=ASIDE)),
    "left-handed": (lattice((32, 30, 28), (1.5, 1.6, 1.7), rotation(4, 3, -8) @ FLIP),
                    lattice((30, 31, 33), (1.6, 1.5, 1.4), rotation(-6, 11, 5) @ FLIP)),
    "permuted": (lattice((32, 31, 30), (1.5, 1.5, 1.6), PERMUTED),
                 lattice((31, 30, 32), (1.5, 1.6, 1.5), -PERMUTED, center=ASIDE)),
    "another size": (lattice((24, 24, 24), (2.0,) * 3), lattice((48, 40, 30), (1.0, 1.3, 1.7), center=ASIDE + 2)),
}


def positions(on: Lattice) -> np.ndarray:
    """Position of every voxel. Shape: (z, y, x, 3). Unit: mm RAS."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in on.size[::-1]], indexing="ij")[::-1], axis=-1)
    return index @ on.ijkToRAS[:3, :3].T + on.ijkToRAS[:3, 3]


def blobs(points: np.ndarray, shift: tuple[float, ...] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """A head-like image as a function of position (mm RAS). Values 0 to about 1000."""
    middle = CENTER + np.array(shift)
    value = 400 * np.exp(-np.sum(((points - middle) / (17, 19, 15)) ** 2, axis=-1) ** 2)
    random = np.random.default_rng(5)
    for _ in range(10):
        where, width = middle + random.normal(0, 8, 3), random.uniform(3, 6)
        value = value + 300 * np.exp(-np.sum(((points - where) / width) ** 2, axis=-1))
    return np.asarray(value)


def labels(points: np.ndarray, shift: tuple[float, ...] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Two ragged ellipsoids, 1 and 2, as a function of position (mm RAS)."""
    middle = CENTER + np.array(shift)
    result = np.zeros(points.shape[:-1], np.uint8)
    wave = 1 + 0.15 * np.sin(points.sum(axis=-1))
    for value, side in ((1, -8.0), (2, 8.0)):
        offset = (points - middle - (side, 0, 0)) / (6, 10, 9)
        result[np.sum(offset**2, axis=-1) < wave] = value
    return result


def addVolume(scene: Any, name: str, on: Lattice, voxels: np.ndarray, *, labelMap: bool = False) -> Any:
    """A volume node with a display."""
    node = volumes.nodeOn(scene, on, voxels, "vtkMRMLLabelMapVolumeNode" if labelMap else "vtkMRMLScalarVolumeNode")
    node.SetName(name)
    node.CreateDefaultDisplayNodes()
    return node


def addSegmentation(scene: Any, name: str, on: Lattice, voxels: np.ndarray, names: tuple[str, ...] = NAMES) -> Any:
    """A segmentation node whose segments share one label map, like one that was imported."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    image = orientedImage(on, voxels)
    segments = [(segmentations.Structure(f"Segment_{value}", title, _COLORS[(value - 1) % 2], value, image), image)
                for value, title in enumerate(names, start=1)]
    segmentations.fillSegmentation(node, segments, None)
    return node


def addPoints(scene: Any, name: str, points: np.ndarray, className: str = "vtkMRMLMarkupsFiducialNode") -> Any:
    """A markups node (mm RAS)."""
    node = scene.AddNewNodeByClass(className, name)
    for number, point in enumerate(points, start=1):
        node.AddControlPoint(vtk.vtkVector3d(*point), f"L{number}")
    return node


def addLinear(scene: Any, name: str = "moved", *, scale: float = 1.0) -> Any:
    """A turn and a shift about the center of the blobs."""
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(5, -7, 12) * scale
    matrix[:3, 3] = CENTER - matrix[:3, :3] @ CENTER + (2.5, -1.5, 3.0)
    node.SetMatrixTransformToParent(vtkMatrix(matrix))
    return node


def addWarp(scene: Any, name: str = "bent", *, size: float = 3.0, on: Lattice | None = None) -> Any:
    """A smooth grid transform (from parent) that moves points by up to ``size`` mm, on a wide lattice."""
    on = on or lattice((20, 20, 20), (5.0,) * 3, rotation(3, 2, -4))
    points = positions(on)
    waves = [np.sin(points @ np.array(direction) / 12.0 + phase) for direction, phase in (
        ((1, 0.5, 0.2), 0.1), ((0.3, -0.8, 0.6), 1.3), ((-0.4, 0.6, 0.9), 2.2))]
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    node.SetAndObserveTransformFromParent(makeGrid(size * np.stack(waves, axis=-1), on))
    return node


def addPair(scene: Any, kind: str = "oblique", shift: tuple[float, ...] = (2.0, -1.5, 1.0)) -> dict[str, Any]:
    """Fixed and moving volume, segmentations and landmarks of one kind of ``LATTICES``."""
    fixedLattice, movingLattice = LATTICES[kind]
    points = CENTER + np.random.default_rng(1).uniform(-9, 9, (6, 3))
    return {
        "fixedVolume": addVolume(scene, "fixed", fixedLattice, blobs(positions(fixedLattice)).astype(np.int16)),
        "movingVolume": addVolume(scene, "moving", movingLattice,
                                  blobs(positions(movingLattice), shift).astype(np.float32)),
        "fixedSegmentation": addSegmentation(scene, "fixed labels", fixedLattice, labels(positions(fixedLattice))),
        "movingSegmentation": addSegmentation(scene, "moving labels", movingLattice,
                                              labels(positions(movingLattice), shift)),
        "fixedLandmarks": addPoints(scene, "fixed points", points),
        "movingLandmarks": addPoints(scene, "moving points", points + shift),
    }


def addScans(scene: Any, data: Path) -> dict[str, Any]:
    """Two real T1 scans at 4 mm, the moving one on an oblique lattice, with both thalami and some landmarks."""
    made: dict[str, Any] = {}
    for role, case in (("fixed", "fsaverage"), ("moving", "oas1_0001")):
        whole = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", role)
        volumes.read(whole, data / "brain_t1" / "images" / f"{case}.nii.gz")
        drawn = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        volumes.read(drawn, data / "brain_t1" / "labels" / f"{case}.nii.gz")
        own = volumes.ownLattice(whole)
        center = own.corners.mean(axis=0)
        on = lattice((40, 48, 44), (4.0, 4.0, 4.2), rotation(12, -8, 17) if role == "moving" else None, center)
        image, labelMap = volumes.resampled(whole, on), volumes.resampled(drawn, on)
        codes = volumes.voxelsOf(labelMap)
        made[f"{role}Volume"] = addVolume(scene, role, on, volumes.voxelsOf(image))
        thalami = (codes == 10) + 2 * (codes == 49)
        made[f"{role}Segmentation"] = addSegmentation(scene, f"{role} labels", on, thalami.astype(np.uint8))
        points = center + np.random.default_rng(1).uniform(-30, 30, (6, 3))
        made[f"{role}Landmarks"] = addPoints(scene, f"{role} points", points)
        for node in (whole, drawn, image, labelMap):
            scene.RemoveNode(node)
    return made


def tinyBundle(folder: Path, *, strength: float = 3e3, affine: str = "none", dims: int = 3) -> Path:
    """A model of a few thousand random weights that moves points by some millimeters, smoothly."""
    from AutoRegLib.bundle import save_bundle
    from AutoRegLib.core.recipe import Network, Preprocessing, Recipe
    from AutoRegLib.networks.registry import build_network

    recipe = Recipe(spatial_dims=dims, structures={1: NAMES[0], 2: NAMES[1]},
                    network=Network(features=(4, 4), decoder=(4, 4, 4)),
                    preprocessing=Preprocessing(spacing=(2.0,) * dims, affine=affine))  # type: ignore[arg-type]
    state = build_network(recipe, seed=3).state_dict()
    state = {name: value * strength if "head" in name else value for name, value in state.items()}
    return save_bundle(folder, recipe=recipe, state=state, metrics={"validation": {"dice": 0.5}}, history=[],
                       provenance={"scenario": "none"})


def caseRows(scene: Any, count: int = 6) -> list[Any]:
    """Case rows of volume and segmentation nodes, one subject each."""
    from AutoRegSlicerLib.scene.values import CaseRow

    rows = []
    for number in range(count):
        on = lattice((16, 16, 16), (3.0,) * 3)
        shift = tuple(np.random.default_rng(number).normal(0, 1.5, 3))
        volume = addVolume(scene, f"case {number}", on, blobs(positions(on), shift).astype(np.float32))
        segmentation = addSegmentation(scene, f"case {number} labels", on, labels(positions(on), shift))
        rows.append(CaseRow(f"person {number}", volume, segmentation))
    return rows
