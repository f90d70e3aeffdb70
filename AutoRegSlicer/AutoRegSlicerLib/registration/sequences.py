"""Sequences of volumes: their frames as inputs of a registration each, and the sequences of what came out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import slicer

from AutoRegSlicerLib.registration.exports import Steps, exportRegistrationSteps
from AutoRegSlicerLib.registration.results import importRegistrationSteps
from AutoRegSlicerLib.scene import regions, volumes
from AutoRegSlicerLib.scene.nodes import nodesOfClass, placeBeside
from AutoRegSlicerLib.scene.transforms import GRID_MARK
from AutoRegSlicerLib.scene.values import Node, RegistrationInputs, RegistrationOutputs

#: results of which a sequence is made; the others belong to one moving volume
KINDS = {"volume": "{moving} registered to {fixed}", "transform": "{moving} to {fixed}"}


def frames(sequence: Node) -> list[tuple[str, Node]]:
    """Index value and volume of every frame, in order. Frames that are no volume are left out."""
    found = [(sequence.GetNthIndexValue(i), sequence.GetNthDataNode(i)) for i in range(sequence.GetNumberOfDataNodes())]
    return [(value, node) for value, node in found
            if node is not None and node.GetClassName() == "vtkMRMLScalarVolumeNode"]


def frameOutputs(outputs: RegistrationOutputs) -> RegistrationOutputs:
    """What of the outputs each frame has: warped volume and transform, in nodes of their own."""
    wanted = outputs.wanted
    return RegistrationOutputs(createTransform="transform" in wanted, createVolume="volume" in wanted,
                               createJacobian=False)


def frameInputs(inputs: RegistrationInputs, frame: Node | None) -> RegistrationInputs:
    """The inputs with a frame as moving volume, without what belongs to one moving volume only."""
    return replace(inputs, movingVolume=frame, fixedSegmentation=None, movingSegmentation=None, fixedLandmarks=None,
                   movingLandmarks=None, fixedGuides=None, movingGuides=None, inverse=False)


@dataclass(eq=False)
class FrameByFrame:
    """The registration of a sequence onto one volume: what is still the same when a later frame's turn comes.

    The fixed volume, and the region of it, is kept as it is at the start: it may itself be what a sequence shows at
    the moment.
    """

    scene: Any
    sequence: Node
    inputs: RegistrationInputs
    outputs: RegistrationOutputs

    def __post_init__(self) -> None:
        self.frames = frames(self.sequence)
        self.names = {"moving": self.sequence.GetName(), "fixed": self.inputs.fixedVolume.GetName()}
        self.scratch = slicer.vtkMRMLScene()
        self.fixed: Node = None
        self.made: dict[str, Node] = {}

    def exportSteps(self, number: int, folder: Any) -> Steps:
        """Write the job of a frame, step by step; returns the request."""
        if self.fixed is None:
            self.fixed = volumes.inWorld(self.inputs.fixedVolume, self.scratch)
            if self.inputs.roi is not None:
                self.fixed = regions.cropped(self.fixed, self.inputs.roi, self.scratch)
            image = self.fixed.GetImageData().NewInstance()
            image.DeepCopy(self.fixed.GetImageData())
            self.fixed.SetAndObserveImageData(image)
            yield "fixed volume"
        frame = volumes.sharedCopy(self.frames[number][1], self.scratch)
        frame.SetName(f"{self.names['moving']} {number + 1}")
        inputs = replace(frameInputs(self.inputs, frame), fixedVolume=self.fixed, roi=None)
        return (yield from exportRegistrationSteps(inputs, folder, frameOutputs(self.outputs)))

    def importSteps(self, number: int, folder: Any) -> Steps:
        """Put what a frame's job made into the sequences of results, step by step; returns them with the report."""
        scratch = slicer.vtkMRMLScene()
        result = yield from importRegistrationSteps(scratch, folder, frameInputs(self.inputs, None),
                                                    frameOutputs(self.outputs))
        for kind in KINDS:
            node = getattr(result, kind)
            if node is not None:
                self._output(kind).SetDataNodeAtValue(node, self.frames[number][0])
                yield kind
        return result

    def _output(self, kind: str) -> Node:
        """The sequence of these results, made for the first frame; played together with the moving one."""
        if kind not in self.made or self.made[kind].GetScene() is not self.scene:
            name = self.scene.GenerateUniqueName(KINDS[kind].format(**self.names))
            node = self.made[kind] = self.scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
            # the index alone: CopySequenceIndex would also make frames, empty ones
            node.SetIndexName(self.sequence.GetIndexName())
            node.SetIndexUnit(self.sequence.GetIndexUnit())
            node.SetIndexType(self.sequence.GetIndexType())
            node.SetNumericIndexValueTolerance(self.sequence.GetNumericIndexValueTolerance())
            if kind == "transform":
                node.SetAttribute(GRID_MARK, "linear")
            placeBeside(node, self.sequence)
        return self.made[kind]

    def playTogether(self) -> None:
        """The results follow the frame that is shown of the moving sequence, wherever that is browsed."""
        for browser in nodesOfClass(self.scene, "vtkMRMLSequenceBrowserNode"):
            if browser.IsSynchronizedSequenceNode(self.sequence, True):
                for node in self.made.values():
                    if not browser.IsSynchronizedSequenceNode(node, True):
                        browser.AddSynchronizedSequenceNode(node)
