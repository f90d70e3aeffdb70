"""Seeing a result: compare modes, the warp, the Jacobian and its folds. Works on slice nodes, no Qt."""

from __future__ import annotations

from typing import Any

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.folds import folded
from AutoRegSlicerLib.scene import colors, compare, transforms, views, volumes
from AutoRegSlicerLib.scene.grids import ownLattice
from AutoRegSlicerLib.scene.nodes import FIXED, nodesOfClass
from AutoRegSlicerLib.scene.values import Node
from AutoRegSlicerLib.scene.volumes import worldCorners
from AutoRegSlicerLib.steps import Steps, finish

COMPARE_MODES = ("fade", "checkerboard", "red-cyan", "difference", "edges", "side-by-side")
TRANSFORM_MODES = ("none", "grid", "glyphs", "contours")

_RED, _CYAN = "vtkMRMLColorTableNodeRed", "vtkMRMLColorTableNodeCyan"
_ALPHA, _ADD = 0, 2  # vtkMRMLSliceCompositeNode: Alpha, ReverseAlpha, Add, Subtract
_GRID_LINES = 20  # over the longest side: enough to see a bend, not so many that the image is covered


def setCompareMode(
    scene: Any, mode: str, fixed: Node, warped: Node, moving: Node = None, *, opacity: float = 0.5,
    before: bool = False, tiles: int = 8, linked: bool | None = None, sliceNodes: list[Node] | None = None,
) -> list[Node]:
    """Show ``fixed`` against ``warped`` (``before``: against ``moving`` as it was) in the slice views.

    ``opacity``: of the warped volume in "fade". "side-by-side" shows the fixed volume in the first, third, ...
    view and the warped one in the others, at the same slice. ``linked``: whether the views move together; None: as
    they are. Volumes keep their own display, views their label layer; what a mode needs is made in hidden nodes,
    which are returned, reused from call to call and not saved. ``views.giveBack`` undoes all of it.
    Raises InputError for an unknown mode or a missing volume.
    """
    return list(finish(compareSteps(scene, mode, fixed, warped, moving, opacity=opacity, before=before, tiles=tiles,
                                    linked=linked, sliceNodes=sliceNodes)))


def compareSteps(
    scene: Any, mode: str, fixed: Node, warped: Node, moving: Node = None, *, opacity: float = 0.5,
    before: bool = False, tiles: int = 8, linked: bool | None = None, sliceNodes: list[Node] | None = None,
) -> Steps:
    """:func:`setCompareMode` step by step: yields while a hidden volume is made, then changes the views at once."""
    if mode not in COMPARE_MODES:
        raise InputError(f"no compare mode '{mode}'", expected=", ".join(COMPARE_MODES), got=mode)
    other = moving if before else warped
    if fixed is None or other is None:
        raise InputError("nothing to compare", expected="a fixed volume and a " + ("moving" if before else "warped")
                         + " volume", remedy="choose both volumes")
    nodes = _sliceNodes(scene, sliceNodes)
    variant = " before" if before else ""  # each keeps its picture, so that switching costs nothing
    made: list[Node] = []
    background, foreground, label, share, compositing = fixed, other, None, opacity, _ALPHA
    if mode == "checkerboard":
        background, foreground = (yield from compare.checkerboardSteps(scene, fixed, other, tiles, variant)), None
        made = [background]
    elif mode == "difference":
        background, foreground = (yield from compare.differenceSteps(scene, fixed, other, variant)), None
        made = [background]
    elif mode == "red-cyan":
        background = compare.colored(scene, "red", fixed, _RED)
        foreground = compare.colored(scene, "cyan", other, _CYAN)
        made, share, compositing = [background, foreground], 1.0, _ADD
    elif mode == "edges":
        label, foreground = compare.edges(scene, other, fixed, variant), None
        made = [label]
    if made:  # the names of what is shown stand in the corner of every view
        made[-1].SetName(f"{'Before' if before else 'After'}: {other.GetName()} ({mode})")
    for index, node in enumerate(nodes):
        composite = views.compositeOf(scene, node)
        if composite is None:
            continue
        if mode == "side-by-side":
            background, foreground = (other if index % 2 else fixed), None
        if mode == "side-by-side" and index % 2:
            views.turn(node, nodes[index - 1])
        else:
            views.turnBack(node)
        modified = composite.StartModify()
        views.restore(composite)
        values = {"BackgroundVolumeID": background.GetID(), "Compositing": compositing,
                  "ForegroundVolumeID": None if foreground is None else foreground.GetID(),
                  "ForegroundOpacity": share if foreground is not None else 0.0}
        if linked is not None:
            values["LinkedControl"] = linked
        if label is not None:
            values |= _labelLayer(composite, label)
        views.change(composite, views.COMPARE, **values)
        composite.EndModify(modified)
    return made


