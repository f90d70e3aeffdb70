"""How good it is, from the nodes of the scene: overlap, surface distance, volume, folds, landmark errors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import slicer

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.folds import folded
from AutoRegLib.imaging.points import partners
from AutoRegSlicerLib.scene import landmarks, segmentations, tables, transforms, volumes
from AutoRegSlicerLib.scene.grids import Lattice, imageLattice, imageVoxels, orientedImage
from AutoRegSlicerLib.scene.nodes import FIXED, MOVING
from AutoRegSlicerLib.scene.values import Node
from AutoRegSlicerLib.scene.volumes import worldLattice
from AutoRegSlicerLib.steps import Steps, finish, slabs

_NAN = float("nan")


def computeMetrics(
    scene: Any, transformNode: Node, *, fixedSegmentation: Node = None, movingSegmentation: Node = None,
    fixedLandmarks: Node = None, movingLandmarks: Node = None, jacobian: Node = None, referenceVolume: Node = None,
    metricsTable: Node = None, landmarksTable: Node = None,
) -> tuple[Node, Node]:
    """Tables before and after: per structure Dice, HD95 mm, volume change %, folds %; per landmark error mm.

    Structures are those whose name both segmentations have, compared on ``referenceVolume``'s grid (default: the
    transform's fixed volume, else the fixed segmentation's own). Volume change: the warped structure against the
    moving one. Folds: share of the fixed structure's voxels. Returns (metrics table or None, landmarks table or
    None): a table is made only where both inputs are there. Raises InputError when there is nothing to compare.
    """
    return finish(computeMetricsSteps(
        scene, transformNode, fixedSegmentation=fixedSegmentation, movingSegmentation=movingSegmentation,
        fixedLandmarks=fixedLandmarks, movingLandmarks=movingLandmarks, jacobian=jacobian,
        referenceVolume=referenceVolume, metricsTable=metricsTable, landmarksTable=landmarksTable))


def computeMetricsSteps(
    scene: Any, transformNode: Node, *, fixedSegmentation: Node = None, movingSegmentation: Node = None,
    fixedLandmarks: Node = None, movingLandmarks: Node = None, jacobian: Node = None, referenceVolume: Node = None,
    metricsTable: Node = None, landmarksTable: Node = None,
) -> Steps:
    """:func:`computeMetrics` in small steps: yields what is worked on, returns the tables."""
    metrics = points = None
    title = transformNode.GetName()
    if fixedSegmentation is not None and movingSegmentation is not None:
        rows = yield from structureRows(transformNode, fixedSegmentation, movingSegmentation, jacobian=jacobian,
                                        reference=referenceVolume or transformNode.GetNodeReference(FIXED))
        metrics = tables.make(scene, f"{title} metrics", metricsTable)
        tables.fill(metrics, tables.STRUCTURE, tables.withMean(rows))
    if fixedLandmarks is not None and movingLandmarks is not None:
        rows = landmarkRows(transformNode, fixedLandmarks, movingLandmarks)
        points = tables.make(scene, f"{title} landmarks", landmarksTable)
        tables.fill(points, tables.LANDMARK, tables.withMean(rows))
    for node in (metrics, points):
        if node is not None:
            _inherit(node, transformNode)
    return metrics, points


def structureRows(
    transformNode: Node, fixed: Node, moving: Node, *, jacobian: Node = None, reference: Node = None,
) -> Steps:
    """A row per structure that both have, in the columns of ``tables.STRUCTURE``.

    Yields after each small step, returns the rows. Raises InputError.
    """
    fixedStructures = segmentations.structuresOf(fixed, None, None if reference is None else worldLattice(reference))
    movingStructures = segmentations.structuresOf(moving)
    value = segmentations.commonValues((fixed, fixedStructures), (moving, movingStructures))
    names = {value(s): s.name for s in fixedStructures}
    common = [v for v in dict.fromkeys(value(s) for s in movingStructures) if v in names]
    if not common:
        raise InputError("the two segmentations have no structure in common", expected="segments of the same name",
                         got=f"{', '.join(s.name for s in fixedStructures) or 'none'} against "
                         f"{', '.join(s.name for s in movingStructures) or 'none'}", remedy="rename the segments")
    lattice = _grid(fixed, fixedStructures, reference)
    place = transforms.toWorld(moving)
    warp = transforms.chain(place, transforms.warpToWorld(transformNode))
    stages = []
    for structures, transform in ((fixedStructures, transforms.toWorld(fixed)), (movingStructures, place),
                                  (movingStructures, warp)):
        stages.append((yield from segmentations.voxelsOnSteps(lattice, structures, value, transform)))
    boxes = yield from _boxes(*stages)
    folded = yield from _folds(jacobian, lattice)
    sizes = yield from _volumes(moving, movingStructures, value)
    voxel = float(np.prod(lattice.spacing))
    rows = []
    for number in common:
        box = boxes.get(number, (slice(0, 1),) * 3)
        target, before, after = (voxels[box] == number for voxels in stages)
        volume = float(after.sum()) * voxel
        rows.append([
            names[number], dice(target, before), dice(target, after),
            (yield from _hd95(target, before, lattice.spacing)), (yield from _hd95(target, after, lattice.spacing)),
            100 * (volume / sizes[number] - 1) if sizes.get(number) else _NAN,
            100 * float(folded[box][target].mean()) if folded is not None and target.any() else _NAN,
        ])
        yield names[number]
    return rows


def landmarkRows(transformNode: Node, fixed: Node, moving: Node) -> list[list[Any]]:
    """Name, error before, error after (mm) of every pair: fixed points mapped into the moving volume."""
    (names, target), (others, source) = landmarks.worldPoints(fixed), landmarks.worldPoints(moving)
    if not names:
        raise InputError("the landmark lists are empty", expected="placed points", remedy="place points in both lists")
    source = source[partners(names, others)]
    mapped = transforms.transformPoints(transforms.warpToWorld(transformNode, inverse=True), target)
    before, after = (np.linalg.norm(points - source, axis=1) for points in (target, mapped))
    return [[name, float(b), float(a)] for name, b, a in zip(names, before, after, strict=True)]


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Overlap of two masks; NaN where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else _NAN


def hd95(first: np.ndarray, second: np.ndarray, spacing: Any) -> float:
    """95th percentile of the surface distances, the larger direction; NaN where one is empty. Unit: mm."""
    return float(finish(_hd95(first, second, spacing)))


def _hd95(first: np.ndarray, second: np.ndarray, spacing: Any) -> Steps:
    """:func:`hd95`, yielding after each of its longer parts."""
    if not first.any() or not second.any():
        return _NAN
    from AutoRegLib.imaging.geometry import Geometry  # loads SimpleITK, which comes with Slicer; only needed here
    from AutoRegLib.imaging.surface_distance import surface_distance_steps

    size, axes = first.shape[::-1], tuple(np.eye(3).ravel())
    distances = yield from surface_distance_steps(first, second, Geometry(size, tuple(spacing), (0.0,) * 3, axes))
    return float(max(np.percentile(found, 95) for found in distances))


def _boxes(*stages: np.ndarray) -> Steps:
    """The smallest box that holds a label in all of the volumes, by label; slab by slab, each voxel looked at once."""
    found: dict[int, np.ndarray] = {}
    for voxels, slab in ((voxels, slab) for voxels in stages for slab in slabs(stages[0].shape[::-1])):
        part = voxels[slab]
        where = np.flatnonzero(part)
        if not len(where):
            continue
        values = part.ravel()[where]
        order = np.argsort(values, kind="stable")
        labels, starts = np.unique(values[order], return_index=True)
        places = np.stack(np.unravel_index(where[order], part.shape))
        places[0] += slab.start
        lowest, highest = (f.reduceat(places, starts, axis=1) for f in (np.minimum, np.maximum))
        for index, label in enumerate(labels.tolist()):
            box = np.stack([lowest[:, index], -highest[:, index]])
            found[label] = np.minimum(found[label], box) if label in found else box
        yield "boxes"
    return {label: tuple(slice(int(low), int(1 - high)) for low, high in box.T) for label, box in found.items()}


def _grid(fixed: Node, structures: list[Any], reference: Node) -> Lattice:
    if reference is not None and reference.GetImageData() is not None:
        return worldLattice(reference)
    if not transforms.isLinearlyPlaced(fixed) or not structures:
        raise InputError("no grid to compare on", expected="a reference volume", remedy="choose the fixed volume")
    lattice = imageLattice(structures[0].image).moved(transforms.worldMatrix(fixed))
    return lattice.padded(0.5)  # segments end at their box; the other structure may reach further


def _folds(jacobian: Node, lattice: Lattice) -> Steps:
    """Where the determinant is 0 or less, on the lattice; None without a map."""
    if jacobian is None or jacobian.GetImageData() is None:
        return None
    world = volumes.inWorld(jacobian, slicer.vtkMRMLScene())
    image = orientedImage(volumes.ownLattice(world), folded(volumes.voxelsOf(world)).view(np.uint8))
    yield "folds"
    resampled = np.zeros(lattice.size[::-1], bool)
    for slab in slabs(lattice.size):
        resampled[slab] = imageVoxels(segmentations.moved(image, lattice, None, slab)) > 0
        yield "folds"
    return resampled


def _volumes(node: Node, structures: list[Any], value: Any) -> Steps:
    """Volume of every structure as it was drawn, with its linear transforms, by label. Unit: mm3."""
    linear = transforms.worldMatrix(node) if transforms.isLinearlyPlaced(node) else np.eye(4)
    scale = abs(float(np.linalg.det(linear[:3, :3])))
    counts: dict[Any, Counter[int]] = {}
    for image in dict.fromkeys(s.image for s in structures):
        counts[image], voxels = Counter(), imageVoxels(image)
        for slab in slabs(image.GetDimensions()):
            labels, sizes = np.unique(voxels[slab], return_counts=True)
            counts[image].update(dict(zip(labels.tolist(), sizes.tolist(), strict=True)))
            yield "volumes"
    return {value(s): counts[s.image][s.value] * scale * float(np.prod(imageLattice(s.image).spacing))
            for s in structures}


def _inherit(node: Node, transformNode: Node) -> None:
    """What the transform tells about its origin holds for figures about it too."""
    for name in transformNode.GetAttributeNames():
        if name.startswith("AutoReg."):
            node.SetAttribute(name, transformNode.GetAttribute(name))
    for role in (FIXED, MOVING):
        node.SetNodeReferenceID(role, transformNode.GetNodeReferenceID(role))
