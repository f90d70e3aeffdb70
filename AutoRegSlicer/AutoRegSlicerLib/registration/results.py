"""From a finished job folder into the scene: transform, warped volume and labels, Jacobian, folds, figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer

from AutoRegLib.core.errors import InputError
from AutoRegLib.core.folds import folded
from AutoRegLib.core.strict_json import read_object
from AutoRegSlicerLib.registration.exports import nodesOfNote, readNote
from AutoRegSlicerLib.scene import colors, landmarks, segmentations, tables, transforms, views, volumes
from AutoRegSlicerLib.scene.fields import fillFromFieldSteps
from AutoRegSlicerLib.scene.grids import ownLattice
from AutoRegSlicerLib.scene.nodes import FIXED, JOB, MOVING, nodesOfClass, placeBeside
from AutoRegSlicerLib.scene.previews import takeOffAll
from AutoRegSlicerLib.scene.values import Node, RegistrationInputs, RegistrationOutputs, RegistrationResult
from AutoRegSlicerLib.steps import Steps, finish


def importRegistrationSteps(
    scene: Any, jobFolder: str | Path, inputs: RegistrationInputs | None = None,
    outputs: RegistrationOutputs | None = None,
) -> Steps:
    """:func:`importRegistration` one node at a time: yields what was done, returns the result."""
    folder = Path(jobFolder)
    report = readReport(folder / "out")
    note = readNote(folder)
    noted, notedOutputs = nodesOfNote(scene, note)
    inputs = _alive(scene, inputs) if inputs is not None else noted
    outputs = outputs or notedOutputs
    names = (note["names"]["moving"], note["names"]["fixed"])
    marks = marksOf(folder, report)
    made: dict[str, Node] = {}
    out = folder / "out"

    def target(role: str, className: str, name: str) -> Node:
        node = getattr(outputs, role, None)
        if node is None or node.GetScene() is not scene:
            node = scene.AddNewNodeByClass(className, scene.GenerateUniqueName(name))
            placeBeside(node, inputs.movingVolume)
        node.SetAndObserveTransformNodeID(None)  # results are in world coordinates
        markResult(node, marks, inputs)
        made[role] = node
        return node

    if "transform" in outputs.wanted:
        node = target("transform", "vtkMRMLTransformNode", "{} to {}".format(*names))
        yield from fillFromFieldSteps(node, out / "transform.nrrd")
        yield "transform"
        if (out / "initial_velocity.nrrd").is_file():
            node = target("velocity", "vtkMRMLTransformNode", "{} to {} initial velocity".format(*names))
            yield from fillFromFieldSteps(node, out / "initial_velocity.nrrd")
            yield "initial velocity"
    if "volume" in outputs.wanted:
        node = target("volume", "vtkMRMLScalarVolumeNode", "{} registered to {}".format(*names))
        volumes.read(node, out / "warped.nii.gz")
        showLike(node, inputs.movingVolume)
        yield "warped volume"
    if "segmentation" in outputs.wanted and (out / "warped_labels.nii.gz").is_file():
        node = target("segmentation", "vtkMRMLSegmentationNode", "{} labels registered to {}".format(*names))
        labels = slicer.vtkMRMLScene().AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        volumes.read(labels, out / "warped_labels.nii.gz")
        segmentations.fillFromLabels(node, labels, note.get("structures", {}), inputs.fixedVolume or made.get("volume"))
        yield "warped labels"
    if "inverseTransform" in outputs.wanted and (out / "inverse_transform.nrrd").is_file():
        node = target("inverseTransform", "vtkMRMLTransformNode", "{1} to {0}".format(*names))
        yield from fillFromFieldSteps(node, out / "inverse_transform.nrrd")
        _refer(node, fixed=inputs.movingVolume, moving=inputs.fixedVolume)
        yield "inverse transform"
    if "affineTransform" in outputs.wanted and (out / "affine.tfm").is_file():
        node = target("affineTransform", "vtkMRMLTransformNode", "{} to {} affine".format(*names))
        transforms.fillFromFile(node, out / "affine.tfm")
        yield "affine transform"
    if "jacobian" in outputs.wanted:
        node = target("jacobian", "vtkMRMLScalarVolumeNode", "{} to {} Jacobian".format(*names))
        volumes.read(node, out / "jacobian.nii.gz")
        colors.showAsJacobian(node)
        yield "Jacobian map"
        if report.get("folds"):
            made["folds"] = _foldMap(scene, node)
            markResult(made["folds"], marks, inputs)
            yield "fold map"
    title = "{} to {}".format(*names)
    structureNames = {value: look["name"] for value, look in note.get("structures", {}).items()}
    metrics = tables.fromReport(scene, report, f"{title} metrics", structureNames)
    before = landmarks.errorsOfFiles(folder / "in" / "fixed_landmarks.csv", folder / "in" / "moving_landmarks.csv")
    points = tables.landmarksFromReport(scene, report, f"{title} landmarks", before)
    for node in (metrics, points):
        if node is not None:
            markResult(node, marks, inputs)
    return RegistrationResult(**made, metricsTable=metrics, landmarksTable=points, report=report, folder=folder)


def importRegistration(
    scene: Any, jobFolder: str | Path, inputs: RegistrationInputs | None = None,
    outputs: RegistrationOutputs | None = None,
) -> RegistrationResult:
    """Load a finished job into the scene.

    ``inputs``, ``outputs`` None (after a restart): what the job noted, as far as those nodes are in this scene;
    otherwise the result stands alone in new nodes. Nodes keep no link to the job folder, which may be deleted.
    Raises InputError when the job has no complete result.
    """
    return finish(importRegistrationSteps(scene, jobFolder, inputs, outputs))


def readReport(output: Path) -> dict[str, Any]:
    """The report in the output folder of a finished registration. Raises InputError."""
    try:
        return read_object(output / "report.json")
    except InputError:
        raise InputError(f"no complete result in {output}", expected="report.json and transform.nrrd",
                         remedy="see its log, or run the registration again") from None


def _alive(scene: Any, inputs: RegistrationInputs) -> RegistrationInputs:
    """The inputs without nodes that were deleted meanwhile."""
    values = {}
    for name in inputs.__dataclass_fields__:
        value = getattr(inputs, name)
        isNode = hasattr(value, "GetScene")
        values[name] = None if isNode and value.GetScene() is not scene else value
    return RegistrationInputs(**values)


def marksOf(folder: Path, report: dict[str, Any]) -> dict[str, str]:
    """What every result node tells about its origin."""
    marks = {JOB: folder.name, "AutoReg.Model": report.get("model"), "AutoReg.Version": report.get("version"),
             "AutoReg.Folds": report.get("folds"), "AutoReg.FoldFraction": report.get("fold_fraction")}
    for role, entry in report.get("inputs", {}).items():
        marks[f"AutoReg.SHA256.{role}"] = entry["sha256"]
    return {name: str(value) for name, value in marks.items() if value is not None}


def markResult(node: Node, marks: dict[str, str], inputs: RegistrationInputs) -> None:
    for name, text in marks.items():
        node.SetAttribute(name, text)
    _refer(node, fixed=inputs.fixedVolume, moving=inputs.movingVolume)


def _refer(node: Node, *, fixed: Node, moving: Node) -> None:
    for role, volume in ((FIXED, fixed), (MOVING, moving)):
        node.SetNodeReferenceID(role, None if volume is None else volume.GetID())


def showLike(node: Node, moving: Node) -> None:
    """Window and color of the moving volume; defaults when it is gone."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    shown = None if moving is None else moving.GetDisplayNode()
    if shown is None or node.GetDisplayNode() is None:
        return
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(shown.GetColorNodeID())
    if not shown.GetAutoWindowLevel():
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(shown.GetWindow(), shown.GetLevel())