def _labelLayer(composite: Node, label: Node) -> dict[str, Any]:
    """Where a label map of ours goes: into the label layer, or over the others where the user's labels are in it."""
    if composite.GetLabelVolumeID():
        return {"ForegroundVolumeID": label.GetID(), "ForegroundOpacity": 1.0, "Compositing": _ALPHA}
    return {"LabelVolumeID": label.GetID(), "LabelOpacity": 1.0}


def showResult(scene: Any, fixed: Node, warped: Node, sliceNodes: list[Node] | None = None) -> None:
    """Show a result once: the fixed volume and the warped one over it, half transparent, both whole in the views."""
    for node in _sliceNodes(scene, sliceNodes):
        composite = views.compositeOf(scene, node)
        if composite is not None:
            composite.SetBackgroundVolumeID(fixed.GetID())
            composite.SetForegroundVolumeID(warped.GetID())
            composite.SetForegroundOpacity(0.5)
            composite.SetCompositing(_ALPHA)
    fitSlices(scene, fixed, sliceNodes)


def setTransformDisplay(
    transformNode: Node, mode: str = "grid", spacingMm: float | None = None, region: Node = None,
    visible3D: bool = False,
) -> None:
    """Draw the warp in the slice views as grid, glyphs or contours, or not at all.

    ``spacingMm`` None: about 20 lines across the fixed volume. ``visible3D``: in the 3-D views as well, there as a
    grid where ``mode`` is "none". ``region``: the volume in which it is drawn in 3-D, by default the fixed one.
    Raises InputError for an unknown mode.
    """
    if mode not in TRANSFORM_MODES:
        raise InputError(f"no transform display '{mode}'", expected=", ".join(TRANSFORM_MODES), got=mode)
    if transformNode.GetDisplayNode() is None:
        if mode == "none" and not visible3D:
            return
        transformNode.CreateDefaultDisplayNodes()
    display = transformNode.GetDisplayNode()
    visible = mode != "none" or visible3D
    modified = display.StartModify()
    region = region or transformNode.GetNodeReference(FIXED)
    if visible:
        if region is not None:
            display.SetAndObserveRegionNode(region)
        spacing = spacingMm or (gridSpacingRange(region)[2] if region is not None else display.GetGridSpacingMm())
        display.SetGridSpacingMm(spacing)
        display.SetGridResolutionMm(max(spacing / 4, 0.5))  # points along a line between two crossings
        display.SetGlyphSpacingMm(spacing)
        display.SetContourResolutionMm(max(spacing / 4, 0.5))
        display.SetVisualizationMode({
            "grid": display.VIS_MODE_GRID, "glyphs": display.VIS_MODE_GLYPH, "contours": display.VIS_MODE_CONTOUR,
        }.get(mode, display.VIS_MODE_GRID))
        if mode == "contours":
            display.SetContourLevelsMmFromString(_contourLevels(transformNode))
    display.SetVisibility(visible)
    display.SetVisibility2D(mode != "none")
    display.SetVisibility3D(visible3D)
    display.EndModify(modified)


def gridSpacingRange(volume: Node) -> tuple[float, float, float]:
    """(least, most, sensible) grid spacing in mm for the display slider of this volume."""
    lattice = ownLattice(volume)
    longest = float((np.array(lattice.size) * lattice.spacing).max())
    least = float(lattice.spacing.min())
    return least, max(longest / 4, least), max(longest / _GRID_LINES, least)


