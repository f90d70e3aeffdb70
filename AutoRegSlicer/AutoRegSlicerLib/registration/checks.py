"""Can it run? The messages that stand under the inputs, each with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import Recipe, read_recipe
from AutoRegSlicerLib.registration.point_checks import checkPoints
from AutoRegSlicerLib.registration.slice_checks import checkSlices, dimensions, isSlice, ontoPlane
from AutoRegSlicerLib.scene import regions, segmentations, transforms, volumes
from AutoRegSlicerLib.scene.previews import ownTransform
from AutoRegSlicerLib.scene.values import NO_MODEL, Message, Node, RegistrationInputs, RegistrationOutputs


def checkRegistration(scene: Any, inputs: RegistrationInputs, outputs: RegistrationOutputs) -> list[Message]:
    """What stands against, or should be known before, registering; no blocking message: it can run.

    Fast enough to call after every change of a selector: looks at nodes, never at the voxels of a volume.
    Codes that block: no-fixed, no-moving, same-volume, no-image, color-image, flat-image, no-model,
    model-dimension, no-output, output-is-input, input-under-output (action "take-off"), no-overlap (action
    "align-centers"), empty-segments, empty-mask, no-moving-segmentation, no-affine, no-region, small-region.
    Remarks only: centers-used, masks-unseen, one-segmentation, nonlinear-fixed, nonlinear-moving.
    Those of points: :func:`AutoRegSlicerLib.registration.point_checks.checkPoints`; of single slices:
    :func:`AutoRegSlicerLib.registration.slice_checks.checkSlices`.
    """
    fixed, moving = inputs.fixedVolume, inputs.movingVolume
    found: list[Message] = []
    for role, node in (("fixed", fixed), ("moving", moving)):
        if node is None:
            found.append(Message(f"no-{role}", f"Choose the {role} volume."))
        else:
            found += _image(role, node, inputs.model)
    if not found:
        found += _pair(fixed, moving, inputs)
    found += _model(inputs.model, 0 if found else dimensions(fixed, moving))
    found += _outputs(inputs, outputs)
    found += _labels(inputs, outputs)
    found += checkPoints(inputs)
    return found


def require(messages: Sequence[Message]) -> None:
    """Raise the first blocking message as InputError."""
    for message in messages:
        if message.blocking:
            raise InputError(message.text, remedy=message.action.replace("-", " "))


def _image(role: str, node: Node, model: str) -> list[Message]:
    image = node.GetImageData()
    if image is None or 0 in image.GetDimensions():
        return [Message("no-image", f"The {role} volume has no image data.")]
    if image.GetNumberOfScalarComponents() != 1:
        return [Message("color-image", f"{role.capitalize()} volume is a color image; convert with Vector to Scalar "
                        "Volume.", "vector-to-scalar")]
    size = " x ".join(map(str, image.GetDimensions()))
    if list(image.GetDimensions()).count(1) > 1:
        return [Message("flat-image", f"The {role} volume is a single line of voxels ({size}): choose another one.")]
    if 1 < min(image.GetDimensions()) < 4 and model not in ("", NO_MODEL):
        return [Message("flat-image", f"The {role} volume has too few slices for a model ({size}): choose no model; "
                        "each slice is then registered in its plane.")]
    return []


def _pair(fixed: Node, moving: Node, inputs: RegistrationInputs) -> list[Message]:
    if fixed is moving:
        return [Message("same-volume", "Fixed and moving are the same volume.", "swap")]
    found = []
    corners = volumes.worldCorners(moving)
    if inputs.initialTransform is not None:
        corners = transforms.transformPoints(transforms.warpToWorld(inputs.initialTransform), corners)
    if isSlice(fixed) or isSlice(moving):
        found += checkSlices(fixed, moving)
    flat = dimensions(fixed, moving) == 2
    gap = _gap(*(ontoPlane(points, fixed) if flat else points for points in (volumes.worldCorners(fixed), corners)))
    if gap > 0:
        text = f"Volumes do not overlap in space (gap {gap:.0f} mm)."
        if inputs.affine == "auto" and _recipeAligns(inputs.model) and inputs.initialTransform is None:
            found.append(Message("centers-used", f"{text} The alignment starts from their centers.", "align-centers",
                                 blocking=False))
        else:
            found.append(Message("no-overlap", text, "align-centers"))
    found += _region(fixed, inputs.roi)
    for role, node in (("fixed", fixed), ("moving", moving)):
        own = ownTransform(node)
        if own is not None and not own.IsTransformToWorldLinear():
            found.append(Message(f"nonlinear-{role}", f"{role.capitalize()} volume is under a non-linear transform; "
                                 "it will be treated as resampled.", blocking=False))
    return found


def _region(fixed: Node, roi: Node) -> list[Message]:
    if roi is None:
        return []
    if not regions.isPlaced(roi):
        return [Message("no-region", f"The region '{roi.GetName()}' is not drawn yet: place it, or leave it out.")]
    lattice = volumes.exportLattice(fixed)
    if lattice is None:
        return []  # how many voxels it covers shows when the volume is exported
    size = regions.voxelBox(lattice, roi)[1]
    if regions.isSmall(size, lattice):
        return [Message("small-region", "The region covers too little of the fixed volume "
                        f"({' x '.join(map(str, size))} voxels): enlarge or move it.")]
    return []


def _gap(first: np.ndarray, second: np.ndarray) -> float:
    """Distance between two boxes along the axes, 0 where they touch. Unit: mm."""
    apart = np.maximum(first.min(axis=0) - second.max(axis=0), second.min(axis=0) - first.max(axis=0))
    return float(np.linalg.norm(np.maximum(apart, 0)))


def _recipe(model: str) -> Recipe | None:
    """The model's recipe, read again only when its file changes; None where there is none to read."""
    path = Path(model, "recipe.json")
    try:
        return _read(path, path.stat().st_mtime_ns) if model else None
    except (OSError, InputError):
        return None


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> Recipe:
    return read_recipe(path)


