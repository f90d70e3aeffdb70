"""Segments as surfaces in the 3-D views, for as long as they are wanted there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import slicer

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.strict_json import parse_json
from AutoRegSlicerLib.scene.values import Node

_SURFACE, _NOTE = "Closed surface", "AutoReg.Before3D"


def areShown(segmentation: Node) -> bool:
    """Whether :func:`showSteps` was done, and not undone since."""
    return segmentation.GetAttribute(_NOTE) is not None


def showSteps(segmentation: Node) -> Iterator[str]:
    """Show the segments as surfaces in 3-D, made one by one where they are missing; yields the name of each.

    What was shown before is noted on the node, for :func:`hide`.
    """
    own = segmentation.GetSegmentation()
    missing = not own.ContainsRepresentation(_SURFACE)
    for name in own.GetSegmentIDs() if missing else ():
        part = slicer.vtkSegmentation()
        part.SetSourceRepresentationName(own.GetSourceRepresentationName())
        part.CopySegmentFromSegmentation(own, name)
        if part.CreateRepresentation(_SURFACE) and own.GetSegment(name) is not None:
            own.GetSegment(name).AddRepresentation(_SURFACE, part.GetSegment(name).GetRepresentation(_SURFACE))
        yield name
    if segmentation.GetDisplayNode() is None:
        segmentation.CreateDefaultDisplayNodes()
    display = segmentation.GetDisplayNode()
    segmentation.SetAttribute(_NOTE, json.dumps(
        [missing, display.GetVisibility3D(), display.GetPreferredDisplayRepresentationName3D()]))
    display.SetPreferredDisplayRepresentationName3D(_SURFACE)
    display.SetVisibility3D(True)


def hide(segmentation: Node) -> None:
    """The segmentation as it was before :func:`showSteps`."""
    note = segmentation.GetAttribute(_NOTE)
    if note is None:
        return
    display = segmentation.GetDisplayNode()
    # of a damaged note only the mark goes: what there was before is not known
    with contextlib.suppress(InputError, TypeError, ValueError):
        missing, visible, representation = parse_json(note, where="the note of a segmentation")
        if display is not None:
            display.SetVisibility3D(visible)
            display.SetPreferredDisplayRepresentationName3D(representation)
        if missing:
            segmentation.GetSegmentation().RemoveRepresentation(_SURFACE)
    segmentation.RemoveAttribute(_NOTE)