def _contourLevels(transformNode: Node) -> str:
    """Five round levels up to the longest displacement."""
    grid = transforms.gridOf(transformNode)
    if grid is None:
        longest = 10.0
    else:
        vectors = transforms.gridVectors(grid)[0][::2, ::2, ::2]  # fields are smooth: every second will do
        longest = float(np.sqrt(np.einsum("...i,...i", vectors, vectors).max()))
    return " ".join(f"{level:.3g}" for level in np.linspace(0, max(longest, 1e-3), 7)[1:-1])


def showJacobian(
    scene: Any, jacobian: Node, *, visible: bool = True, lower: float = 0.5, upper: float = 2.0,
    foldsOnly: bool = False, opacity: float = 0.5, sliceNodes: list[Node] | None = None,
) -> None:
    """Lay the Jacobian map over the slice views: blue shrinks, white keeps, red grows, magenta folds.

    ``foldsOnly`` shows the folds alone, as labels. Switched off, the views show what they showed before.
    """
    if visible:
        colors.showAsJacobian(jacobian, lower, upper)
    folds = None
    if visible and foldsOnly:
        folds = compare.folds(scene, jacobian)
    for node in _sliceNodes(scene, sliceNodes):
        composite = views.compositeOf(scene, node)
        if composite is None:
            continue
        modified = composite.StartModify()
        views.restore(composite, views.OVERLAY)
        if visible:
            views.change(composite, views.OVERLAY, **(_labelLayer(composite, folds) if folds is not None else {
                "ForegroundVolumeID": jacobian.GetID(), "ForegroundOpacity": opacity, "Compositing": _ALPHA}))
        composite.EndModify(modified)


def foldCenters(jacobianNode: Node) -> list[tuple[float, float, float]]:
    """A point inside every connected fold region (the voxel nearest to its center), largest region first.

    Unit/Direction: mm RAS, world.
    """
    folds = folded(volumes.voxelsOf(jacobianNode))
    used = [np.flatnonzero(folds.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not len(used[0]):
        return []
    folds = folds[tuple(slice(int(u[0]), int(u[-1]) + 1) for u in used)]  # folds are few: the rest is not searched
    import SimpleITK as sitk  # comes with Slicer; only needed here

    regions = sitk.GetArrayFromImage(sitk.RelabelComponent(sitk.ConnectedComponent(
        sitk.GetImageFromArray(folds.astype(np.uint8)), True)))
    index = np.argwhere(regions > 0) + [u[0] for u in used]
    region = regions[regions > 0]
    order = np.argsort(region, kind="stable")
    index, region = index[order], region[order]
    centers = []
    for members in np.split(index, np.flatnonzero(np.diff(region)) + 1):
        nearest = members[np.argmin(((members - members.mean(axis=0)) ** 2).sum(axis=1))]
        centers.append(nearest[::-1])
    points = np.array(centers, dtype=float)
    matrix = ownLattice(jacobianNode).ijkToRAS
    points = points @ matrix[:3, :3].T + matrix[:3, 3]
    parent = transforms.toWorld(jacobianNode)
    if parent is not None:
        points = transforms.transformPoints(parent, points)
    return [tuple(point) for point in points.tolist()]


def jumpTo(scene: Any, point: tuple[float, float, float], sliceNodes: list[Node] | None = None) -> None:
    """Move the crosshair and all slice views to a point (mm RAS); views keep their center unless it is outside."""
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*point)
    for node in _sliceNodes(scene, sliceNodes):
        node.JumpSlice(*point)


def fitSlices(scene: Any, volume: Node, sliceNodes: list[Node] | None = None) -> None:
    """Center all slice views on the volume and show it whole."""
    corners = worldCorners(volume)
    center, size = corners.mean(axis=0), corners.max(axis=0) - corners.min(axis=0)
    for node in _sliceNodes(scene, sliceNodes):
        node.JumpSliceByCentering(*center)
        width, height = node.GetDimensions()[:2]
        axes = np.array([[node.GetSliceToRAS().GetElement(i, j) for j in range(2)] for i in range(3)])
        wide, high = np.abs(axes).T @ size
        scale = max(wide / max(width, 1), high / max(height, 1)) * 1.05
        node.SetFieldOfView(scale * width, scale * height, node.GetFieldOfView()[2])


def _sliceNodes(scene: Any, given: list[Node] | None) -> list[Node]:
    return nodesOfClass(scene, "vtkMRMLSliceNode") if given is None else given
