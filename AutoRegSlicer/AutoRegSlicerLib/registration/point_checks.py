"""Do two lists of points belong together, and have those that guide a say? Looks at nodes, never at voxels."""

from __future__ import annotations

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.points import partners
from AutoRegSlicerLib.scene import landmarks, regions, volumes
from AutoRegSlicerLib.scene.grids import Lattice
from AutoRegSlicerLib.scene.values import NO_MODEL, Message, Node, RegistrationInputs

_NAMED = 5  # as many points are called by their names


def checkPoints(inputs: RegistrationInputs) -> list[Message]:
    """What is to be said of the landmarks and of the guide points.

    Codes that block: one-landmark-list, empty-landmarks, landmark-count, landmark-names, unplaced-landmarks, and the
    same of guides; outside-guides, guides-initial.
    Remarks only: same-guides, guides-unseen.
    """
    found = _lists("landmark", "landmarks", inputs.fixedLandmarks, inputs.movingLandmarks)
    guides = (inputs.fixedGuides, inputs.movingGuides)
    refused = _lists("guide", "guide points", *guides)
    if None in guides or refused:
        return found + refused
    return found + _outside(inputs) + _heeded(inputs)


def _lists(kind: str, words: str, fixed: Node, moving: Node) -> list[Message]:
    lists = (fixed, moving)
    if lists == (None, None):
        return []
    if None in lists:
        return [Message(f"one-{kind}-list", f"{words.capitalize()} are given for one volume only; give both lists or "
                        "neither.")]
    for node in lists:
        if waiting := landmarks.unplaced(node):
            return [Message(f"unplaced-{kind}s", f"'{node.GetName()}' has points that are not placed "
                            f"({_some(waiting)}): place them, or remove them from both lists.")]
    names = [landmarks.worldPoints(node)[0] for node in lists]
    counts = [len(each) for each in names]
    if 0 in counts:
        return [Message(f"empty-{kind}s", f"The lists of {words} have {counts[0]} and {counts[1]} placed points.")]
    if counts[0] != counts[1]:
        return [Message(f"{kind}-count", f"The lists of {words} do not correspond: {counts[0]} fixed and {counts[1]} "
                        "moving points.")]
    try:
        partners(*names)
    except InputError as problem:
        return [Message(f"{kind}-names", f"In the lists of {words} some names agree, but not their order "
                        f"({problem.got}): name corresponding points alike.")]
    return []


def _outside(inputs: RegistrationInputs) -> list[Message]:
    """The job refuses guides outside their image; what is under a warp is known once it is resampled."""
    found = []
    for role, volume, node in (("fixed", inputs.fixedVolume, inputs.fixedGuides),
                               ("moving", inputs.movingVolume, inputs.movingGuides)):
        lattice = None if volume is None or volume.GetImageData() is None else volumes.exportLattice(volume)
        cut = role == "fixed" and inputs.roi is not None and regions.isPlaced(inputs.roi)
        if lattice is not None and cut:
            lattice = regions.part(lattice, inputs.roi)
        names, points = landmarks.worldPoints(node)
        if lattice is None or not (out := [n for n, kept in zip(names, _within(lattice, points), strict=True)
                                           if not kept]):
            continue
        where = "region of the fixed volume" if cut else f"{role} volume"
        found.append(Message("outside-guides", f"Guide points lie outside the {where} ({_some(out)}): move them into "
                             "it, or remove them from both lists."))
    return found


def _within(lattice: Lattice, points: np.ndarray) -> np.ndarray:
    """Which points lie in the field of view. Shape: (n, 3) to (n,). Unit: mm RAS."""
    inverse = np.linalg.inv(lattice.ijkToRAS)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    return ((index >= -0.5) & (index <= np.array(lattice.size) - 0.5)).all(axis=1)


def _heeded(inputs: RegistrationInputs) -> list[Message]:
    initial, found = inputs.initialTransform, []
    if initial is not None and not initial.IsTransformToWorldLinear():
        return [Message("guides-initial", f"Guide points cannot be taken back through '{initial.GetName()}', which is "
                        "not linear: choose a linear initial transform, or leave the guide points out.")]
    shot = inputs.transformation == "lddmm"
    if not inputs.refine and (shot or inputs.model != NO_MODEL):
        who = "Geodesic shooting" if shot else "A model"
        found.append(Message("guides-unseen", f"{who} does not look at guide points: " + (
            "without an affine alignment they have no influence." if inputs.affine == "none" else
            "they correct the affine alignment alone.") + " A refinement is guided too.", blocking=False))
    if inputs.fixedGuides is inputs.movingGuides:
        found.append(Message("same-guides", f"Both lists of guide points are '{inputs.fixedGuides.GetName()}': its "
                             "points are held where they are.", blocking=False))
    return found


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
