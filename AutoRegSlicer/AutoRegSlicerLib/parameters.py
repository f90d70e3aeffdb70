"""Everything chosen in the panels, as typed attributes of a parameter node that is saved with the scene."""

from typing import Annotated, Union

from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLMarkupsROINode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLSequenceNode,
    vtkMRMLTransformNode,
)
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from AutoRegSlicerLib.panels.choices import (
    CompareMode,
    Device,
    Direction,
    InitialAlignment,
    Pairing,
    SearchPreset,
    Similarity,
    TransformDisplay,
    ValidationObjective,
)

LabelNode = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007 - what the wrapper knows


@parameterNodeWrapper
class AutoRegSlicerParameterNode:
    """Everything chosen in the panels, kept with the scene. Names are stored: never rename one."""

    fixedVolume: vtkMRMLScalarVolumeNode
    movingVolume: vtkMRMLScalarVolumeNode
    movingSequence: vtkMRMLSequenceNode
    model: str
    fixedSegmentation: LabelNode
    movingSegmentation: LabelNode
    fixedLandmarks: vtkMRMLMarkupsFiducialNode
    movingLandmarks: vtkMRMLMarkupsFiducialNode
    fixedMask: LabelNode
    roi: vtkMRMLMarkupsROINode
    movingMask: LabelNode
    fixedGuides: vtkMRMLMarkupsFiducialNode
    movingGuides: vtkMRMLMarkupsFiducialNode

    createTransform: bool = True
    outputTransform: vtkMRMLTransformNode
    createVolume: bool = True
    outputVolume: vtkMRMLScalarVolumeNode
    createSegmentation: bool
    outputSegmentation: vtkMRMLSegmentationNode
    createInverse: bool
    outputInverseTransform: vtkMRMLTransformNode
    createAffine: bool
    outputAffineTransform: vtkMRMLTransformNode
    createJacobian: bool = True
    outputJacobian: vtkMRMLScalarVolumeNode
    previewOnMoving: bool
    showResult: bool = True

    initialAlignment: InitialAlignment = InitialAlignment.Affine
    initialTransform: vtkMRMLTransformNode
    similarity: Similarity = Similarity.Automatic
    refinementSteps: Annotated[int, WithinRange(-1, 500)] = 0  # -1: until it converges
    landmarksGuide: bool  # of many pairs
    device: Device = Device.Automatic
    keepJobFiles: bool = True

    cases: str
    pairing: Pairing = Pairing.AllPairs
    templateVolume: vtkMRMLScalarVolumeNode
    validationPercent: Annotated[float, WithinRange(5, 50)] = 20.0
    searchPreset: SearchPreset = SearchPreset.Quick
    searchMinutes: Annotated[float, WithinRange(0.1, 2880)] = 20.0
    learnFromLabels: bool
    judge: ValidationObjective = ValidationObjective.Automatic
    maxSeconds: Annotated[float, WithinRange(0, 600)] = 0.0
    speedWeight: Annotated[float, WithinRange(0, 10)] = 0.0
    randomSeed: Annotated[int, WithinRange(0, 999999)] = 0
    trainingMinutes: Annotated[float, WithinRange(0, 10080)] = 60.0
    modelName: str
    studyMinutes: Annotated[float, WithinRange(0.1, 2880)] = 10.0
    studySeeds: Annotated[int, WithinRange(1, 20)] = 1

    compareMode: CompareMode = CompareMode.Fade
    fade: Annotated[float, WithinRange(0, 1)] = 0.5
    linkViews: bool = True
    transformDisplay: TransformDisplay = TransformDisplay.Nothing
    gridSpacing: Annotated[float, WithinRange(1, 100)] = 10.0
    jacobianOverlay: bool
    foldsOnly: bool
    show3D: bool
    jacobianMinimum: float = 0.5
    jacobianMaximum: float = 2.0
    direction: Direction = Direction.MovingToFixed
