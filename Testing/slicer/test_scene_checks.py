"""The messages under the inputs: every one appears for its reason and is silent otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the Slicer runtime (slicer-core)", exc_type=ImportError)

import scenes

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.recipe import Preprocessing, Recipe, write_recipe
from AutoRegSlicerLib.logic import (
    Message,
    RegistrationInputs,
    RegistrationOutputs,
    checkRegistration,
    require,
)


def check(
    scene: Any, pair: dict[str, Any], outputs: RegistrationOutputs | None = None, **changes: Any,
) -> list[Message]:
    inputs = RegistrationInputs(**{"model": "some-model", **pair, **changes})
    return checkRegistration(scene, inputs, outputs or RegistrationOutputs())


def codes(messages: list[Message], *, blocking: bool | None = None) -> list[str]:
    return [m.code for m in messages if blocking is None or m.blocking is blocking]


def test_a_good_pair_has_nothing_to_say(scene: Any) -> None:
    assert check(scene, scenes.addPair(scene)) == []


def test_missing_and_equal_volumes(scene: Any) -> None:
    pair = scenes.addPair(scene)
    assert codes(check(scene, pair, fixedVolume=None, movingVolume=None)) == ["no-fixed", "no-moving"]
    [message] = check(scene, pair, movingVolume=pair["fixedVolume"])
    assert message.text == "Fixed and moving are the same volume." and message.blocking
    with pytest.raises(InputError, match="same volume"):
        require([message])


def test_images_that_cannot_be_registered(scene: Any) -> None:
    pair = scenes.addPair(scene)
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert codes(check(scene, pair, movingVolume=empty)) == ["no-image"]
    color = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "color")
    import vtk

    image = vtk.vtkImageData()
    image.SetDimensions(8, 8, 8)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    color.SetAndObserveImageData(image)
    [message] = check(scene, pair, movingVolume=color)
    assert message.code == "color-image" and "Vector to Scalar Volume" in message.text
    flat = scenes.addVolume(scene, "slice", scenes.lattice((32, 32, 1), (1.0,) * 3), np.zeros((1, 32, 32), np.int16))
    assert codes(check(scene, pair, fixedVolume=flat)) == ["flat-image"]
    stack = scenes.addVolume(scene, "stack", scenes.lattice((32, 32, 2), (1.0,) * 3), np.zeros((2, 32, 32), np.int16))
    assert "flat-image" in codes(check(scene, pair, fixedVolume=stack))  # the pair has a model
    assert "flat-image" not in codes(check(scene, pair, fixedVolume=stack, model="none"))
    assert "flat-image" in codes(check(scene, pair, fixedVolume=flat, model="none"))


def test_volumes_apart(scene: Any, tmp_path: Path) -> None:
    """A gap is measured in mm; with an automatic alignment it is a remark, without one it blocks."""
    pair = scenes.addPair(scene, "axis-aligned")
    on = scenes.lattice((32, 32, 32), (1.5,) * 3, center=scenes.CENTER + (48 + 41, 0, 0))
    pair["movingVolume"] = scenes.addVolume(scene, "far", on, np.zeros((32, 32, 32), np.int16))
    [message] = check(scene, pair)
    assert message.code == "centers-used" and not message.blocking and "gap 41 mm" in message.text
    [message] = check(scene, pair, affine="none")
    assert message.code == "no-overlap" and message.blocking and message.action == "align-centers"
    write_recipe(tmp_path / "recipe.json", Recipe(preprocessing=Preprocessing(affine="none")))
    assert codes(check(scene, pair, model=str(tmp_path))) == ["no-overlap"]
    from AutoRegSlicerLib.logic import alignCenters

    initial = alignCenters(scene, pair["fixedVolume"], pair["movingVolume"])
    assert check(scene, pair, affine="none", initialTransform=initial) == []


def test_models(scene: Any, tmp_path: Path) -> None:
    pair = scenes.addPair(scene)
    assert codes(check(scene, pair, model="")) == ["no-model"]
    write_recipe(tmp_path / "recipe.json", Recipe(spatial_dims=2))
    assert codes(check(scene, pair, model=str(tmp_path))) == ["model-dimension"]


def test_outputs(scene: Any) -> None:
    pair = scenes.addPair(scene)
    nothing = RegistrationOutputs(createTransform=False, createVolume=False, createJacobian=False)
    assert codes(check(scene, pair, nothing)) == ["no-output"]
    assert codes(check(scene, pair, RegistrationOutputs(volume=pair["movingVolume"]))) == ["output-is-input"]
    warp = scenes.addWarp(scene)
    assert codes(check(scene, pair, RegistrationOutputs(transform=warp, inverseTransform=warp))) == ["output-is-input"]
    pair["movingVolume"].SetAndObserveTransformNodeID(scenes.addLinear(scene).GetID())
    pair["movingVolume"].GetParentTransformNode().SetAndObserveTransformNodeID(warp.GetID())
    [message] = [m for m in check(scene, pair, RegistrationOutputs(transform=warp)) if m.blocking]
    assert message.code == "input-under-output" and "'moving' is under 'bent'" in message.text
    assert codes(check(scene, pair, RegistrationOutputs(createSegmentation=True), movingSegmentation=None,
                       fixedSegmentation=None), blocking=True) == ["no-moving-segmentation"]


def test_segmentations_masks_and_landmarks(scene: Any) -> None:
    pair = scenes.addPair(scene)
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    for role in ("fixed", "moving"):
        assert codes(check(scene, pair, **{f"{role}Mask": empty}), blocking=True) == ["empty-mask"]
    assert codes(check(scene, pair, movingSegmentation=empty)) == ["empty-segments"]
    assert codes(check(scene, pair, movingSegmentIDs=("nose",))) == ["empty-segments"]
    [message] = check(scene, pair, fixedSegmentation=None)
    assert message.code == "one-segmentation" and not message.blocking
    assert codes(check(scene, pair, fixedLandmarks=None)) == ["one-landmark-list"]
    pair["movingLandmarks"].RemoveNthControlPoint(0)
    [message] = check(scene, pair)
    assert message.code == "landmark-count" and "6 fixed and 5 moving" in message.text
    pair["movingLandmarks"].RemoveAllControlPoints()
    assert codes(check(scene, pair)) == ["empty-landmarks"]


def test_a_warp_on_an_input_is_said(scene: Any) -> None:
    pair = scenes.addPair(scene)
    pair["fixedVolume"].SetAndObserveTransformNodeID(scenes.addWarp(scene).GetID())
    [message] = check(scene, pair)
    assert message.code == "nonlinear-fixed" and not message.blocking
    require([message])


def test_a_model_does_not_look_at_masks(scene: Any) -> None:
    pair = scenes.addPair(scene)
    for role in ("fixed", "moving"):
        masked = {f"{role}Mask": pair[f"{role}Segmentation"]}
        [message] = check(scene, pair, **masked)
        assert message.code == "masks-unseen" and not message.blocking
        assert check(scene, pair, refine=20, **masked) == [] == check(scene, pair, model="none", **masked)


def test_an_affine_transform_needs_an_affine_alignment(scene: Any, tmp_path: Path) -> None:
    pair, wanted = scenes.addPair(scene), RegistrationOutputs(createAffine=True)
    assert check(scene, pair, wanted) == []
    assert codes(check(scene, pair, wanted, affine="none")) == ["no-affine"]
    write_recipe(tmp_path / "recipe.json", Recipe(preprocessing=Preprocessing(affine="none")))
    assert codes(check(scene, pair, wanted, model=str(tmp_path))) == ["no-affine"]
    node = scenes.addLinear(scene)
    for other in ("transform", "inverseTransform"):
        outputs = RegistrationOutputs(affineTransform=node, **{other: node})
        assert codes(check(scene, pair, outputs)) == ["output-is-input"]