def _foldMap(scene: Any, jacobian: Node) -> Node:
    """Label map of the voxels that fold, in one color."""
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", scene.GenerateUniqueName(
        f"{jacobian.GetName()} folds"))
    volumes.fill(node, ownLattice(jacobian), folded(volumes.voxelsOf(jacobian)).astype(np.uint8))
    colors.showAsFolds(node)
    return node


def restoreResults(scene: Any) -> int:
    """After a scene was loaded: AutoReg's transforms are linear between their grid points again, as computed.

    No transform file tells the interpolation, and Slicer reads every one as cubic. What was shown for a moment when
    the scene was saved, previews and compared views, is taken off. Call it at the end of an import.
    Returns how many transforms there are.
    """
    takeOffAll(scene)
    views.giveBack(scene)
    count = 0
    for node in nodesOfClass(scene, "vtkMRMLTransformNode"):
        if node.GetAttribute(transforms.GRID_MARK):
            count += transforms.useLinearInterpolation(node)
    for sequence in nodesOfClass(scene, "vtkMRMLSequenceNode"):
        if sequence.GetAttribute(transforms.GRID_MARK):
            count += sum(transforms.useLinearInterpolation(sequence.GetNthDataNode(index))
                         for index in range(sequence.GetNumberOfDataNodes()))
    return count