def _recipeAligns(model: str) -> bool:
    recipe = _recipe(model)
    return recipe is None or recipe.preprocessing.affine == "auto"


def _model(model: str, dims: int) -> list[Message]:
    """``dims``: of the images, 0 where they are not known."""
    if not model:
        return [Message("no-model", "Choose a model, or make one with Auto-search.", "auto-search")]
    recipe = _recipe(model)
    if recipe is None or recipe.spatial_dims == dims or not dims:
        return []
    return [Message("model-dimension", f"The model is for {recipe.spatial_dims}-D images; choose one for volumes."
                    if dims == 3 else f"The volumes are single slices and the model is for {recipe.spatial_dims}-D "
                    "images: choose a model for 2-D images, or no model.")]


def _outputs(inputs: RegistrationInputs, outputs: RegistrationOutputs) -> list[Message]:
    if not outputs.wanted:
        return [Message("no-output", "Choose at least one output.")]
    used = [inputs.fixedVolume, inputs.movingVolume, inputs.fixedSegmentation, inputs.movingSegmentation,
            inputs.fixedMask, inputs.movingMask, inputs.initialTransform]
    made = [outputs.transform, outputs.inverseTransform, outputs.affineTransform]
    for node in (*made, outputs.volume, outputs.segmentation, outputs.jacobian):
        if node is not None and any(node is other for other in used):
            return [Message("output-is-input", f"'{node.GetName()}' is an input; choose another output.")]
    made = [node for node in made if node is not None]
    for volume in (inputs.fixedVolume, inputs.movingVolume):
        for parent in _parents(volume):
            if any(parent is node for node in made):
                return [Message("input-under-output", f"'{volume.GetName()}' is under '{parent.GetName()}', which the "
                                "result would replace; take it off first.", "take-off")]
    if any(node is other for place, node in enumerate(made) for other in made[:place]):
        return [Message("output-is-input", "Transform, inverse and affine transform need nodes of their own.")]
    if "affineTransform" in outputs.wanted and not (inputs.affine == "auto" and _recipeAligns(inputs.model)):
        return [Message("no-affine", "An affine transform is found by the automatic affine alignment only: choose it "
                        "as initial alignment, or leave this output out.")]
    return []


def _parents(node: Node) -> list[Node]:
    """The transforms above a node, the nearest first; a preview is none."""
    found = []
    while node is not None and (node := ownTransform(node)) is not None:
        found.append(node)
    return found


def _labels(inputs: RegistrationInputs, outputs: RegistrationOutputs) -> list[Message]:
    found = []
    roles = (("fixed segmentation", inputs.fixedSegmentation, inputs.fixedSegmentIDs, "empty-segments"),
             ("moving segmentation", inputs.movingSegmentation, inputs.movingSegmentIDs, "empty-segments"),
             ("fixed mask", inputs.fixedMask, inputs.fixedMaskSegmentIDs, "empty-mask"),
             ("moving mask", inputs.movingMask, inputs.movingMaskSegmentIDs, "empty-mask"))
    for role, node, ids, code in roles:
        if node is not None and not _hasContent(node, ids):
            found.append(Message(code, f"{role.capitalize()} is empty."))
    masked = inputs.fixedMask is not None or inputs.movingMask is not None
    if masked and not inputs.refine and inputs.model != NO_MODEL:
        found.append(Message("masks-unseen", "A model does not look at masks: they guide the affine alignment alone. A "
                             "refinement is guided too.", blocking=False))
    given = [node is not None for node in (inputs.fixedSegmentation, inputs.movingSegmentation)]
    if any(given) and not all(given):
        missing = "moving" if given[0] else "fixed"
        found.append(Message("one-segmentation", f"Without a {missing} segmentation no overlap can be measured.",
                             blocking=False))
    if "segmentation" in outputs.wanted and inputs.movingSegmentation is None:
        found.append(Message("no-moving-segmentation", "Warped labels need a moving segmentation."))
    return found


def _hasContent(node: Node, ids: Sequence[str] | None) -> bool:
    if not segmentations.isSegmentation(node):
        image = node.GetImageData()
        return image is not None and image.GetScalarRange() != (0.0, 0.0)
    chosen = node.GetSegmentation().GetSegmentIDs() if ids is None else ids
    for name in chosen:
        segment = node.GetSegmentation().GetSegment(name)
        if segment is None:
            return False
        image = segment.GetRepresentation("Binary labelmap")
        if image is None or not image.IsEmpty():
            return True  # a surface counts; whether it has voxels shows when it is exported
    return False
