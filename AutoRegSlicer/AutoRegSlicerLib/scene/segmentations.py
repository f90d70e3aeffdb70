"""Segmentations and label maps: chosen segments as voxels on any lattice, sampled once, and back with their names.

Slicer's own hardening and live export of a segmentation under a warp crop it or sample it twice. Here a segment's
own voxels are looked up once, nearest neighbor, from the final lattice through all transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from AutoRegLib.core.errors import InputError
from AutoRegSlicerLib.scene import volumes
from AutoRegSlicerLib.scene.grids import Lattice, imageVoxels, orientedImage, ownLattice, vtkMatrix
from AutoRegSlicerLib.scene.transforms import isLinearlyPlaced, worldMatrix
from AutoRegSlicerLib.scene.values import Node
from AutoRegSlicerLib.steps import Steps, finish, slabs

_LABELMAP = "Binary labelmap"
_REFERENCE = "Reference image geometry"
_MOST_KEPT = 512  # label images whose values are remembered
_values: dict[tuple[str, int], tuple[int, ...] | None] = {}  # by image and its state; None: not whole numbers


@dataclass(frozen=True, eq=False)
class Structure:
    """One segment: its look, and where its voxels are (value ``value`` of ``image``, the node's own coordinates)."""

    id: str
    name: str
    color: tuple[float, float, float]
    value: int
    image: Any
    tags: dict[str, str] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """Everything but the voxels, as JSON values."""
        return {"id": self.id, "name": self.name, "color": list(self.color), "tags": self.tags}


def isSegmentation(node: Node) -> bool:
    """Segmentation nodes have segments, label map nodes have values."""
    return node.IsA("vtkMRMLSegmentationNode")


def structuresOf(node: Node, ids: Sequence[str] | None = None, geometry: Lattice | None = None) -> list[Structure]:
    """The chosen segments (None: all) of a segmentation or label map node.

    ``geometry``: the world lattice on which segments that are surfaces only become voxels.
    Raises InputError for an unknown segment, or a segmentation without voxels.
    """
    return _ofSegmentation(node, ids, geometry) if isSegmentation(node) else _ofLabelmap(node, ids)


def isSearched(node: Node) -> bool:
    """Whether the names of the node's segments are known without looking at its voxels."""
    return isSegmentation(node) or node.GetImageData() is None or _state(node) in _values


def labelValues(node: Node) -> tuple[int, ...]:
    """The values of a label map but 0, ascending; the voxels are searched once for each state they are in.

    Raises InputError for a label map without voxels, or with values that are not whole numbers.
    """
    if node.GetImageData() is None:
        raise InputError(f"the label map '{node.GetName()}' has no voxels", remedy="choose another label map")
    state = _state(node)
    if state not in _values:
        while len(_values) >= _MOST_KEPT:
            del _values[next(iter(_values))]
        _values[state] = _search(volumes.voxelsOf(node))
    found = _values[state]
    if found is None:
        raise InputError(f"'{node.GetName()}' is no label map", expected="whole numbers", remedy="choose a label map")
    return found


def _state(node: Node) -> tuple[str, int]:
    """An image in one state: VTK counts every change of any object by one clock."""
    image = node.GetImageData()
    return image.GetAddressAsString(""), image.GetMTime()


def _search(voxels: np.ndarray) -> tuple[int, ...] | None:
    """The values but 0; only where a voxel differs from the one before it can a value be new."""
    flat = voxels.reshape(-1)
    found = np.unique(np.append(flat[1:][flat[1:] != flat[:-1]], flat[:1]))
    if found.dtype.kind == "f" and not np.array_equal(found, np.rint(found)):
        return None
    return tuple(found[found != 0].astype(int).tolist())


def segmentNames(node: Node, ids: Sequence[str] | None = None) -> list[str]:
    """Names of the chosen segments (cheap: voxels of segmentations are not read, those of label maps once)."""
    if not isSegmentation(node):
        return [structure.name for structure in _ofLabelmap(node, ids)]
    segmentation = node.GetSegmentation()
    return [segmentation.GetSegment(i).GetName() for i in _chosen(node, ids)]


def _chosen(node: Node, ids: Sequence[str] | None) -> tuple[str, ...]:
    known = node.GetSegmentation().GetSegmentIDs()
    for name in ids or ():
        if name not in known:
            raise InputError(f"'{node.GetName()}' has no segment '{name}'", expected=", ".join(known) or "segments",
                             got=name, remedy="choose the segments again")
    return tuple(known if ids is None else ids)


def _ofSegmentation(node: Node, ids: Sequence[str] | None, geometry: Lattice | None) -> list[Structure]:
    hasVoxels = node.GetSegmentation().ContainsRepresentation(_LABELMAP)
    result = []
    for name in _chosen(node, ids):
        segment = node.GetSegmentation().GetSegment(name) if hasVoxels else _voxelized(node, name, geometry)
        image = segment.GetRepresentation(_LABELMAP)
        if image is None or image.IsEmpty():
            continue
        tags = {}
        key = slicer.vtkSegment.GetTerminologyEntryTagName()
        found = vtk.reference("")
        if segment.GetTag(key, found) and str(found):
            tags[key] = str(found)
        result.append(Structure(name, segment.GetName(), tuple(segment.GetColor()), segment.GetLabelValue(), image,
                                tags))
    return result


def _voxelized(node: Node, name: str, geometry: Lattice | None) -> Any:
    """A copy of a segment with voxels; the node keeps its representations as they are.

    One segment at a time: made together on a given geometry, Slicer merges them and the last one erases the others.
    """
    copy = slicer.vtkSegmentation()
    copy.SetSourceRepresentationName(node.GetSegmentation().GetSourceRepresentationName())
    copy.CopySegmentFromSegmentation(node.GetSegmentation(), name)
    if geometry is not None and isLinearlyPlaced(node):
        local = orientedImage(geometry.moved(np.linalg.inv(worldMatrix(node))))
        text = slicer.vtkSegmentationConverter.SerializeImageGeometry(local)
        copy.SetConversionParameter(_REFERENCE, text)
    if not copy.CreateRepresentation(_LABELMAP):
        raise InputError(f"the segmentation '{node.GetName()}' has no voxels and none could be made",
                         expected="segments as binary label maps", remedy="create a binary label map in Segmentations")
    return copy.GetSegment(name)


def _ofLabelmap(node: Node, ids: Sequence[str] | None) -> list[Structure]:
    values = labelValues(node)
    image = slicer.vtkOrientedImageData()
    image.ShallowCopy(node.GetImageData())
    image.SetImageToWorldMatrix(vtkMatrix(ownLattice(node).ijkToRAS))
    colors = node.GetDisplayNode().GetColorNode() if node.GetDisplayNode() is not None else None
    result = []
    for value in values:
        name, color = str(value), (0.5, 0.7, 0.5)
        if colors is not None and 0 <= value < colors.GetNumberOfColors():
            rgba = [0.0] * 4
            colors.GetColor(value, rgba)
            name, color = colors.GetColorName(value) or name, tuple(rgba[:3])
        if ids is None or name in ids or str(value) in ids:
            result.append(Structure(str(value), name, color, value, image))
    return result


def commonValues(*groups: tuple[Node, Sequence[Structure]]) -> Callable[[Structure], int]:
    """One label value per structure name, the same for all nodes: equal names are the same structure.

    Where only label maps are given, their values stay.
    """
    if all(not isSegmentation(node) for node, _ in groups):
        return lambda structure: structure.value
    names = dict.fromkeys(s.name for _, structures in groups for s in structures)
    values = {name: value for value, name in enumerate(names, start=1)}
    return lambda structure: values[structure.name]


def voxelsOn(
    lattice: Lattice, structures: Sequence[Structure], value: Callable[[Structure], int], transform: Any = None,
) -> np.ndarray:
    """The structures on a world lattice, each looked up once, nearest neighbor. Shape: (z, y, x).

    ``value``: the label of a structure. ``transform``: to world, of the node. Where structures overlap the later
    one is seen.
    """
    return np.asarray(finish(voxelsOnSteps(lattice, structures, value, transform)))


def voxelsOnSteps(
    lattice: Lattice, structures: Sequence[Structure], value: Callable[[Structure], int], transform: Any = None,
) -> Steps:
    """:func:`voxelsOn` slab by slab: yields after each, returns the labels."""
    largest = max((value(structure) for structure in structures), default=0)
    result = np.zeros(lattice.size[::-1], np.int16 if largest < 2**15 else np.int32)
    for image, members in _byImage(structures):
        for slab in slabs(lattice.size):
            voxels = imageVoxels(moved(image, lattice, transform, slab))
            lowest = min(int(voxels.min()), 0)
            table = np.zeros(max(int(voxels.max()), 0) - lowest + 1, result.dtype)  # one look-up for all segments
            for structure in members:
                if 0 <= structure.value - lowest < len(table):
                    table[structure.value - lowest] = value(structure)
            table[-lowest] = 0
            found = table[voxels.astype(np.intp) - lowest]
            result[slab][found != 0] = found[found != 0]
            yield members[0].name
    return result


def _byImage(structures: Sequence[Structure]) -> list[tuple[Any, list[Structure]]]:
    """The structures grouped by the image they share, in order."""
    groups: dict[Any, list[Structure]] = {}
    for structure in structures:
        groups.setdefault(structure.image, []).append(structure)
    return list(groups.items())


def moved(image: Any, lattice: Lattice, transform: Any = None, slab: slice | None = None) -> Any:
    """An oriented label image on another lattice, nearest neighbor, through ``transform`` (to world).

    ``slab``: on these planes of it alone.
    """
    result = slicer.vtkOrientedImageData()
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    if not resample(image, orientedImage(lattice, slab=slab), result, False, False, transform):
        raise InputError("labels could not be resampled", remedy="check the segmentation's geometry")
    return result


def writeLabels(lattice: Lattice, voxels: np.ndarray, path: Path) -> None:
    """Write labels on a lattice. Raises DiskError."""
    volumes.write(volumes.nodeOn(slicer.vtkMRMLScene(), lattice, voxels, "vtkMRMLLabelMapVolumeNode"), path)


def fillSegmentation(node: Node, images: Sequence[tuple[Structure, Any]], reference: Node) -> None:
    """Make these the node's only segments; structures that share an image share it in the node too.

    ``reference``: the volume whose geometry the segmentation is to be edited on.
    """
    segmentation = node.GetSegmentation()
    segmentation.RemoveAllSegments()
    segmentation.SetSourceRepresentationName(_LABELMAP)
    for structure, image in images:
        segment = slicer.vtkSegment()
        segment.SetName(structure.name)
        segment.SetColor(*structure.color)
        segment.SetLabelValue(structure.value)
        for key, text in structure.tags.items():
            segment.SetTag(key, text)
        segment.AddRepresentation(_LABELMAP, image)
        segmentation.AddSegment(segment, structure.id)
    if reference is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()


def fillFromLabels(node: Node, labels: Node, described: Mapping[str, Mapping[str, Any]], reference: Node) -> None:
    """Fill a segmentation from a label volume; ``described``: look of the structures by label value (as text)."""
    found = {s.value: s for s in _ofLabelmap(labels, None)}
    segments = []
    for value, structure in found.items():
        look = described.get(str(value), {})
        segments.append((Structure(
            look.get("id", f"Segment_{value}"), look.get("name", str(value)), tuple(look.get("color", structure.color)),
            value, structure.image, dict(look.get("tags", {})),
        ), structure.image))
    fillSegmentation(node, segments, reference)
